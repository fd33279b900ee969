"""Several trained runs as one predictor."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig
from configs.use.prediction import PATIENT_AXES, PredictionConfig
from data import Case, Split, dataset_of

from ..runs.resume import check_network_code, load_network, read_run
from .sliding_window import MeanLogits, SlidingWindow


@dataclass(frozen=True)
class Member:
    """One trained run of those whose logits are averaged.

    Attributes:
        about: experiment, checkpoint, its sha256 and epoch, as prediction.json has them.
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
    return [Member(config, split, *_load(folder, config, saved_model, trust_network_code))
            for folder, config, split in runs]


def _check_agreement(configs: Sequence[TrainingConfig]) -> None:
    """Logits can be averaged only where they speak of the same voxels and classes."""
    traits = []
    for config in configs:
        dataset = dataset_of(config)
        traits.append({name: getattr(dataset, name) for name in (
            "channels", "class_names", "label_values", "intensity", "window", "spacing_mm")}
            | {"img_size": config.img_size})
    differences = [f"  {config.experiment}: {name} {trait[name]}, but {traits[0][name]} in "
                   f"{configs[0].experiment}."
                   for config, trait in zip(configs[1:], traits[1:], strict=True)
                   for name in trait if trait[name] != traits[0][name]]
    if differences:
        raise ValueError("\n".join(["These experiments cannot be averaged:", *differences]))


def _load(folder: Path, config: TrainingConfig, saved_model: str,
          trust_network_code: bool) -> tuple[nn.Module, dict[str, Any]]:
    network, weights = load_network(folder, config, saved_model, trust_network_code)
    return network, {"experiment": str(folder), "checkpoint": f"{saved_model}.model",
                     "sha256": weights["sha256"], "epoch": weights["epoch"]}


def window_of(members: Sequence[Member], config: PredictionConfig,
              device: torch.device) -> SlidingWindow:
    """The members' mean over the flips asked for, led over volumes as in their training.

    Raises:
        ValueError: the members' overlaps differ and none is given.
    """
    runs = [member.config for member in members]
    overlaps = {run.overlap for run in runs}
    if config.overlap is None and len(overlaps) > 1:
        raise ValueError(f"--overlap: the experiments have {sorted(overlaps)}; give one of them.")
    sided = dataset_of(runs[0]).sided_classes
    if "R" in config.tta_axes and sided:
        warnings.warn(f"--tta_axes R: flips left and right, which {', '.join(sided)} depend on.",
                      stacklevel=2)
    mean = MeanLogits([member.network for member in members],
                      [PATIENT_AXES.index(axis) for axis in config.tta_axes])
    return SlidingWindow(mean.to(device), tuple(runs[0].img_size),
                         runs[0].overlap if config.overlap is None else config.overlap,
                         config.window_batch or runs[0].window_batch, device)


def warn_of_training_cases(cases: Sequence[Case], members: Sequence[Member]) -> None:
    """Scores of cases that a member was trained on say nothing about new patients."""
    for member in members:
        known = [case.case_id for case in cases if case.case_id in member.split.training]
        if known:
            warnings.warn(f"{member.about['experiment']} was trained on cases of these names "
                          f"({', '.join(known[:5])}{' ...' if len(known) > 5 else ''}): if they "
                          f"are the same, their scores say nothing about new patients.",
                          stacklevel=2)
