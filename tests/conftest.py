"""What several rooms' tests share."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.cli import LOGGER_NAME

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture(autouse=True)
def no_log_file_stays_open():
    """A run's log is closed after the test that opened it."""
    yield
    log = logging.getLogger(LOGGER_NAME)
    for handler in [one for one in log.handlers if isinstance(one, logging.FileHandler)]:
        log.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the reference numbers."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """phantoms(dataset, cases, size) -> DATA folder, made once per session."""
    from data.phantoms import make_phantoms

    made = {}

    def make(dataset: str, cases: int, size: tuple[int, int, int]) -> Path:
        key = (dataset, cases, size)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(dataset)
            make_phantoms(dataset, str(made[key]), cases, size, progress=False)
        return made[key]

    return make


@pytest.fixture
def run_script(tmp_path):
    """run_script("train_basic.py", *arguments) -> the finished process, run in tmp_path."""

    def run(script: str, *arguments: object, cwd: Path | None = None):
        return subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)],
                              cwd=cwd or tmp_path, capture_output=True, text=True, timeout=500)

    return run
