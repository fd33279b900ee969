"""Losses that are not finite: found, reported, and saved for inspection."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        values = torch.stack([loss.detach().float(), *[term.float() for term in terms.values()]])
        if self._first is None:
            self._first = torch.full((), -1, device=values.device)
            self._values = torch.zeros_like(values)
        new = ~values[0].isfinite() & (self._first < 0)
        self._first = torch.where(new, step, self._first)
        self._values = torch.where(new, values, self._values)
        self._names = ("loss", *terms)

    def first_failure(self) -> tuple[int | None, dict[str, float]]:
        """That step and its values, or (None, {}) if all were finite. Waits for the device."""
        if self._first is None or self._first < 0:
            return None, {}
        return int(self._first), dict(zip(self._names, self._values.tolist(), strict=True))


class Failure(NamedTuple):
    """A step whose loss is not finite, in words.

    Attributes:
        where: its cases, and the file that it was saved to.
        culprits: the tensors of its batch that are not finite; empty if all are.
    """

    where: str = ""
    culprits: str = ""


def not_finite_error(step: int, terms: Mapping[str, float], failure: Failure) -> FloatingPointError:
    """The error for a loss that is not finite; `step` counts from 0."""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
    what, remedy = "training is not finite any more", "Try a smaller --lr."
    if failure.culprits:
        what = f"the batch is not finite: {failure.culprits}"
        remedy = "Correct these files, or leave them out."
    return FloatingPointError(f"{what} ({shown}) in step {step + 1}{failure.where}. last.model has "
                              f"the last good epoch, if there is one. {remedy}")


@dataclass
class FailureFile:
    """Writes not_finite.model, with everything needed to investigate a loss that is not finite.

    It loads with `torch.load(path, weights_only=True)`: "epoch" and "step" from 1, "terms",
    "case_ids" (of tiles, their paths), "batch" as the loader gave it, "config", and the manager's
    `to_state`: weights, optimiser, random generators. In one process on a CPU this is the state
    in which the loss was computed. On a GPU, and with several processes, losses are read some
    steps later and the state is from then; last.model has the last good one. The batch is that
    of the process that had the first such loss.
    """

    folder: Path
    manager: Any
    loader: DataLoader
    config: dict[str, Any]

    def write(self, epoch: int, step: int, terms: dict[str, float]) -> Failure:
        """Write the file and describe the failure. Epoch and step count from 0."""
        keys = list(self.loader.batch_sampler)[step - self.manager.first_step]
        # Once more: crops and views depend on seed, epoch and case alone.
        batch = self.loader.collate_fn([self.loader.dataset[key] for key in keys])
        if isinstance(batch, dict):
            names = list(batch.get("case_id", []))
            batch = {name: value for name, value in batch.items()
                     if isinstance(value, torch.Tensor)}
            tensors = list(batch.items())
        else:
            names = [str(self.loader.dataset.paths[index]) for _, index in keys]
            tensors = [("view", view) for view in batch]
        state = {"format": FORMAT, "epoch": epoch + 1, "step": step + 1, "terms": terms,
                 "case_ids": names, "config": self.config, "batch": batch,
                 **self.manager.to_state()}
        path = self.folder / FILE
        write_with(path, lambda file: torch.save(state, file))
        shown = ", ".join(dict.fromkeys(names[:SHOWN]))
        if len(names) > SHOWN:
            shown += ", ..."
        return Failure(f" on cases {shown}; batch and weights are in {path}",
                       _culprits(tensors, names))


def _culprits(tensors: Sequence[tuple[str, torch.Tensor]], names: Sequence[str]) -> str:
    """The tensors of a batch (B, ...) that are not finite, with the case of the crop."""
    found = []
    for kind, crops in tensors:
        for name, crop in zip(names, crops, strict=False):
            culprit = f"{kind} of {name}"
            if not crop.isfinite().all() and culprit not in found:
                found.append(culprit)
    return ", ".join(found[:SHOWN])
