"""Settings that follow from what the volumes outside the test hold: intensities and classes.

The window of CT is nnU-Net's, and so is drawing the class of a crop's centre before the voxel
(Isensee et al., Nature Methods 18, 2021). When to draw it, and how many crops and epochs that
takes, are this project's rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..recipes import WINDOWED

WINDOW_SHARES = (0.005, 0.995)  # of the labelled voxels, nnU-Net's percentiles
RARE = 0.1                      # a class with a smaller share of the foreground is rarely a centre
MOSTLY = 0.5                    # of the cases; a class in fewer is warned of


@dataclass(frozen=True)
class CaseContents:
    """What one case holds.

    Attributes:
        voxels: of its volume.
        voxel_ml: volume of one of them, ml.
        class_voxels: (K,), of each class, background first.
        zero_shares: (C,), share of the voxels that are exactly 0, by channel.
        intensities: (C, N), of the labelled voxels, ascending and evenly spaced among them; N is
            the same for all cases, but 0 without foreground.
    """

    voxels: int
    voxel_ml: float
    class_voxels: tuple[int, ...]
    zero_shares: tuple[float, ...]
    intensities: tuple[tuple[float, ...], ...]

    @property
    def foreground(self) -> int:
        """Voxels of all classes but the background."""
        return sum(self.class_voxels[1:])


@dataclass(frozen=True)
class Contents:
    """What the cases of a run hold that are not held out for the test.

    Attributes:
        channels: their names.
        class_names: background first.
        is_ct: whether every channel's name says CT.
        cases: those that could be read, at least one.
        num_unread: how many others there are.
    """

    channels: tuple[str, ...]
    class_names: tuple[str, ...]
    is_ct: bool
    cases: tuple[CaseContents, ...]
    num_unread: int = 0

    @property
    def read(self) -> str:
        """For a sentence: the number of cases."""
        if len(self.cases) == 1:
            return "1 case"
        return f"{len(self.cases)} cases"

    def holding(self, index: int) -> list[CaseContents]:
        """The cases that have voxels of a class."""
        return [case for case in self.cases if case.class_voxels[index] > 0]


def percentile(values: Sequence[float], share: float) -> float:
    """With linear interpolation, as numpy's."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def plan_intensity(contents: Contents, given: Mapping[str, Any]
                   ) -> tuple[dict[str, Any], dict[str, str]]:
    """The intensity scheme and its window, as far as they are not given; and why."""
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    channels = " and ".join(contents.channels)
    if "intensity" not in given:
        if contents.is_ct:
            values["intensity"] = "hu"
            reasons["intensity"] = (f"{channels}: the same window for all volumes, to -1..1, as HU "
                                    f"are absolute")
        else:
            values["intensity"] = "zscore"
            zeros = []
            for case in contents.cases:
                zeros += case.zero_shares
            reasons["intensity"] = (
                f"{channels}: not CT alone, so each channel of a volume by itself, over the voxels "
                f"that are not 0 ({_percent(median(zeros))} are 0 in the median one)")
    scheme = given.get("intensity", values.get("intensity"))
    if scheme not in WINDOWED or "window" in given:
        return values, reasons
    window, why = planned_window(contents)
    if window is not None:
        values["window"] = window
    reasons["window"] = why
    return values, reasons


def planned_window(contents: Contents) -> tuple[tuple[float, float] | None, str]:
    """The window, HU, and why; None for the usual one.

    Every case counts the same, however large its foreground.
    """
    pooled: list[float] = []
    for case in contents.cases:
        for channel in case.intensities:
            pooled += channel
    if not pooled:
        return None, f"the usual one: nothing is labelled in {contents.read}"
    low, high = (float(f"{percentile(pooled, share):.4g}") for share in WINDOW_SHARES)
    if not low < high:
        return None, f"the usual one: the labelled voxels of {contents.read} are all {low:g}"
    return (low, high), (f"0.5 and 99.5 percentile of the labelled voxels of {contents.read}, "
                         f"as in nnU-Net")


def planned_centres(contents: Contents) -> tuple[str, str]:
    """What the crops are centred on, and why; with the volume of every class."""
    rarest, share = 0, 1.0
    for index in range(1, len(contents.class_names)):
        shares = [case.class_voxels[index] / case.foreground for case in contents.holding(index)]
        if shares and median(shares) < share:
            rarest, share = index, median(shares)
    if share < RARE:
        name = contents.class_names[rarest]
        chosen = "classes"
        why = (f"each class as often as the others, as in nnU-Net, since {name} is only "
               f"{_percent(share)} of the foreground")
    elif len(contents.class_names) == 2:
        chosen, why = "foreground", "every crop is centred on it (nnU-Net: at least a third)"
    else:
        chosen = "foreground"
        why = (f"every crop is centred on a class (nnU-Net: at least a third), and none is less "
               f"than {_percent(RARE)} of the foreground")
    return chosen, "\n    ".join([why, *class_volumes(contents)])


def class_volumes(contents: Contents) -> list[str]:
    """A line for each class: its volume and share where it is, and in how many cases that is."""
    lines = []
    for index, name in enumerate(contents.class_names):
        holding = contents.holding(index)
        if index == 0 or not holding:
            continue
        volume = median(case.class_voxels[index] * case.voxel_ml for case in holding)
        share = median(case.class_voxels[index] / case.voxels for case in holding)
        lines.append(f"{name}: {_volume(volume)} in the median case, {_percent(share)} of a "
                     f"volume, in {len(holding)} of {contents.read}")
    return lines


def rarest_presence(contents: Contents) -> tuple[float, str]:
    """The smallest share of the cases that have a class, of those that any has, and in words."""
    share, words = 1.0, ""
    for index, name in enumerate(contents.class_names):
        number = len(contents.holding(index))
        if index > 0 and 0 < number < share * len(contents.cases):
            share = number / len(contents.cases)
            words = f"{name} is in {number} of {contents.read}"
    return share, words


def doubts_of(contents: Contents) -> list[str]:
    """A line for cases that could not be read, and for each class that few or none have."""
    lines = []
    if contents.num_unread:
        total = len(contents.cases) + contents.num_unread
        lines.append(f"{contents.num_unread} of {total} cases cannot be used as they are "
                     f"(see scripts/verify_dataset.py), so the plan is made of the others")
    for index, name in enumerate(contents.class_names):
        number = len(contents.holding(index))
        if index == 0 or number >= MOSTLY * len(contents.cases):
            continue
        if number == 0:
            lines.append(f"{name} is in none of {contents.read} and cannot be learnt: choose "
                         f"other --splits, or take it out of dataset.json")
        else:
            lines.append(f"{name} is in {number} of {contents.read}: it is learnt from these "
                         f"alone; add cases that have it, or join it with another class")
    return lines


def _volume(ml: float) -> str:
    if ml >= 1000:
        return f"{ml / 1000:.2g} l"
    if ml >= 10:
        return f"{ml:.0f} ml"
    return f"{ml:.2g} ml"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
