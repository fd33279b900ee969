"""python -m benchmarks.fuzz_readers [--count 12000] [--seed 0]: damaged input for every reader.

Valid NIfTI files, dataset.json, splits and config.json are changed at random, byte by byte and
value by value, and experiment names are made of their tokens and of any characters. A reader may
take an input or refuse it with ValueError; whatever else comes out of it is printed with its
number. Exit status 1 where there is any.
"""

import argparse
import copy
import gzip
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import nibabel
import numpy as np

from benchmarks.table.rows import Row
from configs import experiment_dir, training_config
from configs.dataset_json import read_dataset_json
from configs.experiment_name import DATASET_TOKENS, NETWORK_TOKENS, read_experiment_name
from configs.study.studies import FOLDER, read_study
from configs.use.run_folder import read_config
from data import DATASETS, Case
from data.checks.verification import case_findings
from data.sets.definitions import dataset_from_definition
from data.sets.split_files import read_splits
from system.command_line import CommandLine
from system.files import read_json

ODD = (None, True, -1, 0, 1, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "a", "\x00",
       "../../etc/passwd", "\ud800", "0", "-1", [], {}, [[]], [None], {"": None}, "x" * 5000)
DATASET_JSON = {"name": "Set", "modality": {"0": "CT"},
                "labels": {"0": "background", "1": "organ"},
                "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"},
                             {"image": "imagesTr/b.nii.gz", "label": "labelsTr/b.nii.gz"}]}
SPLITS = [{"train": ["a", "b"], "val": ["c"], "test": ["d"]}, {"train": ["a"], "val": ["b"]}]


def changed(random: Random, content: bytes, first: int) -> bytes:
    """Some bytes of the first ones overwritten, and sometimes cut or doubled."""
    found = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 4, 8, 32))):
        found[random.randrange(min(first, len(found)))] = random.choice(
            (0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    how = random.random()
    if how < 0.1:
        return bytes(found[:random.randrange(len(found))])
    return bytes(found * 2) if how < 0.15 else bytes(found)


def changed_value(random: Random, value: Any) -> Any:
    """One value somewhere below replaced, removed or repeated."""
    if random.random() < 0.3 or not isinstance(value, (dict, list)) or not value:
        return copy.deepcopy(random.choice(ODD))
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, how = random.choice(keys), random.random()
    if how < 0.1:
        del value[key]
    elif how < 0.2 and isinstance(value, list):
        value.append(copy.deepcopy(value[key]))
    elif how < 0.3 and isinstance(value, dict):
        value[random.choice(("", "name", "9", "\x00"))] = value.pop(key)
    else:
        value[key] = changed_value(random, value[key])
    return value


def damaged_json(random: Random, valid: Any) -> bytes:
    """A JSON file with other values, other bytes, or brackets without end."""
    how = random.random()
    if how < 0.01:
        return random.choice((b"[", b'{"a":')) * random.choice((10, 100_000))
    if how < 0.4:
        content = json.dumps(valid).encode()
        return changed(random, content, len(content))
    value = copy.deepcopy(valid)
    for _ in range(random.choice((1, 1, 2, 3))):
        value = changed_value(random, value)
    return json.dumps(value).encode()


def nifti(random: Random, folder: Path) -> None:
    """The verification of a case whose image or label has a damaged header or stream."""
    array = np.zeros((6, 5, 4), np.int16)
    array[:2] = 1
    files = {role: nibabel.Nifti1Image(array, np.eye(4)).to_bytes() for role in ("image", "label")}
    role, packed = random.choice(list(files)), random.random() < 0.5
    files[role] = changed(random, files[role], 352)
    for name, content in files.items():
        content = gzip.compress(content, 1) if packed else content
        if packed and name == role and random.random() < 0.3:
            content = changed(random, content, len(content))
        (folder / f"{name}.nii{'.gz' if packed else ''}").write_bytes(content)
    ending = ".nii.gz" if packed else ".nii"
    case = Case("a", folder / f"image{ending}", folder / f"label{ending}")
    findings = case_findings(case, DATASETS["hippocampus"], (32, 32, 32))
    if findings.errors:
        raise ValueError(str(findings.errors[0]))


def dataset_json(random: Random, folder: Path) -> None:
    """A damaged dataset.json, and the dataset that is made of it."""
    path = folder / "dataset.json"
    path.write_bytes(damaged_json(random, DATASET_JSON))
    dataset_from_definition(read_dataset_json(path))


def splits(random: Random, folder: Path) -> None:
    """A damaged file of folds."""
    path = folder / "splits.json"
    path.write_bytes(damaged_json(random, SPLITS))
    read_splits(path, ["a", "b", "c", "d"])


def config(random: Random, folder: Path) -> None:
    """A damaged config.json of a run."""
    valid = training_config("dsd", ["DATA", "_", "--experiment", "Hippocampus_nnUnet.exp"])
    (folder / "config.json").write_bytes(damaged_json(random, valid.to_dict()))
    read_config(folder)


def study(random: Random, folder: Path) -> None:
    """A damaged study."""
    path = folder / "study.json"
    path.write_bytes(damaged_json(random, read_json(FOLDER / "hippocampus.json")))
    read_study(str(path))


def name(random: Random, folder: Path) -> None:
    """The name of an experiment, of tokens and of any characters."""
    parts = [*DATASET_TOKENS, *NETWORK_TOKENS, "Fold", "Fold" + "9" * 5000, "CT_MMWHS", "..", "/",
             ".exp", "\x00", "\ud800", chr(random.randrange(0x110000)), ""]
    text = random.choice(("", "_", "-")).join(random.choices(parts, k=random.randrange(8)))
    read_experiment_name(text)
    experiment_dir(text)


READERS: dict[str, Callable[[Random, Path], Any]] = {
    "nifti": nifti, "dataset.json": dataset_json, "splits": splits, "config.json": config,
    "study": study, "name": name}


def fuzz(count: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Give each reader its share of `count` inputs; input i of a reader depends on seed and i only.

    Returns:
        How many were taken and refused, by (reader, outcome), and the traceback of each failure.
    """
    outcomes: Counter = Counter()
    failures = []
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # it tells each repair
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(count):
            reader = list(READERS)[index % len(READERS)]
            random = Random(f"{seed} {index}")
            try:
                READERS[reader](random, Path(folder))
                outcomes[reader, "taken"] += 1
            except ValueError:
                outcomes[reader, "refused"] += 1
            except Exception:
                outcomes[reader, "failed"] += 1
                failures.append(f"{reader}, seed {seed}, input {index}:\n{traceback.format_exc()}")
    return outcomes, failures


def rows(device: str, quick: bool) -> list[Row]:
    """The inputs that ended in anything but being taken or refused."""
    count = 500 if quick else 12_000
    outcomes, failures = fuzz(count)
    return [Row(f"damaged inputs of {count} that end in a traceback", len(failures), 0, "inputs",
                note=", ".join(READERS), details={" ".join(k): v for k, v in outcomes.items()})]


def main() -> int:
    """Prints the outcomes of each reader and what failed."""
    parser = CommandLine(description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    outcomes, failures = fuzz(args.count, args.seed)
    for failure in failures[:10]:
        print(failure)
    for (reader, outcome), number in sorted(outcomes.items()):
        print(f"{reader:14}{outcome:9}{number:7}")
    print(f"{args.count} inputs, {len(failures)} failed, {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
