"""Volumes on disk are those in memory to the bit, made once, and never half."""

import dataclasses
import multiprocessing
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from data import DATASETS, evaluation_loader, load_volumes, training_loader
from data.volumes import cache
from data.volumes.cache import recipe_of, volume_key

HIPPOCAMPUS, CT = DATASETS["hippocampus"], DATASETS["mmwhs-ct"]
SIZE = (16, 16, 16)


@pytest.fixture
def cases(phantoms, tmp_path):
    """Three cases whose files a test may change."""
    folder = shutil.copytree(phantoms("hippocampus", 3, (20, 24, 18)), tmp_path / "data")
    return HIPPOCAMPUS.find_cases(folder)[0]


def on_disk(cases, folder, dataset=HIPPOCAMPUS, img_size=SIZE, **more):
    return load_volumes(cases, dataset, img_size, cache="disk", folder=folder, **more)


def same(one, other):
    """Whether two volumes, crops or batches are equal to the bit, and of the same kinds."""
    def equal(a, b):
        if isinstance(a, torch.Tensor):
            return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, np.ndarray):
            return a.dtype == b.dtype and np.array_equal(a, b)
        return a == b

    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)


def epochs_of(volumes, dataset=HIPPOCAMPUS, num_workers=0):
    """All batches of two epochs."""
    loader = training_loader(volumes, dataset, SIZE, 2, seed=3, num_workers=num_workers)
    batches = []
    for epoch in (1, 2):
        loader.sampler.set_epoch(epoch)
        batches += loader
    return batches


def made(monkeypatch):
    """The ids of the cases that are prepared from now on."""
    ids, write = [], cache.write_entry
    monkeypatch.setattr(cache, "write_entry",
                        lambda entry, volume: (ids.append(volume["case_id"]),
                                               write(entry, volume)))
    return ids


@pytest.mark.parametrize("unit", [None, "mm", "voxel"])
@pytest.mark.parametrize("img_size", [None, SIZE, (32, 8, 24)])
def test_volumes_of_all_caches_are_the_same(cases, tmp_path, img_size, unit):
    memory, disk, fresh = (
        load_volumes(cases, HIPPOCAMPUS, img_size, distance_unit=unit, cache=kind,
                     folder=tmp_path / "cache") for kind in ("memory", "disk", "off"))
    assert len(memory) == len(disk) == len(fresh) == 3
    for one, two, three in zip(memory, disk, fresh, strict=True):
        assert same(one, two) and same(one, three)


