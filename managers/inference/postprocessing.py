"""Removing specks from a label map."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from configs import experiment_dir
from configs.use.prediction import PredictionConfig
from system.files import write_json
from system.json_files import read_object

FILE = "postprocessing.json"  # in a run folder
TOUCHING = np.ones((3, 3, 3), bool)  # also along edges and corners, as in nnU-Net


@dataclass(frozen=True)
class Postprocessing:
    """What is removed from a label map; by default nothing.

    Attributes:
        keep_largest: classes of which only the largest connected component stays.
        min_volume_ml: connected components of any class below this volume go, in ml.
    """

    keep_largest: tuple[str, ...] = ()
    min_volume_ml: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"keep_largest": list(self.keep_largest), "min_volume_ml": self.min_volume_ml}

    def __bool__(self) -> bool:
        return bool(self.keep_largest) or self.min_volume_ml > 0


def postprocess(label_map: np.ndarray, rule: Postprocessing, class_names: Sequence[str],
                voxel_ml: float) -> np.ndarray:
    """A label map (H, W, D) of classes without the components that a rule removes.

    What is removed becomes background. Of equally large components the first in C order stays.

    Args:
        class_names: background first.
        voxel_ml: volume of a voxel in ml.
    """
    cleaned = label_map.copy()
    for index, name in enumerate(class_names[1:], start=1):
        keep_largest = name in rule.keep_largest
        if keep_largest or rule.min_volume_ml > 0:
            _clean_class(cleaned, index, keep_largest, rule.min_volume_ml / voxel_ml)
    return cleaned


def _clean_class(label_map: np.ndarray, index: int, keep_largest: bool,
                 min_voxels: float) -> None:
    """Remove components of one class from a label map, in place."""
    components, number = ndimage.label(label_map == index, TOUCHING)
    if number == 0:
        return
    voxels = np.bincount(components.reshape(-1), minlength=number + 1)
    voxels[0] = 0
    keep = voxels >= min_voxels
    if keep_largest:
        keep &= np.arange(number + 1) == voxels.argmax()
    keep[0] = True  # what is not of the class stays as it is
    label_map[~keep[components]] = 0


def write_rule(folder: Path, rule: Postprocessing, about: Mapping[str, Any]) -> Path:
    """Write a rule to a run folder, with the scores that it rests on."""
    path = folder / FILE
    write_json(path, rule.to_dict() | dict(about))
    return path


def read_rule(folder: Path) -> Postprocessing:
    """The rule that eval.py --tune_postprocessing left; ValueError if absent or damaged."""
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder}: has no {FILE}; learn it on the validation cases with "
                         f"eval.py --experiment {folder} --mode validation "
                         f"--tune_postprocessing.")
    content = read_object(path)
    names, volume = content.get("keep_largest"), content.get("min_volume_ml")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)
            and type(volume) in (int, float) and volume >= 0):
        raise ValueError(f"{path}: is damaged; learn it again with eval.py --tune_postprocessing.")
    return Postprocessing(tuple(names), float(volume))


def common_rule(rules: Iterable[Postprocessing]) -> Postprocessing:
    """The rule for an ensemble: the classes that all its runs share, and the smallest volume."""
    first, *others = rules
    shared, volume = first.keep_largest, first.min_volume_ml
    for rule in others:
        shared = tuple(name for name in shared if name in rule.keep_largest)
        volume = min(volume, rule.min_volume_ml)
    return Postprocessing(shared, volume)


def rule_of(config: PredictionConfig, class_names: Sequence[str]) -> Postprocessing:
    """What predict.py is to remove: by the flags, then by the runs' own rules if asked for.

    Args:
        class_names: of the runs, background first.

    Raises:
        ValueError: an unknown class, or a run without a rule.
    """
    unknown = [name for name in config.keep_largest if name not in class_names[1:]]
    if unknown:
        raise ValueError(f"--keep_largest {' '.join(unknown)}: no class of these runs; they have "
                         f"{', '.join(class_names[1:])}.")
    rule = Postprocessing()
    if config.postprocessing:
        rule = common_rule([read_rule(experiment_dir(name)) for name in config.experiments])
    if config.keep_largest:
        rule = replace(rule, keep_largest=config.keep_largest)
    if config.min_volume_ml is not None:
        rule = replace(rule, min_volume_ml=config.min_volume_ml)
    return rule
