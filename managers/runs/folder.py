"""The folder of a run on disk: when it may be created, and what it records about itself."""

import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from configs import TrainingConfig
from configs.pretraining.pretraining import PretrainingConfig
from system import ROOT
from system.exit import LOGGER_NAME
from system.files import read_json, write_json
from system.json_files import read_lines, read_object

from .checkpoints import load_checkpoint
from .run_locks import claim_run, is_claimed, locked, scores_held

PACKAGES = ("torch", "monai", "torchmanager", "nibabel", "numpy", "scipy", "edt")


def refuse_to_replace(folder: Path, overwrite: bool, name: str = "--experiment") -> None:
    """Raise ValueError for a folder that is not a run, or a run without `overwrite`.

    Args:
        name: the flag that names the run.
    """
    if is_absent(folder):
        return
    if not is_run(folder):
        raise ValueError(f"{folder}: exists and is not a run; choose another {name}.")
    if not overwrite:
        raise ValueError(f"{folder}: this experiment exists. Choose another {name}, or give "
                         f"--resume to continue it or --overwrite to replace it.")


def is_run(folder: Path) -> bool:
    """Whether a folder has a config.json, and it is that of a run."""
    try:
        config = read_json(folder / "config.json")
    except ValueError:
        return False
    return isinstance(config, dict) and "method" in config


# Files of a run that was killed before it wrote config.json.
BEFORE_CONFIG = re.compile(r"\.lock|\.scores\.lock|\.config\.json\.[a-z0-9_]{8}")
UNFINISHED_MODEL = re.compile(r"\.(best|last|interrupted|epoch\d+)\.model\.[a-z0-9_]{8}")


def is_absent(folder: Path) -> bool:
    """Whether a run has not begun: no folder, or only what a run killed at its start leaves."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(BEFORE_CONFIG.fullmatch(path.name) for path in folder.iterdir())


def where_it_goes_on(folder: Path, epochs: int, complete: bool,
                     same_steps: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The checkpoint that a run resumes from; None, with a warning, if it has none yet.

    That is interrupted.model, saved in the middle of an epoch, or last.model if that is from a
    later epoch.

    Args:
        epochs: the run is to have.
        complete: whether the work after the last epoch is done, too.
        same_steps: whether an epoch still has the steps that it had when a checkpoint was saved.

    Raises:
        ValueError: the run is finished, a checkpoint cannot be read, or there is none although
            the run has trained for more than an epoch.
    """
    interrupted, last = folder / "interrupted.model", folder / "last.model"
    checkpoint = None
    if interrupted.is_file():
        checkpoint = load_checkpoint(interrupted)
        if not same_steps(checkpoint):
            checkpoint = None
            warnings.warn(f"--resume: an epoch now has other steps, so the interrupted epoch "
                          f"starts over ({interrupted}).", stacklevel=3)
    if last.is_file():
        newest = load_checkpoint(last)
        if checkpoint is None or len(newest["history"]) > len(checkpoint["history"]):
            checkpoint = newest
    if checkpoint is None:
        refuse_to_lose(folder)
        warnings.warn(f"--resume: {folder} was stopped in its first epoch and has no checkpoint "
                      f"yet; it starts over.", stacklevel=3)
        return None
    done = len(checkpoint["history"])
    if done > epochs or (done == epochs and complete):
        raise ValueError(f"{folder}: has finished {done} epochs; give more than that as --epochs "
                         f"to train on.")
    return checkpoint


def refuse_to_lose(folder: Path) -> None:
    """Raise ValueError if a run has results but no checkpoints: it would start over."""
    # The record of an epoch is written before its checkpoint, so one epoch may have none yet.
    if epochs_done(folder) > 1 or (folder / "summary.json").is_file():
        raise ValueError(f"{folder}: has trained {epochs_done(folder)} epoch(s), but its "
                         f"last.model is gone: the run cannot continue, and its results are not "
                         f"replaced without being asked. Put last.model back, or move the folder "
                         f"away to train it again.")


def epochs_done(folder: Path) -> int:
    """How many epochs a run has on record; ValueError if metrics.jsonl is damaged."""
    lines = read_lines(folder / "metrics.jsonl", "epoch")
    if not lines:
        return 0
    return lines[-1]["epoch"]


