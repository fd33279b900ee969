"""The engine: prepares, trains and scores the runs of a plan, on this machine or as jobs.

On this machine several calls may share a plan: each takes the next run that no other call is
working on. When the budget is over, the current command is stopped, to be resumed by the next
call; runs that are already trained are still scored.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs import experiment_dir
from managers.runs.run_locks import alone, locked
from managers.runs.state import BEGUN, FINISHED, evaluation_command, run_command, run_state
from system import ROOT
from system.exit import LOGGER_NAME, TrainingInterruptedError
from system.signals import SIGNALS, is_interruption

from .executors import Outcome, job_executor, run_jobs, run_logged
from .gather import UNDER_WAY, Progress, gather, progress_of
from .plans.planned import Plan, PlannedRun, Preparation

log = logging.getLogger(LOGGER_NAME)


def executor_of(plan: Plan, progress: Mapping[str, Progress]) -> Any:
    """The executor for the plan's jobs; None if nothing is left to do or it is done here.

    Raises:
        ValueError: the executor is not available.
    """
    is_done = all(one.state == FINISHED and one.is_gathered for one in progress.values())
    if plan.executor == "local" or is_done:
        return None
    return job_executor(plan.executor, plan.job_options, plan.folder / "jobs", plan.folder.stem)


def execute(plan: Plan, executor: Any = None) -> dict[str, str]:
    """Train every run that is not finished and score it; returns the failures by name.

    Args:
        executor: of `executor_of`; None to run here.

    Raises:
        TrainingInterruptedError: the user stopped a command; the remaining ones are not started.
    """
    if executor is not None:
        return _run_jobs(plan, executor)
    return _Here(plan).run()


class _Here:
    """Runs one command after another until the budget is over."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.end: float | None = None
        if plan.budget_minutes is not None:
            self.end = time.monotonic() + 60 * plan.budget_minutes
        self.failures: dict[str, str] = {}
        self.unprepared: set[str] = set()

    def run(self) -> dict[str, str]:
        self.plan.logs.mkdir(parents=True, exist_ok=True)
        for one in self.plan.preparations:
            if not self._prepare(one):
                self.unprepared.add(one.name)
        for run in self.plan.runs:
            with self._take(run) as now:
                if now.state == UNDER_WAY:
                    self._say(run.name, "under way in another call")
                elif self._train(run, now.state):
                    self._score(run)
        return self.failures

    @contextmanager
    def _take(self, run: PlannedRun) -> Iterator[Progress]:
        """How far a run is now; holds its lock meanwhile, unless another call has it."""
        with ExitStack() as held:
            with alone(self.plan.folder):
                now = progress_of(replace(self.plan, runs=(run,)))[run.name]
                if now.state != UNDER_WAY:
                    held.enter_context(locked(self.plan.lock_of(run)))
            yield now

    def _prepare(self, one: Preparation) -> bool:
        """Run a preparation unless its result is complete; returns whether it is now."""
        if one.is_finished():
            self._say(one.name, "finished before")
            return True
        if self._lacks(one) or self._is_late(one.name, "begun"):
            return False
        command = [sys.executable, str(ROOT / one.script), *one.arguments, *one.flags_to_go_on()]
        outcome = self._command(one.name, "starts", command)
        if outcome is None:
            return False
        is_finished = outcome.status == 0 and one.is_finished()
        if not is_finished:
            what = "failed" if outcome.status else "its result is incomplete"
            self._fail(one.name, outcome.failure(what))
        return is_finished

    def _train(self, run: PlannedRun, state: str) -> bool:
        """Train a run unless it is finished; returns whether it is now."""
        if state == FINISHED:
            self._say(run.name, f"{self.plan.skipped_as}, {run.settings.experiment}")
            return True
        goes_on = state == BEGUN
        if self._lacks(run) or self._is_late(run.name, "continued" if goes_on else "begun"):
            return False
        command = run_command(run.settings, list(run.arguments), state, self.plan.overwrite)
        outcome = self._command(run.name, "continues" if goes_on else "starts", command)
        if outcome is None:
            return False
        is_trained = _is_trained(run, outcome)
        if not is_trained:
            self._fail(run.name, outcome.failure("failed"))
        return is_trained

    def _score(self, run: PlannedRun) -> None:
        """Copy the run's rows into the set's folder, scoring the run first if needed."""
        plan = self.plan
        with alone(plan.folder):
            is_gathered = gather(plan, run)
        if not is_gathered:
            path = plan.log_of(run.name, plan.score_ending)
            # Training scored the validation cases, but a later evaluation replaced the scores.
            again = "again " if run.group == "validation" else ""
            self._say(run.name, f"scored {again}on its {run.group} cases, log {path}")
            outcome = self._logged(run.name, scoring_command(run), path)
            with alone(plan.folder):
                is_gathered = outcome.status == 0 and gather(plan, run)
            if is_interruption(outcome.status):
                raise _interrupted(run.name, outcome.status)
            if not is_gathered:
                self._fail(run.name, outcome.failure("could not be scored"))
        if is_gathered and plan.discard_models:
            for model in experiment_dir(run.settings.experiment).glob("*.model"):
                model.unlink()

    def _command(self, name: str, how: str, command: list[str]) -> Outcome | None:
        """Run a command; None if the end of the budget stopped it.

        Raises:
            TrainingInterruptedError: something else stopped it.
        """
        path, begun = self.plan.log_of(name), time.monotonic()
        self._say(name, f"{how}, log {path}")
        seconds = None if self.end is None else self.end - begun
        outcome = self._logged(name, command, path, seconds)
        if not is_interruption(outcome.status):
            if outcome.status == 0:
                self._say(name, f"done after {time.monotonic() - begun:.0f} s")
            return outcome
        if self.end is None or time.monotonic() < self.end:
            raise _interrupted(name, outcome.status)
        self._say(name, "stopped, the budget is over")
        return None

    def _logged(self, name: str, command: list[str], path: Path,
                seconds: float | None = None) -> Outcome:
        try:
            return Outcome(run_logged(command, path, self.plan.show_verbose, seconds), path)
        except KeyboardInterrupt as stop:
            number = getattr(stop, "number", SIGNALS[0])
            raise _interrupted(name, 128 + number) from None

    def _lacks(self, one: PlannedRun | Preparation) -> bool:
        """Whether a preparation that the run needs is missing."""
        lacking = [name for name in one.needs if name in self.unprepared]
        if any(name in self.failures for name in lacking):
            self._fail(one.name, f"not run, it needs {', '.join(lacking)}")
        elif lacking:
            self._say(one.name, f"not begun, it needs {', '.join(lacking)}")
        return bool(lacking)

    def _is_late(self, name: str, what: str) -> bool:
        """Whether the budget is over."""
        if self.end is None or time.monotonic() < self.end:
            return False
        self._say(name, f"not {what}, the budget is over")
        return True

    def _fail(self, name: str, why: str) -> None:
        self.failures[name] = f"  {name}: {why}"
        self._say(name, why.partition(", log ")[0])

    def _say(self, name: str, what: str) -> None:
        log.info(f"{self.plan.head(name)}: {what}")


