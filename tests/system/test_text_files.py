"""Text as editors, Excel and PowerShell write it."""

import os

import pytest

from configs.dataset_json import read_dataset_json
from configs.nifti_names import split_nifti_name, without_role
from system.files import read_json
from system.text_files import few, listed_path, printable, read_text

TEXT = "première ligne\r\n{}\r\n"
KINDS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.mark.parametrize("encoding", KINDS)
def test_every_kind_of_windows_text_is_read(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "a.txt").splitlines() == ["première ligne", "{}"]


@pytest.mark.parametrize("encoding", KINDS)
def test_every_kind_of_windows_json_is_read(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"a":\r\n "é"}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"a": "é"}


def test_text_in_no_known_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("été".encode("latin-1"))
    with pytest.raises(ValueError, match="is no UTF-8 or UTF-16 text"):
        read_text(tmp_path / "a.txt")


@pytest.mark.timeout(5)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a.json: cannot be read \(is no regular file\)"):
        read_json(tmp_path / "a.json")


def test_paths_of_a_list_may_have_backslashes(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a\\c").touch()  # which is a name here, not a folder
    assert listed_path("b\\c", tmp_path) == tmp_path / "b" / "c"
    assert listed_path("a\\c", tmp_path) == tmp_path / "a\\c"


def test_what_steers_a_terminal_is_escaped():
    assert printable("a\nb\x1b é \udce9 \u3000") == "a\\nb\\x1b é \\udce9 \u3000"


@pytest.mark.parametrize(("name", "parts"), [
    ("a.nii.gz", ("a", ".nii.gz")), ("A.NII.GZ", ("A", ".NII.GZ")), ("a.b.Nii", ("a.b", ".Nii")),
    ("a.gz", None), ("a.nii.gz.bak", None)])
def test_endings_count_in_any_case(name, parts):
    assert split_nifti_name(name) == parts


def test_roles_count_in_any_case():
    assert without_role("CT_1_LABEL", "_label") == "CT_1"
    assert without_role("CT_1", "_label") is None


def test_a_dataset_json_may_list_upper_case_endings(tmp_path):
    (tmp_path / "dataset.json").write_text(
        '{"name": "a", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "b"},'
        ' "file_ending": ".NII.GZ", "training":'
        ' [{"image": "imagesTr/A_0000.NII.GZ", "label": "labelsTr/A.NII.GZ"}]}')
    case, = read_dataset_json(tmp_path / "dataset.json")["cases"]
    assert case == {"case_id": "A", "image": "imagesTr/A_0000.NII.GZ",
                    "label": "labelsTr/A.NII.GZ"}


@pytest.mark.parametrize("name", ["a\\nb", "\\ud800", "\\u001b[2J"])
def test_names_that_no_table_can_hold_are_refused_at_once(tmp_path, name):
    (tmp_path / "dataset.json").write_text(
        f'{{"name": "{name}", "modality": {{"0": "{name}"}},'
        f' "labels": {{"0": "background", "1": "{name}"}}}}')
    with pytest.raises(ValueError, match="cannot be written to tables") as raised:
        read_dataset_json(tmp_path / "dataset.json")
    assert len(str(raised.value).splitlines()) == 4


@pytest.mark.parametrize(("names", "want"), [
    ([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b, ...")])
def test_names_beyond_the_limit_become_dots(names, want):
    assert few(names, 2) == want
