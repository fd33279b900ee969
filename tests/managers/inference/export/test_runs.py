"""Runs that are passed on: small, without paths of this machine, and used as any other run."""

import csv
import json

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from configs.use.export import export_config
from managers import read_run
from managers.inference.export.files import export
from managers.runs.resume import load_network
from networks import build_network, start_from


@pytest.fixture
def pass_on(run_of, tmp_path):
    """pass_on(...) -> the run of run_of(...), and the folder that is passed on."""

    def make(*args, **kwargs):
        run, folder = run_of(*args, **kwargs), tmp_path / "shared" / "hip.exp"
        again(run, folder)
        return run, folder

    return make


def again(run, folder, *flags):
    return export(export_config(["--experiment", run, "--format", "run", "--output", str(folder),
                                 *flags]))


def network_in(folder, saved_model="best"):
    return load_network(*read_run(str(folder))[:2], saved_model)


def test_weights_are_the_runs_in_half_precision_and_stored_once(pass_on):
    run, folder = pass_on()
    (expected, _), (found, about) = network_in(run), network_in(folder)
    assert (about["file"], about["epoch"]) == ("weights.safetensors", 4)
    found = found.state_dict()
    for name, value in expected.state_dict().items():
        assert torch.equal(found[name], value.half().float()), name
    values = sum(value.numel() for value in expected.parameters())
    size = (folder / "weights.safetensors").stat().st_size
    assert values * 2 <= size < values * 2 + 30_000
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "environment.json", "splits.json", "weights.safetensors"]


def test_it_is_said_how_far_half_precision_is_off(run_of, tmp_path):
    run, folder = run_of(), tmp_path / "shared.exp"
    check = again(run, folder).check
    window = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (network_in(one)[0].eval()(window) for one in (run, folder))
    difference = (found - expected).abs().max().item()
    assert difference > 0 and f"differ by at most {difference:.2g}, of up to" in check


def test_no_path_of_this_machine_is_passed_on(run_of, tmp_path):
    run, folder = run_of(), tmp_path / "shared.exp"
    path = tmp_path / "run.exp" / "config.json"
    config = json.loads(path.read_text()) | {
        "data_dir": str(tmp_path / "Task04"), "output_model": str(tmp_path / "w"),
        "cache_dir": str(tmp_path / "cache"), "init_from": str(tmp_path / "other.exp")}
    path.write_text(json.dumps(config))
    again(run, folder)
    assert json.loads((folder / "config.json").read_text())["data_dir"] == "Task04"
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path


def test_a_new_run_starts_from_it(pass_on):
    run, folder = pass_on()
    network = build_network("nnunet", 1, 3, (16, 16, 16), True, filters=(4, 6, 8))
    start_from(network, folder)
    for name, value in network_in(run)[0].state_dict().items():
        assert torch.equal(network.state_dict()[name], value.half().float()), name


def damage(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 64
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_another_program(path):
    save_file({"weight": torch.zeros(2)}, path)


@pytest.mark.parametrize(("harm", "reason"), [
    (damage, "is damaged"), (cut, "cannot be read as the weights of a run"),
    (of_another_program, "cannot be read as the weights of a run")])
def test_other_weights_are_refused(pass_on, harm, reason):
    _, folder = pass_on()
    harm(folder / "weights.safetensors")
    with pytest.raises(ValueError, match=rf"weights.safetensors: {reason}"):
        network_in(folder)


def test_only_the_weights_that_are_there_are_given(pass_on):
    _, folder = pass_on()
    with pytest.raises(ValueError, match="holds the best weights alone; give --saved_model best"):
        network_in(folder, "last")


def test_other_intensities_than_in_training_are_refused(pass_on):
    _, folder = pass_on()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intensity": "zscore"}))
    with pytest.raises(ValueError, match="--intensity .* -> zscore"):
        network_in(folder)


def test_what_half_precision_cannot_hold_is_refused_before_anything_is_written(run_of, tmp_path):
    run, folder = run_of(), tmp_path / "shared.exp"
    path = tmp_path / "run.exp" / "best.model"
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["network"]))
    checkpoint["network"][name].view(-1)[0] = 1e5
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=f"{name}: has values beyond 65504"):
        again(run, folder)
    assert not folder.exists()


def test_a_trained_run_is_never_replaced(run_of, pass_on, tmp_path):
    run, folder = pass_on()
    with pytest.raises(ValueError, match="exists; give another place, or --overwrite"):
        again(run, folder)
    again(run, folder, "--overwrite")
    with pytest.raises(ValueError, match="is no run that was passed on"):
        again(run, run, "--overwrite")
    assert (tmp_path / "run.exp" / "best.model").is_file()


def test_predict_and_eval_take_it_as_any_other_run(pass_on, phantoms, run_script, tmp_path):
    run, folder = pass_on("mmwhs-ct")
    data = phantoms("mmwhs-ct", 2, (24, 24, 20))
    label_maps = []
    for name in (run, folder):
        done = run_script("predict.py", "--experiment", name, "--input", data / "imagesTraining",
                          "--output", tmp_path / "out", "--device", "cpu", "--overwrite")
        assert done.returncode == 0, done.stderr
        label_maps.append([np.asarray(nibabel.load(path).dataobj)
                           for path in sorted((tmp_path / "out").glob("*.nii.gz"))])
    assert len(label_maps[0]) == 2 and len(np.unique(label_maps[0])) > 2
    for theirs, ours in zip(*label_maps, strict=True):
        assert (theirs == ours).mean() > 0.99

    ids = sorted(path.name.split("_image")[0] for path in (data / "imagesTraining").iterdir())
    (folder / "splits.json").write_text(json.dumps([{"train": [], "val": ids, "test": []}]))
    done = run_script("eval.py", "--experiment", folder, "--data", data, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "weights.safetensors on 2 validation cases" in done.stdout + done.stderr
    with (folder / "per_case.csv").open() as file:
        assert {row["case_id"] for row in csv.DictReader(file)} == set(ids)
    assert (folder / "report.html").is_file()
