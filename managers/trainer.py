"""What both managers share: torchmanager's `fit` with errors that say where, and a device."""

from typing import Any

import torch
from torch import nn
from torchmanager import Manager
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining

from configs.cli import TrainingInterruptedError


class TrainingError(RuntimeError):
    """Training stopped on an error; its cause is the exception's cause."""


class Trainer(Manager):
    """A torchmanager Manager whose `fit` tells a failure and an interruption from success."""

    _device = torch.device("cpu")
    current_batch = 0  # torchmanager sets it with the first step only

    def to(self, device: torch.device) -> None:
        """Move network, loss and optimiser state, and send the batches to come after them."""
        self._device = device
        super().to(device)
        # A resumed optimiser has its state where the network was when it was restored.
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            state.update({name: value.to(device) for name, value in state.items()
                          if name != "step" and isinstance(value, torch.Tensor)})

    def fit(self, training_dataset: Any, /, epochs: int, val_dataset: Any = None,
            callbacks_list: list[Callback] | None = None, *, initial_epoch: int = 0,
            **kwargs: Any) -> nn.Module:
        """Train from `initial_epoch` to `epochs`; the arguments are torchmanager's.

        Raises:
            TrainingError: an error while training.
            TrainingInterruptedError: the keyboard stopped it (torchmanager alone would return as
                if all were done).
        """
        finished = _CountEpochs()
        try:
            network = super().fit(training_dataset, epochs, val_dataset,
                                  [*(callbacks_list or []), finished],
                                  initial_epoch=initial_epoch, **kwargs)
        except StopTraining as stop:
            cause = stop.__cause__ or stop
            raise TrainingError(f"epoch {self.current_epoch + 1}, step {self.current_batch + 1}: "
                                f"{_root(cause)}") from cause
        if finished.epochs < epochs - initial_epoch:
            raise TrainingInterruptedError(f"after {initial_epoch + finished.epochs} of {epochs} "
                                           f"epochs; the last finished one is in last.model")
        return network


class _CountEpochs(Callback):
    """How many epochs came to their end."""

    def __init__(self):
        self.epochs = 0

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        self.epochs += 1


def _root(error: BaseException) -> str:
    """The innermost cause: torchmanager wraps errors in its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
