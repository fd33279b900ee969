"""The training loop, which both managers share."""

import signal
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchmanager import Manager
from torchmanager.callbacks import Callback, MultiCallbacks
from torchmanager_core import devices
from torchmanager_core.errors import StopTraining

from system.exit import StatedError, TrainingInterruptedError
from system.faults import without_traceback
from system.signals import Request, deferred

from .compute.devices import keep_freed_memory, move_state_to_parameters
from .compute.distributed import LOST, Processes, StopVote, has_lost_another
from .compute.precision import gradient_scaler, guard_short_axes
from .compute.quick_norm import quicken_norms
from .inference.logit_checks import weights_are_finite
from .loss_watch import Failure, LossWatch, not_finite_error

CPU = torch.device("cpu")


class TrainingError(RuntimeError):
    """Training stopped on an error; its cause is that error. `needs_less`: see system.faults."""

    needs_less: str | None = None


class Trainer(Manager):
    """A torchmanager Manager with a training loop of its own, `fit`.

    torchmanager's loop returns after a signal as if training were complete, and replaces an error
    with two of its own. This one raises the error, saves its position within the epoch, and works
    in several processes.

    Attributes:
        amp: mixed precision, see `precision.AMP_TYPES`.
        val_every: epochs between validations; the last epoch is always validated.
        first_step: of the present epoch, 0 unless a resumed run starts in the middle of it.
        save_position: called with `position` before a validation and at a signal.
        save_failure: called when a loss is not finite; see loss_watch.FailureFile.write.
    """

    _device = CPU
    current_batch = first_step = steps_done = 0
    val_every = 1
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
        self._running: dict[str, Any] | None = None  # see `position`

    def fit(self, training_dataset: Any, /, epochs: int, val_dataset: Any = None,
            callbacks_list: Sequence[Callback] = (), *, initial_epoch: int = 0,
            device: torch.device = CPU) -> nn.Module:
        """Train from `initial_epoch` to `epochs`; all epochs and steps count from 0.

        A signal (see system.signals) ends the run after the current step or validation case, a
        second one at once. All processes end after the same step, whichever of them got the
        signal. A callback may end training after an epoch by raising torchmanager's StopTraining;
        it must be the last callback, and raise it in every process.

        Raises:
            TrainingError: an error while training.
            TrainingInterruptedError: a signal stopped it.
        """
        if initial_epoch == epochs:  # only the scores were missing
            return self.raw_model
        if device.type == "cpu":
            keep_freed_memory()
        callbacks = MultiCallbacks(*callbacks_list)
        finished = initial_epoch  # epochs
        self._vote = StopVote(self.processes)
        self._parallel = None
        self._position_saved = False
        self.steps_done = 0
        with deferred() as self._request:
            try:
                self.to(device)
                callbacks.on_train_start(initial_epoch)
                for self.current_epoch in range(initial_epoch, epochs):
                    callbacks.on_epoch_start(self.current_epoch)
                    self.stop_if_asked()
                    with self:  # training mode, and new means
                        self.current_batch, self.steps_done = 0, self.first_step
                        self._watch = LossWatch()
                        if self._running is not None:  # resumed within this epoch
                            self.restore_running(self._running)
                            self._running = None
                        for self.current_batch, data in enumerate(training_dataset):
                            callbacks.on_batch_start(self.current_batch)
                            values = self.train_step(*self.unpack_data(data))
                            callbacks.on_batch_end(self.current_batch, values)
                            self.steps_done += 1
                            self.stop_if_asked()
                        summary = self.summary
                        self._check_losses()
                        self._running = self.running  # since a validation resets the means

                    val_summary = None
                    is_last = self.current_epoch + 1 == epochs
                    is_due = is_last or (self.current_epoch + 1) % self.val_every == 0
                    if val_dataset is not None and is_due:
                        if weights_are_finite(self.raw_model):  # else last.model is better
                            self._save_position()  # --resume repeats a validation that fails
                        val_summary = self.test(val_dataset, device=device)

                    stops = False
                    try:
                        callbacks.on_epoch_end(self.current_epoch, summary, val_summary)
                    except StopTraining:
                        stops = True
                    self._running, self._position_saved = None, False
                    self.first_step = self.steps_done = 0
                    finished += 1
                    if stops:
                        break
                if self._vote.settle(self._request.number) is not None:
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                raise self._interrupted(finished, epochs) from None
            except Exception as error:
                raise self._failed(error, finished, epochs) from error
            finally:
                callbacks.on_train_end(self.raw_model)
                self.reset()
        return self.raw_model

    @torch.no_grad()
    def test(self, dataset: Any, /, *, device: torch.device = CPU) -> dict[str, float]:
        """The means over a data set, of which each process has its share; see `summary`."""
        self.__exit__()  # torchmanager's way into evaluation mode
        self.reset_metrics()
        self.to(device)
        turns = self.processes.largest(len(dataset))
        for data in dataset:
            self.stop_if_asked()
            self.test_step(*self.unpack_data(data))
        for _ in range(len(dataset), turns):
            self.stop_if_asked()  # as often as processes with more cases do
        return self.summary

    @property
    def parallel(self) -> nn.Module:
        """The network as a training step calls it; wrapped at the first step, on its device."""
        if self._parallel is None:
            self._parallel = self.processes.parallel(self.network_to_train)
        return self._parallel

    @property
    def network_to_train(self) -> nn.Module:
        """What this process calls; a subclass may compile it."""
        return self.model

    @property
    def running(self) -> dict[str, Any]:
        """The sums behind the means of this epoch: tensors and plain values."""
        return self.compiled_losses.running

    def restore_running(self, running: dict[str, Any]) -> None:
        """Continue with such sums, on this device."""
        self.compiled_losses.go_on(running, self._device)

    @property
    def position(self) -> dict[str, Any]:
        """Where in the epoch the run is: "steps" done and the "running" sums over all processes.

        Every process must ask for it.
        """
        running = self._running
        if running is None:
            running = self.running
        if self.processes.world_size > 1:
            running = mean_of_sums(running, self.processes)
        return {"steps": self.steps_done, "running": running}

    def go_on_from(self, checkpoint: dict[str, Any] | None) -> None:
        """Begin the next `fit` in the middle of an epoch, if the checkpoint was saved in one."""
        if checkpoint is not None and checkpoint.get("position") is not None:
            position = checkpoint["position"]
            self.first_step, self._running = position["steps"], position["running"]

    def stop_if_asked(self) -> None:
        """Save the position and raise KeyboardInterrupt if any process has got a signal."""
        if self._vote.ask(self._request.number) is None:
            return
        if self.steps_done > 0:
            if not self._position_saved:
                self._save_position()
            self.processes.wait()  # the others would take an earlier exit for a failure
        raise KeyboardInterrupt

    def _save_position(self) -> None:
        """Save the epoch's steps; every process must call it."""
        position = self.position
        if self.save_position is not None:
            self.save_position(position)
        self._position_saved = True

    def _interrupted(self, finished: int, epochs: int) -> TrainingInterruptedError:
        """What to raise for a signal; only the main process has a message."""
        number = self._vote.agreed or self._request.number
        if not self.processes.is_main:
            return TrainingInterruptedError(None, number or signal.SIGINT)
        name = "stopped"
        if number is not None:
            name = signal.Signals(number).name
        message = f"{name} after {finished} of {epochs} epochs"
        if self._position_saved:
            message += f" and {self.steps_done} steps of the next"
        if finished > 0 or self._position_saved:
            message += "; --resume goes on from there"
        else:
            message += "; nothing is kept"
        return TrainingInterruptedError(message, number or signal.SIGINT)

    def _failed(self, error: Exception, finished: int, epochs: int) -> Exception:
        """What to raise for an error in the loop: where it was, unless another one caused it."""
        if self.processes.world_size > 1 and (str(error) == LOST or has_lost_another(error)):
            return StatedError(LOST)
        if self._request.number is not None:  # the signal ended the loader's workers as well
            return self._interrupted(finished, epochs)
        text = without_traceback(str(error))  # a loader process says the kind of its error
        if text == str(error):
            text = f"{type(error).__name__}: {text}"
        where = f"step {self.first_step + self.current_batch + 1}"
        if self._position_saved:
            where = "validation, before which its steps were saved"
        return TrainingError(f"epoch {self.current_epoch + 1}, {where}: {text}")

    def watch(self, loss: torch.Tensor) -> None:
        """Note a step's loss before it changes the weights.

        On a GPU, and with several processes, losses are read only every `watch_every` steps. A
        step that an fp16 scaler skips has a finite loss: only its gradients are not.

        Raises:
            FloatingPointError: this loss, or one since the last read, is not finite.
        """
        step = self.first_step + self.current_batch
        self._watch.see(step, loss, self.compiled_losses.last_terms)
        at_once = loss.device.type == "cpu" and self.processes.world_size == 1
        if at_once or (step + 1) % self.watch_every == 0:
            self._check_losses()

    def _check_losses(self) -> None:
        step, terms = self._watch.first_failure()
        is_first = self.processes.is_first(step)
        if is_first is None:
            return
        if not is_first:  # another process failed first, and what this one found came of that
            self.processes.wait()  # until the other has left with its message
        failure = Failure()
        if self.save_failure is not None:
            failure = self.save_failure(self.current_epoch, step, terms)
        raise not_finite_error(step, terms, failure)

    def to(self, device: torch.device) -> None:
        """Move network, loss, scaler and optimiser state; later batches follow."""
        self._device = device
        devices.set_default(device)
        super().to(device)
        if device.type == "cpu":
            guard_short_axes(self.model)
            quicken_norms(self.model)
        if self.optimizer is not None:
            move_state_to_parameters(self.optimizer)
        scale, self.scaler = self.scaler.state_dict(), gradient_scaler(device, self.amp)
        self.scaler.load_state_dict(scale)


def mean_of_sums(running: Any, processes: Processes) -> Any:
    """Numbers and tensors in nested dicts, each replaced by its mean over the processes."""
    if isinstance(running, dict):
        return {name: mean_of_sums(value, processes) for name, value in running.items()}
    if isinstance(running, torch.Tensor):
        return processes.mean(running)
    return float(processes.mean(torch.tensor(running, dtype=torch.float64)))
