"""One side head: from a level's feature map to logits at the input's size."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import conv3d, conv_transpose3d

from ..deterministic import Trilinear

UPSAMPLINGS = ("shared", "single", "trilinear")


class LastStep(NamedTuple):
    """Logits before the last step, a transposed convolution with a kernel as large as its stride.

    Attributes:
        feature: (B, C, h, w, d).
        weight: (C, K, *stride), strides of 1 or 2.
        bias: (K,).
    """

    feature: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor


class SideHead(nn.Module):
    """1x1x1 convolution to the K classes, then up to full size (DSD, the authors' "DeepUp").

    `upsampling` says how:
        "shared": one 2x transposed convolution applied log2(scale) times with shared weights, as
            published, where the scale is the same power of two on every axis; any other scale
            has a single transposed convolution.
        "single": one transposed convolution with kernel and stride equal to the scale.
        "trilinear": interpolation between aligned corners, without parameters.

    Differs from the authors' code: theirs knows isotropic scales only and returns wrongly shaped
    outputs for anisotropic strides.

    Args:
        in_channels: channels of the feature map.
        num_classes: K, background included.
        scale: input size over feature size, per axis.
        upsampling: one of UPSAMPLINGS.
    """

    def __init__(self, in_channels: int, num_classes: int, scale: tuple[int, int, int],
                 upsampling: str = "shared"):
        assert upsampling in UPSAMPLINGS, upsampling
        super().__init__()
        self.project = nn.Conv3d(in_channels, num_classes, kernel_size=1)
        if upsampling == "trilinear":
            self.repeats = 1
            self.upsample = Trilinear(scale, align_corners=True)
            return
        kernel, self.repeats = (scale, 1) if upsampling == "single" else _shared(scale)
        self.upsample = nn.ConvTranspose3d(num_classes, num_classes, kernel_size=kernel,
                                           stride=kernel)

    def forward(self, feature: torch.Tensor | list[torch.Tensor],
                whole: bool = True) -> torch.Tensor | LastStep | list[torch.Tensor | LastStep]:
        """(B, C, h, w, d) -> logits (B, K, h*scale, w*scale, d*scale).

        Unless `whole`, what a last step makes them of, where a loss can take that step piece by
        piece: a transposed convolution of stride 1 or 2 per axis. Of a list of features of one
        shape a list: they are upsampled together, so that a GPU has fewer kernels to launch.
        """
        if isinstance(feature, torch.Tensor):
            return self.forward([feature], whole)[0]
        if not isinstance(self.upsample, nn.ConvTranspose3d):
            return [self.upsample(self.project(one)) for one in feature]
        largest = max(self.upsample.stride)
        weights = self._weights(feature[0].device.type)
        if largest == 1 and not whole:
            return self._only_step(feature, weights)
        before = self._before_last_step(feature, weights)
        if largest == 2 and not whole:
            return [LastStep(logits, self.upsample.weight, self.upsample.bias)
                    for logits in before]
        return [self._upsampled(logits, weights) for logits in before]

    def _weights(self, device_type: str) -> tuple[torch.Tensor, ...]:
        """Weight and bias of both convolutions, in autocast's type where that is on."""
        own = (self.project.weight, self.project.bias, self.upsample.weight, self.upsample.bias)
        is_on = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(
            device_type)
        if torch.compiler.is_compiling() or not is_on:  # what is compiled casts them on its way
            return own
        return _Cast.apply(torch.get_autocast_dtype(device_type), *own)

    def _before_last_step(self, features: list[torch.Tensor],
                          weights: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        made = [conv3d(feature, *weights[:2]) for feature in features]
        apart = self.repeats == 1 or len(made) == 1
        logits = made if apart else [torch.cat(made)]
        for _ in range(self.repeats - 1):
            logits = [self._upsampled(each, weights) for each in logits]
        return logits if apart else list(logits[0].chunk(len(made)))

    def _upsampled(self, logits: torch.Tensor,
                   weights: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return conv_transpose3d(logits, *weights[2:], stride=self.upsample.stride)

    def _only_step(self, features: list[torch.Tensor],
                   weights: tuple[torch.Tensor, ...]) -> list[LastStep]:
        """At full size both convolutions are 1x1x1: one matrix after the other, so one matrix."""
        first, second = weights[0].flatten(1), weights[2].flatten(1)  # KC, KK
        weight = (first.T @ second)[..., None, None, None]
        bias = weights[1] @ second + self.upsample.bias
        return [LastStep(feature, weight, bias) for feature in features]


class _Cast(torch.autograd.Function):
    """Float32 tensors in another type by one kernel on a GPU, and their gradients back by one."""

    @staticmethod
    def forward(ctx, dtype, *tensors):
        ctx.set_materialize_grads(False)
        made = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
        torch._foreach_copy_(made, tensors)
        return tuple(made)

    @staticmethod
    def backward(ctx, *gradients):
        given = [gradient for gradient in gradients if gradient is not None]
        wide = [torch.empty_like(gradient, dtype=torch.float32) for gradient in given]
        torch._foreach_copy_(wide, given)
        left = iter(wide)
        return None, *(None if gradient is None else next(left) for gradient in gradients)


def _shared(scale: tuple[int, int, int]) -> tuple[tuple[int, int, int], int]:
    """Kernel of the transposed convolution and how often it is applied."""
    first = scale[0]
    is_power_of_two = first & (first - 1) == 0
    if first > 1 and is_power_of_two and scale == (first, first, first):
        return (2, 2, 2), first.bit_length() - 1
    return scale, 1
