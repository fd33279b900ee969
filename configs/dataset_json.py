"""A user's own dataset: dataset.json as the Decathlon and nnU-Net write it.

Its content becomes the `dataset_definition` of a run, plain JSON values from which the dataset can
be built without the file:

    {"name": "Spleen",
     "channels": ["CT"],
     "labels": {"0": "background", "1": "spleen"},     value in the files -> name, by value
     "cases": [{"case_id": "spleen_2", "image": "imagesTr/spleen_2.nii.gz",
                "label": "labelsTr/spleen_2.nii.gz"}, ...]}

"cases" is null if the file lists none: then all of imagesTr/ and labelsTr/ is used. An "image" is
a list if each channel has its own file. Optional keys:

    "symmetric": true      a mirror image, left to right, is as likely as the image; this key is
                           this project's own
    "numbered": true       images are CASE_0000.nii.gz, CASE_0001.nii.gz, ..., one for each channel:
                           nnU-Net's raw layout, recognised by channel_names with file_ending
    "num_training": 20     how many cases there should be, if none are listed
"""

import re
from pathlib import Path, PureWindowsPath
from typing import Any

from system.files import read_json
from system.text_files import is_control

from .experiment_name import refuse_control_characters
from .nifti_names import NIFTI_SUFFIXES, is_nifti_name, split_nifti_name, without_role

FILE_NAME = "dataset.json"
MAX_CLASSES = 256  # class indices are kept as uint8


def dataset_json_of(data_dir: str | Path) -> str | None:
    """The dataset.json in a data folder, used if no other is given; None if there is none."""
    path = Path(data_dir, FILE_NAME)
    if path.is_file():
        return str(path)
    return None


def read_dataset_json(path: str | Path) -> dict[str, Any]:
    """The checked definition of a dataset.json (see the module's docstring).

    Labels may be {"0": "background", ...} as in the Decathlon or {"background": 0, ...} as in
    nnU-Net 2; channels are named by "modality" or "channel_names".

    Raises:
        ValueError: the file cannot be read, or all its problems in one message.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f'{path}: must be one object with "labels" and "modality" or '
                         f'"channel_names".')
    problems: list[str] = []
    name, channels = _name(content, Path(path), problems), _channels(content, problems)
    definition = {"name": name, "channels": channels,
                  "labels": _labels(content.get("labels"), problems),
                  "cases": _cases(content, len(channels), problems)}
    symmetric = content.get("symmetric", False)
    if not isinstance(symmetric, bool):
        problems.append(f"symmetric {symmetric!r}: must be true or false.")
    elif symmetric:
        definition["symmetric"] = True
    ending = content.get("file_ending", NIFTI_SUFFIXES[0])
    if not isinstance(ending, str) or ending.lower() not in NIFTI_SUFFIXES:
        problems.append(f"file_ending {ending!r}: only {' and '.join(NIFTI_SUFFIXES)} are read, "
                        f"since label maps go back to a file's own grid and other formats do not "
                        f"say where that lies in the patient; convert the files.")
    if definition["cases"] is None:
        definition |= _layout(content, problems)
    texts = [definition["name"], *definition["channels"], *definition["labels"].values()]
    for text in texts:
        if any(map(is_control, text)):
            problems.append(f"{text!r}: has control characters or parts of characters, which "
                            f"cannot be written to tables; rename it.")
    if problems:
        raise ValueError("\n".join([f"{path}: cannot be used:", *(f"  {p}" for p in problems)]))
    return definition


def _layout(content: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Keys about the cases if they are not listed."""
    found: dict[str, Any] = {}
    if "channel_names" in content and "file_ending" in content:
        found["numbered"] = True
    number = content.get("numTraining")
    if number is None:
        return found
    if type(number) is not int or number < 1:
        problems.append(f"numTraining {number!r}: must be a whole number from 1 on.")
        return found
    return found | {"num_training": number}


def _name(content: dict[str, Any], path: Path, problems: list[str]) -> str:
    name = content.get("name", path.resolve().parent.name)
    if isinstance(name, str) and name.strip():
        return name
    problems.append(f"name {name!r}: must be a text that is not empty.")
    return ""


def _channels(content: dict[str, Any], problems: list[str]) -> list[str]:
    """Names of the channels, by number."""
    names = content.get("channel_names", content.get("modality"))
    if names is None:
        problems.append('modality: missing; name the channels, e.g. {"0": "CT"} (nnU-Net calls it '
                        'channel_names).')
    elif (not isinstance(names, dict) or not names
          or set(names) != {str(number) for number in range(len(names))}
          or not all(isinstance(name, str) for name in names.values())):
        problems.append(f'modality {names!r}: must name the channels by their numbers from 0 on, '
                        f'e.g. {{"0": "FLAIR", "1": "T1w"}}.')
    else:
        return [names[str(number)] for number in range(len(names))]
    return []


