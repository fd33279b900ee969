"""What `python -m benchmarks --device cuda` runs, and what it says of the card."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import machine
from benchmarks.__main__ import BENCHMARKS, ON_GPU, file_name, names_for, report
from benchmarks.table import dsd_step
from benchmarks.table.rows import Row
from losses.fused import triton_ops

H100 = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=85_017_624_576,
                       multi_processor_count=132, major=9, minor=0)


def test_a_gpu_has_its_own_benchmarks():
    assert names_for("cpu", None) == list(BENCHMARKS)
    assert names_for("cuda", None) == list(ON_GPU) and set(ON_GPU) < set(BENCHMARKS)
    assert names_for("cuda", ["fast_options", "whole_volume"]) == ["whole_volume", "fast_options"]
    with pytest.raises(ValueError, match="--only scaling: does not run on cuda.*dsd_step"):
        names_for("cuda", ["dsd_step", "scaling"])


def test_the_header_names_card_driver_and_versions(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: H100)
    monkeypatch.setattr(machine, "_driver", lambda: "550.54")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    found = machine.machine("cuda")
    assert found["gpu"] == "NVIDIA H100 80GB HBM3, 79 GiB, 132 multiprocessors, sm_90"
    line = machine.header(found)
    for part in (found["gpu"], "driver 550.54", "CUDA 12.8", "triton ",
                 f"torch {torch.__version__}"):
        assert part in line
    record = {"dsd_step": {"machine": found, "seconds": 61.0,
                           "rows": [Row("DSD / basic", 1.1, 1.15).as_json()]}}
    assert "| DSD / basic | 1.1 x | <= 1.15 x | yes |" in report(record)
    assert line in report(record)


def test_the_header_of_a_cpu_has_no_driver():
    found = machine.machine("cpu")
    assert found["gpu"] is None and "driver" not in found["versions"]
    assert machine.header(found).startswith(f"{found['date']}, {found['cpu']}, ")


def test_a_machine_without_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine._driver() == "unknown"


def test_the_file_is_named_after_the_card():
    assert file_name("cpu", False, None) == "table_cpu"
    assert file_name("cuda", False, machine.gpu_of(H100)) == "table_cuda_nvidia-h100-80gb-hbm3"
    assert file_name("cuda", True, machine.gpu_of(H100)) == "quick_cuda_nvidia-h100-80gb-hbm3"


def test_both_sides_of_the_loss_are_the_same_loss():
    plain, fused = dsd_step.loss_sides(32, "cpu", False)
    assert float(fused()) == pytest.approx(float(plain()), rel=1e-5)


def test_the_loss_without_triton(monkeypatch):
    monkeypatch.setattr(triton_ops, "can_take", lambda heads, label: True)
    asked = []
    dsd_step.without_triton(lambda: asked.append(triton_ops.can_take([], None)))()
    assert asked == [False] and triton_ops.can_take([], None)


def test_a_step_of_each_precision_trains():
    for amp in (False, True):
        run = dsd_step.step("unetr", "dsd", 32, "cpu", amp, classes=3)
        assert run() == {}
