"""scripts/check_matrix.py: its table, and where it looks for the interpreters that it makes."""

import runpy
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def matrix(pytestconfig):
    return runpy.run_path(str(pytestconfig.rootpath / "scripts" / "check_matrix.py"))


def row(torch, outcome):
    return {"wanted": {"python": "3.11.7", "torch": torch, "monai": "1.6.1"}, "status": 0,
            "versions": {"torch": f"{torch}+cpu", "numpy": "2.4.6"}, "outcome": outcome,
            "about": {"commit": "abc1234", "tests": ["tests/losses", "tests/data"]}}


def test_the_table_is_in_the_order_of_versions(matrix):
    lines = matrix["as_table"]([row("2.13.0", "9 passed"), row("2.8.0", "1 failed")]).splitlines()
    assert lines[4:] == ["| python | torch | monai | numpy | outcome |", "|---|---|---|---|---|",
                         "| 3.11.7 | 2.8.0+cpu | 1.6.1 | 2.4.6 | 1 failed |",
                         "| 3.11.7 | 2.13.0+cpu | 1.6.1 | 2.4.6 | 9 passed |", "",
                         "Commit abc1234: `tests/losses tests/data`"]


def test_tests_run_from_the_root_with_the_interpreter_of_a_relative_folder(matrix, tmp_path,
                                                                          monkeypatch):
    """What would be installed is not; the tests' command answers with pytest's last line."""
    calls = []

    def run(command, cwd=".", **_):
        calls.append((str(command[0]), Path(cwd)))
        printed = "2.8.0 1.6.1 2.4.6 1.5" if len(calls) == 3 else "....\n4 passed in 1.20s\n"
        return subprocess.CompletedProcess(command, 0, printed, "")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    Path("work").mkdir()
    found = matrix["checked"]("python3", row("2.8.0", "")["wanted"], ["tests"], Path("work"), "1")
    assert found == {"status": 0, "outcome": "4 passed", "versions": {
        "torch": "2.8.0", "monai": "1.6.1", "numpy": "2.4.6", "torchmanager": "1.5"}}
    own = tmp_path / "work" / "python-3.11.7-torch-2.8.0-monai-1.6.1" / "bin" / "python"
    assert calls[-1] == (str(own), matrix["ROOT"])
