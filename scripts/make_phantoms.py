"""Write synthetic cases in the layout of a real data set, to try the whole pipeline at once."""

import argparse
import shlex
import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.phantoms import MIN_SIZE, PHANTOMS, make_phantoms  # noqa: E402 - needs the line above


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments; the library checks their values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, choices=list(PHANTOMS))
    parser.add_argument("--output", required=True, help="folder to write; it is then a valid DATA")
    parser.add_argument("--cases", required=True, type=int, help="how many cases, at least 1")
    parser.add_argument(
        "--size", type=int, nargs=3, metavar=("X", "Y", "Z"),
        help=f"voxels per axis, each at least {MIN_SIZE}; default: the real set's size",
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same cases (default 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace phantoms written there before"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 0 written, 1 a failure while writing, 2 wrong arguments."""
    arguments = parse(argv)
    try:
        ids = make_phantoms(
            arguments.dataset, arguments.output, arguments.cases, arguments.size,
            arguments.seed, arguments.overwrite,
        )
    except ValueError as error:
        print(f"make_phantoms.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"make_phantoms.py: cannot write to {arguments.output}: {error}", file=sys.stderr)
        return 1
    span = f"{ids[0]} .. {ids[-1]}"
    print(f"Wrote {len(ids)} {arguments.dataset} cases to {arguments.output}: {span}")
    print("Train on them, for example:")
    print(
        f"  python train_SelfDistil_Original.py {shlex.quote(arguments.output)} _"
        f" --dataset {arguments.dataset} --network nnunet --img_size 32 32 32 --epochs 2"
        " --device cpu --show_verbose"
        + (" --fold 1" if arguments.dataset.startswith("mmwhs") else "")
        + f" --training_split {max(1, len(ids) // 5)} --experiment phantoms.exp"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
