"""From a data folder to paired files: one Case per subject."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.nifti_names import split_nifti_name, without_role
from system.text_files import printable

from ..nifti.file_kinds import foreign_hint

ROLE_ENDINGS = ("_image", "_label")


@dataclass(frozen=True)
class Case:
    """One subject's files.

    Attributes:
        label: None for an image that is to be segmented.
        channel_first: where the channels are if the shape of a file leaves that open.
    """

    case_id: str
    image: Path
    label: Path | None
    channel_first: bool = False


@dataclass(frozen=True)
class Layout:
    """Where a dataset keeps its files, below its root.

    Attributes:
        images: folder of the images.
        labels: folder of the labels; the same as `images` where both lie side by side, told
            apart by the endings _image and _label.
        prefix: only files whose names begin so.
        channel_first: as in Case.
    """

    images: str
    labels: str
    prefix: str = ""
    channel_first: bool = False


@dataclass(frozen=True)
class Listed:
    """A case of an explicit list: its files, relative to the root."""

    case_id: str
    image: str
    label: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with one case, and what to do."""

    case_id: str
    path: Path
    found: str
    remedy: str

    @property
    def shown_id(self) -> str:
        """The case id as it can be printed."""
        return printable(self.case_id)

    def __str__(self) -> str:
        return printable(f"  {self.case_id}: {self.path}: {self.found}; {self.remedy}.")


class DataError(ValueError):
    """Data that cannot be used; the message names every problem with its remedy."""


def find_cases(data_dir: str | Path,
               layouts: Sequence[Layout]) -> tuple[list[Case], list[Problem]]:
    """Pair the images and labels of the first layout that `data_dir` has, sorted by case id.

    Files pair by case id: the file name less its suffix and less _image or _label, and less the
    channel number _0000 that nnU-Net gives to the images. These endings count in any case. Hidden
    files (macOS leaves "._name.nii.gz" in archives) are passed over; what else is, tells
    data.checks.passed_over.

    Differs from the authors' code: theirs pairs two sorted lists by position, so one missing
    file shifts every later pair.

    Returns:
        The pairs, and a problem for each file without its partner or of a case id that occurs
        twice.

    Raises:
        DataError: no such folder, no layout, no case, or cases of one file per channel.
    """
    root = _folder(data_dir, f"{layouts[0].images}/ and {layouts[0].labels}/")
    layout = present_layout(root, layouts)
    if layout is None:
        tried = "\n".join(f"  {root / one.images} with {root / one.labels}" for one in layouts)
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise DataError(f"{root}: holds none of the folders of this dataset (it holds "
                        f"{printable(inside)}).{foreign_hint(root)} Looked for:\n{tried}")
    problems: list[Problem] = []
    images = _by_case_id(root / layout.images, layout, "_image", problems)
    labels = _by_case_id(root / layout.labels, layout, "_label", problems)
    if not images and not labels:
        raise DataError(f"{root / layout.images}: no cases (files {layout.prefix}*.nii.gz or "
                        f"{layout.prefix}*.nii).{foreign_hint(root / layout.images)}")
    images = _without_channel_numbers(images, labels)
    for case_id in sorted(set(images) ^ set(labels)):
        has, lacks = ("an image", "label") if case_id in images else ("a label", "image")
        path = images.get(case_id) or labels[case_id]
        folder = root / (layout.labels if lacks == "label" else layout.images)
        problems.append(Problem(case_id, path, f"is {has} without its {lacks}",
                                f"add the {lacks} to {folder} under the same case id, or remove "
                                f"this file"))
    paired = sorted(set(images) & set(labels))
    return [Case(case_id, images[case_id], labels[case_id], layout.channel_first)
            for case_id in paired], problems


