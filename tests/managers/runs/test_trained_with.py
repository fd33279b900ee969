"""Weights are used on volumes that are prepared as in their training, and on no others."""

import dataclasses

import pytest
import torch

from data import Split
from managers import load_checkpoint, network_of, open_run, resume_point, save_checkpoint
from managers.runs.resume import load_network
from managers.runs.trained_with import preprocessing_of
from system.files import write_json

pytestmark = pytest.mark.usefixtures("close_logs")


@pytest.fixture
def trained():
    """trained(config) -> run folder with both checkpoints, as after an epoch."""

    def make(config):
        folder = open_run(config, [Split(("a", "b"), ("c",))], torch.device("cpu"), None)
        network = network_of(config)
        for name in ("best", "last"):
            save_checkpoint(folder / f"{name}.model", network,
                            torch.optim.SGD(network.parameters(), 0.1), [{"epoch": 1}],
                            config.to_dict(), preprocessing=preprocessing_of(config))
        return folder

    return make


CT = ("--intensity", "ct", "--window", -100, 300)


@pytest.mark.parametrize(("first", "second", "said"), [
    ((), ("--spacing", 1, 1.5, 2), r"--spacing of the files -> 1.0 1.5 2.0"),
    (("--spacing", 1, 1, 1), (), r"--spacing 1.0 1.0 1.0 -> of the files"),
    ((), ("--intensity", "zscore"), r"--intensity minmax -> zscore"),
    (CT, (*CT[:4], 400), r"--window -100.0 300.0 -> -100.0 400.0"),
    (CT, ("--spacing", 1, 1, 1), "--spacing of the files -> 1.0 1.0 1.0; --intensity ct -> minmax; "
                                 "--window -100.0 300.0 -> none"),
])
def test_other_preprocessing_is_refused(config, trained, first, second, said):
    folder = trained(config("--epochs", 1, *first))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=f"run.exp: cannot be resumed.*{said}.*Repeat the flags"):
        resume_point(config("--resume", "--epochs", 2, *second))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    with pytest.warns(UserWarning, match="epochs 1 -> 2"):
        assert len(resume_point(config("--resume", "--epochs", 2, *first))["history"]) == 1


def test_the_datasets_own_value_may_be_said_too(config, trained):
    trained(config("--epochs", 1))
    with pytest.warns(UserWarning, match="epochs 1 -> 2|intensity None -> minmax"):
        resume_point(config("--resume", "--epochs", 2, "--intensity", "minmax"))


def age(path):
    """A checkpoint as older versions wrote it."""
    saved = load_checkpoint(path)
    del saved["preprocessing"]
    torch.save(saved, path)


@pytest.mark.parametrize("older", [False, True])
def test_weights_remember_their_preprocessing_whatever_config_json_says(config, trained, older):
    """As after a resumption with --spacing by a version that allowed it."""
    folder = trained(config("--epochs", 1))
    changed = dataclasses.replace(config("--epochs", 1), spacing_mm=(2.0, 2.0, 2.0))
    if older:
        for name in ("best", "last"):
            age(folder / f"{name}.model")
    assert load_network(folder, config(), "best")
    write_json(folder / "config.json", changed.to_dict())
    for name in ("best", "last"):
        with pytest.raises(ValueError, match=f"{name}.model: was trained with other settings than "
                                             "config.json.*--spacing of the files -> 2.0 2.0 2.0"):
            load_network(folder, changed, name)
    with pytest.raises(ValueError, match="its checkpoint is for other settings: --spacing of"):
        resume_point(dataclasses.replace(changed, resume=True, epochs=2))


def test_a_best_model_of_other_preprocessing_is_not_kept(config, trained):
    folder = trained(config("--epochs", 1))
    saved = load_checkpoint(folder / "best.model")
    saved["preprocessing"]["intensity"] = "zscore"
    torch.save(saved, folder / "best.model")
    with (pytest.warns(UserWarning, match="epochs 1 -> 2"),
          pytest.raises(ValueError, match="best.model is for other settings: --intensity zscore -> "
                                          "minmax")):
        resume_point(config("--resume", "--epochs", 2))


def definition(**changes):
    return {"name": "Own", "channels": ["CT"], "labels": {"0": "background", "1": "a", "2": "b"},
            "cases": [{"case_id": name, "image": f"{name}.nii", "label": f"{name}_l.nii"}
                      for name in ("x", "y")]} | changes


@pytest.mark.parametrize(("changes", "said"), [
    ({"labels": {"0": "background", "2": "a", "1": "b"}},
     r"labels {'0': 'background', '1': 'a', '2': 'b'} -> {'0': 'background', '2': 'a', '1': 'b'}"),
    ({"channels": ["MR"]}, r"channels \['CT'\] -> \['MR'\]"),
    ({"cases": definition()["cases"][:1]}, "cases 2 -> 1, y in only one of them"),
    ({"cases": None}, "cases listed -> all files"),
])
def test_another_definition_of_the_dataset_is_named(config, trained, changes, said):
    own = dataclasses.replace(config("--epochs", 1), dataset="dataset.json",
                              dataset_definition=definition())
    trained(own)
    now = dataclasses.replace(own, resume=True, epochs=2, dataset_definition=definition(**changes))
    with pytest.raises(ValueError, match=f"cannot be resumed.*dataset.json \\({said}"):
        resume_point(now)


def test_how_files_are_found_is_no_part_of_a_definition(config, trained):
    """An older version did not write it."""
    own = dataclasses.replace(config("--epochs", 1), dataset="dataset.json",
                              dataset_definition=definition(cases=None))
    trained(own)
    newer = definition(cases=None, numbered=True, num_training=4)
    with pytest.warns(UserWarning, match="epochs 1 -> 2"):
        assert len(resume_point(dataclasses.replace(
            own, resume=True, epochs=2, dataset_definition=newer))["history"]) == 1
