"""The way of losses.fused.loss by Triton kernels, for CUDA; triton_passes launches them.

Its passes are registered operations (torch.ops.dsd) with stand-ins for fake tensors, so
torch.compile takes the loss without a graph break. Triton comes with torch for CUDA; it is imported
when a kernel first runs, and compiles it then, in some seconds that are saved in the next run.
"""

import functools
import importlib.util
import os
import warnings
from typing import Any

import torch

from ..heads import Head, num_classes_of, stride_of, tensors_of
from . import triton_passes as passes
from .plan import Plan

MOST_CLASSES = 32
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def can_take(heads: list[Head], label: torch.Tensor) -> bool:
    """Whether these heads are for this way: on CUDA with Triton, 2 to 32 classes, not float64."""
    tensors = [tensor for head in heads for tensor in tensors_of(head)]
    return ((label.device.type == "cuda" or _is_interpreted())
            and all(tensor.device == label.device and tensor.dtype in TYPES
                    for tensor in tensors)
            and 2 <= num_classes_of(heads[0]) <= MOST_CLASSES and is_usable())


def _is_interpreted() -> bool:
    """Whether Triton runs its kernels in Python, which the tests do."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@torch.compiler.assume_constant_result
def is_usable() -> bool:
    """Whether Triton is installed and, where there is a GPU, works on it; if not, a warning."""
    return _works()


@functools.cache
def _works() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    has_gpu = torch.cuda.is_available() and (torch.version.cuda or torch.version.hip)
    if _is_interpreted() or not has_gpu:
        return True  # without a GPU only fake tensors are on CUDA
    try:
        import triton

        from . import triton_kernels  # noqa: F401  (an older Triton may lack what they use)
        triton.runtime.driver.active.get_current_target()  # builds Triton's driver, with a compiler
    except Exception as error:
        warnings.warn(f"The DSD loss takes its slower torch passes, since Triton does not work "
                      f"here: {error}", stacklevel=3)
        return False
    return torch.cuda.get_device_capability() >= (7, 5)


def terms(heads: list[Head], label: torch.Tensor, plan: Plan,
          alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Dice-CE plus `alpha` times KL, and all terms, (S + branches,); see losses.fused.plan.Sums.

    Raises:
        ValueError: heads and label are of different shapes.
    """
    expected = (len(label), num_classes_of(heads[0]), *label.shape[2:])
    for index, head in enumerate(heads):
        if _shape_of(head) != expected:
            raise ValueError(f"Head {index} of out, dec, enc has logits {_shape_of(head)}; with "
                             f"{expected[1]} classes and a label {tuple(label.shape)} they must "
                             f"be {expected}.")
    tensors = [tensor for head in heads for tensor in tensors_of(head)]
    numbers = [plan.num_supervised, plan.first_class, int(plan.detach_teacher)]
    for branch in plan.branches:
        numbers += [branch.start, branch.stop]
    total, values, _ = _terms(label, tensors, [len(tensors_of(head)) for head in heads], numbers,
                              float(plan.temperature), float(alpha))
    return total, values


def _shape_of(head: Head) -> tuple[int, ...]:
    """Of the logits."""
    data = tensors_of(head)[0]
    size = [n * step for n, step in zip(data.shape[2:], stride_of(head), strict=True)]
    return (data.shape[0], num_classes_of(head), *size)


