"""What label files hold: unexpected values, no foreground, and classes that cannot be learnt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from system.text_files import few

from ..sets.cases import Case, Problem
from ..sets.label_values import farthest_off, text_of, value_counts
from .image_files import no_real_numbers


@dataclass(frozen=True)
class LabelFindings:
    """What the values of one label have shown.

    Attributes:
        errors: what keeps the case from being used.
        warnings: what should be looked at.
        classes: class indices with at least one voxel, before anything is resampled.
    """

    errors: list[Problem]
    warnings: list[Problem]
    classes: frozenset[int] = frozenset()


def label_findings(case: Case, array: np.ndarray, label_values: dict[int, int]) -> LabelFindings:
    """Check the values of a label (X, Y, Z).

    Args:
        label_values: as in Dataset.
    """
    if array.dtype.kind not in "biuf":
        return LabelFindings([no_real_numbers(case, case.label, array)], [])
    counts = value_counts(array)
    unexpected = {value: count for value, count in counts.items() if value not in label_values}
    if unexpected:
        return LabelFindings([_unexpected(case, unexpected, label_values)], [])
    doubtful = []
    classes = frozenset(label_values[value] for value in counts)
    if classes <= {0}:
        doubtful.append(Problem(case.case_id, case.label, "has no foreground voxel",
                                "it is scored as it is, and its training crops are cut at random; "
                                "label it if that is wrong"))
    if array.dtype.kind == "f":
        doubtful.append(Problem(case.case_id, case.label, f"labels are {array.dtype}{_off(array)}",
                                "store them as integers, without a scale"))
    return LabelFindings([], doubtful, classes)


def unlearnt_classes(classes: Mapping[str, frozenset[int]], training: Sequence[str],
                     class_names: Sequence[str], folder: Path,
                     who: str = "training cases") -> list[Problem]:
    """One problem with every foreground class that no training case has, if there are any.

    Args:
        classes: class indices of every case, by case id.
        training: ids of the cases that train.
        class_names: by class index, background first.
        folder: of the labels, for the message.
        who: what the message calls the cases that train.
    """
    absent = []
    for index, name in enumerate(class_names[1:], start=1):
        having = [case_id for case_id, found in classes.items() if index in found]
        if not set(having).isdisjoint(training):
            continue
        others = "nor has any other case"
        if having:
            others = f"other cases have: {few(having, 3)}"
        absent.append(f"class {index}, {name} ({others})")
    if not absent:
        return []
    return [Problem(who, folder, f"none of the {len(training)} has a voxel of "
                    f"{', of '.join(absent)}", "nothing is learnt of that: choose a split whose "
                    "training cases have it, or a dataset.json without it")]


def _unexpected(case: Case, counts: dict[float | int, int],
                label_values: dict[int, int]) -> Problem:
    wrong = [f"{text_of(value)} ({count} voxels)" for value, count in counts.items()]
    named = ", ".join(wrong[:8])
    if len(wrong) > 8:
        named += f" and {len(wrong) - 8} more"
    known = ", ".join(map(str, sorted(label_values)))
    return Problem(case.case_id, case.label, f"unexpected label values {named}",
                   f"this dataset has {known}; correct the label file, or choose the dataset it "
                   f"belongs to")


def _off(array: np.ndarray) -> str:
    off = farthest_off(array)
    if not off > 0:
        return ""
    return f", up to {off:.2g} off the whole numbers that they are taken for"
