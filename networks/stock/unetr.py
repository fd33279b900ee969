"""UNETR (Hatamizadeh et al., 2022) with its levels named."""

from functools import partial

import torch
from monai.networks.nets import UNETR
from torch import nn

from ..dsd.levels import LevelledNetwork, check_size
from ..dsd.side_outputs import Level

PATCH = 16  # voxels on each side


def build_unetr(in_channels: int, num_classes: int, img_size: tuple[int, int, int],
                feature_size: int = 32, hidden_size: int = 768, mlp_dim: int = 3072,
                num_heads: int = 12) -> LevelledNetwork:
    """MONAI's UNETR with the perceptron patch embedding; every level has its own head.

    The bottleneck that dec4 reads is the final ViT output (after its last norm), folded to a
    grid of 16-voxel patches. The 18,432 parameters of `norm_cross_attn`, which MONAI creates but
    never uses, are frozen, to keep them from weight decay and distributed training; the unused
    `cross_attn` of MONAI 1.5 is removed, as in MONAI 1.6.

    Raises:
        ValueError: a size is not a multiple of 16.
    """
    check_size("unetr", img_size, divisor=(PATCH,) * 3)
    network = UNETR(in_channels, num_classes, img_size, feature_size=feature_size,
                    hidden_size=hidden_size, mlp_dim=mlp_dim, num_heads=num_heads,
                    proj_type="perceptron")
    for block in network.vit.blocks:
        if hasattr(block, "norm_cross_attn") and not getattr(block, "with_cross_attention", False):
            block.norm_cross_attn.requires_grad_(False)
            block.cross_attn = nn.Identity()

    patch_grid = partial(_patch_grid, grid=tuple(size // PATCH for size in img_size))

    def level(module, widths, scale, read=None):
        return Level(module, widths, (scale,) * 3, head=module.replace(".", "_"), read=read)

    width = feature_size
    return LevelledNetwork(
        network,
        decoder=(level("vit", hidden_size, PATCH, patch_grid), level("decoder5", 8 * width, 8),
                 level("decoder4", 4 * width, 4), level("decoder3", 2 * width, 2)),
        encoder=(level("encoder1", width, 1), level("encoder2", 2 * width, 2),
                 level("encoder3", 4 * width, 4), level("encoder4", 8 * width, 8)),
        encoder_modules=("vit", "encoder1", "encoder2", "encoder3", "encoder4"))


def _patch_grid(vit_output: tuple[torch.Tensor, list[torch.Tensor]],
                grid: tuple[int, ...]) -> torch.Tensor:
    """The final ViT output (B, patches, hidden) as (B, hidden, H/16, W/16, D/16)."""
    return vit_output[0].transpose(1, 2).unflatten(2, grid).contiguous()
