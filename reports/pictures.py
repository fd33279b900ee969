"""The picture of a case: outlines of label and prediction in three planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .canvas import colour_of, new_figure, save_png, write_at

_GROUND, _FRAME, _INK, _FAINT = "#101214", "#3A3F44", "#F2F2F2", "#9AA0A6"
_WIDTH, _HEIGHT = 1000, 1300  # pixels
_HEAD, _LEFT, _GAP, _LEGEND_LINE = 84, 44, 14, 24  # pixels

# plane, sliced axis, axis across and its letters left to right, axis upwards and its letters
# bottom to top; "RL" puts patient left on the right of the picture
_PLANES = (
    ("axial", 2, 0, "RL", 1, "PA"),
    ("coronal", 1, 0, "RL", 2, "IS"),
    ("sagittal", 0, 1, "AP", 2, "IS"),
)
_REVERSED = ("RL", "AP")  # RAS+ indices grow to R, A and S: these run against the index


@dataclass(frozen=True)
class Slice:
    """One slice of a case, arrays (across, up).

    Attributes:
        index: of the slice along the axis that is cut.
        image: grey levels uint8.
    """

    index: int
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


@dataclass(frozen=True)
class CasePlanes:
    """All that `case_picture` needs of a case: 2 MB of a CT with 512 x 512 x 400 voxels.

    Attributes:
        size_mm: of the volume, along H, W, D.
        slices: axial, coronal, sagittal.
    """

    size_mm: tuple[float, float, float]
    slices: tuple[Slice, Slice, Slice]


def case_planes(image: np.ndarray, label: np.ndarray, prediction: np.ndarray,
                spacing_mm: Sequence[float], window: tuple[float, float]) -> CasePlanes:
    """The three slices with the most foreground, of volumes (H, W, D) in RAS+ order.

    Args:
        image: intensities; indices grow to Right, Anterior, Superior.
        label: reference label map.
        prediction: predicted label map.
        spacing_mm: voxel size along H, W, D.
        window: intensities shown as black and white, see `grey_window`.

    Raises:
        ValueError: if the shapes differ or the spacing is not positive.
    """
    shapes = [volume.shape for volume in (image, label, prediction)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 3 or 0 in shapes[0]:
        raise ValueError(f"image, label and prediction must share one (H, W, D), got {shapes}")
    if len(spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(f"spacing_mm must be three positive numbers, got {tuple(spacing_mm)}")
    slices = []
    for _, normal, *_ in _PLANES:
        index = _busiest_slice(label, prediction, normal)
        grey = grey_levels(image.take(index, normal), window, 256)
        slices.append(Slice(index, grey, label.take(index, normal),
                            prediction.take(index, normal)))
    size_mm = [n * float(step) for n, step in zip(image.shape, spacing_mm, strict=True)]
    return CasePlanes(tuple(size_mm), tuple(slices))


def case_picture(path: str | Path, planes: CasePlanes, class_names: Sequence[str], title: str,
                 headings: tuple[str, str] = ("label", "prediction")) -> None:
    """Write a 1000 x 1300 PNG with the outlines of label (left) and prediction (right).

    Args:
        path: the PNG file.
        class_names: names of the labels 1, 2, ...; a first name "background" is skipped.
        title: one line on top, such as the case id and its Dice.
        headings: of the two columns.

    Raises:
        ValueError: if a label that is to be drawn has no name.
    """
    names = list(class_names)
    if names and names[0].lower() == "background":
        names = names[1:]
    _check_labels(planes, names)

    longest = max(map(len, names), default=0)
    columns = max(1, min(5, len(names), 110 // (longest + 8)))
    foot = 44 + _LEGEND_LINE * math.ceil(len(names) / columns)
    size_mm = planes.size_mm
    total_mm = sum(size_mm[up] for *_, up, _ in _PLANES)
    cell, room = (_WIDTH - _LEFT - 3 * _GAP) / 2, _HEIGHT - _HEAD - foot
    # one scale for all panels, so that sizes compare across planes
    scale = min(cell / max(size_mm[:2]), (room - 2 * _GAP) / total_mm)  # pixels per mm
    gap = (room - scale * total_mm) / 3 if scale * total_mm < room - 6 * _GAP else _GAP
    top = _HEIGHT - _HEAD - (room - scale * total_mm - 2 * gap) / 2
    centres = (_LEFT + _GAP + cell / 2, _LEFT + 2 * _GAP + 1.5 * cell)

    figure = new_figure(_WIDTH, _HEIGHT, _GROUND)
    write_at(figure, _WIDTH / 2, _HEIGHT - 30, title, size=min(15, 1300 / max(1, len(title))),
             weight="bold", color=_INK)
    for x, text in zip(centres, headings, strict=True):
        write_at(figure, x, top + 14, text, size=12, color=_INK)
    for (plane, normal, across, ends, up, rise), cut in zip(_PLANES, planes.slices, strict=True):
        width, height = size_mm[across] * scale, size_mm[up] * scale
        text = f"{plane}  {'xyz'[normal]} = {cut.index}"
        write_at(figure, 26, top - height / 2, text, size=11, rotation=90, color=_FAINT)
        for x, label_map in zip(centres, (cut.label, cut.prediction), strict=True):
            corner = ((x - width / 2) / _WIDTH, (top - height) / _HEIGHT)
            axes = figure.add_axes((*corner, width / _WIDTH, height / _HEIGHT))
            _draw(axes, _view(cut.image, ends), _view(label_map, ends), len(names))
            _letter(axes, ends + rise)
        top -= height + gap
    _legend(figure, names, columns)
    note = "radiological view: patient left is on the right of the axial and coronal planes"
    write_at(figure, _WIDTH / 2, 18, note, size=9, color=_FAINT)
    save_png(path, figure)


def _check_labels(planes: CasePlanes, names: Sequence[str]) -> None:
    drawn = {0}
    for cut in planes.slices:
        drawn.update(np.unique(cut.label).tolist(), np.unique(cut.prediction).tolist())
    odd = sorted(drawn - set(range(len(names) + 1)))
    if odd:
        raise ValueError(f"label values {odd} have no name among {list(names)}")


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """The intensities shown as black and white: the first and the last percentile."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite, (1, 99)))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1)


