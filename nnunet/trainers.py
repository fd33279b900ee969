"""Trainers of nnU-Net v2 with DSD, by the names that `nnUNetv2_train -tr` takes."""
# ruff: noqa: N801 - nnU-Net's trainers are called so

import os
from typing import Any

import torch
from torch import nn

from .installed import check_nnunet

check_nnunet()

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402
from torch._dynamo import OptimizedModule  # noqa: E402

from .network import ARCHITECTURES, NetworkWithHeads  # noqa: E402
from .side_loss import MainAndSideLoss, SideLoss  # noqa: E402

HEADS = "dsd_heads"  # in checkpoints


class nnUNetTrainerDSD(nnUNetTrainer):
    """nnU-Net trained with dual self-distillation as published: KL in encoder and decoder.

    The main output has nnU-Net's own loss. Each decoder level below it has a head to full
    resolution with a Dice-CE, in place of nnU-Net's deep supervision at lower resolutions, and the
    deepest output of each branch teaches the others (losses.dsd_loss). Everything else is
    nnU-Net's: data, augmentation, optimizer, schedule, compilation, DDP.

    Checkpoints hold the plain network under the name "nnUNetTrainer", and the heads under a key of
    their own: whoever predicts needs neither heads nor this code.

    Attributes:
        alpha, temperature, distil, detach_teacher, side_weights, where: see losses.DSDLoss.
        teacher: see losses.TEACHERS, all but "ema".
        kl_ramp: share of the epochs over which the weight of the KL grows from 0 to alpha.
    """

    alpha = 1.0
    temperature = 3.0
    distil = "both"
    detach_teacher = False
    side_weights = "equal"
    teacher = "deepest"
    where = "everywhere"
    kl_ramp = 0.0

    def __init__(self, plans: dict, configuration: str, fold: int, dataset_json: dict,
                 device: torch.device = torch.device("cuda")):  # noqa: B008 - as nnU-Net's
        _check(type(self), plans, configuration, dataset_json)
        super().__init__(plans, configuration, fold, dataset_json, device)

    @classmethod
    def build_network_architecture(cls, plans_manager: Any, configuration_manager: Any,
                                   num_input_channels: int, num_output_channels: int,
                                   enable_deep_supervision: bool = True) -> nn.Module:
        """The plain network, with heads where it is to be trained."""
        network = super().build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels,
            enable_deep_supervision=False)
        if not enable_deep_supervision:
            return network
        network = NetworkWithHeads(network, cls.distil)
        if cls.side_weights == "halved" and len(network.levels["dec"]) > 1:
            smallest = network.levels["dec"][0].head
            network.heads[smallest].requires_grad_(False)  # weighs 0; DDP wants to know
        return network

    def _get_deep_supervision_scales(self) -> list[list[float]]:
        """Full resolution alone: so large is every side output."""
        return [[1.0] * len(self.configuration_manager.patch_size)]

    def _build_loss(self) -> nn.Module:
        self.enable_deep_supervision = False
        main = super()._build_loss()
        self.enable_deep_supervision = True
        return MainAndSideLoss(main, self._build_side_loss())

    @classmethod
    def _build_side_loss(cls) -> SideLoss:
        return SideLoss(cls.alpha, cls.temperature, distil=cls.distil,
                        detach_teacher=cls.detach_teacher, side_weights=cls.side_weights,
                        teacher=cls.teacher, where=cls.where)

    def _with_heads(self) -> NetworkWithHeads:
        network = self.network.module if self.is_ddp else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Whether the network returns side outputs, or the logits alone."""
        self._with_heads().gives_side_outputs = enabled

    def on_train_epoch_start(self) -> None:
        """Set the weight of the KL for this epoch."""
        super().on_train_epoch_start()
        self.loss.side.reset()
        if self.kl_ramp > 0:
            self.loss.side.kl_share = min(1.0, self.current_epoch / (self.kl_ramp
                                                                     * self.num_epochs))

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        """Log the terms of the loss."""
        super().on_train_epoch_end(train_outputs)
        terms = {name: round(value, 4) for name, value in self.loss.side.mean_terms.items()}
        self.print_to_log_file("DSD", terms)

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's checkpoint of the plain network, with the heads beside it."""
        unfinished = f"{filename}.unfinished"
        super().save_checkpoint(unfinished)
        if not os.path.isfile(unfinished):  # another process's, or checkpoints are off
            return
        checkpoint = torch.load(unfinished, map_location="cpu", weights_only=False)  # our own
        checkpoint["trainer_name"] = nnUNetTrainer.__name__
        checkpoint[HEADS] = self._with_heads().heads.state_dict()
        torch.save(checkpoint, unfinished)
        os.replace(unfinished, filename)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        """nnU-Net's, and the heads.

        Raises:
            ValueError: the checkpoint has no heads.
        """
        checkpoint = filename_or_checkpoint
        if isinstance(checkpoint, str):
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=False)
        if HEADS not in checkpoint:
            raise ValueError(f"{filename_or_checkpoint}: has no heads of DSD, so that "
                             f"{type(self).__name__} cannot go on with it. To start from its "
                             f"weights give it as -pretrained_weights, without --c.")
        super().load_checkpoint(filename_or_checkpoint)
        self._with_heads().heads.load_state_dict(checkpoint[HEADS])


class nnUNetTrainerDSDNoKL(nnUNetTrainerDSD):
    """The side outputs of the decoder with their Dice-CE, and no distillation."""

    distil = "none"


class nnUNetTrainerDSDEnsemble(nnUNetTrainerDSD):
    """The variant of DSD chosen for the confirmation; docs/results.md says what came of it.

    The mean of the main output and the two largest side outputs teaches all of them, in the
    decoder alone and at temperature 1; side outputs count half at each level down; the KL's weight
    grows over three tenths of the epochs.
    """

    distil = "decoder"
    temperature = 1.0
    teacher = "ensemble"
    side_weights = "halved"
    kl_ramp = 0.3


def _check(trainer: type[nnUNetTrainerDSD], plans: dict, configuration: str,
           dataset_json: dict) -> None:
    """Refuse what DSD is not defined for, before nnU-Net makes a folder for it.

    Raises:
        ValueError: all reasons at once.
    """
    labels = dataset_json["labels"]
    manager = PlansManager(plans).get_configuration(configuration)
    network = manager.network_arch_class_name.rpartition(".")[2]
    known = [architecture.__name__ for architecture in ARCHITECTURES]
    regions = [name for name, value in labels.items()
               if isinstance(value, list | tuple) and len(value) > 1]
    problems = []
    if regions:
        problems.append(f"the labels {', '.join(regions)} are regions, which overlap, while the KL "
                        f"is between probabilities of classes")
    if "ignore" in labels:
        problems.append("the data set has an ignore label, which the side outputs do not know")
    if network not in known:
        problems.append(f"the plans' network is a {network}, heads are made for "
                        f"{' and '.join(known)}")
    if trainer.teacher == "ema":
        problems.append("the teacher \"ema\" needs an averaged network, which nnU-Net has not")
    if not 0 <= trainer.kl_ramp <= 1:
        problems.append(f"kl_ramp must be a share of the epochs, got {trainer.kl_ramp}")
    try:
        trainer._build_side_loss()
    except ValueError as error:
        problems.append(str(error).rstrip("."))
    if problems:
        raise ValueError(f"{trainer.__name__}: {'; '.join(problems)}.")
