"""Whether an image still shows anything once it is prepared for the network.

A value that is finite in the file may be infinite in float32 or after the intensity scheme, and a
single huge value makes all others equal. So an image is judged as the network gets it. The schemes
are those of data/sets/intensities.py, in numpy: importing MONAI would cost every process that
verifies files several seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from configs.recipes import WINDOWED

from ..sets.cases import Case, DataError, Problem
from ..sets.datasets import Dataset
from ..sets.intensities import INTENSITIES
from .contrast import FAINT, LOST, share_of_range
from .hounsfield import window_doubts

MIN_SPREAD = 1e-6    # of what the network is given; norms have an epsilon of 1e-5
MAX_GIVEN = 1e15     # a sum of squares of such values is still finite in float32

Doubt = tuple[str, str]  # what was found, and what to do
REMEDY = "replace such values (outside the field of view by that of air), or leave the case out"


def judge_image(image: Sequence[np.ndarray], dataset: Dataset) -> tuple[list[Doubt], list[Doubt]]:
    """What keeps an image from being used, and what should be looked at.

    Args:
        image: channels (X, Y, Z) as read from the file, finite in float32.
    """
    scheme = dataset.intensity
    errors, doubtful, flat = [], [], []
    for name, stored in zip(dataset.channels, image, strict=True):
        which = ""
        if len(dataset.channels) > 1:
            which = f"channel {name}: "
        if stored.min() == stored.max():  # before it is converted to float32
            flat.append(_flat(which, stored, scheme))
            continue
        channel = stored.astype(np.float32)
        as_given = scaled(channel, dataset)
        said = f"{which}its values, {_range(channel)},"
        fault = fault_of_given(as_given)
        if fault == "constant":
            flat.append(_flat(which, channel, scheme))
        elif fault is not None:
            errors.append((f"{said} are {fault} after the intensity scheme {scheme}", REMEDY))
        else:
            share = share_of_range(channel if dataset.used_window is None else as_given)
            found = f"{said} are so far apart that half of them lie within {share:.1g} of the range"
            if share < LOST:
                errors.append((found, REMEDY))
            elif share < FAINT:
                doubtful.append((found, REMEDY))
    if len(flat) == len(dataset.channels):
        errors += flat
    else:
        doubtful += flat  # perhaps a sequence that was not acquired
    return errors, doubtful


def scaled(channel: np.ndarray, dataset: Dataset) -> np.ndarray:
    """One channel (X, Y, Z) float32 after the dataset's intensity scheme."""
    with np.errstate(all="ignore"):
        for name, arguments in INTENSITIES[dataset.intensity](dataset.window):
            channel = STEPS[name](channel, arguments)
    return channel


def _z_score(channel: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    assert arguments["nonzero"] and arguments["channel_wise"]
    inside = channel != 0
    values = channel[inside]
    if not values.size:
        return channel
    result = channel.copy()
    if values.min() == values.max():  # the standard deviation may be a rounding error
        result[inside] = 0
    else:
        result[inside] = (values - values.mean()) / values.std()
    return result


def _min_max(channel: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    assert arguments["channel_wise"]
    low, high = channel.min(), channel.max()
    if high > low:
        return (channel - low) / (high - low)
    return channel * 0


def _clipped(channel: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    low, high = np.float32(arguments["a_min"]), np.float32(arguments["a_max"])
    least, most = np.float32(arguments["b_min"]), np.float32(arguments["b_max"])
    assert arguments["clip"]
    return ((channel - low) / (high - low) * (most - least) + least).clip(least, most)


STEPS: dict[str, Callable[[np.ndarray, dict[str, Any]], np.ndarray]] = {
    "NormalizeIntensityd": _z_score, "ScaleIntensityd": _min_max, "ScaleIntensityRanged": _clipped}


def value_problems(case: Case, dataset: Dataset,
                   channels: Sequence[np.ndarray]) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings about the values once they are prepared for the network.

    Args:
        channels: each (X, Y, Z).
    """
    errors, doubtful = judge_image(channels, dataset)
    if dataset.used_window is not None and not errors:
        image = channels[0]
        if len(channels) > 1:
            image = np.stack(channels)
        doubtful = [*doubtful, *window_doubts(image, dataset.window)]
    return ([Problem(case.case_id, case.image, *doubt) for doubt in errors],
            [Problem(case.case_id, case.image, *doubt) for doubt in doubtful])


def fault_of_given(given: np.ndarray) -> str | None:
    """Why a network cannot use a prepared channel, in words; None if it can."""
    low, high = float(given.min()), float(given.max())
    if not np.isfinite((low, high)).all():
        return "not finite"
    if max(-low, high) > MAX_GIVEN:
        return "too large to be squared and summed up"
    if high - low <= MIN_SPREAD * max(1.0, -low, high):
        return "constant"
    return None


def refuse_unseen(given: np.ndarray) -> None:
    """Refuse a prepared image (C, H, W, D) that shows a network nothing.

    Raises:
        DataError: values are not finite, or every channel is constant.
    """
    faults = [fault_of_given(channel) for channel in given]
    wrong = [fault for fault in faults if fault not in (None, "constant")]
    if all(fault == "constant" for fault in faults):
        wrong = [f"constant ({float(given.flat[0]):g})"]
    if wrong:
        raise DataError(f"its values are {wrong[0]} when the network is given them; {REMEDY}.")


def _range(channel: np.ndarray) -> str:
    return f"{float(channel.min()):.4g} to {float(channel.max()):.4g}"


def _flat(which: str, channel: np.ndarray, scheme: str) -> Doubt:
    remedy = "export it again or leave the case out"
    if channel.min() == channel.max():
        return f"{which}every voxel is {float(channel.flat[0]):g}", remedy
    if scheme in WINDOWED:
        remedy = "correct the HU offset, or train with a --window that the values span"
    if scheme == "none":
        remedy = "give --intensity zscore or minmax, " + remedy
    return (f"{which}its values, {_range(channel)}, are constant after the intensity scheme "
            f"{scheme}", remedy)
