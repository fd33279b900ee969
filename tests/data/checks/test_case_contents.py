"""Classes and intensities of made volumes with known content, read for the plan."""

import json

import numpy as np
import pytest

from data import DataError, measured_contents
from data.checks import case_contents
from data.checks.case_contents import FOLDER, NUM_SAMPLES

DEFINITION = {"name": "Mine", "channels": ["CT"], "cases": None,
              "labels": {"0": "background", "1": "liver", "5": "tumour"}}
SPLIT = {"splits": None, "fold": 1, "num_folds": None, "training_split": 1, "validation_split": 1}
MM = np.diag([2.0, 1.0, -5.0, 1.0])  # voxels of 0.01 ml


@pytest.fixture(autouse=True)
def nothing_is_measured_yet(monkeypatch):
    monkeypatch.setattr(case_contents, "_measured", {})


@pytest.fixture
def data(save, tmp_path):
    """Six cases of 20 x 20 x 10 voxels; case n has 10 n voxels of air and 2,000 of liver.

    Liver is 0, 1, ..., 1999 plus n, 20 voxels of tumour in the even cases are 5000, air is 0 and
    the rest -500.
    """
    root = tmp_path / "data"
    for number in range(1, 7):
        image = np.full(4000, -500, np.int16)
        label = np.zeros(4000, np.uint8)
        image[:2000] = np.arange(2000) + number
        label[:2000] = 1
        image[2000:2000 + 10 * number] = 0
        if number % 2 == 0:
            image[-20:] = 5000
            label[-20:] = 5
        save(root / f"imagesTr/c{number}.nii.gz", image.reshape(20, 20, 10), MM)
        save(root / f"labelsTr/c{number}.nii.gz", label.reshape(20, 20, 10), MM)
    return root


def learnt_numbers(split=SPLIT):
    """The cases of the split that train or validate: all but the last, shuffled."""
    from data.sets.splits import folds_with_test_set
    (fold,) = folds_with_test_set([f"c{number}" for number in range(1, 7)], 1, 1,
                                  default_testing=None, published_validation=None)
    return sorted(int(name[1:]) for name in (*fold.training, *fold.validation))


def test_what_the_cases_hold(data):
    contents = measured_contents(str(data), DEFINITION, SPLIT)
    assert (contents.channels, contents.is_ct) == (("CT",), True)
    assert contents.class_names == ("background", "liver", "tumour")
    numbers = learnt_numbers()
    assert len(numbers) == len(contents.cases) == 5
    for number, case in zip(numbers, contents.cases, strict=True):
        tumour = 20 * (number % 2 == 0)
        assert (case.voxels, case.class_voxels) == (4000, (2000 - tumour, 2000, tumour))
        assert case.voxel_ml == pytest.approx(0.01)
        assert case.zero_shares == (pytest.approx(10 * number / 4000),)
        (values,) = case.intensities
        assert len(values) == NUM_SAMPLES and list(values) == sorted(values)
        if not tumour:  # of 2,000 voxels every second
            assert values == tuple(range(number + 1, number + 2001, 2))
        else:  # the highest hundredth of 2,020 voxels is tumour
            assert values.count(5000) == pytest.approx(NUM_SAMPLES * 20 / 2020, abs=1)


def test_the_folds_of_a_cross_validation_have_one_plan(data):
    """Otherwise predict.py could not average their networks."""
    split = SPLIT | {"num_folds": 3, "training_split": 0, "validation_split": None}
    found = [measured_contents(str(data), DEFINITION, split | {"fold": fold}) for fold in (1, 2, 3)]
    assert found[0] == found[1] == found[2] and len(found[0].cases) == 6


def test_no_test_case_is_read(data):
    """It may be anything, as no plan must know of it."""
    before = measured_contents(str(data), DEFINITION, SPLIT)
    for number in set(range(1, 7)) - set(learnt_numbers()):
        for folder in ("imagesTr", "labelsTr"):
            (data / folder / f"c{number}.nii.gz").write_bytes(b"damaged")
    case_contents._measured.clear()
    assert measured_contents(str(data), DEFINITION, SPLIT) == before


def test_fewer_voxels_than_samples_are_repeated():
    assert case_contents._samples(np.array([3, 1], np.int16)) == (1.0,) * 500 + (3.0,) * 500
    assert case_contents._samples(np.array([], np.int16)) == ()


