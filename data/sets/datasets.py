"""What each dataset is: where its files are, what its labels mean, how its crops are made."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from configs.recipes import WINDOWED

from ..checks.passed_over import passed_over_cases
from .augmentations import Augmentation
from .case_names import name_problems
from .cases import Case, Layout, Listed, Problem, find_cases, find_listed
from .intensities import WINDOW
from .splits import Split, folds_alone, folds_with_test_set

_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Dataset:
    """One dataset, as data.

    Attributes:
        channels: names of the input channels.
        class_names: by class index, background first.
        label_values: value in the file -> class index; any other value is an error.
        layouts: where its files may be below DATA, tried in order.
        intensity: a key of data.INTENSITIES.
        window: (low, high) of the intensity schemes "ct" and "hu", in HU.
        spacing_mm: resampled to, along the file's axes; None to keep the file's.
        padding_mode: of training volumes that are smaller than the crop.
        augmentation: of training crops, as published.
        symmetric: whether a mirror image, left to right, is as likely as the image.
        foreign_prefix: case ids that begin with it belong to another dataset.
        listed: its cases if dataset.json lists them; None to take all that the layouts hold.
        numbered: whether images end in the number of their channel, as in nnU-Net's raw layout.
        num_training: how many cases there are according to its dataset.json; None if it is silent.
        split: (case ids, held-out size or None, validation size or None, number of folds or
            None) -> folds.
    """

    name: str
    channels: tuple[str, ...]
    class_names: tuple[str, ...]
    label_values: dict[int, int]
    layouts: tuple[Layout, ...]
    intensity: str
    padding_mode: str
    augmentation: Augmentation
    split: Callable[..., list[Split]]
    symmetric: bool = False
    window: tuple[float, float] = WINDOW
    spacing_mm: tuple[float, float, float] | None = None
    foreign_prefix: str | None = None
    listed: tuple[Listed, ...] | None = None
    numbered: bool = False
    num_training: int | None = None

    @property
    def num_classes(self) -> int:
        """K, background included."""
        return len(self.class_names)

    @property
    def used_window(self) -> tuple[float, float] | None:
        """The window if the intensity scheme has one."""
        if self.intensity in WINDOWED:
            return self.window
        return None

    @property
    def sided_classes(self) -> tuple[str, ...]:
        """Classes with left or right in their names: mirrored they are another class."""
        return tuple(name for name in self.class_names if _SIDE.search(name.replace("_", " ")))

    def find_cases(self, data_dir: str | Path) -> tuple[list[Case], list[Problem]]:
        """The dataset's cases below `data_dir` and what is wrong there; see data.find_cases."""
        if self.listed is not None:
            cases, problems = find_listed(data_dir, self.listed, self.channels)
            return cases, problems + name_problems(cases)
        cases, problems = find_cases(data_dir, self.layouts, self.channels, self.numbered)
        problems += name_problems(cases)
        for case in cases:
            if self.foreign_prefix and case.case_id.lower().startswith(self.foreign_prefix):
                problems.append(Problem(case.case_id, case.image, f"is not of {self.name}",
                                        "give the folder or the --dataset that it belongs to"))
        return cases, problems

    def passed_over(self, data_dir: str | Path) -> list[Problem]:
        """Findings on files that are not used, and on cases that should be there but are not.

        Empty if the cases are listed.
        """
        if self.listed is not None:
            return []
        found = passed_over_cases(data_dir, self.layouts)
        if self.num_training is None:
            return found
        number = len(self.find_cases(data_dir)[0])
        if number != self.num_training:
            found.append(Problem("dataset.json", Path(data_dir), f"says numTraining "
                                 f"{self.num_training}, but {number} cases can be taken",
                                 "see whether files were left out when the data were copied, or "
                                 "correct the number"))
        return found


def _mmwhs(modality: str, intensity: str, foreign_prefix: str) -> Dataset:
    """MM-WHS 2017 (Zhuang and Shen, 2016), 20 labelled cases of one modality."""
    prefix, folder = f"{modality}_", modality.upper()
    return Dataset(
        name=f"mmwhs-{modality}",
        channels=(modality.upper(),),
        class_names=("background", "myocardium", "left atrium", "left ventricle", "right atrium",
                     "right ventricle", "ascending aorta", "pulmonary artery"),
        # 421 is a stray value in a few voxels of the release.
        label_values={0: 0, 205: 1, 420: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7, 421: 0},
        layouts=(Layout("imagesTraining", "labelsTraining"),
                 Layout(f"{folder}/imagesTraining", f"{folder}/labelsTraining"),
                 Layout(f"{modality}_train", f"{modality}_train", prefix),
                 Layout(".", ".", prefix)),
        intensity=intensity,
        spacing_mm=(1.5, 1.5, 2.0),
        foreign_prefix=foreign_prefix,
        padding_mode="reflect",
        augmentation=Augmentation(num_crops=2),
        split=partial(folds_alone, fold_size=4))


# Differs from the authors' code: theirs reads channel-first files only and does not normalise
# (--no_normalize), since its copy of the data was normalised already. Nothing is published on
# volumes smaller than a crop, as there are none; mirrored tumours would be wrong, so edges repeat.
_BRATS = Dataset(
    name="msd-brats",
    channels=("FLAIR", "T1w", "T1gd", "T2w"),
    class_names=("background", "edema", "non-enhancing tumour", "enhancing tumour"),
    label_values={0: 0, 1: 1, 2: 2, 3: 3},
    layouts=(Layout("Images.Training", "Labels.Training", channel_first=True),
             Layout("imagesTr", "labelsTr"),
             Layout("Task01_BrainTumour/imagesTr", "Task01_BrainTumour/labelsTr")),
    intensity="zscore",
    padding_mode="edge",
    augmentation=Augmentation(num_crops=2, flip_prob=0.5, shift_prob=1.0),
    symmetric=True,
    split=partial(folds_with_test_set, default_testing=24, published_validation=72))

_HIPPOCAMPUS = Dataset(
    name="hippocampus",
    channels=("MR",),
    class_names=("background", "anterior", "posterior"),
    label_values={0: 0, 1: 1, 2: 2},
    layouts=(Layout("imagesTr", "labelsTr"),
             Layout("Task04_Hippocampus/imagesTr", "Task04_Hippocampus/labelsTr")),
    intensity="minmax",
    padding_mode="edge",
    augmentation=Augmentation(num_crops=8, negative=0.1, flip_prob=0.5, shift_prob=1.0),
    symmetric=True,
    split=partial(folds_with_test_set, default_testing=60, published_validation=30))

DATASETS: dict[str, Dataset] = {
    "mmwhs-ct": _mmwhs("ct", intensity="ct", foreign_prefix="mr_"),
    "mmwhs-mr": _mmwhs("mr", intensity="zscore", foreign_prefix="ct_"),
    "msd-brats": _BRATS,
    "hippocampus": _HIPPOCAMPUS,
}
