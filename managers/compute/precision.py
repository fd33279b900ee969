"""Mixed precision for every manager: autocast, the gradient scaler, and what stays in float32."""

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.functional import conv3d, pad

AMP_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Name to type; any other name ("off", "none") means float32 throughout."""


def autocast(device: torch.device, amp: str) -> AbstractContextManager:
    """Torch's autocast for a network's forward pass; the loss belongs outside."""
    if amp not in AMP_TYPES:
        return nullcontext()
    return torch.autocast(device.type, AMP_TYPES[amp])


def gradient_scaler(device: torch.device, amp: str) -> torch.amp.GradScaler:
    """A scaler that is active under fp16 only: bf16 has float32's range."""
    return torch.amp.GradScaler(device.type, enabled=amp == "fp16")


def check_amp(amp: str, device: torch.device) -> None:
    """Refuse a precision that the device cannot do; warn of a slow one.

    Raises:
        ValueError: fp16 on a CPU.
    """
    if device.type != "cpu":
        return
    if amp == "fp16":
        raise ValueError("--amp fp16: is for GPUs, and the device is the CPU; give --amp bf16, "
                         "or off.")
    if amp == "bf16" and not cpu_has_bf16():
        warnings.warn("--amp bf16: this CPU has no instructions for it, so it is slower than "
                      "float32.", stacklevel=3)


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies in bf16 (AVX512-BF16 or AMX); others do it slower than float32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class ShortAxisConv3d(nn.Conv3d):
    """A convolution that, on a CPU, pads its input itself if an axis is not longer than its kernel.

    Otherwise the weight gradient of oneDNN 3.12 (torch 2.13) reads or writes out of bounds, as
    seen on a Xeon with AVX-512 and AMX: in float32 for kernel 7 with stride 2 (NaN, or large
    numbers), in bf16 for others too (up to a crash). On an input that is padded already it is
    right. Transposed convolutions take their gradient from the output, which is never shorter than
    the kernel.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W, D) -> (B, C', H', W', D')."""
        if (input.device.type != "cpu" or self.padding_mode != "zeros"
                or isinstance(self.padding, str) or not self._is_short(input.shape[2:])):
            return super().forward(input)
        around = []
        for voxels in reversed(self.padding):
            around += [voxels, voxels]
        return conv3d(pad(input, around), self.weight, self.bias, self.stride, 0, self.dilation,
                      self.groups)

    def _is_short(self, size: torch.Size) -> bool:
        for voxels, kernel, step in zip(size, self.kernel_size, self.dilation, strict=True):
            if kernel > 1 and voxels <= step * (kernel - 1) + 1:
                return True
        return False


def guard_short_axes(network: nn.Module) -> None:
    """Make every plain Conv3d of a network a ShortAxisConv3d, weights and names unchanged."""
    for module in network.modules():
        if type(module) is nn.Conv3d:  # a subclass may have its own forward
            module.__class__ = ShortAxisConv3d
