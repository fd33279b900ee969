"""Files beside the images and labels that are not taken: counted and named, never in silence."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..nifti.file_kinds import LOOKED_AT, first_foreign, kind_of_file
from ..sets.cases import ROLE_ENDINGS, Layout, Problem, files_of_role, present_layout

NAMED = 3
# What people keep beside images and what cannot be one.
DOCUMENTS = (".txt", ".json", ".csv", ".tsv", ".md", ".pdf", ".xml", ".log", ".xlsx", ".docx",
             ".py", ".sh", ".yaml", ".yml", ".bval", ".bvec", ".html", ".ini", ".db", ".md5",
             ".sha256", ".exp", ".cv")
DOCUMENT_NAMES = ("readme", "license", "changes")  # those without an ending


def may_be_image(path: Path) -> bool:
    """Whether a file that is not taken may be an image: not hidden, no document."""
    if path.name.startswith(".") or path.name.lower() in DOCUMENT_NAMES:
        return False
    return path.suffix.lower() not in DOCUMENTS


def holds_files(folder: Path) -> bool:
    """Whether a folder has a file that may be an image, in itself or one level below."""
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
    """What lies in a folder, may be an image, and is not among what was taken; sorted.

    Args:
        with_folders: whether folders in it count, where they have files.
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
    """One finding for each kind of what is passed over in a folder or below it, with its cure."""
    by_ending: dict[str, tuple[str, str]] = {}  # stands for files beyond LOOKED_AT
    kinds: dict[tuple[str, str], list[Path]] = {}
    for number, path in enumerate(paths):
        ending = path.suffix.lower()
        if number < LOOKED_AT or ending not in by_ending:
            by_ending[ending] = _kind_and_remedy(path)
        kinds.setdefault(by_ending[ending], []).append(path)
    problems = []
    for (kind, remedy), same in kinds.items():
        names = ", ".join(str(path.relative_to(folder)) for path in same[:NAMED])
        more = ", ..." if len(same) > NAMED else ""
        problems.append(Problem(folder.name, folder, f"{len(same)} {kind} passed over: "
                                f"{names}{more}", remedy))
    return problems


def passed_over_below(root: Path, is_taken: Callable[[str], bool]) -> list[Problem]:
    """A finding for each kind of files in a folder and below that is not taken.

    Args:
        is_taken: whether a file of this name is.
    """
    left = []
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        left += [Path(folder, name) for name in sorted(names)
                 if not is_taken(name) and may_be_image(Path(name))]
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
    """What lies in the folders of the layout that `find_cases` takes, and is not taken."""
    root = Path(data_dir)
    layout = present_layout(root, layouts)
    if layout is None:
        return []
    together = layout.images == layout.labels
    problems = []
    for name in dict.fromkeys((layout.images, layout.labels)):
        folder = root / name
        taken = [path for role in ROLE_ENDINGS for path in files_of_role(folder, layout, role)]
        left = [path for path in untaken(folder, taken, with_folders=not together)
                if path.name.lower().startswith(layout.prefix)]
        problems += passed_over(folder, left)
    return problems
