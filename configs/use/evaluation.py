"""What an evaluation is: the settings of eval.py and their command line."""

import argparse
from dataclasses import dataclass
from typing import Any

MODES = ("validation", "testing", "training")
SAVED_MODELS = ("best", "last")
TRUST_HELP = ("import the network's code where the run folder names a network of your own, "
              "MODULE:FACTORY")


@dataclass(frozen=True)
class EvaluationConfig:
    """Which cases of which run are scored, with which weights, and where."""

    experiment: str
    data: str | None              # None: the folder the run was trained on
    mode: str                     # which group of the run's own split
    cases: tuple[str, ...]        # only these case ids, from any group; empty: the mode's
    saved_model: str
    device: str
    native_space: bool            # on the label files' own grid, not the resampled one
    paper_metrics: bool           # the authors' convention: voxels, undefined values left out
    include_training_cases: bool
    save_predictions: bool
    trust_network_code: bool      # a factory that the run folder names may be imported
    show_verbose: bool


def evaluation_parser(settings: dict[str, Any]) -> argparse.ArgumentParser:
    """The command line of eval.py; `settings` (its SETTINGS block) gives the defaults."""
    parser = argparse.ArgumentParser(
        description="Score a trained run. Edit SETTINGS at the top of eval.py and run it, "
                    "or give the same settings as flags.",
        allow_abbrev=False, argument_default=argparse.SUPPRESS)

    def default(name):
        return f"(now: {settings[name]})".replace("%", "%%")

    parser.add_argument("--experiment", "-exp", metavar="NAME.exp",
                        help=f"run folder, as in training {default('experiment')}")
    parser.add_argument("--data", metavar="DATA",
                        help=f"data folder, if it has moved since training {default('data')}")
    parser.add_argument("--mode", choices=MODES,
                        help=f"group of the run's own split {default('mode')}")
    parser.add_argument("--cases", nargs="*", metavar="CASE_ID",
                        help=f"only these cases, from any group; none: all of --mode "
                             f"{default('cases')}")
    parser.add_argument("--saved_model", choices=SAVED_MODELS,
                        help=f"which weights {default('saved_model')}")
    parser.add_argument("--device", help=f"cuda:0, cpu, auto, ... {default('device')}")
    for name, text in (
            ("native_space", "score on the label files' own grid instead of the resampled one"),
            ("paper_metrics", "distances in voxels of the resampled grid, undefined values "
                              "left out: for comparison with the papers"),
            ("include_training_cases", "score cases that the run was trained on"),
            ("save_predictions", "write label maps to predictions/: classes on the RAS, "
                                 "resampled grid, or with --native_space the dataset's label "
                                 "values on the files' own"),
            ("trust_network_code", TRUST_HELP),
            ("show_verbose", "progress bar")):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction,
                            help=f"{text} {default(name)}")
    return parser


def evaluation_config(settings: dict[str, Any], argv: list[str] | None = None) -> EvaluationConfig:
    """SETTINGS with the flags over them.

    Raises:
        ValueError: an edited setting has an unknown name or value.
    """
    fields = EvaluationConfig.__dataclass_fields__
    if set(settings) != set(fields):
        raise ValueError(f"SETTINGS of eval.py: unknown {sorted(set(settings) - set(fields))}, "
                         f"missing {sorted(set(fields) - set(settings))}.")
    values = settings | vars(evaluation_parser(settings).parse_args(argv))
    if isinstance(values["cases"], str):
        raise ValueError("SETTINGS of eval.py: cases is one string, must be a list of case ids.")
    for name, choices in (("mode", MODES), ("saved_model", SAVED_MODELS)):
        if values[name] not in choices:
            raise ValueError(f"SETTINGS of eval.py: {name} is {values[name]!r}, "
                             f"must be one of {', '.join(choices)}.")
    if values["native_space"] and values["paper_metrics"]:
        raise ValueError("--paper_metrics are voxels of the resampled grid, --native_space is the "
                         "files' own in mm; choose one.")
    return EvaluationConfig(**values | {"cases": tuple(values["cases"] or ())})
