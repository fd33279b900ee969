"""Splits are disjoint and exhaustive, and the published ones come out case by case."""

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data import (
    DATASETS,
    Split,
    choose_fold,
    consecutive_folds,
    equal_folds,
    shuffled_split,
)

HEARTS = [f"ct_train_{1001 + n}" for n in range(20)]
PUBLISHED_NAMES = ("training", "validation", "testing")


def ids(number):
    return [f"case_{n:03d}" for n in range(number)]


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_the_published_heart_folds(fold):
    folds = DATASETS["mmwhs-ct"].split(HEARTS[::-1], None, None)
    assert len(folds) == 5
    first = 4 * (fold - 1)
    held_out = HEARTS[first:first + 4]
    split = choose_fold(folds, fold)
    assert split.validation == tuple(held_out)
    assert split.training == tuple(case for case in HEARTS if case not in held_out)
    assert (len(split.training), split.testing) == (16, ())


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 40), st.integers(1, 39), st.randoms(use_true_random=False))
def test_folds_are_disjoint_and_exhaustive_in_any_order_of_files(number, fold_size, random):
    assume(fold_size < number)
    shuffled = ids(number)
    random.shuffle(shuffled)
    folds = consecutive_folds(shuffled, fold_size)
    assert folds == consecutive_folds(ids(number), fold_size)
    assert len(folds) == number // fold_size
    for fold in folds:
        assert not set(fold.training) & set(fold.validation)
        assert sorted(fold.training + fold.validation) == ids(number)
        assert len(fold.validation) == fold_size
    validated = [case for fold in folds for case in fold.validation]
    assert validated == ids(number)[:len(folds) * fold_size]


@pytest.mark.parametrize(("number", "fold_size"), [(20, 5), (20, 10), (25, 5), (6, 2), (2, 1)])
def test_each_case_validates_once_when_the_fold_size_divides(number, fold_size):
    folds = consecutive_folds(ids(number), fold_size)
    assert sorted(case for fold in folds for case in fold.validation) == ids(number)


@pytest.mark.parametrize(("number", "fold_size"), [(20, 0), (20, 20), (3, 4), (1, 1), (20, -4)])
def test_folds_that_cannot_be_state_the_numbers(number, fold_size):
    with pytest.raises(ValueError, match=rf"{number} cases .* folds of {fold_size}.*between 1 and"):
        consecutive_folds(ids(number), fold_size)


def test_hearts_have_no_size_of_a_validation_group():
    with pytest.raises(ValueError, match="--validation_split.*--training_split"):
        DATASETS["mmwhs-mr"].split(HEARTS, None, 3)


def test_the_published_hippocampus_split(hippocampus_dir):
    dataset = DATASETS["hippocampus"]
    cases = [case.case_id for case in dataset.find_cases(hippocampus_dir)[0]]
    assert len(cases) == 260
    (split,) = dataset.split(cases, None, None)
    assert [len(getattr(split, name)) for name in PUBLISHED_NAMES] == [170, 30, 60]
    assert (split.testing[0], split.testing[-1]) == ("hippocampus_311", "hippocampus_394")
    assert [case[-3:] for case in split.validation[:5]] == ["277", "227", "190", "143", "035"]
    digest = hashlib.sha256(",".join(split.validation).encode()).hexdigest()
    assert digest.startswith("15e398ff74c12db1")


@settings(deadline=None, max_examples=80)
@given(st.integers(3, 120), st.integers(1, 60), st.none() | st.integers(1, 40),
       st.randoms(use_true_random=False))
def test_shuffled_groups_are_disjoint_and_exhaustive(number, testing, validation, random):
    assume(number - testing - (validation or 1) >= 1 and number - testing >= 2)
    shuffled = ids(number)
    random.shuffle(shuffled)
    split = shuffled_split(shuffled, testing, validation, published_validation=30)
    assert split == shuffled_split(ids(number), testing, validation, published_validation=30)
    groups = [getattr(split, name) for name in PUBLISHED_NAMES]
    assert sorted(sum(groups, ())) == ids(number)
    assert all(groups)
    assert split.testing == tuple(ids(number)[number - testing:])
    assert validation is None or len(split.validation) == validation


@pytest.mark.parametrize(("remaining", "validation"), [
    (200, 30), (60, 30), (59, 9), (40, 6), (20, 3), (8, 1), (3, 1), (2, 1)])
def test_small_sets_validate_on_15_percent_and_at_least_one(remaining, validation):
    split = shuffled_split(ids(remaining + 5), 5, None, published_validation=30)
    assert len(split.validation) == validation
    assert len(split.training) == remaining - validation


@pytest.mark.parametrize(("number", "testing", "validation", "words"), [
    (60, 60, None, "60 cases .* 60 for the test, 1 for validation"),
    (10, 60, None, "10 cases .* 60 for the test"),
    (10, 0, 2, "10 cases .* 0 for the test, 2 for validation and 8"),
    (10, 4, 6, "4 for the test, 6 for validation and 0 for training"),
    (10, 4, 0, "4 for the test, 0 for validation and 6 for training"),
    (2, 1, None, "2 cases .* 1 for the test, 1 for validation and 0"),
])
def test_an_empty_group_states_the_numbers_and_the_flags(number, testing, validation, words):
    with pytest.raises(ValueError, match=f"(?s){words}.*--training_split.*--validation_split"):
        shuffled_split(ids(number), testing, validation, published_validation=30)


def test_sizes_reach_the_hippocampus_split():
    (split,) = DATASETS["hippocampus"].split(ids(12), 2, 3)
    assert [len(getattr(split, name)) for name in PUBLISHED_NAMES] == [7, 3, 2]


