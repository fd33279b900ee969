"""Values on the training command line that are more than a number or a choice."""

import argparse
import json
import re
from typing import Any

from ..recipes import DATASETS, NETWORKS, RESNET_UNETS

AMP = ("off", "bf16", "fp16")
_DEPTHS = ",".join(map(str, RESNET_UNETS.values()))
_STOCK = ",".join(name for name in NETWORKS if name not in RESNET_UNETS)
DATASET_WORDS = "{" + ",".join(DATASETS) + ",FILE.json}"
NETWORK_WORDS = f"{{{_STOCK},resnet{{{_DEPTHS}}}-unet,PACKAGE.MODULE:FACTORY}}"


def dataset_word(text: str) -> str:
    """A name of DATASETS, or the path of a dataset.json."""
    if text not in DATASETS and not text.endswith(".json"):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from "
                                         f"{', '.join(DATASETS)}, or a path to a dataset.json)")
    return text


def network_word(text: str) -> str:
    """A name of NETWORKS, or package.module:factory."""
    if text not in NETWORKS and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from "
                                         f"{', '.join(NETWORKS)}, or package.module:factory)")
    return text


def step(text: str) -> int | tuple[int, ...]:
    """3 -> 3, and 1,3,3 -> (1, 3, 3)."""
    parts = text.split(",")
    if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: must be one number, or three as in 1,2,2")
    if len(parts) == 1:
        return int(text)
    return tuple(map(int, parts))


def named_value(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is not JSON is text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r}: must be NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
