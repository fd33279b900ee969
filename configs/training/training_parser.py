"""The command line of the training scripts. A flag that is not given leaves no trace."""

import argparse

from ..options import option_parser
from .training import NetworkFlags, Switches, TrainingConfig

DESCRIPTIONS = {"basic": "Train a U-shaped network alone.",
                "dsd": "Train a U-shaped network with dual self-distillation."}
GROUPS_OF_DSD = ("distillation", "shape priors")


def training_parser(method: str) -> argparse.ArgumentParser:
    """The command line of train_basic.py ("basic") or train_SelfDistil_Original.py ("dsd")."""
    of_method = GROUPS_OF_DSD if method == "dsd" else ()
    return option_parser(
        Switches, TrainingConfig, NetworkFlags, description=DESCRIPTIONS[method],
        epilog="What a flag leaves out is read from the experiment's name (CT_MMWHS, MR_MMWHS, "
               "MSD_BraTS, Hippocampus; UNETR, SwinUNETR, nnUnet, VNET, ResNet50UNet; Fold3; "
               "DeepSuperOnly, DistMaps), then from the recipe of dataset and network.",
        groups=("what to train", "network", "images", "cases", "training", *of_method,
                "validation", "speed", "machine"))