def test_the_published_brain_split():
    cases = [f"BRATS_{n:03d}" for n in range(1, 485)]
    (split,) = DATASETS["msd-brats"].split(cases[::-1], None, None)
    assert [len(getattr(split, name)) for name in PUBLISHED_NAMES] == [388, 72, 24]
    assert split.testing == tuple(cases[-24:])
    (small,) = DATASETS["msd-brats"].split(cases[:167], None, None)
    assert len(small.validation) == round(0.15 * 143)


def test_a_split_without_a_published_number_validates_on_15_percent():
    split = shuffled_split(ids(500), 100, None, published_validation=None)
    assert [len(getattr(split, name)) for name in PUBLISHED_NAMES] == [340, 60, 100]


def test_folds_by_their_number_by_hand():
    folds = equal_folds("abcde", 2, testing="xy")
    assert folds == [Split(("c", "d", "e"), ("a", "b"), ("x", "y")),
                     Split(("a", "b"), ("c", "d", "e"), ("x", "y"))]


def test_five_folds_of_hearts_are_the_published_ones():
    hearts = DATASETS["mmwhs-mr"]
    assert hearts.split(HEARTS[::-1], None, None, 5) == hearts.split(HEARTS, None, None)


def assert_folds(folds, cases, number):
    """So many folds that partition the cases into groups as equal as can be, without a leak."""
    assert len(folds) == number
    validated = [case for fold in folds for case in fold.validation]
    assert sorted(validated) == sorted(cases)
    sizes = {len(fold.validation) for fold in folds}
    assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
    for fold in folds:
        assert fold.training and not set(fold.training) & set(fold.validation)
        assert sorted(fold.training + fold.validation) == sorted(cases)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(2, 60), st.randoms(use_true_random=False))
def test_any_number_of_heart_folds(number, num_folds, random):
    assume(num_folds <= number)
    shuffled = ids(number)
    random.shuffle(shuffled)
    folds = DATASETS["mmwhs-ct"].split(shuffled, None, None, num_folds)
    assert_folds(folds, shuffled, num_folds)
    assert [case for fold in folds for case in fold.validation] == ids(number)
    assert not any(fold.testing for fold in folds)


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 120), st.integers(2, 10), st.integers(1, 60),
       st.sampled_from(["hippocampus", "msd-brats"]), st.randoms(use_true_random=False))
def test_folds_of_a_dataset_with_a_test_set_never_see_it(number, num_folds, held_out, name, random):
    assume(number - held_out >= num_folds)
    shuffled = ids(number)
    random.shuffle(shuffled)
    folds = DATASETS[name].split(shuffled, held_out, None, num_folds)
    (published,) = DATASETS[name].split(ids(number), held_out, None)
    assert {fold.testing for fold in folds} == {published.testing}
    rest = published.training + published.validation  # in the shuffled order
    assert_folds(folds, rest, num_folds)
    assert tuple(case for fold in folds for case in fold.validation) == rest


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 120), st.integers(2, 10), st.sampled_from(["hippocampus", "msd-brats"]))
def test_none_held_out_puts_every_case_in_a_fold(number, num_folds, name):
    assume(num_folds <= number)
    folds = DATASETS[name].split(ids(number)[::-1], 0, None, num_folds)
    assert_folds(folds, ids(number), num_folds)
    assert not any(fold.testing for fold in folds)


@pytest.mark.parametrize(("name", "number", "held_out", "validation", "num_folds", "words"), [
    ("mmwhs-ct", 20, 0, None, None, "20 cases .* folds of 0.*between 1 and 19"),
    ("mmwhs-ct", 20, 0, None, 5, "--num_folds 5 and --training_split 0.*exclude"),
    ("hippocampus", 80, 0, None, None, "80 cases .* 0 for the test.*no group may be empty"),
    ("hippocampus", 1, 0, None, 2, "1 cases .* 0 for the test and 2 folds"),
    ("mmwhs-ct", 20, 4, None, 5, "--num_folds 5 and --training_split 4.*exclude"),
    ("mmwhs-ct", 20, None, 3, 5, "--validation_split 3.*--training_split"),
    ("mmwhs-ct", 20, None, None, 1, "--num_folds 1: the 20 case.*between 2 and 20"),
    ("mmwhs-ct", 3, None, None, 5, "--num_folds 5: the 3 case.*between 2 and 3"),
    ("mmwhs-ct", 1, None, None, 2, "--num_folds 2: the 1 case.*not be given"),
    ("hippocampus", 80, None, 3, 5, "--num_folds 5 and --validation_split 3.*exclude"),
    ("hippocampus", 63, None, None, 5, "the 3 case.* 60 for the test cannot.*between 2 and 3"),
    ("msd-brats", 25, None, None, 5, "25 cases .* 24 for the test and 5 folds.*between 0 and 20"),
    ("msd-brats", 10, None, None, 5, "10 cases .* 24 for the test and 5 folds.*between 0 and 5"),
])
def test_folds_that_cannot_be_say_why(name, number, held_out, validation, num_folds, words):
    with pytest.raises(ValueError, match=words):
        DATASETS[name].split(ids(number), held_out, validation, num_folds)


@pytest.mark.parametrize("fold", [0, -1, 6])
def test_a_fold_that_does_not_exist_is_an_error(fold):
    with pytest.raises(ValueError, match=rf"--fold {fold}: there are 5 fold\(s\), 1 to 5"):
        choose_fold(consecutive_folds(HEARTS, 4), fold)


def test_a_split_knows_the_group_of_a_case():
    split = Split(("a",), ("b",), ("c",))
    assert [split.group_of(case) for case in "abcd"] == [*PUBLISHED_NAMES, None]
    assert split.to_dict() == {"train": ["a"], "val": ["b"], "test": ["c"]}
