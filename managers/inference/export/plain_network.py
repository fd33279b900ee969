"""The networks as MONAI's own classes and their arguments, for places without this project."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from networks.dsd.side_outputs import SideOutputs
from networks.stock.swin_unetr import LegacyPatchMerging


def _unetr(network: nn.Module, img_size: Sequence[int]) -> dict[str, Any]:
    block = network.vit.blocks[0]
    return {"img_size": list(img_size), "feature_size": network.encoder1.layer.conv1.out_channels,
            "hidden_size": network.hidden_size, "mlp_dim": block.mlp.linear1.out_features,
            "num_heads": block.attn.num_heads, "proj_type": "perceptron"}


def _swinunetr(network: nn.Module, img_size: Sequence[int]) -> dict[str, Any]:
    if any(isinstance(module, LegacyPatchMerging) for module in network.modules()):
        raise ValueError("--legacy_patch_merging is not in MONAI's SwinUNETR.")
    return {"feature_size": network.encoder1.layer.conv1.out_channels}


def _nnunet(network: nn.Module, img_size: Sequence[int]) -> dict[str, Any]:
    strides = [list(stride) for stride in network.strides]
    if max(max(stride) for stride in strides) > 2:
        raise ValueError(f"the strides {strides} are above 2, which MONAI's DynUNet does not take.")
    return {"spatial_dims": 3, "kernel_size": [list(kernel) for kernel in network.kernel_size],
            "strides": strides, "upsample_kernel_size": strides[1:],
            "filters": list(network.filters), "norm_name": "instance", "res_block": True}


def _vnet(network: nn.Module, img_size: Sequence[int]) -> dict[str, Any]:
    return {"spatial_dims": 3}


STOCK: dict[str, tuple[str, Callable[[nn.Module, Sequence[int]], dict[str, Any]]]] = {
    "unetr": ("UNETR", _unetr),
    "swinunetr": ("SwinUNETR", _swinunetr),
    "nnunet": ("DynUNet", _nnunet),
    "vnet": ("VNet", _vnet),
}


def stock_definition(name: str, wrapped: SideOutputs, in_channels: int,
                     img_size: Sequence[int]) -> dict[str, Any]:
    """What MONAI's ConfigParser builds the network from: "_target_" and plain JSON arguments.

    Args:
        name: the key of NETWORKS that `wrapped` was built by.
        img_size: (H, W, D) of its crops, voxels.

    Raises:
        ValueError: the network is none of MONAI's.
    """
    if name not in STOCK:
        raise ValueError(f"{name} is no network of MONAI's; those that are: {', '.join(STOCK)}.")
    target, arguments = STOCK[name]
    try:
        return {"_target_": target, "in_channels": in_channels,
                "out_channels": wrapped.num_classes} | arguments(wrapped.network, img_size)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
