"""The papers' hyper-parameters, number by number, and the registries that must agree."""

import pytest

import data
import losses
import managers.desd.optimizers
import managers.schedules
import managers.segmentation.training_recipe
import networks.registry
from configs import DATASETS, NETWORKS, RECIPES, PretrainingConfig, recipe_of
from configs.options import options_of
from configs.recipes import INTENSITIES, RESNET_UNETS
from configs.training.training import NetworkFlags, TrainingConfig

WIDE, NARROW = (32, 64, 128, 256, 320), (16, 32, 64, 128, 256)


def test_every_registry_has_the_same_datasets():
    assert set(DATASETS) == set(data.DATASETS) == set(RECIPES)
    assert len(DATASETS) == len(set(DATASETS))


def test_every_intensity_scheme_is_known_to_the_data():
    assert set(INTENSITIES) == set(data.INTENSITIES)


@pytest.mark.parametrize(("name", "known"), [
    ("distil", losses.DISTIL), ("side_weights", losses.SIDE_WEIGHTS),
    ("teacher", losses.TEACHERS), ("kl_where", losses.WHERE),
    ("upsampling", networks.UPSAMPLINGS), ("encoder_heads", networks.registry.ENCODER_HEADS),
    ("lr_schedule", managers.schedules.LR_SCHEDULES),
    ("optimizer", managers.segmentation.training_recipe.OPTIMIZERS)])
def test_the_flags_offer_what_the_rooms_know(name, known):
    assert options_of(TrainingConfig)[name].choices == tuple(known)


def test_the_flags_of_pre_training_offer_what_the_rooms_know():
    choices = {name: spec.choices for name, spec in options_of(PretrainingConfig).items()}
    assert choices["arch"] == tuple(networks.ARCHS)
    assert set(choices["optimizer"]) == set(managers.desd.optimizers.OPTIMIZERS)


def test_every_registry_has_the_same_networks():
    assert set(NETWORKS) == set(networks.NETWORKS)


def test_every_pair_has_a_recipe():
    pairs = {(dataset, network) for dataset in RECIPES for network in RECIPES[dataset]}
    assert pairs == {(dataset, network) for dataset in DATASETS for network in NETWORKS}


def test_a_dataset_knows_its_own_name():
    assert {name: dataset.name for name, dataset in data.DATASETS.items()} == {
        name: name for name in DATASETS}


STEP, CONSTANT = (1e-3, "step"), (1e-4, "constant")


@pytest.mark.parametrize(("dataset", "network", "epochs", "side", "options", "rate"), [
    ("mmwhs-ct", "unetr", 600, 96, {"feature_size": 32}, STEP),
    ("mmwhs-mr", "unetr", 600, 96, {"feature_size": 32}, STEP),
    ("mmwhs-ct", "swinunetr", 600, 96, {"feature_size": 36}, STEP),
    ("mmwhs-ct", "nnunet", 600, 96, {"filters": WIDE}, STEP),
    ("mmwhs-mr", "nnunet", 600, 96, {"filters": WIDE}, STEP),
    ("mmwhs-ct", "vnet", 300, 96, {}, STEP),
    ("msd-brats", "unetr", 325, 128, {"feature_size": 16}, CONSTANT),
    ("msd-brats", "swinunetr", 325, 128, {"feature_size": 12}, CONSTANT),
    ("msd-brats", "nnunet", 300, 128, {"filters": NARROW}, STEP),
    ("msd-brats", "vnet", 300, 128, {}, STEP),
    ("hippocampus", "unetr", 100, 32, {"feature_size": 16}, STEP),
    ("hippocampus", "swinunetr", 100, 64, {"feature_size": 12}, STEP),
    ("hippocampus", "nnunet", 100, 32, {"filters": NARROW}, STEP),
    ("hippocampus", "vnet", 100, 32, {}, STEP),
])
def test_recipes_are_the_published_ones(dataset, network, epochs, side, options, rate):
    recipe = RECIPES[dataset][network]
    assert (recipe.epochs, recipe.img_size) == (epochs, (side,) * 3)
    assert recipe.network_options == options
    assert (recipe.lr, recipe.lr_schedule) == rate
    assert recipe.weight_decay == 1e-5


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_recipe_speaks_of_its_own_network_only(dataset, network):
    recipe = RECIPES[dataset][network]
    known = options_of(NetworkFlags)
    assert all(network in known[name].networks for name in recipe.network_options)
    assert recipe.lr_schedule in options_of(TrainingConfig)["lr_schedule"].choices


@pytest.mark.parametrize(("dataset", "epochs", "img_size"), [
    ("mmwhs-ct", 600, (96, 96, 96)), ("mmwhs-mr", 600, (96, 96, 96)),
    ("msd-brats", 300, (128, 128, 128)), ("hippocampus", 100, (64, 64, 48)),
    ("dataset.json", 600, (192, 192, 64))])
def test_networks_on_desds_encoder_share_a_recipe(dataset, epochs, img_size):
    first, *others = [recipe_of(dataset, name) for name in RESNET_UNETS]
    assert (first.epochs, first.img_size, first.network_options) == (epochs, img_size, {})
    assert (first.lr, first.weight_decay, first.lr_schedule) == (2e-4, 1e-4, "poly")
    assert others == [first] * 6
    # Sizes that the network can take: 32, 32 and 16 times the bottleneck, which is no single voxel.
    assert [size % step for size, step in zip(img_size, (32, 32, 16), strict=True)] == [0, 0, 0]
    assert img_size != (32, 32, 16)


def test_what_has_no_recipe_is_trained_as_the_nearest_that_has_one():
    assert recipe_of("dataset.json", "nnunet") == RECIPES["mmwhs-ct"]["nnunet"]
    own = recipe_of("msd-brats", "my.nets:small")
    assert (own.epochs, own.img_size, own.network_options) == (300, (128, 128, 128), {})


@pytest.mark.parametrize(("dataset", "num_classes", "num_crops", "spacing_mm"), [
    ("mmwhs-ct", 8, 2, (1.5, 1.5, 2.0)), ("mmwhs-mr", 8, 2, (1.5, 1.5, 2.0)),
    ("msd-brats", 4, 2, None), ("hippocampus", 3, 8, None)])
def test_datasets_are_as_published(dataset, num_classes, num_crops, spacing_mm):
    one = data.DATASETS[dataset]
    assert (one.num_classes, len(one.channels)) == (num_classes, 4 if dataset == "msd-brats" else 1)
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
    ("msd-brats", 0.5, 0.1, 1.0, 1.0, 0.0), ("hippocampus", 0.5, 0.1, 1.0, 1.0, 0.1)])
def test_augmentation_is_as_published(dataset, flip, rotate, shift, positive, negative):
    how = data.DATASETS[dataset].augmentation
    assert (how.flip_prob, how.rotate_prob, how.shift_prob) == (flip, rotate, shift)
    assert (how.positive, how.negative) == (positive, negative)
