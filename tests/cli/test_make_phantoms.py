"""scripts/make_phantoms.py as a user runs it."""

import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from configs import training_config
from data.sets.datasets import DATASETS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_phantoms.py"


@pytest.fixture
def run(run_script):
    """run(*arguments) -> the script as a finished process, away from the repository."""
    return partial(run_script, "scripts/make_phantoms.py")


def test_writes_cases_below_the_output(tmp_path, run):
    result = run("--dataset", "mmwhs-ct", "--output", "my data", "--cases", 2,
                 "--size", 20, 18, 16, "--seed", 3)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "my data"
    assert (folder / "imagesTraining" / "ct_train_1002_image.nii.gz").is_file()
    assert (folder / "labelsTraining" / "ct_train_1002_label.nii.gz").is_file()
    assert not list(folder.rglob(".*"))
    assert "Wrote 2 mmwhs-ct cases" in result.stdout


@pytest.mark.parametrize("num_cases", [3, 8])
@pytest.mark.parametrize("dataset", list(DATASETS))
def test_says_a_command_that_trains_on_the_cases(dataset, num_cases, tmp_path, monkeypatch, run):
    result = run("--dataset", dataset, "--output", "my data", "--cases", num_cases,
                 "--size", 16, 16, 16)
    assert result.returncode == 0, result.stderr
    python, script, *flags = shlex.split(result.stdout.splitlines()[-1])
    assert (python, script) == ("python", "train_SelfDistil_Original.py")
    assert (SCRIPT.parents[1] / script).is_file()
    monkeypatch.chdir(tmp_path)
    config = training_config("dsd", flags)
    assert (config.dataset, config.network, config.fold) == (dataset, "nnunet", 1)
    assert (config.data_dir, config.output_model) == (str(tmp_path / "my data"), None)
    found, problems = DATASETS[dataset].find_cases(config.data_dir)
    assert (len(found), problems) == (num_cases, [])
    split = DATASETS[dataset].split(
        [case.case_id for case in found], config.training_split, config.validation_split)[0]
    held_out = split.validation if dataset.startswith("mmwhs") else split.testing
    assert len(held_out) == max(1, num_cases // 4)
    assert split.training


def test_says_no_command_where_none_would_work(run):
    result = run("--dataset", "hippocampus", "--output", "out", "--cases", 2,
                 "--size", 16, 16, 16)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_deeplesion_says_how_to_prepare_its_series(tmp_path, run):
    result = run("--dataset", "deeplesion", "--output", "my data", "--cases", 2,
                 "--size", 16, 20, 16)
    assert result.returncode == 0, result.stderr
    assert "Wrote 2 deeplesion series to my data: 000001_01_01 .. 000001_02_01" in result.stdout
    assert (tmp_path / "my data" / "DL_info.csv").is_file()
    python, script, step, *folders = shlex.split(result.stdout.splitlines()[-1])
    assert (python, step, folders) == ("python", "all", ["my data", "my data_prepared"])
    assert (SCRIPT.parents[1] / script).is_file()
    again = run("--dataset", "deeplesion", "--output", "my data", "--cases", 1)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_second_run_is_refused_without_overwrite(run):
    arguments = ["--dataset", "hippocampus", "--output", "out", "--cases", 1, "--size", 16, 16, 16]
    assert run(*arguments).returncode == 0
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "already holds cases" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert run(*arguments, "--overwrite").returncode == 0


@pytest.mark.parametrize(("arguments", "words"), [
    (["--cases", 0], "at least 1 case"),
    (["--cases", 1, "--size", 32, 32, 8], "at least 16"),
    (["--cases", 1, "--dataset", "liver"], "invalid choice"),
    (["--cases", "two"], "invalid int"),
    ([], "--cases"),
])
def test_wrong_arguments_exit_2_with_one_message(arguments, words, tmp_path, run):
    result = run("--dataset", "hippocampus", "--output", "out", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert "error: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_a_wrong_argument(tmp_path, run):
    (tmp_path / "out").write_text("not a folder")
    result = run("--dataset", "hippocampus", "--output", "out", "--cases", 1)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "is a file" in result.stderr


def test_a_folder_that_cannot_be_made_is_a_failure(tmp_path, run):
    (tmp_path / "file").write_text("not a folder")
    result = run("--dataset", "hippocampus", "--output", "file/out", "--cases", 1)
    assert result.returncode == 1
    assert "\nfailed: NotADirectoryError" in result.stderr


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{str(SCRIPT)!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "heavy = {'numpy', 'scipy', 'nibabel', 'torch', 'monai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                            text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "--dataset" in result.stdout
