"""The Triton way of the fused DSD loss without a GPU: interpreted, compiled, on fake tensors."""

import importlib.util
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from losses import DISTIL
from losses.fused import triton_ops
from losses.fused.loss import fused_dsd_loss
from tests.losses.fused import triton_checks as checks

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None,
                                reason="Triton is not installed; `make triton` installs it")
TYPES = list(checks.TOLERANCES)
STRIDES = [None, (1, 1, 1), (2, 2, 2), (1, 2, 2), (2, 1, 1)]


def process_with(name, value, set_up=None):
    """A process of its own whose environment has this variable, which it reads when it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        pool = ProcessPoolExecutor(1, get_context("spawn"), set_up)
        pool.submit(int).result()
    return pool


@pytest.fixture(scope="module")
def interpreted():
    """interpreted(function, ...) calls it in a process that interprets kernels."""
    with process_with("TRITON_INTERPRET", "1", checks.take_small_blocks) as pool:
        yield lambda function, *args, **options: pool.submit(function, *args, **options).result()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """compiled(function, ...) calls it in a process that compiles kernels, each anew."""
    with process_with("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton"))) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 2),
       classes=st.sampled_from([2, 3, 5, 8, 19, 32]), cells=st.tuples(*[st.integers(1, 3)] * 3),
       strides=st.lists(st.sampled_from(STRIDES), min_size=2, max_size=4),
       channels=st.integers(1, 3), channels_last=st.booleans(),
       dtype=st.sampled_from(TYPES),
       temperature=st.sampled_from([0.5, 1, 3, 4.5]), include_background=st.booleans(),
       distil=st.sampled_from(list(DISTIL)), detach_teacher=st.booleans(),
       supervise_encoder=st.booleans())
def test_equals_the_plain_loss(interpreted, seed, batch, classes, cells, strides, channels,
                               channels_last, dtype, **options):
    interpreted(checks.check_against_plain, seed, dtype, options, channels_last, batch=batch,
                classes=classes, cells=cells, strides=strides, channels=channels)


@pytest.mark.parametrize("frozen", [("out.0",), ("dec0.1", "dec0.2"), ("enc0.0",),
                                    ("enc1.0", "enc1.1", "enc1.2")])
def test_no_gradient_for_what_is_frozen(interpreted, frozen):
    interpreted(checks.check_against_plain, 1, torch.float32, {}, False, frozen, batch=1,
                channels=2, cells=(1, 2, 1), strides=[(1, 2, 2), None, (2, 1, 1), (1, 1, 2)])


@pytest.mark.parametrize("check", [checks.check_same_bits, checks.check_label_types,
                                   checks.check_strided_logits, checks.check_registration])
def test_interpreted(interpreted, check):
    interpreted(check)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_takes_it_whole(interpreted, backend):
    interpreted(checks.check_compiled, backend)


def test_heads_of_another_size(interpreted):
    message = interpreted(checks.message_of_another_shape)
    assert "(2, 3, 2, 2, 2)" in message and "must be (2, 3, 2, 2, 3)" in message


@pytest.mark.parametrize(("arch", "dtype", "classes", "students"),
                         [*((arch, dtype, 8, 1) for arch in (80, 90) for dtype in TYPES),
                          (90, torch.float32, 32, 4)], ids=str)
def test_compiled_kernels_spill_nothing(compiled, arch, dtype, classes, students):
    kernels = compiled(checks.registers, arch, dtype, classes, students)
    assert {name for name, *_ in kernels} == {"sums_kernel", "terms_kernel", "slopes_kernel",
                                              "gradients_kernel"}
    assert all(stack == 0 for _, _, stack in kernels), kernels


def fake_outputs():
    """Outputs and label on a CUDA device that need not be here; to be called in a fake mode."""
    def step(stride, width):
        return (torch.empty(2, width, *(8 // stride,) * 3, dtype=torch.bfloat16, device="cuda"),
                torch.empty(width, 5, *(stride,) * 3, device="cuda"),
                torch.empty(5, device="cuda"))

    outputs = {"out": torch.empty(2, 5, 8, 8, 8, dtype=torch.bfloat16, device="cuda"),
               "dec": [step(2, 5), step(2, 5)], "enc": [step(1, 7), step(2, 5)]}
    return outputs, torch.empty(2, 1, 8, 8, 8, dtype=torch.uint8, device="cuda")


def test_fake_tensors_on_cuda():
    with FakeTensorMode():
        outputs, label = fake_outputs()
        assert triton_ops.can_take([outputs["out"]], label)
        total, terms = fused_dsd_loss(outputs, label)
        assert total.device.type == "cuda" and total.shape == () and total.dtype == torch.float32
        assert list(terms) == ["dice_ce_out", "dice_ce_dec2", "dice_ce_dec1", "kl_dec", "kl_enc"]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_on_fake_tensors_on_cuda(backend):
    torch._dynamo.reset()
    with FakeTensorMode():
        outputs, label = fake_outputs()
        total = torch.compile(fused_dsd_loss, fullgraph=True, backend=backend)(outputs, label)[0]
        assert total.device.type == "cuda" and total.shape == ()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_on_a_gpu(dtype):
    checks.check_against_plain(2, dtype, {}, batch=2, classes=8, cells=(9, 8, 7), device="cuda",
                               strides=[(2, 2, 2)] * 4 + [(1, 1, 1)] + [(2, 2, 2)] * 3)
