"""Folds from a file of nnU-Net's splits_final.json structure."""

import json
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Split, consecutive_folds, read_splits, write_splits

KNOWN = ["a", "b", "c", "d"]


def written(path, content):
    """A file with this JSON."""
    path.write_text(json.dumps(content))
    return path


def test_folds_are_read_in_the_file_s_order(tmp_path):
    path = written(tmp_path / "splits.json", [{"train": ["c", "a", "d"], "val": ["b"]},
                                              {"train": ["b"], "val": ["a"], "test": ["d", "c"]}])
    assert read_splits(path, KNOWN) == [Split(("c", "a", "d"), ("b",)),
                                        Split(("b",), ("a",), ("d", "c"))]


def test_what_is_written_is_read_back(tmp_path):
    folds = consecutive_folds(KNOWN, 2)
    folds.append(Split(("a",), ("b",), ("d", "c")))
    write_splits(tmp_path / "splits.json", folds)
    assert json.loads((tmp_path / "splits.json").read_text())[-1] == {
        "train": ["a"], "val": ["b"], "test": ["d", "c"]}
    assert read_splits(tmp_path / "splits.json", KNOWN) == folds


@pytest.mark.parametrize("content", [[], {}, {"train": ["a"], "val": ["b"]}, "a", None, 3])
def test_anything_but_a_list_of_folds_is_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"splits\.json: must be a list of folds"):
        read_splits(written(tmp_path / "splits.json", content), KNOWN)


@pytest.mark.parametrize("fold", [
    None, [], "a", {"train": "a", "val": ["b"]}, {"train": ["a"], "val": None},
    {"train": ["a"], "val": [1]}, {"train": ["a"], "val": [["b"]]},
    {"train": ["a"], "val": ["b"], "test": "c"}, {"train": {"a": 1}, "val": ["b"]}])
def test_a_fold_of_another_structure_is_numbered(fold, tmp_path):
    content = [{"train": ["a"], "val": ["b"]}, fold]
    with pytest.raises(ValueError, match="fold 2: must be") as raised:
        read_splits(written(tmp_path / "splits.json", content), KNOWN)
    assert "fold 1" not in str(raised.value)


@pytest.mark.parametrize(("fold", "words"), [
    ({"train": ["a", "x", "y"], "val": ["b"]}, "fold 1: not in the data: x, y"),
    ({"train": ["a", "b"], "val": ["b"]}, "fold 1: listed more than once: b"),
    ({"train": ["a"], "val": ["b"], "test": ["a"]}, "fold 1: listed more than once: a"),
    ({"train": [], "val": ["b"]}, "fold 1: 0 cases train and 1 validate"),
    ({"train": ["a", "b"], "val": []}, "fold 1: 2 cases train and 0 validate"),
    ({"val": ["b"]}, "fold 1: 0 cases train"),
    ({}, "fold 1: 0 cases train and 0 validate"),
])
def test_folds_that_cannot_be_used_say_why(fold, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        read_splits(written(tmp_path / "splits.json", [fold]), KNOWN)


def test_all_problems_of_all_folds_are_in_one_message(tmp_path):
    path = written(tmp_path / "splits.json", [
        {"train": ["a", "x"], "val": ["a"]}, {"train": ["a"], "val": ["b"]},
        {"train": ["c"], "val": []}, 7])
    with pytest.raises(ValueError) as raised:
        read_splits(path, KNOWN)
    lines = [line.split(":")[0].strip() for line in str(raised.value).splitlines()[1:]]
    assert lines == ["fold 1", "fold 1", "fold 3", "fold 4"]
    assert str(path) in str(raised.value)


def test_many_unknown_cases_are_cut_short(tmp_path):
    unknown = [f"x{n:02d}" for n in range(40)]
    path = written(tmp_path / "splits.json", [{"train": ["a", *unknown], "val": ["b"]}])
    with pytest.raises(ValueError, match=r"x00, .*x09, \.\.\.\.") as raised:
        read_splits(path, KNOWN)
    assert "x10" not in str(raised.value)


@pytest.mark.parametrize("content", ["[", ""])
def test_a_broken_file_is_named(content, tmp_path):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(ValueError, match=r"splits\.json: is not valid JSON"):
        read_splits(tmp_path / "splits.json", KNOWN)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.json: cannot be read"):
        read_splits(tmp_path / "absent.json", KNOWN)


IDS = st.sampled_from(["a", "b", "c", "d", "e", ""])
GROUPS = st.lists(IDS | st.integers() | st.none(), max_size=4) | st.text(max_size=2)
FOLDS = st.lists(st.dictionaries(st.sampled_from(["train", "val", "test", "x"]), GROUPS,
                                 max_size=4) | st.none(), max_size=3)


@settings(deadline=None, max_examples=150)
@given(FOLDS | st.none() | st.text(max_size=3))
def test_any_file_of_folds_is_taken_whole_or_refused(tmp_path_factory, folds):
    path = tmp_path_factory.getbasetemp() / "any_folds.json"
    path.write_text(json.dumps(folds))
    try:
        splits = read_splits(path, ["a", "b", "c", "d"])
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert [list(split.training) for split in splits] == [fold["train"] for fold in folds]
        for split in splits:
            every = [*split.training, *split.validation, *split.testing]
            assert split.training and split.validation and set(every) <= set("abcd")
            assert len(every) == len(set(every))


def test_cases_that_are_in_no_group_are_counted_by_fold(tmp_path):
    path = written(tmp_path / "splits.json", [
        {"train": ["a"], "val": ["b"]}, {"train": ["b", "c"], "val": ["a"], "test": ["d"]},
        {"train": ["b"], "val": ["a"]}])
    with pytest.warns(UserWarning, match="leaves cases out") as told:
        read_splits(path, [*KNOWN, "e", "f"])
    assert str(told[0].message).splitlines()[1:] == [
        "  fold 1, 3: 4 of 6 cases are in no group and not used: c, d, e, ...",
        "  fold 2: 2 of 6 cases are in no group and not used: e, f"]


def test_a_split_of_all_cases_is_no_reason_to_warn(tmp_path):
    path = written(tmp_path / "splits.json", [{"train": ["a", "c"], "val": ["b"], "test": ["d"]}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_splits(path, KNOWN)