@pytest.mark.parametrize("dataset", ["hippocampus", "mmwhs-ct", "msd-brats"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_crops_of_all_caches_are_the_same(phantoms, tmp_path, dataset, num_workers):
    dataset = DATASETS[dataset]
    found = dataset.find_cases(phantoms(dataset.name, 3, (20, 24, 18)))[0]
    memory = epochs_of(load_volumes(found, dataset, SIZE), dataset)
    for kind in ("disk", "off"):
        volumes = load_volumes(found, dataset, SIZE, cache=kind, folder=tmp_path / "cache")
        batches = epochs_of(volumes, dataset, num_workers)
        assert len(batches) == len(memory) == 4
        assert all(map(same, memory, batches))


def test_distance_maps_are_cropped_alike(cases, tmp_path):
    memory = load_volumes(cases, HIPPOCAMPUS, SIZE, distance_unit="mm")
    disk = on_disk(cases, tmp_path / "cache", distance_unit="mm")
    assert all(map(same, epochs_of(memory), epochs_of(disk)))


def test_evaluation_takes_volumes_of_every_cache(cases, tmp_path):
    kinds = [list(evaluation_loader(load_volumes(cases, HIPPOCAMPUS, cache=kind,
                                                 folder=tmp_path / "cache")))
             for kind in ("memory", "disk", "off")]
    assert len(kinds[0]) == 3
    assert all(same(one, two) and same(one, three)
               for one, two, three in zip(*kinds, strict=True))


def test_a_second_run_makes_nothing(cases, tmp_path, monkeypatch):
    first = list(on_disk(cases, tmp_path / "cache"))
    ids = made(monkeypatch)
    assert all(map(same, first, on_disk(cases, tmp_path / "cache")))
    on_disk(cases[1:], tmp_path / "cache")
    assert ids == []


def test_a_changed_file_is_made_anew(cases, tmp_path, monkeypatch, save):
    on_disk(cases, tmp_path / "cache")
    about = os.stat(cases[1].image)
    rng = np.random.default_rng(0)
    save(cases[1].image, rng.integers(0, 99, (20, 24, 18)).astype(np.int16))
    os.utime(cases[1].image, ns=(about.st_atime_ns, about.st_mtime_ns))  # nor does a clock tell
    ids = made(monkeypatch)
    disk = on_disk(cases, tmp_path / "cache")
    assert ids == [cases[1].case_id]
    assert all(map(same, load_volumes(cases, HIPPOCAMPUS, SIZE), disk))


def test_a_copy_of_the_data_elsewhere_is_the_same(cases, tmp_path, monkeypatch):
    on_disk(cases, tmp_path / "cache")
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")
    ids = made(monkeypatch)
    on_disk(HIPPOCAMPUS.find_cases(tmp_path / "elsewhere")[0], tmp_path / "cache")
    assert ids == []


@pytest.mark.parametrize("change", [
    {"spacing_mm": (1.0, 1.0, 1.5)}, {"intensity": "zscore"}, {"padding_mode": "reflect"},
    {"label_values": {0: 0, 1: 2, 2: 1}},
    {"augmentation": dataclasses.replace(HIPPOCAMPUS.augmentation, negative=0.0)},
    {"augmentation": dataclasses.replace(HIPPOCAMPUS.augmentation, centres="classes")}])
def test_other_settings_are_another_entry(cases, change):
    keys = {volume_key(cases[0], recipe_of(dataset, SIZE, None))
            for dataset in (HIPPOCAMPUS, dataclasses.replace(HIPPOCAMPUS, **change))}
    assert len(keys) == 2


def test_each_use_of_a_volume_is_another_entry(cases):
    uses = [(None, None), (SIZE, None), ((16, 16, 24), None), (SIZE, "mm"), (SIZE, "voxel")]
    assert len({volume_key(cases[0], recipe_of(HIPPOCAMPUS, *use)) for use in uses}) == len(uses)
    windows = [dataclasses.replace(CT, window=(-100.0, high)) for high in (200.0, 300.0)]
    assert len({volume_key(cases[0], recipe_of(one, SIZE, None)) for one in windows}) == 2


def test_channels_that_lie_first_are_another_entry(cases):
    """The same file of 3 x 3 x 3 voxels is another volume then."""
    recipe = recipe_of(HIPPOCAMPUS, SIZE, None)
    assert len({volume_key(dataclasses.replace(cases[0], channel_first=first), recipe)
                for first in (False, True)}) == 2


def test_flips_and_the_number_of_crops_are_no_part_of_an_entry(cases):
    drawn = dataclasses.replace(HIPPOCAMPUS.augmentation, flip_prob=0.9, num_crops=3)
    keys = {volume_key(cases[0], recipe_of(dataset, SIZE, None))
            for dataset in (HIPPOCAMPUS, dataclasses.replace(HIPPOCAMPUS, augmentation=drawn))}
    assert len(keys) == 1


@pytest.mark.parametrize(("name", "value"), [
    ("version", lambda name: "99" if name == "monai" else "1"), ("FORMAT", cache.FORMAT + 1),
    ("CODE", cache.CODE[1:])])
def test_other_versions_make_everything_anew(cases, tmp_path, monkeypatch, name, value):
    on_disk(cases, tmp_path / "cache")
    monkeypatch.setattr(cache, name, value)
    ids = made(monkeypatch)
    on_disk(cases, tmp_path / "cache")
    assert sorted(ids) == [case.case_id for case in cases]


def fill(folder, data, gate):
    """In a process of its own: fill a cache when the others do."""
    torch.set_num_threads(1)  # as in loader processes: after a fork, two threads may not do it
    found = HIPPOCAMPUS.find_cases(data)[0]
    gate.wait()
    for _ in range(4):
        volumes = on_disk(found, folder)
        for volume in volumes:
            assert volume["image"].isfinite().all()
        shutil.rmtree(volumes.entries[0], ignore_errors=True)


def test_processes_may_fill_a_cache_at_once(cases, tmp_path):
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(3)
    processes = [context.Process(target=fill, args=(tmp_path / "cache", tmp_path / "data", gate))
                 for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    disk = on_disk(cases, tmp_path / "cache")
    assert all(map(same, load_volumes(cases, HIPPOCAMPUS, SIZE), disk))
    folder = tmp_path / "cache" / "prepared_volumes"
    assert {path.name for path in folder.iterdir()} == {
        "cache.txt", *(entry.name for entry in disk.entries)}


def test_loader_processes_are_sent_no_voxel(cases, tmp_path):
    volumes = on_disk(cases, tmp_path / "cache")
    volumes[0], epochs_of(volumes)  # what was mapped before is not kept either
    sent = pickle.dumps(volumes)
    assert len(sent) < volumes[0]["image"].nbytes / 5
    assert all(map(same, volumes, pickle.loads(sent)))
