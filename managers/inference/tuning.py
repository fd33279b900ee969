"""Find on validation cases which post-processing helps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metrics import dice

from .case_scores import voxel_volume_ml
from .postprocessing import Postprocessing, postprocess, write_rule
from .predictor import Predictor
from .segment import SegmentedCase

Segment = Callable[[Predictor, dict[str, Any]], SegmentedCase]
MIN_VOLUMES_ML = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
NOTHING = "nothing"


@dataclass
class Tuning:
    """Collects what each rule would change on validation cases, then chooses.

    Each rule is judged by the mean over cases of the Dice of one class (for --keep_largest) or of
    all classes (for --min_volume_ml), and taken where that rises, as in nnU-Net (Isensee et al.,
    Nature Methods 2021).
    """

    class_names: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)  # "rule", "class", "dice"

    def watch(self, segment: Segment) -> Segment:
        """A `segment` that also adds every case that it segments."""
        def segment_and_add(predictor: Predictor, volume: dict[str, Any]) -> SegmentedCase:
            case = segment(predictor, volume)
            self.add(case.prediction, case.label, voxel_volume_ml(case.grid.affine))
            return case
        return segment_and_add

    def add(self, label_map: np.ndarray, label: np.ndarray, voxel_ml: float) -> None:
        """Try every rule on a case: predicted classes and the label, both (H, W, D)."""
        for name in self.class_names[1:]:
            self._try(f"keep_largest {name}", Postprocessing((name,)), [name], label_map, label,
                      voxel_ml)
        everything = list(self.class_names[1:])
        self._try(NOTHING, Postprocessing(), everything, label_map, label, voxel_ml)
        for volume in MIN_VOLUMES_ML:
            self._try(f"min_volume_ml {volume:g}", Postprocessing((), volume), everything,
                      label_map, label, voxel_ml)

    def _try(self, name: str, rule: Postprocessing, classes: list[str], label_map: np.ndarray,
             label: np.ndarray, voxel_ml: float) -> None:
        cleaned = postprocess(label_map, rule, self.class_names, voxel_ml)
        for one in classes:
            index = self.class_names.index(one)
            self.rows.append({"rule": name, "class": one,
                              "dice": dice(cleaned == index, label == index)})

    def choose(self) -> Postprocessing:
        """The rules that raise the mean Dice; ValueError if no case was added."""
        if not self.rows:
            raise ValueError("no case to learn post-processing from")
        kept = []
        for name in self.class_names[1:]:
            if self.mean(f"keep_largest {name}", name) > self.mean(NOTHING, name):
                kept.append(name)
        best, volume = self.mean(NOTHING), 0.0
        for candidate in MIN_VOLUMES_ML:
            score = self.mean(f"min_volume_ml {candidate:g}")
            if score > best:
                best, volume = score, candidate
        return Postprocessing(tuple(kept), volume)

    def mean(self, rule: str, class_name: str | None = None) -> float:
        """Mean Dice over cases under a rule, of one class or of all."""
        values = []
        for row in self.rows:
            if row["rule"] == rule and class_name in (None, row["class"]):
                values.append(row["dice"])
        return float(np.mean(values))

    def keep(self, folder: Path, about: Mapping[str, Any]) -> str:
        """Write the chosen rule and all that was tried to a run folder; returns a report in words.

        Args:
            about: group, checkpoint and grid of the cases.
        """
        rule = self.choose()
        path = write_rule(folder, rule, {"about": dict(about), "tried": self.tried()})
        lines = [f"post-processing, learnt on these cases ({path}):"]
        for name in self.class_names[1:]:
            verb = "does not help"
            if name in rule.keep_largest:
                verb = "helps"
            lines.append(f"  --keep_largest {name}: {verb}, Dice {self.mean(NOTHING, name):.4f} -> "
                         f"{self.mean(f'keep_largest {name}', name):.4f}")
        if rule.min_volume_ml > 0:
            score = self.mean(f"min_volume_ml {rule.min_volume_ml:g}")
            lines.append(f"  --min_volume_ml {rule.min_volume_ml:g}: helps, Dice "
                         f"{self.mean(NOTHING):.4f} -> {score:.4f}")
        else:
            lines.append("  --min_volume_ml: no volume helps")
        return "\n".join([*lines, "predict.py --postprocessing applies it."])

    def tried(self) -> list[dict[str, Any]]:
        """A line for each rule and class that was tried: "rule", "class", "dice", "without"."""
        lines = []
        for rule in dict.fromkeys(row["rule"] for row in self.rows):
            classes = dict.fromkeys(row["class"] for row in self.rows if row["rule"] == rule)
            lines += [{"rule": rule, "class": name, "dice": self.mean(rule, name),
                       "without": self.mean(NOTHING, name)} for name in classes]
        return lines
