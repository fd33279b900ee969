"""Running the study of pre-training with few labels, which has a script of its own."""

import logging
import subprocess
import sys
import time

from configs.study.label_studies import SCRIPT, LabelStudyConfig
from managers.runs.state import ROOT
from system.exit import LOGGER_NAME, StatedError, TrainingInterruptedError
from system.signals import is_interruption

from .executors import run_logged

log = logging.getLogger(LOGGER_NAME)


def run_label_study(config: LabelStudyConfig) -> None:
    """Run the script, its output in FOLDER.log and on the terminal; with a budget, that long.

    Raises:
        StatedError: it failed.
        TrainingInterruptedError: it was stopped, but not by the end of the budget.
    """
    command = [sys.executable, str(ROOT / SCRIPT), *config.arguments]
    if config.dry_run:
        status = subprocess.run(command, check=False).returncode
        if status:
            raise StatedError(f"{SCRIPT}: exit status {status}")
        return
    config.folder.parent.mkdir(parents=True, exist_ok=True)
    path = config.folder.with_name(f"{config.folder.name}.log")
    seconds = None if config.budget_minutes is None else 60 * config.budget_minutes
    begun = time.monotonic()
    status = run_logged(command, path, show=True, seconds=seconds)
    if is_interruption(status):
        if seconds is None or time.monotonic() - begun < seconds:
            raise TrainingInterruptedError("the same command goes on from here")
        log.info("stopped, the budget is over; the same command goes on from here")
    elif status:
        raise StatedError(f"{SCRIPT}: exit status {status}, log {path}")
