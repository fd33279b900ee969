"""What an export is: the settings of scripts/export_model.py, read from its command line."""

import argparse
from dataclasses import dataclass

from ..options import option, option_parser, refuse
from .evaluation import SAVED_MODELS, TRUST_HELP

ENDINGS = {"onnx": ".onnx", "safetensors": ".safetensors", "run": ".exp"}


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which network is written where, and how."""

    experiment: str = option(None, "run folder, as in training", required=True,
                             flags=("--experiment", "-exp"), metavar="NAME.exp")
    format: str = option(
        None, "bundle: a folder with the whole way from images to label maps; onnx: the network "
        "on one window; safetensors: the weights; run: a run folder to pass on, for predict.py and "
        "eval.py, with the weights in half precision", required=True,
        choices=("bundle", "onnx", "safetensors", "run"))
    output: str = option(None, "a folder for bundle and run (NAME.exp), or a file that ends in "
                         ".onnx or .safetensors",
                         required=True, flags=("--output", "-o"), metavar="PATH")
    saved_model: str = option(None, "which weights", default="best", choices=SAVED_MODELS)
    with_side_heads: bool = option(
        None, "keep the heads of self-distillation; for safetensors, since run always has them",
        default=False)
    overwrite: bool = option(None, "replace what is there", default=False)
    trust_network_code: bool = option(None, TRUST_HELP, default=False)


def export_parser() -> argparse.ArgumentParser:
    """The command line of scripts/export_model.py."""
    return option_parser(
        ExportConfig,
        description="Write a trained network for use without this project (a MONAI bundle, ONNX, "
                    "its weights in safetensors), or a run folder to pass on.")


def export_config(argv: list[str] | None = None) -> ExportConfig:
    """Read the command line.

    Raises:
        ValueError: all impossible settings, in one message.
    """
    config = ExportConfig(**vars(export_parser().parse_args(argv)))
    ending, problems = ENDINGS.get(config.format), []
    if ending is not None and not config.output.endswith(ending):
        problems.append(f"  --output {config.output}: must end in {ending}.")
    if config.with_side_heads and config.format in ("bundle", "onnx"):
        problems.append(f"  --with_side_heads: --format {config.format} has the logits alone, "
                        f"which need no side head; leave it out, or give --format safetensors.")
    refuse(problems)
    return config
