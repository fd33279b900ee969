"""The papers' hyper-parameters as data: one recipe per dataset and network.

Source: the two DSD papers and the authors' training scripts. There is no published training script
for Hippocampus, and of course none for a user's own dataset: those recipes are this project's
choice. The plan for a user's own data (training/plan.py) starts from them.

The recipes of the networks on DeSD's encoder are our choice, too, since its fine-tuning is not
published: AdamW, learning rate, weight decay, poly schedule and, on a user's own dataset, the crop
are those of DoDNet, TransDoDNet and MedCoSS, by the same group, for abdominal CT.
"""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """How one network is trained on one dataset, unless a flag says otherwise."""

    epochs: int
    img_size: tuple[int, int, int]
    network_options: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    weight_decay: float = 1e-5
    lr_schedule: str = "step"


RESNET_UNETS = {f"resnet{depth}-unet": depth for depth in (10, 18, 34, 50, 101, 152, 200)}


def _resnet_unets(epochs: int, img_size: tuple[int, int, int]) -> dict[str, Recipe]:
    """One recipe for all depths."""
    return dict.fromkeys(RESNET_UNETS, Recipe(epochs, img_size, lr=2e-4, weight_decay=1e-4,
                                              lr_schedule="poly"))


_WIDE = {"filters": (32, 64, 128, 256, 320)}
_NARROW = {"filters": (16, 32, 64, 128, 256)}

_MMWHS = {
    "unetr": Recipe(600, (96, 96, 96), {"feature_size": 32}),
    "swinunetr": Recipe(600, (96, 96, 96), {"feature_size": 36}),
    "nnunet": Recipe(600, (96, 96, 96), _WIDE),
    "vnet": Recipe(300, (96, 96, 96)),
    **_resnet_unets(600, (96, 96, 96)),
}
_BRATS = {
    "unetr": Recipe(325, (128, 128, 128), {"feature_size": 16}, lr=1e-4, lr_schedule="constant"),
    "swinunetr": Recipe(325, (128, 128, 128), {"feature_size": 12}, lr=1e-4,
                        lr_schedule="constant"),
    "nnunet": Recipe(300, (128, 128, 128), _NARROW),
    "vnet": Recipe(300, (128, 128, 128)),
    **_resnet_unets(300, (128, 128, 128)),
}
_HIPPOCAMPUS = {
    "unetr": Recipe(100, (32, 32, 32), {"feature_size": 16}),
    # At 32^3 its bottleneck would be a single voxel.
    "swinunetr": Recipe(100, (64, 64, 64), {"feature_size": 12}),
    "nnunet": Recipe(100, (32, 32, 32), _NARROW),
    "vnet": Recipe(100, (32, 32, 32)),
    **_resnet_unets(100, (64, 64, 48)),
}

RECIPES: dict[str, dict[str, Recipe]] = {
    "mmwhs-ct": _MMWHS,
    "mmwhs-mr": _MMWHS,
    "msd-brats": _BRATS,
    "hippocampus": _HIPPOCAMPUS,
}

OWN_RECIPES = _MMWHS | _resnet_unets(600, (192, 192, 64))
"""Recipes for a user's own dataset. If its images can be measured, a plan (training/plan.py)
replaces crop and epochs; planned crops never have more voxels than these."""

DATASETS = tuple(RECIPES)
NETWORKS = tuple(_MMWHS)
AUGMENTATIONS = ("published", "anatomical")  # of crops: data.AUGMENTATIONS
CROP_CENTRES = ("foreground", "classes")  # data.volumes.transforms.prepare_crops
INTENSITIES = ("none", "zscore", "minmax", "ct", "hu")  # how they are scaled: data.INTENSITIES
WINDOWED = ("ct", "hu")  # those that have a window


def recipe_of(dataset: str, network: str) -> Recipe:
    """The published recipe; for a user's own dataset or network the closest one.

    A dataset that is not in RECIPES is trained like MM-WHS, except for the crop of the networks on
    DeSD's encoder; an unknown network like nnU-Net on the same dataset, without its filters.
    """
    recipes = RECIPES.get(dataset, OWN_RECIPES)
    return recipes.get(network) or replace(recipes["nnunet"], network_options={})
