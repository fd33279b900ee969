"""DeepLesion's folders, PNG slices and DL_info.csv."""

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.preparation.deeplesion import (
    consecutive_runs,
    find_runs,
    read_slice,
    read_spacings,
    series_runs,
    slice_affine,
    spacing_of,
)

HEADER = "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Spacing_mm_px_,Image_size"
KEY = (1, 2, 3)


def write_slices(folder, numbers, shape=(6, 8), first=-1000):
    """PNG slices whose HU are first + 100 * row + 10 * col + slice number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        rows, cols = np.indices(shape)
        values = first + 100 * rows + 10 * cols + number + 32768
        Image.fromarray(values.astype(np.uint16)).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def deeplesion(tmp_path):
    """A folder of one series, slices 10 to 12 and 20, of 0.7 (x), 0.8 (y) and 5 mm."""
    write_slices(tmp_path / "Images_png" / "000001_02_03", (10, 11, 12, 20))
    (tmp_path / "DL_info.csv").write_text(
        f'{HEADER}\n000001_02_03_011.png,1,2,3,11,"0.7, 0.8, 5","512, 512"\n')
    return tmp_path


@pytest.mark.parametrize(("ids", "known"), [
    ("1,2,3", True), ("1.0,2.0,3.0", True), (" 1 ,2.00,3", True), ("1.5,2,3", False),
    ("nan,2,3", False), ("inf,2,3", False), (",2,3", False), ("x,2,3", False)])
def test_ids_are_read_as_spreadsheets_write_them(ids, known, tmp_path):
    (tmp_path / "DL_info.csv").write_text(f'{HEADER}\na.png,{ids},11,"0.7, 0.8, 5","512, 512"\n')
    assert (KEY in read_spacings(tmp_path / "DL_info.csv")) == known


@given(st.sets(st.integers(0, 60)))
def test_runs_hold_every_number_once_and_have_no_gap(numbers):
    runs = consecutive_runs(numbers)
    assert sum(runs, []) == sorted(numbers)
    assert all(run == list(range(run[0], run[-1] + 1)) for run in runs)
    assert all(before[-1] + 1 < after[0] for before, after in zip(runs, runs[1:], strict=False))


def test_each_run_is_a_volume(deeplesion):
    (first, second), problems = find_runs(deeplesion)
    assert not problems
    assert (first.name, second.name) == ("000001_02_03_010-012", "000001_02_03_020-020")
    assert first.grid() == ((6, 8, 3), (0.8, 0.7, 5.0))
    volume, affine = first.read()
    assert volume.dtype == np.int16 and volume.shape == (6, 8, 3)
    assert volume[2, 3, 1] == -1000 + 200 + 30 + 11
    assert np.allclose(affine, [[0, -0.7, 0, 0], [-0.8, 0, 0, 0], [0, 0, -5, 0], [0, 0, 0, 1]])
    assert second.read()[0].shape == (6, 8, 1)


def test_more_slices_than_some_libraries_merge(tmp_path):
    folder = write_slices(tmp_path / "000001_02_03", range(1, 311), shape=(2, 2))
    run, = series_runs(folder, {KEY: "1, 1, 1"})
    volume, _ = run.read()
    assert run.name == "000001_02_03_001-310"
    assert volume.shape == (2, 2, 310) and volume.dtype == np.int16
    assert (volume[0, 0] == np.arange(1, 311) - 1000).all()


def test_rows_run_back_columns_left_slices_down():
    assert nibabel.aff2axcodes(slice_affine((0.8, 0.7, 5))) == ("P", "L", "I")


def test_the_whole_range_of_16_bits_is_kept(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_slice(tmp_path / "a.png").tolist() == [[-32768, 0, 32767]]


@pytest.mark.parametrize(("values", "mode"), [
    (np.zeros((4, 4), np.uint8), "mode L"), (np.zeros((4, 4, 3), np.uint8), "mode RGB")])
def test_other_png_files_are_refused_by_name(tmp_path, values, mode):
    Image.fromarray(values).save(tmp_path / "007.png")
    with pytest.raises(ValueError, match=f"007.png: is an image of {mode}"):
        read_slice(tmp_path / "007.png")


@pytest.mark.parametrize("cut", [30, 60])
def test_damaged_png_files_are_refused_by_name(tmp_path, cut):
    folder = write_slices(tmp_path, [7], shape=(40, 40))
    path = folder / "007.png"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="007.png: cannot be read"):
        read_slice(path)
    path.write_text("not a picture")
    with pytest.raises(ValueError, match="007.png: cannot be read"):
        read_slice(path)


def test_slices_of_differing_size_are_refused(deeplesion):
    write_slices(deeplesion / "Images_png" / "000001_02_03", [12], shape=(5, 8))
    (run, _), _ = find_runs(deeplesion)
    with pytest.raises(ValueError, match="012.png: 5 x 8 pixels, 010.png has 6 x 8"):
        run.read()


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(deeplesion):
    images = deeplesion / "Images_png"
    (images / ".DS_Store").touch()
    (images / "readme.txt").touch()
    (images / "000001_02_03" / ".DS_Store").touch()
    (images / "000001_02_03" / "Thumbs.db").touch()
    write_slices(images / "odd name", [1])
    write_slices(images / "000009_01_01", [1])
    (images / "000001_01_01").mkdir()
    write_slices(images / "000001_01_02", [1])
    write_slices(images / "000001_01_03", [1])
    (images / "000001_01_03" / "1 (copy).png").touch()
    write_slices(images / "000001_01_04", [1])
    (images / "000001_01_04" / "1.png").touch()
    with open(deeplesion / "DL_info.csv", "a") as file:
        for series, spacing in ((1, "1, 1, 1"), (2, "1, 0, 1"), (3, "1, 1, 1"), (4, "1, 1, 1")):
            file.write(f'x,1,1,{series},1,"{spacing}","512, 512"\n')
    runs, problems = find_runs(deeplesion)
    assert [run.name for run in runs] == ["000001_02_03_010-012", "000001_02_03_020-020"]
    assert set(problems) == {"odd name", "000009_01_01", "000001_01_01", "000001_01_02",
                             "000001_01_03", "000001_01_04"}
    assert "patient_study_series" in problems["odd name"]
    assert "no row in DL_info.csv" in problems["000009_01_01"]
    assert "no slices" in problems["000001_01_01"]
    assert "'1, 0, 1'" in problems["000001_01_02"]
    assert "1 (copy).png" in problems["000001_01_03"]
    assert "slice 1 twice" in problems["000001_01_04"]


@pytest.mark.parametrize("text", ["", "1, 1", "1, 1, nan", "1, -1, 1", "0, 1, 1", "1, inf, 1",
                                  "1, 1, 1, 1", "a, b, c"])
def test_a_spacing_is_three_sizes_above_0(text):
    with pytest.raises(ValueError, match="three sizes in mm"):
        spacing_of(text)


def test_columns_are_found_by_name_and_the_first_row_counts(tmp_path):
    path = tmp_path / "DL_info.csv"
    path.write_text("\ufeffSpacing_mm_px_, Series_ID,Study_index,Patient_index\n"
                    '"1, 2, 3",3,2,1\n"9, 9, 9",3,2,1\n"8, 8, 8",,,\n', encoding="utf-8")
    assert read_spacings(path) == {KEY: "1, 2, 3"}


def test_missing_columns_are_all_named(tmp_path):
    path = tmp_path / "DL_info.csv"
    path.write_text("File_name,Patient_index,Series_ID\n")
    with pytest.raises(ValueError, match="DL_info.csv: has no column Study_index, Spacing_mm_px_"):
        read_spacings(path)
    path.write_text("")
    with pytest.raises(ValueError, match="its columns are none"):
        read_spacings(path)


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no Images_png and no DL_info.csv"):
        find_runs(tmp_path)
    (tmp_path / "Images_png").mkdir()
    (tmp_path / "DL_info.csv").write_text(f"{HEADER}\n")
    with pytest.raises(ValueError, match="holds no series"):
        find_runs(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_table_may_be_saved_on_windows(tmp_path, encoding):
    path = tmp_path / "DL_info.csv"
    row = "a.png,1,2,3,10,\"1, 2, 3\""
    header = "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Spacing_mm_px_"
    path.write_bytes(f"{header}\r\n{row}\r\n".encode(encoding))
    assert read_spacings(path) == {(1, 2, 3): "1, 2, 3"}


def test_a_series_of_dicom_files_names_dcm2niix(tmp_path):
    (tmp_path / "000001_02_03").mkdir()
    (tmp_path / "000001_02_03" / "IM1").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ValueError, match="holds no slices.*IM1 is DICOM: .*dcm2niix"):
        series_runs(tmp_path / "000001_02_03", {KEY: "1, 1, 1"})
