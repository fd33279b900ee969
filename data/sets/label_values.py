"""The values of label files, which some tools store as floating point and a hair off."""

from collections.abc import Iterator

import numpy as np

TOLERANCE = 1e-4    # from a whole number; what resaving with a scale or as float leaves
CHUNK = 2**18       # voxels looked at at a time
MAX_DIFFERENT = 10_000


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """The values with those near a whole number on it, the others as they are; same type."""
    if values.dtype.kind != "f":
        return values
    nearest = np.rint(values)
    # The relative part is for float32, in which 850.0001 is 2e-5 further away.
    with np.errstate(invalid="ignore"):  # infinity less infinity
        near = np.abs(values - nearest) <= TOLERANCE + 1e-7 * np.abs(nearest)
    return np.where(near, nearest, values)


def farthest_off(values: np.ndarray) -> float:
    """How far the values are at most from whole numbers."""
    if values.dtype.kind != "f":
        return 0.0
    return max(float(np.abs(chunk - np.rint(chunk)).max()) for chunk in _chunks(values))


def value_counts(values: np.ndarray) -> dict[float | int, int]:
    """How many voxels have each value, ascending; values near a whole number count as it.

    Stops after MAX_DIFFERENT values: that is an image, not a label map. Values are numpy scalars
    of the array's type, so `str` gives all their digits. NaN counts as one value, the last.
    """
    counts: dict[float | int, int] = {}
    num_nan, nan = 0, None
    for chunk in _chunks(values):
        found = np.unique(whole_numbers(chunk), return_counts=True)
        for value, count in zip(*found, strict=True):
            if value != value:
                num_nan, nan = num_nan + int(count), value
            else:
                counts[value] = counts.get(value, 0) + int(count)
        if len(counts) > MAX_DIFFERENT:
            break
    ascending = {value: counts[value] for value in sorted(counts)}
    if nan is not None:
        ascending[nan] = num_nan
    return ascending


def text_of(value: float | int) -> str:
    """A value with all its digits; whole ones without a point."""
    return str(value).removesuffix(".0")


def _chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values in pieces (n,), in the array's memory order, so no piece is a copy."""
    order = "F" if values.flags.f_contiguous else "C"
    flat = values.reshape(-1, order=order)
    for start in range(0, flat.size, CHUNK):
        yield flat[start:start + CHUNK]
