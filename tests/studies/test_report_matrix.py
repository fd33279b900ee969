"""The report of a study on disk."""

import csv
import json

import pytest

from studies.gather import progress_of
from studies.report_matrix import write_report
from tests.studies.stand_ins import config, run


def test_the_report_has_what_is_there_and_says_what_is_not(workplace):
    """Dice 0.5 and 0.6, one seed; the second seed's DSD is missing."""
    run(config("--seeds", 100))
    run(config("--seeds", 101, "--methods", "basic"))
    made = config()
    page = write_report(made, progress_of(made))
    assert "4 runs: 3 complete, 1 missing." in page
    folder = made.folder
    assert (folder / "report.md").read_text() == page
    results = json.loads((folder / "results.json").read_text())
    assert [run["state"] for run in results["runs"]] == ["complete"] * 3 + ["missing"]
    assert results["runs"][0]["minutes"] == 1.5
    assert results["runs"][0]["command"][:2] == ["python", "train.py"]
    table = {line["method"]: line for line in results["table"]}
    assert table["basic"]["dice_mean"] == pytest.approx(0.505)
    assert table["dsd"]["dice_mean"] == pytest.approx(0.6)
    gain = next(line for line in results["gains"] if line["metric"] == "dice")
    assert gain["mean_difference"] == pytest.approx(0.1) and gain["runs"] == 1
    with open(folder / "table.csv", newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["basic", "dsd"]
    comparison = folder / "comparisons" / "hippocampus_nnunet_dsd_against_basic_cases.csv"
    with open(comparison, newline="") as file:
        assert {(row["case_id"], row["difference"]) for row in csv.DictReader(file)
                if row["metric"] == "dice"} == {("1", "0.100000"), ("2", "0.100000")}
    assert (folder / "gains.png").is_file()


def test_tables_of_runs_that_are_gone_do_not_stay(workplace):
    run(config("--seeds", 100))
    made = config("--seeds", 100)
    write_report(made, progress_of(made))
    other = config("--seeds", 7)
    write_report(other, progress_of(other))
    assert not any((made.folder / name).exists() for name in ("table.csv", "gains.csv",
                                                              "gains.png"))
    assert not list((made.folder / "comparisons").iterdir())