def _labels(labels: Any, problems: list[str]) -> dict[str, str]:
    """Value in the files -> name, by value."""
    if not isinstance(labels, dict) or not labels:
        problems.append('labels: missing or empty; name every value, e.g. {"0": "background", '
                        '"1": "spleen"}.')
        return {}
    pairs = [(value, name) for name, value in labels.items()]
    if all(_number(key) is not None for key in labels):  # the Decathlon has value: name
        pairs = list(labels.items())
    numbered = [(_number(value), name) for value, name in pairs]
    found = []
    for (value, name), (number, _) in zip(pairs, numbered, strict=True):
        if number is None and isinstance(value, list):
            found.append(f"labels {name!r}: is a region of the values {value}; regions overlap, "
                         f"and the networks here give a voxel one class (softmax). Name every "
                         f"value by itself, and join them in the label maps afterwards.")
        elif number is None:
            found.append(f"labels {name!r}: {value!r} must be one whole number from 0 on.")
    for value, name in numbered:
        if not isinstance(name, str) or not name.strip():
            found.append(f"labels {value!r}: its name {name!r} must be a text that is not empty.")
    for _, name in numbered:
        try:
            refuse_control_characters("labels: the name", str(name))
        except ValueError as error:
            found.append(str(error))
    if any(name == "ignore" for _, name in numbered):
        found.append("labels: 'ignore' is nnU-Net's label for voxels without annotation; the "
                     "losses here learn from every voxel, and would learn it as a class. Relabel "
                     "these voxels, or leave their cases out.")
    if not found:
        found = _problems_of_values([number for number, _ in numbered],
                                    [name for _, name in numbered])
    if found:
        problems += found
        return {}
    return {str(value): name for value, name in sorted(numbered)}


def _problems_of_values(values: list[int], names: list[str]) -> list[str]:
    problems = []
    for what, given in (("value", values), ("name", names)):
        for one in sorted(set(given)):
            if given.count(one) > 1:
                problems.append(f"labels: {what} {one!r} occurs more than once.")
    if 0 not in values:
        problems.append("labels: the value 0 is missing; it must be the background.")
    elif names[values.index(0)].strip().lower() != "background":
        problems.append(f"labels: the value 0 is {names[values.index(0)]!r}; it must be the "
                        f"background.")
    if not 2 <= len(values) <= MAX_CLASSES:
        problems.append(f"labels: {len(values)} classes with the background; there must be 2 to "
                        f"{MAX_CLASSES}.")
    return problems


def _number(value: Any) -> int | None:
    """A whole number from 0 on, also as text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    if type(value) is int and value >= 0:
        return value
    return None


def _cases(content: dict[str, Any], num_channels: int,
           problems: list[str]) -> list[dict[str, Any]] | None:
    """The listed cases, by case id."""
    key, entries, case_ids = _entries(content, problems)
    if entries is None:
        return None
    cases: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{key}, entry {number}"
        if not isinstance(entry, dict):
            problems.append(f'{where}: {entry!r} must be {{"image": ..., "label": ...}}.')
            continue
        image = _images(entry.get("image"), num_channels, f"{where}, image", problems)
        label = _file(entry.get("label"), f"{where}, label", problems)
        if image is None or label is None:
            continue
        if case_ids:
            case_id = case_ids[number - 1]
        elif isinstance(image, str):
            case_id = _case_id(image, label)
        else:
            case_id = _case_id(image[0], label)
        if case_id in cases:
            problems.append(f"{where}: case {case_id} is listed more than once.")
        cases[case_id] = {"case_id": case_id, "image": image, "label": label}
    return [cases[case_id] for case_id in sorted(cases)]


def _entries(content: dict[str, Any],
             problems: list[str]) -> tuple[str, list[Any] | None, list[str]]:
    """The key of the list of cases, its entries with "image" and "label", and their ids, if given.

    The Decathlon lists them under "training"; nnU-Net 2 may, under "dataset", by case id and with
    "images".
    """
    by_id = content.get("dataset")
    if isinstance(by_id, dict) and by_id and all(isinstance(one, dict) for one in by_id.values()):
        entries = []
        for one in by_id.values():
            entries.append({"image": one.get("images"), "label": one.get("label")})
        return "dataset", entries, list(by_id)
    training = content.get("training")
    if training is None:
        return "training", None, []
    if not isinstance(training, list) or not training:
        problems.append('training: must be a list of {"image": ..., "label": ...} that is not '
                        'empty; without the key all of imagesTr/ and labelsTr/ is used.')
        return "training", None, []
    return "training", training, []


def _images(paths: Any, num_channels: int, where: str,
            problems: list[str]) -> str | list[str] | None:
    """The path of a file with all channels, or a list with one for each."""
    if not isinstance(paths, list) or len(paths) < 2:
        return _file(paths, where, problems)
    if num_channels not in (0, len(paths)):  # 0: the channels are wrong, which is reported
        problems.append(f"{where}: has {len(paths)} files, but there are {num_channels} "
                        f"channel(s); each needs one, or one file has all on its fourth axis.")
        return None
    files = [_file(path, where, problems) for path in paths]
    if None in files:
        return None
    return files


def _file(path: Any, where: str, problems: list[str]) -> str | None:
    """A path below the data folder, in its plain form."""
    if isinstance(path, list) and len(path) == 1:
        path = path[0]
    if not isinstance(path, str) or not is_nifti_name(path):
        problems.append(f"{where}: {path!r} must be the path of a .nii.gz or .nii file.")
        return None
    parts = PureWindowsPath(path)  # knows both kinds of separators
    if parts.anchor or ".." in parts.parts:
        problems.append(f"{where}: {path!r} leaves the folder of the dataset; paths must be "
                        f"relative to it.")
        return None
    return parts.as_posix()


def _case_id(image: str, label: str) -> str:
    """The image's name without its suffix, _image, and a _0000 that its label's name lacks."""
    of_image, _ = split_nifti_name(image.rsplit("/", 1)[-1])
    of_label, _ = split_nifti_name(label.rsplit("/", 1)[-1])
    if of_image == f"{of_label}_0000":
        return of_label
    bare = without_role(of_image, "_image")
    if bare is None:
        return of_image
    return bare
