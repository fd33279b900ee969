"""From a data folder to paired files: one Case per subject."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".nii.gz", ".nii")
ROLE_ENDINGS = ("_image", "_label")


@dataclass(frozen=True)
class Case:
    """One subject's files."""

    case_id: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Layout:
    """Where a dataset keeps its files, below its root.

    Attributes:
        images: folder of the images.
        labels: folder of the labels; the same as `images` where both lie side by side, told
            apart by the endings _image and _label.
        prefix: only files whose names begin so.
    """

    images: str
    labels: str
    prefix: str = ""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one case, and what to do."""

    case_id: str
    path: Path
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"  {self.case_id}: {self.path}: {self.found}; {self.remedy}."


class DataError(ValueError):
    """Data that cannot be used; the message names every problem with its remedy."""


def find_cases(data_dir: str | Path,
               layouts: Sequence[Layout]) -> tuple[list[Case], list[Problem]]:
    """Pair the images and labels of the first layout that `data_dir` has, sorted by case id.

    Files pair by case id: the file name less its suffix and less _image or _label. Hidden files
    (macOS leaves "._name.nii.gz" in archives) are passed over.

    Differs from the authors' code: theirs pairs two sorted lists by position, so one missing
    file shifts every later pair.

    Returns:
        The pairs, and a problem for each file without its partner or of a case id that occurs
        twice.

    Raises:
        DataError: no such folder, no layout, no case.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such directory. Give the folder that holds "
                        f"{layouts[0].images}/ and {layouts[0].labels}/.")
    layout = next((one for one in layouts if _present(root, one)), None)
    if layout is None:
        tried = "\n".join(f"  {root / one.images} with {root / one.labels}" for one in layouts)
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise DataError(f"{root}: holds none of the folders of this dataset (it holds {inside}). "
                        f"Looked for:\n{tried}")
    problems: list[Problem] = []
    images = _by_case_id(root / layout.images, layout, "_image", problems)
    labels = _by_case_id(root / layout.labels, layout, "_label", problems)
    if not images and not labels:
        raise DataError(f"{root / layout.images}: no cases "
                        f"(files {layout.prefix}*.nii.gz or {layout.prefix}*.nii).")
    for case_id in sorted(set(images) ^ set(labels)):
        has, lacks = ("an image", "label") if case_id in images else ("a label", "image")
        path = images.get(case_id) or labels[case_id]
        folder = root / (layout.labels if lacks == "label" else layout.images)
        problems.append(Problem(case_id, path, f"is {has} without its {lacks}",
                                f"add the {lacks} to {folder} under the same case id, or remove "
                                f"this file"))
    paired = sorted(set(images) & set(labels))
    return [Case(case_id, images[case_id], labels[case_id]) for case_id in paired], problems


def _present(root: Path, layout: Layout) -> bool:
    images, labels = root / layout.images, root / layout.labels
    if not (images.is_dir() and labels.is_dir()):
        return False
    return images != labels or any(images.glob(f"{layout.prefix}*_image.nii*"))


def _by_case_id(folder: Path, layout: Layout, ending: str,
                problems: list[Problem]) -> dict[str, Path]:
    """Files of one role by case id."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        if suffix is None or path.name.startswith(".") or not path.name.startswith(layout.prefix):
            continue
        stem = path.name.removesuffix(suffix)
        if layout.images == layout.labels and not stem.endswith(ending):
            continue
        case_id = next((stem.removesuffix(e) for e in ROLE_ENDINGS if stem.endswith(e)), stem)
        if case_id in found:
            problems.append(Problem(case_id, path, f"is this case, and so is "
                                    f"{found[case_id].name}", "remove one"))
        found[case_id] = path
    return found
