"""What both managers share: torchmanager's `fit` with errors that say where, and a device."""

import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torchmanager import Manager
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining

from system.exit import StatedError, TrainingInterruptedError
from system.faults import without_traceback
from system.signals import Request, deferred

from .compute.devices import keep_freed_memory
from .compute.distributed import LOST, Processes, StopVote, has_lost_another
from .compute.precision import autocast, gradient_scaler, guard_short_axes
from .loss_watch import Failure, LossWatch

# It logs each error that it raises: without a handler, once more on standard error.
logging.getLogger("torchmanager").addHandler(logging.NullHandler())


class TrainingError(RuntimeError):
    """Training stopped on an error; its cause is the exception's cause."""


class Trainer(Manager):
    """A torchmanager Manager whose `fit` tells a failure and an interruption from success.

    A signal (see system.signals) ends `fit` after the step under way; a second one at once. Of
    several processes all end after the same step, whichever of them had the signal.

    Args:
        amp: mixed precision, see `precision.AMP_TYPES`.
        processes: those that train together.

    Attributes:
        first_step: of the present epoch, 0 unless it goes on where it was broken off.
        save_position: called with `position` where a signal ends a run; None for nothing.
        save_failure: called with epoch, step and terms of a loss that is not finite. See
            finite.FailureFile.write.
    """

    _device = torch.device("cpu")
    current_batch = 0  # torchmanager sets it with the first step only
    first_step = steps_done = 0
    save_position: Callable[[dict[str, Any]], None] | None = None
    save_failure: Callable[[int, int, dict[str, float]], Failure] | None = None
    watch_every = 50  # steps between looks at a GPU's losses

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer | None = None,
                 loss: Any = None, metrics: dict[str, Any] | None = None, amp: str = "off",
                 processes: Processes | None = None):
        super().__init__(network, optimizer, loss, metrics or {})
        self.processes = processes or Processes()
        self.amp = amp
        self.scaler = gradient_scaler(self._device, amp)
        self._request, self._vote = Request(), StopVote(self.processes)
        self._watch = LossWatch()
        self._parallel: nn.Module | None = None
        self._position_saved = False
        self._running: dict[str, Any] | None = None  # means of an epoch to be gone on with

    @property
    def parallel(self) -> nn.Module:
        """The network as a training step calls it: together with the other processes.

        Made with the first step, when the network is on its device.
        """
        if self._parallel is None:
            self._parallel = self.processes.parallel(self.network_to_train)
        return self._parallel

    @property
    def network_to_train(self) -> nn.Module:
        """What this process calls; a subclass may compile it."""
        return self.model

    @property
    def running(self) -> dict[str, Any]:
        """What the means of an epoch are made of so far: tensors and plain values."""
        return self.compiled_losses.running

    def restore_running(self, running: dict[str, Any]) -> None:
        """Go on with such means, on this device."""
        self.compiled_losses.go_on(running, self._device)

    @property
    def position(self) -> dict[str, Any]:
        """Where in the epoch the run is, between two steps or in a validation.

        The means are those of all processes, each of which must ask for them.
        """
        return {"steps": self.steps_done,
                "running": self._running_of_all(self._running or self.running)}

    def _running_of_all(self, running: dict[str, Any]) -> dict[str, Any]:
        return running if self.processes.world_size == 1 else _averaged(running, self.processes)

    def go_on_from(self, position: dict[str, Any] | None) -> None:
        """Begin the next `fit` in the middle of an epoch; None for its start."""
        if position is not None:
            self.first_step, self._running = position["steps"], position["running"]

    def is_asked_to_stop(self) -> bool:
        """Whether a signal has asked any of the processes for the end; see StopVote."""
        return self._vote.ask(self._request.number) is not None

    def stop_if_asked(self) -> None:
        """Save the position and end the run when a signal has asked for it.

        Raises:
            KeyboardInterrupt: it has; torchmanager ends its loop then.
        """
        if self.is_asked_to_stop():
            position = self.position
            if self.save_position is not None:
                self.save_position(position)
            self.processes.wait()  # who left earlier would be taken for a failure
            self._position_saved = True
            raise KeyboardInterrupt

    def watch(self, loss: torch.Tensor) -> None:
        """Note a step's loss before it changes the weights.

        It is looked at only now and then on a GPU, and of several processes, where all do so after
        the same step. Steps that an fp16 scaler skips for their gradients have a finite loss.

        Raises:
            FloatingPointError: it, or one since the last look, is not finite.
        """
        step = self.first_step + self.current_batch
        self._watch.see(step, loss, self.compiled_losses.last_terms)
        at_once = loss.device.type == "cpu" and self.processes.world_size == 1
        if at_once or (step + 1) % self.watch_every == 0:
            self._look()

    def _look(self) -> None:
        found = self._watch.found()
        is_first = self.processes.is_first(found and found[0])
        if is_first is None:
            return
        if not is_first:  # what this process found, if anything, came of the other's
            self.processes.wait()  # until that one has left with its message
        step, terms = found
        where, culprits = "", ""
        if self.save_failure is not None:
            where, culprits = self.save_failure(self.current_epoch, step, terms)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        what, remedy = "training is not finite any more", "Try a smaller --lr."
        if culprits:
            what = f"the batch is not finite: {culprits}"
            remedy = "Correct these files, or leave them out."
        raise FloatingPointError(f"{what} ({shown}) in step {step + 1}{where}. last.model has the "
                                 f"last good epoch, if there is one. {remedy}")

    def autocast(self) -> AbstractContextManager:
        """What the network's forward pass runs in; nothing without mixed precision."""
        return autocast(self._device, self.amp)

    def to(self, device: torch.device) -> None:
        """Move network, loss, scaler and optimiser state, and send the batches to come there."""
        self._device = device
        super().to(device)
        if device.type == "cpu":
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
            TrainingInterruptedError: a signal stopped it (torchmanager alone would return as if
                all were done).
        """
        if initial_epoch == epochs:  # broken off after its last epoch
            return self.raw_model
        if kwargs.get("device", self._device) == torch.device("cpu"):
            keep_freed_memory()
        finished = _Steps(self)
        self._vote, self._parallel = StopVote(self.processes), None
        with deferred() as self._request:
            try:
                network = super().fit(training_dataset, epochs, val_dataset,
                                      [*(callbacks_list or []), finished],
                                      initial_epoch=initial_epoch, **kwargs)
            except StopTraining as stop:
                cause = stop.__cause__ or stop
                if self.processes.world_size > 1 and has_lost_another(_innermost(cause)):
                    raise StatedError(LOST) from cause
                if self._request.number is not None:  # it ended the loader's workers as well
                    raise self._interrupted(initial_epoch + finished.epochs, epochs) from stop
                step = self.first_step + self.current_batch + 1
                raise TrainingError(f"epoch {self.current_epoch + 1}, step {step}: "
                                    f"{_root(cause)}") from cause
            done = initial_epoch + finished.epochs
            if done < epochs or self._vote.settle(self._request.number) is not None:
                raise self._interrupted(done, epochs)
        return network

    def _interrupted(self, done: int, epochs: int) -> TrainingInterruptedError:
        steps = f" and {self.steps_done} steps of the next" if self._position_saved else ""
        kept = "--resume goes on from there" if done or steps else "nothing is kept"
        number = self._vote.agreed or self._request.number
        name = "stopped" if number is None else signal.Signals(number).name
        message = f"{name} after {done} of {epochs} epochs{steps}; {kept}"
        return TrainingInterruptedError(message if self.processes.is_main else None,
                                        number or signal.SIGINT)

    def _train(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """One epoch of torchmanager's, from `first_step` on."""
        self.steps_done = self.first_step
        if self._running is not None:
            self.restore_running(self._running)
            self._running = None
        self._watch = LossWatch()
        summary = super()._train(*args, **kwargs)
        self._look()
        self._running = self.running  # a validation begins with empty means
        return summary


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


class _Steps(Callback):
    """Counts steps and epochs, and stops between two of them when a signal asks for it."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.epochs = 0

    def on_epoch_start(self, epoch: int) -> None:
        if self.trainer.is_asked_to_stop():  # it came after the last step
            raise KeyboardInterrupt

    def on_batch_end(self, batch: int, summary: dict[str, float] | None = None) -> None:
        self.trainer.steps_done += 1
        self.trainer.stop_if_asked()

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        self.epochs += 1
        self.trainer.first_step = self.trainer.steps_done = 0
        self.trainer._running = None


def _root(error: BaseException) -> str:
    """The innermost cause: torchmanager wraps errors in its own."""
    error = _innermost(error)
    text = without_traceback(str(error))
    return text if text != str(error) else f"{type(error).__name__}: {text}"


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _averaged(running: Any, processes: Processes) -> Any:
    """Numbers and tensors in dicts, each the mean of every process's."""
    if isinstance(running, dict):
        return {name: _averaged(value, processes) for name, value in running.items()}
    if isinstance(running, torch.Tensor):
        return processes.mean(running)
    return float(processes.mean(torch.tensor(running, dtype=torch.float64)))
