"""What report.html cannot be made of is refused, with its name and the way out."""

import numpy as np
import pytest

from reports import per_case_csv, read_per_case, write_report
from reports.html.views import read_views
from system.files import write_json, write_text


@pytest.mark.parametrize(("missing", "says"), [
    ("per_case.csv", "python eval.py --experiment"), ("config.json", "no run here"),
    ("summary.json", "its evaluation was stopped before its end; run again: python eval.py")])
def test_what_is_missing_is_named_with_the_way_to_it(run, missing, says):
    folder = run("A")
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=says):
        write_report([str(folder)])


def test_rows_of_another_evaluation_are_refused(run):
    folder = run("A")
    write_json(folder / "summary.json", {"group": "testing", "per_case_sha256": "0"})
    with pytest.raises(ValueError, match="per_case.csv is not that of summary.json; run again"):
        write_report([str(folder)])


def test_a_cross_validation_that_is_not_finished_is_refused(run, tmp_path):
    rows = [{"fold": 1} | row for row in read_per_case(run("A") / "per_case.csv")]
    folder = tmp_path / "A.cv"
    write_json(folder / "cv.json", {"complete": False})
    per_case_csv(folder / "per_case.csv", rows)
    with pytest.raises(ValueError, match="A.cv: is not finished; run cross_validate.py"):
        write_report([str(folder)])


def test_damaged_volumes_are_refused(run):
    folder = run("A")
    path = folder / "report_volumes.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="run eval.py again"):
        write_report([str(folder)])
    np.savez(path, about=np.array({"a": 1}, dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        read_views(path)


def test_other_cases_cannot_be_compared(run):
    a, b = run("A"), run("B")
    lines = (b / "per_case.csv").read_text().splitlines()
    (b / "per_case.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(ValueError, match="in A but not in B"):
        write_report([str(a), str(b)])


def with_rows(folder, change):
    """Write the run's per_case.csv again with what `change` makes of its rows."""
    per_case_csv(folder / "per_case.csv", change(read_per_case(folder / "per_case.csv")))


@pytest.mark.parametrize(("change", "says"), [
    (lambda rows: rows[:-1], "a case lacks a class"),
    (lambda rows: rows + rows[:1], "a case has a class twice"),
    (lambda rows: [rows[0] | {"class_name": "other"}, *rows[1:]], "a class has two names"),
    (lambda rows: [rows[0] | {"hd95_mm": float("inf")}, *rows[1:]], "a value is infinite")])
def test_scores_that_cannot_be_right_are_refused(run, change, says):
    folder = run("A")
    with_rows(folder, change)
    with pytest.raises(ValueError, match=f"per_case.csv.*{says}.*evaluate the run again"):
        write_report([str(folder)])
    assert not (folder / "report.html").exists()


def test_a_line_that_is_cut_is_refused(run):
    folder = run("A")
    path = folder / "per_case.csv"
    path.write_text(path.read_text().rstrip().rsplit(",", 1)[0] + "\n")
    with pytest.raises(ValueError, match="per_case.csv.*fewer cells"):
        write_report([str(folder)])


@pytest.mark.parametrize(("name", "text", "says"), [
    ("metrics.jsonl", "null\n", "line 1 is damaged .*epoch"), ("metrics.jsonl", "{", "is damaged"),
    ("metrics.jsonl", '{"epoch": "1"}\n', "line 1"), ("environment.json", "[1]", "no JSON object"),
    ("summary.json", "[]", "no JSON object"), ("config.json", "3", "no JSON object"),
    ("splits.json", '[{"val": []}]', "no training cases of fold 1")])
def test_a_damaged_file_of_the_run_is_named(run, name, text, says):
    folder = run("A")
    write_text(folder / name, text)
    with pytest.raises(ValueError, match=f"{name}.*{says}"):
        write_report([str(folder)])


def test_scores_on_other_grids_are_not_compared(run):
    a, b = run("A"), run("B")
    write_json(b / "summary.json", {"group": "testing", "saved_model": "best", "space": "native"})
    with pytest.raises(ValueError, match="A: resampled, B: native.*evaluate all in the same way"):
        write_report([str(a), str(b)])


def test_a_folder_is_no_place_for_the_page(run, tmp_path):
    folder = run("A")
    with pytest.raises(ValueError, match="is a folder; give the name of a file"):
        write_report([str(folder)], tmp_path)
