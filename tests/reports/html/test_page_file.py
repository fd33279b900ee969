"""report.html: what it says, and that names cannot break it."""

import base64
import gzip
import json
import re
import shutil

import numpy as np
import pytest

from metrics import METRICS_MM
from reports import per_case_csv, read_per_case, write_report
from reports.__main__ import main
from reports.html import run_data
from reports.html.experiments import read_experiment
from reports.html.run_data import headline, shown_views
from reports.html.views import MAX_VOXELS, CaseView, case_view
from reports.volumes import write_volumes
from system.files import write_json


def data_of(path):
    """What the page's script reads."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found[1]), text


def test_the_numbers_of_the_page(run, hostile):
    folder = run("A")
    data, text = data_of(write_report([str(folder)]))
    one = data["experiments"][0]
    dice = one["headline"][0]
    # Case means 0.575, 0.675, 0.775.
    assert dice["metric"] == "dice" and dice["mean"] == pytest.approx(0.675) and dice["n"] == 3
    assert 0.575 <= dice["low"] < 0.675 < dice["high"] <= 0.775
    assd = one["headline"][-1]
    assert (assd["metric"], assd["mean"], assd["n"]) == ("assd_mm", 1.0, 2)
    assert [row["assd_mm"] for row in one["rows"]] == [None, None, 1, 1, 1, 1]
    assert one["about"] == {"group": "testing", "saved_model": "best", "space": "resampled"}
    assert [line["epoch"] for line in one["runs"]["A"]["history"]] == [1, 2, 3, 4, 5, 6]
    assert one["runs"]["A"]["settings"]["note"] == hostile
    assert [case["case_id"] for case in data["cases"]] == ["case1", hostile, "case3"]
    packed = re.search(r'id="volume-1">([^<]*)<', text)[1]
    content = gzip.decompress(base64.b64decode(packed))
    shape = data["cases"][1]["shape"]
    assert shape == [12, 10, 8]
    image, label, prediction = np.frombuffer(content, np.uint8).reshape(3, *shape)
    assert image.max() == 63 and image[4, 4, 4] == 63 and image[0, 0, 0] == 0
    assert label[3, 3, 2] == 1 and prediction[3, 3, 2] == 0 and prediction[7, 3, 2] == 1


def test_the_head_of_the_page(run, hostile):
    folder = run("A")
    write_json(folder / "config.json", {"dataset": "hippocampus", "network": "nnunet",
                                        "method": "dsd"})
    write_json(folder / "splits.json", [{"train": ["x", "y"], "val": []}])
    write_json(folder / "summary.json", {"group": "testing", "parameters": 1234})
    (folder / "timing.jsonl").write_text('{"epoch": 1, "seconds": 40}\n'
                                         '{"epoch": 2, "seconds": 45.5}\n')
    data, _ = data_of(write_report([str(folder)]))
    assert data["experiments"][0]["facts"] == [
        "hippocampus", "nnunet", "DSD", "2 training cases", "1,234 parameters",
        "trained for 1 min"]
    result, = data["results"]
    assert result.startswith("Mean Dice 0.675 (95 % interval 0.575 to 0.775) over 3 testing cases")
    assert result.endswith("worst case case1 with 0.575.")


def test_an_older_folder_has_fewer_facts_and_no_none(run):
    data, text = data_of(write_report([str(run("A"))]))
    assert data["experiments"][0]["facts"] == ["nnunet"]
    assert data["experiments"][0]["volumes"] == [] == data["experiments"][0]["agreement"]
    assert "None" not in text


def test_the_volumes_of_the_scored_cases(run):
    folder = run("A")
    rows = [{"case_id": case_id, "class_name": "front", "label_ml": 2.0, "predicted_ml": 2.0 + at}
            for at, case_id in enumerate(("case1", "case3"))]
    write_volumes(folder, rows)
    data, _ = data_of(write_report([str(folder)]))
    one = data["experiments"][0]
    assert one["volumes"] == rows
    line, = one["agreement"]  # differences 0 and 1
    assert (line["bias_ml"], line["sd_ml"]) == pytest.approx((0.5, 0.5**0.5))


def test_a_metric_that_joins_the_registry_is_shown(run, monkeypatch):
    one = read_experiment(str(run("A")))
    for row in one["rows"]:
        row["nsd"] = 0.25
    monkeypatch.setattr(run_data, "METRICS_MM", (*METRICS_MM, "nsd"))
    data = run_data.page_data([one])
    assert data["metrics"] == [*METRICS_MM, "nsd"]
    assert data["metric_info"]["nsd"]["title"] == "NSD"
    assert data["metric_info"]["hd95_mm"] == {"title": "HD95 [mm]", "digits": 2, "rises": False}
    assert data["experiments"][0]["headline"][-1]["mean"] == 0.25


def test_a_comparison_pairs_the_cases(run):
    paths = [str(run("A")), str(run("B", 0.02))]
    path = write_report(paths)
    data, _ = data_of(path)
    assert path.parent.name == "B.exp"
    result = data["comparisons"][0]["results"][0]
    assert (result["metric"], result["class_name"]) == ("dice", "overall")
    assert result["mean_difference"] == pytest.approx(0.02) and result["wins"] == 3
    assert data["cases"][0]["of"] == ["A", "B"]
    verdict = data["comparisons"][0]["verdicts"][0]
    assert data["results"] == [
        "No verdict on B against A: 1 pair of runs, a verdict needs 3. On these cases Dice +0.020 "
        "(95 % over cases +0.020 to +0.020)."]
    assert (verdict["runs"], verdict["verdict"]) == (1, "fewer than 3 paired runs")
    assert verdict["run_low"] is None


def test_the_folds_of_two_cross_validations_are_pairs_of_runs(tmp_path):
    def rows(gain):
        return [{"fold": fold, "case_id": f"case{fold}{at}", "class": 1, "class_name": "left",
                 "dice": 0.5 + gain * (1 + 0.01 * fold), "hd95_mm": 3.0, "msd_mm": 1.0,
                 "msd_label_to_pred_mm": 1.0, "assd_mm": 1.0, "empty": ""}
                for fold in (1, 2, 3) for at in range(4)]

    for name, gain in (("A", 0.0), ("B", 0.1)):
        folder = tmp_path / f"{name}.cv"
        folder.mkdir()
        per_case_csv(folder / "per_case.csv", rows(gain))
    data, _ = data_of(write_report([str(tmp_path / "A.cv"), str(tmp_path / "B.cv")]))
    verdict = data["comparisons"][0]["verdicts"][0]
    assert (verdict["metric"], verdict["runs"], verdict["verdict"]) == ("dice", 3, "better")
    assert data["results"] == ["B is better than A in Dice: +0.102 (95 % over runs +0.098 to "
                               "+0.106), 3 pairs of runs."]
    # gains 0.101, 0.102, 0.103 in three folds, so half as many test as training cases
    half = 4.302653 * 0.001 * (1 / 3 + 1 / 2) ** 0.5
    assert (verdict["run_low"], verdict["run_high"]) == pytest.approx(
        (0.102 - half, 0.102 + half), abs=1e-6)


def test_the_same_runs_give_the_same_bytes_and_nothing_is_loaded(run, hostile):
    folder = str(run("A"))
    first = write_report([folder]).read_bytes()
    assert write_report([folder]).read_bytes() == first
    text = first.decode()
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org/2000/svg)|@import|url\(",
                         text.replace("\\u003cimg src=x", ""))
    assert "{{" not in re.sub(r'"[^"]*"', "", text.replace(hostile, "")) and "<img" not in text
    assert text.count("</script>") == 2 + 3  # data, script, and a volume of each case


def test_large_volumes_are_thinned_along_their_finest_axes():
    shape = (300, 300, 100)
    view = case_view("a", np.zeros(shape, np.float32), np.zeros(shape, np.uint8),
                     np.zeros(shape, np.uint8), (0.5, 0.5, 2.0), (0.0, 1.0), 10)
    assert view.image.size <= MAX_VOXELS // 10
    assert view.image.shape == (100, 100, 100) and view.spacing_mm == (1.5, 1.5, 2.0)


def test_without_volumes_there_is_a_page_without_a_viewer(run):
    data, _ = data_of(write_report([str(run("A", views=False))]))
    assert data["cases"] == []


def test_the_command_line(run, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["reports", str(run("A")), "--output",
                                     str(tmp_path / "out" / "a.html")])
    main()
    assert str(tmp_path / "out" / "a.html") in capsys.readouterr().out
    assert (tmp_path / "out" / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_a_cross_validation_has_the_cases_of_its_folds(run, hostile, tmp_path):
    first = run("NAME_Fold1")
    rows = read_per_case(first / "per_case.csv")
    folder = tmp_path / "experiments" / "NAME.cv"
    folder.mkdir()
    per_case_csv(folder / "per_case.csv", [{"fold": 1 + (row["case_id"] == "case3")} | row
                                           for row in rows])
    data, _ = data_of(write_report([str(folder)]))
    one = data["experiments"][0]
    assert one["about"] == {"group": "validation", "folds": 2}
    assert list(one["runs"]) == ["NAME_Fold1"]  # the other fold's run is not here any more
    assert [case["case_id"] for case in data["cases"]] == ["case1", hostile]
    assert {row["fold"] for row in one["rows"]} == {1, 2}


def test_headline_of_one_case_has_no_interval():
    rows = [{"case_id": "a", "class_name": "x", "dice": 0.5}]
    assert headline(rows, ["dice"]) == [{"metric": "dice", "mean": 0.5, "low": None, "high": None,
                                         "n": 1}]


def test_cases_that_the_run_was_trained_on_are_counted(run):
    folder = run("A")
    write_json(folder / "splits.json", [{"train": ["case1", "case7"], "val": ["case3"]}])
    data, _ = data_of(write_report([str(folder)]))
    assert data["experiments"][0]["about"]["trained_on"] == 1


def test_the_title_says_which_is_the_baseline(run):
    _, text = data_of(write_report([str(run(name)) for name in "ABC"]))
    assert "<title>B, C against A</title>" in text


def test_runs_of_one_name_are_told_apart_by_their_folders(run, tmp_path):
    first, other = run("A"), run("B")
    second = tmp_path / "second" / "experiments" / "A.exp"
    shutil.copytree(first, second)
    data, text = data_of(write_report([str(first), str(second), str(other)]))
    names = [f"{tmp_path.name}/experiments/A.exp", "second/experiments/A.exp", "B"]
    assert [one["name"] for one in data["experiments"]] == names
    assert data["cases"][0]["of"] == names
    assert [one["a"] for one in data["comparisons"]] == names[:1] * 2
    same, _ = data_of(write_report([str(first), str(first)]))  # nothing tells these apart
    assert [one["name"] for one in same["experiments"]] == ["A.exp"] * 2


def test_many_folds_have_no_more_voxels_than_one_run(run):
    one = read_experiment(str(run("A")))
    side = 200
    volume = np.zeros((side, side, side), np.uint8)
    many = [CaseView(f"case{n}", (1.0, 1.0, 2.0), volume, volume, volume) for n in range(4)]
    shown = shown_views([one | {"views": many}])
    assert sum(np.prod(view["shape"]) for view in shown) <= MAX_VOXELS < 4 * side**3
    for view in shown:  # as long as before, in mm, to the last step
        for n, mm, whole in zip(view["shape"], view["spacing_mm"], (1.0, 1.0, 2.0), strict=True):
            assert side * whole <= n * mm < side * whole + mm
        assert view["volumes"][0].shape == tuple(view["shape"])
