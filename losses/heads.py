"""The outputs of a network: a head's logits, whole or one linear step before, and their names."""

from typing import Any

import torch
from torch.nn.functional import conv_transpose3d

from .dice_ce import in_float32

Head = torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Logits (B, K, H, W, D), or what makes them: (feature, weight, bias).

The feature is (B, C, h, w, d), the weight (C, K, *stride) and the bias (K,) of a transposed
convolution whose kernel is its stride, so that every voxel of the logits comes from one voxel of
the feature. A 1x1x1 convolution is one of stride 1. Losses make such logits a piece at a time and
never hold them whole.
"""


def whole_logits(head: Head) -> torch.Tensor:
    """The logits (B, K, H, W, D) of a head; a last step is taken in float32 or wider."""
    if isinstance(head, torch.Tensor):
        return head
    feature, weight, bias = map(in_float32, head)  # under AMP the feature alone is in half
    return conv_transpose3d(feature, weight, bias, stride=weight.shape[2:])


def tensors_of(head: Head) -> tuple[torch.Tensor, ...]:
    """The logits alone, or feature, weight and bias."""
    if isinstance(head, torch.Tensor):
        return (head,)
    return tuple(head)


def num_classes_of(head: Head) -> int:
    """K."""
    if isinstance(head, torch.Tensor):
        return head.shape[1]
    return head[1].shape[1]


def stride_of(head: Head) -> tuple[int, int, int]:
    """Voxels of the logits per voxel of the tensor or the feature, per axis."""
    if isinstance(head, torch.Tensor):
        return (1, 1, 1)
    return tuple(head[1].shape[2:])


def with_whole_logits(outputs: dict[str, Any]) -> dict[str, Any]:
    """The network's outputs with the logits of every head at full size."""
    outputs = dict(outputs)
    for branch in ("dec", "enc"):
        if branch in outputs:
            outputs[branch] = [whole_logits(head) for head in outputs[branch]]
    return outputs


def named_outputs(outputs: dict[str, Any]) -> dict[str, Any]:
    """The logits of a training dict by name: "out", "dec4" .. "dec1", "enc1" .. "enc4".

    Along the data flow the decoder's numbers fall and the encoder's rise: each branch ends with
    its teacher, dec1 and enc4.
    """
    decoder, encoder = outputs.get("dec", []), outputs.get("enc", [])
    named = {"out": outputs["out"]}
    for i, logits in enumerate(decoder):
        named[f"dec{len(decoder) - i}"] = logits
    for i, logits in enumerate(encoder, start=1):
        named[f"enc{i}"] = logits
    return named
