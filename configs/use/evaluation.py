"""What an evaluation is: the settings of eval.py and their command line."""

import argparse
from dataclasses import dataclass
from typing import Any

from ..options import option, option_parser, options_of, out_of_range, refuse
from ..training.words import AMP

MODES = ("validation", "testing", "training")
SAVED_MODELS = ("best", "last")
AMP_HELP = ("mixed precision of the network, which is faster on GPUs and gives slightly other "
            "logits; their sums stay in float32")
TRUST_HELP = ("import the network's code where the run folder names a network of your own, "
              "MODULE:FACTORY")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which cases of which run are scored, with which weights, and where.

    The SETTINGS block of eval.py has the defaults.
    """

    experiment: str = option(None, "run folder, as in training",
                             flags=("--experiment", "-exp"), metavar="NAME.exp")
    data: str | None = option(  # None: the folder the run was trained on
        None, "data folder, if it has moved since training", metavar="DATA")
    mode: str = option(None, "group of the run's own split", choices=MODES)
    cases: tuple[str, ...] = option(None, "only these cases, from any group; none: all of --mode",
                                    nargs="*", metavar="CASE_ID")
    saved_model: str = option(None, "which weights", choices=SAVED_MODELS)
    device: str = option(None, "cuda:0, cpu, auto, ...")
    amp: str = option(None, AMP_HELP, choices=AMP)
    native_space: bool = option(
        None, "score on the label files' own grid instead of the resampled one")
    paper_metrics: bool = option(
        None, "distances in voxels of the resampled grid, undefined values left out: for "
        "comparison with the papers")
    tolerance_mm: float = option(None, "of surface Dice", at_least=0, metavar="MM")
    tune_postprocessing: bool = option(
        None, "learn on all validation cases whether --keep_largest and --min_volume_ml help; kept "
        "in the run folder for predict.py --postprocessing")
    include_training_cases: bool = option(None, "score cases that the run was trained on")
    save_predictions: bool = option(
        None, "write label maps to predictions/: classes on the RAS, resampled grid, or with "
        "--native_space the dataset's label values on the files' own")
    trust_network_code: bool = option(None, TRUST_HELP)
    show_verbose: bool = option(None, "progress bar")


def evaluation_parser(settings: dict[str, Any]) -> argparse.ArgumentParser:
    """The command line of eval.py; `settings` (its SETTINGS block) gives the defaults."""
    return option_parser(
        EvaluationConfig, now=settings,
        description="Score a trained run. Edit SETTINGS at the top of eval.py and run it, "
                    "or give the same settings as flags.")


def evaluation_config(settings: dict[str, Any], argv: list[str] | None = None) -> EvaluationConfig:
    """SETTINGS with the flags over them.

    Raises:
        ValueError: an edited setting has an unknown name or value.
    """
    known = options_of(EvaluationConfig)
    if set(settings) != set(known):
        raise ValueError(f"SETTINGS of eval.py: unknown {sorted(set(settings) - set(known))}, "
                         f"missing {sorted(set(known) - set(settings))}.")
    values = settings | vars(evaluation_parser(settings).parse_args(argv))
    if isinstance(values["cases"], str):
        raise ValueError("SETTINGS of eval.py: cases is one string, must be a list of case ids.")
    for name, spec in known.items():
        if spec.choices is not None and values[name] not in spec.choices:
            raise ValueError(f"SETTINGS of eval.py: {name} is {values[name]!r}, "
                             f"must be one of {', '.join(spec.choices)}.")
    refuse(out_of_range(EvaluationConfig, values))
    if values["tune_postprocessing"] and (values["mode"] != "validation" or values["cases"]):
        raise ValueError("--tune_postprocessing learns on all validation cases; give --mode "
                         "validation and no --cases.")
    if values["native_space"] and values["paper_metrics"]:
        raise ValueError("--paper_metrics are voxels of the resampled grid, --native_space is the "
                         "files' own in mm; choose one.")
    return EvaluationConfig(**values | {"cases": tuple(values["cases"] or ())})
