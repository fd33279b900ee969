"""What tests/losses/fused/test_triton.py does in processes of its own.

Triton decides when it is imported whether kernels are interpreted or compiled, so one process
cannot do both, and neither can be had where other tests have imported it already.
"""

import subprocess
import tempfile

import torch
from torch.testing import assert_close

from losses import dsd_loss
from losses.fused import triton_ops, triton_passes
from losses.fused.loss import fused_dsd_loss
from losses.fused.plan import Plan
from losses.heads import num_classes_of, tensors_of

from .test_loss import random_outputs

TOLERANCES = {torch.float32: {"rtol": 1e-4, "atol": 2e-5},
              torch.bfloat16: {"rtol": 1e-2, "atol": 4e-3},
              torch.float16: {"rtol": 2e-3, "atol": 1e-3}}


def take_small_blocks() -> None:
    """Blocks so small that every program takes several."""
    triton_passes.ELEMENTS = triton_passes.LEAST_VOXELS = 8
    triton_passes.MOST_PROGRAMS = 2


def check_against_plain(seed, dtype, options, channels_last=False, frozen=(), device="cpu",
                        **shape):
    """Terms and gradients are those of losses.dsd_loss in float64; gradients have their own type.

    Args:
        frozen: the leaves without gradient, by name; see random_outputs for `shape`.
    """
    outputs, label, leaves = random_outputs(seed, dtype, **shape)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    outputs, leaves = placed(outputs, device, layout)
    label = label.to(device)
    for name in frozen:
        leaves[name].requires_grad_(False)
    assert triton_ops.can_take([outputs["out"], *outputs["dec"], *outputs["enc"]], label)
    by_wide = {id(leaf): leaf.detach().double().requires_grad_(leaf.requires_grad)
               for leaf in leaves.values()}
    wide = mapped(outputs, lambda leaf: by_wide[id(leaf)])
    (total, terms), (expected_total, expected) = (
        function(entries, label, 0.6, **options)
        for function, entries in ((fused_dsd_loss, outputs), (dsd_loss, wide)))
    assert_close(total.double(), expected_total, rtol=2e-5, atol=1e-6)
    assert list(terms) == list(expected)
    for name, term in terms.items():
        assert term.dtype == torch.float32
        assert_close(term.double(), expected[name], rtol=2e-5, atol=1e-6,
                     msg=lambda text, name=name: f"{name}: {text}")
    for whole, values in ((total, terms), (expected_total, expected)):
        weighted = [(0.3 + place) * value for place, value in enumerate(values.values())]
        (0.5 * whole + sum(weighted)).backward()
    largest = {}  # of features, of weights, of biases, whose own may all but cancel
    for name, leaf in leaves.items():
        grad = by_wide[id(leaf)].grad
        size = 1e-12 if grad is None else grad.abs().max().item()
        largest[name[-1]] = max(largest.get(name[-1], 1e-12), size)
    for name, leaf in leaves.items():
        grad = by_wide[id(leaf)].grad
        assert (leaf.grad is None) == (grad is None), name
        if grad is not None:
            assert leaf.grad.dtype == dtype
            scale = largest[name[-1]]
            assert_close(leaf.grad.double() / scale, grad / scale, **TOLERANCES[dtype],
                         msg=lambda text, name=name: f"{name}: {text}")


def check_same_bits():
    """Two runs of the same inputs give equal bits."""
    outputs, label, leaves = random_outputs(7, torch.float32, batch=1, cells=(1, 2, 2),
                                            strides=[(2, 1, 2), None, None])
    totals = [fused_dsd_loss(outputs, label)[0] for _ in range(2)]
    first, second = (torch.autograd.grad(total, list(leaves.values())) for total in totals)
    assert torch.equal(*totals)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def check_label_types():
    """A label of any type counts alike."""
    outputs, label, _ = random_outputs(4, torch.float32, classes=2, strides=[None] * 2)
    expected = fused_dsd_loss(outputs, label)[0]
    for dtype in (torch.uint8, torch.int16, torch.float32, torch.bool):
        assert torch.equal(fused_dsd_loss(outputs, label.to(dtype))[0], expected), dtype


def check_strided_logits():
    """Logits that are a part of a larger tensor."""
    outputs, label, _ = random_outputs(5, torch.float32, strides=[None] * 2)
    expected = fused_dsd_loss(outputs, label)[0]
    outputs["dec"] = [torch.cat([head, head], 1)[:, :head.shape[1]] for head in outputs["dec"]]
    assert torch.equal(fused_dsd_loss(outputs, label)[0], expected)


def message_of_another_shape() -> str:
    """What is said where a head is not of the label's size."""
    outputs, label, _ = random_outputs(5, torch.float32, strides=[None] * 2)
    outputs["enc"][0] = outputs["enc"][0][..., :-1]
    try:
        fused_dsd_loss(outputs, label)
    except ValueError as error:
        return str(error)
    raise AssertionError("no ValueError")


