"""Networks by name, and by Python path."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .custom import ARGUMENTS, load_factory, measured
from .dsd.levels import LevelledNetwork
from .dsd.side_head import UPSAMPLINGS
from .dsd.side_outputs import SideOutputs
from .resnet.resnet_unet import RESNET_UNETS
from .stock.nnunet import build_nnunet
from .stock.swin_unetr import build_swinunetr
from .stock.unetr import build_unetr
from .stock.vnet import build_vnet

NETWORKS: dict[str, Callable[..., LevelledNetwork]] = {
    "unetr": build_unetr,
    "swinunetr": build_swinunetr,
    "nnunet": build_nnunet,
    "vnet": build_vnet,
    **RESNET_UNETS,
}


ENCODER_HEADS = ("shared", "own")


def build_network(name: str, in_channels: int, num_classes: int, img_size: Sequence[int],
                  self_distillation: bool = False, upsampling: str = "shared",
                  hints: bool = False, encoder_heads: str = "shared",
                  **options: Any) -> SideOutputs:
    """Build a network by name, with side outputs when `self_distillation` is true.

    Args:
        name: a key of NETWORKS, or "package.module:factory", a function of your own (see
            `custom.load_factory`) that returns a network or, for DSD, what `find_levels` returns.
        in_channels: C of the images (B, C, H, W, D).
        num_classes: K, background included.
        img_size: (H, W, D) of training crops and sliding windows, voxels.
        self_distillation: adds the side heads; without, training returns {"out": logits}.
        upsampling: of the side heads: "shared" (published), "single" or "trilinear".
        hints: adds the pooled vectors of DSD's hints to the training outputs.
        encoder_heads: "shared" as published (nnunet reads a decoder level and the encoder level
            of its resolution by one head), or "own": no encoder level shares its head.
        options: by MONAI's names: feature_size, hidden_size, mlp_dim, num_heads (unetr);
            feature_size, legacy_patch_merging, use_checkpoint (swinunetr); filters, kernel_size,
            strides (nnunet); none (vnet); skip_connection, aspp, decoder_widths (resnet10-unet to
            resnet200-unet); a factory's own.

    Raises:
        ValueError: unknown name or option, a size the network cannot take, hints without
            self-distillation, or a factory whose network is not what it must be.
    """
    if upsampling not in UPSAMPLINGS:
        raise ValueError(f"Unknown upsampling {upsampling!r}; known: {', '.join(UPSAMPLINGS)}.")
    if encoder_heads not in ENCODER_HEADS:
        raise ValueError(f"Unknown encoder_heads {encoder_heads!r}; known: "
                         f"{', '.join(ENCODER_HEADS)}.")
    if hints and not self_distillation:
        raise ValueError("Hints are between the levels of self-distillation, which is off.")
    if name not in NETWORKS and ":" not in name:
        raise ValueError(f"Unknown network {name!r}; known: {', '.join(NETWORKS)}, and your own as "
                         f"package.module:factory.")
    builder = NETWORKS.get(name) or load_factory(name)
    _check_options(name, builder, options)
    try:
        plain = builder(in_channels=in_channels, num_classes=num_classes, img_size=tuple(img_size),
                        **options)
    except TypeError as error:
        if name not in NETWORKS:
            raise  # a factory's own code: its traceback says where
        raise ValueError(f"{name}: the options {options} cannot be used ({error}).") from error
    if name not in NETWORKS:
        plain = measured(name, plain, in_channels, num_classes, tuple(img_size), self_distillation)
    if not self_distillation:
        return SideOutputs(plain.network, num_classes, encoder_modules=plain.encoder_modules)
    encoder = plain.encoder
    if encoder_heads == "own":
        encoder = [dataclasses.replace(level, head=f"encoder_{number}")
                   for number, level in enumerate(encoder, start=1)]
    return SideOutputs(plain.network, num_classes, plain.decoder, encoder, plain.initialise,
                       upsampling=upsampling, hints=hints, encoder_modules=plain.encoder_modules)


def _check_options(name: str, builder: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuse options that a builder does not know, and a builder that lacks options it needs."""
    known, needed, takes_any = [], [], False
    for parameter in inspect.signature(builder).parameters.values():
        if parameter.name in ARGUMENTS:
            continue
        if parameter.kind == parameter.VAR_KEYWORD:
            takes_any = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            known.append(parameter.name)
            if parameter.default is parameter.empty and parameter.name not in options:
                needed.append(parameter.name)
    unknown = sorted(set(options) - set(known))
    if unknown and not takes_any:
        raise ValueError(f"{name}: unknown options {', '.join(unknown)}; known: "
                         f"{', '.join(known) or 'none'}.")
    if needed:
        raise ValueError(f"{name}: needs the options {', '.join(needed)}.")
