"""The command line of the training scripts. A flag that is not given leaves no trace."""

import argparse
import json
import re
from typing import Any

from ..recipes import AUGMENTATIONS, DATASETS, INTENSITIES, NETWORKS, RESNET_UNETS

LR_SCHEDULES = ("step", "constant", "poly")
OPTIMIZERS = ("adamw", "sgd")
BRANCHES = ("both", "decoder", "encoder", "none")
UPSAMPLINGS = ("shared", "single", "trilinear")
CACHES = ("disk", "memory", "off")
UNITS = ("mm", "voxel")
INIT_PARTS = ("network", "encoder")
AMP = ("off", "bf16", "fp16")
SIDE_WEIGHTS = ("equal", "halved")
TEACHERS = ("deepest", "main", "ensemble", "ema")
WHERE = ("everywhere", "right", "boundary")
ENCODER_HEADS = ("shared", "own")


def training_parser(method: str) -> argparse.ArgumentParser:
    """The command line of train_basic.py ("basic") or train_SelfDistil_Original.py ("dsd")."""
    parser = argparse.ArgumentParser(
        description={"basic": "Train a U-shaped network alone.",
                     "dsd": "Train a U-shaped network with dual self-distillation."}[method],
        epilog="What a flag leaves out is read from the experiment's name (CT_MMWHS, MR_MMWHS, "
               "MSD_BraTS, Hippocampus; UNETR, SwinUNETR, nnUnet, VNET, ResNet50UNet; Fold3; "
               "DeepSuperOnly, DistMaps), then from the recipe of dataset and network.",
        allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("data_dir", metavar="DATA",
                        help="folder of the dataset's image and label folders, or its parent")
    parser.add_argument("output_model", metavar="OUTPUT",
                        help="file for the weights of the last epoch (.safetensors, or any other "
                             "ending for a torch state dict); _ for none")
    _what(parser.add_argument_group("what to train"))
    _network(parser.add_argument_group("network"))
    _images(parser.add_argument_group("images"))
    _cases(parser.add_argument_group("cases"))
    _training(parser.add_argument_group("training"))
    if method == "dsd":
        _distillation(parser.add_argument_group("distillation"))
        _shape_priors(parser.add_argument_group("shape priors"))
    _validation(parser.add_argument_group("validation"))
    _speed(parser.add_argument_group("speed"))
    _machine(parser.add_argument_group("machine"))
    return parser


def _what(group):
    group.add_argument("--experiment", "-exp", metavar="NAME.exp",
                       help="run folder: a name below experiments/, or a path "
                            "(default: DATASET_NETWORK_METHOD_FoldK.exp)")
    group.add_argument("--show_settings", action="store_true",
                       help="print every setting and where it comes from, and stop")
    exists = group.add_mutually_exclusive_group()
    exists.add_argument("--resume", action="store_true",
                        help="continue the experiment where it was stopped")
    exists.add_argument("--overwrite", action="store_true",
                        help="replace an experiment of that name instead of refusing")
    group.add_argument("--dataset", type=_dataset,
                       metavar="{" + ",".join(DATASETS) + ",FILE.json}",
                       help="default: from the name; FILE.json: a dataset.json of the Medical "
                            "Segmentation Decathlon's structure")
    group.add_argument("--network", type=_network_name,
                       metavar="{" + _known_networks() + ",PACKAGE.MODULE:FACTORY}",
                       help="default: from the name; resnetN-unet: on DeSD's encoder; or a "
                            "function of one's own")
    group.add_argument("--init_from", metavar="PATH",
                       help="start from these weights: a run folder (its best.model; of "
                            "pretrain_DeSD.py its teacher), the authors' DeSD checkpoint, a .model "
                            "checkpoint or exported weights")
    part = group.add_mutually_exclusive_group()
    part.add_argument("--init_part", choices=INIT_PARTS,
                      help="which of them: all that fit, or the encoder's (default network)")
    part.add_argument("--encoder_only", dest="init_part", action="store_const", const="encoder",
                      help="the same as --init_part encoder")


def _network(group):
    group.add_argument("--img_size", "-size", type=int, nargs=3, metavar=("X", "Y", "Z"),
                       help="training crop and sliding window, voxels (default: recipe)")
    group.add_argument("--feature_size", type=int,
                       help="unetr, swinunetr: width of the first level (default: recipe)")
    group.add_argument("--filters", type=int, nargs="+",
                       help="nnunet: channels per level (default: recipe)")
    group.add_argument("--kernel_size", type=_step, nargs="+", metavar="K",
                       help="nnunet: one for all or one per level, as 3 or 1,3,3 (default 3)")
    group.add_argument("--strides", type=_step, nargs="+", metavar="S",
                       help="nnunet: one per level, as 2 or 1,2,2 (default 1 2 2 ...)")
    group.add_argument("--legacy_patch_merging", action="store_true",
                       help="swinunetr: patch merging as in the authors' code, which leaves out "
                            "two of eight sub-lattices")
    group.add_argument("--network_options", type=_option, nargs="+", metavar="NAME=VALUE",
                       help="any other option of the network's function, values as JSON")


def _images(group):
    group.add_argument("--spacing", dest="spacing_mm", type=float, nargs=3,
                       metavar=("X", "Y", "Z"),
                       help="resample to it, mm along the file's axes (default: the dataset's; "
                            "FILE.json: not resampled)")
    scheme = group.add_mutually_exclusive_group()
    scheme.add_argument("--intensity", choices=INTENSITIES,
                        help="ct: window to 0..1, then zscore; zscore: over the voxels that are "
                             "not 0; minmax: to 0..1 (default: the dataset's; FILE.json: ct or "
                             "zscore by its modality)")
    scheme.add_argument("--no_normalize", dest="intensity", action="store_const", const="none",
                        help="leave the intensities as they are; the same as --intensity none")
    group.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"),
                       help="of the intensity scheme ct, HU (default -175 250)")


