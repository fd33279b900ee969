"""The runs of a study: how far each is, training and scoring as far as the time goes."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.study_plan import PlannedRun, StudyConfig
from data import choose_fold, dataset_of, planned_folds
from managers.runs.run_locks import alone, is_locked, locked
from managers.runs.state import (
    ABSENT,
    BEGUN,
    FINISHED,
    course_of,
    epochs_done,
    evaluation_command,
    is_scored,
    run_command,
    run_state,
)
from system.exit import LOGGER_NAME, TrainingInterruptedError
from system.files import read_json, write_bytes, write_json
from system.signals import SIGNALS, is_interruption

from .executors import Outcome, job_executor, run_jobs, run_logged

log = logging.getLogger(LOGGER_NAME)

UNDER_WAY = "under way"  # in another call of run_study.py: its folder may be in any state


@dataclass(frozen=True)
class Progress:
    """How far one run is.

    Attributes:
        state: ABSENT, BEGUN, FINISHED or UNDER_WAY.
        epochs: done so far.
        is_gathered: whether its rows are in the study's folder, or its own are those of the
            study's group of cases.
    """

    state: str
    epochs: int
    is_gathered: bool


def progress_of(config: StudyConfig) -> dict[str, Progress]:
    """How far each run is, by name; to be called `alone` where other calls may be at work.

    Raises:
        ValueError: run folders with other settings that matter, all in one message.
    """
    found, problems, gathered = {}, [], _gathered(config.folder)
    for run in config.runs:
        folder = experiment_dir(run.settings.experiment)
        if is_locked(_lock(config, run)):
            found[run.name] = Progress(UNDER_WAY, epochs_done(folder), False)
            continue
        group, _, course = gathered.get(run.name, "").partition(" ")
        try:
            state = run_state(run.settings, course or None)
        except ValueError as error:
            problems.append(f"  {error}")
            continue
        there = (group == config.study.group and bool(course) and _copy(config, run).is_file()
                 and state == FINISHED and course == course_of(folder))
        found[run.name] = Progress(state, 0 if state == ABSENT else epochs_done(folder),
                                   there or (state == FINISHED
                                             and is_scored(folder, config.study.group)))
    if problems:
        raise ValueError("\n".join([
            "These runs are not of this study:", *problems, "Ask for the settings that they have "
            "(--epochs, flags after --), or choose another --output."]))
    return found


def check_plan(config: StudyConfig, progress: Mapping[str, Progress]) -> None:
    """Before anything is trained: are there cases in every fold's group that shall be scored?

    Raises:
        ValueError: the data lack them, or there are not so many folds.
    """
    checked, problems = set(), []
    for run in config.runs:
        if (run.dataset, run.fold) in checked or progress[run.name].state == FINISHED:
            continue
        checked.add((run.dataset, run.fold))
        dataset = dataset_of(run.settings)
        case_ids = [case.case_id for case in dataset.find_cases(run.settings.data_dir)[0]]
        try:
            split = choose_fold(planned_folds(run.settings, dataset, case_ids), run.fold)
            if not getattr(split, config.study.group):
                problems.append(f"  {run.dataset}, fold {run.fold}: has no {config.study.group} "
                                f"cases.")
        except ValueError as error:
            problems.append(f"  {run.dataset}, fold {run.fold}: {error}")
    if problems:
        raise ValueError("\n".join([f"{config.runs[0].settings.data_dir}: the study cannot be "
                                    f"run on these data:", *dict.fromkeys(problems)]))


def run_study(config: StudyConfig) -> dict[str, str]:
    """Train what is not finished and score what is; what went wrong, by name of the run.

    With a budget, the run under way when it ends is told to stop, keeps its place and is not
    begun again; what has been trained is still scored. Here, several calls share a study: each
    takes the next run that no other is at.

    Raises:
        ValueError: the executor cannot be had.
        TrainingInterruptedError: the user stopped a run; the rest is not begun.
    """
    logs = config.folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    if config.executor == "local":
        return _run_here(config, logs)
    executor = job_executor(config.executor, config.job_options, config.folder / "jobs",
                            config.folder.stem)
    return _run_jobs(config, executor)


def _run_here(config: StudyConfig, logs: Path) -> dict[str, str]:
    failures: dict[str, str] = {}
    minutes = config.budget_minutes
    end = None if minutes is None else time.monotonic() + 60 * minutes
    for number, run in enumerate(config.runs, start=1):
        head = f"[{number}/{len(config.runs)}] {run.name}"
        with _taken(config, run) as now:
            failure = _trained_here(config, run, now.state, head, logs, end)
            if failure:
                failures[run.name] = failure
    return failures


@contextmanager
def _taken(config: StudyConfig, run: PlannedRun) -> Iterator[Progress]:
    """How far a run is now, kept from other calls within, unless one of them is at it."""
    with ExitStack() as held:
        with alone(config.folder):
            now = progress_of(replace(config, runs=(run,)))[run.name]
            if now.state != UNDER_WAY:
                held.enter_context(locked(_lock(config, run)))
        yield now


def _lock(config: StudyConfig, run: PlannedRun) -> Path:
    return config.folder / "logs" / f".{run.name}.lock"


def _trained_here(config: StudyConfig, run: PlannedRun, state: str, head: str, logs: Path,
                  end: float | None) -> str | None:
    """Train and score one run, as far as the time until `end` goes; what went wrong, if any."""
    if state == UNDER_WAY:
        log.info(f"{head}: under way in another call")
        return None
    if state == FINISHED:
        log.info(f"{head}: trained before")
        return _score_here(config, run, logs)
    if end is not None and time.monotonic() >= end:
        log.info(f"{head}: not {'continued' if state == BEGUN else 'begun'}, the budget is over")
        return None
    path = logs / f"{run.name}.log"
    log.info(f"{head}: {'continues' if state == BEGUN else 'starts'}, log {path}")
    command = run_command(run.settings, list(run.arguments), state)
    seconds = None if end is None else end - time.monotonic()
    status = _ran(command, path, config.show_verbose, run.name, seconds)
    if is_interruption(status) and end is not None and time.monotonic() >= end:
        log.info(f"{head}: stopped, the budget is over")
        return None
    if is_interruption(status):
        raise TrainingInterruptedError(f"{run.name}; the same command goes on from here",
                                       _number_of(status))
    failure = _failure(run, Outcome(status, path))
    if failure:
        log.info(f"{head}: failed, exit status {status}")
        return failure
    return _score_here(config, run, logs)


def _ran(command: list[str], path: Path, show: bool, name: str,
         seconds: float | None = None) -> int:
    try:
        return run_logged(command, path, show, seconds)
    except KeyboardInterrupt as stop:
        raise TrainingInterruptedError(f"{name}; the same command goes on from here",
                                       getattr(stop, "number", SIGNALS[0])) from None


def _number_of(status: int) -> int:
    return status - 128 if status > 0 else -status


def _failure(run: PlannedRun, outcome: Outcome) -> str | None:
    """What went wrong in training, None for nothing."""
    try:
        finished = run_state(run.settings, None) == FINISHED
    except ValueError:
        finished = False
    if finished and not outcome.status:
        return None
    status = "" if outcome.status is None else f", exit status {outcome.status}"
    return f"  {run.name}: failed{status}, log {outcome.log}:\n{outcome.tail()}"


def _score_here(config: StudyConfig, run: PlannedRun, logs: Path) -> str | None:
    """Have the run's rows in the study's folder; what went wrong, None for nothing."""
    with alone(config.folder):
        if gather(config, run):
            return None
    path = logs / f"{run.name}_scores.log"
    log.info(f"  scored on its {config.study.group} cases, log {path}")
    status = _ran(evaluation_command(run.settings, config.study.group), path,
                  config.show_verbose, run.name)
    with alone(config.folder):
        if status == 0 and gather(config, run):
            return None
    if is_interruption(status):
        raise TrainingInterruptedError(f"{run.name}; the same command goes on from here",
                                       _number_of(status))
    return (f"  {run.name}: could not be scored, exit status {status}, log {path}:\n"
            f"{Outcome(status, path).tail()}")


def _run_jobs(config: StudyConfig, executor: Any) -> dict[str, str]:
    """All training runs as jobs, then the scores of those that finished."""
    failures: dict[str, str] = {}
    progress = progress_of(config)
    training = {run.name: run_command(run.settings, list(run.arguments), progress[run.name].state)
                for run in config.runs if progress[run.name].state != FINISHED}
    outcomes = _jobs(training, executor, config.folder / "jobs" / "training")
    for run in config.runs:
        failure = _failure(run, outcomes[run.name]) if run.name in outcomes else None
        if failure:
            failures[run.name] = failure
    scoring = {run.name: evaluation_command(run.settings, config.study.group)
               for run in config.runs if run.name not in failures and not gather(config, run)}
    outcomes = _jobs(scoring, executor, config.folder / "jobs" / "scoring")
    for run in config.runs:
        if run.name in outcomes and not gather(config, run):
            failures[run.name] = (f"  {run.name}: could not be scored, log "
                                  f"{outcomes[run.name].log}:\n{outcomes[run.name].tail()}")
    return failures


def _jobs(commands: dict[str, list[str]], executor: Any, folder: Path) -> dict[str, Outcome]:
    if not commands:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    return run_jobs(commands, executor, folder, unit="")


def gather(config: StudyConfig, run: PlannedRun) -> bool:
    """Have the rows of a finished run in the study's folder; False where it is not scored.

    They are copied there, since the run's own are those of its latest evaluation, of whatever.
    To be called `alone` where other calls may be at work.
    """
    folder = experiment_dir(run.settings.experiment)
    gathered, now = _gathered(config.folder), f"{config.study.group} {course_of(folder)}"
    if gathered.get(run.name) == now and _copy(config, run).is_file():
        return True
    if not is_scored(folder, config.study.group):
        return False
    others = {name: of for name, of in gathered.items() if name != run.name}
    write_json(config.folder / "gathered.json", others)  # killed here, it is gathered again
    write_bytes(_copy(config, run), (folder / "per_case.csv").read_bytes())
    write_json(config.folder / "gathered.json", others | {run.name: now})
    return True


def _copy(config: StudyConfig, run: PlannedRun) -> Path:
    return config.folder / "cases" / f"{run.name}.csv"


def _gathered(folder: Path) -> dict[str, str]:
    """By run: the group of its copied rows, and the course of the run that they are of."""
    path = folder / "gathered.json"
    content = read_json(path) if path.is_file() else {}
    if not (isinstance(content, dict) and all(isinstance(one, str) for one in content.values())):
        raise ValueError(f"{path}: is damaged; remove it, then all runs are gathered again.")
    return content
