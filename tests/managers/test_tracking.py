"""The epochs of a run in MLflow and Weights & Biases."""

import importlib.util
import json

import pytest

from managers import tracking
from managers.callbacks import EarlyStop
from managers.tracking import Track, refuse_absent_tracker

SETTINGS = {"epochs": 2, "early_stop": None, "lr": 0.001}


def run(folder, epochs, name="mlflow"):
    """Track a run of 2 epochs, of which it does `epochs` (numbers)."""
    history = [{"epoch": one, "lr": 0.1, "loss": 9.0} for one in range(1, epochs[0])]
    track = Track(name, folder, SETTINGS, history)
    for number in epochs:
        history.append({"epoch": number, "lr": 0.1, "loss": 2.0 / number})
        track.on_epoch_end(number - 1, {}, None)
    track.on_train_end(None)


class Service:
    """A tracker that keeps what it gets, and fails where it is told to."""

    seen: list = []
    fails_at = None

    def __init__(self, folder, settings):
        self._take("start", settings["lr"])

    def _take(self, *what):
        if what[0] == self.fails_at:
            raise ConnectionError("no route to host\nmore of it")
        self.seen.append(what)

    def log(self, epoch, values):
        self._take("log", epoch, values)

    def close(self, finished):
        self._take("close", finished)


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(Service, "seen", [])
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", Service)
    return Service


def test_what_a_service_gets(service, tmp_path):
    run(tmp_path, [1, 2])
    assert service.seen == [("start", 0.001), ("log", 1, {"lr": 0.1, "loss": 2.0}),
                            ("log", 2, {"lr": 0.1, "loss": 1.0}), ("close", True)]


def test_a_run_that_was_stopped_is_not_finished(service, tmp_path):
    run(tmp_path, [1])
    assert service.seen[-1] == ("close", False)


def test_a_run_that_stopped_early_is(service, tmp_path):
    history = [{"epoch": 1, "val_dice": 0.5}, {"epoch": 2, "val_dice": 0.4}]
    Track("mlflow", tmp_path, {"epochs": 9, "early_stop": 1, "lr": 1}, history).on_train_end(None)
    assert service.seen[-1] == ("close", True)


@pytest.mark.parametrize(("call", "before"), [
    ("start", []), ("log", ["start"]), ("close", ["start", "log", "log"])])
def test_a_service_that_fails_does_not_end_training(service, tmp_path, call, before):
    service.fails_at = call
    try:
        with pytest.warns(UserWarning) as told:
            run(tmp_path, [1, 2])
    finally:
        service.fails_at = None
    assert [what[0] for what in service.seen] == before  # and it is not asked again
    assert [str(one.message) for one in told] == [
        "--track mlflow failed, so training goes on without it: no route to host"]


def test_absent_package_is_refused():
    refuse_absent_tracker(None)
    absent = [name for name in tracking.TRACKERS if importlib.util.find_spec(name) is None]
    for name in absent:
        with pytest.raises(ValueError, match=f"--track {name}: .* pip install {name}"):
            refuse_absent_tracker(name)


def test_mlflow_file_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is an extra: pip install mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    folder = tmp_path / "a.exp"
    folder.mkdir()
    run(folder, [1])
    run(folder, [2])  # resumed
    identity = json.loads((folder / "tracking.json").read_text())["mlflow"]
    client = mlflow.MlflowClient()
    found = client.get_run(identity)
    assert found.data.params == {"epochs": "2", "early_stop": "None", "lr": "0.001"}
    assert found.info.run_name == "a" and found.info.status == "FINISHED"
    losses = client.get_metric_history(identity, "loss")
    assert [(one.step, one.value) for one in losses] == [(1, 2.0), (2, 1.0)]


def test_wandb_without_an_account(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="Weights & Biases is an extra: pip install wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    run(tmp_path, [1, 2], "wandb")
    identity = json.loads((tmp_path / "tracking.json").read_text())["wandb"]
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{identity}"))


def test_early_stop_counts_epochs_of_a_resumed_run():
    from torchmanager_core.errors import StopTraining
    history = [{"epoch": 1, "val_dice": 0.5}]
    stop = EarlyStop(history, 2)
    stop.on_epoch_end(1, {}, {"dice": 0.4})
    with pytest.raises(StopTraining):
        stop.on_epoch_end(2, {}, {"dice": 0.3})
    assert len(history) == 1  # Record's, not to be changed
