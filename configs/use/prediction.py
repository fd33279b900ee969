"""What a prediction is: the settings of predict.py, read from its command line."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from system.files import read_json

from ..options import option, option_parser, out_of_range, refuse
from ..study.cross_validation import cross_validation_dir
from ..training.words import AMP
from .evaluation import AMP_HELP, SAVED_MODELS, TRUST_HELP
from .run_folder import experiment_dir, kind_of_folder

PATIENT_AXES = ("R", "A", "S")  # left-right, back-front, foot-head: the array axes 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """Which networks segment which volumes, and what is written where."""

    experiments: tuple[str, ...] = option(
        None, "run folders, as in training; several, or the NAME.cv of a cross-validation, are "
        "averaged", required=True, flags=("--experiment", "-exp"), metavar="NAME.exp")
    inputs: tuple[str, ...] = option(
        None, "NIfTI files, folders of them, or .txt files with a path per line", required=True,
        flags=("--input", "-i"), metavar="PATH")
    output: str = option(None, "folder for the label maps, CASE_ID.nii.gz, and prediction.json",
                         required=True, flags=("--output", "-o"), metavar="FOLDER")
    labels: str | None = option(
        None, "labels of the inputs, paired by case id: scores the label maps on the files' own "
        "grid, in mm", default=None, metavar="FOLDER")
    saved_model: str = option(None, "which weights", default="best", choices=SAVED_MODELS)
    device: str = option(None, "cuda:0, cpu, ...", default="auto",
                         unless_given="cuda:0 when there is one")
    amp: str = option(None, AMP_HELP, default="off", choices=AMP)
    tta_axes: tuple[str, ...] = option(
        None, "average over flips of these axes of the patient: left-right, back-front, "
        "foot-head", default=(), choices=PATIENT_AXES, unless_given="none")
    overlap: float | None = option(
        None, "of neighbouring sliding windows, as a fraction", default=None, at_least=0, below=1,
        unless_given="that of the run")
    window_batch: int | None = option(
        None, "sliding windows per forward pass; a CPU takes one", default=None, at_least=1,
        unless_given="that of the run")
    save_probabilities: bool = option(
        None, "also write CASE_ID_probabilities.nii.gz: softmax, float32, (X, Y, Z, classes)",
        default=False)
    keep_largest: tuple[str, ...] = option(
        None, "of these classes only the largest connected component stays", default=(),
        metavar="CLASS", unless_given="none")
    min_volume_ml: float | None = option(
        None, "remove connected components of any class below this volume", default=None, above=0,
        metavar="ML", unless_given="0")
    postprocessing: bool = option(
        None, "remove what eval.py --tune_postprocessing has learnt for these runs; "
        "--keep_largest and --min_volume_ml win over it", default=False)
    statistics: bool = option(
        None, "also write statistics.csv and .json: volume in ml and mean intensity of each class",
        default=False)
    preview: bool = option(None, "also write CASE_ID.png: outlines on three planes", default=False)
    overwrite: bool = option(None, "predict again what is already in the output folder",
                             default=False)
    trust_network_code: bool = option(None, TRUST_HELP, default=False)
    show_verbose: bool = option(None, "progress bars", default=False)


def prediction_parser() -> argparse.ArgumentParser:
    """The command line of predict.py."""
    return option_parser(
        PredictionConfig,
        description="Segment new volumes with one or more trained runs. Label maps are written "
                    "on each input's own grid, with the label values of the dataset.")


def prediction_config(argv: list[str] | None = None) -> PredictionConfig:
    """Read the command line; a NAME.cv becomes the experiments of its folds.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    values = vars(prediction_parser().parse_args(argv))
    problems = out_of_range(PredictionConfig, values)
    kind = kind_of_folder(values["output"])
    if kind is not None:
        problems.append(f"  --output {values['output']}: is {kind}, whose scores would be "
                        f"overwritten; give a folder of its own.")
    experiments: list[str] = []
    for name in values["experiments"]:
        try:
            if Path(name).suffix == ".cv":
                experiments += _folds_of(name)
            else:
                experiments.append(name)
        except ValueError as error:
            problems.append(f"  --experiment {name}: {error}")
    folders = [experiment_dir(name) for name in experiments]
    twice = sorted({str(folder) for folder in folders if folders.count(folder) > 1})
    if twice:
        problems.append(f"  --experiment: {', '.join(twice)} given more than once.")
    refuse(problems)
    asked = values.get("tta_axes", ())
    values["experiments"] = tuple(experiments)
    values["tta_axes"] = tuple(axis for axis in PATIENT_AXES if axis in asked)
    return PredictionConfig(**values)


def _folds_of(cross_validation: str) -> list[str]:
    """The experiments of a finished cross-validation: run folders beside its own."""
    path = cross_validation_dir(cross_validation) / "cv.json"
    if not path.is_file():
        there = sorted(each.parent.name for each in path.parent.parent.glob("*.cv/cv.json"))
        raise ValueError(f"{path.parent}: no cross-validation here. Beside it: "
                         f"{', '.join(there) or 'none'}.")
    record = read_json(path)
    names = None
    if isinstance(record, dict):
        names = record.get("experiments")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{path} lists no experiments.")
    if not record.get("complete", True):
        raise ValueError(f"{path.parent} is not finished. Run cross_validate.py again, or give the "
                         f"experiments one by one.")
    return [str(path.parent.with_name(Path(name).name)) for name in names]
