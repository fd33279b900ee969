"""The real command lines on phantoms: train, find everything in the run folder, evaluate."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

SMALL = ("--filters", 4, 8, 8, "--img_size", 16, 16, 16, "--device", "cpu")
SPLIT = ("--training_split", 3, "--validation_split", 2)
RUN_FILES = {"config.json", "environment.json", "splits.json", "metrics.jsonl", "timing.jsonl",
             "progress.png", "best.model", "last.model", "per_case.csv", "summary.json",
             "evaluations.jsonl", "pictures", "data"}


@pytest.fixture(scope="module")
def hippocampus(phantoms):
    return phantoms("hippocampus", 9, None)


@pytest.fixture(scope="module")
def trained(hippocampus, tmp_path_factory, run_script_in):
    """A folder where both scripts have trained two epochs, and what they printed."""
    folder = tmp_path_factory.mktemp("trained")
    done = {name: run_script_in(folder, script, hippocampus, output, "--experiment", name,
                                "--epochs", 2, "--show_verbose", *SMALL, *SPLIT)
            for script, name, output in (
                ("train_basic.py", "Hippocampus_nnUnet_Basic.exp", "w.pt"),
                ("train_SelfDistil_Original.py", "Hippocampus_nnUnet_SelfDist.exp",
                 "w.safetensors"))}
    return folder, done


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["Hippocampus_nnUnet_Basic.exp",
                                  "Hippocampus_nnUnet_SelfDist.exp"])
def test_a_run_folder_tells_the_whole_story(trained, name):
    folder, done = trained
    assert done[name].returncode == 0, done[name].stderr
    run = folder / "experiments" / name
    assert {path.name for path in run.iterdir()} >= RUN_FILES | {name.replace(".exp", ".log")}
    config = json.loads((run / "config.json").read_text())
    assert (config["dataset"], config["network"]) == ("hippocampus", "nnunet")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] and environment["command"][0].startswith("train_")
    split, = json.loads((run / "splits.json").read_text())
    assert [len(split[group]) for group in ("train", "val", "test")] == [4, 2, 3]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all({"loss", "lr", "dice_ce_out", "val_dice", "val_dice_anterior"} <= set(line)
               for line in lines)
    assert len(list((run / "pictures").glob("validation_*.png"))) >= 2
    assert any((run / "data").glob("events.out.tfevents.*"))
    rows = rows_of(run / "per_case.csv")
    assert {row["case_id"] for row in rows} == set(split["val"])
    assert {row["class_name"] for row in rows} == {"anterior", "posterior"}
    assert json.loads((run / "summary.json").read_text())["group"] == "validation"
    assert "mean" in done[name].stdout and "HD95 [mm]" in done[name].stdout


def test_only_dsd_logs_the_distillation_terms(trained):
    folder, _ = trained
    line = {name: json.loads((folder / "experiments" / f"Hippocampus_nnUnet_{name}.exp" /
                              "metrics.jsonl").read_text().splitlines()[0])
            for name in ("Basic", "SelfDist")}
    assert {"kl_dec", "kl_enc", "dice_ce_dec1", "dice_ce_dec2"} <= set(line["SelfDist"])
    assert not any(key.startswith(("kl", "dice_ce_dec")) for key in line["Basic"])
    terms = {k: v for k, v in line["SelfDist"].items() if k.startswith(("kl", "dice_ce"))}
    assert sum(terms.values()) == pytest.approx(line["SelfDist"]["loss"], rel=1e-5)
    assert line["Basic"]["loss"] == pytest.approx(line["Basic"]["dice_ce_out"])


def test_checkpoints_are_data_and_the_export_is_the_last_one(trained):
    folder, _ = trained
    run = folder / "experiments" / "Hippocampus_nnUnet_SelfDist.exp"
    last = torch.load(run / "last.model", weights_only=True)
    assert last["history"][-1]["epoch"] == 2
    exported = load_file(folder / "w.safetensors")
    assert set(exported) == set(last["network"])
    assert all(torch.equal(exported[key], value) for key, value in last["network"].items())
    assert set(torch.load(folder / "w.pt", weights_only=True)) < set(exported)


def test_a_dsd_checkpoint_without_its_heads_is_the_basic_network(trained):
    folder, _ = trained
    names = {name: set(torch.load(folder / "experiments" / f"Hippocampus_nnUnet_{name}.exp" /
                                  "best.model", weights_only=True)["network"])
             for name in ("Basic", "SelfDist")}
    heads = {key for key in names["SelfDist"] if key.startswith("heads.")}
    assert heads and names["SelfDist"] - heads == names["Basic"]


def test_eval_scores_the_test_cases_of_the_runs_own_split(trained, run_script):
    folder, _ = trained
    name = "Hippocampus_nnUnet_SelfDist.exp"
    done = run_script("eval.py", "--experiment", name, "--mode", "testing", "--device", "cpu",
                      "--save_predictions", "--no-show_verbose", cwd=folder)
    assert done.returncode == 0, done.stderr
    run = folder / "experiments" / name
    split, = json.loads((run / "splits.json").read_text())
    assert {row["case_id"] for row in rows_of(run / "per_case.csv")} == set(split["test"])
    summary = json.loads((run / "summary.json").read_text())
    assert summary["group"] == "testing" and summary["num_cases"] == 3
    assert {path.name for path in (run / "predictions").iterdir()} == {
        f"{case_id}.nii.gz" for case_id in split["test"]}
    about = json.loads((run / "predictions.json").read_text())
    assert about == dict.fromkeys(split["test"], {
        name: summary[name] for name in ("group", "saved_model", "epoch", "weights_sha256",
                                         "space", "amp")})
    assert len((run / "evaluations.jsonl").read_text().splitlines()) == 2


def test_eval_in_the_papers_convention_names_its_unit(trained, run_script):
    folder, _ = trained
    name = "Hippocampus_nnUnet_Basic.exp"
    done = run_script("eval.py", "--experiment", name, "--paper_metrics", "--saved_model", "last",
                      "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    row = rows_of(folder / "experiments" / name / "per_case.csv")[0]
    assert "hd95_voxels" in row and "hd95_mm" not in row


def test_eval_refuses_cases_the_run_was_trained_on(trained, run_script):
    folder, _ = trained
    name = "Hippocampus_nnUnet_Basic.exp"
    run = folder / "experiments" / name
    split, = json.loads((run / "splits.json").read_text())
    before = (run / "evaluations.jsonl").read_text()
    for arguments in (("--mode", "training"), ("--cases", split["train"][0])):
        done = run_script("eval.py", "--experiment", name, *arguments, cwd=folder)
        assert done.returncode == 2
        assert split["train"][0] in done.stderr and "--include_training_cases" in done.stderr
    assert (run / "evaluations.jsonl").read_text() == before
    done = run_script("eval.py", "--experiment", name, "--cases", split["train"][0],
                      "--include_training_cases", "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "summary.json").read_text())["num_cases"] == 1


def test_every_output_of_a_dsd_run_is_scored(trained, run_script):
    folder, _ = trained
    name = "Hippocampus_nnUnet_SelfDist.exp"
    run = folder / "experiments" / name
    done = run_script("scripts/score_side_outputs.py", name, "--mode", "testing", "--device", "cpu",
                      cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "best.model on 3 testing cases" in done.stdout
    assert (run / "side_outputs_testing.png").stat().st_size > 5000
    rows = rows_of(run / "side_outputs_testing.csv")
    names = ["out", "dec2", "dec1", "enc1", "enc2"]
    assert [row["output"] for row in rows] == names * 3
    assert all((row["kl"] != "") == (row["role"] == "student") for row in rows)


def test_a_basic_run_has_one_output_whose_dice_is_that_of_eval(trained, run_script):
    folder, _ = trained
    name = "Hippocampus_nnUnet_Basic.exp"
    run = folder / "experiments" / name
    for script in (("scripts/score_side_outputs.py", name), ("eval.py", "--experiment", name)):
        done = run_script(*script, "--mode", "testing", "--device", "cpu", cwd=folder)
        assert done.returncode == 0, done.stderr
    rows = rows_of(run / "side_outputs_testing.csv")
    assert [row["output"] for row in rows] == ["out"] * 3
    dice = [float(row["dice"]) for row in rows_of(run / "per_case.csv")]  # two classes of a case
    assert [float(row["dice"]) for row in rows] == pytest.approx(
        [(front + back) / 2 for front, back in zip(dice[::2], dice[1::2], strict=True)], abs=1e-5)


def test_the_same_seed_gives_the_same_metrics_by_any_loader(hippocampus, trained,
                                                            run_script):
    folder, _ = trained
    done = run_script("train_SelfDistil_Original.py", hippocampus, "_", "--experiment",
                      "Hippocampus_nnUnet_Again.exp", "--epochs", 2, "--num_workers", 2, "--cache",
                      "memory", *SMALL, *SPLIT, cwd=folder)
    assert done.returncode == 0, done.stderr
    entries = (folder / "experiments" / "cache" / "prepared_volumes").glob("*/entry.json")
    assert len(list(entries)) == 4 + 2  # of the runs before
    first, again = (folder / "experiments" / f"Hippocampus_nnUnet_{name}.exp" / "metrics.jsonl"
                    for name in ("SelfDist", "Again"))
    assert first.read_bytes() == again.read_bytes()


def test_two_deterministic_runs_are_the_same_to_the_bit(hippocampus, trained, run_script):
    """And, on a CPU, the run without."""
    folder, _ = trained
    files = []
    for name in ("One", "Two"):
        done = run_script("train_SelfDistil_Original.py", hippocampus, "_", "--experiment",
                          f"Hippocampus_nnUnet_{name}.exp", "--epochs", 2, "--deterministic",
                          *SMALL, *SPLIT, cwd=folder)
        torch.use_deterministic_algorithms(False)  # the scripts run in this process
        assert done.returncode == 0, done.stderr
        files.append(folder / "experiments" / f"Hippocampus_nnUnet_{name}.exp")
    states = [torch.load(run / "last.model", weights_only=True) for run in files]
    for name, value in states[0]["network"].items():
        assert torch.equal(value, states[1]["network"][name]), name
    if not torch.cuda.is_available():
        files.append(folder / "experiments" / "Hippocampus_nnUnet_SelfDist.exp")
    assert len({(run / "metrics.jsonl").read_bytes() for run in files}) == 1


def test_a_published_command_runs_as_printed(phantoms, run_script, tmp_path):
    """MM-WHS by UNETR: dataset, network and fold come from the name; there is no GPU here."""
    data = phantoms("mmwhs-ct", 5, (24, 24, 20))
    name = "CT_MMWHS_UNETR_SelfDist_Original_Fold2.exp"
    done = run_script("train_SelfDistil_Original.py", data, "_", "--img_size", 32, 32, 32,
                      "--batch_size", 1, "--epochs", 1, "--experiment", name, "--training_split",
                      2, "--device", "cuda:0", "--show_verbose", "--feature_size", 4)
    assert done.returncode == 0, done.stderr
    if not torch.cuda.is_available():
        assert "warning: --device cuda:0" in done.stderr
    run = tmp_path / "experiments" / name
    config = json.loads((run / "config.json").read_text())
    assert (config["dataset"], config["network"], config["fold"]) == ("mmwhs-ct", "unetr", 2)
    assert {row["case_id"] for row in rows_of(run / "per_case.csv")} == {"ct_train_1003",
                                                                         "ct_train_1004"}
    done = run_script("eval.py", "--experiment", name, "--mode", "testing")
    assert done.returncode == 2 and "no testing cases" in done.stderr
