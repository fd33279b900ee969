"""Whole folders from PNG or NIfTI to tiles: values, resuming, refusals."""

import errno
import json
import os

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from PIL import Image

from data.preparation.steps import prepare
from system.exit import StatedError

SHAPE, SPACING_MM = (20, 24), (0.9, 0.9, 5.0)


def anatomy(num_slices, seed=0):
    """HU (rows, cols, slices), int16, some of them beyond the range that is kept."""
    return np.random.default_rng(seed).integers(-2000, 2000, (*SHAPE, num_slices)).astype(np.int16)


def add_series(folder, name, volume, first=1, spacing="0.9, 0.9, 5"):
    """Write a volume as the slices of a series, with a row in DL_info.csv."""
    series = folder / "Images_png" / name
    series.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(np.moveaxis(volume, 2, 0), start=first):
        values = (plane.astype(np.int32) + 32768).astype(np.uint16)
        Image.fromarray(values).save(series / f"{number:03d}.png")
    info = folder / "DL_info.csv"
    if not info.exists():
        info.write_text("Patient_index,Study_index,Series_ID,Spacing_mm_px_\n")
    with open(info, "a") as file:
        file.write(f'{",".join(str(int(part)) for part in name.split("_"))},"{spacing}"\n')


@pytest.fixture
def deeplesion(tmp_path):
    """Two series: one of 5 mm with 7 slices, one of 1 mm with 30 slices; 2 and 2 tiles."""
    folder = tmp_path / "DeepLesion"
    add_series(folder, "000001_01_01", anatomy(7), first=11)
    add_series(folder, "000002_01_01", anatomy(30, seed=1), spacing="1, 1, 1")
    return folder


def run(step, source, output, **options):
    return prepare(step, source, output, progress=False, **options)


def listed(output):
    return (output / "SSL_data_deeplesion.txt").read_text().splitlines()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_known_hu_arrive_in_the_tiles(deeplesion, tmp_path):
    output = tmp_path / "out"
    result = run("all", deeplesion, output)
    assert (len(result.made), result.failed, result.too_short) == (2, {}, [])
    assert listed(output) == [f"DL_patches_v2/{name}" for name in (
        "000001_01_01_011-017_dep0.nii", "000001_01_01_011-017_dep1.nii",
        "000002_01_01_001-030_dep0.nii", "000002_01_01_001-030_dep1.nii")]
    assert sorted(path.name for path in output.glob("[!.]*")) == [
        "DL_patches_v2", "SSL_data_deeplesion.txt", "preparation.json"]
    tile = nibabel.load(output / listed(output)[3])  # of 1 mm: nothing to interpolate
    volume = np.clip(anatomy(30, seed=1), -1024, 1024)
    assert tile.get_data_dtype() == np.int16
    assert (np.asanyarray(tile.dataobj) == volume[:, :, 6:30]).all()
    assert nibabel.aff2axcodes(tile.affine) == ("P", "L", "I")
    assert np.allclose(tile.affine[:3, 3], (0, 0, -6))


def test_the_steps_one_by_one_make_the_same(deeplesion, tmp_path):
    steps, at_once = tmp_path / "steps", tmp_path / "once"
    run("nifti", deeplesion, steps)
    run("respace", steps / "Images_nifti", steps)
    run("tile", steps / "Images_respaced", steps)
    run("all", deeplesion, at_once, keep_intermediate=True, num_workers=2)
    assert listed(steps) == listed(at_once)
    for folder in ("Images_nifti", "Images_respaced", "DL_patches_v2"):
        ours, others = (sorted((output / folder).iterdir()) for output in (steps, at_once))
        assert [path.name for path in ours] == [path.name for path in others]
        for one, other in zip(map(nibabel.load, ours), map(nibabel.load, others), strict=True):
            assert (np.asanyarray(one.dataobj) == np.asanyarray(other.dataobj)).all()
            assert np.allclose(one.affine, other.affine)
    respaced = nibabel.load(steps / "Images_respaced" / "000001_01_01_011-017.nii.gz")
    assert respaced.shape == (18, 21, 35)
    assert np.allclose(respaced.header.get_zooms(), 1)


