"""nnU-Net's network with DSD's heads on its levels."""

from itertools import accumulate
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from ..losses import DISTIL
from ..networks import Level, SideOutputs

ARCHITECTURES = (PlainConvUNet, ResidualEncoderUNet)


class NetworkWithHeads(SideOutputs):
    """A network of nnU-Net's that gives side outputs while it is trained.

    Where side outputs are enabled, `forward` returns (logits, decoder's, encoder's) in training
    mode and (logits,) in evaluation mode, the logits first as from nnU-Net's own deep supervision;
    otherwise the logits alone. Side outputs are (B, K, D, H, W), or a step before it; those of a
    2D network (B, K, 1, H, W).

    The state dict is the plain network's, so that nnU-Net's checkpoints, and weights to start
    from, know nothing of the heads; those are for the trainer to keep.

    Levels are those of the published nnU-Net: the decoder's from the bottleneck to half
    resolution, the encoder's from full resolution to the one above the bottleneck; levels of one
    resolution share a head.

    Args:
        network: of ARCHITECTURES, without deep supervision of its own.
        distil: of losses.DISTIL; the encoder has heads only where it has a KL.
    """

    def __init__(self, network: nn.Module, distil: str):
        encoder = network.encoder
        strides = [(1,) * (3 - len(stride)) + tuple(stride) for stride in encoder.strides]
        scales = list(accumulate(strides, lambda a, b: tuple(x * y for x, y in
                                                             zip(a, b, strict=True))))
        read = as_volume if len(encoder.strides[0]) == 2 else None

        def level(module: str, stage: int) -> Level:
            return Level(module, encoder.output_channels[stage], scales[stage], f"level{stage}",
                         read)

        bottleneck = len(scales) - 1
        up = [level(f"decoder.stages.{i}", bottleneck - 1 - i) for i in range(bottleneck - 1)]
        down = [level(f"encoder.stages.{i}", i) for i in range(bottleneck)]
        super().__init__(network, network.decoder.num_classes,
                         [level(f"encoder.stages.{bottleneck}", bottleneck), *up],
                         down if "enc" in DISTIL[distil] else [], network.initialize)
        self.gives_side_outputs = True
        # Layers of nnU-Net's own deep supervision: in its state dict, but without a loss.
        network.decoder.seg_layers[:-1].requires_grad_(False)

    def forward(self, images: torch.Tensor) -> Any:
        """Images (B, C, D, H, W) or (B, C, H, W) to what the class says."""
        if not self.gives_side_outputs:
            return self.network(images)
        if not self.training:
            return (self.network(images),)
        outputs = self.all_outputs(images, whole=False)
        return outputs["out"], outputs["dec"], outputs.get("enc", [])

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """The plain network's."""
        return self.network.state_dict(*args, **options)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """The plain network's; the heads keep their values."""
        return self.network.load_state_dict(*args, **options)


def as_volume(values: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) to (B, C, 1, H, W); volumes stay as they are."""
    return values.unsqueeze(2) if values.ndim == 4 else values
