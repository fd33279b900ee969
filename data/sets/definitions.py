"""The dataset of a run: one of the published sets or one's own, with the run's own settings."""

import re
from dataclasses import replace
from functools import partial
from typing import Any

from .augmentations import AUGMENTATIONS, Augmentation
from .cases import Layout, Listed
from .datasets import DATASETS, Dataset
from .splits import folds_with_test_set


def dataset_of(config: Any) -> Dataset:
    """The dataset that a run's settings speak of.

    Args:
        config: a TrainingConfig, or anything with its dataset, dataset_definition, intensity,
            window, spacing_mm, num_crops and augmentation (a key of AUGMENTATIONS); None in the
            four before the last keeps the dataset's own.

    Raises:
        ValueError: a window for an intensity scheme that has none.
    """
    dataset = (DATASETS[config.dataset] if config.dataset_definition is None
               else dataset_from_definition(config.dataset_definition))
    dataset = replace(dataset, intensity=config.intensity or dataset.intensity)
    if config.spacing_mm is not None:
        dataset = replace(dataset, spacing_mm=tuple(config.spacing_mm))
    how = AUGMENTATIONS[config.augmentation](dataset.augmentation, dataset.symmetric)
    if config.num_crops is not None:
        how = replace(how, num_crops=config.num_crops)
    dataset = replace(dataset, augmentation=how)
    if config.window is None:
        return dataset
    if dataset.intensity != "ct":
        raise ValueError(f"--window {' '.join(map(str, config.window))}: the intensity scheme is "
                         f"{dataset.intensity}, which has no window; give --intensity ct.")
    return replace(dataset, window=tuple(config.window))


def dataset_from_definition(definition: dict[str, Any]) -> Dataset:
    """A dataset of one's own, from what configs.dataset_json.read_dataset_json gives.

    Classes are numbered in the order of their label values. Intensities are treated as "ct" where
    every channel says CT, otherwise as "zscore". The voxels keep their size. Crops are made as
    for msd-brats. A fifth of the cases, at least one, is held out for the test, and 15 % of the
    rest validate.
    """
    labels = {int(value): name for value, name in definition["labels"].items()}
    listed = definition["cases"]
    return Dataset(
        name=definition["name"],
        channels=tuple(definition["channels"]),
        class_names=tuple(labels[value] for value in sorted(labels)),
        label_values={value: index for index, value in enumerate(sorted(labels))},
        layouts=(Layout("imagesTr", "labelsTr"),),
        intensity="ct" if all(map(_says_ct, definition["channels"])) else "zscore",
        padding_mode="edge",
        symmetric=definition.get("symmetric", False),
        augmentation=Augmentation(num_crops=2, flip_prob=0.5, shift_prob=1.0),
        split=partial(folds_with_test_set, default_testing=None, published_validation=None),
        listed=None if listed is None else tuple(map(_listed, listed)),
        numbered=definition.get("numbered", False),
        num_training=definition.get("num_training"))


def _listed(case: dict[str, Any]) -> Listed:
    images = case["image"]
    if isinstance(images, str):
        images = [images]
    return Listed(case["case_id"], tuple(images), case["label"])


def _says_ct(channel: str) -> bool:
    return "ct" in re.split(r"[\W_]+", channel.lower())
