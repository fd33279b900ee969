"""The images that predict.py is given: files, folders of files, lists of files."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from configs.nifti_names import (
    NIFTI_SUFFIXES,
    is_nifti_name,
    is_visible_nifti,
    split_nifti_name,
    without_role,
)
from system.text_files import listed_path, read_text

from ..nifti.file_kinds import kind_of_file
from ..sets.case_names import name_problems
from ..sets.cases import ROLE_ENDINGS, Case, DataError, Problem, case_id_of
from ..sets.channel_files import join_channels
from ..sets.datasets import Dataset
from .grouped_findings import grouped
from .passed_over import passed_over, untaken
from .verification import case_findings

IMAGE, LABEL = ROLE_ENDINGS


def find_inputs(inputs: Sequence[str | Path], labels: str | Path | None = None,
                channels: Sequence[str] = ("image",),
                numbered: bool = False) -> tuple[list[Case], list[Problem]]:
    """The cases to segment, sorted by case id: the file name without its suffix and _image.

    The files CASE_0000, CASE_0001 of single channels are one case.

    From a folder all NIfTI files are taken, except hidden ones and those that end in _label. A
    .txt file has one path per line; relative paths start from the current folder, not its own.
    A file that is given twice is taken once.

    Args:
        inputs: files, folders or .txt files.
        labels: folder of the labels, paired by case id (there nnU-Net's images lose their
            _0000); None for images without labels.
        channels, numbered: as in data.sets.channel_files.join_channels.

    Returns:
        The cases, and a problem for everything that could not be taken.
    """
    problems: list[Problem] = []
    files: list[Path] = []
    for path in inputs:
        files += _files_of(Path(path), problems)
    by_id: dict[str, Path] = {}
    for file in files:
        case_id = case_id_of(file.name)
        if case_id in by_id and not _same(file, by_id[case_id]):
            problems.append(Problem(case_id, file, f"has the case id of {by_id[case_id]}",
                                    "their results would share a name; rename one"))
        by_id.setdefault(case_id, file)
    label_of: dict[str, Path] = {}
    if labels is not None and Path(labels).is_dir():
        for file in _nifti_files(Path(labels)):
            if not _has_role(file, IMAGE):
                label_of[case_id_of(file.name)] = file
    files_of, lacking = join_channels(by_id, label_of, channels, numbered)
    problems += lacking
    incomplete = {problem.case_id for problem in lacking}
    cases = []
    for case_id, files in sorted(files_of.items()):
        if case_id not in incomplete:
            cases.append(Case(case_id, files[0], label_of.get(case_id), more_channels=files[1:]))
    problems += name_problems(cases)
    if labels is None:
        return cases, problems
    if not Path(labels).is_dir():
        problems.append(Problem("--labels", Path(labels), "is no folder", "give the folder of the "
                                "label files"))
        return [], problems
    labelled = []
    for case in cases:
        if case.label is not None:
            labelled.append(case)
        else:
            problems.append(Problem(case.case_id, case.image, f"has no label in {labels}",
                                    "add it, or leave the image or --labels out"))
    return labelled, problems


def _files_of(path: Path, problems: list[Problem]) -> list[Path]:
    """The image files that one entry of the command line stands for."""
    if path.is_dir():
        found = [file for file in _nifti_files(path) if not _has_role(file, LABEL)]
        if not found:
            remedy = "give another folder"
            below = [each.name for each in sorted(path.iterdir())
                     if each.is_dir() and _nifti_files(each)]
            if below:
                remedy = f"give {' or '.join(below)} below it"
            problems.append(Problem(path.name, path, "holds no NIfTI images", remedy))
        return found
    if path.suffix.lower() == ".txt" and path.is_file():
        files = []
        for line in _lines_of(path, problems):
            files += _files_of(listed_path(line), problems)
        return files
    if path.is_file() and is_nifti_name(path.name):
        return [path]
    problems.append(_not_taken(path))
    return []


def _not_taken(path: Path) -> Problem:
    kind = kind_of_file(path)
    if kind is not None:
        return Problem(path.name, path, kind.found, kind.remedy)
    if path.is_file():
        found = "is neither NIfTI nor a .txt list"
    elif path.exists():
        found = "is a pipe, socket or device, not a file"
    else:
        found = "no such file or folder"
    return Problem(path.name, path, found,
                   f"give {' or '.join(NIFTI_SUFFIXES)} files or folders of them")


def _lines_of(path: Path, problems: list[Problem]) -> list[str]:
    """The non-empty lines of a list; a list must not name other lists."""
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, ValueError) as error:
        problems.append(Problem(path.name, path, f"cannot be read ({error})",
                                "give a text file with a path per line"))
        return []
    found = []
    for line in lines:
        if line.lower().endswith(".txt"):
            problems.append(Problem(path.name, path, f"lists {line}", "list the images themselves"))
        elif line:
            found.append(line)
    return found


def _nifti_files(folder: Path) -> list[Path]:
    """Includes broken links, so that no case is skipped silently."""
    return [path for path in sorted(folder.iterdir()) if is_visible_nifti(path.name)
            and not path.is_dir()]


def _same(file: Path, other: Path) -> bool:
    return file.resolve() == other.resolve()


def _has_role(file: Path, role: str) -> bool:
    stem, _ = split_nifti_name(file.name)
    return without_role(stem, role) is not None


def inputs_passed_over(inputs: Sequence[str | Path],
                       labels: str | Path | None = None) -> list[Problem]:
    """A finding for each kind of files in the given folders that are not taken."""
    given = list(inputs)
    if labels is not None:
        given.append(labels)
    problems = []
    for folder in dict.fromkeys(map(Path, given)):
        if folder.is_dir():
            problems += passed_over(folder, untaken(folder, _nifti_files(folder)))
    return problems


def verify_inputs(cases: Sequence[Case], dataset: Dataset, known: Sequence[Problem] = (),
                  progress: bool = False, left_out: Sequence[Problem] = ()) -> None:
    """Read every file, one at a time, and refuse them all if any cannot be segmented or scored.

    Warns of doubtful findings, all in one warning; see data.checks.verification.case_findings.

    Args:
        known: problems found before, reported in the same message.
        left_out: findings of `inputs_passed_over`, reported with the rest.

    Raises:
        DataError: what data.verify_cases finds, and sheared grids if the dataset is resampled,
            from which there is no way back. One message with every problem.
    """
    problems, doubtful = list(known), list(left_out)
    for case in tqdm(cases, desc="verifying", unit="case", disable=not progress):
        found = case_findings(case, dataset)
        problems += found.errors
        doubtful += found.warnings
    if problems:
        raise DataError(f"{len(problems)} problem(s) with the inputs:\n"
                        + "\n".join(map(str, [*problems, *left_out])))
    if doubtful:
        warnings.warn(f"{len(doubtful)} doubtful finding(s) with the inputs:\n"
                      + "\n".join(grouped(doubtful)), stacklevel=2)
