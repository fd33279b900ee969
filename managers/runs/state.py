"""One of several runs: how far it is, how to start or continue it, whether it is scored."""

import hashlib
import sys
import warnings
from pathlib import Path
from typing import Any

from configs import TrainingConfig, experiment_dir, read_config
from metrics import TOLERANCE_MM
from reports import read_per_case
from reports.scores import are_of_one_evaluation
from system import ROOT
from system.files import read_json
from system.json_files import read_lines, read_object

from .checkpoints import load_checkpoint, weights_sha256
from .early_stop import epochs_to_train
from .folder import is_absent, refuse_to_lose
from .resume import changed_settings

SCRIPTS = {"basic": "train_basic.py", "dsd": "train_SelfDistil_Original.py"}
ABSENT, BEGUN, FINISHED = "absent", "begun", "finished"
# Names of the groups in eval.py --mode to those in splits.json.
GROUPS = {"training": "train", "validation": "val", "testing": "test"}


def run_state(wanted: TrainingConfig, scored: str | None) -> str:
    """How far a run is: ABSENT, BEGUN or FINISHED.

    Args:
        scored: `course_of` the run when its scores were last gathered; None if they never were.

    Raises:
        ValueError: the folder's run has other settings that matter or has lost its checkpoints,
            or the folder is no run.
    """
    folder = experiment_dir(wanted.experiment)
    if is_absent(folder):
        return ABSENT
    run = read_config(folder)
    changed = changed_settings(run, wanted)
    if changed:
        raise ValueError(f"{folder}: has other settings: {'; '.join(changed.values())}.")
    if run.data_dir != wanted.data_dir:
        warnings.warn(f"{folder}: was trained on the data in {run.data_dir}, not "
                      f"{wanted.data_dir}; they must be the same.", stacklevel=2)
    complete = _is_complete(read_lines(folder / "metrics.jsonl", "epoch"), wanted)
    if complete and scored is not None and scored == course_of(folder):
        return FINISHED
    if not _has_checkpoint(folder):
        refuse_to_lose(folder)
        return BEGUN
    if complete and (folder / "best.model").is_file() and (folder / "last.model").is_file():
        # metrics.jsonl is written before last.model: a run may have been killed in between.
        saved = load_checkpoint(folder / "last.model")["history"]
        if _is_complete(saved, wanted):
            return FINISHED
    return BEGUN


def _is_complete(history: list[dict[str, Any]], wanted: TrainingConfig) -> bool:
    """Whether a run with this record has nothing left to train."""
    epochs = epochs_to_train(history, wanted.epochs, wanted.early_stop)
    return bool(history) and history[-1]["epoch"] >= epochs


def _has_checkpoint(folder: Path) -> bool:
    """Whether --resume has a checkpoint to continue from."""
    return (folder / "last.model").is_file() or (folder / "interrupted.model").is_file()


def course_of(folder: Path) -> str:
    """Digest of a run's record, which differs in another training of the same name."""
    return hashlib.sha256((folder / "metrics.jsonl").read_bytes()).hexdigest()


def run_command(wanted: TrainingConfig, arguments: list[str], state: str,
                overwrite: bool = False) -> list[str]:
    """The command line that starts a run, or continues it.

    Args:
        arguments: of the training script.
        state: from `run_state`.
        overwrite: start over, whatever the folder holds.
    """
    folder = experiment_dir(wanted.experiment)
    extra = []
    if state == BEGUN:
        extra = flags_to_go_on(folder) or ["--overwrite"]
    elif overwrite and (folder / "config.json").is_file():
        extra = ["--overwrite"]
    return [sys.executable, str(ROOT / SCRIPTS[wanted.method]), *extra, *arguments]


def flags_to_go_on(folder: Path) -> list[str]:
    """Flags with which a training or pre-training script continues a run folder, if it exists."""
    if _has_checkpoint(folder):
        return ["--resume"]
    if (folder / "config.json").is_file():
        # Stopped before its first checkpoint: nothing to continue from, and nothing to lose.
        return ["--overwrite"]
    return []


def is_scored(folder: Path, group: str, native_space: bool = False,
              models_are_gone: bool = False) -> bool:
    """Whether per_case.csv has the scores of best.model on a whole group, in mm and float32.

    Args:
        group: a key of GROUPS.
        native_space: on the grid of the label files instead of the network's.
        models_are_gone: removed on purpose, so the scores cannot be compared with them.
    """
    scores = folder / "per_case.csv"
    if not scores.is_file() or not (folder / "summary.json").is_file():
        return False
    summary = read_object(folder / "summary.json")
    space = "resampled"
    if native_space:
        space = "native"
    found = (summary.get("group"), summary.get("saved_model"), summary.get("space", "resampled"),
             summary.get("amp", "off"))
    if found != (group, "best", space, "off"):
        return False
    if models_are_gone:
        if not are_of_one_evaluation(folder, summary):
            return False
    elif not _is_of_best_model(summary, folder):
        return False
    fold = read_config(folder).fold
    try:
        wanted = set(read_json(folder / "splits.json")[fold - 1][GROUPS[group]])
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{folder / 'splits.json'}: is damaged (no {group} cases of fold "
                         f"{fold}).") from error
    rows = read_per_case(scores)
    return "hd95_mm" in rows[0] and {row["case_id"] for row in rows} == wanted


def _is_of_best_model(summary: dict[str, Any], folder: Path) -> bool:
    """Whether a summary.json belongs to the per_case.csv and best.model beside it."""
    best = folder / "best.model"
    if not best.is_file():
        return False
    if "weights_sha256" in summary:
        digest = weights_sha256(load_checkpoint(best)["network"])
        return are_of_one_evaluation(folder, summary) and summary["weights_sha256"] == digest
    # Older versions recorded no digest, but wrote summary.json after both files.
    written = (folder / "summary.json").stat().st_mtime_ns
    return ((folder / "per_case.csv").stat().st_mtime_ns <= written
            and best.stat().st_mtime_ns <= written)


def evaluation_command(run: TrainingConfig, group: str, native_space: bool = False) -> list[str]:
    """The command line that scores a run's best.model on a group of its cases, in mm.

    Args:
        run: the settings asked for; those of the run folder agree (see `run_state`).
        native_space: on the grid of the label files.
    """
    space, trust = "--no-native_space", "--no-trust_network_code"
    if native_space:
        space = "--native_space"
    if ":" in run.network:
        trust = "--trust_network_code"
    return [sys.executable, str(ROOT / "eval.py"), "--experiment", run.experiment,
            "--data", run.data_dir, "--mode", group, "--saved_model", "best",
            "--device", run.device, "--amp", "off", "--no-paper_metrics", space,
            "--tolerance_mm", f"{TOLERANCE_MM:g}", "--no-tune_postprocessing",
            "--no-save_predictions", "--no-include_training_cases", trust, "--no-show_verbose",
            "--cases"]  # without ids: the whole group, whatever SETTINGS in eval.py has
