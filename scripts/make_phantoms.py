"""Write synthetic cases in the layout of a real data set, to try the whole pipeline at once."""

import argparse
import shlex
import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.phantoms.make import MIN_SIZE, PHANTOMS, make_phantoms  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.exit import exit_with  # noqa: E402 - needs the line above

SMALLER = "--img_size 64 64 64 --filters 8 16 32 64 128 --epochs 10"
TRAINING = {  # an experiment's name, which says dataset, network and fold, and other flags
    "mmwhs-ct": ("CT_MMWHS_nnUnet_SelfDist_Phantoms_Fold1.exp", SMALLER),
    "mmwhs-mr": ("MR_MMWHS_nnUnet_SelfDist_Phantoms_Fold1.exp", SMALLER),
    "msd-brats": ("multimodalMR_MSD_BraTS_nnUnet_SelfDist_Phantoms.exp", SMALLER),
    "hippocampus": ("Hippocampus_nnUnet_SelfDist_Phantoms.exp",
                    "--img_size 32 32 32 --epochs 5"),
}
MIN_TRAINING_CASES = 3  # one each to train, validate and test
DEEPLESION = "deeplesion"  # CT series to pre-train on, not cases with labels


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments; the library checks their values."""
    parser = CommandLine(description=__doc__)
    parser.add_argument("--dataset", required=True, choices=[*PHANTOMS, DEEPLESION])
    parser.add_argument("--output", required=True, help="folder to write; it is then a valid DATA")
    parser.add_argument("--cases", required=True, type=int, help="how many cases, at least 1")
    parser.add_argument(
        "--size", type=int, nargs=3, metavar=("X", "Y", "Z"),
        help=f"voxels per axis, each at least {MIN_SIZE}; default: the real set's size; for "
             f"{DEEPLESION} Z slices around each lesion",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same cases (default 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace phantoms written there before"
    )
    return parser.parse_args(argv)


def training_command(dataset: str, output: str, num_cases: int) -> str | None:
    """Return a command that trains on the cases, a quarter held out; None if none can."""
    if num_cases < MIN_TRAINING_CASES:
        return None
    experiment, flags = TRAINING[dataset]
    return (f"python train_SelfDistil_Original.py {shlex.quote(output)} _"
            f" --experiment {experiment} {flags} --training_split {max(1, num_cases // 4)}")


def write_deeplesion(args: argparse.Namespace) -> None:
    """Write series of PNG slices and say how to prepare them."""
    from data.phantoms.ct_series import make_deeplesion  # only now: --help imports nothing heavy

    names = make_deeplesion(args.output, args.cases, args.size, args.seed, args.overwrite)
    prepared = f"{args.output.rstrip('/')}_prepared"
    print(f"Wrote {len(names)} {DEEPLESION} series to {args.output}: {names[0]} .. {names[-1]}\n"
          f"Prepare them for pre-training:\n  python scripts/preprocess_deeplesion.py all "
          f"{shlex.quote(args.output)} {shlex.quote(prepared)}")


def main() -> None:
    args = parse()
    if args.dataset == DEEPLESION:
        return write_deeplesion(args)
    ids = make_phantoms(
        args.dataset, args.output, args.cases, args.size, args.seed, args.overwrite)
    print(f"Wrote {len(ids)} {args.dataset} cases to {args.output}: {ids[0]} .. {ids[-1]}")
    command = training_command(args.dataset, args.output, len(ids))
    if command:
        print(f"Train on them, for example:\n  {command}")


if __name__ == "__main__":
    exit_with(main)
