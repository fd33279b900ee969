"""What a step frees is there for the next one: no page of it is cleared anew."""

import platform
import resource

import pytest
import torch

from managers.compute.devices import keep_freed_memory

MIB = 1 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc alone")
def test_freed_tensors_are_used_again():
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(64 * MIB // 4).sum()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    assert min(faults() for _ in range(5)) < 64 * MIB / 4096 / 10  # of all pages
