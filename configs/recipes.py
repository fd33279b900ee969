"""The papers' hyper-parameters as data: one recipe per dataset and network.

Source: the two DSD papers and the authors' training scripts. MM-WHS: AdamW 1e-3, weight decay
1e-5, learning rate halved six times, 96^3 crops, 600 epochs. Hippocampus has no published
training script; its recipe is this project's choice.
"""

from dataclasses import dataclass, field
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


_WIDE = {"filters": (32, 64, 128, 256, 320)}
_NARROW = {"filters": (16, 32, 64, 128, 256)}

RECIPES: dict[str, dict[str, Recipe]] = {
    "mmwhs-ct": {
        "unetr": Recipe(600, (96, 96, 96), {"feature_size": 32}),
        "nnunet": Recipe(600, (96, 96, 96), _WIDE),
    },
    "mmwhs-mr": {
        "unetr": Recipe(600, (96, 96, 96), {"feature_size": 32}),
        "nnunet": Recipe(600, (96, 96, 96), _WIDE),
    },
    "hippocampus": {
        "unetr": Recipe(100, (32, 32, 32), {"feature_size": 16}),
        "nnunet": Recipe(100, (32, 32, 32), _NARROW),
    },
}

DATASETS = tuple(RECIPES)
NETWORKS = tuple(dict.fromkeys(network for recipes in RECIPES.values() for network in recipes))
