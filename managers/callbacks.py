"""What happens around the epochs: learning rate, order of the cases, records, progress."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining
from tqdm import tqdm

from losses import DSDLoss, boundary_weight
from reports import progress_picture
from system.durations import duration
from system.exit import LOGGER_NAME
from system.files import write_text
from system.json_files import read_lines

from .runs.early_stop import has_stopped

log = logging.getLogger(LOGGER_NAME)

RECENT_EPOCHS = 10  # whose mean time tells how long the rest will take


@dataclass
class LearningRate(Callback):
    """Sets the rate of each epoch by a schedule, a function of (epoch, base_lr, epochs)."""

    optimizer: Optimizer
    schedule: Callable[[int, float, int], float]
    base_lr: float
    epochs: int

    def on_epoch_start(self, epoch: int) -> None:
        """Set the rate of the 0-based epoch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(epoch, self.base_lr, self.epochs)


@dataclass
class BoundaryWeight(Callback):
    """Sets the weight of the boundary loss by the epoch's number, so resuming needs no state."""

    loss: DSDLoss
    start: float
    step: float

    def on_epoch_start(self, epoch: int) -> None:
        """Set the weight of the 0-based epoch."""
        self.loss.boundary_weight = boundary_weight(epoch, self.start, self.step)


@dataclass
class KLRamp(Callback):
    """Raises the weight of the KL linearly over the first epochs, by the epoch's number.

    A teacher that has not learnt anything yet should not be followed (Laine and Aila, "Temporal
    ensembling", ICLR 2017).
    """

    loss: DSDLoss
    epochs: float

    def on_epoch_start(self, epoch: int) -> None:
        """Set the share of the 0-based epoch: 0 in the first, 1 from `epochs` on."""
        self.loss.kl_share = min(1.0, epoch / self.epochs)


@dataclass
class EpochOrder(Callback):
    """Tells the loader's sampler the epoch, which decides the order of cases and the crops.

    An interrupted epoch continues with the manager's `first_step`.
    """

    loader: DataLoader
    manager: Any

    def on_epoch_start(self, epoch: int) -> None:
        """Choose the 0-based epoch."""
        batches = self.loader.batch_sampler
        batches.sampler.set_epoch(epoch, self.manager.first_step * batches.batch_size)


