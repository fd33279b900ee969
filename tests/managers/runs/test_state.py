"""Which scores count for a run: of its best.model, on all cases of a group, from one evaluation."""

import os

import pytest
import torch

from managers import load_checkpoint, network_of, save_checkpoint
from managers.runs.checkpoints import weights_sha256
from managers.runs.state import is_scored
from reports import per_case_csv
from system.files import read_json, sha256_of, write_json


@pytest.fixture
def scored(config, tmp_path):
    """A run folder that validates on "c", scored as by an older version."""
    folder, settings = tmp_path / "run.exp", config()
    write_json(folder / "config.json", settings.to_dict())
    write_json(folder / "splits.json", [{"train": ["a"], "val": ["c"], "test": []}])
    network = network_of(settings)
    save_checkpoint(folder / "best.model", network, torch.optim.SGD(network.parameters(), 1),
                    [{"epoch": 1}], {})
    per_case_csv(folder / "per_case.csv", [{"case_id": "c", "class": 1, "class_name": "anterior",
                                            "dice": 0.5, "hd95_mm": 1.0, "empty": ""}])
    write_json(folder / "summary.json", {"group": "validation", "saved_model": "best"})
    return folder


def change(folder, **about):
    path = folder / "summary.json"
    write_json(path, read_json(path) | about)


@pytest.mark.parametrize("about", [{"group": "testing"}, {"saved_model": "last"},
                                   {"space": "native"}, {"amp": "bf16"}])
def test_only_an_evaluation_like_trainings_own_counts(scored, about):
    assert is_scored(scored, "validation")
    change(scored, **about)
    assert not is_scored(scored, "validation")


@pytest.mark.parametrize("name", ["best.model", "per_case.csv"])
def test_files_younger_than_their_summary_do_not_count(scored, name):
    """An older version of the project, killed in an evaluation, left such."""
    later = (scored / "summary.json").stat().st_mtime + 1
    os.utime(scored / name, (later, later))
    assert not is_scored(scored, "validation")


@pytest.mark.parametrize("other", ["rows", "weights"])
def test_scores_count_for_the_rows_and_the_weights_that_they_name(scored, other):
    best = load_checkpoint(scored / "best.model")
    change(scored, weights_sha256=weights_sha256(best["network"]),
           per_case_sha256=sha256_of(scored / "per_case.csv"))
    os.utime(scored / "summary.json", (1, 1))  # as a copy of the folder may have it
    assert is_scored(scored, "validation")
    if other == "rows":
        path = scored / "per_case.csv"
        path.write_text(path.read_text().replace("0.5", "0.6"))
    else:
        next(iter(best["network"].values())).reshape(-1)[0] += 1
        torch.save(best, scored / "best.model")
    for name in ("best.model", "per_case.csv"):
        os.utime(scored / name, (0, 0))
    assert not is_scored(scored, "validation")
