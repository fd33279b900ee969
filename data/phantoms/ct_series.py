"""DeepLesion phantoms: PNG slices of synthetic torsos and DL_info.csv, in the NIH's layout.

Their chests have the heart phantoms' dimensions in mm, so a network pre-trained on them can be used
there.
"""

import csv
import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from system.files import read_json, write_bytes, write_text

from ..preparation.deeplesion import (
    HU_OFFSET,
    IMAGES_DIR,
    INFO_FILE,
    consecutive_runs,
    slice_affine,
)
from .make import RECORD, checked_size, make_room
from .scanners import scan_ct
from .scene import Scene, render
from .torso import LESION_SITES, Lesion, torso

DATASET = "deeplesion"
COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index",
    "Measurement_coordinates", "Bounding_boxes", "Lesion_diameters_Pixel_",
    "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy", "Slice_range",
    "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age",
    "Train_Val_Test",
)
PIXELS = 512                                  # rows and columns of the real slices
PIXEL_MM = (0.7, 0.9)                         # drawn; times PIXELS it is a slice's field of view
COARSEST_MM = 1.5                             # of smaller slices; then the anatomy shrinks
SLICE_MM, SHARES = (1.0, 2.5, 5.0), (0.4, 0.15, 0.45)  # slice intervals, and how frequent
AROUND_KEY_MM = 30.0                          # of slices on either side of a key slice
STUDIES = 2                                   # per patient


@dataclass(frozen=True)
class Series:
    """One drawn series, not yet rendered.

    Attributes:
        name: of its folder.
        numbers: of its slices, ascending, around each lesion's key slice.
        shape: (rows, cols).
        spacing_mm: along rows, cols, slices.
        scene: the anatomy.
        to_anatomy: (3, 4), from (row, col, slice number) to mm of the anatomy.
        rows: of DL_info.csv.
        rng: of the scanner's noise.
    """

    name: str
    numbers: list[int]
    shape: tuple[int, int]
    spacing_mm: tuple[float, float, float]
    scene: Scene
    to_anatomy: np.ndarray
    rows: list[dict[str, Any]]
    rng: np.random.Generator


def draw_series(index: int, size: tuple[int, int, int] | None = None, seed: int = 0) -> Series:
    """Draw series `index` of a seed; `size` is columns, rows, slices around each key slice."""
    streams = np.random.SeedSequence([seed, index, zlib.crc32(DATASET.encode())]).spawn(3)
    grid_rng, scene_rng, scan_rng = map(np.random.default_rng, streams)
    scene, lesions = torso(scene_rng)
    cols = rows = PIXELS
    if size is not None:
        cols, rows, _ = size
    view_mm = PIXELS * grid_rng.uniform(*PIXEL_MM)
    pixel_mm = round(min(view_mm / min(rows, cols), COARSEST_MM), 6)
    slice_mm = float(grid_rng.choice(SLICE_MM, p=SHARES))
    shrink = min(1.0, pixel_mm * min(rows, cols) / view_mm)
    spacing_mm = (pixel_mm, pixel_mm, slice_mm)

    linear = scene.pose @ slice_affine(spacing_mm)[:3, :3] / shrink
    middle = (np.array([rows, cols, 1]) - 1) / 2
    middle[:2] += grid_rng.uniform(-0.02, 0.02, 2) * (rows, cols)
    centers = [np.linalg.solve(linear, lesion.center_mm) + middle for lesion in lesions]
    # Slice numbers are relative to the middle of the heart, until the scan's first is drawn.
    before = round(AROUND_KEY_MM / slice_mm)
    count = 2 * before + 1
    if size is not None:
        count = size[2]
        before = count // 2
    starts = [round(center[2]) - before for center in centers]
    first = int(grid_rng.integers(1, 60)) - min(starts)
    middle[2] += first

    name = series_name(index)
    numbers: set[int] = set()
    rows_of_info = []
    for lesion, center, start in zip(lesions, centers, starts, strict=True):
        start += first
        numbers |= set(range(start, start + count))
        rows_of_info.append(_row(
            name, lesion, center + (0, 0, first), lesion.radii_mm * shrink / pixel_mm,
            (start, start + count - 1), spacing_mm, (rows, cols)))
    return Series(name, sorted(numbers), (rows, cols), spacing_mm, scene,
                  np.column_stack([linear, -linear @ middle]), rows_of_info, scan_rng)


