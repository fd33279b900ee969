"""torch made to believe in a CUDA device, on which fake tensors have shapes and no data.

torch's FakeTensorMode follows forward and backward passes, autocast, GradScaler and the optimisers
on device cuda:0; with a torch for CPUs it lacks only what fake_cuda.cpp says, which this machine's
C++ compiler builds on first use, in two seconds.
"""

import contextlib
import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # noqa: F401  (before anything of torch.cuda is replaced)
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _foreach_utils

from losses.fused import triton_ops, triton_passes

from .counting import Count, FakeKernel

SOURCE = Path(__file__).with_name("fake_cuda.cpp")
GPU = torch.device("cuda:0")


def compiler() -> list[str] | None:
    """The C++ compiler as the words of a command ($CXX, else c++); None if it is not installed."""
    words = shlex.split(os.environ.get("CXX", "c++"))
    if not words or shutil.which(words[0]) is None:
        return None
    return words


@functools.cache
def install() -> None:
    """Build and load fake_cuda.cpp, unless there is a GPU; for the rest of this process.

    To be called before the first backward pass, in which torch counts its devices.

    Raises:
        ValueError: there is no C++ compiler, or it cannot build it.
    """
    if torch.cuda.is_available():
        return
    words = compiler()
    if words is None:
        raise ValueError("Without a GPU this needs a C++ compiler: install g++, or set CXX.")
    home = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(prefix="fake_cuda_") as folder:
        built = Path(folder) / "fake_cuda.so"
        run = subprocess.run([*words, "-std=c++20", "-O0", "-fPIC", "-shared",
                              f"-I{home / 'include'}", str(SOURCE), "-o", str(built),
                              f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10",
                              f"-Wl,-rpath,{home / 'lib'}"], capture_output=True, text=True)
        if run.returncode != 0:
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"{words[0]} cannot build {SOURCE.name} with this torch: {last}")
        ctypes.CDLL(str(built)).install_fake_cuda()


@contextlib.contextmanager
def fake_gpu() -> Iterator[Count]:
    """Within, tensors are fake, and what happens on cuda:0 is counted.

    Networks are to be built before and moved by `place`: their `.to` leaves parameters alone.

    Raises:
        ValueError: see `install`.
    """
    install()
    with contextlib.ExitStack() as stack:
        if not torch.cuda.is_available():
            stack.enter_context(_replaced(torch.cuda, **_CUDA))
        stack.enter_context(_replaced(nn.Module, _apply=_apply_to_buffers))
        stack.enter_context(_replaced(torch.Tensor, __deepcopy__=_deepcopy))
        stack.enter_context(_replaced(triton_ops, is_usable=lambda: True))
        optimizer = sys.modules["torch.optim.optimizer"]  # torch.optim has taken its name away
        for module in (optimizer, _foreach_utils):
            known = module._foreach_supported_types
            stack.enter_context(_replaced(module, _foreach_supported_types=[*known, FakeTensor]))
        stack.enter_context(FakeTensorMode())
        count = Count()
        stack.enter_context(_kernels_of(count))
        stack.enter_context(count)
        yield count


_CUDA = {"is_available": lambda: True, "device_count": lambda: 1, "current_device": lambda: 0,
         "is_bf16_supported": lambda **_: True, "get_device_capability": lambda *_: (9, 0),
         "set_device": lambda _: None, "synchronize": lambda *_: None, "empty_cache": lambda: None,
         "is_current_stream_capturing": lambda: False, "_lazy_init": lambda: None,
         "_exchange_device": lambda _: 0, "_maybe_exchange_device": lambda _: 0}


@contextlib.contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextlib.contextmanager
def _kernels_of(count: Count) -> Iterator[None]:
    """Kernels that are counted in place of the loss's own, for which Triton is needed."""
    kernels = {"triton_kernels": ("sums_kernel", "gradients_kernel"),
               "triton_finish": ("terms_kernel", "slopes_kernel")}
    before = sys.modules.copy()
    for module, names in kernels.items():
        fake = {name: FakeKernel(name, count) for name in names}
        sys.modules[f"{triton_passes.__package__}.{module}"] = types.SimpleNamespace(**fake)
    try:
        yield
    finally:
        for module in kernels:
            name = f"{triton_passes.__package__}.{module}"
            del sys.modules[name]
            if name in before:
                sys.modules[name] = before[name]


def place(module: nn.Module) -> nn.Module:
    """Replace real parameters and buffers, in place, by fake ones on the GPU; shared ones stay so.

    What a module keeps as a plain attribute stays where it is, as with `.to`.
    """
    made: dict[torch.Tensor, torch.Tensor] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                if parameter not in made:
                    made[parameter] = nn.Parameter(_like(parameter), parameter.requires_grad)
                part._parameters[name] = made[parameter]
    return _apply_to_buffers(module, _like)


def _like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=GPU)


def _deepcopy(tensor: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:
    """Replaces torch.Tensor.__deepcopy__, which would copy the storage that fake tensors lack.

    A real tensor, such as a network may keep beside its parameters, is not copied.
    """
    if not isinstance(tensor, FakeTensor):
        return tensor
    if id(tensor) not in memo:
        copied = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            copied = nn.Parameter(copied, tensor.requires_grad)
        memo[id(tensor)] = copied
    return memo[id(tensor)]


def _apply_to_buffers(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """nn.Module._apply for buffers only: torch cannot exchange the data of fake parameters."""
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = function(buffer)
    return module
