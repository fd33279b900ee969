"""What several rooms' tests share."""

import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from system.exit import LOGGER_NAME

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """^C is heard, also where pytest runs in a shell's background, which has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _hippocampus() -> Path:
    return Path(os.environ.get("HIPPOCAMPUS_DIR",
                               ROOT.parent / "shared" / "data" / "Task04_Hippocampus"))


@pytest.fixture(scope="session")
def hippocampus_dir() -> Path:
    """The real MSD Hippocampus set; tests that need it skip where it is absent."""
    folder = _hippocampus()
    if not (folder / "imagesTr").is_dir():
        pytest.skip(f"the MSD Hippocampus set is not at {folder} (set HIPPOCAMPUS_DIR)")
    return folder


def close_logs() -> None:
    """Close the project's log files and leave the console."""
    log = logging.getLogger(LOGGER_NAME)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


@pytest.fixture(autouse=True)
def no_log_file_stays_open():
    """A run's log is closed after the test that opened it."""
    yield
    close_logs()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference numbers."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """phantoms(dataset, cases, size) -> DATA folder, made once per session."""
    from data.phantoms.make import make_phantoms

    made = {}

    def make(dataset: str, cases: int, size: tuple[int, int, int]) -> Path:
        key = (dataset, cases, size)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(dataset)
            make_phantoms(dataset, str(made[key]), cases, size, progress=False)
        return made[key]

    return make


@pytest.fixture(scope="session")
def run_script_in():
    """run_script_in(folder, "train_basic.py", *arguments) -> as a finished process, run there.

    The script runs as __main__ within this process: torch and MONAI take seconds to import.
    What a process of its own is needed to show is shown with run_process.
    """

    def run(folder: Path, script: str, *arguments: object):
        command = [str(ROOT / script), *map(str, arguments)]
        output, errors, known = io.StringIO(), io.StringIO(), set(sys.modules)
        with (pytest.MonkeyPatch.context() as patch, redirect_stdout(output),
              redirect_stderr(errors), warnings.catch_warnings()):
            _warn_as_python(patch)
            patch.chdir(folder)
            patch.setattr(sys, "argv", command)
            patch.setattr(sys, "path", [str((ROOT / script).parent), *sys.path])
            try:
                with pytest.raises(SystemExit) as left:
                    runpy.run_path(command[0], run_name="__main__")
            finally:
                close_logs()
                for name in set(sys.modules) - known:  # the folder's own, as a process forgets them
                    if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
                        del sys.modules[name]
        return subprocess.CompletedProcess(command, left.value.code or 0, output.getvalue(),
                                           errors.getvalue())

    return run


def _warn_as_python(patch: pytest.MonkeyPatch) -> None:
    """Warnings go to standard error, as they do without pytest."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    patch.setattr(warnings, "formatwarning", warnings.formatwarning)  # exit_with sets it
    patch.setattr(warnings, "showwarning", lambda message, category, filename, lineno, *_:
                  sys.stderr.write(warnings.formatwarning(message, category, filename, lineno)))


@pytest.fixture
def run_script(run_script_in, tmp_path):
    """run_script("train_basic.py", *arguments, cwd=tmp_path): see run_script_in."""

    def run(script: str, *arguments: object, cwd: Path | None = None):
        return run_script_in(cwd or tmp_path, script, *arguments)

    return run


@pytest.fixture
def run_process(tmp_path):
    """run_process("train_basic.py", *arguments) -> the finished process, run in tmp_path."""

    def run(script: str, *arguments: object, cwd: Path | None = None):
        return subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)],
                              cwd=cwd or tmp_path, capture_output=True, text=True, timeout=500)

    return run
