"""Read every file of a dataset once and report what is wrong with it, before anything is trained.

python scripts/verify_dataset.py DATA --dataset hippocampus --json report.json
python scripts/verify_dataset.py DATA --dataset DATA/dataset.json --splits splits.json

Errors keep the data from being used: exit status 2. Warnings should be looked at.
"""

import argparse
import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from configs.recipes import DATASETS, recipe_of  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.exit import exit_with  # noqa: E402 - needs the line above


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments; the library checks their values."""
    parser = CommandLine(description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", help="folder of the dataset, as for training")
    parser.add_argument("--dataset", required=True, metavar="D",
                        help=f"{', '.join(DATASETS)}, or a path to a dataset.json")
    parser.add_argument("--network", default="nnunet",
                        help="whose crop volumes are compared with (default nnunet)")
    parser.add_argument("--splits", metavar="FILE", help="folds in which no image may leak")
    parser.add_argument("--json", metavar="FILE", help="write the report there, too")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes at a time (default: one per core)")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    # Only now, so that --help and a mistyped flag answer at once.
    from configs.dataset_json import read_dataset_json
    from data import DATASETS, DataError
    from data.checks.verify_report import verify_dataset
    from data.sets.definitions import dataset_from_definition
    from system.files import write_json

    if args.dataset in DATASETS:
        dataset = DATASETS[args.dataset]
    elif args.dataset.endswith(".json"):
        dataset = dataset_from_definition(read_dataset_json(args.dataset))
    else:
        raise ValueError(f"--dataset {args.dataset}: must be one of {', '.join(DATASETS)}, or a "
                         f"path to a dataset.json.")
    report = verify_dataset(args.data, dataset, recipe_of(args.dataset, args.network).img_size,
                            args.splits, args.workers)
    print(report.text)
    if args.json is not None:
        write_json(args.json, report.to_dict())
    if report.errors:
        raise DataError(f"{len(report.errors)} error(s): {args.data} cannot be used as it is.")


if __name__ == "__main__":
    exit_with(main)
