"""What an experiment's name says, so that the published commands run as they stand."""

import re
from dataclasses import dataclass

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
}
FOLD_TOKEN = r"fold[_-]?(\d{1,9})"


@dataclass(frozen=True)
class NameHints:
    """What a name says: nothing, one thing, or several that contradict each other."""

    dataset: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    fold: tuple[int, ...] = ()


def read_experiment_name(name: str) -> NameHints:
    """Read dataset, network and fold from a name such as CT_MMWHS_UNETR_SelfDist_Fold3.exp."""
    text = name.lower().removesuffix(".exp")
    return NameHints(
        dataset=tuple(key for key, token in DATASET_TOKENS.items() if re.search(token, text)),
        network=tuple(key for key, token in NETWORK_TOKENS.items() if re.search(token, text)),
        fold=tuple(sorted({int(number) for number in re.findall(FOLD_TOKEN, text)})),
    )