def grey_levels(values: np.ndarray, window: tuple[float, float], number: int) -> np.ndarray:
    """Intensities as uint8 below `number`, linear within the window; NaN counts as 0."""
    low, high = window
    share = np.clip((np.nan_to_num(values) - low) / (high - low), 0, 1)
    return (share * (number - 1)).astype(np.uint8)


def _busiest_slice(label: np.ndarray, prediction: np.ndarray, normal: int) -> int:
    rest = tuple(axis for axis in range(3) if axis != normal)
    for label_map in (label, prediction):
        areas = (label_map > 0).sum(axis=rest)
        if areas.any():
            return int(areas.argmax())
    return label.shape[normal] // 2


def _view(plane: np.ndarray, ends: str) -> np.ndarray:
    """A slice (across, up) as (up, across), row 0 at the bottom of the picture."""
    return (plane[::-1] if ends in _REVERSED else plane).T


def _draw(axes: Any, view: np.ndarray, marks: np.ndarray, num_classes: int) -> None:
    from matplotlib import colormaps
    from matplotlib.patheffects import Normal, Stroke

    rows, columns = view.shape
    # 64 greys look the same and keep the file of a noisy image small
    axes.imshow(
        view.astype(np.float64), cmap=colormaps["gray"].resampled(64), vmin=0, vmax=255,
        origin="lower", aspect="auto", interpolation="bilinear", interpolation_stage="data",
    )
    halo = [Stroke(linewidth=3.6, foreground="black", alpha=0.55), Normal()]
    for value in range(1, num_classes + 1):
        mask = np.pad(marks == value, 1).astype(np.float64)  # closes outlines at the border
        if not mask.any():
            continue
        lines = axes.contour(
            np.arange(-1, columns + 1), np.arange(-1, rows + 1), mask,
            levels=[0.5], colors=[colour_of(value - 1)], linewidths=2.0,
        )
        lines.set(path_effects=halo, clip_on=False)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(-0.5, rows - 0.5), xticks=[], yticks=[])
    axes.set_facecolor("black")
    axes.spines[:].set_color(_FRAME)


def _letter(axes: Any, letters: str) -> None:
    from matplotlib.patheffects import withStroke

    for letter, x, y in zip(letters, (8, -8, 0, 0), (0, 0, 10, -10), strict=True):
        anchor = (0.5 - 0.5 * np.sign(x), 0.5 - 0.5 * np.sign(y))
        axes.annotate(
            letter, anchor, (x, y), xycoords="axes fraction", textcoords="offset points",
            ha="center", va="center", size=10, color=_INK,
            path_effects=[withStroke(linewidth=2.5, foreground="black")],
        )


def _legend(figure: Any, names: Sequence[str], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour_of(k), linewidth=4) for k in range(len(names))]
    figure.legend(
        handles, names, loc="lower center", bbox_to_anchor=(0.5, 34 / _HEIGHT), ncols=columns,
        frameon=False, labelcolor=_INK, fontsize=11, borderaxespad=0, borderpad=0, handlelength=1.4,
    )