def rendered(series: Series) -> Iterator[tuple[int, np.ndarray]]:
    """Slice numbers and HU (rows, cols), int16, of a series, ascending."""
    for run in consecutive_runs(series.numbers):
        to_anatomy = series.to_anatomy.copy()
        to_anatomy[:, 3] += to_anatomy[:, 2] * run[0]
        tissue, shading = render(series.scene, (*series.shape, len(run)), to_anatomy)
        volume = scan_ct(series.rng, tissue, shading, series.scene.signal.astype(np.float32))
        yield from zip(run, np.moveaxis(volume, 2, 0), strict=True)


def _row(name: str, lesion: Lesion, center: np.ndarray, radii: np.ndarray,
         slice_range: tuple[int, int], spacing_mm: tuple[float, float, float],
         shape: tuple[int, int]) -> dict[str, Any]:
    """DL_info.csv's row for a lesion at voxel (row, col, slice), radii (x, y, z) in pixels."""
    (y, x, _), (wide, high, _) = center, radii
    key = round(center[2])
    patient, study, series = map(int, name.split("_"))
    person = np.random.default_rng(patient)

    def listed(*values: float) -> str:
        return ", ".join(f"{value:.6g}" for value in values)

    window = "-175, 275"
    if lesion.site == "lung":
        window = "-1500, 500"
    return dict(zip(COLUMNS, (
        f"{name}_{key:03d}.png", patient, study, series, key,
        listed(x - wide, y, x + wide, y, x, y - high, x, y + high),
        listed(x - wide - 5, y - high - 5, x + wide + 5, y + high + 5),
        listed(*sorted((2 * wide, 2 * high), reverse=True)),
        listed(x / shape[1], y / shape[0], 0.5),
        LESION_SITES[lesion.site][0], 0, listed(*slice_range),
        listed(spacing_mm[1], spacing_mm[0], spacing_mm[2]), listed(shape[1], shape[0]),
        window, person.choice(["F", "M"]), person.integers(25, 86), person.choice([1, 1, 1, 2, 3]),
    ), strict=True))


def _png(values: np.ndarray) -> bytes:
    """HU (rows, cols) as a 16-bit PNG."""
    stream = io.BytesIO()
    Image.fromarray((values.astype(np.int32) + HU_OFFSET).astype(np.uint16)).save(
        stream, "PNG", compress_level=3)
    return stream.getvalue()


def make_deeplesion(output: str | os.PathLike, num_series: int,
                    size: tuple[int, int, int] | None = None, seed: int = 0,
                    overwrite: bool = False, progress: bool = True) -> list[str]:
    """Write the first `num_series` series of a seed; return their names.

    Args:
        size: columns, rows, slices around each key slice; None for slices as large as the real
            ones, 30 mm to either side.

    Raises:
        ValueError: wrong arguments, or the output already holds files that must stay.
    """
    folder, size = Path(output), checked_size(size)
    if num_series < 1:
        raise ValueError(f"--cases {num_series}: at least 1 case is needed.")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must not be negative.")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {output}: is a file, a folder is needed.")
    _check_record(folder)
    images = folder / IMAGES_DIR
    found = [path for path in sorted(images.glob("*/[!.]*")) if path.is_file()]
    if (folder / INFO_FILE).is_file():
        found.append(folder / INFO_FILE)
    make_room(folder, found, overwrite)
    drawn = [draw_series(index, size, seed) for index in range(num_series)]
    files, rows = [], []
    for series in drawn:
        rows += series.rows
        files += [f"{IMAGES_DIR}/{series.name}/{number:03d}.png" for number in series.numbers]
    # Before the files, so that those of an interrupted run can be overwritten, too.
    record = {"dataset": DATASET, "seed": seed, "size": size, "files": [*files, INFO_FILE]}
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    for old in {path.parent for path in found} - {folder}:
        if not any(old.iterdir()):
            old.rmdir()
    for series in tqdm(drawn, desc=DATASET, unit="series", disable=not progress):
        for number, values in rendered(series):
            write_bytes(images / series.name / f"{number:03d}.png", _png(values))
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / INFO_FILE, table.getvalue())
    return [series.name for series in drawn]


def _check_record(folder: Path) -> None:
    """Refuse a folder that holds the phantoms of another set: a record is of one set only."""
    path = folder / RECORD
    if not path.exists():
        return
    record = read_json(path)
    if not isinstance(record, dict) or record.get("dataset") != DATASET:
        raise ValueError(f"{folder} holds other phantoms, says {RECORD}; choose another --output.")


def series_name(index: int) -> str:
    """The folder of series `index` (from 0): patient, study, series."""
    return f"{index // STUDIES + 1:06d}_{index % STUDIES + 1:02d}_01"
