"""/dev/shm is looked at before loader processes start."""

import shutil
import warnings
from types import SimpleNamespace

import pytest

from data import DATASETS, training_loader
from data.views.tile_views import pretraining_loader
from system.shared_memory import check_shared_memory

MB = 2**20


@pytest.fixture
def free(monkeypatch):
    """free(bytes) lets /dev/shm have so many."""
    def set_free(size):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))
    return set_free


def test_what_fits_is_no_reason_to_speak(free):
    free(40 * MB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_shared_memory(10 * MB, 2)
        check_shared_memory(10**12, 0)


def test_less_than_may_wait_is_a_warning(free):
    free(39 * MB)
    with pytest.warns(UserWarning, match=r"39 MB free, and 2 loader process\(es\) hand over up to "
                                         r"40 MB .*--shm-size=1g .*--num_workers 0"):
        check_shared_memory(10 * MB, 2)


def test_less_than_a_batch_for_each_worker_is_refused(free, monkeypatch):
    free(64 * MB)
    check_shared_memory(16 * MB, 2)
    with pytest.raises(ValueError, match="64 MB free.*4 loader.*--shm-size=1g"):
        check_shared_memory(17 * MB, 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # as many again for the other process
    with pytest.raises(ValueError, match="4 loader"):
        check_shared_memory(17 * MB, 2)


def test_batches_of_crops_are_counted_by_the_byte(free):
    """Two volumes of two crops of 10^3: four channels of 4 bytes and a label of 1."""
    volumes, dataset = [{}, {}], DATASETS["msd-brats"]
    batch = 4 * 1000 * 17
    free(2 * batch)
    training_loader(volumes, dataset, (10, 10, 10), 2, 0, num_workers=1)
    free(batch - 1)
    with pytest.raises(ValueError, match="/dev/shm"):
        training_loader(volumes, dataset, (10, 10, 10), 2, 0, num_workers=1)
    with pytest.raises(ValueError, match="/dev/shm"):  # of shape priors, a map for each class
        free(batch + 4 * 1000 * 16 - 1)
        training_loader([{"dist_map": 0}], dataset, (10, 10, 10), 2, 0, num_workers=1)


def test_batches_of_views_are_counted_by_the_byte(free):
    """Three tiles: two views of 4 x 8 x 8 and one of half the sides, 4 bytes a voxel."""
    arguments = dict(num_workers=1, local_crops=1, crop_size=(4, 8, 8))
    batch = 3 * 4 * (2 * 256 + 32)
    free(2 * batch)
    pretraining_loader(["a", "b", "c"], 3, 0, **arguments)
    free(batch - 1)
    with pytest.raises(ValueError, match="/dev/shm"):
        pretraining_loader(["a", "b", "c"], 3, 0, **arguments)
