"""What each dataset is: where its files are, what its labels mean, how its crops are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cases import Case, Layout, Problem, find_cases
from .splits import Split, consecutive_folds, shuffled_split

Intensity = Sequence[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of the random transforms, and how many crops one volume gives."""

    num_crops: int
    positive: float = 1.0          # weight of crops centred on foreground ...
    negative: float = 0.0          # ... and on background
    flip_prob: float = 0.1         # for each axis
    rotate_prob: float = 0.1       # by multiples of 90 degrees, in the first two axes
    shift_prob: float = 0.5        # of the intensity, by up to 0.1


@dataclass(frozen=True)
class Dataset:
    """One dataset, as data.

    Attributes:
        channels: names of the input channels.
        class_names: by class index, background first.
        label_values: value in the file -> class index; any other value is an error.
        layouts: where its files may lie below DATA, tried in order.
        intensity: MONAI transforms of the image, by name with their arguments.
        spacing_mm: resampled to, along the file's axes; None to keep the file's.
        padding_mode: of training volumes that are smaller than the crop.
        augmentation: of training crops.
        foreign_prefix: case ids that begin so belong to another dataset.
        split: (case ids, held-out size or None, validation size or None) -> folds.
    """

    name: str
    channels: tuple[str, ...]
    class_names: tuple[str, ...]
    label_values: dict[int, int]
    layouts: tuple[Layout, ...]
    intensity: Intensity
    padding_mode: str
    augmentation: Augmentation
    split: Callable[[Sequence[str], int | None, int | None], list[Split]]
    spacing_mm: tuple[float, float, float] | None = None
    foreign_prefix: str | None = None

    @property
    def num_classes(self) -> int:
        """K, background included."""
        return len(self.class_names)

    def find_cases(self, data_dir: str | Path) -> tuple[list[Case], list[Problem]]:
        """The dataset's cases below `data_dir` and what is wrong there; see data.find_cases."""
        cases, problems = find_cases(data_dir, self.layouts)
        problems += [Problem(case.case_id, case.image, f"is not of {self.name}",
                             "give the folder or the --dataset that it belongs to")
                     for case in cases
                     if self.foreign_prefix and case.case_id.startswith(self.foreign_prefix)]
        return cases, problems


def _mmwhs_split(case_ids, held_out, num_validation):
    if num_validation is not None:
        raise ValueError("--validation_split: MM-WHS folds have no test set, they validate on "
                         "the held-out cases; use --training_split for their number.")
    return consecutive_folds(case_ids, 4 if held_out is None else held_out)


def _hippocampus_split(case_ids, held_out, num_validation):
    num_testing = 60 if held_out is None else held_out
    return [shuffled_split(case_ids, num_testing, num_validation, published_validation=30)]


def _mmwhs(modality: str) -> Dataset:
    """MM-WHS 2017 (Zhuang and Shen, 2016), 20 labelled cases of one modality."""
    window = ("ScaleIntensityRanged", {"a_min": -175, "a_max": 250, "b_min": 0.0, "b_max": 1.0,
                                       "clip": True})
    z_score = ("NormalizeIntensityd", {"nonzero": True, "channel_wise": True})
    folders, prefix = ("imagesTraining", "labelsTraining"), f"{modality}_"
    return Dataset(
        name=f"mmwhs-{modality}",
        channels=(modality.upper(),),
        class_names=("background", "myocardium", "left atrium", "left ventricle", "right atrium",
                     "right ventricle", "ascending aorta", "pulmonary artery"),
        # 421 is a stray value in a few voxels of the release.
        label_values={0: 0, 205: 1, 420: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7, 421: 0},
        layouts=(Layout(*folders),
                 Layout(*(f"{modality.upper()}/{folder}" for folder in folders)),
                 Layout(f"{modality}_train", f"{modality}_train", prefix),
                 Layout(".", ".", prefix)),
        intensity=(window, z_score) if modality == "ct" else (z_score,),
        spacing_mm=(1.5, 1.5, 2.0),
        foreign_prefix="mr_" if modality == "ct" else "ct_",
        padding_mode="reflect",
        augmentation=Augmentation(num_crops=2),
        split=_mmwhs_split)


_HIPPOCAMPUS = Dataset(
    name="hippocampus",
    channels=("MR",),
    class_names=("background", "anterior", "posterior"),
    label_values={0: 0, 1: 1, 2: 2},
    layouts=(Layout("imagesTr", "labelsTr"),
             Layout("Task04_Hippocampus/imagesTr", "Task04_Hippocampus/labelsTr")),
    intensity=(("ScaleIntensityd", {}),),
    padding_mode="edge",
    augmentation=Augmentation(num_crops=8, negative=0.1, flip_prob=0.5, shift_prob=1.0),
    split=_hippocampus_split)

DATASETS: dict[str, Dataset] = {
    "mmwhs-ct": _mmwhs("ct"),
    "mmwhs-mr": _mmwhs("mr"),
    "hippocampus": _HIPPOCAMPUS,
}
