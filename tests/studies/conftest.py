"""A working folder for tests of the engine."""

import pytest

from tests.studies.stand_ins import make_workplace


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A working folder with scripts that take no time."""
    make_workplace(tmp_path, monkeypatch)
    return tmp_path
