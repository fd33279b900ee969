"""From volumes to batches: crops that depend on the seed alone."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import monai.transforms as mt
import numpy as np
import torch
from monai.data import list_data_collate
from monai.utils.misc import MAX_SEED
from torch.utils.data import BatchSampler, DataLoader, Subset
from torch.utils.data import Dataset as TorchDataset

from system.shared_memory import check_shared_memory
from system.signals import leave_to_parent

from ..sets.datasets import Dataset
from .transforms import DIST_MAP, GEOMETRY, augmentation, plain_tensors

Volume = dict[str, Any]


class Part(NamedTuple):
    """Crops `first` to `last` of volume `index`; each is `share` of all crops of the step."""

    epoch: int
    index: int
    first: int
    last: int
    share: float


class CropDataset(TorchDataset):
    """Random crops of prepared volumes, fixed by (seed, epoch, index) and by nothing else.

    So neither the number of worker processes nor a resumed run changes a crop. Items are asked
    for as (epoch, index), which is what EpochSampler yields.
    """

    def __init__(self, volumes: Sequence[Volume], random_transform: mt.Compose, seed: int):
        self.volumes = volumes
        self.random_transform = random_transform.set_random_state(seed)  # generators of its own
        self.seed = seed

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, key: tuple[int, int] | Part) -> list[Volume]:
        """The crops of one volume in one epoch, or a part of them with what each counts."""
        epoch, index = key[:2]
        drawn = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)
        reseed(self.random_transform, int(drawn[0]))
        volume = _for_crops(self.volumes[index])  # which may be made now, with its metadata
        with plain_tensors():
            crops = self.random_transform(volume)
        if isinstance(key, Part):
            return [crop | {"share": key.share} for crop in crops[key.first:key.last]]
        return crops


def reseed(transform: mt.Compose, seed: int) -> None:
    """The same as set_random_state, once that has been called.

    MONAI would create ten new generators, which takes 1 ms: more than cutting a crop of 96^3.
    """
    transform.R.seed(seed % MAX_SEED)
    for step in transform.transforms:
        if isinstance(step, mt.Randomizable):
            drawn = int(transform.R.randint(MAX_SEED, dtype="uint32")) % MAX_SEED
            for holder in _random_parts(step):
                holder.R.seed(drawn)


def _random_parts(step: mt.Randomizable) -> list[mt.Randomizable]:
    """A transform and those within it that have generators, too."""
    parts = [step]
    for part in vars(step).values():
        if isinstance(part, mt.Randomizable):
            parts += _random_parts(part)
    return parts


def _for_crops(volume: Volume) -> Volume:
    """The volume without its geometry, which MONAI would copy into each crop to no use."""
    return {name: value for name, value in volume.items() if name not in GEOMETRY}


class EpochSampler(torch.utils.data.Sampler):
    """A new order of the volumes in each epoch, from the seed and the epoch's number."""

    def __init__(self, num_volumes: int, seed: int):
        self.num_volumes = num_volumes
        self.seed = seed
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next pass, and how many of its items to skip."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.num_volumes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_volumes)
        epoch = self.epoch
        return ((epoch, int(index)) for index in order[self.start:])


class SharedBatches(BatchSampler):
    """One process's part of each batch: consecutive crops, split as evenly as possible.

    So the crops of a step do not depend on the number of processes. If a batch has fewer crops
    than there are processes, as an epoch's last may have, some get a crop of weight 0.

    Args:
        sampler: of (epoch, index).
        batch_size: volumes in a step of all processes.
        num_crops: of each volume.
        rank, world_size: this process among all.

    Raises:
        ValueError: there is no work for some processes in any step.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, num_crops: int, rank: int,
                 world_size: int):
        super().__init__(sampler, batch_size, drop_last=False)
        self.num_crops, self.rank, self.world_size = num_crops, rank, world_size
        if world_size > batch_size * num_crops:
            raise ValueError(f"{world_size} processes are more than the {batch_size * num_crops} "
                             f"crops of a step; give a larger --batch_size or --num_crops, or use "
                             f"fewer processes.")

    def __iter__(self) -> Iterator[list[Part]]:
        for batch in super().__iter__():
            total = len(batch) * self.num_crops
            first = self.rank * total // self.world_size
            last = (self.rank + 1) * total // self.world_size
            if first == last:
                yield [Part(*batch[0], 0, 1, 0.0)]
                continue
            parts = []
            for place, key in enumerate(batch):
                start = place * self.num_crops  # of this volume's crops in the batch
                if first < start + self.num_crops and start < last:
                    parts.append(Part(*key, max(first - start, 0),
                                      min(last - start, self.num_crops), 1 / total))
            yield parts


def training_loader(volumes: Sequence[Volume], dataset: Dataset, img_size: tuple[int, int, int],
                    batch_size: int, seed: int, num_workers: int = 0, pin_memory: bool = False,
                    rank: int = 0, world_size: int = 1) -> DataLoader:
    """Batches of {"image": (B, C, H, W, D), "label": (B, 1, H, W, D), "case_id": [B]}.

    Also "dist_map": (B, K, H, W, D), if the volumes have distance maps. B is batch_size volumes
    times the dataset's crops per volume. With several processes (see `SharedBatches`) B is this
    process's part of them, and "share" (B,) has each crop's fraction of the step.
    `loader.batch_sampler.sampler.set_epoch` chooses the epoch. The global generators are neither
    used nor changed, so dropout is the same in a resumed run.

    Args:
        batch_size: volumes in a step, over all processes.
        rank, world_size: this process among those that train together.

    Raises:
        ValueError: a step has fewer crops than there are processes, or /dev/shm is too small for
            the loader processes.
    """
    check_shared_memory(batch_bytes(volumes, dataset, img_size, batch_size, world_size),
                        num_workers)
    crops = CropDataset(volumes, augmentation(dataset, img_size), seed)
    sampler = EpochSampler(len(volumes), seed)
    if world_size == 1:
        batches = {"batch_size": batch_size, "sampler": sampler}
    else:
        shared = SharedBatches(sampler, batch_size, dataset.augmentation.num_crops, rank,
                               world_size)
        batches = {"batch_sampler": shared}
    return DataLoader(crops, **batches, num_workers=num_workers, collate_fn=list_data_collate,
                      persistent_workers=num_workers > 0, pin_memory=pin_memory,
                      worker_init_fn=leave_to_parent, generator=torch.Generator())


def batch_bytes(volumes: Sequence[Volume], dataset: Dataset, img_size: tuple[int, int, int],
                 batch_size: int, world_size: int) -> int:
    """The size of one process's batch: images, labels and distance maps, if there are any."""
    num_crops = -(-batch_size * dataset.augmentation.num_crops // world_size)
    per_voxel = 4 * len(dataset.channels) + 1
    if DIST_MAP in volumes[0]:
        per_voxel += 4 * dataset.num_classes
    return num_crops * math.prod(img_size) * per_voxel


def evaluation_loader(volumes: Sequence[Volume], rank: int = 0, world_size: int = 1) -> DataLoader:
    """Whole volumes one at a time: {"image": (1, C, H, W, D), "label", "affine", ...}.

    With several processes, each gets every world_size-th.
    """
    mine = Subset(volumes, range(rank, len(volumes), world_size))
    return DataLoader(mine, batch_size=1, collate_fn=list_data_collate,
                      generator=torch.Generator())