def _interrupted(name: str, status: int) -> TrainingInterruptedError:
    number = status - 128 if status > 0 else -status
    return TrainingInterruptedError(f"{name}; the same command goes on from here", number)


def scoring_command(run: PlannedRun) -> list[str]:
    """The command line of eval.py that scores a run."""
    return evaluation_command(run.settings, run.group, run.native_space)


def _is_trained(run: PlannedRun, outcome: Outcome) -> bool:
    """Whether a run is finished: jobs report no exit status, so its folder is read."""
    try:
        return not outcome.status and run_state(run.settings, None) == FINISHED
    except ValueError:
        return False


def _run_jobs(plan: Plan, executor: Any) -> dict[str, str]:
    """Train all runs as jobs, then score those that finished."""
    assert not plan.preparations, "preparations are run here only"
    failures: dict[str, str] = {}
    progress = progress_of(plan)
    training = {}
    for run in plan.runs:
        state = progress[run.name].state
        if state == FINISHED:
            log.info(f"{plan.head(run.name)}: {plan.skipped_as}, {run.settings.experiment}")
        else:
            training[run.name] = run_command(run.settings, list(run.arguments), state,
                                             plan.overwrite)
    outcomes = run_jobs(training, executor, plan.folder / "jobs" / "training")
    scoring = {}
    for run in plan.runs:
        if run.name in outcomes and not _is_trained(run, outcomes[run.name]):
            failures[run.name] = f"  {run.name}: {outcomes[run.name].failure('failed')}"
        elif not gather(plan, run):
            scoring[run.name] = scoring_command(run)
    outcomes = run_jobs(scoring, executor, plan.folder / "jobs" / "scoring")
    for run in plan.runs:
        if run.name in outcomes and not gather(plan, run):
            why = outcomes[run.name].failure("could not be scored")
            failures[run.name] = f"  {run.name}: {why}"
    return failures
