"""The torchmanager subclass that trains, validates and predicts."""

from collections.abc import Sequence
from typing import Any

import torch
from torchmanager.callbacks import Callback

from losses import RunningLoss
from networks import SideOutputs

from .fast import in_channels_last
from .inference import SlidingWindow, rolling_logits, whole_logits
from .trainer import Trainer
from .validation_dice import ValidationDice

Target = torch.Tensor | dict[str, torch.Tensor]
TARGETS = ("label", "dist_map")


class SegmentationManager(Trainer):
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
        amp: mixed precision of training and validation; `label_map` is always in float32.
        compile: whether the training pass is compiled. Validation never is: it would compile anew
            for each batch of windows. The network, and what is saved of it, stays the plain one.
        channels_last: whether kernels and crops are laid out so.

    Differs from the authors' code: each loss is evaluated once a step (torchmanager 1.5 evaluates
    a dict of losses twice), nothing in the step waits for the device, and validation need not
    run after each epoch.
    """

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer | None,
                 loss: RunningLoss | None, class_names: tuple[str, ...], roi_size: Sequence[int],
                 overlap: float = 0.25, window_batch: int = 4, val_every: int = 1, *,
                 amp: str = "off", compile: bool = False, channels_last: bool = False):
        self.dice = ValidationDice(class_names)
        super().__init__(network, optimizer, loss, {"val_dice": self.dice}, amp)
        self.channels_last = channels_last
        if channels_last:
            in_channels_last(network)
        self._compiled = torch.compile(network, dynamic=False) if compile else None
        self.roi_size = tuple(roi_size)
        self.overlap = overlap
        self.window_batch = window_batch
        self.val_every = val_every
        self._last_epoch: int | None = None  # of the fit under way

    def unpack_data(self, data: dict[str, Any]) -> tuple[torch.Tensor, Target]:
        """A batch to (images, target), on their way to the device without waiting for it.

        The target is the label, or {"label", "dist_map"} where crops come with distance maps.
        """
        image, *target = (data[key].to(self._device, non_blocking=True)
                          for key in ("image", "label", "dist_map") if key in data)
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        return image, dict(zip(TARGETS, target, strict=True)) if len(target) > 1 else target[0]

    def train_step(self, x_train: torch.Tensor, y_train: Target) -> dict[str, float]:
        """One optimiser step; returns {} since reading a value would wait for the device."""
        network = self.model if self._compiled is None else self._compiled
        # The loss takes the side heads' last step; DataParallel could not put one together.
        steps = {"whole": False} if isinstance(self.model, SideOutputs) else {}
        with self.autocast():
            outputs = network(x_train, **steps)
        loss = self.compiled_losses(outputs, y_train)
        self.watch(loss)
        self.compiled_optimizer.zero_grad(set_to_none=True)
        self.backward(self.scaler.scale(loss))
        self.scaler.step(self.compiled_optimizer)
        self.scaler.update()
        return {}

    def test_step(self, x_test: torch.Tensor, y_test: torch.Tensor) -> dict[str, float]:
        """Dice-CE and Dice of one whole volume; none after a signal, see Trainer.fit."""
        if self._request.number is not None:
            raise KeyboardInterrupt
        with self.autocast():
            logits = self.logits(x_test)
        if self.loss_fn is not None:
            self.loss_fn(logits, y_test)
        self.dice(logits.argmax(1, keepdim=True), y_test)
        return {}

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Sliding-window logits (B, K, H, W, D) of images (B, C, H, W, D), on their device.

        Weights are constant, and windows are added up in float32 under autocast too. Without
        gradients, as all of `rolling_logits`.
        """
        window = self.sliding_window(images.device, images.device)
        return torch.stack([whole_logits(image, window) for image in images])

    def sliding_window(self, device: torch.device, sums_on: torch.device) -> SlidingWindow:
        """How the network, which must be on `device`, is led over a volume."""
        return SlidingWindow(self._of_windows, self.roi_size, self.overlap, self.window_batch,
                             device, sums_on)

    def _of_windows(self, windows: torch.Tensor) -> torch.Tensor:
        if self.channels_last:
            windows = windows.contiguous(memory_format=torch.channels_last_3d)
        return self.model(windows)

    @torch.no_grad()  # not inference_mode: weights moved inside it could never train again
    def label_map(self, image: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Label map (H, W, D) uint8 on the CPU of one image (C, H, W, D), slab by slab."""
        self.model.eval().to(device)
        slabs = rolling_logits(image.to(device), self.sliding_window(device, device))
        return torch.cat([slab.argmax(0).to(torch.uint8).cpu() for _, slab in slabs])

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
        """Train and validate from `initial_epoch` to `epochs`; see Trainer.fit."""
        self._last_epoch = epochs - 1
        try:
            return super().fit(training_dataset, epochs, val_dataset, callbacks_list,
                               initial_epoch=initial_epoch, **kwargs)
        finally:
            self._last_epoch = None

    def test(self, dataset: Any, /, **kwargs: Any) -> dict[str, float]:
        """Validate; within `fit`, {} on epochs that are not due."""
        if self._last_epoch is not None and not self.is_validation_due(self.current_epoch):
            return {}
        summary = super().test(dataset, **kwargs)
        if not summary and len(dataset) > 0:  # torchmanager swallows an interruption
            self.stop_if_asked()
            raise KeyboardInterrupt
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
