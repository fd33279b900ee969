"""The command line of cross_validate.py, and where a cross-validation lies."""

import argparse
from pathlib import Path

from system.command_line import CommandLine

from ..experiment_name import folder_of_name
from .execution import EXECUTORS

METHODS = ("basic", "dsd")


def cross_validation_dir(name: str) -> Path:
    """The folder of a cross-validation; NAME and NAME.cv are the same one, see `folder_of_name`."""
    return folder_of_name(name, ".cv")


def cross_validation_parser() -> argparse.ArgumentParser:
    """The command line of cross_validate.py; what it does not know goes to the training script."""
    parser = CommandLine(
        description="Train all folds of one experiment, skip those that are finished, continue "
                    "those that were interrupted; then the table over folds and, on request, the "
                    "paired comparison with another cross-validation.",
        epilog="Every other flag goes to the training script of each fold as it stands: see "
               "train_basic.py --help and train_SelfDistil_Original.py --help.")
    parser.add_argument("data_dir", metavar="DATA", help="as in training; comes first")
    parser.add_argument("--method", choices=METHODS, required=True,
                        help="basic: train_basic.py; dsd: train_SelfDistil_Original.py")
    parser.add_argument("--dataset", metavar="D", help="as in training")
    parser.add_argument("--network", metavar="N", help="as in training")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="K",
                        help="1-based (default: 1 2 3 4 5); where the published split has no "
                             "folds, --num_folds is the highest of them unless it is given")
    parser.add_argument("--experiment", "-exp", metavar="NAME",
                        help="run folders are NAME_FoldK.exp, the tables are in NAME.cv (default: "
                             "DATASET_NETWORK_METHOD)")
    parser.add_argument("--overwrite", action="store_true",
                        help="train all these folds from the start, replacing what there is")
    parser.add_argument("--compare_with", metavar="OTHER",
                        help="another finished cross-validation of the same cases: the baseline of "
                             "the paired comparison")
    parser.add_argument("--executor", choices=EXECUTORS, default="local",
                        help="local: one fold after another, here; slurm: an array of jobs; "
                             "submitit-local: all at once, here, as submitit runs them (default "
                             "local)")
    parser.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE",
                        help="of the jobs, by submitit's names: timeout_min=2880 partition=gpu "
                             "gpus_per_node=1 cpus_per_task=8 mem_gb=64 array_parallelism=2 "
                             "'setup=[\"module load cuda\"]' ...")
    parser.add_argument("--show_verbose", action="store_true",
                        help="show what the training scripts print")
    parser.add_argument("--fold", help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    return parser
