"""Small volumes of scored cases for the viewer of report.html, stored in the run's folder."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from system.files import write_bytes

from ..pictures import grey_levels

FILE = "report_volumes.npz"
FORMAT = 1
MAX_VOXELS = 12_000_000  # of all cases together, so that a report stays below 15 MB
GREYS = 64


@dataclass(frozen=True)
class CaseView:
    """One scored case as the viewer shows it; volumes (H, W, D) uint8 in RAS+ order.

    Attributes:
        spacing_mm: of these voxels, along H, W, D.
        image: grey values below GREYS.
    """

    case_id: str
    spacing_mm: tuple[float, float, float]
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


def case_view(case_id: str, image: np.ndarray, label: np.ndarray, prediction: np.ndarray,
              spacing_mm: Sequence[float], window: tuple[float, float], num_cases: int) -> CaseView:
    """A view of one of `num_cases` cases, thinned along its finest axes to its share of voxels.

    Args:
        image: intensities (H, W, D).
        label, prediction: label maps (H, W, D).
        window: intensities shown as black and white, see `grey_window`.
    """
    spacing = [float(mm) for mm in spacing_mm]
    steps = thinning(image.shape, spacing, MAX_VOXELS // max(num_cases, 1))
    thin = tuple(slice(None, None, step) for step in steps)
    return CaseView(case_id, tuple(mm * step for mm, step in zip(spacing, steps, strict=True)),
                    grey_levels(image[thin], window, GREYS), label[thin].astype(np.uint8),
                    prediction[thin].astype(np.uint8))


def thinning(shape: Sequence[int], spacing_mm: Sequence[float], most: int) -> list[int]:
    """Steps along the axes that leave at most `most` voxels, thinning the finest axis first."""
    steps = [1, 1, 1]
    while math.prod(-(-n // step) for n, step in zip(shape, steps, strict=True)) > most:
        axis = min(range(3), key=lambda a: spacing_mm[a] * steps[a]
                   if shape[a] > steps[a] else math.inf)
        steps[axis] += 1
    return steps


def write_views(path: Path, views: Sequence[CaseView]) -> None:
    """Write the views as plain arrays and a JSON text."""
    about = {"format": FORMAT, "cases": [{"case_id": view.case_id, "spacing_mm": view.spacing_mm}
                                         for view in views]}
    arrays = {f"{name}_{index}": getattr(view, name) for index, view in enumerate(views)
              for name in ("image", "label", "prediction")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
    write_bytes(path, buffer.getvalue())


def read_views(path: Path) -> list[CaseView]:
    """What `write_views` wrote; none where there is no such file.

    Raises:
        ValueError: the file is damaged or has another format.
    """
    if not path.is_file():
        return []
    try:
        with np.load(path, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']}")
            views = [CaseView(str(case["case_id"]), tuple(map(float, case["spacing_mm"])),
                              *(found[f"{name}_{index}"]
                                for name in ("image", "label", "prediction")))
                     for index, case in enumerate(about["cases"])]
    except Exception as error:  # a damaged archive may raise anything
        raise ValueError(f"{path}: cannot be read ({error}); run eval.py again.") from error
    for view in views:
        shapes = {volume.shape for volume in (view.image, view.label, view.prediction)}
        kinds = {volume.dtype for volume in (view.image, view.label, view.prediction)}
        if len(shapes) != 1 or kinds != {np.dtype(np.uint8)} or view.image.ndim != 3:
            raise ValueError(f"{path}: {view.case_id} is not a volume; run eval.py again.")
    return views