def terms_and_sums(label: torch.Tensor, tensors: list[torch.Tensor], parts: list[int],
                   numbers: list[int], temperature: float,
                   alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Total, terms, and the sums that they are made of; see losses.fused.triton_passes.

    Args:
        label: (B, 1, H, W, D).
        tensors: of all heads, one after the other.
        parts: how many tensors each head has.
        numbers: the plan: S, first class, whether teachers are detached, then start and stop of
            each branch.
        temperature: T.
        alpha: weight of the KL in the total.
    """
    heads, plan = _heads(tensors, parts), _plan(numbers, temperature)
    found = passes.sums(heads, label, plan)
    total, values = passes.terms(found, plan, num_classes_of(heads[0]), label.numel(), alpha)
    return total, values, found


_terms = torch.library.custom_op("dsd::terms", terms_and_sums, mutates_args=())


@_terms.register_fake
def _(label: torch.Tensor, tensors: list[torch.Tensor], parts: list[int], numbers: list[int],
      temperature: float, alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    plan, num_classes = _plan(numbers, temperature), num_classes_of(_heads(tensors, parts)[0])
    total = label.new_empty((), dtype=torch.float32)
    terms = label.new_empty(plan.num_supervised + len(plan.branches), dtype=torch.float32)
    found = label.new_empty(label.shape[0], passes.row_of_sums(plan, num_classes),
                            dtype=torch.float64)
    return total, terms, found


def gradients(label: torch.Tensor, found: torch.Tensor, by_total: torch.Tensor | None,
              by_terms: torch.Tensor | None, tensors: list[torch.Tensor], parts: list[int],
              needed: list[bool], numbers: list[int], temperature: float,
              alpha: float) -> list[torch.Tensor]:
    """The gradients of the needed heads; see losses.fused.triton_passes and terms_and_sums."""
    heads, plan = _heads(tensors, parts), _plan(numbers, temperature)
    slopes = passes.slopes(found, plan, num_classes_of(heads[0]), label.numel(), alpha, by_total,
                           by_terms)
    return passes.gradients(heads, label, plan, slopes, needed)


_gradients = torch.library.custom_op("dsd::gradients", gradients, mutates_args=())


@_gradients.register_fake
def _(label: torch.Tensor, found: torch.Tensor, by_total: torch.Tensor | None,
      by_terms: torch.Tensor | None, tensors: list[torch.Tensor], parts: list[int],
      needed: list[bool], numbers: list[int], temperature: float,
      alpha: float) -> list[torch.Tensor]:
    grads = []
    for head, wanted in zip(_heads(tensors, parts), needed, strict=True):
        if wanted:
            data, *others = tensors_of(head)
            grads.append(torch.empty_like(passes.dense(data)))
            if others:
                grads.append(found.new_empty(sum(tensor.numel() for tensor in others),
                                             dtype=torch.float32))
    return grads


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    label, tensors, *ctx.about = inputs
    ctx.save_for_backward(label, output[2], *tensors)
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, by_total: torch.Tensor | None, by_terms: torch.Tensor | None,
              _: None) -> tuple[Any, ...]:
    label, found, *tensors = ctx.saved_tensors
    parts, numbers, temperature, alpha = ctx.about
    wanted = iter(ctx.needs_input_grad[1])
    needs = [[next(wanted) for _ in range(number)] for number in parts]
    found = iter(_gradients(label, found, by_total, by_terms, tensors, parts,
                            [any(need) for need in needs], numbers, temperature, alpha))
    grads = []
    for head, need in zip(_heads(tensors, parts), needs, strict=True):
        own = [None] * len(need)
        if any(need):
            own = [next(found)]
        if any(need) and len(need) == 3:
            own += next(found).split([tensor.numel() for tensor in head[1:]])
        grads += [grad.view_as(tensor).to(tensor.dtype) if wants else None
                  for grad, tensor, wants in zip(own, tensors_of(head), need, strict=True)]
    return None, grads, None, None, None, None


_terms.register_autograd(_backward, setup_context=_keep)


def _heads(tensors: list[torch.Tensor], parts: list[int]) -> list[Head]:
    left = iter(tensors)
    return [next(left) if number == 1 else (next(left), next(left), next(left))
            for number in parts]


def _plan(numbers: list[int], temperature: float) -> Plan:
    num_supervised, first_class, detach_teacher, *bounds = numbers
    branches = tuple(slice(*bounds[i:i + 2]) for i in range(0, len(bounds), 2))
    return Plan(slice(0, num_supervised), branches, temperature, first_class,
                bool(detach_teacher))
