"""Files beside images and labels that are not used: counted and named, never skipped silently."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from system.text_files import few

from ..nifti.file_kinds import LOOKED_AT, first_foreign, kind_of_file
from ..sets.cases import ROLE_ENDINGS, Layout, Problem, files_of_role, present_layout

NAMED = 3
# Files that people keep beside images and that cannot be images.
DOCUMENTS = (".txt", ".json", ".csv", ".tsv", ".md", ".pdf", ".xml", ".log", ".xlsx", ".docx",
             ".py", ".sh", ".yaml", ".yml", ".bval", ".bvec", ".html", ".ini", ".db", ".md5",
             ".sha256", ".exp", ".cv")
DOCUMENT_NAMES = ("readme", "license", "changes")  # those without an ending


def may_be_image(path: Path) -> bool:
    """Whether an unused file may be an image: not hidden, no document."""
    if path.name.startswith(".") or path.name.lower() in DOCUMENT_NAMES:
        return False
    return path.suffix.lower() not in DOCUMENTS


def holds_files(folder: Path) -> bool:
    """Whether a folder, or one directly in it, has a file that may be an image."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if any(may_be_image(below) for below in path.iterdir() if not below.is_dir()):
                return True
        elif may_be_image(path):
            return True
    return False


def untaken(folder: Path, taken: Iterable[Path], with_folders: bool = True) -> list[Path]:
    """What a folder holds that may be an image and was not taken; sorted.

    Args:
        with_folders: whether folders in it that have files count, too.
    """
    known = set(taken)
    found = []
    for path in sorted(folder.iterdir()):
        if path in known or not may_be_image(path):
            continue
        if not path.is_dir() or (with_folders and _readable(path) and holds_files(path)):
            found.append(path)
    return found


def _readable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError:
        return False
    return True


def passed_over(folder: Path, paths: Sequence[Path]) -> list[Problem]:
    """One finding, with a remedy, for each kind of unused files in or below a folder."""
    by_ending: dict[str, tuple[str, str]] = {}  # used unopened beyond LOOKED_AT files
    kinds: dict[tuple[str, str], list[Path]] = {}
    for number, path in enumerate(paths):
        ending = path.suffix.lower()
        if number < LOOKED_AT or ending not in by_ending:
            by_ending[ending] = _kind_and_remedy(path)
        kinds.setdefault(by_ending[ending], []).append(path)
    problems = []
    for (kind, remedy), same in kinds.items():
        names = few([str(path.relative_to(folder)) for path in same], NAMED)
        problems.append(Problem(folder.name, folder, f"{len(same)} {kind} passed over: {names}",
                                remedy))
    return problems


def passed_over_below(root: Path, is_taken: Callable[[str], bool]) -> list[Problem]:
    """A finding for each kind of unused files in a folder and below.

    Args:
        is_taken: whether a file of this name is used.
    """
    left = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not is_taken(name) and may_be_image(Path(name)):
                left.append(Path(folder, name))
    return passed_over(root, left)


def _kind_and_remedy(path: Path) -> tuple[str, str]:
    if path.is_dir():
        inside = first_foreign(path)
        if inside is not None:
            kind = inside[1]
            return f"folder(s) with a file that {kind.found}", kind.remedy
        return "folder(s)", "move the files up, or give the folder that holds them"
    kind = kind_of_file(path)
    if kind is None:
        return "file(s)", "if they are images, convert them to .nii.gz"
    return f"file(s), each {kind.found.removeprefix('is ')},", kind.remedy


def passed_over_cases(data_dir: str | Path, layouts: Sequence[Layout]) -> list[Problem]:
    """Findings on the files that `find_cases` leaves in the folders of its layout."""
    root = Path(data_dir)
    layout = present_layout(root, layouts)
    if layout is None:
        return []
    together = layout.images == layout.labels
    problems = []
    for name in dict.fromkeys((layout.images, layout.labels)):
        folder = root / name
        taken: list[Path] = []
        for role in ROLE_ENDINGS:
            taken += files_of_role(folder, layout, role)
        left = untaken(folder, taken, with_folders=not together)
        problems += passed_over(folder, [path for path in left
                                         if path.name.lower().startswith(layout.prefix)])
    return problems
