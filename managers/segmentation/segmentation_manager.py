"""The torchmanager subclass that trains and validates."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from losses import RunningLoss
from losses.managed import split_target
from networks import SideOutputs

from ..compute.distributed import Processes
from ..compute.precision import autocast
from ..compute.random_states import random_states
from ..inference.logit_checks import DIVERGED, naming
from ..inference.predictor import Predictor
from ..trainer import Trainer
from .mean_teacher import MeanTeacher
from .speed_options import in_channels_last
from .volume_counts import VolumeCounts, mean_dice

Target = torch.Tensor | dict[str, torch.Tensor]


class SegmentationManager(Trainer):
    """Trains a network on crops and validates it on whole volumes by sliding window.

    Args:
        network: training: images -> {"out": logits, ...}; evaluation: images -> logits.
        optimizer: over the network's parameters.
        loss: of the project's losses, called as loss(outputs, label).
        class_names: background first.
        roi_size: (H, W, D) of the sliding window, voxels: the training crop.
        overlap, window_batch: see Predictor; amp, val_every: see Trainer.
        compile: whether the training pass is compiled. Validation never is, because it would
            compile again for each size of batch. The saved network is the plain one.
        channels_last: the memory layout of kernels and crops.
        processes: those that train together; each has its share of every batch and of the
            validation volumes (see data.training_loader, data.evaluation_loader).
        seed: of the network's random draws, when there are several processes.
        mean_teacher: whether to keep a mean of the network's weights, whose logits the loss gets
            as outputs["teacher"].

    Differs from the authors' code: each loss is evaluated once a step (torchmanager 1.5 evaluates
    a dict of losses twice), nothing in the step waits for the device, and validation need not
    run after each epoch.
    """

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer,
                 loss: RunningLoss, class_names: tuple[str, ...], roi_size: Sequence[int],
                 overlap: float = 0.25, window_batch: int = 4, val_every: int = 1, *,
                 amp: str = "off", compile: bool = False, channels_last: bool = False,
                 processes: Processes | None = None, seed: int = 0, mean_teacher: bool = False):
        processes = processes or Processes()
        self.class_names = class_names
        super().__init__(processes.synchronised(network), optimizer, loss, amp=amp,
                         processes=processes)
        self.channels_last = channels_last
        if channels_last:
            in_channels_last(network)
        self.mean_teacher = MeanTeacher(self.raw_model.network) if mean_teacher else None
        self._compile = compile
        self.seed = seed
        self._share = 1.0  # of the step's crops, over an equal share
        self._case_id = ""  # of the batch
        self._validated: list[VolumeCounts] = []
        self.predictor = Predictor(self.model, tuple(roi_size), overlap, window_batch, amp=amp)
        self.val_every = val_every

    def to(self, device: torch.device) -> None:
        """Move everything that the step uses."""
        super().to(device)
        if self.mean_teacher is not None:
            self.mean_teacher.to(device)

    @property
    def network_to_train(self) -> torch.nn.Module:
        """The training pass, images and target to loss."""
        network = self.model
        if self._compile:
            network = CompiledNetwork(network)
        return TrainingPass(network, self._loss_of)

    def unpack_data(self, data: dict[str, Any]) -> tuple[torch.Tensor, Target]:
        """A batch to (images, target), on their way to the device without waiting for it.

        The target is the label, or {"label", "dist_map"} where crops come with distance maps.
        "share", on the CPU, is each crop's fraction of all crops of the step.
        """
        # Gradients are averaged over processes as if they had equal shares of the crops.
        self._share = 1.0
        if "share" in data:
            self._share = float(data["share"].sum()) * self.processes.world_size
        self._case_id = ", ".join(dict.fromkeys(data.get("case_id", ()))) or "a volume"
        image = data["image"].to(self._device, non_blocking=True)
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d)
        label = data["label"].to(self._device, non_blocking=True)
        if "dist_map" not in data:
            return image, label
        dist_map = data["dist_map"].to(self._device, non_blocking=True)
        return image, {"label": label, "dist_map": dist_map}

    def train_step(self, x_train: torch.Tensor, y_train: Target) -> dict[str, float]:
        """One optimiser step; returns {} since reading a value would wait for the device."""
        self.processes.seed_step(self.seed, self.current_epoch,
                                 self.first_step + self.current_batch)
        self.compiled_losses.step_weight = self._share
        loss = self.parallel(x_train, y_train)
        self.watch(loss)
        if self._share != 1:
            loss = loss * self._share
        self.compiled_optimizer.zero_grad(set_to_none=True)
        self.backward(self.scaler.scale(loss))
        self.scaler.step(self.compiled_optimizer)
        self.scaler.update()
        if self.mean_teacher is not None:
            self.mean_teacher.follow(self.raw_model.network)
        return {}

    def _loss_of(self, network: torch.nn.Module, images: torch.Tensor,
                 target: Target) -> torch.Tensor:
        options = {}
        if isinstance(self.model, SideOutputs):
            options["whole"] = False  # the loss takes the side heads' last step
        with autocast(self._device, self.amp):
            outputs = network(images, **options)
            if self.mean_teacher is not None:
                outputs["teacher"] = self.mean_teacher.logits(images)
        return self.compiled_losses(outputs, target)

    def test_step(self, x_test: torch.Tensor, y_test: Target) -> dict[str, float]:
        """Dice-CE and Dice of whole volumes, counted slab by slab.

        Raises:
            LogitsError: logits are not finite.
        """
        labels, _ = split_target(y_test)
        for image, label in zip(x_test, labels, strict=True):
            counts = VolumeCounts(len(self.class_names))
            with naming(self._case_id, self.raw_model, DIVERGED):
                for row, slab in self.predictor.slabs(image):
                    rows = label[0, row:row + slab.shape[1]]
                    counts.add(slab, rows.to(slab.device))
            self._validated.append(counts)
        return {}

    @property
    def summary(self) -> dict[str, float]:
        """Means since the last reset; waits for the device, so it is read once an epoch.

        Training: "loss" and its terms. Validation: "dice", "dice_<class name>" and "loss", the
        Dice-CE of the output on whole volumes: compare it with the training term "dice_ce_out",
        not with the training loss, which has more terms.
        """
        if self.model.training:
            return self.compiled_losses.means(self.processes.mean)
        cases = self.processes.in_order([(counts.dice_ce, counts.dice.tolist())
                                         for counts in self._validated])
        if not cases:
            return {}
        losses, dice = zip(*cases, strict=True)
        return {"loss": sum(losses) / len(losses)} | mean_dice(dice, self.class_names)

    def reset_metrics(self) -> None:
        """Start new means."""
        super().reset_metrics()
        self._validated: list[VolumeCounts] = []

    def to_state(self) -> dict[str, Any]:
        """Weights, optimiser and random generators as they are, for a file."""
        state = {"network": self.raw_model.state_dict(),
                 "optimizer": self.compiled_optimizer.state_dict(), **random_states()}
        if self.mean_teacher is not None:
            state["mean_teacher"] = self.mean_teacher.state_dict()
        return state


class CompiledNetwork(torch.nn.Module):
    """A network compiled for full batches; an epoch's last, smaller batch runs uncompiled.

    Compiling for that size too would take another minute or more.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.plain = network
        self.compiled = torch.compile(network, dynamic=False)
        self._largest = 0  # batch so far

    def forward(self, images: torch.Tensor, **options: Any) -> Any:
        """As the network."""
        self._largest = max(self._largest, len(images))
        if len(images) < self._largest:
            return self.plain(images, **options)
        return self.compiled(images, **options)


class TrainingPass(torch.nn.Module):
    """A network and its loss as one module, which DistributedDataParallel wraps.

    It so sees which heads no term of the loss depends on, and leaves them without a gradient.

    Args:
        loss_of: (network, images, target) -> loss.
    """

    def __init__(self, network: torch.nn.Module,
                 loss_of: Callable[[torch.nn.Module, torch.Tensor, Target], torch.Tensor]):
        super().__init__()
        self.network = network
        self.loss_of = loss_of

    def forward(self, images: torch.Tensor, target: Target) -> torch.Tensor:
        """Images (B, C, H, W, D) and their target to the loss, a scalar."""
        return self.loss_of(self.network, images, target)
