"""One file per channel, CASE_0000.nii.gz, CASE_0001.nii.gz: nnU-Net's raw layout."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.nifti_names import split_nifti_name

from ..nifti.images import channel_axis
from ..nifti.nifti_stream import UnreadableError, read_header
from .one_case import Problem

NUMBERED = re.compile(r"(.+)_(\d{4})")  # the name of a case, and the number of a channel
Files = dict[str, tuple[Path, ...]]     # of each case, a file or one for each channel


def join_channels(images: Mapping[str, Path], labels: Mapping[str, Path],
                  channels: Sequence[str], numbered: bool) -> tuple[Files, list[Problem]]:
    """Images by case id; files named by a case id and a number are its channels.

    A name with its own label is a case, whatever its number. So is a file that holds all channels,
    since case ids may end in four digits, too; but the number of a single such file 0000 is not
    part of the case id if its label has none.

    Args:
        images, labels: by file name without its ending.
        channels: their names.
        numbered: whether names must end in numbers, so that CASE_0000 of a single channel is CASE
            even if there is no label CASE.

    Returns:
        The files, also of cases that lack some, and a problem for each of these.
    """
    files: Files = {}
    groups: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        match = NUMBERED.fullmatch(name)
        may_be_channel = (match is not None and name not in labels and match[1] not in images
                          and (match[1] in labels or numbered or len(channels) > 1))
        if may_be_channel:
            groups.setdefault(match[1], {})[int(match[2])] = path
        else:
            files[name] = (path,)
    problems: list[Problem] = []
    for case_id, group in sorted(groups.items()):
        if len(channels) > 1 and any(holds_all(path, len(channels)) for path in group.values()):
            if list(group) == [0] and case_id in labels:
                files[case_id] = (group[0],)
            else:
                for number, path in group.items():
                    files[f"{case_id}_{number:04d}"] = (path,)
            continue
        files[case_id] = tuple(group[number] for number in sorted(group))
        problems += channel_problems(case_id, group, channels)
    return files, problems


def channel_problems(case_id: str, found: Mapping[int, Path],
                     channels: Sequence[str]) -> list[Problem]:
    """What is wrong with the numbers of a case's channels; `found` are its files, at least one."""
    first = found[min(found)]
    stem, suffix = split_nifti_name(first.name)
    lacking = []
    for number, name in enumerate(channels):
        if number not in found:
            lacking.append(f"{number} ({name}), {stem[:-4]}{number:04d}{suffix}")
    problems = []
    if lacking:
        problems.append(Problem(case_id, first, f"lacks channel {' and channel '.join(lacking)}",
                                f"add it to {first.parent}, or leave the case out"))
    for number in sorted(set(found) - set(range(len(channels)))):
        problems.append(Problem(case_id, found[number], f"is channel {number}, but the dataset has "
                                f"{len(channels)} channel(s): {', '.join(channels)}",
                                "name the channel in dataset.json, or remove the file"))
    return problems


def holds_all(path: Path, num_channels: int) -> bool:
    """Whether a file can be read and has that many channels, by its header."""
    try:
        channel_axis(read_header(path).shape, num_channels)
    except (UnreadableError, ValueError):
        return False
    return True


def channel_files(image: Path, num_channels: int) -> dict[int, Path]:
    """The files IMAGE_0000, IMAGE_0001, ... that stand for an image, by number.

    Also looks for one channel more than there should be.
    """
    stem, suffix = split_nifti_name(image.name)
    paths = [image.with_name(f"{stem}_{number:04d}{suffix}") for number in range(num_channels + 1)]
    return {number: path for number, path in enumerate(paths) if path.is_file()}
