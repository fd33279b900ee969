"""Read every file of a dataset once and report all problems, before anything is trained.

python scripts/verify_dataset.py DATA --dataset hippocampus --json report.json
python scripts/verify_dataset.py DATA --splits splits.json    (of a DATA/dataset.json)

Errors mean that the data cannot be used: exit status 2. Warnings should be looked at.
"""

import argparse
import sys
from contextlib import suppress
from dataclasses import replace
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
    parser.add_argument("--dataset", metavar="D",
                        help=f"{', '.join(DATASETS)}, or a path to a dataset.json (default "
                             f"DATA/dataset.json)")
    parser.add_argument("--network", default="nnunet",
                        help="whose crop volumes are compared with, or is planned (default "
                             "nnunet)")
    parser.add_argument("--splits", metavar="FILE", help="folds in which no image may leak")
    parser.add_argument("--json", metavar="FILE", help="write the report there, too")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes at a time (default: one per core)")
    return parser.parse_args(argv)


def main() -> None:
    args = parse()
    # Only now, so that --help and a mistyped flag answer at once.
    from configs.dataset_json import dataset_json_of, read_dataset_json
    from configs.training.own_settings import SPLIT, plan_in_words
    from configs.training.plan import make_plan
    from configs.training.training import DEFAULTS
    from data import DATASETS, DataError, measured_contents, measured_grids
    from data.checks.verify_report import verify_dataset
    from data.sets.definitions import dataset_from_definition
    from system.files import write_json

    name = args.dataset or dataset_json_of(args.data)
    plan = None
    if name in DATASETS:
        dataset, crop = DATASETS[name], recipe_of(name, args.network).img_size
    elif name is not None and name.endswith(".json"):
        definition = read_dataset_json(name)
        dataset, crop = dataset_from_definition(definition), None  # which is planned to fit
        with suppress(DataError):  # no cases, as is told below
            grids, contents = measured_grids(args.data, definition), None
            split = {one: DEFAULTS[one] for one in SPLIT} | {"splits": args.splits}
            with suppress(ValueError):  # too few cases to split, or none that can be read
                contents = measured_contents(args.data, definition, split)
            plan = make_plan(grids, args.network, recipe_of(name, args.network), {}, contents)
            dataset = replace(dataset, spacing_mm=plan.values["spacing_mm"],
                              intensity=plan.values.get("intensity", dataset.intensity),
                              window=plan.values.get("window", dataset.window))
    else:
        said = "DATA has no dataset.json" if name is None else f"--dataset {name}"
        raise ValueError(f"{said}: give --dataset as one of {', '.join(DATASETS)}, or as the path "
                         f"of a dataset.json.")
    report = verify_dataset(args.data, dataset, crop, args.splits, args.workers)
    print(report.text)
    if plan is not None:
        print(plan_in_words(plan.values | {"data_dir": args.data}, plan.reasons))
        for doubt in plan.doubts:
            print(f"warning: {doubt}")
    if args.json is not None:
        write_json(args.json, report.to_dict())
    if report.errors:
        raise DataError(f"{len(report.errors)} error(s): {args.data} cannot be used as it is.")


if __name__ == "__main__":
    exit_with(main)
