"""What is done to the intensities of an image: each scheme as MONAI transforms by name."""

from collections.abc import Callable
from typing import Any

WINDOW = (-175.0, 250.0)  # in HU: that of the published MM-WHS CT runs

Window = tuple[float, float]
Steps = tuple[tuple[str, dict[str, Any]], ...]

# Over the voxels that are not 0: air and skull-stripped surroundings stay out of the statistics.
_Z_SCORE = ("NormalizeIntensityd", {"nonzero": True, "channel_wise": True})
_MIN_MAX = ("ScaleIntensityd", {"channel_wise": True})


def _clipped(window: Window, least: float) -> tuple[str, dict[str, Any]]:
    """The window to [least, 1], clipped."""
    low, high = window
    return "ScaleIntensityRanged", {"a_min": low, "a_max": high, "b_min": least, "b_max": 1.0,
                                    "clip": True}


def _ct(window: Window) -> Steps:
    """The window to [0, 1], clipped, and then the z-score."""
    return _clipped(window, 0.0), _Z_SCORE


def _hu(window: Window) -> Steps:
    """The window to [-1, 1], clipped, the same for all volumes, as HU are absolute.

    Up to a factor and an offset nnU-Net's scheme for CT. Without the z-score of "ct", which takes
    what lies below the window for the mean, a window may begin within soft tissue.
    """
    return (_clipped(window, -1.0),)


# Scheme -> (window -> transforms with their arguments); only "ct" and "hu" look at it.
INTENSITIES: dict[str, Callable[[Window], Steps]] = {
    "none": lambda window: (),
    "zscore": lambda window: (_Z_SCORE,),
    "minmax": lambda window: (_MIN_MAX,),
    "ct": _ct,
    "hu": _hu,
}
