"""The torchmanager subclass that trains, validates and predicts."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import sliding_window_inference
from torchmanager import Manager
from torchmanager.callbacks import Callback
from torchmanager_core.errors import StopTraining

from configs.cli import TrainingInterruptedError
from losses import RunningLoss

from .validation_dice import ValidationDice

Target = torch.Tensor | dict[str, torch.Tensor]
TARGETS = ("label", "dist_map")


class TrainingError(RuntimeError):
    """Training stopped on an error; its cause is the exception's cause."""


class SegmentationManager(Manager):
    """Trains a network on crops and validates it on whole volumes by sliding window.

    Args:
        network: training: images -> {"out": logits, ...}; evaluation: images -> logits.
        optimizer: over the network's parameters.
        loss: of the project's losses, called as loss(outputs, label).
        class_names: background first.
        roi_size: (H, W, D) of the sliding window, voxels: the training crop.
        overlap: of windows, fraction.
        window_batch: windows per forward pass.
        val_every: epochs between validations; the last epoch is always validated.

    Differs from the authors' code: each loss is evaluated once a step (torchmanager 1.5 evaluates
    a dict of losses twice), nothing in the step waits for the device, and validation need not
    run after each epoch.
    """

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer | None,
                 loss: RunningLoss | None, class_names: tuple[str, ...], roi_size: Sequence[int],
                 overlap: float = 0.25, window_batch: int = 4, val_every: int = 1):
        self.dice = ValidationDice(class_names)
        super().__init__(network, optimizer, loss, {"val_dice": self.dice})
        self.roi_size = tuple(roi_size)
        self.overlap = overlap
        self.window_batch = window_batch
        self.val_every = val_every
        self._device = torch.device("cpu")
        self._last_epoch: int | None = None  # of the fit under way
        self.current_batch = 0               # torchmanager sets it with the first step only

    def to(self, device: torch.device) -> None:
        """Move network, loss and optimiser state, and send the batches to come after them."""
        self._device = device
        super().to(device)
        # A resumed optimiser has its state where the network was when it was restored.
        for state in self.optimizer.state.values() if self.optimizer is not None else ():
            state.update({name: value.to(device) for name, value in state.items()
                          if name != "step" and isinstance(value, torch.Tensor)})

    def unpack_data(self, data: dict[str, Any]) -> tuple[torch.Tensor, Target]:
        """A batch to (images, target), on their way to the device without waiting for it.

        The target is the label, or {"label", "dist_map"} where crops come with distance maps.
        """
        image, *target = (data[key].to(self._device, non_blocking=True)
                          for key in ("image", "label", "dist_map") if key in data)
        return image, dict(zip(TARGETS, target, strict=True)) if len(target) > 1 else target[0]

    def train_step(self, x_train: torch.Tensor, y_train: Target) -> dict[str, float]:
        """One optimiser step; returns {} since reading a value would wait for the device."""
        loss = self.compiled_losses(self.model(x_train), y_train)
        self.compiled_optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        self.compiled_optimizer.step()
        return {}

    def test_step(self, x_test: torch.Tensor, y_test: torch.Tensor) -> dict[str, float]:
        """Dice-CE and Dice of one whole volume."""
        logits = self.logits(x_test)
        if self.loss_fn is not None:
            self.loss_fn(logits, y_test)
        self.dice(logits.argmax(1, keepdim=True), y_test)
        return {}

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Sliding-window logits (B, K, H, W, D) of images (B, C, H, W, D), constant weighting."""
        return sliding_window_inference(images, self.roi_size, self.window_batch, self.model,
                                        overlap=self.overlap)

    @torch.no_grad()  # not inference_mode: weights moved inside it could never train again
    def label_map(self, image: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Label map (H, W, D) uint8 on the CPU of one image (C, H, W, D)."""
        self.model.eval().to(device)
        return self.logits(image[None].to(device)).argmax(1)[0].to(torch.uint8).cpu()

    @property
    def summary(self) -> dict[str, float]:
        """Means since the last reset; waits for the device, so it is read once an epoch.

        Training: "loss" and its terms. Validation: "dice", "dice_<class name>" and "loss", the
        Dice-CE of the output on whole volumes: to be compared with the training term
        "dice_ce_out", not with the training loss, which has more terms.
        """
        if self.model.training:
            loss = self.compiled_losses
            return {"loss": float(loss.result)} | loss.mean_terms
        values = {"dice": float(self.dice.result)}
        values |= {f"dice_{name}": dice for name, dice in self.dice.per_class.items()}
        if self.loss_fn is not None:
            values = {"loss": float(self.loss_fn.result)} | values
        return values

    def fit(self, training_dataset: Any, /, epochs: int, val_dataset: Any = None,
            callbacks_list: list[Callback] | None = None, *, initial_epoch: int = 0,
            **kwargs: Any) -> torch.nn.Module:
        """Train from `initial_epoch` to `epochs`; the arguments are torchmanager's.

        Raises:
            TrainingError: an error while training.
            TrainingInterruptedError: the keyboard stopped it (torchmanager alone would return as
                if all were done).
        """
        finished = _CountEpochs()
        self._last_epoch = epochs - 1
        try:
            network = super().fit(training_dataset, epochs, val_dataset,
                                  [*(callbacks_list or []), finished],
                                  initial_epoch=initial_epoch, **kwargs)
        except StopTraining as stop:
            cause = stop.__cause__ or stop
            raise TrainingError(f"epoch {self.current_epoch + 1}, step {self.current_batch + 1}: "
                                 f"{_root(cause)}") from cause
        finally:
            self._last_epoch = None
        if finished.epochs < epochs - initial_epoch:
            raise TrainingInterruptedError(f"after {initial_epoch + finished.epochs} of {epochs} "
                                           f"epochs; the last finished one is in last.model")
        return network

    def test(self, dataset: Any, /, **kwargs: Any) -> dict[str, float]:
        """Validate; within `fit`, {} on epochs that are not due."""
        if self._last_epoch is not None and not self.is_validation_due(self.current_epoch):
            return {}
        summary = super().test(dataset, **kwargs)
        if not summary and len(dataset) > 0:
            raise KeyboardInterrupt  # which torchmanager swallows, leaving nothing
        return summary

    def is_validation_due(self, epoch: int) -> bool:
        """Whether the 0-based epoch of the fit under way ends in a validation."""
        return (epoch + 1) % self.val_every == 0 or epoch == self._last_epoch

    def data_parallel(self, target_devices: list[torch.device], **kwargs: Any) -> bool:
        """Spread the network over devices; the loss stays whole, its Dice needs no splitting."""
        if len(target_devices) < 2:
            return False
        self.model = torch.nn.DataParallel(self.raw_model, [d.index for d in target_devices])
        return True


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
