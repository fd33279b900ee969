"""One case segmented, on the grid that it is scored on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data import Case, Dataset, read_volume
from data.nifti.native_files import (
    NativeGrid,
    label_on_image_grid,
    plain_grid,
    values_of_classes,
)

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
        return self.prediction if self.label_values is None else self.label_values[self.prediction]


def segment_resampled(predictor: Predictor, volume: Mapping[str, Any]) -> SegmentedCase:
    """Segment a volume, as data.preprocessing gives it, on its own grid.

    Raises:
        LogitsError: the network's logits are not finite; it names the case.
    """
    with naming(volume["case_id"], predictor.network):
        prediction = predictor.label_map(volume["image"]).numpy()
    return SegmentedCase(volume["case_id"], volume["image"][0].numpy(), volume["label"][0].numpy(),
                         prediction, plain_grid(prediction.shape, volume["affine"].numpy()),
                         tuple(volume["spacing_mm"].tolist()))


def segment_native(predictor: Predictor, volume: Mapping[str, Any], cases: Mapping[str, Case],
                   dataset: Dataset) -> SegmentedCase:
    """Segment a volume on the grid of its files, where the label has its own voxels.

    Args:
        cases: by case id.

    Raises:
        ValueError: the files have no way back from the resampled grid (a sheared affine).
        LogitsError: see `segment_resampled`.
    """
    case = cases[volume["case_id"]]
    label, grid = label_on_image_grid(case, dataset.label_values, len(dataset.channels))
    try:
        with naming(case.case_id, predictor.network):
            prediction = predictor.native(volume, grid)
    except ValueError as error:
        raise ValueError(f"{case.case_id}: {error}; score it on the resampled grid.") from error
    image, *_ = read_volume(case.images, len(dataset.channels), case.channel_first)
    return SegmentedCase(case.case_id, image[0], label, prediction, grid, grid.spacing_mm,
                         values_of_classes(dataset.label_values))
