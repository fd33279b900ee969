"""What training waits for: cutting crops from prepared volumes, and the memory that many take.

The volumes are noise on the grid of MM-WHS, prepared for crops of 96^3, two of each volume, as the
papers train on. A crop's time is that of the loader in the training process: opening the volume,
cutting, augmenting and collating. It is processor time of one thread, the file being in the page
cache, so that other processes count little. Both volumes of a comparison take turns with the same
random numbers. Memory is measured in a process that has read a whole epoch; its cases are one
volume on disk under many names.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import nibabel
import numpy as np
import torch
from torchmanager.callbacks import Callback

from benchmarks.measure import peak_growth_mib
from benchmarks.table.rows import Row
from data import DATASETS, load_volumes, training_loader
from data.phantoms.make import make_phantoms
from data.sets.cases import Case
from data.volumes.cache import DiskVolumes
from data.volumes.cache_entries import FOLDER
from losses import DSDLoss
from managers import SegmentationManager
from networks import build_network

CT = DATASETS["mmwhs-ct"]
SHAPE, CROP, NUM_CROPS = (256, 256, 180), (96, 96, 96), CT.augmentation.num_crops
SIDES = (128, 256)        # of the cubes whose crops are compared
COUNTS = (20, 100, 484)   # cases: MM-WHS has 20, MSD-BraTS 484
FILTERS = (4, 8, 16)     # a light step, so that waiting weighs more than in the papers' runs
PHANTOM = (96, 96, 80)    # voxels of the files


def write_case(folder: Path, shape: Sequence[int], case_id: str = "ct_1") -> Case:
    """A CT on the grid that MM-WHS is resampled to, so that `shape` is what crops are cut from."""
    rng = np.random.default_rng(0)
    image = rng.normal(40, 100, shape).astype(np.int16)
    label = np.zeros(shape, np.int16)
    heart = tuple(slice(side // 3, 2 * side // 3) for side in shape)
    label[heart] = 500
    paths = [folder / f"{case_id}_{what}_{'x'.join(map(str, shape))}.nii.gz"
             for what in ("image", "label")]
    for path, voxels in zip(paths, (image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*CT.spacing_mm, 1.0])), path)
    return Case(case_id, *paths)


def loading(volumes: Sequence[dict[str, Any]], crop: Sequence[int]) -> Callable[[], float]:
    """A function that loads the crops of the next volume; gives milliseconds a crop."""
    loader = training_loader(volumes, CT, crop, 1, seed=0)
    epochs = iter(range(10**6))

    def load() -> float:
        key, start = (next(epochs), 0), time.thread_time()
        loader.collate_fn([loader.dataset[key]])
        return 1000 * (time.thread_time() - start) / NUM_CROPS

    return load


def in_turns(loads: Sequence[Callable[[], float]], repeats: int) -> np.ndarray:
    """Milliseconds (repeats, len(loads)), each side's after one that does not count."""
    times = np.empty((repeats + 1, len(loads)))
    for repeat in range(repeats + 1):
        for index in range(len(loads))[::1 if repeat % 2 else -1]:  # who goes first alternates
            times[repeat, index] = loads[index]()
    return times[1:]


def crop_rows(folder: Path, shape: Sequence[int], sides: Sequence[int], crop: Sequence[int],
              repeats: int) -> list[Row]:
    """A crop's time by cache, and how it grows with the volume."""
    name = " x ".join(map(str, shape))
    case = write_case(folder, shape)
    kinds = {kind: load_volumes([case], CT, crop, cache=kind, folder=folder / "cache")
             for kind in ("disk", "memory", "off")}
    loads = {kind: loading(volumes, crop) for kind, volumes in kinds.items()}
    off = median(loads["off"]() for _ in range(min(3, repeats)))
    times = in_turns([loads["disk"], loads["memory"]], repeats)
    rows = [Row(f"a crop of {name}, --cache {kind}", float(np.median(column)), 2.0, "ms",
                note=f"prepared anew each time {off:.0f} ms",
                details={"mean_ms": column.mean(), "p90_ms": float(np.quantile(column, 0.9)),
                         "off_ms": off})
            for kind, column in zip(("disk", "memory"), times.T, strict=True)]

    cubes = [load_volumes([write_case(folder, (side,) * 3)], CT, crop, cache="disk",
                          folder=folder / "cache") for side in sides]
    times = in_turns([loading(cube, crop) for cube in cubes], repeats)
    ratios = times[:, 1] / times[:, 0]
    rows.append(Row(f"a crop of {sides[1]}^3 to one of {sides[0]}^3, --cache disk",
                    float(np.median(ratios)), 1.1,
                    note="of a row of voxels whole pages are mapped",
                    details={"ms": np.median(times, axis=0).tolist(),
                             "quartiles": np.quantile(ratios, (0.25, 0.75)).tolist()}))
    return rows