def check_compiled(backend):
    """torch.compile takes the loss as one graph, with the same values and gradients."""
    torch._dynamo.reset()
    outputs, label, leaves = random_outputs(6, torch.float32, batch=1, cells=(1, 2, 1),
                                            strides=[(1, 1, 1), (2, 1, 1)] * 2)
    compiled = torch.compile(lambda: fused_dsd_loss(outputs, label)[0], fullgraph=True,
                             backend=backend)
    totals = compiled(), fused_dsd_loss(outputs, label)[0]
    assert_close(*totals)
    found, expected = (torch.autograd.grad(total, list(leaves.values())) for total in totals)
    assert_close(found, expected)


def check_registration():
    """The operations' stand-ins for fake tensors tell the truth of shapes, types and strides."""
    outputs, label, _ = random_outputs(8, torch.float32, batch=1, cells=(1, 2, 1),
                                       strides=[(2, 1, 1), None])
    heads = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    tensors = [tensor for head in heads for tensor in tensors_of(head)]
    about = ([len(tensors_of(head)) for head in heads], [2, 0, 0, 1, 2, 2, 3], 3.0, 0.7)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor",
             "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.dsd.terms.default, (label, tensors, *about),
                          test_utils=tests)
    found = torch.rand(len(label), 5 * num_classes_of(heads[0]) + 4, dtype=torch.float64)
    detached = [tensor.detach() for tensor in tensors]
    torch.library.opcheck(torch.ops.dsd.gradients.default,
                          (label, found, torch.ones(()), None, detached, about[0],
                           [True, False, True], *about[1:]),
                          test_utils=("test_schema", "test_faketensor"))


def registers(arch: int, dtype: torch.dtype, classes: int,
              students: int) -> list[tuple[str, int, int]]:
    """Compile all kernels of an output and a branch for a GPU that need not be here.

    Returns:
        For each its name, its registers and the bytes that it keeps on the stack: those spilt.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver

    from losses.fused import triton_finish as finish
    from losses.fused import triton_kernels as kernels
    built = []

    def compile_only(kernel):
        def run(*args, grid, warmup, **options):
            built.append(type(kernel).run(kernel, *args, grid=grid, warmup=True, **options))
        return run

    for kernel in (kernels.sums_kernel, kernels.gradients_kernel, finish.terms_kernel,
                   finish.slopes_kernel):
        kernel.run = compile_only(kernel)
    driver.set_active(_Gpu(GPUTarget("cuda", arch, 32)))
    strides = [(1, 1, 1)] + [(2, 2, 2)] * students
    outputs, label, _ = random_outputs(0, dtype, classes=classes, strides=strides,
                                       channels=classes)
    heads = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    number = len(heads)
    plan = Plan(slice(0, number), (slice(1, number),), 3.0, 0, False)
    found = triton_passes.sums(heads, label.byte(), plan)
    triton_passes.terms(found, plan, classes, label.numel(), 0.5)
    slopes = triton_passes.slopes(found, plan, classes, label.numel(), 0.5, torch.ones(()),
                                  torch.ones(number + 1))
    triton_passes.gradients(heads, label.byte(), plan, slopes, [True] * len(heads))
    return [(kernel.name, *_registers_and_stack(triton.knobs.nvidia.cuobjdump.path, kernel))
            for kernel in built]


def _registers_and_stack(cuobjdump: str, kernel) -> tuple[int, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        told = subprocess.run([cuobjdump, "--dump-resource-usage", file.name], check=True,
                              capture_output=True, text=True).stdout
    used = dict(part.split(":") for part in told.split() if part.startswith(("REG:", "STACK:")))
    return int(used["REG"]), int(used["STACK"])


class _Gpu:
    """What Triton asks of a driver to compile and not to run."""

    def __init__(self, target):
        self.target = target

    def get_current_target(self):
        return self.target

    def get_current_device(self):
        return self.target.arch

    def get_current_stream(self, device):
        return 0


def mapped(outputs, change):
    """Outputs with every tensor changed."""
    def head(entry):
        return change(entry) if isinstance(entry, torch.Tensor) else tuple(map(change, entry))
    return {"out": head(outputs["out"])} | {branch: [head(entry) for entry in outputs[branch]]
                                            for branch in ("dec", "enc")}


def placed(outputs, device, layout):
    """Outputs and leaves by name on a device, the volumes in this layout."""
    def place(leaf):
        leaf = leaf.detach().to(device)
        return (leaf.to(memory_format=layout) if leaf.ndim == 5 else leaf).requires_grad_()

    outputs = mapped(outputs, place)
    entries = {"out": outputs["out"]}
    for branch in ("dec", "enc"):
        entries |= {f"{branch}{index}": entry for index, entry in enumerate(outputs[branch])}
    return outputs, {f"{name}.{part}": tensor for name, entry in entries.items()
                     for part, tensor in enumerate(tensors_of(entry))}
