"""The DeepLesion phantoms look like the release on disk, and a seed means the same for ever."""

import csv

import numpy as np
import pytest

from data.phantoms.ct_series import COLUMNS, draw_series, make_deeplesion, rendered, series_name
from data.phantoms.make import make_phantoms
from data.preparation.deeplesion import consecutive_runs, find_runs, read_slice

SIZE = (48, 40, 20)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Eight small series: the folder and their names."""
    folder = tmp_path_factory.mktemp("deeplesion")
    return folder, make_deeplesion(folder, 8, SIZE, progress=False)


def rows_of(folder):
    with open(folder / "DL_info.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_series_reads_as_deeplesion(written):
    folder, names = written
    runs, problems = find_runs(folder)
    assert not problems
    assert names[:3] == ["000001_01_01", "000001_02_01", "000002_01_01"]
    assert {run.folder.name for run in runs} == set(names)
    assert all(run.grid()[0][:2] == (40, 48) and len(run.slices) >= 20 for run in runs)


def test_rows_describe_their_key_slices(written):
    folder, names = written
    rows = rows_of(folder)
    assert tuple(rows[0]) == COLUMNS
    assert {row["File_name"][:12] for row in rows} == set(names)
    for row in rows:
        series, slice_name = row["File_name"][:12], row["File_name"][13:]
        assert (folder / "Images_png" / series / slice_name).is_file()
        first, last = map(int, row["Slice_range"].split(","))
        assert first <= int(row["Key_slice_index"]) <= last and last - first == 19
        left, top, right, bottom = map(float, row["Bounding_boxes"].split(","))
        assert 0 < left < right < 48 and 0 < top < bottom < 40
        assert row["Image_size"] == "48, 40"


def test_a_lesion_is_soft_tissue_where_the_row_says():
    """At the size of the real slices; the lung's lesions would be air otherwise."""
    series = next(one for one in map(draw_series, range(40))
                  if any(row["Coarse_lesion_type"] == 5 for row in one.rows))
    row = next(row for row in series.rows if row["Coarse_lesion_type"] == 5)
    key = row["Key_slice_index"]
    series.numbers[:] = [key]
    (number, hu), = rendered(series)
    left, top, right, bottom = (float(value) for value in row["Bounding_boxes"].split(","))
    x, y = round((left + right) / 2), round((top + bottom) / 2)
    assert number == key and hu.shape == (512, 512)
    assert -150 < np.median(hu[y - 2:y + 3, x - 2:x + 3]) < 150
    assert hu.min() == -1024 and np.median(hu[:40]) < -900  # air in front of the patient
    assert (hu > 300).sum() > 100  # bone
    assert 0.05 < (np.abs(hu) < 200).mean() < 0.5  # the body


def test_spacing_and_depth_are_those_of_the_release():
    series = [draw_series(index) for index in range(30)]
    assert all(0.7 <= one.spacing_mm[0] <= 0.9 for one in series)
    assert {one.spacing_mm[2] for one in series} == {1.0, 2.5, 5.0}
    runs = [consecutive_runs(one.numbers) for one in series]
    assert {len(each) for each in runs} >= {1, 2}  # lesions far apart have slices of their own
    for one in series:
        assert len(one.numbers) * one.spacing_mm[2] >= 60
        assert one.numbers[0] >= 1


def test_a_seed_means_the_same_for_ever(written, tmp_path):
    folder, names = written
    make_deeplesion(tmp_path / "again", 1, SIZE, progress=False)
    for path in sorted((tmp_path / "again" / "Images_png" / names[0]).iterdir()):
        same = folder / "Images_png" / names[0] / path.name
        assert (read_slice(path) == read_slice(same)).all()
    make_deeplesion(tmp_path / "other", 1, SIZE, seed=1, progress=False)
    assert rows_of(tmp_path / "other")[0] != rows_of(folder)[0]
    assert series_name(3) == "000002_02_01"


def test_only_phantoms_are_overwritten(tmp_path):
    size = (16, 16, 16)
    make_deeplesion(tmp_path, 2, size, progress=False)
    with pytest.raises(ValueError, match="already holds cases.*--overwrite"):
        make_deeplesion(tmp_path, 1, size, progress=False)
    make_deeplesion(tmp_path, 1, size, overwrite=True, progress=False)
    assert [path.name for path in (tmp_path / "Images_png").iterdir()] == ["000001_01_01"]
    foreign = tmp_path / "Images_png" / "000001_01_01" / "999.png"
    foreign.write_bytes(b"theirs")
    with pytest.raises(ValueError, match="999.png is not one"):
        make_deeplesion(tmp_path, 1, size, overwrite=True, progress=False)
    assert foreign.read_bytes() == b"theirs"


def test_the_record_of_other_phantoms_is_not_replaced(tmp_path):
    make_phantoms("mmwhs-ct", tmp_path, 1, (16, 16, 16), progress=False)
    with pytest.raises(ValueError, match="holds other phantoms"):
        make_deeplesion(tmp_path, 1, (16, 16, 16), overwrite=True, progress=False)


@pytest.mark.parametrize(("arguments", "words"), [
    ((0, SIZE, 0), "--cases 0"), ((1, (16, 16, 8), 0), "at least 16"), ((1, SIZE, -1), "--seed")])
def test_wrong_arguments_are_refused(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        make_deeplesion(tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()
