"""From cases to batches: volumes computed once, crops that depend on the seed alone."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from monai.data import list_data_collate
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from .cases import Case
from .datasets import Dataset
from .distances import distance_maps
from .transforms import (
    DIST_MAP,
    augmentation,
    case_files,
    plain_tensors,
    prepare_crops,
    preprocessing,
)

NUM_THREADS = 4
Volume = dict[str, Any]


def load_volumes(cases: Sequence[Case], dataset: Dataset,
                 img_size: tuple[int, int, int] | None = None, progress: bool = False,
                 distance_unit: str | None = None) -> list[Volume]:
    """All that is fixed about the cases, computed once and kept in memory.

    A voxel takes 4 bytes for each channel and 1 for the label; with distance maps 4 more for each
    class, so that with 8 classes and one channel they are most of it.

    Args:
        img_size: crop size to prepare for; None for evaluation, which neither pads nor crops.
        distance_unit: "mm" or "voxel" adds "dist_map", (K, H, W, D) float32, of the label as it
            is after padding; see data.distance_maps.

    Raises:
        RuntimeError: a case cannot be read or transformed; the message names it.
        ValueError: a case to be cropped has no foreground left.
    """
    fixed = preprocessing(dataset)
    volumes = _in_threads(lambda case: _prepare(fixed, case), cases, len(cases), "loading",
                          progress)
    if img_size is not None:
        volumes = _in_threads(lambda volume: prepare_crops(volume, dataset, img_size), volumes,
                              len(cases), "finding crops", progress)
    if distance_unit is None:
        return volumes
    return _in_threads(lambda volume: _with_distances(volume, dataset, distance_unit), volumes,
                       len(cases), "measuring distances", progress)


def _with_distances(volume: Volume, dataset: Dataset, unit: str) -> Volume:
    """The volume with its distance maps."""
    assert unit in ("mm", "voxel"), unit
    spacing = volume["spacing_mm"].tolist() if unit == "mm" else (1.0, 1.0, 1.0)
    maps = distance_maps(volume["label"][0].numpy(), dataset.num_classes, spacing)
    return volume | {DIST_MAP: torch.from_numpy(maps)}


def _prepare(fixed: Callable, case: Case) -> Volume:
    """One case's volume; an error names the case, not the transform."""
    try:
        return fixed(case_files(case))
    except Exception as error:
        root = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise RuntimeError(f"{case.case_id}: cannot be prepared "
                           f"({type(root).__name__}: {root})") from error


def _in_threads(function: Callable, items: Iterable, total: int, what: str,
                progress: bool) -> list[Any]:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        return list(tqdm(pool.map(function, items), total=total, desc=what, unit="case",
                         disable=not progress))


def stream_volumes(cases: Iterable[Case], dataset: Dataset) -> Iterator[Volume]:
    """Volumes for evaluation one at a time, the next one prepared meanwhile."""
    fixed, cases = preprocessing(dataset), iter(cases)
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(_prepare, fixed, case) for case in islice(cases, 1))
        while ahead:
            volume = ahead.popleft().result()
            ahead.extend(pool.submit(_prepare, fixed, case) for case in islice(cases, 1))
            yield volume


class CropDataset(TorchDataset):
    """Random crops of prepared volumes, fixed by (seed, epoch, index) and by nothing else.

    So neither the number of worker processes nor a resumed run changes a crop. Items are asked
    for as (epoch, index), which is what EpochSampler yields.
    """

    def __init__(self, volumes: Sequence[Volume], random_transform: Any, seed: int):
        self.volumes = volumes
        self.random_transform = random_transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, key: tuple[int, int]) -> list[Volume]:
        """The crops of one volume in one epoch."""
        epoch, index = key
        drawn = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)
        self.random_transform.set_random_state(seed=int(drawn[0]))
        with plain_tensors():
            return self.random_transform(dict(self.volumes[index]))


class EpochSampler(torch.utils.data.Sampler):
    """A new order of the volumes for each epoch, from the seed and the epoch's number."""

    def __init__(self, num_volumes: int, seed: int):
        self.num_volumes = num_volumes
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next pass draws."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_volumes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_volumes)
        return ((self.epoch, int(index)) for index in order)


def training_loader(volumes: Sequence[Volume], dataset: Dataset, img_size: tuple[int, int, int],
                    batch_size: int, seed: int, num_workers: int = 0,
                    pin_memory: bool = False) -> DataLoader:
    """Batches of {"image": (B, C, H, W, D), "label": (B, 1, H, W, D), "case_id": [B]}.

    And "dist_map": (B, K, H, W, D), where the volumes have distance maps. B is batch_size volumes
    times the dataset's crops per volume. `loader.sampler.set_epoch` chooses the epoch.
    """
    crops = CropDataset(volumes, augmentation(dataset, img_size), seed)
    return DataLoader(crops, batch_size=batch_size, sampler=EpochSampler(len(volumes), seed),
                      num_workers=num_workers, collate_fn=list_data_collate,
                      persistent_workers=num_workers > 0, pin_memory=pin_memory)


def evaluation_loader(volumes: Sequence[Volume]) -> DataLoader:
    """Whole volumes one at a time: {"image": (1, C, H, W, D), "label", "affine", ...}."""
    return DataLoader(list(volumes), batch_size=1, collate_fn=list_data_collate)

