"""Random states of GPUs by their index; the GPUs are stood in for by a table."""

import pytest
import torch

from managers.compute import random_states


@pytest.fixture
def gpus(monkeypatch):
    """gpus(index) -> states by index, of a machine whose current GPU is that one."""
    states = {}

    def make(current):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current)
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda index: f"state of {index}")
        monkeypatch.setattr(torch.cuda, "set_rng_state",
                            lambda state, index: states.__setitem__(index, state))
        return states

    return make


def test_only_the_current_gpu_is_asked(gpus):
    gpus(1)
    assert random_states.random_states()["cuda_rng_states"] == {1: "state of 1"}


@pytest.mark.parametrize(("saved", "restored"), [
    ({1: "b"}, {1: "b"}), ({0: "a", 1: "b"}, {1: "b"}), ({0: "a"}, {1: "a"}),
    (["a"], {1: "a"}), (["a", "b"], {1: "b"}), ([], {}), ({}, {}),
    ({0: "a", 2: "c"}, {})], ids=str)
def test_a_gpu_takes_the_state_of_its_index_or_the_only_one(gpus, saved, restored):
    states = gpus(1)
    random_states.restore_random_states({"rng_state": torch.get_rng_state(),
                                         "cuda_rng_states": saved})
    assert states == restored


def test_without_a_gpu_there_are_none():
    assert random_states.random_states()["cuda_rng_states"] == {}
