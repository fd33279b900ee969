"""From a data folder to paired files: one Case per subject."""

from collections.abc import Sequence
from pathlib import Path

from configs.nifti_names import split_nifti_name, without_role
from system.text_files import printable

from ..nifti.file_kinds import foreign_hint
from .channel_files import channel_files, channel_problems, holds_all, join_channels
from .one_case import Case, DataError, Layout, Listed, Problem

ROLE_ENDINGS = ("_image", "_label")


def find_cases(data_dir: str | Path, layouts: Sequence[Layout],
               channels: Sequence[str] = ("image",),
               numbered: bool = False) -> tuple[list[Case], list[Problem]]:
    """Pair the images and labels of the first layout that `data_dir` has, sorted by case id.

    Files pair by case id: the file name without its suffix, _image or _label, and the channel
    numbers _0000, _0001, ... of nnU-Net's images (see `join_channels`). Upper and lower case of
    these endings do not matter. Hidden files (macOS leaves "._name.nii.gz" in archives) are
    skipped; data.checks.passed_over reports other unused files.

    Differs from the authors' code: theirs pairs two sorted lists by position, so one missing
    file shifts every later pair.

    Args:
        channels, numbered: as in `join_channels`.

    Returns:
        The pairs, and a problem for each file without its partner, of a case id that occurs
        twice, or of a case that lacks channels.

    Raises:
        DataError: no such folder, no layout, or no case.
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
    files, lacking = join_channels(images, labels, channels, numbered)
    problems += lacking
    for case_id in sorted(set(files) ^ set(labels)):
        if case_id in files:
            path, has, lacks, folder = files[case_id][0], "an image", "label", layout.labels
        else:
            path, has, lacks, folder = labels[case_id], "a label", "image", layout.images
        problems.append(Problem(case_id, path, f"is {has} without its {lacks}",
                                f"add the {lacks} to {root / folder} under the same case id, or "
                                f"remove this file"))
    incomplete = {problem.case_id for problem in lacking}
    cases = []
    for case_id in sorted((set(files) & set(labels)) - incomplete):
        image, *more_channels = files[case_id]
        cases.append(Case(case_id, image, labels[case_id], layout.channel_first,
                          tuple(more_channels)))
    return cases, problems


def find_listed(data_dir: str | Path, listed: Sequence[Listed],
                channels: Sequence[str] = ("image",)) -> tuple[list[Case], list[Problem]]:
    """The cases of an explicit list, sorted by case id; other files are ignored.

    nnU-Net's lists leave out the channel numbers _0000, _0001, ... that its images have on disk;
    such images are found, too.

    Returns:
        The cases, and a problem for each missing file and each wrong number of channels.

    Raises:
        DataError: no such folder, or none of the files is below it.
    """
    folders = set()
    for one in listed:
        folders |= {str(Path(path).parent) for path in (*one.images, one.label)}
    wanted = " and ".join("the files" if folder == "." else f"{folder}/"
                          for folder in sorted(folders))
    root = _folder(data_dir, wanted)
    cases: list[Case] = []
    problems: list[Problem] = []
    num_files = 0
    for one in sorted(listed, key=lambda one: one.case_id):
        images, faults = _images_on_disk(root, one, channels)
        label = root / one.label
        absent = [path for path in (*images, label) if not path.is_file()]
        num_files += len(images) + 1 - len(absent)
        for path in absent:
            faults.append(Problem(one.case_id, path, "is listed in dataset.json, but is not there",
                                  "copy it there, or take the case off the list"))
        problems += faults
        if not faults:
            cases.append(Case(one.case_id, images[0], label, more_channels=images[1:]))
    if num_files == 0:
        raise DataError(f"{root}: holds none of the {len(listed)} cases that dataset.json lists, "
                        f"{problems[0].path} to begin with. Give the folder that holds {wanted}.")
    return cases, problems


def _images_on_disk(root: Path, one: Listed,
                    channels: Sequence[str]) -> tuple[tuple[Path, ...], list[Problem]]:
    """The files of a listed image, whether they exist or not, and problems with their number."""
    images = tuple(root / path for path in one.images)
    if len(images) > 1:  # as many as channels: dataset.json was checked for that
        return images, []
    image = images[0]
    stem, suffix = split_nifti_name(image.name)
    plain = image
    if stem == f"{one.case_id}_0000":
        plain = image.with_name(one.case_id + suffix)
    found = channel_files(plain, len(channels))
    if (image.is_file() and plain == image) or not found:
        return images, []
    if list(found) == [0] and (len(channels) == 1 or holds_all(found[0], len(channels))):
        return (found[0],), []
    return tuple(found.values()), channel_problems(one.case_id, found, channels)


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
    """The name of a NIfTI file without its suffix and _image or _label."""
    stem, _ = split_nifti_name(name)
    for role in ROLE_ENDINGS:
        bare = without_role(stem, role)
        if bare is not None:
            return bare
    return stem
