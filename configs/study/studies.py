"""A study: the datasets, networks, methods, folds and seeds of one table of the papers.

    {"title": "DSD on the hippocampus",
     "datasets": ["hippocampus"],
     "networks": ["nnunet", "vnet"],
     "methods": {"basic": {"method": "basic"},             the first is the baseline of the others
                 "dsd": {"method": "dsd"},
                 "decoder_kl": {"method": "dsd", "flags": ["--distil", "decoder"]}},
     "folds": [1],
     "seeds": [100, 101, 102],
     "group": "testing",                                   cases that are scored: eval.py --mode
     "epochs": null,                                       null: the recipe of dataset and network
     "flags": ["--training_split", "60"],                  of every training run
     "published": {"method": "dsd", "dice_points": 1.3, "hd95_mm": -0.76, "source": "..."},
     "protocol": ["Written before the first run: dsd is better than basic.", "..."]}

"folds", "epochs", "flags", "published" and "protocol" are optional. A dataset is a published one,
or one of your own by the "name" in DATA/dataset.json. Shipped studies are studies/*.json. The
protocol (hypotheses, margin, scored epoch) heads the report; the file's history shows when it was
written.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system import ROOT
from system.files import read_json

from ..checks import checked_names, checked_numbers, checked_text, checked_words, short
from ..dataset_json import dataset_json_of, read_dataset_json
from ..recipes import DATASETS, NETWORKS
from ..training.training_parser import training_parser
from .cross_validation import METHODS

FOLDER = ROOT / "studies"
GROUPS = ("validation", "testing")
LARGEST_SEED = 2**32 - 1  # of numpy
OWN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # of a dataset: runs are named by it
# Flags that the study itself gives its runs, that train nothing, or that belong elsewhere.
OWN_FLAGS = ("--experiment", "--show_settings", "--estimate", "--resume", "--overwrite",
             "--dataset", "--network", "--fold", "--epochs", "--seed", "--device", "--show_verbose",
             "--help")


@dataclass(frozen=True)
class Method:
    """One column of a study: a training script and its additional flags."""

    name: str                       # of its runs and rows
    method: str                     # of METHODS
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """The papers' gain of a method over its baseline, averaged over their networks."""

    method: str                     # name of the study's method
    dice_points: float              # 100 x Dice
    hd95_mm: float
    source: str


@dataclass(frozen=True)
class Study:
    """What is in a study's file."""

    name: str
    title: str
    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    methods: tuple[Method, ...]     # the baseline first
    folds: tuple[int, ...]          # 1-based
    seeds: tuple[int, ...]
    group: str                      # of GROUPS
    epochs: int | None
    flags: tuple[str, ...]
    published: Published | None
    protocol: tuple[str, ...] = ()  # sentences


REQUIRED = ("title", "datasets", "networks", "methods", "seeds", "group")
OPTIONAL = ("folds", "epochs", "flags", "published", "protocol")


def study_path(name: str) -> Path:
    """The file of a study: a path that ends in .json, or the name of one in studies/.

    Raises:
        ValueError: there is none of that name.
    """
    if name.endswith(".json"):
        return Path(name)
    known = sorted(path.stem for path in FOLDER.glob("*.json"))
    if name not in known:
        raise ValueError(f"STUDY {name}: must be one of {', '.join(known)}, or the path of a "
                         f".json file.")
    return FOLDER / f"{name}.json"


def read_study(name: str) -> Study:
    """The checked content of a study's file (see the module's docstring).

    Raises:
        ValueError: the file cannot be read, or all its problems in one message.
    """
    path = study_path(name)
    content = read_json(path)
    problems: list[str] = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", path.stem):
        problems.append(f"the file's name {path.stem!r}: must be of letters, digits, - and _, "
                        f"since the folder of the results has it.")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be one object with {', '.join(REQUIRED)}.")
    problems += [f"{key}: is missing." for key in REQUIRED if key not in content]
    known = (*REQUIRED, *OPTIONAL)
    for key in content:
        if key not in known:
            problems.append(f"{short(key)}: is unknown; known are {', '.join(known)}.")

    def checked(key: str, check, default: Any = None) -> Any:
        if key not in content:
            return default
        return check(key, content[key], problems)

    methods = checked("methods", _methods, ())
    study = Study(
        path.stem, checked("title", checked_text, ""),
        checked("datasets", _datasets, ()),
        checked("networks", lambda *one: checked_names(*one, NETWORKS), ()), methods,
        checked("folds", lambda *one: checked_numbers(*one, 1, 10**6), (1,)),
        checked("seeds", lambda *one: checked_numbers(*one, 0, LARGEST_SEED), ()),
        checked("group", _group, ""), checked("epochs", _epochs),
        checked("flags", _flags_of_all, ()), checked("published", _published),
        checked("protocol", _protocol, ()))
    if study.published is not None and methods and \
            study.published.method not in [one.name for one in methods[1:]]:
        problems.append(f"published: its method {study.published.method!r} is none of the methods "
                        f"after the baseline.")
    if problems:
        raise ValueError("\n".join([f"{path}: cannot be used:", *(f"  {p}" for p in problems)]))
    return study


