"""One fold after another: how far each is, training what is missing, its validation scores.

A fold is a run of a training script in a process of its own; its run folder says how far it is.
"""

import logging
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.cross_validation import CrossValidationConfig
from managers.runs.state import (
    ABSENT,
    FINISHED,
    course_of,
    evaluation_command,
    is_scored,
    run_command,
    run_state,
)
from system.exit import LOGGER_NAME, StatedError
from system.files import write_bytes, write_json
from system.json_files import read_object

from .executors import Outcome, job_executor, run_here, run_jobs, run_logged

log = logging.getLogger(LOGGER_NAME)


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
            found[fold] = run_state(wanted, scored.get(str(fold)))
        except ValueError as error:
            problems.append(f"  {error}")
    if problems:
        raise ValueError("\n".join([
            "These folds cannot be used:", *problems, "Choose another --experiment, ask for the "
            "same settings, or give --overwrite to train all folds from the start."]))
    return found


def training_command(config: CrossValidationConfig, fold: int, state: str) -> list[str]:
    """The command line that starts a fold, or continues it."""
    return run_command(config.folds[fold], config.arguments[fold], state, config.overwrite)


def run_folds(config: CrossValidationConfig, folder: Path, found: dict[int, str]) -> None:
    """Train the folds that are not finished, and score those whose scores are not at hand.

    The validation rows of a fold are copied to foldK.csv in `folder`; cv.json says which run they
    are of. What is there of its tables is not complete from here on, until `note_complete`.

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
    _write_about(config, folder, scored)
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
    _write_about(config, folder, scored)
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
        unfinished = run_state(config.folds[fold], None) != FINISHED
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
    copy, digest = folder / f"fold{fold}.csv", course_of(run)
    if copy.is_file() and scored.get(str(fold)) == digest:
        return None
    if not is_scored(run, "validation"):
        # eval.py has scored other cases since.
        path = folder / f"fold{fold}_eval.log"
        log.info(f"fold {fold}: scored again on its validation cases, log {path}")
        status = run_logged(evaluation_command(config.folds[fold], "validation"), path)
        if status or not is_scored(run, "validation"):
            outcome = Outcome(status, path)
            return (f"  fold {fold}: could not be scored, exit status {status}, log {path}:\n"
                    f"{outcome.tail()}")
    write_bytes(copy, (run / "per_case.csv").read_bytes())
    scored[str(fold)] = digest
    return None


RESULTS = ("per_case.csv", "summary.json", "table.txt", "folds.png")
COMPARISONS = "comparison_with_*"
COMPARISON_ENDINGS = (".txt", ".csv", ".json", ".png")


def _discard_results(folder: Path) -> None:
    """Remove the tables: they are not of the folds that will be there."""
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob(COMPARISONS):
        if path.suffix in COMPARISON_ENDINGS and path.is_file():
            path.unlink()


def read_about(folder: Path) -> dict[str, Any]:
    """The content of cv.json; nothing where there is none."""
    path = folder / "cv.json"
    return read_object(path) if path.is_file() else {}


def _write_about(config: CrossValidationConfig, folder: Path, scored: dict[str, str]) -> None:
    """Write cv.json, which says that the tables are not complete; see `note_complete`."""
    first = next(iter(config.folds.values()))
    settings = {name: value for name, value in first.to_dict().items()
                if name not in ("fold", "experiment", "resume", "overwrite", "output_model")}
    write_json(folder / "cv.json", {
        "experiments": [run.experiment for run in config.folds.values()],
        "folds": list(config.folds), "dataset": first.dataset, "network": first.network,
        "method": config.method, "complete": False, "scored": scored, "settings": settings})


def note_complete(folder: Path) -> None:
    """Say in cv.json that the tables are complete; comes last."""
    write_json(folder / "cv.json", read_about(folder) | {"complete": True})