def _cases(group):
    group.add_argument("--fold", type=int, help="1-based (default: from the name, then 1)")
    group.add_argument("--training_split", type=int, metavar="N",
                       help="size of the held-out group: cases per fold for MM-WHS (default 4), "
                            "test cases otherwise (default: BraTS 24, Hippocampus 60, FILE.json "
                            "20 %%; 0, with --num_folds: every case is in a fold)")
    group.add_argument("--validation_split", type=int, metavar="N",
                       help="validation cases where a test set is held out (default: the "
                            "published number, or 15 %% in a small set)")
    group.add_argument("--num_folds", type=int, metavar="N",
                       help="N folds over the cases that are not held out for the test, instead "
                            "of the published split")
    group.add_argument("--splits", metavar="FILE",
                       help="case ids per fold, in the structure of nnU-Net's splits_final.json; "
                            "overrides the sizes")


def _training(group):
    group.add_argument("--epochs", "-e", type=int, help="default: recipe")
    group.add_argument("--batch_size", "-b", type=int,
                       help="volumes per step, each giving several crops (default 1)")
    group.add_argument("--num_crops", type=int,
                       help="crops of a volume in a step (default: MM-WHS 2, BraTS 2, Hippocampus "
                            "8, FILE.json 2)")
    group.add_argument("--augmentation", choices=AUGMENTATIONS,
                       help="of crops; published: flips and quarter turns; anatomical: small "
                            "turns, scaling and contrast, flips from left to right alone and only "
                            "for the brain and the hippocampus (default published)")
    group.add_argument("--optimizer", choices=OPTIMIZERS,
                       help="sgd: with Nesterov momentum 0.99; takes an --lr such as 0.01 (default "
                            "adamw)")
    group.add_argument("--lr", type=float, help="learning rate (default: recipe, for adamw)")
    group.add_argument("--weight_decay", type=float, help="default: recipe, for adamw")
    group.add_argument("--lr_schedule", choices=LR_SCHEDULES,
                       help="step: halved every epochs//6 epochs; poly: times (1 - epoch / "
                            "epochs)^0.9 (default: recipe)")


def _distillation(group):
    group.add_argument("--distil", choices=BRANCHES,
                       help="branches with a KL term; none is deep supervision only (default both)")
    group.add_argument("--alpha", type=float, help="weight of the KL terms (default 1)")
    group.add_argument("--temperature", type=float,
                       help="of teacher and students in the KL terms (default 3)")
    group.add_argument("--exclude_background", dest="include_background", action="store_false",
                       help="leave class 0 out of the KL terms")
    group.add_argument("--detach_teacher", action="store_true",
                       help="no gradient through the teacher of a branch; the last encoder head "
                            "then learns from --supervise_encoder alone")
    group.add_argument("--supervise_encoder", action="store_true",
                       help="Dice-CE on the encoder outputs too")
    group.add_argument("--upsampling", choices=UPSAMPLINGS,
                       help="of the side heads: one 2x transposed convolution applied again and "
                            "again, a single one with kernel = stride = scale, or trilinear "
                            "without weights (default shared)")
    group.add_argument("--hint_weight", type=float,
                       help="of the L2 between pooled features of teacher and students; "
                            "published 1e-4 (default 0)")
    group.add_argument("--side_weights", choices=SIDE_WEIGHTS,
                       help="of the side outputs' Dice-CE and KL; halved: 1/2, 1/4, ... from the "
                            "largest to the smallest, which has 0, as nnU-Net (default equal)")
    group.add_argument("--teacher", choices=TEACHERS,
                       help="of the KL; deepest: the last side output of each branch; main: the "
                            "main output; ensemble: the mean of the main output and the two "
                            "decoder outputs next to it; ema: the network with averaged weights; "
                            "all but the first take no gradient, the last two teach the main "
                            "output too (default deepest, as published)")
    group.add_argument("--kl_where", choices=WHERE,
                       help="voxels of the KL; right: where the teacher has the label's class; "
                            "boundary: up to two voxels from a change of the label (default "
                            "everywhere)")
    group.add_argument("--kl_ramp", type=float, metavar="SHARE",
                       help="of the epochs, from 0 to 1, in which alpha grows from 0 to its value "
                            "(default 0)")
    group.add_argument("--encoder_heads", choices=ENCODER_HEADS,
                       help="own: no encoder output shares its head with a decoder output, as in "
                            "nnunet and vnet they do (default shared)")


