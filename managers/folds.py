"""One fold after another: how far each is, training what is missing, its validation scores.

A fold is a run of a training script in a process of its own; its run folder says how far it is.
"""

import hashlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from configs import TrainingConfig, experiment_dir, read_config
from configs.cli import LOGGER_NAME, StatedError
from configs.cross_validation import CrossValidationConfig
from configs.files import read_json, write_bytes, write_json
from reports import read_per_case

from .checkpoints import load_checkpoint
from .executors import Outcome, job_executor, run_here, run_jobs, run_logged
from .runs import changed_settings

log = logging.getLogger(LOGGER_NAME)

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {"basic": "train_basic.py", "dsd": "train_SelfDistil_Original.py"}
ABSENT, BEGUN, FINISHED = "absent", "begun", "finished"


class FoldsFailedError(StatedError):
    """Some folds could not be finished."""


def states(config: CrossValidationConfig) -> dict[int, str]:
    """How far each fold is: ABSENT, BEGUN or FINISHED.

    Raises:
        ValueError: run folders with other settings that matter, all in one message.
    """
    if config.overwrite:
        return dict.fromkeys(config.folds, ABSENT)
    found, problems = {}, []
    scored = read_about(config.folder).get("scored", {})
    for fold, wanted in config.folds.items():
        try:
            found[fold] = _state(wanted, scored.get(str(fold)))
        except ValueError as error:
            problems.append(f"  {error}")
    if problems:
        raise ValueError("\n".join([
            "These folds cannot be used:", *problems, "Choose another --experiment, ask for the "
            "same settings, or give --overwrite to train all folds from the start."]))
    return found


def _state(wanted: TrainingConfig, scored: str | None) -> str:
    """How far one run is; `scored` is the digest of its metrics.jsonl when it was last gathered."""
    folder = experiment_dir(wanted.experiment)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return ABSENT
    run = read_config(folder)
    changed = changed_settings(run, wanted)
    if changed:
        raise ValueError(f"{folder}: has other settings: {'; '.join(changed.values())}.")
    if run.data_dir != wanted.data_dir:
        warnings.warn(f"{folder}: was trained on the data in {run.data_dir}, not "
                      f"{wanted.data_dir}; they must be the same.", stacklevel=2)
    if _epochs_done(folder) < wanted.epochs or not (folder / "best.model").is_file():
        return BEGUN
    if scored is not None and scored == _digest(folder):
        return FINISHED
    # metrics.jsonl is written before last.model: a run may have been killed in between.
    done = load_checkpoint(folder / "last.model")["history"][-1]["epoch"]
    return FINISHED if done >= wanted.epochs else BEGUN


