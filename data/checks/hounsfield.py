"""Whether the values of a CT are Hounsfield units: air is -1000, water 0, bone up to about 2000."""

import numpy as np

AIR_HU = -200        # a CT that shows air has voxels below, one that shows a patient voxels above
OFFSET_HU = 1024     # that scanners add, to store HU as numbers from 0 on
FAT_HU = -100        # the least dense tissue: without air nothing lies below
TISSUE_HU = (-200, 300)
MOST_ABOVE = 1 / 3   # of a volume may lie at the window's top; bone and contrast medium are less
MOST_SHIFTED = 0.15  # of a volume may lie where tissue with the offset would; dense bone is less
LARGEST_OFFSET = 2**16

Doubt = tuple[str, str]  # what was found, and what to do


def window_doubts(image: np.ndarray, window: tuple[float, float]) -> list[Doubt]:
    """Whether the values of an image fit the window that they are clipped to; empty if they do.

    Args:
        image: HU as the file has them, of any shape.
        window: (low, high) in HU.
    """
    low, high = window
    least, most = float(image.min()), float(image.max())
    above = float(np.count_nonzero(image >= high)) / image.size
    span = f"its values, {least:g} to {most:g},"
    shifted = _share_of_shifted_tissue(image) > MOST_SHIFTED and high < OFFSET_HU + TISSUE_HU[0]
    if shifted or (least > FAT_HU and least >= low):
        return [(f"{span} seem to lack the HU offset: {above:.0%} lie at the top of the window "
                 f"{low:g} to {high:g} HU or above",
                 f"subtract {OFFSET_HU} from the image, or train with --window "
                 f"{low + OFFSET_HU:g} {high + OFFSET_HU:g}; let it be if the image shows neither "
                 f"air nor fat")]
    if above > MOST_ABOVE:
        return [(f"{span} do not fit the window: {above:.0%} lie at its top of {high:g} HU or "
                 f"above", "subtract the offset if they are no HU, or train with another --window")]
    if most < AIR_HU:
        return [(f"{span} are those of air alone",
                 f"add {OFFSET_HU} if the HU offset was subtracted twice")]
    return []


def _share_of_shifted_tissue(volume: np.ndarray) -> float:
    """The share of voxels in the range of tissue if the values still have the offset."""
    low, high = (hu + OFFSET_HU for hu in TISSUE_HU)
    return float(np.count_nonzero((volume >= low) & (volume <= high))) / volume.size


def with_offset(volume: np.ndarray, offset: int) -> np.ndarray:
    """The volume plus an offset in HU, whole numbers as int16 without overflow."""
    if volume.dtype.kind == "f":
        return volume + offset
    kept = np.iinfo(np.int16)
    return np.clip(volume.astype(np.int64) + offset, kept.min, kept.max).astype(np.int16)


def shows_air(volume: np.ndarray, top: float) -> bool:
    """Whether a volume in HU has values of air, and its tissue not at `top` or above."""
    above = np.count_nonzero(volume >= top) / volume.size
    return (bool(volume.min() < AIR_HU) and above <= MOST_ABOVE
            and _share_of_shifted_tissue(volume) <= MOST_SHIFTED)


def refuse_unlike_ct(volume: np.ndarray, hu_range: tuple[int, int]) -> None:
    """Refuse a volume that clipping would make constant, or that is air alone.

    Raises:
        ValueError: it is constant once clipped, or no value is above AIR_HU.
    """
    least, most = float(volume.min()), float(volume.max())
    low, high = np.clip((least, most), *hu_range)
    if least == most:
        raise ValueError(f"every voxel is {least:g}; leave it out")
    hint = (f"the HU offset seems to be wrong; if the lowest value is air, --hu_offset "
            f"{-OFFSET_HU - least:.0f} corrects it")
    if low == high:
        raise ValueError(f"its values, {least:g} to {most:g}, are all {low:g} once clipped to "
                         f"{hu_range[0]} to {hu_range[1]} HU: {hint}")
    if most < AIR_HU:
        raise ValueError(f"its values, {least:g} to {most:g}, are those of air alone: {hint}")
