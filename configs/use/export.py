"""What an export is: the settings of scripts/export_model.py, read from its command line."""

import argparse
from dataclasses import dataclass

from .evaluation import SAVED_MODELS, TRUST_HELP

FORMATS = ("bundle", "onnx", "safetensors")
ENDINGS = {"onnx": ".onnx", "safetensors": ".safetensors"}  # of a file; a bundle is a folder


@dataclass(frozen=True)
class ExportConfig:
    """Which network is written where, and how."""

    experiment: str
    format: str
    output: str
    saved_model: str
    with_side_heads: bool
    overwrite: bool
    trust_network_code: bool


def export_parser() -> argparse.ArgumentParser:
    """The command line of scripts/export_model.py."""
    parser = argparse.ArgumentParser(
        description="Write a trained network for use without this project: as a MONAI bundle, in "
                    "ONNX, or its weights in safetensors.",
        allow_abbrev=False)
    parser.add_argument("--experiment", "-exp", required=True, metavar="NAME.exp",
                        help="run folder, as in training")
    parser.add_argument("--format", required=True, choices=FORMATS,
                        help="bundle: a folder with the whole way from images to label maps; onnx: "
                             "the network on one window; safetensors: the weights")
    parser.add_argument("--output", "-o", required=True, metavar="PATH",
                        help="the bundle's folder, or a file that ends in .onnx or .safetensors")
    parser.add_argument("--saved_model", choices=SAVED_MODELS, default="best",
                        help="which weights (default best)")
    parser.add_argument("--with_side_heads", action="store_true",
                        help="keep the heads of self-distillation; safetensors only")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument("--trust_network_code", action="store_true", help=TRUST_HELP)
    return parser


def export_config(argv: list[str] | None = None) -> ExportConfig:
    """Read the command line.

    Raises:
        ValueError: every setting that cannot be, in one message.
    """
    config = ExportConfig(**vars(export_parser().parse_args(argv)))
    ending, problems = ENDINGS.get(config.format), []
    if ending is not None and not config.output.endswith(ending):
        problems.append(f"  --output {config.output}: must end in {ending}.")
    if config.with_side_heads and config.format != "safetensors":
        problems.append(f"  --with_side_heads: --format {config.format} has the logits alone, "
                        f"which need no side head; leave it out, or give --format safetensors.")
    if problems:
        raise ValueError("\n".join(["These settings cannot be used:", *problems]))
    return config
