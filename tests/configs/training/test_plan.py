"""Plans computed by hand; a planned crop is always one that the network takes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import recipe_of
from configs.training.plan import (
    Grids,
    crops_of,
    epochs_of,
    fitted,
    initial_crop,
    make_plan,
    planned_spacing,
    resampled_median,
    target_spacing,
)
from networks import build_network

RAS, SAGITTAL = (0, 1, 2), (2, 0, 1)
SMALL = [(34, 50, 35), (35, 48, 36), (36, 51, 34)]
TINY_OPTIONS = {"unetr": {"feature_size": 4, "hidden_size": 24, "mlp_dim": 24},
                "swinunetr": {"feature_size": 12}}


def grids_of(shapes, spacings=((1.0, 1.0, 1.0),), axes=(RAS,), sheared=False):
    number = len(shapes)
    return Grids(tuple(shapes), tuple(spacings) * (number // len(spacings)),
                 tuple(axes) * (number // len(axes)), sheared)


def plan_of(grids, network="nnunet", **given):
    return make_plan(grids, network, recipe_of("dataset.json", network), given).values


def test_volumes_of_35_50_35_get_the_crop_that_nnunet_gives_hippocampus():
    """40 x 56 x 40 with three halvings; 250 views by 2 crops of the whole volume, 125 epochs."""
    assert plan_of(grids_of(SMALL)) == {
        "spacing_mm": None, "img_size": (40, 56, 40), "num_crops": 2, "epochs": 125,
        "network_options": {"filters": (32, 64, 128, 256)}}


@pytest.mark.parametrize(("network", "crop"), [
    ("unetr", (48, 64, 48)), ("swinunetr", (64, 64, 64)), ("vnet", (48, 64, 48)),
    ("resnet50-unet", (64, 64, 48)), ("my.nets:small", (48, 64, 48))])
def test_other_networks_take_multiples_of_their_own(network, crop):
    values = plan_of(grids_of(SMALL), network)
    assert values["img_size"] == crop and "network_options" not in values


def test_a_large_ct_gets_as_many_voxels_as_the_recipe_of_mmwhs():
    """512 x 512 x 300, each voxel 0.8 x 0.8 x 1.5 mm, all axes shrink alike; 600 epochs at most."""
    values = plan_of(grids_of([(512, 512, 300)], [(0.8, 0.8, 1.5)]))
    assert values["img_size"] == (112, 112, 64)  # 802,816 of 884,736
    assert (values["num_crops"], values["epochs"]) == (2, 600)
    assert values["network_options"] == {"filters": (32, 64, 128, 256, 320)}


def test_coarse_slices_are_halved_later():
    values = plan_of(grids_of([(160, 160, 20)], [(0.6, 0.6, 3.6)]))
    assert values["img_size"] == (160, 160, 20)
    assert values["network_options"]["strides"] == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2),
                                                    (2, 2, 2))
    assert values["network_options"]["kernel_size"][:2] == ((3, 3, 1), (3, 3, 1))


def test_what_is_given_stays_and_the_rest_follows():
    grids = grids_of(SMALL)
    values = plan_of(grids, img_size=(32, 32, 32), epochs=7)
    assert set(values) == {"spacing_mm", "num_crops", "network_options"}
    assert values["num_crops"] == 8  # 2 x 2 x 2 crops cover the volume, twice that is too many
    assert values["network_options"] == {"filters": (32, 64, 128, 256)}
    values = plan_of(grids, filters=(4, 8, 8), num_crops=5)  # three levels, in multiples of 4
    assert values == {"spacing_mm": None, "img_size": (36, 52, 36), "epochs": 100}
    assert plan_of(grids, strides=(1, (2, 2, 1), (2, 2, 1)))["img_size"] == (36, 52, 35)
    # Half as many voxels along each axis: 18 x 25 x 18, halved twice.
    assert plan_of(grids, spacing_mm=(2.0, 2.0, 2.0)) == {
        "img_size": (20, 28, 20), "num_crops": 2, "epochs": 125,
        "network_options": {"filters": (32, 64, 128)}}


@pytest.mark.parametrize("levels", [{"filters": 8}, {"strides": (1, 0, 2)}, {"strides": 2},
                                    {"strides": (1, "a")}, {"strides": (1, (2, 2))}])
def test_levels_that_cannot_be_are_left_to_the_network(levels):
    assert plan_of(grids_of(SMALL), **levels)["img_size"] == (48, 64, 48)


def test_every_value_has_its_reason():
    plan = make_plan(grids_of(SMALL), "nnunet", recipe_of("dataset.json", "nnunet"), {})
    assert set(plan.reasons) == set(plan.values)
    assert "median image 35 x 50 x 35 voxels of 1 x 1 x 1 mm" in plan.reasons["img_size"]


def test_spacings_that_are_nearly_alike_are_left():
    spacing, why = planned_spacing(grids_of(SMALL, [(1, 1, 1), (1.02, 1, 1), (1, 1, 0.98)]))
    assert spacing is None and "alike within 5%" in why


def test_the_median_spacing_goes_to_the_axes_of_the_files():
    """Of the patient's axes 1.0, 1.2, 2.0; the file has them as its axes 2, 0 and 1."""
    spacings = [(0.8, 1.2, 2.0), (1.0, 1.2, 2.0), (1.5, 1.2, 2.4)]
    spacing, why = planned_spacing(grids_of(SMALL, spacings, [SAGITTAL]))
    assert spacing == (1.2, 2.0, 1.0)
    assert why == "median of 3 images, whose voxels are 0.8 x 1.2 x 2 to 1.5 x 1.2 x 2.4 mm"


