"""Counts what operations do on a GPU: kernels, bytes, FLOPs, memory, and waits of the host.

Every operation that writes counts as one kernel, also over a list of tensors, and reads and writes
each of its tensors once. What else cuDNN, the allocator and the driver need is not counted.
"""

import os
import traceback
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from losses.fused import triton_ops
from system import ROOT

from .stand_ins import STAND_INS

NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach",
             "detach_", "alias", "lift_fresh", "resize_", "set_", "record_stream", "_unsafe_view",
             "squeeze_", "unsqueeze_", "t_", "transpose_"}
# They read nothing of their first tensor: they overwrite it, or look at its type only.
FIRST_UNREAD = {"copy_", "zero_", "fill_", "normal_", "uniform_", "bernoulli_",
                "batch_norm_gather_stats_with_counts"}
# They give the host a value, or a shape that depends on values.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "unique_dim",
           "unique_consecutive", "equal", "is_nonzero", "repeat_interleave", "linalg_eigh"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}  # wait when given a mask
# Operations that torch.use_deterministic_algorithms refuses on CUDA: those of its documentation
# that a network or a loss may use.
REFUSED = {"adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward", "avg_pool3d_backward",
           "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "cumsum",
           "fractional_max_pool3d_backward", "grid_sampler_2d_backward",
           "grid_sampler_3d_backward", "histc", "kthvalue", "max_pool3d_with_indices_backward",
           "max_unpool3d", "median", "nll_loss2d_forward", "put_", "reflection_pad1d_backward",
           "reflection_pad3d_backward", "replication_pad1d_backward",
           "replication_pad2d_backward", "replication_pad3d_backward",
           "upsample_bicubic2d_backward", "upsample_bilinear2d_backward",
           "upsample_linear1d_backward", "upsample_trilinear3d_backward"}
OUR_OPERATIONS = {torch.ops.dsd.terms.default: triton_ops.terms_and_sums,
                  torch.ops.dsd.gradients.default: triton_ops.gradients}


class Kernel(NamedTuple):
    """One kernel.

    Attributes:
        name: of the operation.
        bytes: read and written.
        flops: of matrix products and convolutions, else 0.
        dtype: of what it multiplies, or of its result.
        line: of the project that called it; "" where none did.
    """

    name: str
    bytes: int
    flops: int
    dtype: torch.dtype
    line: str


