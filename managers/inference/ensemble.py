"""Several trained runs as one predictor."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig
from configs.use.prediction import PATIENT_AXES, PredictionConfig
from data import Case, Split, dataset_of

from ..runs.resume import check_network_code, load_network, read_run
from .predictor import Predictor, made_ready


class MeanLogits(nn.Module):
    """The mean logits of several networks, each over every combination of flips.

    Averaging logits, unlike probabilities, is linear: it is done inside each window, so there is
    only ever one volume of logits.

    Args:
        networks: images (B, C, H, W, D) -> logits (B, K, H, W, D), in evaluation mode.
        flip_axes: of 0, 1, 2 for H, W, D; none for no test-time augmentation.
    """

    def __init__(self, networks: Sequence[nn.Module], flip_axes: Sequence[int] = ()):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        axes = [2 + axis for axis in sorted(set(flip_axes))]
        self.flips = []  # the first flips no axis
        for number in range(len(axes) + 1):
            self.flips += combinations(axes, number)
        self.eval()

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (B, C, h, w, d) to mean logits (B, K, h, w, d) float32."""
        total: torch.Tensor | float = 0.0
        for flip in self.flips:
            flipped = windows.flip(flip)
            for network in self.networks:
                total = total + network(flipped).float().flip(flip)
        return total / (len(self.flips) * len(self.networks))


@dataclass(frozen=True)
class Member:
    """One of the trained runs whose logits are averaged.

    Attributes:
        about: experiment, checkpoint, its sha256 and epoch, for prediction.json.
    """

    config: TrainingConfig
    split: Split
    network: nn.Module
    about: dict[str, Any]


def load_members(experiments: Sequence[str], saved_model: str,
                 trust_network_code: bool = False) -> list[Member]:
    """The runs' networks with their "best" or "last" weights.

    Args:
        trust_network_code: see `load_network`.

    Raises:
        ValueError: a run or its checkpoint cannot be read, or the runs' volumes or classes differ.
    """
    runs = [read_run(experiment) for experiment in experiments]
    _check_agreement([config for _, config, _ in runs])
    check_network_code([(folder, config) for folder, config, _ in runs], trust_network_code)
    members = []
    for folder, config, split in runs:
        network, weights = load_network(folder, config, saved_model, trust_network_code)
        members.append(Member(config, split, network, {
            "experiment": str(folder), "checkpoint": weights["file"],
            "sha256": weights["sha256"], "epoch": weights["epoch"]}))
    return members


def _check_agreement(configs: Sequence[TrainingConfig]) -> None:
    """Refuse runs whose logits are not for the same voxels and classes."""
    first, *others = configs
    expected, differences = _traits(first), []
    for config in others:
        for name, value in _traits(config).items():
            if value != expected[name]:
                differences.append(f"  {config.experiment}: {name} {value}, but {expected[name]} "
                                   f"in {first.experiment}.")
    if differences:
        raise ValueError("\n".join(["These experiments cannot be averaged:", *differences]))


def _traits(config: TrainingConfig) -> dict[str, Any]:
    dataset = dataset_of(config)
    return {"channels": dataset.channels, "class_names": dataset.class_names,
            "label_values": dataset.label_values, "intensity": dataset.intensity,
            "window": dataset.window, "spacing_mm": dataset.spacing_mm,
            "img_size": config.img_size}


def mean_predictor(members: Sequence[Member], config: PredictionConfig,
                   device: torch.device) -> Predictor:
    """The predictor of the members' mean logits over the flips, with the windows of a run.

    Raises ValueError if the members' overlaps differ and --overlap is not given.
    """
    runs = [member.config for member in members]
    overlaps = {run.overlap for run in runs}
    if config.overlap is not None:
        overlaps = {config.overlap}
    if len(overlaps) > 1:
        raise ValueError(f"--overlap: the experiments have {sorted(overlaps)}; give one of them.")
    overlap, = overlaps
    sided = dataset_of(runs[0]).sided_classes
    if "R" in config.tta_axes and sided:
        warnings.warn(f"--tta_axes R: flips left and right, which {', '.join(sided)} depend on.",
                      stacklevel=2)
    mean = MeanLogits([member.network for member in members],
                      [PATIENT_AXES.index(axis) for axis in config.tta_axes])
    return Predictor(made_ready(mean, device), tuple(runs[0].img_size), overlap,
                     config.window_batch or runs[0].window_batch, device, config.amp)


def warn_of_training_cases(cases: Sequence[Case], members: Sequence[Member]) -> None:
    """Warn of cases that a member was trained on."""
    for member in members:
        known = [case.case_id for case in cases if case.case_id in member.split.training]
        shown = ", ".join(known[:5])
        if len(known) > 5:
            shown += " ..."
        if known:
            warnings.warn(f"{member.about['experiment']} was trained on cases of these names "
                          f"({shown}): if they are the same, their scores say nothing about new "
                          f"patients.", stacklevel=2)
