"""The networks in models/: their cards say what their files say, and they segment as they did."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

MODELS = sorted((Path(__file__).resolve().parents[2] / "models").glob("*.exp"))

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.stem)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def mean(rows, column):
    return sum(float(row[column]) for row in rows) / len(rows)


def test_there_are_models():
    assert MODELS


@each_model
def test_the_card_has_the_scores_of_these_weights(model):
    summary = json.loads((model / "summary.json").read_text())
    with safe_open(model / "weights.safetensors", "pt") as file:
        assert file.metadata()["weights_sha256"] == summary["weights_sha256"]
    rows, card = rows_of(model / "per_case.csv"), (model / "README.md").read_text()
    parts = {name: [row for row in rows if row["class_name"] == name]
             for name in ("anterior", "posterior")} | {"mean": rows}
    for name, part in parts.items():
        line = (f"| {name} | {mean(part, 'dice'):.3f} | {mean(part, 'hd95_mm'):.2f} mm | "
                f"{mean(part, 'assd_mm'):.2f} mm | {mean(part, 'surface_dice_1mm'):.3f} |")
        assert line in card, line
    assert "CC-BY-SA 4.0" in card
    assert re.search(rf"{summary['parameters']:,} weights", card)


@each_model
def test_the_scored_cases_are_the_held_out_ones(model):
    fold, = json.loads((model / "splits.json").read_text())
    assert {row["case_id"] for row in rows_of(model / "per_case.csv")} == set(fold["test"])
    assert len(fold["test"]) == 60 and not set(fold["test"]) & {*fold["train"], *fold["val"]}


@each_model
def test_it_is_small_and_without_paths_of_a_machine(model):
    assert (model / "weights.safetensors").stat().st_size < 12e6
    config = json.loads((model / "config.json").read_text())
    assert config["data_dir"] == "Task04_Hippocampus"
    assert not any(isinstance(value, str) and value.startswith("/") for value in config.values())


@each_model
def test_it_finds_the_hippocampus_of_a_phantom(model, phantoms, run_script, tmp_path):
    """It was trained on patients alone."""
    data = phantoms("hippocampus", 2, (36, 50, 36)) / "Task04_Hippocampus"
    out = tmp_path / "out"
    done = run_script("predict.py", "--experiment", model, "--input", data / "imagesTr", "--labels",
                      data / "labelsTr", "--output", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = rows_of(out / "per_case.csv")
    assert len(rows) == 4 and mean(rows, "dice") > 0.35


@each_model
def test_it_scores_as_its_card_says(model, hippocampus_dir, run_script, tmp_path):
    copy = tmp_path / model.name
    shutil.copytree(model, copy)
    cases = ["hippocampus_311", "hippocampus_330"]
    done = run_script("eval.py", "--experiment", copy, "--data", hippocampus_dir, "--cases", *cases,
                      "--device", "cpu")
    assert done.returncode == 0, done.stderr
    expected = [row for row in rows_of(model / "per_case.csv") if row["case_id"] in cases]
    found = rows_of(copy / "per_case.csv")
    assert len(found) == len(expected) == 4
    for now, then in zip(found, expected, strict=True):
        assert (now["case_id"], now["class_name"]) == (then["case_id"], then["class_name"])
        assert float(now["dice"]) == pytest.approx(float(then["dice"]), abs=2e-3)