def find_listed(data_dir: str | Path,
                listed: Sequence[Listed]) -> tuple[list[Case], list[Problem]]:
    """The cases of an explicit list, sorted by case id; files that it lacks are passed over.

    Lists of nnU-Net leave out the channel number _0000 that its images have on disk; such an
    image is found too.

    Returns:
        The cases, and a problem for each file that is not there.

    Raises:
        DataError: no such folder, or none of the files is below it.
    """
    folders = sorted({str(Path(path).parent) for one in listed for path in (one.image, one.label)})
    wanted = " and ".join("the files" if folder == "." else f"{folder}/" for folder in folders)
    root = _folder(data_dir, wanted)
    cases: list[Case] = []
    problems: list[Problem] = []
    for one in sorted(listed, key=lambda one: one.case_id):
        image, label = root / one.image, root / one.label
        if not image.is_file() and _numbered(image, 0).is_file():
            if _numbered(image, 1).is_file():
                raise _split_over_files(_numbered(image, 0), _numbered(image, 1))
            image = _numbered(image, 0)
        absent = [path for path in (image, label) if not path.is_file()]
        problems += [Problem(one.case_id, path, "is listed in dataset.json, but is not there",
                             "copy it there, or take the case off the list") for path in absent]
        if not absent:
            cases.append(Case(one.case_id, image, label))
    if len(problems) == 2 * len(listed):
        raise DataError(f"{root}: holds none of the {len(listed)} cases that dataset.json lists, "
                        f"{problems[0].path} to begin with. Give the folder that holds {wanted}.")
    return cases, problems


def _folder(data_dir: str | Path, holds: str) -> Path:
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(f"{root}: no such directory. Give the folder that holds {holds}.")
    return root


def present_layout(root: Path, layouts: Sequence[Layout]) -> Layout | None:
    """The first layout that a folder has."""
    return next((one for one in layouts if _present(root, one)), None)


def _present(root: Path, layout: Layout) -> bool:
    images, labels = root / layout.images, root / layout.labels
    if not (images.is_dir() and labels.is_dir()):
        return False
    return images != labels or bool(files_of_role(images, layout, "_image"))


def files_of_role(folder: Path, layout: Layout, ending: str) -> list[Path]:
    """The NIfTI files of a layout's folder that are images ("_image") or labels ("_label")."""
    found = []
    for path in sorted(folder.iterdir()):
        name = split_nifti_name(path.name)
        if name is None or path.name.startswith("."):
            continue
        if not path.name.lower().startswith(layout.prefix):
            continue
        if layout.images == layout.labels and without_role(name[0], ending) is None:
            continue
        found.append(path)
    return found


def _by_case_id(folder: Path, layout: Layout, ending: str,
                problems: list[Problem]) -> dict[str, Path]:
    """Files of one role by case id."""
    found: dict[str, Path] = {}
    for path in files_of_role(folder, layout, ending):
        case_id = case_id_of(path.name)
        if case_id in found:
            problems.append(Problem(case_id, path, f"is this case, and so is "
                                    f"{found[case_id].name}", "remove one"))
        found[case_id] = path
    return found


def case_id_of(name: str) -> str:
    """The name of a NIfTI file less its suffix and less _image or _label."""
    stem, _ = split_nifti_name(name)
    for role in ROLE_ENDINGS:
        bare = without_role(stem, role)
        if bare is not None:
            return bare
    return stem


def _without_channel_numbers(images: dict[str, Path], labels: dict[str, Path]) -> dict[str, Path]:
    """Images by case id, which loses _0000 where only then it has a label."""
    renamed = {}
    for name, path in images.items():
        case_id, number = re.fullmatch(r"(.*?)(_\d{4})?", name).groups()
        if number is None or name in labels or case_id not in labels or case_id in images:
            renamed[name] = path
        elif number == "_0000":
            renamed[case_id] = path
        else:
            raise _split_over_files(images.get(f"{case_id}_0000", path), path)
    return renamed


def _numbered(image: Path, channel: int) -> Path:
    stem, suffix = split_nifti_name(image.name)
    return image.with_name(f"{stem}_{channel:04d}{suffix}")


def _split_over_files(first: Path, other: Path) -> DataError:
    return DataError(f"{first.parent}: keeps each channel of a case in a file of its own "
                     f"({first.name}, {other.name}). Join them to one file with the channels on "
                     f"its fourth axis.")
