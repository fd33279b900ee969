"""A step of two processes on a GPU that is not there: batch norm is torch's; what it costs."""

import pytest
import torch

from tests.gpu import pair, runs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_a_batch_norm_takes(fake, dtype):
    """Forward torch's reads the samples twice and writes them, backward it reads them and the
    gradient twice and writes one. That of one process is counted as a kernel each way.
    """
    found = fake(pair.norms, dtype)
    moved = {kind: count["bytes"] for kind, count in found.items()}
    assert moved["one process"] == 2 + 3 and moved["torch"] == 3 + 5
    assert moved["ours"] >= 4 * moved["torch"]  # which is why it is for CPUs alone
    assert 2 * found["torch"]["launches"] < found["ours"]["launches"]
    waits = {kind: [name for name, _ in count["waits"]] for kind, count in found.items()}
    assert waits == {"one process": [], "torch": ["index"] * 3, "ours": []}


def test_a_step_waits_three_times_in_each_batch_norm(fake):
    """Nowhere else; and if it mixed devices, it would end in an error."""
    step, = fake(pair.steps, "dsd", "vnet", *runs.TINY["vnet"], "--amp", "bf16", "--deterministic")
    assert step["names"]["batch_norm_stats"] > 20
    assert not {"native_batch_norm", "cudnn_batch_norm"} & set(step["names"])
    expect_three_waits_a_norm(step)


def test_a_desd_step_waits_three_times_in_each_batch_norm(fake):
    """There are two in each projection head, of which the student has four and the teacher one."""
    for step in fake(pair.desd_steps, "--optimizer", "lars"):
        assert step["names"]["batch_norm_stats"] == 2 * (4 + 1)
        expect_three_waits_a_norm(step)


def expect_three_waits_a_norm(step):
    assert step["refused"] == {}
    norms = step["names"]["batch_norm_stats"]
    assert [name for name, _ in step["waits"]] == ["index"] * (3 * norms)
