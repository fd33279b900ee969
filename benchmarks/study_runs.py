"""Command lines of a study, one after another: what is finished is skipped, the rest goes on."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from managers.runs.checkpoints import load_checkpoint
from reports.scores import are_of_one_evaluation
from studies.executors import Outcome, run_logged
from system.exit import INTERRUPTED, LOGGER_NAME, TrainingInterruptedError
from system.files import read_json
from system.signals import is_interruption

log = logging.getLogger(LOGGER_NAME)
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Task:
    """One command line of a study.

    Attributes:
        name: unique; of its log, NAME.log.
        script: below the project's root.
        arguments: of the script.
        is_finished: whether its result is there, whole.
        flags_to_go_on: what the command needs where something of it is there already.
        needs: names of the tasks whose results it reads.
        afterwards: called when it is finished, now or before.
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    is_finished: Callable[[], bool]
    flags_to_go_on: Callable[[], list[str]] = list
    needs: tuple[str, ...] = ()
    afterwards: Callable[[], None] = lambda: None

    @property
    def command(self) -> list[str]:
        """The command line, without flags to go on."""
        return [sys.executable, str(ROOT / self.script), *self.arguments]


def run_tasks(tasks: Sequence[Task], logs: Path, show: bool = False) -> dict[str, str]:
    """Run what is not finished, a line of progress for each; what went wrong by task.

    A task that fails does not keep others from running, only those that need its result.

    Raises:
        TrainingInterruptedError: a command was stopped by the user; the rest is not begun.
    """
    logs.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    begun = time.monotonic()
    for number, task in enumerate(tasks, start=1):
        head = f"[{number:>{len(str(len(tasks)))}}/{len(tasks)}] {task.name}"
        lacking = [name for name in task.needs if name in failures]
        if lacking:
            failures[task.name] = f"not run: it needs {', '.join(lacking)}"
            log.info(f"{head}: {failures[task.name]}")
            continue
        if task.is_finished():
            log.info(f"{head}: finished before")
        else:
            start = time.monotonic()
            failure = _run(task, logs / f"{task.name}.log", show)
            took = (f"after {time.monotonic() - start:.0f} s, "
                    f"{(time.monotonic() - begun) / 60:.1f} min in all")
            if failure:
                failures[task.name] = failure
                log.info(f"{head}: failed {took}\n{failure}")
                continue
            log.info(f"{head}: done {took}")
        task.afterwards()
    return failures


def _run(task: Task, path: Path, show: bool) -> str | None:
    """Run one command; what went wrong, None for nothing."""
    try:
        status = run_logged([*task.command, *task.flags_to_go_on()], path, show)
    except KeyboardInterrupt:
        status = INTERRUPTED
    if is_interruption(status):
        raise TrainingInterruptedError(f"{task.name}; the same command goes on from here")
    if status == 0 and task.is_finished():
        return None
    ending = "its result is incomplete" if status == 0 else f"exit status {status}"
    return f"{ending}, log {path}:\n{Outcome(status, path).tail()}"


def phantoms_finished(folder: Path) -> bool:
    """Whether every file of a phantom set is there; its record is written before the files."""
    record = folder / "phantoms.json"
    return record.is_file() and all((folder / name).is_file()
                                    for name in read_json(record)["files"])


def run_finished(folder: Path, epochs: int) -> bool:
    """Whether a run of training or pre-training has done its epochs, by its last checkpoint."""
    return ((folder / "last.model").is_file()
            and load_checkpoint(folder / "last.model")["history"][-1]["epoch"] >= epochs)


def flags_of_run(folder: Path) -> list[str]:
    """What a training script needs to go on in a run folder that may be there."""
    if (folder / "last.model").is_file():
        return ["--resume"]
    # Stopped in its first epoch: there is nothing to continue from, and nothing to lose.
    return ["--overwrite"] if (folder / "config.json").is_file() else []


def scored(folder: Path, num_cases: int) -> bool:
    """Whether the run's latest evaluation is of best.model on all test cases, on their own grid."""
    path = folder / "summary.json"
    if not path.is_file():
        return False
    summary = read_json(path)
    if not are_of_one_evaluation(folder, summary):
        return False
    return (summary["group"], summary["saved_model"], summary["space"],
            summary["num_cases"]) == ("testing", "best", "native", num_cases)
