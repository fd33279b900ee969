"""Running commands: one after another on this machine, or as jobs of `submitit`."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.experiment_name import refuse_control_characters
from system.exit import LOGGER_NAME, TrainingInterruptedError
from system.files import write_json
from system.json_files import read_object
from system.signals import StopSignal

log = logging.getLogger(LOGGER_NAME)

Commands = dict[str, list[str]]  # by the name of a run


@dataclass(frozen=True)
class Outcome:
    """The exit status of a command, None for a job, whose status is not known, and its log."""

    status: int | None
    log: Path

    def tail(self, num_lines: int = 12) -> str:
        """The last lines of the log, indented."""
        if not self.log.is_file():
            return "    (there is no log)"
        text = self.log.read_text(encoding="utf-8", errors="replace").rstrip()
        return "\n".join(f"    {line}" for line in text.splitlines()[-num_lines:])

    def failure(self, what: str) -> str:
        """What went wrong, with the log's path and its last lines."""
        if self.status is not None:
            what = f"{what}, exit status {self.status}"
        return f"{what}, log {self.log}:\n{self.tail()}"


def run_logged(command: list[str], path: Path, show: bool = False,
               seconds: float | None = None) -> int:
    """Run a command with its output in the file `path`; returns its exit status.

    Args:
        show: print the output on the terminal, too.
        seconds: send SIGTERM after this time; None for no limit.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # a log that can be followed
    with open(path, "wb") as file, \
         subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment) as process, _stopped_after(process, seconds):
        try:
            while chunk := process.stdout.read1():
                file.write(chunk)
                file.flush()
                if show:
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.buffer.flush()
        except KeyboardInterrupt as stop:
            # ^C reached the command as well: give it time to finish its step and save.
            if isinstance(stop, StopSignal) and stop.number != signal.SIGINT:
                process.send_signal(stop.number)  # this one went to our process only
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.terminate()
            raise
        return process.wait()


@contextmanager
def _stopped_after(process: subprocess.Popen, seconds: float | None) -> Iterator[None]:
    """Send SIGTERM to a process that is still running after this time."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(max(0.0, seconds), process.terminate)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def job_executor(kind: str, options: dict[str, Any], folder: Path, name: str) -> Any:
    """The executor of `submitit` for "slurm" or "submitit-local", without any job yet.

    Args:
        options: by submitit's names.
        folder: for scripts, pickled commands and logs.
        name: of the jobs.

    Raises:
        ValueError: submitit is not installed, Slurm is not available here, an option is unknown,
            or a name has a line break, which would end up in the job script.
    """
    refuse_control_characters(f"--executor {kind}: the name or the folder of its jobs,",
                              f"{name} {folder.absolute()}")
    try:
        import submitit
    except ImportError as error:
        raise ValueError(f"--executor {kind} needs submitit: pip install submitit.") from error
    defaults: dict[str, Any] = {"name": name}
    cluster = "slurm"
    if kind != "slurm":
        cluster = "local"
        defaults["timeout_min"] = 60 * 24 * 365  # in effect no time limit
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**defaults | options)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"--executor {kind}: {error}") from error
    return executor


def run_jobs(commands: Commands, executor: Any, folder: Path,
             poll_seconds: float = 2.0) -> dict[str, Outcome]:
    """Submit the commands, if there are any, as one job array and wait for all of them.

    Slurm's job ids are kept in jobs.json of `folder`: a second call while jobs of the first are
    pending or running waits for those and submits only the others. The jobs' pickled results are
    never loaded.

    Args:
        executor: of `job_executor`.
    """
    if not commands:
        return {}
    from submitit.helpers import CommandFunction

    folder.mkdir(parents=True, exist_ok=True)
    slurm = executor.cluster == "slurm"
    jobs = _jobs_under_way(commands, folder) if slurm else {}
    new = [name for name in commands if name not in jobs]
    if new:
        with executor.batch():
            for name in new:
                command = _with_own_gpus(commands[name], executor)
                jobs[name] = executor.submit(CommandFunction(command))
    if slurm:
        write_json(folder / "jobs.json", {
            name: {"job_id": job.job_id, "folder": str(job.paths.folder)}
            for name, job in jobs.items()})
    for name, job in sorted(jobs.items()):
        log.info(f"{name}: job {job.job_id}, log {job.paths.stdout}")
    try:
        return _wait(jobs, poll_seconds)
    except KeyboardInterrupt:
        if not slurm:
            _end_local(jobs.values())
            raise
        ids = " ".join(job.job_id for job in jobs.values())
        raise TrainingInterruptedError(f"the jobs go on; scancel {ids} stops them, the same "
                                       f"command waits for them again") from None


def _end_local(jobs: Iterable[Any], patience_seconds: float = 5.0) -> None:
    """Cancel local jobs that do not stop by themselves after ^C."""
    until = time.monotonic() + patience_seconds
    while time.monotonic() < until and not all(job.done() for job in jobs):
        time.sleep(0.1)
    for job in jobs:
        if not job.done():
            job.cancel(check=False)


def _wait(jobs: dict[str, Any], poll_seconds: float) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    while len(outcomes) < len(jobs):
        for name, job in jobs.items():
            if name not in outcomes and job.done():
                outcomes[name] = Outcome(None, Path(job.paths.stderr))
                log.info(f"{name}: job {job.job_id} has ended ({len(outcomes)} of {len(jobs)})")
        if len(outcomes) < len(jobs):
            time.sleep(poll_seconds)
    return outcomes


def _jobs_under_way(commands: Commands, folder: Path) -> dict[str, Any]:
    """The Slurm jobs of an earlier call that have not ended."""
    import submitit

    path = folder / "jobs.json"
    known = read_object(path) if path.exists() else {}
    under_way = {}
    for name in commands:
        if name not in known:
            continue
        job = submitit.SlurmJob(known[name]["folder"], known[name]["job_id"])
        if not job.done(force_check=True):
            under_way[name] = job
            log.info(f"{name}: job {job.job_id} of an earlier call has not ended (Slurm says "
                     f"{job.state}); if Slurm has lost it, remove {path}")
    return under_way


def _with_own_gpus(command: list[str], executor: Any) -> list[str]:
    """Local jobs see our GPUs: submitit hides them from jobs that request none."""
    if executor.cluster == "slurm" or executor.parameters.get("gpus_per_node"):
        return command
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    setting = ["-u", "CUDA_VISIBLE_DEVICES"] if seen is None else [f"CUDA_VISIBLE_DEVICES={seen}"]
    return ["env", *setting, *command]
