"""Networks by name."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .levels import LevelledNetwork
from .nnunet import build_nnunet
from .side_outputs import SideOutputs
from .unetr import build_unetr

NETWORKS: dict[str, Callable[..., LevelledNetwork]] = {
    "unetr": build_unetr,
    "nnunet": build_nnunet,
}


def build_network(name: str, in_channels: int, num_classes: int, img_size: Sequence[int],
                  self_distillation: bool = False, **options: Any) -> SideOutputs:
    """Build a network by name, with side outputs when `self_distillation` is true.

    Args:
        name: a key of NETWORKS.
        in_channels: C of the images (B, C, H, W, D).
        num_classes: K, background included.
        img_size: (H, W, D) of training crops and sliding windows, voxels.
        self_distillation: adds the side heads; without, training returns {"out": logits}.
        options: by MONAI's names: feature_size, hidden_size, mlp_dim, num_heads (unetr);
            filters, kernel_size, strides (nnunet).

    Raises:
        ValueError: unknown name or option, or a size the network cannot take.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network {name!r}; known: {', '.join(NETWORKS)}.")
    builder = NETWORKS[name]
    known = list(inspect.signature(builder).parameters)[3:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"{name}: unknown options {', '.join(unknown)}; known: "
                         f"{', '.join(known)}.")
    plain = builder(in_channels, num_classes, tuple(img_size), **options)
    if not self_distillation:
        return SideOutputs(plain.network, num_classes)
    return SideOutputs(plain.network, num_classes, plain.decoder, plain.encoder, plain.initialise)
