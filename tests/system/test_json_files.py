"""Damaged JSON of a run is refused with the file's name, and the line's number."""

import pytest
import torch

from managers.callbacks import Record
from managers.runs.folder import epochs_done, open_folder
from reports.html.experiments import training_seconds
from system.files import write_json, write_text
from system.json_files import read_lines, read_object


def test_lines_are_read_and_none_where_there_is_no_file(tmp_path):
    write_text(tmp_path / "a.jsonl", '{"epoch": 1, "loss": NaN}\n{"epoch": 2}\n')
    assert [line["epoch"] for line in read_lines(tmp_path / "a.jsonl", "epoch")] == [1, 2]
    assert read_lines(tmp_path / "absent.jsonl", "epoch") == []


@pytest.mark.parametrize("line", ["{", "", "null", "3", "[]", "{}", '{"epoch": "1"}',
                                  '{"epoch": true}', '{"epoch": null}', "[" * 100_000])
def test_a_damaged_line_is_numbered(line, tmp_path):
    path = tmp_path / "metrics.jsonl"
    write_text(path, '{"epoch": 1}\n' + line + "\n")
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2 is damaged"):
        read_lines(path, "epoch")
    with pytest.raises(ValueError, match=r"metrics.jsonl: line 2"):
        epochs_done(tmp_path)


def test_bytes_that_are_no_text_are_damage(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"epoch": 1}\n\xff\xfe')
    with pytest.raises(ValueError, match=r"metrics.jsonl: is damaged"):
        epochs_done(tmp_path)


@pytest.mark.parametrize("value", [None, 3, "text", [{}]])
def test_what_is_no_object_is_refused(value, tmp_path):
    write_json(tmp_path / "environment.json", value)
    with pytest.raises(ValueError, match=r"environment.json: is damaged \(no JSON object\)"):
        read_object(tmp_path / "environment.json")


def test_times_that_are_damaged_are_named(tmp_path):
    write_text(tmp_path / "timing.jsonl", '{"epoch": 1, "seconds": "?"}\n')
    with pytest.raises(ValueError, match=r"timing.jsonl: line 1 is damaged"):
        training_seconds(tmp_path)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1)
    with pytest.raises(ValueError, match=r"timing.jsonl: line 1 is damaged"):
        Record(tmp_path, optimizer, 3, [{"epoch": 1}])


@pytest.mark.parametrize("value", [[1], {"resumed": 3}, {"resumed": [3]}])
def test_a_resumed_run_with_a_damaged_environment_is_left_as_it_was(value, tmp_path):
    class Config:
        overwrite, resume = False, True

        def to_dict(self):
            return {"new": True}

    write_json(tmp_path / "config.json", {})
    write_json(tmp_path / "environment.json", value)
    with pytest.raises(ValueError, match=r"environment.json: is damaged"):
        open_folder(tmp_path, Config(), torch.device("cpu"), resumed=True)
    assert read_object(tmp_path / "config.json") == {}
