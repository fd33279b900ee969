"""The command lines on the real MSD Hippocampus set, with a network small enough for a test."""

import csv
import json

import pytest

pytestmark = pytest.mark.full


def test_train_and_score_the_published_split(hippocampus_dir, run_script, tmp_path):
    name = "Hippocampus_nnUnet_SelfDist.exp"
    done = run_script("train_SelfDistil_Original.py", hippocampus_dir, "_", "--experiment", name,
                      "--filters", 8, 16, 32, "--img_size", 24, 24, 24, "--epochs", 1, "--lr",
                      0.005, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "experiments" / name
    line, = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert line["val_dice"] > 0.3  # far above chance: the labels fit the images

    done = run_script("eval.py", "--experiment", name, "--mode", "testing", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    with open(run / "per_case.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    cases = sorted({row["case_id"] for row in rows})
    assert (len(cases), cases[0], cases[-1]) == (60, "hippocampus_311", "hippocampus_394")
    summary = json.loads((run / "summary.json").read_text())
    assert summary["mean_foreground_dice"] > 0.3
