"""The scripts that have a command line of flags, and which of them knows a flag."""

import argparse
from collections.abc import Callable

from .options import options_of
from .pretraining.pretraining_parser import pretraining_parser
from .study.cross_validation import cross_validation_parser
from .study.study_parser import study_parser
from .training.training_parser import training_parser
from .use.evaluation import EvaluationConfig, evaluation_parser
from .use.export import export_parser
from .use.prediction import prediction_parser

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "train_basic.py": lambda: training_parser("basic"),
    "train_SelfDistil_Original.py": lambda: training_parser("dsd"),
    "eval.py": lambda: evaluation_parser(dict.fromkeys(options_of(EvaluationConfig))),
    "predict.py": prediction_parser,
    "pretrain_DeSD.py": pretraining_parser,
    "cross_validate.py": cross_validation_parser,
    "run_study.py": study_parser,
    "scripts/export_model.py": export_parser,
}


def scripts_with(flag: str) -> list[str]:
    """The scripts that know a flag such as "--alpha"."""
    return [script for script, parser in PARSERS.items()
            if flag in parser()._option_string_actions]
