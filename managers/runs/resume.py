"""A run on disk: making its folder, and building it again from there."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from configs import TrainingConfig, experiment_dir, read_config
from configs.use.run_folder import is_of_a_run
from data import Split, choose_fold, dataset_of, write_splits
from networks import TransferReport, build_network, start_from
from system.files import read_json

from ..compute.distributed import Processes
from .checkpoints import load_checkpoint, load_with_digest, weights_sha256
from .early_stop import has_stopped
from .folder import open_folder, refuse_to_replace, where_it_goes_on
from .published import WEIGHTS, read_published
from .trained_with import (
    FLAGS,
    changes_between,
    content_of,
    definition_changes,
    preprocessing_changes,
    refuse_other_preprocessing,
)


def resume_point(config: TrainingConfig) -> dict[str, Any] | None:
    """The checkpoint that `config` continues from; None for a new run.

    A run that has all its epochs but no scores continues with the scores; one that was stopped
    before its first checkpoint starts over. Called before any data are read, so that a run that
    cannot be resumed is refused at once.

    Raises:
        ValueError: the experiment exists and neither --resume nor --overwrite was given, there is
            nothing to resume, or the settings do not fit the weights.
    """
    folder = experiment_dir(config.experiment)
    if config.output_model is not None:
        _check_output(Path(config.output_model))
    if not config.resume:
        refuse_to_replace(folder, config.overwrite)
        return None

    def same_steps(saved: dict[str, Any]) -> bool:
        # Not config.json, which a failed attempt to resume may have changed since.
        used = saved["config"]
        return used["batch_size"] == config.batch_size and used["seed"] == config.seed

    _compare(read_config(folder), config, folder)
    summary, last = folder / "summary.json", folder / "last.model"
    scored = (summary.is_file() and last.is_file()
              and summary.stat().st_mtime_ns >= last.stat().st_mtime_ns)
    checkpoint = where_it_goes_on(folder, config.epochs, scored, same_steps)
    if scored and checkpoint is not None:
        history = checkpoint["history"]
        if has_stopped(history, config.early_stop):
            raise ValueError(f"{folder}: stopped early after {len(history)} epochs and is scored; "
                             f"give a larger --early_stop to train on.")
    _compare_weights(folder, checkpoint, config)
    return checkpoint


def _check_output(path: Path) -> None:
    """Refuse a path that the final weights cannot be written to after the last epoch."""
    if path.is_dir():
        raise ValueError(f"OUTPUT {path}: is a directory; give a file, or _ for none.")
    if is_of_a_run(path):
        raise ValueError(f"OUTPUT {path}: lies in the folder of a run and might replace one of "
                         f"its files; give another place, or _ for none.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"OUTPUT {path}: {parent} is not a folder that can be written to.")


# SHAPES decide what a checkpoint holds and which cases it has seen; INDIFFERENT settings change
# at most rounding.
SHAPES = ("method", "dataset", "dataset_definition", "fold", "network", "network_options",
          "img_size", "upsampling", "optimizer", "encoder_heads")
INDIFFERENT = ("data_dir", "output_model", "experiment", "num_workers", "cache",
               "cache_dir", "device", "track", "show_verbose", "use_multi_gpus", "resume",
               "overwrite", "compile", "channels_last", "fused", "tf32", "use_checkpoint",
               "deterministic")


def changed_settings(before: TrainingConfig, now: TrainingConfig) -> dict[str, str]:
    """The settings that matter and differ, each as "name old -> new", by name."""
    old, new = before.to_dict(), now.to_dict()
    for settings in (old, new):
        settings["dataset_definition"] = content_of(settings["dataset_definition"])
    changed = {}
    for name in old:
        chosen_by_device = name == "amp" and now.amp is None  # --fast
        if old[name] != new[name] and name not in INDIFFERENT and not chosen_by_device:
            changed[name] = f"{name} {old[name]} -> {new[name]}"
    if "dataset_definition" in changed:  # too long to be shown
        changed["dataset_definition"] = (
            f"the content of dataset.json ("
            f"{definition_changes(before.dataset_definition, now.dataset_definition)})")
    return changed


def _compare(before: TrainingConfig, now: TrainingConfig, folder: Path) -> None:
    """Refuse to resume with other shapes; warn of settings that change the rest of the run."""
    changed = changed_settings(before, now)
    fixed = set(SHAPES)
    if 0 in (before.hint_weight, now.hint_weight):  # 0 has no hint heads
        fixed.add("hint_weight")
    if "ema" in (before.teacher, now.teacher):  # the checkpoint holds its mean network
        fixed.add("teacher")
    breaking = [text for name, text in changed.items() if name in fixed]
    if {"dataset", "dataset_definition"} & changed.keys():
        breaking += [changed[name] for name in FLAGS if name in changed]
    else:
        breaking += changes_between(before, now)
    _refuse_changes(folder, "its checkpoint is", breaking)
    for name, text in changed.items():
        effect = "the run goes on with the new value"
        if name in ("init_from", "init_part"):
            effect = "this has no effect, since the run has already taken its weights"
        warnings.warn(f"--resume: {text}; {effect}.", stacklevel=2)


def _compare_weights(folder: Path, checkpoint: dict[str, Any] | None,
                     config: TrainingConfig) -> None:
    """Refuse if the checkpoint or best.model was trained with other preprocessing.

    The files record it themselves, since config.json may have changed after they were saved.
    """
    if checkpoint is not None:
        _refuse_changes(folder, "its checkpoint is", preprocessing_changes(checkpoint, config))
    best = folder / "best.model"
    if best.is_file():
        changes = preprocessing_changes(load_checkpoint(best), config)
        _refuse_changes(folder, "best.model is", changes)


def _refuse_changes(folder: Path, whose: str, changes: list[str]) -> None:
    if changes:
        raise ValueError(f"{folder}: cannot be resumed, {whose} for other settings: "
                         f"{'; '.join(changes)}. Repeat the flags of the first command "
                         f"(config.json has the values), or give another --experiment.")


def open_run(config: TrainingConfig, folds: list[Split], device: torch.device,
             checkpoint: dict[str, Any] | None, processes: Processes | None = None) -> Path:
    """Create the run's folder, or continue in it from `checkpoint`, and open its log.

    Writes config.json, environment.json and splits.json; only the main process does.

    Raises:
        ValueError: the split differs from that of the run to be resumed, or another run of that
            name has started since `resume_point`.
    """
    folder = experiment_dir(config.experiment)
    if processes is not None and not processes.is_main:
        return folder
    splits = [split.to_dict() for split in folds]
    if checkpoint is not None and read_json(folder / "splits.json") != splits:
        raise ValueError(f"{folder}: cannot be resumed, the cases or their split have changed "
                         f"(splits.json).")
    open_folder(folder, config, device, resumed=checkpoint is not None)
    write_splits(folder / "splits.json", folds)
    return folder


def network_of(config: TrainingConfig) -> nn.Module:
    """The network that a run trains, freshly initialised.

    Args:
        config: of this command line, whose network is trusted; for one read from a run folder see
            `load_network`.

    Raises:
        ValueError: options or an image size that it cannot take.
    """
    dataset = dataset_of(config)
    options = dict(config.network_options)
    if config.use_checkpoint:
        options["use_checkpoint"] = True
    return build_network(config.network, len(dataset.channels), dataset.num_classes,
                         config.img_size, self_distillation=config.method == "dsd",
                         upsampling=config.upsampling, hints=config.hint_weight > 0,
                         encoder_heads=config.encoder_heads, **options)


def initialise(network: nn.Module, config: TrainingConfig,
               checkpoint: dict[str, Any] | None) -> TransferReport | None:
    """Give a new run's network the weights of --init_from; None without it.

    Raises:
        ValueError: the file cannot be read, or nothing in it fits.
    """
    if config.init_from is None or checkpoint is not None:
        return None
    path = Path(config.init_from)
    if path.suffix == ".exp" and not path.exists():
        path = experiment_dir(config.init_from)  # NAME.exp, as for --experiment
    return start_from(network, path, config.init_part)


def read_run(experiment: str) -> tuple[Path, TrainingConfig, Split]:
    """Folder, settings and split of a run; ValueError if there is none, or it is damaged."""
    folder = experiment_dir(experiment)
    config = read_config(folder)
    path = folder / "splits.json"
    try:
        folds = [Split.from_dict(fold) for fold in read_json(path)]
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: is not a list of folds with train, val and test.") from error
    return folder, config, choose_fold(folds, config.fold)


def check_network_code(runs: Iterable[tuple[Path, TrainingConfig]],
                       trust_network_code: bool) -> None:
    """Refuse runs whose network is a factory, unless the user trusts its code.

    To build such a network, a module that only the run folder names is imported, which runs code.

    Args:
        runs: folder and settings of each.

    Raises:
        ValueError: names every such run, its module and the flag.
    """
    if trust_network_code:
        return
    problems = []
    for folder, config in runs:
        module, colon, _ = config.network.partition(":")
        if colon:
            problems.append(f"{folder / 'config.json'}: the run's network is {config.network!r}, "
                            f"which is not part of this project: to build it, the module {module} "
                            f"would be imported and its code run.")
    if problems:
        problems.append("Only the run folder names it, not this command line. Read the module "
                        "first; if you trust its code, give --trust_network_code.")
        raise ValueError("\n".join(problems))


def load_network(folder: Path, config: TrainingConfig, saved_model: str,
                 trust_network_code: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """The run's network with its "best" or "last" weights, and a description of these.

    Args:
        trust_network_code: whether to import a factory that only the run folder names.

    Returns:
        the network; the "file" with its "sha256", "weights_sha256" and "epoch" of its content.

    Raises:
        ValueError: the checkpoint is absent, damaged, for another network, or was trained with
            other preprocessing than `config` has; a factory that is not trusted.
    """
    check_network_code([(folder, config)], trust_network_code)
    path = folder / f"{saved_model}.model"
    if not path.exists() and (folder / WEIGHTS).is_file():
        path = folder / WEIGHTS
        checkpoint, sha256 = read_published(path, saved_model)
    else:
        checkpoint, sha256 = load_with_digest(path)
    network = network_of(config)
    refuse_other_preprocessing(path, checkpoint, config)
    try:
        network.load_state_dict(checkpoint["network"])
    except RuntimeError as error:
        raise ValueError(f"{path}: does not fit the network of config.json: {error}") from error
    epoch = 0
    if checkpoint["history"]:
        epoch = checkpoint["history"][-1]["epoch"]
    return network, {"file": path.name, "sha256": sha256,
                     "weights_sha256": weights_sha256(checkpoint["network"]), "epoch": epoch}