def _shape_priors(group):
    group.add_argument("--shape_priors", action="store_true",
                       help="add the boundary loss on distance maps of the labels")
    group.add_argument("--distance_unit", choices=UNITS, help="of the maps (default mm)")
    group.add_argument("--beta_start", type=float,
                       help="weight of the boundary loss in the first epoch (default 1e-6)")
    group.add_argument("--beta_step", type=float,
                       help="added to it after each epoch (default 1e-3)")


def _validation(group):
    group.add_argument("--val_every", type=int, metavar="EPOCHS",
                       help="validate every so many epochs, and after the last (default 1)")
    group.add_argument("--overlap", type=float,
                       help="of sliding windows, fraction (default 0.25)")
    group.add_argument("--window_batch", type=int,
                       help="sliding windows per forward pass (default 4)")


def _speed(group):
    group.add_argument("--fast", action="store_true",
                       help="the options below that pay on the device: on a GPU --amp bf16 (fp16 "
                            "where it has none) --compile --fused --tf32; on a CPU --fused, and "
                            "--amp bf16 where it has instructions for it; --amp and the others "
                            "win over it")
    group.add_argument("--amp", choices=AMP,
                       help="mixed precision of the network in training and validation; loss, "
                            "weights, eval.py and predict.py stay in float32 (default off, as "
                            "published)")
    group.add_argument("--compile", action="store_true",
                       help="torch.compile the network for training; the first step takes a minute "
                            "or more")
    group.add_argument("--channels_last", action="store_true",
                       help="memory layout of crops and kernels")
    group.add_argument("--fused", action="store_true", help="the optimiser's step as one kernel")
    group.add_argument("--tf32", action="store_true",
                       help="TensorFloat-32 for matrix products on NVIDIA GPUs; torch uses it for "
                            "convolutions anyway")
    group.add_argument("--use_checkpoint", action="store_true",
                       help="swinunetr: compute the blocks a second time in the backward pass "
                            "instead of keeping what is inside them: less memory, same gradients")


def _machine(group):
    group.add_argument("--device", help="cuda:0, cpu, ... (default: cuda:0 when there is one)")
    group.add_argument("--use_multi_gpus", action="store_true",
                       help="share each batch among all GPUs of this machine, a process for each "
                            "(torchrun does the same, also for several machines)")
    group.add_argument("--cache", choices=CACHES,
                       help="where prepared volumes are kept, the crops are the same: on disk, for "
                            "later runs too; in memory; or off, prepared anew for each use "
                            "(default disk)")
    group.add_argument("--cache_dir", metavar="FOLDER",
                       help="of --cache disk (default: cache beside the run folder); the folder "
                            "prepared_volumes in it may be deleted at any time")
    group.add_argument("--num_workers", type=int,
                       help="loader processes; the crops do not depend on it (default 0)")
    group.add_argument("--seed", type=int, help="default 100, as published")
    group.add_argument("--deterministic", action="store_true",
                       help="the same bits for the same seed on a GPU too, where steps become "
                            "slower; on a CPU they are the same anyway")
    group.add_argument("--show_verbose", action="store_true", help="progress bars")


def _known_networks() -> str:
    """The names for --network, the depths of a ResNet in one."""
    depths = ",".join(map(str, RESNET_UNETS.values()))
    return ",".join([name for name in NETWORKS if name not in RESNET_UNETS]
                    + [f"resnet{{{depths}}}-unet"])


def _dataset(text: str) -> str:
    if text not in DATASETS and not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from "
                                         f"{', '.join(DATASETS)}, or a path to a dataset.json)")
    return text


def _network_name(text: str) -> str:
    if text not in NETWORKS and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from "
                                         f"{', '.join(NETWORKS)}, or package.module:factory)")
    return text


def _step(text: str) -> int | tuple[int, ...]:
    """3 -> 3, and 1,3,3 -> (1, 3, 3)."""
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: must be one number, or three as in 1,2,2")
    numbers = tuple(map(int, parts))
    return numbers[0] if len(numbers) == 1 else numbers


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
