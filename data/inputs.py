"""The images that predict.py is given: files, folders of files, lists of files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs.dataset_json import NIFTI_SUFFIXES

from .cases import ROLE_ENDINGS, Case, DataError, Problem
from .datasets import Dataset
from .geometry import grid_map
from .native_files import image_grid
from .verification import case_findings

IMAGE, LABEL = ROLE_ENDINGS


def find_inputs(inputs: Sequence[str | Path],
                labels: str | Path | None = None) -> tuple[list[Case], list[Problem]]:
    """The cases to segment, sorted by case id: the file name less its suffix and _image.

    Of a folder its NIfTI files are taken, hidden ones and those that end in _label left out. A
    .txt file has one path per line; relative paths are below the current folder, not its own.
    A file that is given twice is taken once.

    Args:
        inputs: files, folders or .txt files.
        labels: folder of the labels, paired by case id (there nnU-Net's images lose their
            _0000); None for images without.

    Returns:
        The cases, and a problem for whatever could not be taken.
    """
    problems: list[Problem] = []
    files = [file for path in map(Path, inputs) for file in _files_of(path, problems)]
    by_id: dict[str, Path] = {}
    for file in files:
        case_id = _case_id(file)
        if case_id in by_id and not _same(file, by_id[case_id]):
            problems.append(Problem(case_id, file, f"has the case id of {by_id[case_id]}",
                                    "their results would share a name; rename one"))
        by_id.setdefault(case_id, file)
    if labels is None:
        return [Case(case_id, by_id[case_id], None) for case_id in sorted(by_id)], problems
    if not Path(labels).is_dir():
        problems.append(Problem("--labels", Path(labels), "is no folder", "give the folder of the "
                                "label files"))
        return [], problems
    label_of = {_case_id(file): file for file in _nifti_files(Path(labels))
                if not _stem(file).endswith(IMAGE)}
    cases = []
    for case_id, image in sorted(by_id.items()):
        if case_id not in label_of and case_id.removesuffix("_0000") not in by_id:
            case_id = case_id.removesuffix("_0000")
        if case_id in label_of:
            cases.append(Case(case_id, image, label_of[case_id]))
        else:
            problems.append(Problem(case_id, image, f"has no label in {labels}",
                                    "add it, or leave the image or --labels out"))
    return cases, problems


def _files_of(path: Path, problems: list[Problem]) -> list[Path]:
    """The image files that one entry of the command line stands for."""
    if path.is_dir():
        found = [file for file in _nifti_files(path) if not _stem(file).endswith(LABEL)]
        if not found:
            below = [each.name for each in sorted(path.iterdir())
                     if each.is_dir() and _nifti_files(each)]
            remedy = f"give {' or '.join(below)} below it" if below else "give another folder"
            problems.append(Problem(path.name, path, "holds no NIfTI images", remedy))
        return found
    if path.suffix == ".txt" and path.is_file():
        return [file for line in _lines_of(path, problems)
                for file in _files_of(Path(line), problems)]
    if path.is_file() and path.name.endswith(NIFTI_SUFFIXES):
        return [path]
    found = "is neither NIfTI nor a .txt list" if path.exists() else "no such file or folder"
    problems.append(Problem(path.name, path, found,
                            f"give {' or '.join(NIFTI_SUFFIXES)} files or folders of them"))
    return []


def _lines_of(path: Path, problems: list[Problem]) -> list[str]:
    """The lines of a list that are not empty; a list does not hold lists."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path.name, path, f"cannot be read ({error})",
                                "give a text file with a path per line"))
        return []
    problems += [Problem(path.name, path, f"lists {line}", "list the images themselves")
                 for line in lines if line.endswith(".txt")]
    return [line for line in lines if line and not line.endswith(".txt")]


def _nifti_files(folder: Path) -> list[Path]:
    """Broken links too, so that no case is passed over in silence."""
    return [path for path in sorted(folder.iterdir()) if path.name.endswith(NIFTI_SUFFIXES)
            and not path.name.startswith(".") and not path.is_dir()]


def _same(file: Path, other: Path) -> bool:
    return file.resolve() == other.resolve()


def _stem(file: Path) -> str:
    suffix = next(suffix for suffix in NIFTI_SUFFIXES if file.name.endswith(suffix))
    return file.name.removesuffix(suffix)


def _case_id(file: Path) -> str:
    stem = _stem(file)
    ending = next((ending for ending in ROLE_ENDINGS if stem.endswith(ending)), "")
    return stem.removesuffix(ending)


def verify_inputs(cases: Sequence[Case], dataset: Dataset, known: Sequence[Problem] = (),
                  progress: bool = False) -> None:
    """Read every file, one at a time, and refuse them all if any cannot be segmented or scored.

    Warns of what should be looked at, all in one warning.

    Args:
        known: problems found before, told in the same message.

    Raises:
        DataError: what data.verify_cases finds, and affines with no way back (sheared, where the
            dataset is resampled). One message with every problem.
    """
    problems, doubtful = list(known), []
    for case in tqdm(cases, desc="verifying", unit="case", disable=not progress):
        found = case_findings(case, dataset)
        problems += found.errors or _shear_problems(case, dataset)
        doubtful += found.warnings
    if problems:
        raise DataError(f"{len(problems)} problem(s) with the inputs:\n"
                        + "\n".join(map(str, problems)))
    if doubtful:
        warnings.warn(f"{len(doubtful)} doubtful finding(s) in {len(cases)} inputs:\n"
                      + "\n".join(map(str, doubtful)), stacklevel=2)


def _shear_problems(case: Case, dataset: Dataset) -> list[Problem]:
    """Whether the way back to the grid of a readable file exists.

    Resampling makes right angles of a sheared grid; see data.geometry.grid_map.
    """
    if dataset.spacing_mm is None:
        return []
    grid = image_grid(case, len(dataset.channels))
    square = np.eye(4)
    square[:3, :3] = np.linalg.qr(grid.affine[:3, :3])[0] * grid.spacing_mm
    try:
        grid_map(grid.affine, grid.shape, square, grid.shape)
    except ValueError as error:
        return [Problem(case.case_id, case.image, str(error), "resample it to right angles")]
    return []
