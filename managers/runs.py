"""A run on disk: making its folder, and building it again from there."""

import logging
import os
import platform
import shutil
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig, experiment_dir, read_config
from configs.cli import LOGGER_NAME
from configs.files import read_json, write_json
from data import Split, choose_fold, dataset_of, write_splits
from networks import TransferReport, build_network, read_weights, transfer_weights

from .checkpoints import load_checkpoint
from .segmentation import SegmentationManager

PACKAGES = ("torch", "monai", "torchmanager", "nibabel", "numpy", "scipy", "edt")


def resume_point(config: TrainingConfig) -> dict[str, Any] | None:
    """The checkpoint that `config` continues from; None for a new run.

    Asked before any data are read, so that a run that cannot be is refused at once.

    Raises:
        ValueError: the experiment exists and neither --resume nor --overwrite was given, there is
            nothing to resume, or the settings do not fit the weights.
    """
    folder = experiment_dir(config.experiment)
    if config.output_model is not None:
        _check_output(Path(config.output_model))
    if config.resume:
        _compare(read_config(folder), config, folder)
        checkpoint = load_checkpoint(folder / "last.model")
        done = checkpoint["history"][-1]["epoch"]
        if done >= config.epochs:
            raise ValueError(f"{folder}: has finished {done} epochs; give more than that as "
                             f"--epochs to train on.")
        return checkpoint
    _refuse_to_replace(folder, config)
    return None


def _check_output(path: Path) -> None:
    """Refuse a place for the final weights that would fail after the last epoch."""
    if path.is_dir():
        raise ValueError(f"OUTPUT {path}: is a directory; give a file, or _ for none.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"OUTPUT {path}: {parent} is not a folder that can be written to.")


def _refuse_to_replace(folder: Path, config: TrainingConfig) -> None:
    """Nothing that is not a run is ever replaced, and a run only when asked for."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: exists and is not a run; choose another --experiment.")
    if not config.overwrite:
        raise ValueError(f"{folder}: this experiment exists. Choose another --experiment, or give "
                         f"--resume to continue it or --overwrite to replace it.")


# What a checkpoint's weights depend on, and what says nothing about how a run goes on.
SHAPES = ("method", "dataset", "dataset_definition", "network", "network_options", "img_size",
          "upsampling")
INDIFFERENT = ("data_dir", "output_model", "experiment", "num_workers", "device",
               "show_verbose", "use_multi_gpus", "resume", "overwrite")


def changed_settings(before: TrainingConfig, now: TrainingConfig) -> dict[str, str]:
    """The settings that matter and differ, by name, each in words for people."""
    old, new = before.to_dict(), now.to_dict()
    changed = {name: f"{name} {old[name]} -> {new[name]}" for name in old
               if old[name] != new[name] and name not in INDIFFERENT}
    if "dataset_definition" in changed:  # too long to be shown
        changed["dataset_definition"] = "the content of dataset.json"
    return changed


def _compare(before: TrainingConfig, now: TrainingConfig, folder: Path) -> None:
    """Refuse to resume with other shapes; warn of settings that change how the run goes on."""
    changed = changed_settings(before, now)
    switched = {"hint_weight"} if 0 in (before.hint_weight, now.hint_weight) else set()
    breaking = [text for name, text in changed.items() if name in {*SHAPES, *switched}]
    if breaking:
        raise ValueError(f"{folder}: cannot be resumed, its weights are for other settings: "
                         f"{'; '.join(breaking)}.")
    for text in changed.values():
        warnings.warn(f"--resume: {text}; the run goes on with the new value.", stacklevel=2)


def open_run(config: TrainingConfig, folds: list[Split], device: torch.device,
             checkpoint: dict[str, Any] | None) -> Path:
    """Make the run's folder, or continue it from `checkpoint`, and open its log.

    Writes config.json, environment.json and splits.json.

    Raises:
        ValueError: the split differs from that of the run to be resumed, or another run of that
            name has begun since `resume_point`.
    """
    folder = experiment_dir(config.experiment)
    splits = [split.to_dict() for split in folds]
    if checkpoint is not None and read_json(folder / "splits.json") != splits:
        raise ValueError(f"{folder}: cannot be resumed, the cases or their split have changed "
                         f"(splits.json).")
    if checkpoint is None:
        _refuse_to_replace(folder, config)  # again: another run may have begun meanwhile
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    here = environment(device)
    if checkpoint is not None:
        first = read_json(folder / "environment.json")
        here = first | {"resumed": [*first.get("resumed", []), here]}
    write_json(folder / "environment.json", here)
    write_splits(folder / "splits.json", folds)
    write_json(folder / "config.json", config.to_dict())
    _log_to_file(folder / f"{folder.stem}.log")
    return folder


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, git commit and command line of this process."""
    cuda = device.type == "cuda"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if cuda else platform.processor(),
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of this repository and whether files differ from it; None without git."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], check=True, text=True,
                              capture_output=True, timeout=10).stdout.strip()
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _log_to_file(path: Path) -> None:
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger(LOGGER_NAME).addHandler(handler)


def network_of(config: TrainingConfig) -> nn.Module:
    """The network that a run trains, freshly initialised.

    Raises:
        ValueError: options or an image size that it cannot take.
    """
    dataset = dataset_of(config)
    return build_network(config.network, len(dataset.channels), dataset.num_classes,
                         config.img_size, self_distillation=config.method == "dsd",
                         upsampling=config.upsampling, hints=config.hint_weight > 0,
                         **config.network_options)


def initialise(network: nn.Module, config: TrainingConfig,
               checkpoint: dict[str, Any] | None) -> TransferReport | None:
    """Give a new run's network the weights of --init_from; None when there are none to give.

    Raises:
        ValueError: the file cannot be read, or nothing in it fits.
    """
    if config.init_from is None or checkpoint is not None:
        return None
    path = Path(config.init_from)
    if path.suffix == ".exp" and not path.exists():
        path = experiment_dir(config.init_from)  # NAME.exp, as for --experiment
    return transfer_weights(network, read_weights(path), config.init_part)


def read_run(experiment: str) -> tuple[Path, TrainingConfig, Split]:
    """Folder, settings and split of an existing run.

    Raises:
        ValueError: no run there, or its files do not fit together.
    """
    folder = experiment_dir(experiment)
    config = read_config(folder)
    path = folder / "splits.json"
    try:
        folds = [Split(*(tuple(fold[key]) for key in ("train", "val", "test")))
                 for fold in read_json(path)]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: is not a list of folds with train, val and test.") from error
    return folder, config, choose_fold(folds, config.fold)


def load_manager(folder: Path, config: TrainingConfig, saved_model: str) -> SegmentationManager:
    """The run's network with its "best" or "last" weights, ready to predict.

    Raises:
        ValueError: the checkpoint is absent, damaged, or of another network.
    """
    network, _ = load_network(folder, config, saved_model)
    return SegmentationManager(network, None, None, dataset_of(config).class_names,
                               config.img_size, config.overlap, config.window_batch)


def load_network(folder: Path, config: TrainingConfig,
                 saved_model: str) -> tuple[nn.Module, dict[str, Any]]:
    """The run's network with its "best" or "last" weights, and the checkpoint they are from.

    Raises:
        ValueError: the checkpoint is absent, damaged, or of another network.
    """
    path = folder / f"{saved_model}.model"
    checkpoint, network = load_checkpoint(path), network_of(config)
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ValueError(f"{path}: does not fit the network of config.json: {error}") from error
    return network, checkpoint