def _epochs_done(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return json.loads(lines[-1])["epoch"] if lines else 0


def _digest(folder: Path) -> str:
    """Of the run's course: another training of that name has another."""
    return hashlib.sha256((folder / "metrics.jsonl").read_bytes()).hexdigest()


def training_command(config: CrossValidationConfig, fold: int, state: str) -> list[str]:
    """The command line that starts a fold, or continues it."""
    script = str(ROOT / SCRIPTS[config.method])
    folder = experiment_dir(config.folds[fold].experiment)
    extra = []
    if state == BEGUN:
        # Stopped before a checkpoint: there is nothing to continue from, and nothing to lose.
        begun = any((folder / f"{name}.model").is_file() for name in ("last", "interrupted"))
        extra = ["--resume" if begun else "--overwrite"]
    elif config.overwrite and (folder / "config.json").is_file():
        extra = ["--overwrite"]
    return [sys.executable, script, *extra, *config.arguments[fold]]


def run_folds(config: CrossValidationConfig, folder: Path, found: dict[int, str]) -> None:
    """Train the folds that are not finished, and score those whose scores are not at hand.

    The validation rows of a fold are copied to foldK.csv in `folder`; cv.json says which run they
    are of.

    Raises:
        ValueError: the executor cannot be had.
        FoldsFailedError: says which folds failed, and where to read why; the others have run.
    """
    todo = {fold: training_command(config, fold, state) for fold, state in found.items()
            if state != FINISHED}
    executor = None
    if todo and config.executor != "local":
        executor = job_executor(config.executor, config.job_options, folder / "jobs",
                                folder.stem)
    for fold in sorted(set(found) - set(todo)):
        log.info(f"fold {fold}: finished before, {config.folds[fold].experiment}")
    scored = {fold: digest for fold, digest in read_about(folder).get("scored", {}).items()
              if int(fold) not in todo}
    if todo:
        _discard_results(folder)
    _write_about(config, folder, scored, complete=False)
    outcomes: dict[int, Outcome] = {}
    if todo:
        outcomes = (run_jobs(todo, executor, folder) if executor else
                    run_here(todo, folder, config.show_verbose))
    failures = {}
    for fold in config.folds:
        failure = _failure(config, fold, outcomes.get(fold)) or _gather(config, fold, folder,
                                                                         scored)
        if failure:
            failures[fold] = failure
    _write_about(config, folder, scored, complete=not failures)
    if failures:
        raise FoldsFailedError("\n".join([
            f"{len(failures)} of {len(config.folds)} folds are missing "
            f"({', '.join(map(str, failures))}), so there is no table. The same command runs "
            f"these again.", *failures.values()]))


def _failure(config: CrossValidationConfig, fold: int, outcome: Outcome | None) -> str | None:
    """What went wrong in training, None for nothing."""
    if outcome is None:
        return None
    try:
        unfinished = _state(config.folds[fold], None) != FINISHED
    except ValueError:
        unfinished = True
    if not unfinished and not outcome.status:
        return None
    status = "" if outcome.status is None else f", exit status {outcome.status}"
    return f"  fold {fold}: failed{status}, log {outcome.log}:\n{outcome.tail()}"


def _gather(config: CrossValidationConfig, fold: int, folder: Path,
            scored: dict[str, str]) -> str | None:
    """Have the fold's validation rows in foldK.csv; what went wrong, None for nothing."""
    run = experiment_dir(config.folds[fold].experiment)
    copy, digest = folder / f"fold{fold}.csv", _digest(run)
    if copy.is_file() and scored.get(str(fold)) == digest:
        return None
    if not _is_validation(run):
        # eval.py has scored other cases since.
        path = folder / f"fold{fold}_eval.log"
        log.info(f"fold {fold}: scored again on its validation cases, log {path}")
        status = run_logged(_evaluation_command(config.folds[fold]), path)
        if status or not _is_validation(run):
            outcome = Outcome(status, path)
            return (f"  fold {fold}: could not be scored, exit status {status}, log {path}:\n"
                    f"{outcome.tail()}")
    write_bytes(copy, (run / "per_case.csv").read_bytes())
    scored[str(fold)] = digest
    return None


def _is_validation(run: Path) -> bool:
    """Whether the run's per_case.csv is of best.model on all its validation cases, in mm."""
    files = [run / name for name in ("summary.json", "per_case.csv", "best.model")]
    if not all(path.is_file() for path in files):
        return False
    if files[0].stat().st_mtime < files[2].stat().st_mtime:
        return False  # of an earlier best.model: the run has been continued since
    summary = read_json(files[0])
    if (summary.get("group"), summary.get("saved_model"),
            summary.get("space", "resampled")) != ("validation", "best", "resampled"):
        return False
    wanted = set(read_json(run / "splits.json")[read_config(run).fold - 1]["val"])
    rows = read_per_case(files[1])
    return "hd95_mm" in rows[0] and {row["case_id"] for row in rows} == wanted


def _evaluation_command(run: TrainingConfig) -> list[str]:
    return [sys.executable, str(ROOT / "eval.py"), "--experiment", run.experiment,
            "--data", run.data_dir, "--mode", "validation", "--saved_model", "best",
            "--device", run.device, "--no-paper_metrics", "--no-native_space",
            "--no-save_predictions", "--no-include_training_cases", "--no-show_verbose"]


RESULTS = ("per_case.csv", "summary.json", "table.txt", "folds.png", "comparison_with_*")


def _discard_results(folder: Path) -> None:
    """Remove the tables: they are not of the folds that will be there."""
    for pattern in RESULTS:
        for path in folder.glob(pattern):
            path.unlink()


def read_about(folder: Path) -> dict[str, Any]:
    """The content of cv.json; nothing where there is none."""
    path = folder / "cv.json"
    return read_json(path) if path.is_file() else {}


def _write_about(config: CrossValidationConfig, folder: Path, scored: dict[str, str],
                 complete: bool) -> None:
    first = next(iter(config.folds.values()))
    settings = {name: value for name, value in first.to_dict().items()
                if name not in ("fold", "experiment", "resume", "overwrite", "output_model")}
    write_json(folder / "cv.json", {
        "experiments": [run.experiment for run in config.folds.values()],
        "folds": list(config.folds), "dataset": first.dataset, "network": first.network,
        "method": config.method, "complete": complete, "scored": scored, "settings": settings})