class EarlyStop(Callback):
    """Ends training after an epoch when `has_stopped` says so; every process has one.

    Args:
        history: lines of the epochs that a resumed run has behind it; not changed.
        patience: in epochs.
    """

    def __init__(self, history: list[dict[str, Any]], patience: int):
        self.history = list(history)
        self.patience = patience

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Decide after the 0-based epoch.

        Raises:
            StopTraining: val_dice has not risen for long enough.
        """
        self.history.append({"epoch": epoch + 1} | _values_of_epoch({}, val_summary))
        if has_stopped(self.history, self.patience):
            log.info(f"val_dice has not risen for {self.patience} epoch(s) (--early_stop).")
            raise StopTraining(epoch)


class Record(Callback):
    """Writes each epoch to metrics.jsonl, timing.jsonl, TensorBoard, progress.png and the log.

    metrics.jsonl holds no times, so two runs with one seed have the same.

    Args:
        folder: of the run.
        optimizer: whose learning rate is recorded.
        epochs: of the whole run.
        history: lines of the epochs already done; new ones are appended to it.
        draw: draws progress.png from (path, history).
    """

    def __init__(self, folder: Path, optimizer: Optimizer, epochs: int,
                 history: list[dict[str, Any]],
                 draw: Callable[[Path, list[dict[str, Any]]], None] = progress_picture):
        self.folder = folder
        self.draw = draw
        self.optimizer = optimizer
        self.epochs = epochs
        self.history = history
        lines = read_lines(folder / "timing.jsonl", "epoch", "seconds")
        self.timing = [row for row in lines if row["epoch"] <= len(history)]
        self.board = SummaryWriter(str(folder / "data"), purge_step=len(history) + 1)
        self._start = self._trained = 0.0

    def on_epoch_start(self, epoch: int) -> None:
        """Start the clock."""
        self._start = self._trained = time.perf_counter()

    def on_batch_end(self, batch: int, summary: dict[str, float] | None = None) -> None:
        """Note the time: the last batch ends the training part of the epoch."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Write everything.

        Raises:
            FloatingPointError: a value of the epoch or a weight is not finite; nothing is
                written then.
        """
        values = _values_of_epoch(summary, val_summary)
        broken = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if not broken and not self._weights_are_finite():
            broken = ["weights"]
        if broken:
            kept = ""
            if self.history:
                kept = "; the last good epoch is in last.model"
            raise FloatingPointError(f"training is not finite any more ({', '.join(broken)}){kept}."
                                     f" Try a smaller --lr.")
        line = {"epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]} | values
        seconds = {"epoch": epoch + 1, "train_seconds": round(self._trained - self._start, 3),
                   "seconds": round(time.perf_counter() - self._start, 3)}
        self.history.append(line)
        self.timing.append(seconds)
        for name, rows in (("metrics", self.history), ("timing", self.timing)):
            lines = [json.dumps(row) + "\n" for row in rows]
            write_text(self.folder / f"{name}.jsonl", "".join(lines))
        for name, value in line.items():
            self.board.add_scalar(name, value, epoch + 1)
        self.board.flush()
        self.draw(self.folder / "progress.png", self._history_with_times())
        log.info(self._log_line(line, seconds["seconds"]))

    def _weights_are_finite(self) -> bool:
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                if not weight.isfinite().all():
                    return False
        return True

    def _history_with_times(self) -> list[dict[str, Any]]:
        times = {row["epoch"]: {"seconds": row["seconds"]} for row in self.timing}
        return [line | times.get(line["epoch"], {}) for line in self.history]

    def _log_line(self, line: dict[str, float], seconds: float) -> str:
        text = f"epoch {line['epoch']:>3}/{self.epochs}  loss {line['loss']:.4f}"
        if line.get("dice_ce_out", line["loss"]) != line["loss"]:
            text += f"  main {line['dice_ce_out']:.4f}"
        if "val_dice" in line:
            text += f"  val_dice {line['val_dice']:.4f}"
        text += f"  lr {line['lr']:.2e}  {seconds:.1f} s"
        left = self.epochs - line["epoch"]
        if left > 0:
            recent = [row["seconds"] for row in self.timing[-RECENT_EPOCHS:]]
            text += f", {duration(left * mean(recent))} left"
        return text

    def on_train_end(self, model: Any) -> None:
        """Close TensorBoard's file."""
        self.board.close()


def _values_of_epoch(summary: dict[str, float] | None,
                     val_summary: dict[str, float] | None) -> dict[str, float]:
    """The means of training and, by names that begin with val_, those of validation."""
    values = dict(summary or {})
    for name, value in (val_summary or {}).items():
        values[f"val_{name}"] = value
    return values


class Progress(Callback):
    """A progress bar over an epoch's steps; the loss shown is read every `refresh_every` steps."""

    def __init__(self, manager: Any, num_steps: int, refresh_every: int = 10):
        self.manager = manager
        self.num_steps = num_steps
        self.refresh_every = refresh_every
        self.bar: tqdm | None = None

    def on_epoch_start(self, epoch: int) -> None:
        """Start a bar."""
        self.bar = tqdm(total=self.num_steps, desc=f"epoch {epoch + 1}", unit="step", leave=False,
                        initial=self.manager.first_step)

    def on_batch_end(self, batch: int, summary: dict[str, float] | None = None) -> None:
        """Move the bar."""
        self.bar.update()
        if (batch + 1) % self.refresh_every == 0:
            # Waits for the device; that is why not every step does it.
            self.bar.set_postfix(loss=f"{float(self.manager.compiled_losses.result):.4f}")
        if self.manager.first_step + batch + 1 == self.num_steps:
            self.bar.close()

    def on_train_end(self, model: Any) -> None:
        """Leave no bar behind when training breaks off."""
        if self.bar is not None:
            self.bar.close()
