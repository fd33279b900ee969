"""The torchmanager subclass that pre-trains an encoder by deep self-distillation (DeSD)."""

from typing import Any

import torch
from torch import nn

from configs.pretraining.pretraining import PretrainingConfig
from losses import DeSDLoss

from ..compute.distributed import Processes
from ..compute.precision import autocast, guard_short_axes
from ..compute.random_states import random_states, restore_random_states
from ..schedules import cosine, teacher_temperature
from ..trainer import Trainer
from .collapse import feature_moments, feature_std
from .momentum_teacher import pair_by_name, update
from .optimizers import clip_each, drop_last_layer_gradients, set_rates

Views = list[torch.Tensor]


class DeSDManager(Trainer):
    """Trains a student to predict its momentum teacher's target for the other view.

    Every schedule is a function of the step number, so a resumed run needs only the epoch.

    Args:
        student: views -> logits of each head, shallow to deep.
        teacher: views -> (logits, deepest features); never trained by gradients.
        optimizer: over the student's parameters, the decayed group first.
        loss: called as loss(student logits, teacher logits).
        config: rates, temperatures and the like.
        steps_per_epoch: of this process.
        processes: those that train together.

    Differs from the authors' code: the teacher runs without gradients, its weights are paired with
    the student's by name, and nothing in the step waits for the device (except fp16's gradient
    scaler).
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, optimizer: torch.optim.Optimizer,
                 loss: DeSDLoss, config: PretrainingConfig, steps_per_epoch: int,
                 processes: Processes | None = None):
        processes = processes or Processes()
        self.teacher = processes.synchronised(teacher)
        self.config = config
        self.steps_per_epoch = steps_per_epoch
        self._moments: torch.Tensor | int = 0
        self._pairs = pair_by_name(teacher, student)
        super().__init__(processes.synchronised(student), optimizer, loss, amp=config.amp,
                         processes=processes)

    def to(self, device: torch.device) -> None:
        """Move everything that the step uses."""
        super().to(device)
        self.teacher.to(device)
        if device.type == "cpu":
            guard_short_axes(self.teacher)

    def unpack_data(self, data: Views) -> tuple[Views, Views]:
        """A batch of views to (the student's, the teacher's): all of them, and the global two."""
        views = [view.to(self._device, non_blocking=True) for view in data]
        return views, views[:2]

    def train_step(self, x_train: Views, y_train: Views) -> dict[str, float]:
        """One step of the student, then the teacher follows it."""
        config, optimizer = self.config, self.compiled_optimizer
        self._set_rates()
        with autocast(self._device, self.amp):
            teacher_logits, features = self.teacher(y_train)
            student_logits = self.parallel(x_train)
        loss = self.compiled_losses(student_logits, teacher_logits)
        self.watch(loss)
        optimizer.zero_grad(set_to_none=True)
        self.backward(self.scaler.scale(loss))
        if config.clip_grad > 0:
            self.scaler.unscale_(optimizer)
            clip_each(self.model.parameters(), config.clip_grad)
        if self.current_epoch < config.freeze_last_layer:
            drop_last_layer_gradients(self.model)
        self.scaler.step(optimizer)
        self.scaler.update()
        update(*self._pairs, self._at_step(config.momentum_teacher, 1.0))
        self._moments = self._moments + self.processes.mean(feature_moments(features))
        return {}

    @property
    def step(self) -> int:
        """Number of the current step, from 0, over all epochs."""
        return (self.current_epoch * self.steps_per_epoch + self.first_step
                + self.current_batch)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def _at_step(self, start: float, end: float) -> float:
        return cosine(self.step, start, end, self.total_steps)

    def _set_rates(self) -> None:
        config = self.config
        lr = cosine(self.step, config.scaled_lr(self.processes.world_size), config.min_lr,
                    self.total_steps, config.warmup_epochs * self.steps_per_epoch)
        decay = self._at_step(config.weight_decay, config.weight_decay_end)
        set_rates(self.compiled_optimizer, lr, decay)
        self.compiled_losses.teacher_temp = teacher_temperature(
            self.current_epoch, config.warmup_teacher_temp, config.teacher_temp,
            config.warmup_teacher_temp_epochs)

    def reset_metrics(self) -> None:
        """Start the means of a new epoch."""
        super().reset_metrics()
        self._moments = 0

    @property
    def summary(self) -> dict[str, float]:
        """Means since the last reset, over all processes; waits for the device.

        "loss" and its terms (see DeSDLoss), "feature_std" of the teacher's deepest features, and
        the teacher's temperature. Every process must ask for it once per epoch.
        """
        loss = self.compiled_losses
        steps = loss.running["steps"]
        return loss.means(self.processes.mean) | {
            "feature_std": float(feature_std(self._moments / steps)),
            "teacher_temp": loss.teacher_temp}

    @property
    def running(self) -> dict[str, Any]:
        """The running sums of the loss and of the features' moments; see Trainer."""
        return {"loss": super().running, "moments": self._moments}

    def restore_running(self, running: dict[str, Any]) -> None:
        """Continue from such sums, on this device."""
        super().restore_running(running["loss"])
        self._moments = running["moments"]
        if isinstance(self._moments, torch.Tensor):
            self._moments = self._moments.to(self._device)

    def to_state(self) -> dict[str, Any]:
        """The state of the training, for a checkpoint (see SavePretraining)."""
        return {"student": self.model.state_dict(), "teacher": self.teacher.state_dict(),
                "optimizer": self.compiled_optimizer.state_dict(),
                "desd_loss": self.raw_loss_fn.state_dict(), "scaler": self.scaler.state_dict(),
                **random_states()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `to_state`, before `fit`."""
        self.model.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.compiled_optimizer.load_state_dict(state["optimizer"])
        self.raw_loss_fn.load_state_dict(state["desd_loss"])
        self.scaler.load_state_dict(state["scaler"])
        restore_random_states(state)
