"""DeepLesion as the NIH distributes it: folders of 16-bit PNG slices and DL_info.csv.

Images_png/PPPPPP_SS_RR/NNN.png are the slices around the key slices of a series (patient, study,
series); a folder may hold several runs of consecutive slices, and each run becomes a volume.
Arrays are (rows, cols, slices): rows run to the patient's back, columns to the left, slices to
the feet. (Yan et al., DeepLesion, Journal of Medical Imaging 2018.)
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from system.text_files import read_text

from ..nifti.file_kinds import foreign_hint

IMAGES_DIR, INFO_FILE = "Images_png", "DL_info.csv"
ID_COLUMNS = ("Patient_index", "Study_index", "Series_ID")
SPACING_COLUMN = "Spacing_mm_px_"  # "x, y, z" in mm
HU_OFFSET = 32768                  # of the PNG values

SeriesId = tuple[int, int, int]


@dataclass(frozen=True)
class SliceRun:
    """Consecutive slices of one series, one future volume.

    Attributes:
        name: {folder}_{first}-{last}, as the NIH's own script names volumes.
        folder: of the series.
        slices: names of the PNG files, ascending.
        spacing_mm: along rows, cols, slices.
    """

    name: str
    folder: Path
    slices: tuple[str, ...]
    spacing_mm: tuple[float, float, float]

    @property
    def files(self) -> tuple[Path, ...]:
        """The PNG files, ascending."""
        return tuple(self.folder / name for name in self.slices)

    def grid(self) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
        """Shape and spacing in mm of the volume, from one PNG header.

        Raises:
            ValueError: the first slice is damaged or not 16-bit grey.
        """
        with opened_slice(self.folder / self.slices[0]) as image:
            cols, rows = image.size
        return (rows, cols, len(self.slices)), self.spacing_mm

    def is_sheared(self) -> bool:
        """Never: slices lie behind each other, as far as the release says."""
        return False

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """HU (rows, cols, slices), int16, and affine (4, 4) in mm.

        Raises:
            ValueError: a slice is damaged, not 16-bit grey, or of another size than the first.
        """
        (shape, _), first = self.grid(), self.slices[0]
        volume = np.empty(shape[::-1], np.int16)  # slices first: each is written in one piece
        for plane, path in zip(volume, self.files, strict=True):
            values = read_slice(path)
            if values.shape != shape[:2]:
                raise ValueError(f"{path}: {_by(values.shape)} pixels, {first} has "
                                 f"{_by(shape[:2])}")
            plane.T[...] = values
        return volume.T, slice_affine(self.spacing_mm)


def read_slice(path: Path) -> np.ndarray:
    """HU (rows, cols), int16, of one PNG.

    Raises:
        ValueError: the file is damaged or not 16-bit grey.
    """
    with opened_slice(path) as image:
        values = np.asarray(image)
    return (values.astype(np.int32) - HU_OFFSET).astype(np.int16)


@contextmanager
def opened_slice(path: Path) -> Iterator[Image.Image]:
    """A PNG of 16-bit grey values, its pixels not yet read.

    Raises:
        ValueError: the file is damaged or not 16-bit grey; also where its pixels are read.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no regular file")
    try:
        with Image.open(path) as image:
            if not image.mode.startswith("I;16"):
                raise ValueError(f"{path}: is an image of mode {image.mode}, not of 16-bit grey "
                                 f"values (HU + {HU_OFFSET})")
            yield image
    except (OSError, SyntaxError, EOFError) as error:  # Pillow calls a broken chunk a SyntaxError
        raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def slice_affine(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The affine (4, 4) of voxels (row, col, slice) in RAS mm, first voxel at the origin.

    Differs from the NIH's script: where pixels are not square, rows have the spacing in y and
    columns that in x; there they are exchanged.
    """
    rows, cols, slices = spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = [[0, -cols, 0], [-rows, 0, 0], [0, 0, -slices]]
    return affine


def consecutive_runs(numbers: Iterable[int]) -> list[list[int]]:
    """Sorted numbers in runs without a gap."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return runs


def read_spacings(path: Path) -> dict[SeriesId, str]:
    """The text of SPACING_COLUMN of each series in DL_info.csv, of its first row.

    Raises:
        ValueError: the file cannot be read, or columns are missing.
    """
    try:
        with io.StringIO(read_text(path), newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            missing = [name for name in (*ID_COLUMNS, SPACING_COLUMN) if name not in columns]
            if missing:
                raise ValueError(f"has no column {', '.join(missing)}; its columns are "
                                 f"{', '.join(columns) or 'none'}. Take the file of the release")
            spacings: dict[SeriesId, str] = {}
            for row in reader:
                ids = _whole_numbers([row[name] for name in ID_COLUMNS])
                if ids is not None:  # a series whose row is damaged is reported as not in the file
                    spacings.setdefault(ids, row[SPACING_COLUMN] or "")
            return spacings
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}.") from error


def spacing_of(text: str) -> tuple[float, float, float]:
    """Spacing in mm along rows, cols, slices of a text "x, y, z".

    Raises:
        ValueError: not three numbers above 0.
    """
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        x = y = z = math.nan
    if not all(0 < mm < math.inf for mm in (x, y, z)):
        raise ValueError(f"{INFO_FILE} gives it the spacing {text!r}, not three sizes in mm "
                         f"above 0")
    return y, x, z


def find_runs(root: Path) -> tuple[list[SliceRun], dict[str, str]]:
    """All volumes of a DeepLesion folder, and the reasons of series that give none, by name.

    Hidden files and files beside the series are ignored.

    Raises:
        ValueError: the folder has no Images_png with series or no proper DL_info.csv.
    """
    images, info = root / IMAGES_DIR, root / INFO_FILE
    absent = []
    if not images.is_dir():
        absent.append(images.name)
    if not info.is_file():
        absent.append(info.name)
    if absent:
        raise ValueError(f"{root}: has no {' and no '.join(absent)}; give the folder that holds "
                         f"{IMAGES_DIR}/ and {INFO_FILE}.")
    spacings = read_spacings(info)
    folders = [Path(entry.path) for entry in os.scandir(images)
               if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        raise ValueError(f"{images}: holds no series; unpack the release's PNG files there.")
    runs: list[SliceRun] = []
    problems: dict[str, str] = {}
    for folder in sorted(folders):
        try:
            runs += series_runs(folder, spacings)
        except (ValueError, OSError) as error:
            problems[folder.name] = str(error)
    return runs, problems


def series_runs(folder: Path, spacings: dict[SeriesId, str]) -> list[SliceRun]:
    """The volumes of one series folder.

    Raises:
        ValueError: its name is no series, DL_info.csv does not know it or its spacing, or it has
            no slices or PNG files that are no slices.
    """
    ids = re.fullmatch(r"(\d+)_(\d+)_(\d+)", folder.name)
    if ids is None:
        raise ValueError("is not named patient_study_series, such as 000001_01_01")
    key = tuple(int(number) for number in ids.groups())
    if key not in spacings:
        raise ValueError(f"has no row in {INFO_FILE}")
    spacing_mm = spacing_of(spacings[key])
    files: dict[int, str] = {}
    for entry in os.scandir(folder):
        stem, _ = os.path.splitext(entry.name)
        if not is_slice_name(entry.name) or entry.name.startswith("."):
            continue
        if re.fullmatch(r"\d+", stem, re.ASCII) is None:
            raise ValueError(f"holds {entry.name}, whose name is no slice number")
        if int(stem) in files:
            raise ValueError(f"holds slice {int(stem)} twice, {entry.name} and "
                             f"{files[int(stem)]}")
        files[int(stem)] = entry.name
    if not files:
        raise ValueError(f"holds no slices (NNN.png).{foreign_hint(folder)}")
    runs = []
    for run in consecutive_runs(files):
        name = f"{folder.name}_{run[0]:03d}-{run[-1]:03d}"
        runs.append(SliceRun(name, folder, tuple(files[number] for number in run), spacing_mm))
    return runs


def is_slice_name(name: str) -> bool:
    """Whether a file's name has the ending of a slice, in upper or lower case."""
    return name.lower().endswith(".png")


def _whole_numbers(texts: Iterable[str | None]) -> SeriesId | None:
    """The numbers of a row (spreadsheets may write 1 as 1.0); None if they are none."""
    try:
        numbers = [float(text or "") for text in texts]
    except ValueError:
        return None
    if not all(number.is_integer() for number in numbers):
        return None
    return tuple(int(number) for number in numbers)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
