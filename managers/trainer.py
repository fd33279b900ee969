"""What both managers share: torchmanager's `fit` with errors that say where, and a device."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torchmanager import Manager
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining

from configs.cli import TrainingInterruptedError

from .precision import autocast, gradient_scaler, guard_short_axes


class TrainingError(RuntimeError):
    """Training stopped on an error; its cause is the exception's cause."""


class Trainer(Manager):
    """A torchmanager Manager whose `fit` tells a failure and an interruption from success.

    Args:
        amp: mixed precision, see `precision.AMP_TYPES`.
    """

    _device = torch.device("cpu")
    current_batch = 0  # torchmanager sets it with the first step only

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer | None = None,
                 loss: Any = None, metrics: dict[str, Any] | None = None, amp: str = "off"):
        super().__init__(network, optimizer, loss, metrics or {})
        self.amp = amp
        self.scaler = gradient_scaler(self._device, amp)

    def autocast(self) -> AbstractContextManager:
        """What the network's forward pass runs in; nothing without mixed precision."""
        return autocast(self._device, self.amp)

    def to(self, device: torch.device) -> None:
        """Move network, loss, scaler and optimiser state, and send the batches to come there."""
        self._device = device
        super().to(device)
        if self.amp == "bf16" and device.type == "cpu":
            guard_short_axes(self.model)
        if self.optimizer is not None:
            _state_beside_parameters(self.optimizer)
        scale, self.scaler = self.scaler.state_dict(), gradient_scaler(device, self.amp)
        self.scaler.load_state_dict(scale)

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


def _state_beside_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give a resumed optimiser's state the device and the memory layout of its parameters.

    It has those of the checkpoint, and a fused step reads both as they lie in memory. The number
    of steps stays on the CPU unless the step is fused.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for name, value in state.items():
                if not isinstance(value, torch.Tensor):
                    continue
                if name != "step":
                    state[name] = _laid_out_as(parameter, value)
                elif group.get("fused"):
                    state[name] = value.to(parameter.device)


def _laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value.to(parameter.device)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


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
