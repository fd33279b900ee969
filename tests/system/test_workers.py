"""Work in processes: results, a worker that dies, and stopping."""

import math
import multiprocessing
import os
import time

import pytest

from system.exit import StatedError
from system.workers import for_each, num_cores


@pytest.mark.parametrize("num_workers", [1, 2])
def test_every_item_is_done_once(num_workers):
    results = for_each(math.sqrt, [0, 1, 4, 9, 16], num_workers, progress=False)
    assert sorted(results) == [0, 1, 2, 3, 4]


def test_nothing_to_do():
    assert list(for_each(math.sqrt, [], 2, progress=False)) == []


def test_workers_have_one_thread_and_this_process_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    assert list(for_each(os.getenv, names, 2, progress=False)) == ["1", "1"]
    assert [os.getenv(name) for name in names] == ["7", None]


def test_a_worker_that_dies_is_said_and_not_waited_for():
    with pytest.raises(StatedError, match="fewer --workers than 2"):
        list(for_each(os._exit, [1, 1, 1], 2, progress=False))


def test_an_error_of_the_function_is_raised():
    with pytest.raises(ValueError, match="math domain|nonnegative"):
        list(for_each(math.sqrt, [-1, 4], 2, progress=False))


def test_stopping_early_ends_the_workers():
    start = time.monotonic()
    results = for_each(time.sleep, [0, 60, 60, 60], 2, progress=False)
    next(results)
    results.close()
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_at_least_one_core():
    assert 1 <= num_cores() <= os.cpu_count()