def open_folder(folder: Path, config: TrainingConfig | PretrainingConfig, device: torch.device,
                resumed: bool) -> None:
    """Create a run's folder, or continue in it; writes config.json and opens the log.

    environment.json records where the run started and each resumption of it.

    Raises:
        ValueError: another run of that name has started since `refuse_to_replace`, another process
            trains it now or scores the run to be replaced, or environment.json of a resumed run
            is damaged.
    """
    _remove_leftovers(folder)
    if not resumed:
        refuse_to_replace(folder, config.overwrite or config.resume)
        if folder.exists():
            claim_run(folder)
            with scores_held(folder):
                # Renamed first, so that a kill never leaves half a run under its name.
                aside = folder.with_name(f".{folder.name}.{os.getpid()}")
                folder.rename(aside)
                _remove_all(aside)
    folder.mkdir(parents=True, exist_ok=True)
    claim_run(folder)
    for left in folder.iterdir():  # by a process killed while writing
        if UNFINISHED_MODEL.fullmatch(left.name):
            left.unlink()
    here = environment(device)
    if resumed:
        first = read_object(folder / "environment.json")
        here = first | {"resumed": [*resumptions(first, folder), here]}
    write_json(folder / "config.json", config.to_dict())  # first: it makes this folder a run
    write_json(folder / "environment.json", here)
    _log_to_file(folder / f"{folder.stem}.log")


def resumptions(about: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What environment.json records of each resumption; ValueError if it is damaged."""
    found = about.get("resumed", [])
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise ValueError(f"{folder / 'environment.json'}: is damaged (resumed is no list of "
                         f"objects); take \"resumed\" out of it.")
    return found


def _remove_all(aside: Path) -> None:
    """Remove a renamed run; its lock last, which marks a half-removed one as ours."""
    for path in aside.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != ".lock":
            with suppress(OSError):  # as rmtree: the next run removes the rest
                path.unlink()
    shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what an --overwrite that was killed had renamed but not yet removed."""
    if not folder.parent.is_dir():
        return
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.([1-9]\d*)")
    for path in folder.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match is None or not path.is_dir() or path.is_symlink() or _is_alive(int(match[1])):
            continue
        is_ours = (path / ".lock").is_file() or is_run(path)
        if is_ours and not is_claimed(path):
            _remove_all(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or no process number
        return True
    return True


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, git commit and command line of this process."""
    device_name, cuda = _processor(), None
    if device.type == "cuda":
        device_name, cuda = torch.cuda.get_device_name(device), torch.version.cuda
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": str(device),
        "device_name": device_name,
        "cuda": cuda,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "git": _git_state(),
    }


def _processor() -> str:
    """The processor's name; Python's own function finds none on Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor()


def _git_state() -> dict[str, Any] | None:
    """Commit of this repository and whether files differ from it; None without git."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, text=True,
                              capture_output=True, timeout=10).stdout.strip()
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


class LogFile(logging.FileHandler):
    """A log that ignores a full disk, which the code that cannot write reports itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line; logging would print a traceback for each."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


MARKS_OF_WORK = ("cv.json", "gathered.json")  # mark a work folder whose log is gone
OF_WORK_FOLDERS = (".lock", ".alone")


@contextmanager
def work_folder(folder: Path, log_name: str, script: str, shared: bool = False) -> Iterator[None]:
    """A folder for several runs with its log, created if need be and locked by this process.

    Args:
        script: the name of the script, for messages.
        shared: allows other processes that open it with `shared`, too.

    Raises:
        ValueError: another process works on it, or it holds the files of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in OF_WORK_FOLDERS)
    if foreign and not any((folder / name).is_file() for name in (log_name, *MARKS_OF_WORK)):
        raise ValueError(f"{folder}: holds {foreign[0]} but no {log_name}, so {script} did not "
                         f"make it and might replace files in it. Give another name.")
    with locked(folder / ".lock", shared) as mine:
        if not mine:
            raise ValueError(f"{folder}: another {script} is at work on it. Wait for it, or stop "
                             f"it.")
        _log_to_file(folder / log_name)
        yield


def _log_to_file(path: Path) -> None:
    handler = LogFile(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger(LOGGER_NAME).addHandler(handler)
