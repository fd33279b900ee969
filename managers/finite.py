"""Losses and logits that are not finite: found, named, and kept to be looked into."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from configs.cli import StatedError
from configs.files import write_with

from .checkpoints import FORMAT

FILE = "not_finite.model"
SHOWN = 8  # names in the message; the file has all


class LogitsError(StatedError):
    """Logits that are not finite, of which an argmax would make a label map all the same."""


def check_logits(logits: torch.Tensor) -> None:
    """Refuse logits before anything is made of them; waits for the device.

    Raises:
        LogitsError: one is NaN or infinite.
    """
    low, high = torch.aminmax(logits)  # NaN if one is
    if not bool((high - low).isfinite()):
        raise LogitsError("the network's logits are not finite")


TAKE_ANOTHER = ("the training has diverged, or the checkpoint is damaged. Take another checkpoint, "
                "or train again with a smaller learning rate")
DIVERGED = ("training is not finite any more; the last good epoch is in last.model, if there is "
            "one. Try a smaller --lr")
OVERFLOW = ("the values overflow in it. Look at those of the image; in mixed precision, use bf16 "
            "or none")


@contextmanager
def naming(case_id: str, network: Any, of_weights: str = TAKE_ANOTHER) -> Iterator[None]:
    """Say of a LogitsError which case it was, and whether the weights are to blame.

    Args:
        of_weights: what to say where they are.
    """
    try:
        yield
    except LogitsError as error:
        broken = isinstance(network, nn.Module) and not weights_are_finite(network)
        cause = (f"and neither are its weights: {of_weights}" if broken
                 else f"although its weights are: {OVERFLOW}")
        # Without a cause of its own: `fit` shows the innermost.
        raise LogitsError(f"{case_id}: {error}, {cause}.") from None


def weights_are_finite(network: nn.Module) -> bool:
    """Whether all parameters and buffers are; waits for the device."""
    values = [*network.parameters(), *network.buffers()]
    return all(bool(value.isfinite().all()) for value in values)


class LossWatch:
    """The first step whose loss is not finite, with its terms, noted on the device."""

    def __init__(self):
        self._first: torch.Tensor | None = None

    def see(self, step: int, loss: torch.Tensor, terms: Mapping[str, torch.Tensor]) -> None:
        """Note one step; nothing here waits for the device."""
        values = torch.stack([value.detach().float() for value in (loss, *terms.values())])
        if self._first is None:
            self._first = torch.full((), -1, device=values.device)
            self._values = torch.zeros_like(values)
        new = ~values[0].isfinite() & (self._first < 0)
        self._first = torch.where(new, step, self._first)
        self._values = torch.where(new, values, self._values)
        self._names = ("loss", *terms)

    def found(self) -> tuple[int, dict[str, float]] | None:
        """That step and its values, None where all were finite. Waits for the device."""
        if self._first is None or (step := int(self._first)) < 0:
            return None
        return step, dict(zip(self._names, self._values.tolist(), strict=True))


class Failure(NamedTuple):
    """A step whose loss is not finite, in words.

    Attributes:
        where: its cases, and the file that has it.
        culprits: what of its batch is not finite; empty where all is.
    """

    where: str
    culprits: str


class FailureFile:
    """Writes what it takes to look into a loss that is not finite to not_finite.model.

    It loads with `torch.load(path, weights_only=True)`: "epoch" and "step" from 1, "terms",
    "case_ids" (of tiles, their paths), "batch" as the loader gave it, "config", and what the
    manager's `to_state` has: weights, optimiser, random generators. Of one process on a CPU these
    are as they were when the loss was computed. On a GPU, and of several processes, a loss is
    looked at some steps later; they are of that time, and last.model has the last good ones. The
    batch is the part of the process that had the first such loss.
    """

    def __init__(self, folder: Path, manager: Any, loader: DataLoader, config: dict[str, Any]):
        self.folder = folder
        self.manager = manager
        self.loader = loader
        self.config = config

    def write(self, epoch: int, step: int, terms: dict[str, float]) -> Failure:
        """Write it, and say what it was. Epoch and step are counted from 0."""
        keys = list(self.loader.batch_sampler)[step - self.manager.first_step]
        batch = self._batch(keys)
        if isinstance(batch, dict):
            names = list(batch.get("case_id", []))
            batch = {name: value for name, value in batch.items()
                     if isinstance(value, torch.Tensor)}
        else:
            names = [str(self.loader.dataset.paths[index]) for _, index in keys]
        culprits = _not_finite(list(batch.items()) if isinstance(batch, dict) else
                               [("view", view) for view in batch], names)
        state = {"format": FORMAT, "epoch": epoch + 1, "step": step + 1, "terms": terms,
                 "case_ids": names, "config": self.config, "batch": batch,
                 **self.manager.to_state()}
        path = self.folder / FILE
        write_with(path, lambda file: torch.save(state, file))
        shown = ", ".join(dict.fromkeys(names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
        return Failure(f" on cases {shown}; batch and weights are in {path}", culprits)

    def _batch(self, keys: list[Any]) -> Any:
        """A batch once more: crops and views depend on seed, epoch and case alone."""
        return self.loader.collate_fn([self.loader.dataset[key] for key in keys])


def _not_finite(tensors: Sequence[tuple[str, torch.Tensor]], names: Sequence[str]) -> str:
    """The tensors of a batch (B, ...) that are not finite, with the case of the crop."""
    found = [f"{kind} of {name}" for kind, values in tensors if values.is_floating_point()
             for name, crop in zip(names, values, strict=False) if not crop.isfinite().all()]
    return ", ".join(list(dict.fromkeys(found))[:SHOWN])
