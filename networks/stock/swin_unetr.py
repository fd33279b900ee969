"""SwinUNETR (Hatamizadeh et al., 2022) with its levels named, and the authors' patch merging."""

import torch
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import PatchMerging
from torch import nn

from ..dsd.levels import LevelledNetwork, check_size
from ..dsd.side_outputs import Level

LEGACY_MARK = "legacy_patch_merging"
# Offsets of the eight sub-lattices in the authors' order: (1, 1, 0) and (0, 1, 1) are absent.
LEGACY_OFFSETS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1),
                  (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


def build_swinunetr(in_channels: int, num_classes: int, img_size: tuple[int, int, int],
                    feature_size: int = 36, legacy_patch_merging: bool = False,
                    use_checkpoint: bool = False) -> LevelledNetwork:
    """MONAI's SwinUNETR; a decoder and an encoder level of equal resolution share their head.

    dec4 reads the first decoder stage (1/16): the bottleneck (1/32) has no head, and full
    resolution has one of its own.

    Differs from the authors' code: patch merging reads all eight sub-lattices, as MONAI does
    since 1.5; theirs, on request, drops two and reads two twice. Their head on the last skip
    connection, computed and thrown away, is not computed.

    Args:
        feature_size: channels at full resolution, a multiple of 12.
        legacy_patch_merging: the authors' patch merging. Its weights have the same shapes but
            another meaning, so either network refuses to load the other's.
        use_checkpoint: in training, recompute the transformer's blocks in the backward pass
            instead of keeping their activations.

    Raises:
        ValueError: a size that is not a multiple of 32 or leaves one voxel at the bottleneck, or
            a feature size that is not a multiple of 12.
    """
    check_size("swinunetr", img_size, divisor=(32, 32, 32), normed_bottleneck=True)
    if feature_size < 1 or feature_size % 12:
        below = max(feature_size // 12, 1) * 12
        raise ValueError(f"swinunetr: feature_size {feature_size} must be a multiple of 12, for "
                         f"its attention heads; try {below} or {below + 12}.")
    downsample = "merging"
    if legacy_patch_merging:
        downsample = LegacyPatchMerging
    network = SwinUNETR(in_channels=in_channels, out_channels=num_classes,
                        feature_size=feature_size, downsample=downsample,
                        use_checkpoint=use_checkpoint)

    def level(module, widths, exponent):
        return Level(module, widths * feature_size, (2**exponent,) * 3, head=f"level{exponent}")

    return LevelledNetwork(
        network,
        decoder=(level("decoder5", 8, 4), level("decoder4", 4, 3),
                 level("decoder3", 2, 2), level("decoder2", 1, 1)),
        encoder=(level("encoder1", 1, 0), level("encoder2", 1, 1),
                 level("encoder3", 2, 2), level("encoder4", 4, 3)),
        encoder_modules=("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"))


class LegacyPatchMerging(PatchMerging):
    """The patch merging of MONAI before 1.5, which the authors trained with.

    Its buffer carries no number; as a key of the state dict it keeps weights trained with one
    merging from being loaded into the other.
    """

    def __init__(self, dim: int, norm_layer: type[nn.Module] = nn.LayerNorm,
                 spatial_dims: int = 3):
        super().__init__(dim=dim, norm_layer=norm_layer, spatial_dims=spatial_dims)
        self.register_buffer(LEGACY_MARK, torch.ones((), dtype=torch.bool))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, H, W, D, C) -> (B, H/2, W/2, D/2, 2C), odd sizes padded with zeros."""
        height, width, depth = features.shape[1:4]
        features = nn.functional.pad(features, (0, 0, 0, depth % 2, 0, width % 2, 0, height % 2))
        merged = torch.cat([features[:, i::2, j::2, k::2] for i, j, k in LEGACY_OFFSETS], dim=-1)
        return self.reduction(self.norm(merged))
