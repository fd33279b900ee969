"""One case segmented, on the grid that it is scored on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data import Case, Dataset, read_volume
from data.nifti.native_files import (
    NativeGrid,
    label_on_image_grid,
    plain_grid,
    values_of_classes,
)
from data.volumes.prepared import prepare_volume
from system.ahead import each_ahead

from .logit_checks import naming
from .predictor import Predictor


@dataclass(frozen=True)
class SegmentedCase:
    """A case's volumes (X, Y, Z) on one grid.

    Attributes:
        image: intensities of the first channel.
        label, prediction: classes.
        label_values: of each class, in files of the prediction; None: the classes themselves.
    """

    case_id: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    grid: NativeGrid
    spacing_mm: tuple[float, float, float]
    label_values: np.ndarray | None = None

    @property
    def predicted_values(self) -> np.ndarray:
        """The prediction as it is written to a file."""
        if self.label_values is None:
            return self.prediction
        return self.label_values[self.prediction]


def segment_resampled(predictor: Predictor, volume: Mapping[str, Any]) -> SegmentedCase:
    """Segment a volume of data.preprocessing on its own grid; a LogitsError names the case."""
    with naming(volume["case_id"], predictor.network):
        prediction = predictor.label_map(volume["image"]).numpy()
    return SegmentedCase(volume["case_id"], volume["image"][0].numpy(), volume["label"][0].numpy(),
                         prediction, plain_grid(prediction.shape, volume["affine"].numpy()),
                         tuple(volume["spacing_mm"].tolist()))


def native_volumes(cases: Iterable[Case], dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Volumes for `segment_native` one at a time, reading the next one meanwhile.

    Each is that of data.stream_volumes with "native", on the grid of its files: label (X, Y, Z) of
    classes, the grid, and the intensities (X, Y, Z) of the first channel.

    Raises:
        ValueError: see data.nifti.native_files.label_on_image_grid.
    """
    return each_ahead(partial(_with_files, dataset=dataset), cases)


def _with_files(case: Case, dataset: Dataset) -> dict[str, Any]:
    num_channels = len(dataset.channels)
    label, grid = label_on_image_grid(case, dataset.label_values, num_channels)
    image, *_ = read_volume(case.images, num_channels, case.channel_first)
    return prepare_volume(case, dataset) | {"native": (label, grid, image[0])}


def segment_native(predictor: Predictor, volume: Mapping[str, Any],
                   dataset: Dataset) -> SegmentedCase:
    """Segment a volume of `native_volumes` on the grid of its files, which the label is on.

    Raises:
        ValueError: the files have no way back from the resampled grid (a sheared affine).
        LogitsError: see `segment_resampled`.
    """
    case_id, (label, grid, image) = volume["case_id"], volume["native"]
    try:
        with naming(case_id, predictor.network):
            prediction = predictor.native(volume, grid)
    except ValueError as error:
        raise ValueError(f"{case_id}: {error}; score it on the resampled grid.") from error
    return SegmentedCase(case_id, image, label, prediction, grid, grid.spacing_mm,
                         values_of_classes(dataset.label_values))