@pytest.mark.parametrize(("changes", "words"), [
    ({"axes": [RAS, RAS, SAGITTAL]}, "axes in different orders"),
    ({"sheared": True}, "not at right angles")])
def test_where_one_spacing_cannot_be_there_is_none(changes, words):
    spacings = [(0.8, 1.2, 2.0), (1.0, 1.2, 2.0), (1.5, 1.2, 2.4)]
    spacing, why = planned_spacing(grids_of(SMALL, spacings, **changes))
    assert spacing is None and words in why


def test_equal_numbers_suit_any_order_of_axes():
    grids = grids_of(SMALL, [(1, 1, 1), (1, 1, 1), (2, 1, 1)], [RAS, RAS, SAGITTAL])
    assert planned_spacing(grids)[0] == (1, 1, 1)


def test_a_coarse_axis_gets_the_10th_percentile():
    """Of 3, 4, 5, 6 mm the 10th is 3.3; of the others, which are 1 mm, it is the median."""
    spacings = [(1, 1, thick) for thick in (3, 4, 5, 6)]
    assert target_spacing(spacings, [(200, 200, 20)] * 4) == (1, 1, 3.3)
    spacing, why = planned_spacing(grids_of([(200, 200, 20)] * 4, spacings))
    assert spacing == (1, 1, 3.3) and why.endswith("; of the coarse axis the 10th percentile")
    # As many voxels along that axis: it is not the slices that are few.
    assert target_spacing(spacings, [(200, 200, 100)] * 4) == (1, 1, 4.5)
    # Not finer than the others.
    thin = [(1, 1, thick) for thick in (0.5, 4, 4, 4, 4)]
    assert target_spacing(thin, [(200, 200, 20)] * 5) == (1, 1, pytest.approx(1.9))
    finest = [(1, 1, thick) for thick in (0.5, 0.5, 4, 4, 4)]
    assert target_spacing(finest, [(200, 200, 20)] * 5) == (1, 1, 1)


def test_the_median_shape_is_that_of_the_resampled_images():
    grids = grids_of([(100, 80, 40), (60, 90, 30), (50, 70, 20)],
                     [(1, 1, 2), (2, 1, 2), (1, 1, 4)])
    # At 1 x 2 x 1 mm: (100, 40, 80), (120, 45, 60), (50, 35, 80).
    assert resampled_median(grids, (1, 2, 1)) == ((100, 40, 80), (1, 2, 1))
    assert resampled_median(grids, None) == ((60, 80, 30), (1, 1, 2))


def test_the_crop_begins_as_a_cube_in_mm():
    """256^3 voxels of 1 x 1 x 8 mm: 512 mm, of which the image has less along two axes."""
    assert initial_crop((400, 700, 90), (1, 1, 8)) == (400, 512, 64)


@pytest.mark.parametrize(("size", "shape", "divisor", "crop"), [
    ((35, 50, 35), (35, 50, 35), (16, 16, 16), (48, 64, 48)),
    # 208 x 112 x 64, then 48, 96 and 192 of the axis that covers most: 884,736 are 96^3.
    ((200, 100, 50), (200, 100, 50), (16, 16, 16), (192, 96, 48)),
    ((20, 18, 16), (20, 18, 16), (32, 32, 32), (64, 32, 32))])  # not one voxel at the bottom
def test_crops_by_hand(size, shape, divisor, crop):
    assert fitted(size, shape, divisor, most=96**3) == crop


def test_crops_and_epochs_of_the_recipes():
    """The published crops of MM-WHS and BraTS, and this project's eight of Hippocampus."""
    assert crops_of((96, 96, 96), (150, 150, 90), 96**3) == 2
    assert crops_of((32, 32, 32), (35, 50, 35), 96**3) == 8
    # 250 x 240 x 240 x 155 voxels, 2 x 128^3 of them in an epoch.
    assert epochs_of((128, 128, 128), (240, 240, 155), 2) == 532
    assert epochs_of((64, 64, 64), (64, 64, 64), 8) == 100  # 31, but for the fewest


sizes = st.tuples(*[st.integers(1, 600)] * 3)
spacings = st.tuples(*[st.floats(0.3, 8)] * 3)


@settings(deadline=None, max_examples=60)
@given(sizes, spacings, st.sampled_from(("unetr", "swinunetr", "vnet", "resnet50-unet", "nnunet")))
def test_a_planned_crop_is_within_its_limit_and_can_be_halved(shape, spacing, network):
    recipe = recipe_of("dataset.json", network)
    values = make_plan(grids_of([shape], [spacing]), network, recipe, {}).values
    most = recipe.img_size[0] * recipe.img_size[1] * recipe.img_size[2]
    crop = values["img_size"]
    assert crop[0] * crop[1] * crop[2] <= most
    assert 100 <= values["epochs"] <= 600 and 2 <= values["num_crops"] <= 8
    if network == "nnunet":
        assert 3 <= len(values["network_options"]["filters"]) <= 5


@pytest.mark.parametrize("network", ["nnunet", "unetr", "swinunetr", "vnet", "resnet10-unet"])
@pytest.mark.parametrize("shape", [(35, 50, 35), (20, 18, 16), (9, 70, 12), (1, 40, 40)])
def test_the_network_takes_its_planned_crop(shape, network):
    values = plan_of(grids_of([shape]), network)
    options = values.get("network_options", {}) | TINY_OPTIONS.get(network, {})
    # MONAI's SwinUNETR reads values while it is made, which tensors without memory do not have.
    with torch.device("cpu" if network == "swinunetr" else "meta"):
        build_network(network, 1, 2, values["img_size"], self_distillation=True, **options)
