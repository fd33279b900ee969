"""What a step frees is there for the next one: no page of it is cleared anew."""

import platform
import resource

import pytest
import torch

from managers.compute.devices import keep_freed_memory
from managers.inference import predictor

MIB = 1 << 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc alone")
def test_freed_tensors_are_used_again():
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(64 * MIB // 4).sum()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    assert min(faults() for _ in range(5)) < 64 * MIB / 4096 / 10  # of all pages


def test_a_prediction_keeps_memory_from_its_first_window_on(monkeypatch):
    """The checks of the inputs come before it, and what they free goes back to the system."""
    calls = []
    monkeypatch.setattr(predictor, "keep_freed_memory", lambda: calls.append("kept"))
    cpu = torch.device("cpu")
    network = predictor.made_ready(torch.nn.Conv3d(1, 2, 1), cpu)
    assert calls == []
    windows = predictor.Predictor(network, (8, 8, 8), device=cpu)
    assert windows.logits(torch.zeros(1, 8, 8, 8)).shape == (2, 8, 8, 8) and calls == ["kept"]
