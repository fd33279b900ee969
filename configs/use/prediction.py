"""What a prediction is: the settings of predict.py, read from its command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from system.files import read_json

from ..study.cross_validation import cross_validation_dir
from .evaluation import SAVED_MODELS, TRUST_HELP
from .run_folder import experiment_dir, kind_of_folder

PATIENT_AXES = ("R", "A", "S")  # left-right, back-front, foot-head: the array axes 0, 1, 2


@dataclass(frozen=True)
class PredictionConfig:
    """Which networks segment which volumes, and what is written where."""

    experiments: tuple[str, ...]  # run folders; their logits are averaged
    inputs: tuple[str, ...]       # files, folders, or .txt files that list files
    output: str
    labels: str | None            # folder to score against
    saved_model: str
    device: str
    tta_axes: tuple[str, ...]     # of PATIENT_AXES; empty: no test-time augmentation
    overlap: float | None         # None: the runs' own
    window_batch: int | None      # None: the first run's
    save_probabilities: bool
    preview: bool
    overwrite: bool
    trust_network_code: bool      # a factory that a run folder names may be imported
    show_verbose: bool


def prediction_parser() -> argparse.ArgumentParser:
    """The command line of predict.py."""
    parser = argparse.ArgumentParser(
        description="Segment new volumes with one or more trained runs. Label maps are written "
                    "on each input's own grid, with the label values of the dataset.",
        allow_abbrev=False)
    parser.add_argument("--experiment", "-exp", nargs="+", required=True, metavar="NAME.exp",
                        help="run folders, as in training; several, or the NAME.cv of a "
                             "cross-validation, are averaged")
    parser.add_argument("--input", "-i", nargs="+", required=True, metavar="PATH",
                        help="NIfTI files, folders of them, or .txt files with a path per line")
    parser.add_argument("--output", "-o", required=True, metavar="FOLDER",
                        help="folder for the label maps, CASE_ID.nii.gz, and prediction.json")
    parser.add_argument("--labels", metavar="FOLDER",
                        help="labels of the inputs, paired by case id: scores the label maps on "
                             "the files' own grid, in mm")
    parser.add_argument("--saved_model", choices=SAVED_MODELS, default="best",
                        help="which weights (default best)")
    parser.add_argument("--device", default="auto",
                        help="cuda:0, cpu, ... (default: cuda:0 when there is one)")
    parser.add_argument("--tta_axes", nargs="+", choices=PATIENT_AXES, default=[],
                        help="average over flips of these axes of the patient: left-right, "
                             "back-front, foot-head (default: none)")
    parser.add_argument("--overlap", type=float,
                        help="of sliding windows, fraction (default: that of the run)")
    parser.add_argument("--window_batch", type=int,
                        help="sliding windows per forward pass (default: that of the run)")
    for name, text in (
            ("save_probabilities", "also write CASE_ID_probabilities.nii.gz: softmax, float32, "
                                   "(X, Y, Z, classes)"),
            ("preview", "also write CASE_ID.png: outlines on three planes"),
            ("overwrite", "predict again what is already in the output folder"),
            ("trust_network_code", TRUST_HELP),
            ("show_verbose", "progress bars")):
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser


def prediction_config(argv: list[str] | None = None) -> PredictionConfig:
    """Read the command line; a NAME.cv becomes the experiments of its folds.

    Raises:
        ValueError: every setting that cannot be, in one message.
    """
    args = prediction_parser().parse_args(argv)
    problems: list[str] = []
    if args.overlap is not None and not 0 <= args.overlap < 1:
        problems.append(f"  --overlap {args.overlap}: must be at least 0 and below 1.")
    if args.window_batch is not None and args.window_batch < 1:
        problems.append(f"  --window_batch {args.window_batch}: must be at least 1.")
    kind = kind_of_folder(args.output)
    if kind is not None:
        problems.append(f"  --output {args.output}: is {kind}, whose scores would be overwritten; "
                        f"give a folder of its own.")
    experiments: list[str] = []
    for name in args.experiment:
        try:
            experiments += _folds_of(name) if Path(name).suffix == ".cv" else [name]
        except ValueError as error:
            problems.append(f"  --experiment {name}: {error}")
    folders = [experiment_dir(name) for name in experiments]
    twice = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
    if twice:
        problems.append(f"  --experiment: {', '.join(twice)} given more than once.")
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    return PredictionConfig(
        experiments=tuple(experiments), inputs=tuple(args.input), output=args.output,
        labels=args.labels, saved_model=args.saved_model, device=args.device,
        tta_axes=tuple(axis for axis in PATIENT_AXES if axis in args.tta_axes),
        overlap=args.overlap, window_batch=args.window_batch,
        save_probabilities=args.save_probabilities, preview=args.preview,
        overwrite=args.overwrite, trust_network_code=args.trust_network_code,
        show_verbose=args.show_verbose)


def _folds_of(cross_validation: str) -> list[str]:
    """The experiments of a finished cross-validation: run folders beside its own."""
    path = cross_validation_dir(cross_validation) / "cv.json"
    if not path.is_file():
        there = sorted(each.parent.name for each in path.parent.parent.glob("*.cv/cv.json"))
        raise ValueError(f"{path.parent}: no cross-validation here. Beside it: "
                         f"{', '.join(there) or 'none'}.")
    record = read_json(path)
    names = record.get("experiments") if isinstance(record, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{path} lists no experiments.")
    if not record.get("complete", True):
        raise ValueError(f"{path.parent} is not finished. Run cross_validate.py again, or give the "
                         f"experiments one by one.")
    return [str(path.parent.with_name(Path(name).name)) for name in names]
