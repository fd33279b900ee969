"""A process with a fake GPU."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from managers.compute.fake_gpu.device import compiler
from tests.gpu import runs


@pytest.fixture(scope="module")
def fake():
    """fake(function, ...) calls a function of tests.gpu.runs in a process with a fake GPU."""
    if compiler() is None:
        pytest.skip("there is no C++ compiler, which a fake GPU needs")
    with ProcessPoolExecutor(1, get_context("spawn"), runs.start) as pool:
        yield lambda *args, **options: pool.submit(runs.call, *args, **options).result()