def test_a_channel_each_in_one_file_or_in_two(data, save):
    two = DEFINITION | {"channels": ["CT", "PET"]}
    for number in range(1, 7):
        label = np.zeros((20, 20, 10), np.uint8)
        label[0, 0, :2] = 1
        image = np.zeros((20, 20, 10, 2), np.float32)
        image[0, 0, :2] = (1, -1), (2, -2)
        save(data / f"labelsTr/c{number}.nii.gz", label)
        save(data / f"imagesTr/c{number}.nii.gz", image)
    together = measured_contents(str(data), two, SPLIT)
    assert not together.is_ct
    assert [set(values) for values in together.cases[0].intensities] == [{1, 2}, {-1, -2}]
    for number in range(1, 7):
        (data / f"imagesTr/c{number}.nii.gz").unlink()
        for channel in range(2):
            save(data / f"imagesTr/c{number}_000{channel}.nii.gz", image[..., channel])
    assert measured_contents(str(data), two, SPLIT) == together


def test_cases_that_cannot_be_trusted_are_left_out(data, save):
    """The verification tells what is wrong with each."""
    first, second, third, *others = learnt_numbers()
    (data / f"imagesTr/c{first}.nii.gz").write_bytes(b"damaged")
    save(data / f"labelsTr/c{second}.nii.gz", np.full((20, 20, 10), 7, np.uint8))
    image = np.zeros((20, 20, 10), np.float32)
    image[0, 0, 0] = np.nan
    save(data / f"imagesTr/c{third}.nii.gz", image)
    contents = measured_contents(str(data), DEFINITION, SPLIT)
    assert [case.class_voxels[1] for case in contents.cases] == [2000, 2000]
    assert contents.num_unread == 3
    for number in others:
        save(data / f"labelsTr/c{number}.nii.gz", np.zeros((20, 20, 9), np.uint8))
    with pytest.raises(DataError, match="no case for training that can be read"):
        measured_contents(str(data), DEFINITION, SPLIT)


def test_a_split_that_cannot_be_is_refused(data):
    with pytest.raises(ValueError, match="cannot be split"):
        measured_contents(str(data), DEFINITION, SPLIT | {"training_split": 5})


def unpacked(monkeypatch):
    """The cases that are measured from now on."""
    found, measure = [], case_contents.case_contents

    def counted(case, dataset):
        found.append(case.case_id)
        return measure(case, dataset)

    monkeypatch.setattr(case_contents, "case_contents", counted)
    return found


def test_volumes_are_read_once_and_that_is_said(data, tmp_path, monkeypatch, capsys):
    """In a process always, and for good where there is a folder of the cache already."""
    cache, read = tmp_path / "cache", unpacked(monkeypatch)
    first = measured_contents(str(data), DEFINITION, SPLIT, cache)
    assert len(read) == 5 and not cache.exists()  # nothing is written before a run
    assert capsys.readouterr().err == f"Reading 5 volumes of {data} for the plan ...\n"
    assert measured_contents(str(data), DEFINITION, SPLIT, cache) == first
    assert len(read) == 5 and capsys.readouterr().err == ""

    cache.mkdir()
    case_contents._measured.clear()
    measured_contents(str(data), DEFINITION, SPLIT, cache)
    assert len(read) == 10 and len(list((cache / FOLDER).iterdir())) == 5
    case_contents._measured.clear()
    assert measured_contents(str(data), DEFINITION, SPLIT, cache) == first
    assert len(read) == 10


@pytest.mark.parametrize("damage", [
    lambda text: text[:40], lambda text: "[]",
    lambda text: text.replace('"voxels": 4000', '"x": 1'),
    lambda text: json.dumps(json.loads(text) | {"class_voxels": [1, 2]}),
    lambda text: json.dumps(json.loads(text) | {"intensities": [["a"]]}),
    lambda text: json.dumps(json.loads(text) | {"voxels": None})])
def test_what_was_kept_and_is_damaged_is_measured_again(data, tmp_path, monkeypatch, damage):
    cache = tmp_path / "cache"
    cache.mkdir()
    first = measured_contents(str(data), DEFINITION, SPLIT, cache)
    kept = next((cache / FOLDER).iterdir())
    kept.write_text(damage(kept.read_text()))
    case_contents._measured.clear()
    read = unpacked(monkeypatch)
    assert measured_contents(str(data), DEFINITION, SPLIT, cache) == first
    assert len(read) == 1


def test_a_changed_file_is_read_again(data, save, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    measured_contents(str(data), DEFINITION, SPLIT, cache)
    read, changed = unpacked(monkeypatch), learnt_numbers()[0]
    save(data / f"labelsTr/c{changed}.nii.gz", np.ones((20, 20, 10), np.uint8))
    contents = measured_contents(str(data), DEFINITION, SPLIT, cache)
    assert read == [f"c{changed}"] and contents.cases[0].class_voxels == (0, 4000, 0)