@pytest.mark.parametrize("axcodes", ["RAS", "SLP", "IPR"])
def test_any_orientation_gives_the_tiles_of_the_canonical_one(tmp_path, save, axcodes):
    volume, affine = anatomy(7), np.array([[0, -0.9, 0, 1], [-0.8, 0, 0, 2], [0, 0, -5, 3],
                                           [0, 0, 0, 1.0]])
    turn = orientations.ornt_transform(orientations.axcodes2ornt("PLI"),
                                       orientations.axcodes2ornt(axcodes))
    save(tmp_path / "canonical" / "a.nii.gz", volume, affine)
    save(tmp_path / "odd" / "a.nii", orientations.apply_orientation(volume, turn),
         affine @ orientations.inv_ornt_aff(turn, volume.shape))
    tiles = []
    for name in ("canonical", "odd"):
        run("all", tmp_path / name, tmp_path / f"{name}_out")
        tiles.append([nibabel.load(tmp_path / f"{name}_out" / line)
                      for line in listed(tmp_path / f"{name}_out")])
    assert len(tiles[0]) == len(tiles[1]) == 2
    for one, other in zip(*tiles, strict=True):
        assert (np.asanyarray(one.dataobj) == np.asanyarray(other.dataobj)).all()
        assert np.allclose(one.affine, other.affine, atol=1e-4)


def test_what_fails_is_named_and_the_rest_is_done(deeplesion, tmp_path):
    broken = deeplesion / "Images_png" / "000001_01_01" / "013.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (deeplesion / "Images_png" / "000007_01_01").mkdir()
    output = tmp_path / "out"
    result = run("all", deeplesion, output)
    assert set(result.failed) == {"000001_01_01_011-017", "000007_01_01"}
    assert str(broken) in result.failed["000001_01_01_011-017"]
    assert result.made == ["000002_01_01_001-030"]
    assert len(listed(output)) == 2
    failures = (output / "failures.txt").read_text()
    assert str(broken) in failures and "000007_01_01: has no row" in failures
    broken.unlink()
    (deeplesion / "Images_png" / "000007_01_01").rmdir()
    assert not run("all", deeplesion, output).failed
    assert not (output / "failures.txt").exists()


