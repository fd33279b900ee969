"""The epochs of a run in MLflow or Weights & Biases, beside the record in its folder."""

import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from torchmanager.callbacks import Callback

from networks.errors import first_line
from system.exit import LOGGER_NAME
from system.files import write_json
from system.json_files import read_object

from .runs.early_stop import epochs_to_train

log = logging.getLogger(LOGGER_NAME)

PROJECT = "dsd3d"  # MLflow's experiment, W&B's project, unless their own variables say another
FILE = "tracking.json"  # in the run folder: under which id a resumed run goes on


class Tracker(Protocol):
    """A run in a tracking service."""

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Send the values of an epoch, counted from 1."""

    def close(self, finished: bool) -> None:
        """End the run."""


class MlflowRun:
    """A run in MLflow, at MLFLOW_TRACKING_URI or MLflow's own default; settings are parameters."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        # A server that does not answer must not hold training up for MLflow's own 14 minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow import MlflowClient
        from mlflow.entities import Param
        self.client = MlflowClient()
        self.id = _saved_ids(folder).get("mlflow")
        if self.id is not None:
            self.client.update_run(self.id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            experiment_id = self.client.create_experiment(name)
        else:
            experiment_id = experiment.experiment_id
        self.id = self.client.create_run(experiment_id, run_name=folder.stem).info.run_id
        parameters = [Param(key, str(value)[:500]) for key, value in settings.items()]
        self.client.log_batch(self.id, params=parameters)
        _save_id(folder, "mlflow", self.id)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Send the values of an epoch, counted from 1."""
        from mlflow.entities import Metric
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, epoch) for key, value in values.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def close(self, finished: bool) -> None:
        """End the run."""
        status = "KILLED"
        if finished:
            status = "FINISHED"
        self.client.set_terminated(self.id, status)


class WandbRun:
    """A run in Weights & Biases; without an account it is kept offline in the run folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        import wandb
        identity = _saved_ids(folder).get("wandb") or secrets.token_hex(4)
        mode = os.environ.get("WANDB_MODE")
        if mode is None and not _has_account():
            mode = "offline"
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.run = wandb.init(project=project, name=folder.stem, id=identity, resume="allow",
                              dir=str(folder), config=settings, mode=mode)
        _save_id(folder, "wandb", identity)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Send the values of an epoch, counted from 1."""
        self.run.log(values, step=epoch)

    def close(self, finished: bool) -> None:
        """End the run."""
        self.run.finish(exit_code=int(not finished))


TRACKERS: dict[str, Callable[[Path, dict[str, Any]], Tracker]] = {
    "mlflow": MlflowRun, "wandb": WandbRun}


def refuse_absent_tracker(name: str | None) -> None:
    """Raise ValueError for a --track whose package is not installed; called before any work."""
    if name is not None and find_spec(name) is None:
        raise ValueError(f"--track {name}: the package is not installed; pip install {name}")


def _has_account() -> bool:
    """Whether `wandb login` or WANDB_API_KEY has left a key; never asks for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc().authenticators(host or "") is not None
    except (OSError, NetrcParseError):
        return False


def _saved_ids(folder: Path) -> dict[str, str]:
    """The id of this run in each service, from its folder."""
    path = folder / FILE
    if not path.is_file():
        return {}
    return read_object(path)


def _save_id(folder: Path, service: str, identity: str) -> None:
    write_json(folder / FILE, _saved_ids(folder) | {service: identity})


class Track(Callback):
    """Sends each epoch's line of the record. A service that fails never stops the training.

    Args:
        settings: TrainingConfig.to_dict.
        history: the list that Record appends to, before this callback.
    """

    def __init__(self, name: str, folder: Path, settings: dict[str, Any],
                 history: list[dict[str, Any]]):
        self.name = name
        self.history = history
        self.settings = settings
        self.tracker: Tracker | None = None
        self._try(lambda: self._start(folder))

    def _start(self, folder: Path) -> None:
        self.tracker = TRACKERS[self.name](folder, self.settings)

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Send the line of the 0-based epoch."""
        line = dict(self.history[-1])
        number = line.pop("epoch")
        if self.tracker is not None:
            self._try(lambda: self.tracker.log(number, line))

    def on_train_end(self, model: Any) -> None:
        """End the run."""
        epochs = epochs_to_train(self.history, self.settings["epochs"],
                                 self.settings["early_stop"])
        if self.tracker is not None:
            self._try(lambda: self.tracker.close(finished=len(self.history) >= epochs))

    def _try(self, action: Callable[[], None]) -> None:
        """Do something with the service; if it fails, say so once and go on without it."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever the service raises
            self.tracker = None
            warnings.warn(f"--track {self.name} failed, so training goes on without it: "
                          f"{first_line(error)}", stacklevel=2)
