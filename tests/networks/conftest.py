"""Small networks with real weights, and large ones without storage."""

import pytest
import torch

from networks import SideOutputs, build_network

TINY_SIZE = (64, 32, 32)  # the smallest that all four can train on
TINY_OPTIONS = {
    "unetr": {"feature_size": 4, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4},
    "swinunetr": {"feature_size": 12},
    "nnunet": {"filters": (4, 5, 6, 7, 8)},
    "vnet": {},
}


@pytest.fixture
def tiny():
    """tiny("unetr") -> a network for 64x32x32 images with 1 channel and 3 classes, seeded."""

    def build(name: str, self_distillation: bool = True, **options) -> SideOutputs:
        torch.manual_seed(0)
        return build_network(name, 1, 3, TINY_SIZE, self_distillation,
                             **(TINY_OPTIONS[name] | options))

    return build


@pytest.fixture(scope="session")
def on_meta():
    """on_meta(name, ...) -> a network of any size that has shapes and no storage."""
    made = {}

    def build(name: str, in_channels: int, num_classes: int, img_size: tuple[int, int, int],
              self_distillation: bool, **options) -> SideOutputs:
        key = (name, in_channels, num_classes, img_size, self_distillation, str(options))
        if key not in made:
            # MONAI's SwinUNETR asks a tensor for its value while it is built.
            with torch.device("cpu" if name == "swinunetr" else "meta"):
                network = build_network(name, in_channels, num_classes, img_size,
                                        self_distillation, **options)
            made[key] = network.to("meta")
        return made[key]

    return build


@pytest.fixture
def image():
    """One image (1, 1, 64, 32, 32)."""
    return torch.randn(1, 1, *TINY_SIZE, generator=torch.Generator().manual_seed(1))
