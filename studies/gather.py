"""How far each run of a set is, and copies of the rows of complete evaluations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from configs import experiment_dir
from managers.runs.folder import epochs_done
from managers.runs.run_locks import is_locked
from managers.runs.state import (
    ABSENT,
    FINISHED,
    course_of,
    is_scored,
    run_state,
)
from reports import read_per_case
from system.files import write_bytes

from .plans.planned import Plan, PlannedRun

Row = dict[str, Any]

UNDER_WAY = "under way"  # in another call: its folder may be in any state


@dataclass(frozen=True)
class Progress:
    """How far one run is.

    Attributes:
        state: ABSENT, BEGUN, FINISHED or UNDER_WAY.
        epochs: done so far.
        is_gathered: whether the rows of its group are in the set's folder, or in its own.
    """

    state: str
    epochs: int
    is_gathered: bool


def progress_of(plan: Plan) -> dict[str, Progress]:
    """How far each run is, by name. Call this `alone` where other calls may be at work.

    Raises:
        ValueError: run folders with other settings that matter, all in one message.
    """
    found: dict[str, Progress] = {}
    problems, record = [], plan.read_record()
    for run in plan.runs:
        try:
            found[run.name] = _progress(plan, run, record)
        except ValueError as error:
            problems.append(f"  {error}")
    if problems:
        raise ValueError("\n".join([plan.refusal, *problems, plan.remedy]))
    return found


def _progress(plan: Plan, run: PlannedRun, record: Mapping[str, str]) -> Progress:
    folder = experiment_dir(run.settings.experiment)
    if is_locked(plan.lock_of(run)):
        return Progress(UNDER_WAY, epochs_done(folder), False)
    if plan.overwrite:
        return Progress(ABSENT, 0, False)
    course = record.get(run.name, "").partition(" ")[2]
    state = run_state(run.settings, course or None)
    if state == ABSENT:
        return Progress(ABSENT, 0, False)
    is_gathered = state == FINISHED and (
        _is_copied(plan, run, record) or is_scored(folder, run.group, run.native_space))
    return Progress(state, epochs_done(folder), is_gathered)


def _is_copied(plan: Plan, run: PlannedRun, record: Mapping[str, str]) -> bool:
    return record.get(run.name) == _entry(run) and plan.rows_of(run).is_file()


def _entry(run: PlannedRun) -> str:
    """What the record says of a run whose rows are gathered."""
    return f"{run.group} {course_of(experiment_dir(run.settings.experiment))}"


def rows_of_arms(plan: Plan, runs: Iterable[PlannedRun],
                 progress: Mapping[str, Progress]) -> dict[Any, dict[tuple[int, int], list[Row]]]:
    """By arm, and by fold and seed, the rows of the runs that are finished and scored."""
    arms: dict[Any, dict[tuple[int, int], list[Row]]] = {}
    for run in runs:
        if progress[run.name].state == FINISHED and gather(plan, run):
            key = (run.settings.fold, run.settings.seed)
            arms.setdefault(run.arm, {})[key] = read_per_case(plan.rows_of(run))
    return arms


def gather(plan: Plan, run: PlannedRun, models_are_gone: bool = False) -> bool:
    """Copy the rows of a finished run into the set's folder; False if it is not scored.

    The run's own rows are replaced by its next evaluation, perhaps of other cases. Call this
    `alone` where other calls may be at work.

    Args:
        models_are_gone: see `is_scored`.
    """
    folder = experiment_dir(run.settings.experiment)
    record = plan.read_record()
    if _is_copied(plan, run, record):
        return True
    if not is_scored(folder, run.group, run.native_space, models_are_gone):
        return False
    record.pop(run.name, None)
    plan.write_record(record)  # killed here, it is gathered again
    write_bytes(plan.rows_of(run), (folder / "per_case.csv").read_bytes())
    plan.write_record(record | {run.name: _entry(run)})
    return True
