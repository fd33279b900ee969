"""Upper-case endings are taken; whatever is passed over is counted and named."""

import gzip

import nibabel
import numpy as np
import pytest

from data import DATASETS, DataError
from data.checks.inputs import find_inputs, inputs_passed_over
from data.checks.passed_over import passed_over_below
from data.nifti.file_kinds import DICOM_REMEDY
from data.preparation.ct_volumes import find_nifti

HIPPOCAMPUS, HEARTS = DATASETS["hippocampus"], DATASETS["mmwhs-ct"]
DICOM = bytes(128) + b"DICM"


@pytest.fixture
def files(tmp_path):
    """files({name: bytes, ...}) writes files below tmp_path."""

    def write(contents):
        for name, content in contents.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        return tmp_path

    return write


def pairs(*names):
    return {f"{folder}/{name}": b"" for folder in ("imagesTr", "labelsTr") for name in names}


def told(problems):
    return [f"{one.found}; {one.remedy}" for one in problems]


def test_endings_in_any_case_are_cases(files):
    root = files(pairs("a.nii.gz", "B.NII.GZ", "c.Nii"))
    cases, problems = HIPPOCAMPUS.find_cases(root)
    assert [case.case_id for case in cases] == ["B", "a", "c"] and problems == []
    assert HIPPOCAMPUS.passed_over(root) == []


def test_endings_and_roles_in_any_case_side_by_side(files):
    root = files({f"{name}_{role}": b"" for name in ("ct_train_1", "CT_TRAIN_2")
                  for role in ("IMAGE.NII.GZ", "label.nii.gz")} | {"mr_train_1_image.mha": b""})
    assert [case.case_id for case in HEARTS.find_cases(root)[0]] == ["CT_TRAIN_2", "ct_train_1"]
    assert HEARTS.passed_over(root) == []  # mr_... belongs to another dataset


def test_foreign_files_beside_the_cases_are_counted_and_named(files):
    root = files(pairs("a.nii.gz") | {
        "imagesTr/b.mha": b"ObjectType = Image", "imagesTr/c.mha": b"ObjectType = Image",
        "imagesTr/d.nrrd": b"NRRD0004", "imagesTr/e.hdr": b"", "imagesTr/e.img": b"",
        "imagesTr/f.dcm": b"", "imagesTr/IM1": DICOM, "imagesTr/g.xyz": b"",
        "imagesTr/g.nii.gz.bak": gzip.compress(nibabel.Nifti1Image(
            np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes()),
        "imagesTr/p1/IM1": DICOM, "imagesTr/notes.txt": b"", "imagesTr/README": b"",
        "imagesTr/._a.nii.gz": b""})
    assert told(HIPPOCAMPUS.passed_over(root)) == [
        f"2 file(s), each DICOM, passed over: IM1, f.dcm; {DICOM_REMEDY}",
        "2 file(s), each a MetaImage, passed over: b.mha, c.mha; export it as .nii.gz (3D Slicer, "
        "or SimpleITK)",
        "1 file(s), each an NRRD file, passed over: d.nrrd; export it as .nii.gz (3D Slicer, or "
        "SimpleITK)",
        "2 file(s), each half of an .hdr/.img pair, passed over: e.hdr, e.img; convert it to "
        ".nii.gz (nibabel, FSL)",
        "1 file(s), each NIfTI by its content, passed over: g.nii.gz.bak; rename it so that it "
        "ends in .nii.gz",
        "1 file(s) passed over: g.xyz; if they are images, convert them to .nii.gz",
        f"1 folder(s) with a file that is DICOM passed over: p1; {DICOM_REMEDY}"]


def test_a_file_without_its_role_is_passed_over_side_by_side(files):
    root = files({"ct_1_image.nii": b"", "ct_1_label.nii": b"", "ct_2.nii": b"",
                  "dataset.zip": b"", "below/a.dcm": b""})
    assert told(HEARTS.passed_over(root)) == [
        "1 file(s) passed over: ct_2.nii; if they are images, convert them to .nii.gz"]


def test_many_files_of_a_kind_are_not_all_named(files):
    root = files({f"imagesTr/{number:03}": DICOM for number in range(300)} | {"labelsTr/a": b""})
    found = HIPPOCAMPUS.passed_over(root)[0].found
    assert found == "300 file(s), each DICOM, passed over: 000, 001, 002, ..."


@pytest.mark.parametrize("contents", [
    {"imagesTr/IM1": DICOM, "labelsTr/a.txt": b""}, {"patient/series/IM1": DICOM}])
def test_a_dataset_of_dicom_names_dcm2niix(files, contents):
    with pytest.raises(DataError, match="IM1 is DICOM: .*dcm2niix"):
        HIPPOCAMPUS.find_cases(files(contents))


def test_a_folder_of_nifti_elsewhere_is_not_called_foreign(files):
    root = files({"images/a.nii": nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8),
                                                      np.eye(4)).to_bytes()})
    with pytest.raises(DataError) as raised:
        HIPPOCAMPUS.find_cases(root)
    assert "rename" not in str(raised.value)


def test_inputs_of_prediction(files):
    root = files({"i/a.NII.GZ": b"", "i/b.mha": b"", "l/a.nii": b"", "l/b.nrrd": b"NRRD"})
    (case,), problems = find_inputs([root / "i"], root / "l")
    assert (case.image.name, case.label.name, problems) == ("a.NII.GZ", "a.nii", [])
    found = inputs_passed_over([root / "i", root / "i" / "a.NII.GZ"], root / "l")
    assert [one.found.rsplit(" ", 1)[1] for one in found] == ["b.mha", "b.nrrd"]


def test_lists_as_windows_writes_them(files, monkeypatch):
    root = files({"i/a.nii": b"", "bom.TXT": b"\xef\xbb\xbfi/a.nii\r\n\r\n",
                  "utf16.txt": "i\\a.nii\r\n".encode("utf-16")})
    monkeypatch.chdir(root)
    for name in ("bom.TXT", "utf16.txt"):
        (case,), problems = find_inputs([name])
        assert case.case_id == "a" and not problems


def test_volumes_for_preparation(files):
    root = files({"A.NII.GZ": b"", "b/c.nii": b"", "b/c_SEG.NII": b"", "b/d.dcm": b"",
                  ".hidden/e.mha": b"", "notes.txt": b""})
    volumes, num_labels = find_nifti(root)
    assert [one.name for one in volumes] == ["A", "b_c"] and num_labels == 1
    found, = passed_over_below(root, lambda name: ".nii" in name.lower())
    assert found.found == "1 file(s), each DICOM, passed over: b/d.dcm"
    (root / "A.NII.GZ").unlink()
    (root / "b" / "c.nii").unlink()
    with pytest.raises(ValueError, match="holds no NIfTI volumes.*b/d.dcm is DICOM: .*dcm2niix"):
        find_nifti(root)
