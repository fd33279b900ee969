"""What each output of a self-distilled network has learnt, measured on whole volumes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from losses.distillation import tempered_log_probs
from losses.dsd import branch_kl
from losses.heads import named_outputs
from metrics.overlap import class_overlaps, dice_from_counts
from networks import SideOutputs

from .logit_checks import naming
from .predictor import Predictor

Row = dict[str, Any]


@dataclass
class OutputSums:
    """What one output's scores on one volume are computed from, added up slab by slab.

    Attributes:
        voxels: (K, K) counts on the CPU, by predicted class and the label's.
        confidence: sum over the label's foreground of the likeliest class's probability.
        kl: sum over all voxels of T^2 KL(teacher || output); of students only.
    """

    voxels: torch.Tensor
    confidence: float = 0.0
    kl: float = 0.0

    def add(self, logits: torch.Tensor, label_map: torch.Tensor) -> None:
        """Count a slab: logits (K, H, W, D) and label_map (H, W, D) of 0..K-1."""
        num_classes = len(logits)
        pairs = logits.argmax(0) * num_classes + label_map
        counts = pairs.flatten().bincount(minlength=num_classes**2)
        self.voxels += counts.view_as(self.voxels).cpu()
        probabilities = tempered_log_probs(logits[None], 1.0)[0].exp()
        self.confidence += probabilities.amax(0)[label_map > 0].double().sum().item()

    def scores(self) -> dict[str, float]:
        """"dice", "accuracy", "confidence" and "kl", see `score_side_outputs`."""
        voxels = self.voxels.numpy()
        dice = [dice_from_counts(counts) for counts in class_overlaps(voxels)]
        foreground = int(voxels[:, 1:].sum())
        accuracy = confidence = math.nan
        if foreground > 0:
            accuracy = voxels.diagonal()[1:].sum() / foreground
            confidence = self.confidence / foreground
        return {"dice": sum(dice) / len(dice), "accuracy": accuracy, "confidence": confidence,
                "kl": self.kl / voxels.sum()}


class AllOutputs(nn.Module):
    """A network's outputs side by side, in the order of `named_outputs`; each has K channels."""

    def __init__(self, network: SideOutputs):
        super().__init__()
        self.network = network

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows (B, C, h, w, d) to logits (B, outputs * K, h, w, d)."""
        outputs = named_outputs(self.network.all_outputs(windows))
        return torch.cat(list(outputs.values()), dim=1)


def score_side_outputs(predictor: Predictor, volumes: Iterable[dict[str, Any]],
                       num_volumes: int, temperature: float,
                       include_background: bool = True, progress: bool = False) -> list[Row]:
    """Score every output of a network on volumes, one after another.

    The heads run, but the network is in evaluation mode: without dropout and with the stored
    statistics of its norms. Windows and their averaging are those of the evaluation.

    Args:
        predictor: of a network of this project; one without side outputs has the row of "out".
        volumes: as data.preprocessing gives them.
        num_volumes: how many these are.
        temperature: of the KL, as in training.
        include_background: whether class 0 takes part in the KL, as in training.

    Returns:
        A row for each case and output, in the order of `named_outputs`: "case_id", "output";
        "role": "output", "student" or "teacher"; "dice": mean over the foreground classes;
        "accuracy": of the voxels that the label has in the foreground, the fraction whose class is
        right; "confidence": on the same voxels, the mean probability of the likeliest class, at
        temperature 1; "kl": T^2 KL(teacher || student) averaged over all voxels as in the loss.
        NaN: accuracy and confidence where the label is empty, kl where the role is not student.
    """
    teachers = teachers_of(predictor.network)
    of_all_outputs = replace(predictor, network=AllOutputs(predictor.network))
    rows = []
    for volume in tqdm(volumes, total=num_volumes, desc="scoring", unit="case",
                       disable=not progress):
        image, label_map = volume["image"], volume["label"][0].long()
        with naming(volume["case_id"], predictor.network):
            sums = _sums_of(image, label_map, of_all_outputs, teachers, temperature,
                            include_background)
        for name, teacher in teachers.items():
            role, scores = "student", sums[name].scores()
            if name == teacher:
                role, scores["kl"] = "teacher", math.nan
            if name == "out":
                role = "output"
            rows.append({"case_id": volume["case_id"], "output": name, "role": role} | scores)
    return rows


def _sums_of(image: torch.Tensor, label_map: torch.Tensor, predictor: Predictor,
             teachers: dict[str, str], temperature: float,
             include_background: bool) -> dict[str, OutputSums]:
    """The sums of every output over one volume, image (C, H, W, D) and label_map (H, W, D)."""
    sums: dict[str, OutputSums] = {}
    for row, slab in predictor.slabs(image):
        num_classes = len(slab) // len(teachers)
        if not sums:
            sums = {name: OutputSums(label_map.new_zeros((num_classes,) * 2)) for name in teachers}
        logits = dict(zip(teachers, slab.split(num_classes), strict=True))
        for name, teacher in teachers.items():
            sums[name].add(logits[name], label_map[row:row + slab.shape[1]].to(slab.device))
            if teacher != name:
                pair = [logits[name][None], logits[teacher][None]]
                kl = branch_kl(pair, temperature, include_background)
                sums[name].kl += kl.item() * slab[0].numel()
    return sums


def teachers_of(network: SideOutputs) -> dict[str, str]:
    """The teacher of each output's branch, by the output's name; "out" is its own."""
    names = list(named_outputs({"out": None, **network.levels}))
    last = {branch_of(name): name for name in names}  # a branch ends with its teacher
    return {name: last[branch_of(name)] for name in names}


def branch_of(name: str) -> str:
    """The branch of an output, such as "dec" of "dec3"."""
    return name.rstrip("0123456789")