def flag_problems(words: tuple[str, ...], method: str) -> list[str]:
    """What is wrong with flags that a study passes on to a training script."""
    known: set[str] = set()
    for action in training_parser(method)._actions:
        known.update(action.option_strings)
    problems = []
    if words and not words[0].startswith("-"):
        problems.append(f"{words[0]!r} belongs to no flag.")
    for word in words:
        name = word.partition("=")[0]
        if not re.match(r"-+[A-Za-z]", word) and word != "--":
            continue
        if name in (*OWN_FLAGS, "-h", "-exp", "-e"):
            problems.append(f"{name} is given by the study itself.")
        elif name not in known:
            problems.append(f"{name} is no flag of the training script of {method}.")
    return problems


def _datasets(key: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    """Published datasets, and names of others, which `dataset_flag` looks up in the data."""
    own = []
    if isinstance(value, list):
        own = [one for one in value if isinstance(one, str) and OWN_NAME.fullmatch(one)]
    return checked_names(key, value, problems, (*DATASETS, *own))


def dataset_flag(name: str, data_dir: str) -> str:
    """--dataset of a study's dataset: its name if it is published, else DATA/dataset.json.

    Raises:
        ValueError: DATA has no dataset.json of that name.
    """
    if name in DATASETS:
        return name
    path, found = dataset_json_of(data_dir), None
    if path is not None:
        found = read_dataset_json(path)["name"]
    if found != name:
        raise ValueError(f"{name}: is not a published dataset ({', '.join(DATASETS)}), and not the "
                         f"name in {data_dir}/dataset.json ({found or 'there is none'}): give the "
                         f"folder of that dataset as --data.")
    return path


def _group(key: str, value: Any, problems: list[str]) -> str:
    if isinstance(value, str) and value in GROUPS:
        return value
    problems.append(f"{key}: {short(value)} must be one of {', '.join(GROUPS)}.")
    return ""


def _epochs(key: str, value: Any, problems: list[str]) -> int | None:
    if value is not None and not (type(value) is int and 1 <= value <= 10**6):
        problems.append(f"{key}: {short(value)} must be a whole number from 1, or null.")
        return None
    return value


def _methods(key: str, value: Any, problems: list[str]) -> tuple[Method, ...]:
    if not isinstance(value, dict) or not value:
        problems.append(f'{key}: {short(value)} must be {{"NAME": {{"method": "basic" or "dsd", '
                        f'"flags": [...]}}, ...}}.')
        return ()
    methods = []
    for name, entry in value.items():
        where = f"{key}, {short(name)}"
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
            problems.append(f"{where}: must be of small letters, digits and _.")
        elif not isinstance(entry, dict) or not {"method"} <= set(entry) <= {"method", "flags"}:
            problems.append(f'{where}: {short(entry)} must have "method" and may have "flags".')
        elif not isinstance(entry["method"], str) or entry["method"] not in METHODS:
            problems.append(f"{where}: {short(entry['method'])} must be one of "
                            f"{', '.join(METHODS)}.")
        else:
            flags = checked_words(where, entry.get("flags", []), problems)
            problems += [f"{where}: {one}" for one in flag_problems(flags, entry["method"])]
            methods.append(Method(name, entry["method"], flags))
    return tuple(methods)


def _flags_of_all(key: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    flags = checked_words(key, value, problems)
    problems += [f"{key}: {one}" for one in flag_problems(flags, "basic")]
    return flags


def _protocol(key: str, value: Any, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list):
        problems.append(f"{key}: {short(value)} must be a list of sentences.")
        return ()
    return tuple(checked_text(f"{key}, {number}", sentence, problems)
                 for number, sentence in enumerate(value, start=1))


def _published(key: str, value: Any, problems: list[str]) -> Published | None:
    fields = ("method", "dice_points", "hd95_mm", "source")
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != set(fields):
        problems.append(f"{key}: {short(value)} must have {', '.join(fields)}.")
        return None
    numbers = [value["dice_points"], value["hd95_mm"]]
    if not all(type(one) in (int, float) and abs(one) <= 1000 for one in numbers):
        problems.append(f"{key}: dice_points and hd95_mm must be numbers from -1000 to 1000.")
        return None
    method = checked_text(f"{key}, method", value["method"], problems)
    source = checked_text(f"{key}, source", value["source"], problems)
    return Published(method, *map(float, numbers), source)
