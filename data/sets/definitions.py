"""The dataset of a run: a published set or the user's own, with the run's settings applied."""

import re
from dataclasses import replace
from functools import partial
from typing import Any

from .augmentations import AUGMENTATIONS, Augmentation
from .cases import Layout, Listed
from .datasets import DATASETS, Dataset
from .splits import folds_with_test_set


def dataset_of(config: Any) -> Dataset:
    """The dataset that a run's settings describe.

    Args:
        config: a TrainingConfig, or anything with its dataset, dataset_definition, intensity,
            window, spacing_mm, num_crops, crop_centres and augmentation (a key of AUGMENTATIONS).
            If one of intensity, window, spacing_mm and num_crops is None, the dataset's own is
            kept.

    Raises:
        ValueError: a window for an intensity scheme that has none.
    """
    if config.dataset_definition is None:
        dataset = DATASETS[config.dataset]
    else:
        dataset = dataset_from_definition(config.dataset_definition)
    dataset = replace(dataset, intensity=config.intensity or dataset.intensity)
    if config.spacing_mm is not None:
        dataset = replace(dataset, spacing_mm=tuple(config.spacing_mm))
    how = AUGMENTATIONS[config.augmentation](dataset.augmentation, dataset.symmetric)
    how = replace(how, centres=config.crop_centres)
    if config.num_crops is not None:
        how = replace(how, num_crops=config.num_crops)
    dataset = replace(dataset, augmentation=how)
    if config.window is None:
        return dataset
    if dataset.used_window is None:
        raise ValueError(f"--window {' '.join(map(str, config.window))}: the intensity scheme is "
                         f"{dataset.intensity}, which has no window; give --intensity ct "
                         f"or hu.")
    return replace(dataset, window=tuple(config.window))


def dataset_from_definition(definition: dict[str, Any]) -> Dataset:
    """A user's own dataset, from what configs.dataset_json.read_dataset_json returns.

    Classes are numbered in the order of their label values. The intensity scheme is "ct" if the
    name of every channel says CT, otherwise "zscore". The voxels keep their size. Crops are made
    as for msd-brats. A fifth of the cases, at least one, is held out for the test, and 15 % of the
    rest are for validation.
    """
    labels = {int(value): name for value, name in definition["labels"].items()}
    intensity = "zscore"
    if all(map(_says_ct, definition["channels"])):
        intensity = "ct"
    listed = definition["cases"]
    if listed is not None:
        listed = tuple(map(_listed, listed))
    return Dataset(
        name=definition["name"],
        channels=tuple(definition["channels"]),
        class_names=tuple(labels[value] for value in sorted(labels)),
        label_values={value: index for index, value in enumerate(sorted(labels))},
        layouts=(Layout("imagesTr", "labelsTr"),),
        intensity=intensity,
        padding_mode="edge",
        symmetric=definition.get("symmetric", False),
        augmentation=Augmentation(num_crops=2, flip_prob=0.5, shift_prob=1.0),
        split=partial(folds_with_test_set, default_testing=None, published_validation=None),
        listed=listed,
        numbered=definition.get("numbered", False),
        num_training=definition.get("num_training"))


def _listed(case: dict[str, Any]) -> Listed:
    images = case["image"]
    if isinstance(images, str):
        images = [images]
    return Listed(case["case_id"], tuple(images), case["label"])


def _says_ct(channel: str) -> bool:
    return "ct" in re.split(r"[\W_]+", channel.lower())
