"""The papers' hyper-parameters, number by number, and the registries that must agree."""

import pytest

import data
import networks
from configs import DATASETS, NETWORKS, RECIPES
from configs.training import OPTION_NETWORK
from configs.training_parser import LR_SCHEDULES

WIDE, NARROW = (32, 64, 128, 256, 320), (16, 32, 64, 128, 256)


def test_every_registry_has_the_same_datasets():
    assert set(DATASETS) == set(data.DATASETS) == set(RECIPES)
    assert len(DATASETS) == len(set(DATASETS))


def test_every_registry_has_the_same_networks():
    assert set(NETWORKS) == set(networks.NETWORKS)


def test_every_pair_has_a_recipe():
    pairs = {(dataset, network) for dataset in RECIPES for network in RECIPES[dataset]}
    assert pairs == {(dataset, network) for dataset in DATASETS for network in NETWORKS}


def test_a_dataset_knows_its_own_name():
    assert {name: dataset.name for name, dataset in data.DATASETS.items()} == {
        name: name for name in DATASETS}


@pytest.mark.parametrize(("dataset", "network", "epochs", "side", "options"), [
    ("mmwhs-ct", "unetr", 600, 96, {"feature_size": 32}),
    ("mmwhs-mr", "unetr", 600, 96, {"feature_size": 32}),
    ("mmwhs-ct", "nnunet", 600, 96, {"filters": WIDE}),
    ("mmwhs-mr", "nnunet", 600, 96, {"filters": WIDE}),
    ("hippocampus", "unetr", 100, 32, {"feature_size": 16}),
    ("hippocampus", "nnunet", 100, 32, {"filters": NARROW}),
])
def test_recipes_are_the_published_ones(dataset, network, epochs, side, options):
    recipe = RECIPES[dataset][network]
    assert (recipe.epochs, recipe.img_size) == (epochs, (side,) * 3)
    assert recipe.network_options == options
    assert (recipe.lr, recipe.weight_decay, recipe.lr_schedule) == (1e-3, 1e-5, "step")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_recipe_speaks_of_its_own_network_only(dataset, network):
    recipe = RECIPES[dataset][network]
    assert {OPTION_NETWORK[name] for name in recipe.network_options} == {network}
    assert recipe.lr_schedule in LR_SCHEDULES


@pytest.mark.parametrize(("dataset", "num_classes", "num_crops", "spacing_mm"), [
    ("mmwhs-ct", 8, 2, (1.5, 1.5, 2.0)), ("mmwhs-mr", 8, 2, (1.5, 1.5, 2.0)),
    ("hippocampus", 3, 8, None)])
def test_datasets_are_as_published(dataset, num_classes, num_crops, spacing_mm):
    one = data.DATASETS[dataset]
    assert (one.num_classes, len(one.channels)) == (num_classes, 1)
    assert set(one.label_values.values()) == set(range(num_classes))
    assert (one.augmentation.num_crops, one.spacing_mm) == (num_crops, spacing_mm)


def test_heart_labels_become_the_published_classes():
    names = data.DATASETS["mmwhs-ct"].class_names
    values = data.DATASETS["mmwhs-ct"].label_values
    assert {value: names[index] for value, index in values.items()} == {
        0: "background", 205: "myocardium", 420: "left atrium", 500: "left ventricle",
        550: "right atrium", 600: "right ventricle", 820: "ascending aorta",
        850: "pulmonary artery", 421: "background"}


@pytest.mark.parametrize(("dataset", "flip", "rotate", "shift", "positive", "negative"), [
    ("mmwhs-ct", 0.1, 0.1, 0.5, 1.0, 0.0), ("mmwhs-mr", 0.1, 0.1, 0.5, 1.0, 0.0),
    ("hippocampus", 0.5, 0.1, 1.0, 1.0, 0.1)])
def test_augmentation_is_as_published(dataset, flip, rotate, shift, positive, negative):
    how = data.DATASETS[dataset].augmentation
    assert (how.flip_prob, how.rotate_prob, how.shift_prob) == (flip, rotate, shift)
    assert (how.positive, how.negative) == (positive, negative)
