"""What an experiment's name says: the published commands give some settings only there."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from .recipes import RESNET_UNETS

DATASET_TOKENS = {
    "mmwhs-ct": r"ct[_-]?mm[_-]?whs|mm[_-]?whs[_-]?ct",
    "mmwhs-mr": r"(?<!multimodal)mr[_-]?mm[_-]?whs|mm[_-]?whs[_-]?mr",
    "msd-brats": r"msd[_-]?brats|brats",
    "hippocampus": r"hippocampus",
}
NETWORK_TOKENS = {
    "swinunetr": r"swin[_-]?unetr",
    "unetr": r"(?<!swin)(?<!swin[_-])(?<!nn)(?<!nn[_-])unetr",
    "nnunet": r"nn[_-]?unet(?!r)",
    "vnet": r"(?<![a-z])v[_-]?net",
    **{name: rf"resnet[_-]?{depth}[_-]?unet(?!r)" for name, depth in RESNET_UNETS.items()},
}
# The methods, and the settings of the DSD script that make the papers' variants of it.
METHOD_TOKENS = {"basic": r"(?<![a-z])basic(?![a-z])",
                 "dsd": r"self[_-]?dist|(?<![a-z])dsd(?![a-z])"}
VARIANT_TOKENS = {
    r"deep[_-]?super": {"distil": "none"},
    r"dist[_-]?maps?(?![a-z])|shape[_-]?priors?": {"shape_priors": True},
}
FOLD_TOKEN = r"fold[_-]?(\d{1,9})"


UNFIT = ("Cc", "Zl", "Zp")  # control characters, ends of lines and paragraphs


def folder_of_name(name: str, ending: str) -> Path:
    """The folder of a name: below experiments/ unless the name is a path, with this ending.

    Args:
        ending: such as ".exp"; added if the name lacks it.

    Raises:
        ValueError: the name has control characters.
    """
    refuse_control_characters("--experiment", name)
    path = Path(name)
    if path.suffix != ending:
        path = path.with_name(f"{path.name}{ending}")
    if path.parent == Path("."):
        return Path("experiments") / path
    return path


def refuse_control_characters(what: str, text: str) -> None:
    """Refuse a text that would begin a new line in a job script, a log or a terminal.

    Args:
        what: the text is: a flag.

    Raises:
        ValueError: names the character.
    """
    for character in text:
        if unicodedata.category(character) in UNFIT:
            raise ValueError(f"{what} {ascii(text)}: has the control character "
                             f"{ascii(character)}; leave it out.")


@dataclass(frozen=True)
class NameHints:
    """What a name says: nothing, one thing, or several that contradict each other."""

    dataset: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    fold: tuple[int, ...] = ()
    method: tuple[str, ...] = ()
    variants: tuple[tuple[str, object], ...] = ()  # settings of the DSD script


def read_experiment_name(name: str) -> NameHints:
    """Read a name such as CT_MMWHS_UNETR_SelfDist_Original_Fold3.exp.

    Besides dataset, network and fold it says the method (Basic, SelfDist) and the variant:
    DeepSuperOnly is deep supervision without distillation, DistMaps adds the shape priors.
    """
    text = name.lower().removesuffix(".exp")

    def found(tokens):
        return tuple(key for key, token in tokens.items() if re.search(token, text))

    variants = {}
    for token, settings in VARIANT_TOKENS.items():
        if re.search(token, text):
            variants |= settings
    return NameHints(
        dataset=found(DATASET_TOKENS), network=found(NETWORK_TOKENS),
        fold=tuple(sorted({int(number) for number in re.findall(FOLD_TOKEN, text)})),
        method=found(METHOD_TOKENS), variants=tuple(variants.items()))