def test_a_second_run_makes_only_what_is_missing_or_not_whole(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("all", deeplesion, output)
    tiles = output / "DL_patches_v2"
    before, times = contents(tiles), {path: path.stat().st_mtime_ns for path in tiles.iterdir()}
    result = run("all", deeplesion, output)
    assert (result.made, len(result.there), len(result.tiles)) == ([], 2, 4)
    assert {path: path.stat().st_mtime_ns for path in tiles.iterdir()} == times

    cut = tiles / "000001_01_01_011-017_dep1.nii"
    cut.write_bytes(cut.read_bytes()[:-1])
    (tiles / ".000002_01_01_001-030_dep0.nii.x7d_").write_bytes(b"left by a killed run")
    result = run("all", deeplesion, output)
    assert (result.made, result.there) == (["000001_01_01_011-017"], ["000002_01_01_001-030"])
    (tiles / "000002_01_01_001-030_dep0.nii").unlink()
    assert run("all", deeplesion, output).made == ["000002_01_01_001-030"]
    (tiles / ".000002_01_01_001-030_dep0.nii.x7d_").unlink()
    assert contents(tiles) == before
    assert len(listed(output)) == 4


def test_changed_input_is_prepared_again(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("all", deeplesion, output)
    path = deeplesion / "Images_png" / "000001_01_01" / "012.png"
    Image.fromarray(np.full(SHAPE, 32768, np.uint16)).save(path)
    assert run("all", deeplesion, output).made == ["000001_01_01_011-017"]
    info = deeplesion / "DL_info.csv"
    info.write_text(info.read_text().replace("0.9, 0.9, 5", "0.9, 0.9, 4"))
    assert run("all", deeplesion, output).made == ["000001_01_01_011-017"]


def test_the_list_holds_the_tiles_of_this_input_only(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("all", deeplesion, output)
    for path in (deeplesion / "Images_png" / "000001_01_01").iterdir():
        path.unlink()
    (deeplesion / "Images_png" / "000001_01_01").rmdir()
    run("all", deeplesion, output)
    assert [line[:26] for line in listed(output)] == ["DL_patches_v2/000002_01_01"] * 2


def test_volumes_too_short_for_a_tile_are_listed(deeplesion, tmp_path):
    add_series(deeplesion, "000003_01_01", anatomy(2), spacing="0.9, 0.9, 5")
    add_series(deeplesion, "000004_01_01", anatomy(13), spacing="0.9, 0.9, 1")
    output = tmp_path / "out"
    for _ in range(2):  # not forgotten by a run that finds everything there
        result = run("all", deeplesion, output)
        assert result.too_short == [("000003_01_01_001-002", 10)]
        assert (output / "too_short.txt").read_text() == "000003_01_01_001-002 10\n"
    assert "DL_patches_v2/000004_01_01_001-013_dep0.nii" in listed(output)


def test_other_settings_are_refused_until_overwritten(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("all", deeplesion, output, spacing_mm=0.5)
    assert len(listed(output)) == 9  # 70 and 60 slices
    with pytest.raises(ValueError, match=r"spacing_mm 0.5, now 1.0.*\n.*--overwrite"):
        run("all", deeplesion, output)
    with pytest.raises(ValueError, match="rescale None, now"):
        run("all", deeplesion, output, spacing_mm=0.5, rescale=(1, 99))
    assert len(listed(output)) == 9
    result = run("all", deeplesion, output, overwrite=True)
    assert (len(result.made), result.there) == (2, [])
    assert len(listed(output)) == len(list((output / "DL_patches_v2").iterdir())) == 4
    assert len(run("all", deeplesion, output).there) == 2


def test_overwriting_one_folder_leaves_the_record_of_the_others(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("nifti", deeplesion, output)
    run("respace", output / "Images_nifti", output, overwrite=True)
    assert len(run("nifti", deeplesion, output).there) == 2
    (output / "preparation.json").write_text("[]")
    with pytest.raises(ValueError, match="preparation.json: is not the record"):
        run("nifti", deeplesion, output)


def test_other_input_is_refused(deeplesion, tmp_path):
    output = tmp_path / "out"
    run("all", deeplesion, output)
    moved = deeplesion.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="correct its path in .*preparation.json"):
        run("all", moved, output)
    record = json.loads((output / "preparation.json").read_text())
    record["DL_patches_v2"]["input"] = str(moved)
    (output / "preparation.json").write_text(json.dumps(record))
    assert len(run("all", moved, output).there) == 2


def test_volumes_of_unknown_origin_are_not_replaced(deeplesion, tmp_path):
    theirs = tmp_path / "out" / "DL_patches_v2" / "000001_01_01_011-017_dep0.nii"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(ValueError, match="this script did not make"):
        run("all", deeplesion, tmp_path / "out")
    assert theirs.read_bytes() == b"theirs"
    assert sorted(os.listdir(tmp_path / "out")) == ["DL_patches_v2"]


def test_tiles_are_not_cut_of_volumes_that_were_not_respaced(tmp_path, save):
    save(tmp_path / "in" / "thick.nii", anatomy(30), np.diag([1, 1, 5, 1]))
    save(tmp_path / "in" / "wide.nii", anatomy(30), np.eye(4))
    save(tmp_path / "in" / "right.nii", np.clip(anatomy(30), -1024, 1024), np.eye(4))
    result = run("tile", tmp_path / "in", tmp_path / "out")
    assert result.made == ["right"]
    assert "not isotropic: re-space it first" in result.failed["thick"]
    assert "not within -1024 to 1024 HU" in result.failed["wide"]


def test_percentiles_of_other_images_fill_the_range(tmp_path, save):
    values = np.random.default_rng(0).uniform(100, 900, (20, 20, 20))
    save(tmp_path / "in" / "mr.nii.gz", values)
    plain = run("all", tmp_path / "in", tmp_path / "plain")
    scaled = run("all", tmp_path / "in", tmp_path / "scaled", rescale=(1, 99))
    assert (plain.airless, scaled.airless) == (["mr"], [])
    tile, = listed(tmp_path / "scaled")
    tile = np.asanyarray(nibabel.load(tmp_path / "scaled" / tile).dataobj)
    assert (tile.min(), tile.max()) == (-1024, 1024)
    assert abs(np.median(tile)) < 40


def test_values_that_are_not_finite_are_a_failure(tmp_path, save):
    save(tmp_path / "in" / "a.nii.gz", np.full((20, 20, 20), np.nan, np.float32))
    result = run("all", tmp_path / "in", tmp_path / "out")
    assert "8000 voxels are NaN" in result.failed["a"]
    assert not (tmp_path / "out" / "SSL_data_deeplesion.txt").exists()


def test_a_full_disk_stops_the_run(deeplesion, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data.preparation.marked_files.write_bytes", full)
    with pytest.raises(StatedError, match="Make room on the disk"):
        run("all", deeplesion, tmp_path / "out")


def test_wrong_arguments_are_told_together(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError) as raised:
        prepare("all", tmp_path / "absent", tmp_path / "file", 0, spacing_mm=-1, rescale=(99, 1))
    for words in ("no such folder", "is a file", "--workers 0", "--spacing -1", "--rescale 99 1"):
        assert words in str(raised.value)


def test_an_output_inside_a_nifti_input_is_refused(tmp_path, save):
    save(tmp_path / "a.nii", anatomy(20))
    with pytest.raises(ValueError, match="lies in INPUT"):
        run("all", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_deeplesion_may_be_prepared_in_its_own_folder(deeplesion):
    assert len(run("all", deeplesion, deeplesion).tiles) == 4
