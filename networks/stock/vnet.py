"""V-Net (Milletari et al., 2016) with its levels named."""

from monai.networks.nets import VNet

from ..dsd.levels import LevelledNetwork, check_size
from ..dsd.side_outputs import Level

WIDTH = 16  # channels at full resolution; the image is repeated to as many


def build_vnet(in_channels: int, num_classes: int,
               img_size: tuple[int, int, int]) -> LevelledNetwork:
    """MONAI's V-Net as it stands; nothing is shared between its heads.

    Its dropout (0.5, whole channels) makes two training passes of one image differ.

    Differs from the authors' code: theirs builds a ninth head, on the last decoder stage, and
    never uses it.

    Raises:
        ValueError: a size that is not a multiple of 16 or leaves one voxel at the bottleneck, or
            a number of channels that does not divide 16.
    """
    check_size("vnet", img_size, divisor=(16, 16, 16), normed_bottleneck=True)
    if in_channels < 1 or WIDTH % in_channels:
        works = ", ".join(str(n) for n in range(1, WIDTH + 1) if WIDTH % n == 0)
        raise ValueError(f"vnet: {in_channels} image channels do not divide its first {WIDTH}; "
                         f"it takes {works}.")
    network = VNet(spatial_dims=3, in_channels=in_channels, out_channels=num_classes)

    def level(module, channels, scale):
        return Level(module, channels, (scale,) * 3, head=module)

    return LevelledNetwork(
        network,
        decoder=(level("down_tr256", 256, 16), level("up_tr256", 256, 8),
                 level("up_tr128", 128, 4), level("up_tr64", 64, 2)),
        encoder=(level("in_tr", 16, 1), level("down_tr32", 32, 2),
                 level("down_tr64", 64, 4), level("down_tr128", 128, 8)),
        encoder_modules=("in_tr", "down_tr32", "down_tr64", "down_tr128", "down_tr256"))
