"""The command line of the training scripts."""

import argparse

from .recipes import DATASETS, NETWORKS

LR_SCHEDULES = ("step", "constant")


def training_parser(method: str) -> argparse.ArgumentParser:
    """The command line of train_basic.py ("basic") or train_SelfDistil_Original.py ("dsd")."""
    parser = argparse.ArgumentParser(
        description={"basic": "Train a U-shaped network alone.",
                     "dsd": "Train a U-shaped network with dual self-distillation."}[method],
        epilog="What a flag leaves out is read from the experiment's name (CT_MMWHS, MR_MMWHS, "
               "Hippocampus; UNETR, nnUnet; Fold3), then from the recipe of dataset and network.")
    parser.add_argument("data_dir", metavar="DATA",
                        help="folder of the dataset's image and label folders, or its parent")
    parser.add_argument("output_model", metavar="OUTPUT",
                        help="file for the weights of the last epoch (.safetensors, or any other "
                             "ending for a torch state dict); _ for none")

    what = parser.add_argument_group("what to train")
    what.add_argument("--experiment", "-exp", default=None, metavar="NAME.exp",
                      help="run folder: a name below experiments/, or a path "
                           "(default: DATASET_NETWORK_METHOD_FoldK.exp)")
    exists = what.add_mutually_exclusive_group()
    exists.add_argument("--resume", action="store_true",
                        help="continue the experiment after its last finished epoch")
    exists.add_argument("--overwrite", action="store_true",
                        help="replace an experiment of that name instead of refusing")
    what.add_argument("--dataset", choices=DATASETS, help="default: from the name")
    what.add_argument("--network", choices=NETWORKS, help="default: from the name")
    what.add_argument("--img_size", "-size", type=int, nargs=3, metavar=("X", "Y", "Z"),
                      help="training crop and sliding window, voxels (default: recipe)")
    what.add_argument("--feature_size", type=int, help="unetr: width of the first level")
    what.add_argument("--filters", type=int, nargs="+", help="nnunet: channels per level")

    split = parser.add_argument_group("cases")
    split.add_argument("--fold", type=int, help="1-based (default: from the name, then 1)")
    split.add_argument("--training_split", type=int, metavar="N",
                       help="size of the held-out group: cases per fold for MM-WHS (default 4), "
                            "test cases for Hippocampus (default 60)")
    split.add_argument("--validation_split", type=int, metavar="N",
                       help="validation cases where a test set is held out (default: the "
                            "published number, or 15 %% in a small set)")
    split.add_argument("--splits", metavar="FILE",
                       help="case ids per fold, in the structure of nnU-Net's splits_final.json; "
                            "overrides the two sizes")

    train = parser.add_argument_group("training")
    train.add_argument("--epochs", "-e", type=int, help="default: recipe")
    train.add_argument("--batch_size", "-b", type=int, default=1,
                       help="volumes per step, each giving several crops (default 1)")
    train.add_argument("--lr", type=float, help="AdamW learning rate (default: recipe)")
    train.add_argument("--weight_decay", type=float, help="AdamW weight decay (default: recipe)")
    train.add_argument("--lr_schedule", choices=LR_SCHEDULES,
                       help="step: halved every epochs//6 epochs (default: recipe)")
    if method == "dsd":
        dsd = parser.add_argument_group("distillation")
        dsd.add_argument("--alpha", type=float, default=1.0,
                         help="weight of the KL terms (default 1)")
        dsd.add_argument("--temperature", type=float, default=3.0,
                         help="of teacher and students in the KL terms (default 3)")
        dsd.add_argument("--exclude_background", action="store_true",
                         help="leave class 0 out of the KL terms")

    valid = parser.add_argument_group("validation")
    valid.add_argument("--val_every", type=int, default=1, metavar="EPOCHS",
                       help="validate every so many epochs, and after the last (default 1)")
    valid.add_argument("--overlap", type=float, default=0.25,
                       help="of sliding windows, fraction (default 0.25)")
    valid.add_argument("--window_batch", type=int, default=4,
                       help="sliding windows per forward pass (default 4)")

    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", default=None,
                         help="cuda:0, cpu, ... (default: cuda:0 when there is one)")
    machine.add_argument("--use_multi_gpus", action="store_true",
                         help="spread each batch over all GPUs")
    machine.add_argument("--num_workers", type=int, default=0,
                         help="loader processes; the crops do not depend on it (default 0)")
    machine.add_argument("--seed", type=int, default=100, help="default 100, as published")
    machine.add_argument("--show_verbose", action="store_true", help="progress bars")
    return parser
