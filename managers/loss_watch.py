"""Losses that are not finite: found, reported, and saved for inspection."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from system.files import write_with

from .runs.checkpoints import FORMAT

FILE = "not_finite.model"
SHOWN = 8  # names in the message; the file has all


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
    """A step whose loss is not finite, as a message.

    Attributes:
        where: its cases, and the file that has it.
        culprits: what of its batch is not finite; empty where all is.
    """

    where: str = ""
    culprits: str = ""


def not_finite(step: int, terms: Mapping[str, float], failure: Failure) -> FloatingPointError:
    """What to raise for a loss that is not finite; `step` counts from 0."""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    what, remedy = "training is not finite any more", "Try a smaller --lr."
    if failure.culprits:
        what = f"the batch is not finite: {failure.culprits}"
        remedy = "Correct these files, or leave them out."
    return FloatingPointError(f"{what} ({shown}) in step {step + 1}{failure.where}. last.model has "
                              f"the last good epoch, if there is one. {remedy}")


class FailureFile:
    """Writes what is needed to investigate a loss that is not finite to not_finite.model.

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
