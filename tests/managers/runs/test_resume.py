"""A run's folder: made once, replaced only when asked, and built again from there."""

import dataclasses
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data import Split
from managers import (
    load_predictor,
    network_of,
    open_run,
    read_run,
    resume_point,
    save_checkpoint,
)
from system.exit import LOGGER_NAME
from system.files import write_json

CPU = torch.device("cpu")
FOLDS = [Split(("a", "b"), ("c",)), Split(("a", "c"), ("b",), ("d",))]


pytestmark = pytest.mark.usefixtures("close_logs")


def create_run(config, folds=FOLDS):
    """What the scripts do for a run: ask first, then open the folder."""
    return open_run(config, folds, CPU, resume_point(config))


def test_the_folder_of_a_new_run(config, tmp_path):
    folder = create_run(config())
    assert folder == tmp_path / "run.exp"
    values = json.loads((folder / "config.json").read_text())
    assert values["network_options"] == {"filters": [2, 3, 4]} and values["img_size"] == [8, 8, 8]
    assert values["data_dir"].startswith("/") and values["data_dir"].endswith("/DATA")
    about = json.loads((folder / "environment.json").read_text())
    assert about["device"] == "cpu" and about["packages"]["torch"].split("+")[0] == (
        torch.__version__.split("+")[0])
    assert about["python"].startswith("3.") and about["command"]
    assert json.loads((folder / "splits.json").read_text())[1] == {
        "train": ["a", "c"], "val": ["b"], "test": ["d"]}
    logging.getLogger(LOGGER_NAME).warning("a line of the log")
    assert "a line of the log" in (folder / "run.log").read_text()


def test_a_run_on_a_cpu_names_the_processor(config):
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    if "model name" not in told:
        pytest.skip("this system does not tell the processor's name")
    name = json.loads((create_run(config()) / "environment.json").read_text())["device_name"]
    assert name and f": {name}\n" in told


def test_an_existing_run_is_refused_and_left_alone(config, tmp_path):
    folder = create_run(config())
    (folder / "last.model").write_text("precious")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match="run.exp: this experiment exists.*--overwrite"):
        create_run(config("--epochs", 9))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite_replaces_the_whole_run(config):
    folder = create_run(config())
    (folder / "last.model").write_text("of the old run")
    create_run(config("--overwrite", "--epochs", 9))
    assert not (folder / "last.model").exists()
    assert read_run(str(folder))[1].epochs == 9


@pytest.mark.parametrize("flags", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_a_folder_that_is_no_run_is_never_touched(config, tmp_path, flags):
    folder = tmp_path / "run.exp"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is not a run"):
        create_run(config(*flags))
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_file_of_that_name_is_refused(config, tmp_path):
    (tmp_path / "run.exp").write_text("a file")
    with pytest.raises(ValueError, match="run.exp"):
        create_run(config("--overwrite"))
    assert (tmp_path / "run.exp").read_text() == "a file"


@pytest.mark.parametrize("name", ["config.json", "thesis.tex"])
def test_a_folder_that_appeared_meanwhile_is_not_deleted(config, tmp_path, name):
    # Data are loaded between the two calls, for minutes: another run may have taken the name.
    settings = config()
    checkpoint = resume_point(settings)
    (tmp_path / "run.exp").mkdir()
    (tmp_path / "run.exp" / name).write_text("{}")
    with pytest.raises(ValueError, match="run.exp"):
        open_run(settings, FOLDS, CPU, checkpoint)
    assert (tmp_path / "run.exp" / name).read_text() == "{}"


def test_an_output_that_is_a_folder_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match="OUTPUT .*is a directory"):
        resume_point(dataclasses.replace(config(), output_model=str(tmp_path)))


@pytest.mark.parametrize("name", ["run.exp/best.model", "other.exp/last.model", "run.exp/a.model"])
def test_an_output_among_the_files_of_a_run_is_refused(config, tmp_path, name):
    with pytest.raises(ValueError, match="OUTPUT .*might replace one of its files"):
        resume_point(dataclasses.replace(config(), output_model=str(tmp_path / name)))
    resume_point(dataclasses.replace(config(), output_model=str(tmp_path / "run.exp" / "a.pt")))


def test_an_empty_folder_is_used(config, tmp_path):
    (tmp_path / "run.exp").mkdir()
    assert (create_run(config()) / "config.json").is_file()


@pytest.mark.parametrize(("fold", "expected"), [(1, FOLDS[0]), (2, FOLDS[1])])
def test_read_run_chooses_the_split(config, fold, expected):
    settings = config("--fold", fold)
    folder = create_run(settings)
    found, read, split = read_run(str(folder.with_suffix("")))  # NAME and NAME.exp are the same
    assert (found, split) == (folder, expected)
    assert network_of(read).levels.keys() == {"dec", "enc"}
    assert read == dataclasses.replace(settings, data_dir=read.data_dir)


@pytest.mark.parametrize("content", [[{"train": ["a"]}], [1], 7, {"train": []}])
def test_broken_splits(config, content):
    folder = create_run(config())
    write_json(folder / "splits.json", content)
    with pytest.raises(ValueError, match="splits.json: is not a list of folds"):
        read_run(str(folder))


def test_no_run_there(config, tmp_path):
    create_run(config())
    with pytest.raises(ValueError, match="other.exp: no run here.*run.exp"):
        read_run(str(tmp_path / "other"))


@pytest.mark.parametrize("method", ["basic", "dsd"])
def test_the_network_comes_back_with_its_weights(config, method):
    folder = create_run(config(method=method))
    torch.manual_seed(4)
    network = network_of(read_run(str(folder))[1])
    assert bool(network.heads) == (method == "dsd")
    save_checkpoint(folder / "best.model", network, torch.optim.SGD(network.parameters(), 0.1),
                    [{"epoch": 1}], {})
    _, read, _ = read_run(str(folder))
    predictor, _ = load_predictor(folder, read, "best", CPU)
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        # But for rounding: prediction evaluates instance norms as group norms.
        torch.testing.assert_close(predictor.logits(image[0]), network.eval()(image)[0])
    assert predictor.roi_size == (8, 8, 8)
    with pytest.raises(ValueError, match="last.model: no such checkpoint"):
        load_predictor(folder, read, "last", CPU)


def test_weights_of_another_network_are_refused(config, tiny_network):
    folder = create_run(config())
    network = tiny_network(self_distillation=False)
    save_checkpoint(folder / "last.model", network, torch.optim.SGD(network.parameters(), 0.1),
                    [], {})
    with pytest.raises(ValueError, match="last.model: does not fit(?s:.)*heads"):
        load_predictor(folder, config(), "last", CPU)


def test_a_run_is_trained_by_one_process_at_a_time(config, pytestconfig):
    """Another process holds it: it can be neither replaced nor gone on with, until that ends."""
    folder = create_run(config())
    before = (folder / "environment.json").read_bytes()
    code = (f"from pathlib import Path; from managers.runs.run_locks import claim_run; "
            f"claim_run(Path({str(folder)!r})); print('held', flush=True); input()")
    # This process's own claim is gone with the file that it was on.
    (folder / ".lock").unlink()
    with subprocess.Popen([sys.executable, "-c", code], cwd=pytestconfig.rootpath, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "held\n"
        for checkpoint in (None, {"history": []}):
            with pytest.raises(ValueError, match="another process trains this run now"):
                open_run(config("--overwrite"), FOLDS, CPU, checkpoint)
        assert (folder / "environment.json").read_bytes() == before
        other.communicate("\n")
    assert open_run(config("--overwrite"), FOLDS, CPU, None) == folder
