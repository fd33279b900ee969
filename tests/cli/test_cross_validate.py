"""cross_validate.py on phantoms: two folds of both methods, then what is left to do."""

import csv
import json
import shutil

import pytest

FLAGS = ("--dataset", "hippocampus", "--network", "nnunet", "--folds", 1, 2, "--filters", 4, 8, 8,
         "--img_size", 16, 16, 16, "--epochs", 1, "--training_split", 3, "--device", "cpu")


@pytest.fixture(scope="module")
def data(phantoms):
    return phantoms("hippocampus", 9, None)


@pytest.fixture(scope="module")
def validated(data, tmp_path_factory, run_script_in):
    """A folder with both cross-validations, and what they printed."""
    folder = tmp_path_factory.mktemp("validated")

    def call(*arguments):
        return run_script_in(folder, "cross_validate.py", data, *FLAGS, *arguments)

    return folder, {
        "Base": call("--method", "basic", "--experiment", "Base"),
        "Both": call("--method", "dsd", "--experiment", "Both", "--executor", "submitit-local",
                     "--compare_with", "Base")}


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["Base", "Both"])
def test_all_folds_are_trained_and_their_cases_in_one_table(validated, name):
    folder, done = validated
    assert done[name].returncode == 0, done[name].stderr
    cv = folder / "experiments" / f"{name}.cv"
    about = json.loads((cv / "cv.json").read_text())
    assert about["experiments"] == [f"{name}_Fold1.exp", f"{name}_Fold2.exp"] and about["complete"]
    rows, expected = rows_of(cv / "per_case.csv"), []
    for fold, experiment in enumerate(about["experiments"], start=1):
        run = folder / "experiments" / experiment
        config = json.loads((run / "config.json").read_text())
        assert (config["fold"], config["num_folds"]) == (fold, 2)
        expected += [{"fold": str(fold), **row} for row in rows_of(run / "per_case.csv")]
    assert rows == expected and len({row["case_id"] for row in rows}) == 6
    summary = json.loads((cv / "summary.json").read_text())
    dice = [float(row["dice"]) for row in rows if row["class_name"] == "anterior"]
    assert summary["per_class"]["anterior"]["dice"]["mean"] == pytest.approx(sum(dice) / 6)
    assert (cv / "table.txt").read_text().strip() in done[name].stdout
    assert (cv / "folds.png").stat().st_size > 0


def test_the_two_are_compared_case_by_case(validated):
    folder, done = validated
    cv = folder / "experiments" / "Both.cv"
    text = (cv / "comparison_with_Base.txt").read_text()
    assert text.strip() in done["Both"].stdout and "A (baseline)  Base" in text
    dice, = (row for row in rows_of(cv / "comparison_with_Base.csv")
             if (row["metric"], row["class_name"]) == ("dice", "overall"))
    means = [json.loads((folder / "experiments" / f"{name}.cv" / "summary.json").read_text())
             ["metrics"]["dice"]["mean"] for name in ("Base", "Both")]
    assert float(dice["mean_difference"]) == pytest.approx(means[1] - means[0], abs=2e-6)
    assert (cv / "comparison_with_Base.png").stat().st_size > 0


def test_finished_folds_are_skipped_and_the_tables_made_again(validated, data, run_script):
    folder, _ = validated
    experiments = folder / "experiments"
    trained = {path: path.stat().st_mtime_ns for path in experiments.glob("*.exp/*.model")}
    (experiments / "Base.cv" / "table.txt").unlink()
    done = run_script("cross_validate.py", data, *FLAGS, "--method", "basic", "--experiment",
                      "Base.cv", "--compare_with", "Both", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "fold 1: finished before" in done.stdout and "fold 2: finished before" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert {"table.txt", "comparison_with_Both.png"} <= {
        path.name for path in (experiments / "Base.cv").iterdir()}


def test_a_fold_that_fails_is_named_and_the_other_is_scored_again(validated, data, run_script,
                                                                 tmp_path):
    """Fold 1 has lost best.model and its scores; fold 2 was evaluated with other weights since."""
    shutil.copytree(validated[0] / "experiments", tmp_path / "experiments")
    cv = tmp_path / "experiments" / "Base.cv"
    (tmp_path / "experiments" / "Base_Fold1.exp" / "best.model").unlink()
    about = json.loads((cv / "cv.json").read_text())
    del about["scored"]["1"]
    (cv / "cv.json").write_text(json.dumps(about))
    (cv / "fold2.csv").unlink()
    summary = tmp_path / "experiments" / "Base_Fold2.exp" / "summary.json"
    summary.write_text(summary.read_text().replace('"best"', '"last"'))
    before = [row for row in rows_of(cv / "per_case.csv") if row.pop("fold") == "2"]
    done = run_script("cross_validate.py", data, *FLAGS, "--method", "basic", "--experiment",
                      "Base")
    assert done.returncode == 1
    assert "1 of 2 folds are missing (1)" in done.stderr and "exit status 2" in done.stderr
    assert "experiments/Base.cv/fold1.log" in done.stderr and "Traceback" not in done.stderr
    assert "fold 2: scored again" in done.stdout and rows_of(cv / "fold2.csv") == before
    assert not (cv / "table.txt").exists()


def test_what_cannot_be_is_refused_before_anything_runs(data, run_script, tmp_path):
    for arguments, said in ((("--epchs", 2), "--epchs"), (("--temperature", 0), "above 0"),
                            (("--compare_with", "Nothing"), "no cross-validation here")):
        done = run_script("cross_validate.py", data, *FLAGS, "--method", "dsd", *arguments)
        assert done.returncode == 2 and said in done.stderr
    assert not (tmp_path / "experiments").exists()
