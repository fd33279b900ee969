"""What the volumes outside the test hold, for the plan of a user's own data.

Of a case a few kilobytes are kept, in this process and in the folder of the cache, under a digest
of its files; so a case that is there is not unpacked again.
"""

import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from configs.training.contents import CaseContents, Contents
from configs.training.own_settings import is_first_process
from system.files import read_json, sha256_of, write_text

from ..nifti.images import channel_axis, channel_views, not_finite_in_float32, spatial_grid
from ..nifti.nifti_stream import read_nifti
from ..sets.cases import Case, DataError
from ..sets.datasets import Dataset
from ..sets.definitions import dataset_from_definition
from ..sets.label_values import value_counts, whole_numbers
from ..sets.splits import choose_fold
from .selection import planned_folds
from .verification import NUM_THREADS

FORMAT = 1          # of what is kept
FOLDER = "measured_cases"
NUM_SAMPLES = 1000  # intensities of a case and channel

_measured: dict[str, CaseContents] = {}  # in this process, by key


def measured_contents(data_dir: str, definition: Mapping[str, Any], split: Mapping[str, Any],
                      folder: Path | None = None) -> Contents:
    """What a user's own cases hold that train or validate; those of the test are not read.

    So the folds of a cross-validation have one plan, and their networks can be averaged. nnU-Net's
    fingerprint is of the same cases.

    Says on the error stream that volumes are read. Cases that cannot be trusted are left out, and
    to the verification.

    Args:
        split: "splits", "fold", "num_folds", "training_split" and "validation_split" of the run.
        folder: of the cache, used if it exists: nothing is created before a run begins.

    Raises:
        ValueError: the cases cannot be split in this way.
        DataError: there are none, or none can be read.
    """
    dataset = dataset_from_definition(dict(definition))
    found, _ = dataset.find_cases(data_dir)
    cases = {case.case_id: case for case in found}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the split, as the run says itself
        folds = planned_folds(SimpleNamespace(**split), dataset, list(cases))
    fold = choose_fold(folds, split["fold"])
    used = [cases[name] for name in sorted([*fold.training, *fold.validation])]
    keys = _in_threads(partial(_key_of, dataset=dataset), used)
    keep = None
    if folder is not None and folder.is_dir():
        keep = folder / FOLDER
    absent = []
    for case, key in zip(used, keys, strict=True):
        if key is not None and not _recall(key, keep, dataset):
            absent.append((case, key))
    if absent and is_first_process():
        print(f"Reading {len(absent)} volumes of {data_dir} for the plan ...",
              file=sys.stderr, flush=True)
    _in_threads(lambda item: _measure(*item, dataset, keep), absent)
    read = [_measured[key] for key in keys if key in _measured]
    if not read:
        raise DataError(f"{data_dir}: holds no case for training that can be read.")
    return Contents(dataset.channels, dataset.class_names, dataset.intensity == "ct",
                    tuple(read), len(used) - len(read))


def _in_threads(function: Callable, items: Sequence[Any]) -> list[Any]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(pool.map(function, items))


def _key_of(case: Case, dataset: Dataset) -> str | None:
    """A digest of everything that decides what a case holds; None if a file cannot be read."""
    try:
        files = [sha256_of(path) for path in (*case.images, case.label)]
    except OSError:
        return None
    made_of = [FORMAT, NUM_SAMPLES, files, case.channel_first, dataset.channels,
               sorted(dataset.label_values.items())]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


def _recall(key: str, folder: Path | None, dataset: Dataset) -> bool:
    """Whether a case was measured before."""
    if key not in _measured and folder is not None:
        with suppress(ValueError):  # absent or damaged: it is measured again
            _measured[key] = _from_plain(read_json(folder / f"{key}.json"), dataset)
    return key in _measured


def _from_plain(kept: Any, dataset: Dataset) -> CaseContents:
    """The inverse of `asdict`, checked.

    Raises:
        ValueError: it is not what was written.
    """
    try:
        found = CaseContents(kept["voxels"], kept["voxel_ml"], tuple(kept["class_voxels"]),
                             tuple(kept["zero_shares"]), tuple(map(tuple, kept["intensities"])))
        numbers = [found.voxels, found.voxel_ml, *found.class_voxels, *found.zero_shares]
        for channel in found.intensities:
            numbers += channel
        sizes = (len(found.class_voxels), len(found.zero_shares), len(found.intensities))
        finite = bool(np.isfinite(np.array(numbers, float)).all())
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("is damaged") from error
    num_channels = len(dataset.channels)
    if not finite or sizes != (dataset.num_classes, num_channels, num_channels):
        raise ValueError("is damaged")
    return found


def _measure(case: Case, key: str, dataset: Dataset, folder: Path | None) -> None:
    """Measure a case and keep it, unless it cannot be trusted."""
    try:
        found = case_contents(case, dataset)
    except (ValueError, OSError):
        return
    _measured[key] = found
    if folder is not None:
        with suppress(OSError):  # the run itself says so when it needs its cache
            write_text(folder / f"{key}.json", json.dumps(asdict(found)))


def case_contents(case: Case, dataset: Dataset) -> CaseContents:
    """What one case holds; one file at a time is in memory, beside a mask of its foreground.

    Raises:
        ValueError: a file cannot be read, has values that it must not have, or lies on another
            grid than the label.
    """
    file = read_nifti(case.label)[0]
    label = channel_views(file.dataobj, 1, case.channel_first)[0]
    if label.dtype.kind not in "biuf":
        raise ValueError(f"{case.label}: holds {label.dtype} values")
    _, affine = spatial_grid(file, channel_axis(file.shape, 1, case.channel_first))
    class_voxels = [0] * dataset.num_classes
    foreground = np.zeros(label.shape, bool)
    for value, count in value_counts(label).items():
        if value not in dataset.label_values:
            raise ValueError(f"{case.label}: has the value {value}")
        index = dataset.label_values[value]
        class_voxels[index] += count
        if index > 0:
            foreground |= whole_numbers(label) == value
    del file, label
    in_each = 1
    if len(case.images) == 1:
        in_each = len(dataset.channels)
    zero_shares, intensities = [], []
    for path in case.images:
        for channel in channel_views(read_nifti(path)[0].dataobj, in_each, case.channel_first):
            if channel.shape != foreground.shape or channel.dtype.kind not in "biuf":
                raise ValueError(f"{path}: does not fit {case.label}")
            if not_finite_in_float32(channel) is not None:
                raise ValueError(f"{path}: has voxels that are not finite")
            zero_shares.append(1 - np.count_nonzero(channel) / channel.size)
            intensities.append(_samples(channel[foreground]))
    voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return CaseContents(foreground.size, voxel_ml, tuple(class_voxels), tuple(zero_shares),
                        tuple(intensities))


def _samples(values: np.ndarray) -> tuple[float, ...]:
    """NUM_SAMPLES of the values (n,), ascending and evenly spaced, some repeated if n is less."""
    if not values.size:
        return ()
    places = (2 * np.arange(NUM_SAMPLES) + 1) * values.size // (2 * NUM_SAMPLES)
    return tuple(np.sort(values)[places].astype(np.float64).tolist())
