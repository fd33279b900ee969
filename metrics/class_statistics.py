"""How large each class of a label map is, and how bright."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .case import check_class_names
from .overlap import check_volume


def class_statistics(label_map: np.ndarray, image: np.ndarray, voxel_ml: float,
                     class_names: Sequence[str],
                     channels: Sequence[str]) -> list[dict[str, int | str | float]]:
    """Volume and mean intensity of each foreground class of a label map (H, W, D).

    Args:
        label_map: integer class of each voxel, 0 is background.
        image: intensities (C, H, W, D) on the same grid.
        voxel_ml: volume of a voxel in ml.
        class_names: background first.
        channels: their names.

    Returns:
        Per foreground class: "class", "class_name", "voxels", "volume_ml" and, for each channel,
        "mean_NAME", in the image's unit; NaN where the class has no voxel.

    Raises:
        ValueError: shapes that do not fit, a class without a name, a volume that is not above 0.
    """
    check_class_names(class_names)
    check_volume("label_map", label_map)
    if not voxel_ml > 0:
        raise ValueError(f"voxel_ml must be above 0, got {voxel_ml}")
    if image.shape != (len(channels), *label_map.shape):
        raise ValueError(f"image must have shape {(len(channels), *label_map.shape)} for the "
                         f"channels {', '.join(channels)}, got {image.shape}")
    classes = label_map.reshape(-1)
    if classes.size and not 0 <= classes.min() <= classes.max() < len(class_names):
        raise ValueError(f"label_map has classes from {classes.min()} to {classes.max()}, but "
                         f"there are names for 0 to {len(class_names) - 1}")
    voxels = np.bincount(classes, minlength=len(class_names))
    sums = [np.bincount(classes, channel.reshape(-1), len(class_names)) for channel in image]
    rows = []
    for index, name in enumerate(class_names[1:], start=1):
        row = {"class": index, "class_name": name, "voxels": int(voxels[index]),
               "volume_ml": int(voxels[index]) * voxel_ml}
        for channel, total in zip(channels, sums, strict=True):
            row[f"mean_{channel}"] = math.nan
            if voxels[index] > 0:
                row[f"mean_{channel}"] = float(total[index] / voxels[index])
        rows.append(row)
    return rows
