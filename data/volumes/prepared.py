"""From cases to prepared volumes: in memory, mapped from disk, or prepared on demand."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from configs import TrainingConfig, cache_dir
from system.ahead import each_ahead
from system.text_files import few

from ..checks.network_values import refuse_unseen
from ..checks.selection import Selection
from ..sets.cases import Case, DataError
from ..sets.datasets import Dataset
from .cache import DiskVolumes, recipe_of, volume_key
from .cache_entries import FOLDER, Volume, remove_abandoned
from .distances import distance_maps
from .transforms import DIST_MAP, case_files, has_foreground, prepare_crops, preprocessing

NUM_THREADS = 4


def run_volumes(config: TrainingConfig,
                selection: Selection) -> tuple[Sequence[Volume], Sequence[Volume]]:
    """Training and validation volumes of a run, kept where its settings say.

    Warns of training cases without foreground, whose crops are cut at random. Not with the cache
    off, since that would prepare all volumes; the verification of the files warns, too.

    Raises:
        ValueError: no training case has any foreground.
        See `load_volumes`.
    """
    load = partial(load_volumes, dataset=selection.dataset, progress=config.show_verbose,
                   cache=config.cache, folder=cache_dir(config))
    unit = None
    if config.shape_priors:
        unit = config.distance_unit
    training = load(selection.group("training"), img_size=config.img_size, distance_unit=unit)
    if not any(map(has_foreground, training)):
        raise ValueError(f"none of the {len(training)} training cases has any foreground after "
                         f"resampling: there is nothing to learn. Look at their labels and at "
                         f"--spacing, or choose another fold.")
    if config.cache != "off":
        empty = [volume["case_id"] for volume in training if not has_foreground(volume)]
        if empty:
            warnings.warn(f"{len(empty)} of {len(training)} training cases have no foreground "
                          f"after resampling ({few(empty, 3)}); their crops are cut at random.",
                          stacklevel=2)
    return training, load(selection.group("validation"))


def load_volumes(cases: Sequence[Case], dataset: Dataset,
                 img_size: tuple[int, int, int] | None = None, progress: bool = False,
                 distance_unit: str | None = None, cache: str = "memory",
                 folder: str | Path | None = None) -> Sequence[Volume]:
    """The deterministic part of the preparation, computed once and kept in memory or on disk.

    A voxel takes 4 bytes per channel and 1 for the label; distance maps take 4 more per class,
    most of the total with 8 classes and one channel.

    Args:
        img_size: crop size to prepare for; None for evaluation, which neither pads nor crops.
        distance_unit: "mm" or "voxel" adds "dist_map", (K, H, W, D) float32, of the padded label;
            see data.distance_maps.
        cache: "memory"; "disk", where memory does not grow with the number of cases; or "off",
            which prepares a volume each time it is used. The volumes are the same to the bit.
        folder: of the cache on disk. Every byte in it is checked against its checksum here, once;
            damaged volumes are prepared again.

    Raises:
        RuntimeError: a case cannot be read or transformed; the message names it.
        DataError: a case's image shows a network nothing.
        ValueError: `folder` cannot be written.
    """
    assert cache in ("memory", "disk", "off"), cache
    prepare = partial(prepare_volume, dataset=dataset, img_size=img_size,
                      distance_unit=distance_unit)
    if cache == "off":
        return FreshVolumes(cases, prepare)
    if cache == "memory":
        return _in_threads(prepare, cases, len(cases), "loading", progress)
    assert folder is not None
    remove_abandoned(Path(folder) / FOLDER)
    recipe = recipe_of(dataset, img_size, distance_unit)
    keys = _in_threads(partial(volume_key, recipe=recipe), cases, len(cases), "checking the cache",
                       progress)
    volumes = DiskVolumes(Path(folder), cases, keys, prepare)
    there = _in_threads(volumes.has, range(len(cases)), len(cases), "reading the cache", progress)
    absent = [index for index, is_there in enumerate(there) if not is_there]
    _in_threads(volumes.make, absent, len(absent), "loading", progress and bool(absent))
    return volumes


class FreshVolumes(Sequence):
    """Volumes that are read and transformed each time they are used, as in the authors' code."""

    def __init__(self, cases: Sequence[Case], prepare: Callable[[Case], Volume]):
        self.cases, self.prepare = list(cases), prepare

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Volume:
        return self.prepare(self.cases[index])


def prepare_volume(case: Case, dataset: Dataset, img_size: tuple[int, int, int] | None = None,
                   distance_unit: str | None = None) -> Volume:
    """One case's volume; arguments and errors are those of `load_volumes`."""
    volume = _preprocessed(preprocessing(dataset), case)
    if img_size is not None:
        volume = prepare_crops(volume, dataset, img_size)
    if distance_unit is None:
        return volume
    assert distance_unit in ("mm", "voxel"), distance_unit
    spacing = (1.0, 1.0, 1.0)
    if distance_unit == "mm":
        spacing = volume["spacing_mm"].tolist()
    maps = distance_maps(volume["label"][0].numpy(), dataset.num_classes, spacing)
    return volume | {DIST_MAP: torch.from_numpy(maps)}


def _preprocessed(fixed: Callable, case: Case) -> Volume:
    """An error names the case, not the transform."""
    try:
        volume = fixed(case_files(case))
        refuse_unseen(volume["image"].numpy())
        return volume
    except Exception as error:
        root = error
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, DataError):
            raise DataError(f"{case.case_id}: {root}") from error
        raise RuntimeError(f"{case.case_id}: cannot be prepared "
                           f"({type(root).__name__}: {root})") from error


def stream_images(cases: Iterable[Case], dataset: Dataset) -> Iterator[Volume]:
    """`image_volume` of each case; the next one is prepared in the background."""
    return each_ahead(partial(image_volume, dataset=dataset), cases)


def image_volume(case: Case, dataset: Dataset) -> Volume:
    """The volume of a case's image alone, for prediction.

    Raises:
        DataError, RuntimeError: see `load_volumes`.
    """
    return _preprocessed(preprocessing(dataset, ("image",)), replace(case, label=None))


def _in_threads(function: Callable, items: Iterable, total: int, what: str,
                progress: bool) -> list[Any]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(tqdm(pool.map(function, items), total=total, desc=what, unit="case",
                         disable=not progress))


def stream_volumes(cases: Iterable[Case], dataset: Dataset) -> Iterator[Volume]:
    """Volumes for evaluation one by one; the next one is prepared in the background."""
    return each_ahead(partial(prepare_volume, dataset=dataset), cases)
