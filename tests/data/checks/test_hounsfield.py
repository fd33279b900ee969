"""CT whose values are no Hounsfield units is found, named, and has a way out."""

import nibabel
import numpy as np
import pytest

from data import DATASETS
from data.checks.hounsfield import window_doubts
from data.checks.verification import case_findings
from data.preparation.steps import prepare

WINDOW = (-175.0, 250.0)


def ct(shape=(24, 24, 20)):
    """Air around a body of water with bone inside, in HU."""
    volume = np.full(shape, -1000.0)
    volume[4:20, 4:20] = 40
    volume[10:13, 10:13] = 700
    return volume + np.random.default_rng(0).normal(0, 10, shape)


def found_in(volume, window=WINDOW):
    return [f"{found}; {remedy}" for found, remedy in window_doubts(volume, window)]


@pytest.mark.parametrize("volume", [
    ct(), ct()[4:20, 4:20] - 140, np.where(ct() < -900, -3024, ct())],
    ids=["whole", "fat, no air", "padded"])
def test_hu_fit_the_window(volume):
    assert found_in(volume) == []


@pytest.mark.parametrize("window", [WINDOW, (-1000.0, 400.0)])
@pytest.mark.parametrize("offset", [1024, 1000])
def test_a_missing_offset_is_said_with_the_window_that_would_fit(window, offset):
    (text,) = found_in((ct() + offset).clip(0), window)
    assert "lack the HU offset" in text
    assert f"--window {window[0] + 1024:g} {window[1] + 1024:g}" in text


def test_that_window_fits():
    assert found_in(ct() + 1024, (849.0, 1274.0)) == []


@pytest.mark.parametrize("wide", [0, 8])  # the body is 44 % of the volume, or 20 %
def test_padding_does_not_hide_a_missing_offset(wide):
    volume = np.pad(ct() + 1024, [(wide, 0), (wide, 0), (0, 0)], constant_values=24)
    volume[0, 0] = -2000
    (text,) = found_in(volume)
    assert "lack the HU offset" in text and ("25%" if wide else "44%") in text


def test_most_of_a_volume_above_the_window_is_said():
    (text,) = found_in(np.where(ct() > -100, 500, -1000))
    assert "44% lie at its top of 250 HU" in text


def test_an_offset_that_was_taken_off_twice():
    (text,) = found_in(ct() - 1024, (-1500.0, 400.0))
    assert "air alone" in text and "add 1024" in text


def test_a_case_is_warned_of_by_name(write_case):
    label = np.zeros((24, 24, 20), np.int16)
    label[8:12, 8:12, 8:12] = 205
    case = write_case((ct() + 1024).clip(0).astype(np.uint16), label)
    (line,) = map(str, case_findings(case, DATASETS["mmwhs-ct"]).warnings)
    assert line.startswith("  case_1: ") and "HU offset" in line
    assert case_findings(case, DATASETS["mmwhs-mr"]).warnings == []  # a z-score has no offset


@pytest.fixture
def prepared(tmp_path, save):
    """prepared({name: volume}, **options) -> Preparation of NIfTI volumes of 1 mm."""

    def make(volumes, **options):
        for name, volume in volumes.items():
            save(tmp_path / "in" / f"{name}.nii.gz", volume)
        return prepare("all", tmp_path / "in", tmp_path / "out", progress=False, **options)

    return make


def test_tiles_of_one_value_are_not_made(prepared, tmp_path):
    result = prepared({
        "good": ct().astype(np.int16),
        "constant": np.full((24, 24, 20), -1024, np.int16),
        "lost": (ct() - 32768 + 1024).clip(-32768).astype(np.int16),
        "above": (ct() + 3000).astype(np.int16),
        "air": (ct() - 1024).astype(np.int16)})
    assert result.made == ["good"] and len(result.tiles) == 1
    assert result.failed["constant"] == "every voxel is -1024; leave it out"
    assert "-1024 once clipped" in result.failed["lost"]
    assert "--hu_offset 31744" in result.failed["lost"]
    assert "1024 once clipped" in result.failed["above"]
    assert "air alone" in result.failed["air"]
    assert len(list((tmp_path / "out" / "DL_patches_v2").iterdir())) == 1


def test_volumes_without_air_are_all_named_also_when_they_are_there(prepared, tmp_path):
    stored = (ct() + 1024).clip(0).astype(np.uint16)
    padded = stored.astype(np.int16)
    padded[0] = -2000
    volumes = {"a": stored, "b": padded, "c": ct().astype(np.int16)}
    for _ in range(2):
        assert prepared(volumes).airless == ["a", "b"]
        assert (tmp_path / "out" / "without_air.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize(("kind", "moved"), [(np.uint16, 1024), (np.float32, 1024),
                                             (np.int16, -31744)])
def test_an_offset_gives_the_tiles_of_hu(kind, moved, prepared, tmp_path):
    hu = np.rint(ct()).clip(-1024)
    prepared({"a": (hu + moved).astype(kind)}, hu_offset=-moved)
    tile = nibabel.load(tmp_path / "out" / "DL_patches_v2" / "a_dep0.nii")
    np.testing.assert_array_equal(np.sort(np.asanyarray(tile.dataobj), axis=None),
                                  np.sort(hu.clip(-1024, 1024), axis=None))
    with pytest.raises(ValueError, match="hu_offset"):
        prepared({}, hu_offset=-moved + 1)


def test_offset_and_percentiles_exclude_each_other(prepared):
    with pytest.raises(ValueError, match="--rescale and --hu_offset 5"):
        prepared({"a": ct()}, hu_offset=5, rescale=(1, 99))


def test_percentiles_of_nothing_but_an_outlier_are_refused(prepared):
    volume = ct().astype(np.float32)
    volume[:5] = -3.4e38
    assert "so far apart" in prepared({"a": volume}, rescale=(1, 99)).failed["a"]
