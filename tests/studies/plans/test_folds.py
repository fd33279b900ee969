"""The command line of cross_validate.py: its own flags, and what goes to the training scripts."""

from pathlib import Path

import pytest

from configs.study.cross_validation import cross_validation_dir, cross_validation_parser
from studies.plans.folds import cross_validation

BASE = ("DATA", "--dataset", "hippocampus", "--network", "nnunet", "--method", "dsd")


def config(*arguments):
    return cross_validation([*BASE, *map(str, arguments)])


def test_defaults_are_five_folds_called_after_dataset_network_and_method():
    made = config()
    assert made.folder == Path("experiments/hippocampus_nnunet_dsd.cv")
    assert made.folds == (1, 2, 3, 4, 5)
    assert made.experiments == [
        f"hippocampus_nnunet_dsd_Fold{k}.exp" for k in range(1, 6)]
    assert [run.settings.fold for run in made.runs] == [1, 2, 3, 4, 5]
    assert (made.executor, made.compare_with, made.overwrite) == ("local", None, False)


def test_every_other_flag_reaches_every_fold_as_it_stands():
    made = config("--filters", 4, 8, 8, "--folds", 2, 1, "--window", -175, 250, "--intensity", "ct",
                  "--alpha", 0.5, "--show_verbose", "--experiment", "Try")
    assert made.folds == (1, 2)
    for fold, run in enumerate(made.runs, start=1):
        settings = run.settings
        assert settings.network_options["filters"] == (4, 8, 8)
        assert (settings.alpha, settings.window, settings.show_verbose) == (
            0.5, (-175.0, 250.0), True)
        assert settings.output_model is None
        assert run.arguments[0] == "DATA"
        assert run.arguments[-5:] == ("--fold", str(fold), "--experiment", f"Try_Fold{fold}.exp",
                                      "_")


def test_an_underscore_as_in_training_is_taken():
    assert cross_validation(["DATA", "_", *BASE[1:]]).runs[0].settings.output_model is None


@pytest.mark.parametrize(("arguments", "number"), [
    ((), 5), (("--folds", 1, 2, 3), 3), (("--folds", 2), 2), (("--folds", 1), None),
    (("--num_folds", 10), 10), (("--splits", "mine.json"), None)])
def test_a_published_single_split_becomes_folds(arguments, number):
    assert {run.settings.num_folds for run in config(*arguments).runs} == {number}


def test_published_folds_stay():
    made = cross_validation(["DATA", "--method", "basic", "--experiment",
                                    "CT_MMWHS_nnUnet_Basic"])
    last = made.runs[4].settings
    assert last.num_folds is None and last.training_split is None
    assert last.dataset == "mmwhs-ct"


@pytest.mark.parametrize("name", ["Try", "Try.cv", "Try.exp", "Try.cv/", "Try/"])
def test_a_name_with_or_without_ending_is_the_same(name):
    assert config("--experiment", name).experiments[0] == "Try_Fold1.exp"


def test_where_a_cross_validation_lives():
    assert cross_validation_dir("Try") == cross_validation_dir("Try.cv") == Path(
        "experiments/Try.cv")
    assert cross_validation_dir("runs/v1.2") == Path("runs/v1.2.cv")


def test_every_problem_is_in_one_message():
    with pytest.raises(ValueError) as error:
        config("--folds", 1, 1, 0, "--fold", 2, "--resume", "--experiment", "Try_Fold3",
               "--slurm", "partition")
    for part in ("--folds 1 1 0", "--fold: is given", "--resume: leave it out", "leave Fold3 out",
                 "--slurm partition: must be KEY=VALUE", "--slurm: is of --executor slurm"):
        assert part in str(error.value)


@pytest.mark.parametrize("arguments", [("--epochs", 0), ("--temperature", 0)])
def test_a_setting_that_training_refuses_is_refused_before_anything_runs(arguments):
    with pytest.raises(ValueError, match="must be a"):
        config(*arguments)


@pytest.mark.parametrize("argv", [
    [*BASE, "--epchs", "2"],                      # a typing error
    [*BASE, "--overw"],                           # flags are written out
    [*BASE[:-1], "basic", "--alpha", "2"],        # a flag of the other script
    ["--method", "dsd", "DATA"],                  # DATA is not first
    ["DATA", "--dataset", "hippocampus"]])        # no method
def test_a_command_line_that_cannot_be_read_ends_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cross_validation(argv)
    assert stop.value.code == 2 and "error: " in capsys.readouterr().err


def test_warnings_are_given_once():
    with pytest.warns(UserWarning, match="MR_MMWHS") as caught:
        cross_validation([*BASE, "--experiment", "MR_MMWHS"])
    assert len(caught) == 1


SLURM = ("--executor", "slurm", "--slurm")


def test_slurm_options_are_named_as_submitit_names_them():
    made = config(*SLURM, "timeout_min=600", "partition=gpu", "mem_gb=32", "gres=gpu:a100:1",
                  "slurm_account=lab", "name=7", "exclusive=true",
                  'additional_parameters={"nice": 100}')
    assert made.job_options == {
        "timeout_min": 600, "slurm_partition": "gpu", "mem_gb": 32, "slurm_gres": "gpu:a100:1",
        "slurm_account": "lab", "name": "7", "slurm_exclusive": True,
        "slurm_additional_parameters": {"nice": 100}}


@pytest.mark.parametrize(("options", "said"), [
    (("partition=gpu",), "five minutes"), (("time=1-00:00:00",), "whole minutes"),
    (("timeout_min=long",), "must be a number"), (("timeout_min=9", "=3"), "KEY=VALUE")])
def test_slurm_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        config(*SLURM, *options)


@pytest.mark.parametrize(("flags", "said"), [
    (("--experiment", "A\n#SBATCH --wrap=x"), r"--experiment 'A\\n#SBATCH --wrap=x': has the"),
    ((*SLURM, "timeout_min=9", "partition=gpu\n#SBATCH -q x"), r"--slurm 'partition=gpu\\n#SBATCH"),
    ((*SLURM, "timeout_min=9", "name=a\rb"), r"--slurm 'name=a\\rb': has the control character")])
def test_no_name_begins_a_line_of_a_job_script(flags, said):
    with pytest.raises(ValueError, match=f"These settings cannot be used:\n  {said}"):
        config(*flags)


def test_help_names_both_scripts():
    text = cross_validation_parser().format_help()
    assert "train_basic.py --help" in text and "DATA" in text and "--resume" not in text
