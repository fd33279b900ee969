"""From tiles to batches of views for pre-training: they depend on seed, epoch and tile only."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from system.shared_memory import check_shared_memory
from system.signals import leave_to_parent

from .tile_list import read_tile
from .view_geometry import Size, draw_views, padded_shape, take_view
from .view_intensity import GLOBAL_1, GLOBAL_2, LOCAL, augmented

CROP_SIZE = (16, 96, 96)


class TileViews(TorchDataset):
    """Random views of tiles that depend on (seed, epoch, index) only.

    So neither the numbers of worker and training processes nor resuming a run changes a view.
    Items are indexed by (epoch, index), as TileSampler yields them.

    Args:
        paths: of the tiles; see `read_tile_list`.
        local_crops: local views beside the two global ones.
        crop_size: (D, H, W) of the global views; local ones have half their sides.

    Differs from the authors' code: theirs draws from the global generators of Python and numpy,
    which repeat themselves over workers and processes.
    """

    def __init__(self, paths: Sequence[str | Path], seed: int, local_crops: int = 0,
                 crop_size: Size = CROP_SIZE):
        self.paths = [str(path) for path in paths]
        self.seed = seed
        self.crop_size = tuple(crop_size)
        self.kinds = [GLOBAL_1, GLOBAL_2] + [LOCAL] * local_crops

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> list[torch.Tensor]:
        """The views of one tile in one epoch, each (1, D, H, W) float32, the global two first.

        Raises:
            RuntimeError: the tile cannot be read.
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        tile = read_tile(self.paths[key[1]])
        views = draw_views(rng, tile.shape, self.crop_size, len(self.kinds) - 2)
        padded = padded_shape(tile.shape, self.crop_size)
        made = []
        for view, kind in zip(views, self.kinds, strict=True):
            made.append(augmented(rng, take_view(tile, view, padded), kind)[None])
        return made


class TileSampler(torch.utils.data.Sampler):
    """One process's share of an epoch, in an order drawn from the seed and the epoch's number.

    A step takes the next batch_size * world_size tiles of the order, and process `rank` every
    world_size-th of them: N processes see the same tiles in a step as one process with N times
    the batch. Tiles left over at the end of an epoch are dropped. Yields (epoch, index).

    Raises:
        ValueError: the tiles are fewer than a step takes.

    Differs from the authors' code: theirs repeats some tiles so that all processes have the same
    number, then drops incomplete batches; with fewer tiles than a batch it trains on nothing.
    """

    def __init__(self, num_tiles: int, batch_size: int, seed: int, rank: int = 0,
                 world_size: int = 1):
        assert batch_size >= 1 and 0 <= rank < world_size, (batch_size, rank, world_size)
        if num_tiles < batch_size * world_size:
            raise ValueError(
                f"{num_tiles} tiles are fewer than a step takes: {batch_size} tiles in each of "
                f"{world_size} process(es) are {batch_size * world_size}. Lower "
                f"--batch_size_per_gpu, use fewer processes, or list more tiles.")
        self.num_tiles = num_tiles
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = self.start = 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch of the next pass, and how many of its items to skip."""
        self.epoch, self.start = epoch, start

    @property
    def num_steps(self) -> int:
        """Steps in an epoch."""
        return self.num_tiles // (self.batch_size * self.world_size)

    def __len__(self) -> int:
        return self.num_steps * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        order = rng.permutation(self.num_tiles)[:len(self) * self.world_size]
        mine = order[self.rank::self.world_size][self.start:]
        return ((epoch, int(index)) for index in mine)


def pretraining_loader(paths: Sequence[str | Path], batch_size: int, seed: int,
                       num_workers: int = 0, pin_memory: bool = False, rank: int = 0,
                       world_size: int = 1, local_crops: int = 0,
                       crop_size: Size = CROP_SIZE) -> DataLoader:
    """Batches of views: a list of tensors (B, 1, D, H, W), float32, the two global views first.

    `loader.sampler.set_epoch` chooses the epoch; its length is the number of steps in one. Random
    numbers come from `seed` alone: the global generators are neither used nor changed.

    Args:
        paths: of the tiles; see `read_tile_list`.
        batch_size: tiles in a step of this process.
        num_workers: loader processes, each with one thread.
        rank, world_size: this process among those that train together.

    Raises:
        ValueError: the tiles are fewer than a step takes, a view would have no pixels, or /dev/shm
            is too small for the loader processes.
    """
    if min(crop_size) < 1 or min(crop_size[1:]) < 2:
        raise ValueError(f"--crop_size {' '.join(map(str, crop_size))}: give 1 slice of 2 x 2 "
                         f"pixels or more; a local view has half its sides.")
    check_shared_memory(_batch_bytes(crop_size, local_crops, batch_size), num_workers)
    return DataLoader(TileViews(paths, seed, local_crops, crop_size), batch_size=batch_size,
                      sampler=TileSampler(len(paths), batch_size, seed, rank, world_size),
                      num_workers=num_workers, persistent_workers=num_workers > 0,
                      pin_memory=pin_memory, worker_init_fn=leave_to_parent,
                      generator=torch.Generator())  # without one it would draw from torch's global


def _batch_bytes(crop_size: Size, local_crops: int, batch_size: int) -> int:
    """The size of a batch of two global views and local ones of half their sides."""
    local = math.prod(max(side // 2, 1) for side in crop_size)
    return batch_size * 4 * (2 * math.prod(crop_size) + local_crops * local)