class Waiting(Callback):
    """Seconds of each epoch, and those of them between the steps."""

    def __init__(self):
        self.epochs: list[float] = []
        self.waited: list[float] = []

    def on_epoch_start(self, epoch: int) -> None:
        """Begin an epoch."""
        self.start = self.since = time.perf_counter()
        self.waited.append(0.0)

    def on_batch_start(self, batch: int) -> None:
        """Data have come."""
        self.waited[-1] += time.perf_counter() - self.since

    def on_batch_end(self, batch: int, summary: dict[str, float] | None = None) -> None:
        """The step is done: what follows is waiting."""
        self.since = time.perf_counter()
        self.epochs[len(self.waited) - 1:] = [self.since - self.start]


def waiting_row(folder: Path, crop: Sequence[int], cases: int, device: str) -> Row:
    """The share of an epoch that a training on phantoms waits for data."""
    make_phantoms("mmwhs-ct", str(folder / "phantoms"), cases, PHANTOM, progress=False)
    found = CT.find_cases(folder / "phantoms")[0]
    volumes = load_volumes(found, CT, crop, cache="disk", folder=folder / "cache")
    network = build_network("nnunet", 1, CT.num_classes, crop, self_distillation=True,
                            filters=FILTERS)
    manager = SegmentationManager(network, torch.optim.AdamW(network.parameters()), DSDLoss(),
                                  CT.class_names, crop)
    waiting = Waiting()
    manager.fit(training_loader(volumes, CT, crop, 1, seed=0), 2, callbacks_list=[waiting],
                device=torch.device(device), show_verbose=False)
    share = waiting.waited[1] / waiting.epochs[1]
    return Row("share of epoch 2 that waits for data, --cache disk", 100 * share, 5.0, "%",
               note=f"DSD on nnunet {' '.join(map(str, FILTERS))}, {device}, no loader process",
               details={"waited_s": waiting.waited[1], "epoch_s": waiting.epochs[1],
                        "cases": cases})


def link_cases(folder: Path, entry: Path, count: int) -> None:
    """One entry of a cache under many names."""
    for index in range(count):
        linked = folder / FOLDER / f"{index:03d}"
        linked.mkdir(parents=True)
        for path in entry.iterdir():
            os.link(path, linked / path.name)


def epoch_of(folder: str, count: int, crop: tuple[int, int, int]) -> Callable[[], None]:
    """For `peak_growth_mib`: an epoch of so many cases, opened within it."""
    torch.set_num_threads(1)
    names = [f"{index:03d}" for index in range(count)]
    first = DiskVolumes(Path(folder), [Case(names[0], Path(), None)], names[:1], None)
    loading(first, crop)()  # what one volume takes is not growth

    def epoch() -> None:
        cases = [Case(name, Path(f"{name}.nii.gz"), Path(f"{name}.nii.gz")) for name in names]
        volumes = DiskVolumes(Path(folder), cases, names, None)
        for batch in training_loader(volumes, CT, crop, 1, seed=0):
            assert len(batch["image"]) == NUM_CROPS

    return epoch


def memory_row(folder: Path, shape: Sequence[int], crop: Sequence[int],
               counts: Sequence[int]) -> Row:
    """How much more memory an epoch of many cases takes than one of few."""
    volumes = load_volumes([write_case(folder, shape)], CT, crop, cache="disk",
                           folder=folder / "cache")
    link_cases(folder / "linked", volumes.entries[0], max(counts))
    peaks = {count: peak_growth_mib(epoch_of, str(folder / "linked"), count, crop)
             for count in counts}
    of_one = sum(path.stat().st_size for path in volumes.entries[0].iterdir()) / 2**20
    return Row(f"memory of training, {counts[0]} to {counts[-1]} cases, --cache disk",
               peaks[counts[-1]] - peaks[counts[0]], 10.0, "MiB",
               note=f"in memory {of_one * (counts[-1] - counts[0]):.0f} MiB",
               details={"peak_mib_of_cases": peaks, "mib_of_a_case": of_one})


def rows(device: str, quick: bool) -> list[Row]:
    """The rows of this benchmark; the training of the waiting share runs on `device`."""
    shape, sides, crop = ((64, 64, 48), (48, 64), (32, 32, 32)) if quick else (SHAPE, SIDES, CROP)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            return [*crop_rows(folder, shape, sides, crop, 5 if quick else 100),
                    waiting_row(folder, crop, 2, device),
                    memory_row(folder, shape, crop, (2, 4, 8) if quick else COUNTS)]
    finally:
        torch.set_num_threads(threads)
