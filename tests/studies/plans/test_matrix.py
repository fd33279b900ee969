"""The runs of a study: their order, their names, the command lines of the training scripts."""

import json

import pytest

from configs.study.studies import read_study
from configs.study.study_parser import study_parser
from studies.plans.matrix import in_order, study_plan


@pytest.fixture
def study(tmp_path):
    """A study of two networks, three methods, two folds and two seeds; its path."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({
        "title": "A study", "datasets": ["hippocampus"], "networks": ["nnunet", "vnet"],
        "methods": {"basic": {"method": "basic"}, "dsd": {"method": "dsd"},
                    "encoder_kl": {"method": "dsd", "flags": ["--distil", "encoder"]}},
        "folds": [1, 2], "seeds": [100, 101], "group": "testing",
        "flags": ["--num_folds", "2"]}))
    return path


def config(study, *arguments):
    return study_plan([str(study), "--data", "data", *map(str, arguments)])


def test_the_most_telling_runs_come_first(study):
    runs = config(study).runs
    assert len(runs) == len({run.name for run in runs}) == 2 * 3 * 2 * 2
    assert [run.name for run in runs[:5]] == [
        "hippocampus_nnunet_basic_Fold1_seed100", "hippocampus_nnunet_dsd_Fold1_seed100",
        "hippocampus_vnet_basic_Fold1_seed100", "hippocampus_vnet_dsd_Fold1_seed100",
        "hippocampus_nnunet_basic_Fold2_seed100"]
    assert [(run.arm[2], run.settings.fold, run.settings.seed) for run in runs[7:10]] == [
        ("dsd", 2, 100), ("encoder_kl", 1, 100), ("encoder_kl", 1, 100)]
    assert [run.settings.seed for run in runs] == [100] * 12 + [101] * 12


def test_all_of_mmwhs_is_planned():
    study = read_study("mmwhs")
    assert len(in_order(study)) == 2 * 4 * 5 * 5


def test_settings_are_those_of_the_study_and_what_follows_the_dashes(study):
    run = config(study, "--epochs", 7, "--device", "cpu", "--output", "out", "--", "--num_crops",
                 2, "--fused").runs[-1]
    assert (run.arm[2], run.settings.method, run.settings.distil) == ("encoder_kl", "dsd",
                                                                      "encoder")
    assert (run.settings.epochs, run.settings.num_crops, run.settings.fused,
            run.settings.num_folds, run.settings.seed, run.settings.fold) == (7, 2, True, 2, 101, 2)
    assert run.settings.experiment == "out/hippocampus_vnet_encoder_kl_Fold2_seed101.exp"
    assert run.settings.device == "cpu" and run.settings.output_model is None


def test_without_epochs_the_recipe_counts(study):
    assert {run.settings.epochs for run in config(study).runs} == {100}


def test_parts_of_a_study_keep_its_order(study):
    part = config(study, "--networks", "vnet", "--methods", "dsd", "basic", "--folds", 2,
                  "--seeds", 7)
    assert [run.name for run in part.runs] == ["hippocampus_vnet_basic_Fold2_seed7",
                                               "hippocampus_vnet_dsd_Fold2_seed7"]
    assert [method.name for method in part.study.methods] == ["basic", "dsd"]


def test_every_problem_is_in_one_message(study):
    with pytest.raises(ValueError) as error:
        study_plan([str(study), "--networks", "unetr", "--methods", "hints", "--folds", "3",
                      "--budget-minutes", "0", "--slurm", "partition=gpu", "--seeds", "1", "1",
                      "--", "--seed", "3", "--temperature", "2"])
    said = str(error.value)
    for part in ("--data: give the folder", "--networks unetr: is not of the study mine",
                 "--methods hints", "--folds 3", "--budget-minutes 0.0", "--slurm",
                 "--seeds 1 1", "--seed is given by the study itself",
                 "--temperature is no flag of the training script of basic"):
        assert part in said, part


def test_values_that_the_training_script_would_refuse(study):
    with pytest.raises(ValueError) as error:
        config(study, "--", "--num_crops", 0, "--lr", "nan")
    assert "dsd: --num_crops 0" in str(error.value) and "basic: --lr nan" in str(error.value)
    with pytest.raises(ValueError, match="unrecognized arguments: stray"):
        config(study, "--", "--fused", "stray")


@pytest.mark.parametrize(("name", "flags", "said"), [
    ("deep_supervision_and_kl", [], "name says distil none"),
    ("no_shape_priors", [], "name says shape_priors True"),
    ("deep_supervision", ["--distil", "none"], None)])
def test_a_name_never_sets_what_a_method_is(study, name, flags, said):
    content = json.loads(study.read_text())
    content["methods"][name] = {"method": "dsd", "flags": flags}
    study.write_text(json.dumps(content))
    if said is None:
        assert {run.settings.distil for run in config(study).runs if run.arm[2] == name} == {"none"}
        return
    with pytest.raises(ValueError, match=f"{name}: its {said}, its flags do not"):
        config(study)


def test_a_budget_is_for_runs_here(study):
    with pytest.raises(ValueError, match="--budget-minutes: is of --executor local"):
        config(study, "--budget-minutes", 3, "--executor", "slurm", "--slurm", "timeout_min=9")


def test_outputs_may_be_this_folder(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = config(study, "--output", ".").runs[0]
    assert run.settings.experiment == str(tmp_path / f"{run.name}.exp")


def test_help_names_every_argument():
    assert all(action.help for action in study_parser()._actions)


def test_a_dataset_of_ones_own_is_known_by_the_name_in_its_dataset_json(tmp_path):
    mine, data = tmp_path / "mine.json", tmp_path / "Task77"
    mine.write_text(json.dumps({
        "title": "A study", "datasets": ["Spleens"], "networks": ["nnunet"],
        "methods": {"basic": {"method": "basic"}}, "seeds": [1], "group": "validation",
        "epochs": 2, "flags": ["--num_folds", "2", "--training_split", "0"]}))
    data.mkdir()

    def planned():
        return study_plan([str(mine), "--data", str(data)]).runs

    with pytest.raises(ValueError, match="Spleens: is not a published dataset .*there is none"):
        planned()
    content = {"name": "Livers", "channel_names": {"0": "CT"},
               "labels": {"background": 0, "spleen": 1}, "file_ending": ".nii.gz",
               "numTraining": 4}
    (data / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"Spleens: .*dataset.json \(Livers\)"):
        planned()
    (data / "dataset.json").write_text(json.dumps(content | {"name": "Spleens"}))
    run, = planned()
    assert run.name == "Spleens_nnunet_basic_Fold1_seed1"
    assert run.settings.dataset_definition["name"] == "Spleens"
