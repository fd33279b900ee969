"""What a run was, written to its folder and read back."""

import json
from pathlib import Path

import pytest

from configs import TrainingConfig, cache_dir, experiment_dir, read_config, training_config
from configs.study.cross_validation import cross_validation_dir
from configs.use.run_folder import is_of_a_run, kind_of_folder
from system.files import write_json


def settings_of(network="unetr", *flags):
    """The settings of a small run."""
    return training_config("dsd", ["DATA", "_", "--dataset", "hippocampus", "--network", network,
                                   *flags])


@pytest.mark.parametrize(("experiment", "folder"), [
    ("A", "experiments/A.exp"), ("A.exp", "experiments/A.exp"),
    ("runs/A.exp", "runs/A.exp"), ("runs/A", "runs/A.exp"), ("/data/A.exp", "/data/A.exp"),
    ("experiments/A.exp", "experiments/A.exp"), ("../A.exp", "../A.exp"),
    ("A.exp/", "experiments/A.exp"), ("runs/A.exp/", "runs/A.exp"), ("runs/A/", "runs/A.exp"),
    ("Lr1e-3_v1.2", "experiments/Lr1e-3_v1.2.exp"),
])
def test_where_an_experiment_lives(experiment, folder):
    assert experiment_dir(experiment) == Path(folder)


CONTROL = ["A\n#SBATCH --wrap=x", "A\r", "A\x1b[2J", "A\x00", "A\u2028B", "A\x85", "A\t1"]


@pytest.mark.parametrize("name", CONTROL)
def test_names_with_control_characters_are_refused(name):
    for where in (experiment_dir, cross_validation_dir):
        with pytest.raises(ValueError, match="--experiment 'A.*has the control character"):
            where(name)
    with pytest.raises(ValueError, match="These settings cannot be used:\n  --experiment 'A"):
        settings_of("unetr", "--experiment", name)
    assert experiment_dir("Leber \u00fc 2.exp").name == "Leber \u00fc 2.exp"


@pytest.mark.parametrize(("flags", "folder"), [
    (("--experiment", "A.exp"), "experiments/cache"),
    (("--experiment", "runs/A.exp"), "runs/cache"),
    (("--experiment", "A.exp", "--cache_dir", "/scratch/me"), "/scratch/me")])
def test_where_prepared_volumes_are_kept(flags, folder):
    assert cache_dir(settings_of("unetr", *flags)) == Path(folder)


@pytest.mark.parametrize(("network", "flags"), [
    ("unetr", ()), ("nnunet", ()), ("nnunet", ("--filters", "4", "8")),
    ("unetr", ("--img_size", "16", "32", "48", "--splits", "folds.json", "--alpha", "0.5")),
])
def test_settings_survive_json(network, flags):
    config = settings_of(network, *flags)
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_dictionary_is_plain_json():
    values = settings_of("nnunet").to_dict()
    assert values == json.loads(json.dumps(values))


def test_the_dictionary_is_a_copy():
    config = settings_of("nnunet")
    config.to_dict()["network_options"]["filters"] = ()
    assert len(config.network_options["filters"]) == 5


def test_settings_are_read_from_the_folder(tmp_path):
    config = settings_of()
    write_json(tmp_path / "A.exp" / "config.json", config.to_dict())
    assert read_config(tmp_path / "A.exp") == config


def test_an_unknown_run_is_an_error_that_lists_the_runs_beside(tmp_path):
    for name in ("B.exp", "A.exp"):
        write_json(tmp_path / name / "config.json", {})
    (tmp_path / "empty.exp").mkdir()
    with pytest.raises(ValueError, match=r"no run here.*: A\.exp, B\.exp\.") as raised:
        read_config(tmp_path / "C.exp")
    assert str(tmp_path / "C.exp") in str(raised.value)


def test_with_no_run_beside_the_error_says_so(tmp_path):
    with pytest.raises(ValueError, match="none"):
        read_config(tmp_path / "nowhere" / "C.exp")


def test_missing_and_unknown_keys_are_named_with_the_file(tmp_path):
    values = settings_of().to_dict()
    del values["dataset"], values["network"]
    write_json(tmp_path / "A.exp" / "config.json", values | {"beta": 1})
    with pytest.raises(ValueError) as raised:
        read_config(tmp_path / "A.exp")
    for word in (str(tmp_path / "A.exp" / "config.json"), "missing ['dataset', 'network']",
                 "['beta']"):
        assert word in str(raised.value)


@pytest.mark.parametrize("content", ["[]", "{", '"text"', "null"])
def test_a_file_that_is_no_object_is_named(content, tmp_path):
    (tmp_path / "A.exp").mkdir()
    (tmp_path / "A.exp" / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json"):
        read_config(tmp_path / "A.exp")


def test_a_setting_of_the_wrong_kind_is_an_error_with_the_file(tmp_path):
    write_json(tmp_path / "A.exp" / "config.json", settings_of().to_dict() | {"img_size": 32})
    with pytest.raises(ValueError, match=r"A\.exp.*config\.json"):
        read_config(tmp_path / "A.exp")


@pytest.mark.parametrize(("folder", "files", "kind"), [
    ("A.exp", (), "a run"), ("A.cv", (), "a cross-validation"), ("A.study", (), "a study"),
    ("renamed", ("config.json", "splits.json"), "a run"),
    ("renamed", ("config.json", "environment.json"), "a pre-training run"),
    ("renamed", ("cv.json",), "a cross-validation"), ("renamed", ("study.log",), "a study"),
    ("A.exp/predictions", (), "a part of a run"), ("A.exp/pictures/", (), "a part of a run"),
    ("A.exp/external", (), None), ("predictions", (), None), ("out", ("config.json",), None),
    ("A.exp.out", (), None), ("out", ("prediction.json", "summary.json"), None)])
def test_what_a_folder_is(tmp_path, folder, files, kind):
    for name in files:
        write_json(tmp_path / folder / name, {})
    assert kind_of_folder(tmp_path / folder) == kind
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "link").symlink_to(tmp_path / folder)
    assert kind_of_folder(tmp_path / "link") == kind


@pytest.mark.parametrize(("path", "own"), [
    ("A.exp/best.model", True), ("A.exp/final.model", True), ("A.exp/summary.json", True),
    ("A.exp/weights.pt", False), ("A.exp/weights.safetensors", False), ("final.model", False)])
def test_which_files_are_a_runs_own(tmp_path, path, own):
    assert is_of_a_run(tmp_path / path) == own
