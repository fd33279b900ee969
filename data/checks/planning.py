"""What settings take from data on disk: the images' grids, and values that the dataset decides."""

from collections.abc import Mapping
from typing import Any

import nibabel
import numpy as np

from configs import TrainingConfig
from configs.training.plan import Grids

from ..nifti.images import channel_axis, spatial_grid
from ..nifti.nifti_stream import read_header
from ..nifti.sheared_grids import is_sheared
from ..sets.cases import Case, DataError
from ..sets.datasets import Dataset
from ..sets.definitions import dataset_from_definition, dataset_of
from ..sets.splits import choose_fold
from .selection import planned_folds


def measured_grids(data_dir: str, definition: Mapping[str, Any]) -> Grids:
    """The grids of all cases of a user's own data, from the headers of their images.

    All cases, whatever the split, as in nnU-Net, so the folds of a cross-validation share one
    plan. Unreadable headers are left to the verification.

    Raises:
        DataError: there are no cases, or no header can be read.
    """
    dataset = dataset_from_definition(dict(definition))
    cases, _ = dataset.find_cases(data_dir)
    shapes, spacings, orders, sheared = [], [], [], False
    for case in cases:
        try:
            shape, affine, file_axes = _grid_of(case, dataset)
        except ValueError:
            continue
        spacing = nibabel.affines.voxel_sizes(affine)
        sheared = sheared or is_sheared(affine, shape)
        shapes.append(tuple(int(shape[axis]) for axis in file_axes))
        # Headers have float32: five digits keep 0.8 from becoming 0.800000011920929.
        spacings.append(tuple(float(f"{spacing[axis]:.5g}") for axis in file_axes))
        orders.append(file_axes)
    if not shapes:
        raise DataError(f"{data_dir}: holds no image whose header can be read.")
    return Grids(tuple(shapes), tuple(spacings), tuple(orders), sheared)


def _grid_of(case: Case, dataset: Dataset
             ) -> tuple[tuple[int, ...], np.ndarray, tuple[int, int, int]]:
    """Shape and affine along the file's axes, and which of these runs along each patient axis.

    Raises:
        ValueError: the header cannot be read, or is not that of a volume.
    """
    file = read_header(case.image)
    num_channels = len(dataset.channels)
    if case.more_channels:
        num_channels = 1
    axis = channel_axis(file.shape, num_channels, case.channel_first)
    shape, affine = spatial_grid(file, axis)
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError(f"{case.image}: its affine is not that of a grid of voxels.")
    along = nibabel.io_orientation(affine)[:, 0].astype(int).tolist()
    return shape, affine, tuple(along.index(axis) for axis in range(3))


def decided_values(config: TrainingConfig) -> dict[str, Any]:
    """The dataset's values for settings that are None; the split's sizes if DATA can be read.

    Raises:
        ValueError: see `dataset_of`.
    """
    dataset = dataset_of(config)
    values = {"intensity": dataset.intensity, "num_crops": dataset.augmentation.num_crops,
              "spacing_mm": None, "window": None}
    if dataset.spacing_mm is not None:
        values["spacing_mm"] = list(dataset.spacing_mm)
    if dataset.used_window is not None:
        values["window"] = list(dataset.used_window)
    try:
        cases, _ = dataset.find_cases(config.data_dir)
        folds = planned_folds(config, dataset, [case.case_id for case in cases])
        split = choose_fold(folds, config.fold)
    except ValueError:
        return values
    held_out = split.testing or split.validation
    return values | {"training_split": len(held_out), "validation_split": len(split.validation)}
