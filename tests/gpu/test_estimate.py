"""--estimate: what a step would take of a GPU, printed without one."""

import pytest
import torch

from configs.training.gpus import GPUS
from managers.compute.fake_gpu.counting import Kernel
from managers.compute.fake_gpu.device import compiler
from managers.compute.fake_gpu.roofline import roofline

needs_a_compiler = pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")


def test_the_roofline_of_two_kernels():
    """On an A100: 2039 GB/s, 312 TFLOP/s in half, 156 in TF32, 19.5 in float32."""
    kernels = [Kernel("add", 2_039_000_000, 0, torch.float32, ""),
               Kernel("convolution", 0, 312 * 10**9, torch.bfloat16, ""),
               Kernel("convolution", 0, 156 * 10**9, torch.float32, ""),
               Kernel("mm", 0, 39 * 10**9, torch.float32, "")]
    found = roofline(kernels, GPUS["a100"], tf32=False)
    assert found == pytest.approx((1e-3, 4e-3, 5e-3, 20e-6))
    with_tf32 = roofline(kernels, GPUS["a100"], tf32=True)
    assert with_tf32.arithmetic == pytest.approx(2.25e-3)


@needs_a_compiler
def test_prints_and_writes_nothing(run_process, tmp_path):
    done = run_process("train_SelfDistil_Original.py", "nowhere", "_", "--dataset", "mmwhs-ct",
                       "--network", "nnunet", "--filters", "4", "8", "16", "--img_size", "32",
                       "32", "32", "--fast", "--estimate", "v100", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ESTIMATED, not measured" in done.stdout and "V100" in done.stdout
    assert "2 crops of 32 x 32 x 32, fp16, fused" in done.stdout
    for row in ("kernel launches", "bytes moved", "TFLOP", "peak memory", "roofline", "--compile"):
        assert row in done.stdout
    assert list(tmp_path.iterdir()) == []


@needs_a_compiler
def test_says_what_does_not_fit(run_process, tmp_path):
    done = run_process("train_basic.py", "nowhere", "_", "--dataset", "mmwhs-ct", "--network",
                       "nnunet", "--img_size", "320", "320", "320", "--estimate", "rtx4090",
                       cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "IT WILL NOT FIT" in done.stdout
