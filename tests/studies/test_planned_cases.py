"""The cases that planned runs will use."""

from dataclasses import replace

import pytest

from studies.planned_cases import planned_splits
from tests.studies.stand_ins import config


def names_of_cases(workplace, number):
    for kind in ("imagesTr", "labelsTr"):
        (workplace / "data" / kind).mkdir()
        for at in range(number):
            (workplace / "data" / kind / f"hippocampus_{at:03d}.nii.gz").touch()


def test_a_group_that_the_data_do_not_have_is_told_before_training(workplace):
    names_of_cases(workplace, 12)
    made = config("--", "--num_folds", "2", "--training_split", "2")
    assert {key: len(one.testing) for key, one in planned_splits(made.runs).items()} == {
        ("hippocampus", 1): 2}
    third = replace(made, runs=tuple(
        replace(one, settings=replace(one.settings, fold=3)) for one in made.runs))
    with pytest.raises(ValueError, match="hippocampus, fold 3: --fold 3: there are 2 fold"):
        planned_splits(third.runs)
