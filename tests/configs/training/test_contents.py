"""What follows from the contents of volumes, computed by hand."""

import pytest

from configs import recipe_of
from configs.training.contents import (
    CaseContents,
    Contents,
    class_volumes,
    doubts_of,
    percentile,
    plan_intensity,
    planned_centres,
    planned_window,
    rarest_presence,
)
from configs.training.plan import Grids, make_plan

NAMES = ("background", "liver", "tumour")


def case(*class_voxels, values=(0.0,), zeros=0.0):
    """A case of 10^6 voxels of 0.01 ml."""
    background = 10**6 - sum(class_voxels)
    return CaseContents(10**6, 0.01, (background, *class_voxels), (zeros,), (tuple(values),))


def contents(*cases, channels=("CT",), names=NAMES, is_ct=True):
    return Contents(channels, names, is_ct, cases)


def test_percentiles_are_numpy_s():
    assert percentile(range(1000), 0.005) == pytest.approx(4.995)
    assert percentile([3, 1, 2], 0.5) == 2 and percentile([7], 0.995) == 7


def test_the_window_is_that_of_the_labelled_voxels():
    """-100, ..., 899: the 0.5 percentile is -100 + 0.005 x 999, the 99.5 is 899 - 0.005 x 999."""
    window, why = planned_window(contents(case(1000, values=range(-100, 900))))
    assert window == (-95, 894)  # -95.005 and 894.005, in four digits
    assert why == "0.5 and 99.5 percentile of the labelled voxels of 1 case, as in nnU-Net"


def test_a_case_without_foreground_has_no_say_in_the_window():
    some = case(3, values=(10, 20, 30))
    assert planned_window(contents(some, case(0, values=())))[0] == (10.1, 29.9)
    for cases, words in (((case(0, values=()),), "nothing is labelled in 1 case"),
                         ((case(3, values=(5, 5)),), "are all 5")):
        window, why = planned_window(contents(*cases))
        assert window is None and words in why


def test_ct_has_one_window_and_anything_else_a_z_score():
    ct = contents(case(3, values=(10, 20, 30)))
    values, reasons = plan_intensity(ct, {})
    assert values == {"intensity": "hu", "window": (10.1, 29.9)}
    assert reasons["intensity"].startswith("CT: the same window for all volumes")
    mr = contents(case(3, zeros=0.25), case(3, zeros=0.75), channels=("T1",), is_ct=False)
    values, reasons = plan_intensity(mr, {})
    assert values == {"intensity": "zscore"} and set(reasons) == {"intensity"}
    assert "over the voxels that are not 0 (50 % are 0 in the median one)" in reasons["intensity"]


@pytest.mark.parametrize(("given", "planned"), [
    ({"intensity": "zscore"}, {}), ({"intensity": "ct"}, {"window": (10.1, 29.9)}),
    ({"window": (0, 5)}, {"intensity": "hu"}), ({"intensity": "ct", "window": (0, 5)}, {})])
def test_what_is_given_is_not_planned(given, planned):
    assert plan_intensity(contents(case(3, values=(10, 20, 30))), given)[0] == planned


def test_nothing_of_a_window_that_is_the_usual_one():
    values, reasons = plan_intensity(contents(case(0, values=())), {})
    assert values == {"intensity": "hu"} and reasons["window"].startswith("the usual one")


def test_a_class_of_a_hundredth_of_the_foreground_has_centres_of_its_own():
    """Tumour: 1,000 of 101,000 and 500 of 50,500 labelled voxels."""
    centres, why = planned_centres(contents(case(100_000, 1000), case(50_000, 500)))
    assert centres == "classes"
    assert why.splitlines() == [
        "each class as often as the others, as in nnU-Net, since tumour is only 0.99 % of the "
        "foreground",
        "    liver: 750 ml in the median case, 7.5 % of a volume, in 2 of 2 cases",
        "    tumour: 7.5 ml in the median case, 0.075 % of a volume, in 2 of 2 cases"]


def test_classes_of_like_sizes_are_drawn_by_their_voxels():
    assert planned_centres(contents(case(9000, 1000)))[0] == "foreground"  # a tenth is enough
    assert planned_centres(contents(case(9001, 999)))[0] == "classes"
    alone, why = planned_centres(contents(case(30), names=NAMES[:2]))
    assert alone == "foreground" and "(nnU-Net: at least a third)" in why
    assert planned_centres(contents(case(0, 0)))[0] == "foreground"


def test_volumes_are_those_of_the_cases_that_have_the_class():
    """140,000 voxels of 0.01 ml are 1.4 l, 14 % of 10^6."""
    assert class_volumes(contents(case(140_000, 0), case(140_000, 1200))) == [
        "liver: 1.4 l in the median case, 14 % of a volume, in 2 of 2 cases",
        "tumour: 12 ml in the median case, 0.12 % of a volume, in 1 of 2 cases"]


def test_the_class_that_fewest_have():
    four = contents(case(5, 1), case(5, 0), case(5, 0), case(5, 0))
    assert rarest_presence(four) == (0.25, "tumour is in 1 of 4 cases")
    assert rarest_presence(contents(case(5, 0))) == (1, "")  # none has it, so epochs do not help


def test_classes_that_most_cases_lack_are_doubted():
    assert doubts_of(contents(case(5, 1), case(5, 0))) == []  # half of the cases have it
    (rare,) = doubts_of(contents(case(5, 1), case(5, 0), case(5, 0)))
    assert rare.startswith("tumour is in 1 of 3 cases")
    (none,) = doubts_of(contents(case(5, 0)))
    assert none.startswith("tumour is in none of 1 case and cannot be learnt")


def test_cases_that_could_not_be_read_are_told():
    (line,) = doubts_of(Contents(("CT",), NAMES, True, (case(5, 1),), num_unread=2))
    assert line.startswith("2 of 3 cases cannot be used as they are")


def plan_of(found, **given):
    grids = Grids(((35, 50, 35),), ((1.0, 1.0, 1.0),), ((0, 1, 2),))
    recipe = recipe_of("dataset.json", "nnunet")
    return make_plan(grids, "nnunet", recipe, given, found)


def test_crops_and_epochs_follow_from_the_classes():
    """Without them 2 crops and 125 epochs, see test_plan.py."""
    plan = plan_of(contents(case(1000, 1), case(1000, 0)))
    assert (plan.values["crop_centres"], plan.values["num_crops"]) == ("classes", 2)
    assert plan.values["epochs"] == 250  # one of two cases has a tumour: twice as many
    assert "and 2 times as often since tumour is in 1 of 2 cases" in plan.reasons["epochs"]
    names = ("background", "a", "b", "c", "d", "e")
    five = contents(case(1000, 1000, 1000, 1000, 1), names=names)
    plan = plan_of(five)
    assert (plan.values["num_crops"], plan.values["epochs"]) == (5, 100)
    assert "at least one for each of 5 classes" in plan.reasons["num_crops"]
    assert plan_of(five, crop_centres="foreground").values["num_crops"] == 2
    assert "crop_centres" not in plan_of(five, crop_centres="foreground").values
    assert plan_of(five, num_crops=3).values["crop_centres"] == "classes"
    assert plan_of(five).doubts == [] and plan_of(None).doubts == []