class Count(TorchDispatchMode):
    """What has been done on the GPU since `start`, as attributes.

    Attributes:
        kernels: in their order.
        waits: of the host for the GPU: (operation, line of the project).
        refused: operations that torch.use_deterministic_algorithms refuses, with their number.
        alive: bytes that are allocated now.
        peak: the largest `alive`.
    """

    def __init__(self):
        super().__init__()
        self.alive = 0
        self._sizes: dict[int, int] = {}
        self.start()

    def start(self) -> None:
        """Start counting again; memory starts from what is alive."""
        self.kernels: list[Kernel] = []
        self.waits: list[tuple[str, str]] = []
        self.refused: Counter[str] = Counter()
        self.peak = self.alive

    @property
    def bytes(self) -> int:
        """Read and written."""
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def flops(self) -> int:
        """Of matrix products and convolutions."""
        return sum(kernel.flops for kernel in self.kernels)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in OUR_OPERATIONS:
            with self:
                return OUR_OPERATIONS[func](*args, **kwargs)
        name = func._schema.name.split("::")[1]
        inputs = _tensors((args, kwargs))
        if _on_gpu(inputs):
            self._note_waits(name, args)
            if name in REFUSED:
                self.refused[name] += 1
            if name == "bincount":
                length = kwargs.get("minlength")
                if length is None:
                    length = args[2]
                counts = inputs[0].new_empty(length)
                self._add(name, inputs, [counts], 0)
                return counts
        if name == "_local_scalar_dense" and getattr(inputs[0], "constant", None) is None:
            return _made_up(inputs[0].dtype)
        result = STAND_INS.get(func, func)(*args, **kwargs)
        results = _tensors(result)
        self._note_copies(name, args, kwargs, inputs, results)
        for tensor in results:
            if tensor.device.type == "cuda":
                self._keep(tensor)
        written = _written(func, args, kwargs)
        if func.namespace == "c10d":  # between processes; its schemas do not say what it writes
            written = results
        if (written or not func.is_view) and name not in NO_KERNEL:
            known = {id(tensor) for tensor in inputs}
            made = [tensor for tensor in results if id(tensor) not in known]
            if _on_gpu(written + made):
                flops = 0
                count_flops = flop_registry.get(func._overloadpacket)
                if count_flops is not None:
                    flops = count_flops(*args, **kwargs, out_val=result)
                read = inputs
                if name in FIRST_UNREAD:
                    read = inputs[1:]
                self._add(name, read, written + made, flops)
        return result

    def add_kernel(self, name: str, tensors: Sequence[torch.Tensor]) -> None:
        """Add a kernel that is not torch's, with all tensors that it reads or writes."""
        self._add(name, tensors, [], 0)

    def _add(self, name: str, read: Sequence[torch.Tensor], written: Sequence[torch.Tensor],
             flops: int) -> None:
        dtype = [*read, *written][0].dtype
        self.kernels.append(Kernel(name, _bytes(read) + _bytes(written), flops, dtype, _line()))

    def _note_waits(self, name: str, args: Any) -> None:
        waits = name in WAITING
        if name in INDEXING:
            waits = any(index is not None and index.dtype in (torch.bool, torch.uint8)
                        for index in args[1])
        if waits:
            self.waits.append((name, _line()))

    def _note_copies(self, name: str, args: Any, kwargs: Any, inputs: Sequence[torch.Tensor],
                     results: Sequence[torch.Tensor]) -> None:
        """Note copies between host and GPU that the host waits for."""
        if name not in ("_to_copy", "copy_"):
            return
        kinds = {tensor.device.type for tensor in (*inputs, *results)}
        goes_on = kwargs.get("non_blocking") or (name == "copy_" and args[2:3] == (True,))
        if kinds == {"cpu", "cuda"} and not goes_on:
            self.waits.append((f"copy to {results[0].device.type}", _line()))

    def _keep(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.alive -= self._sizes.pop(key)


class FakeKernel:
    """Stands in for a Triton kernel: launched in the same way, it is counted and does nothing."""

    def __init__(self, name: str, count: Count):
        self.name = name
        self.count = count

    def __getitem__(self, grid: tuple[int, ...]):
        return lambda *args, **constants: self.count.add_kernel(self.name, _tensors(args))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _on_gpu(tensors: Sequence[torch.Tensor]) -> bool:
    return any(tensor.device.type == "cuda" for tensor in tensors)


def _written(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that an operation changes."""
    if not func._schema.is_mutable:
        return []
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False))
    given |= kwargs
    return _tensors([given.get(argument.name) for argument in func._schema.arguments
                     if argument.alias_info is not None and argument.alias_info.is_write])


def _made_up(dtype: torch.dtype) -> float | int | bool:
    """A value for the host to read, since fake tensors have none; True for "all is finite"."""
    if dtype == torch.bool:
        return True
    if dtype.is_floating_point:
        return 0.0
    return 0


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Bytes of the tensors on the GPU, each counted once; of an expanded one its storage."""
    different = {id(tensor): tensor for tensor in tensors if tensor.device.type == "cuda"}
    total = 0
    for tensor in different.values():
        size = tensor.numel() * tensor.element_size()
        total += min(size, tensor.untyped_storage().nbytes())
    return total


def _line() -> str:
    """The innermost line of the project on the call stack, outside this folder."""
    here = os.path.dirname(__file__)
    for frame, number in traceback.walk_stack(None):
        path = frame.f_code.co_filename
        if path.startswith(str(ROOT)) and not path.startswith(here) and "-packages" not in path:
            return f"{os.path.relpath(path, ROOT)}:{number}"
    return ""
