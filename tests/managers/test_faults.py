"""A training whose disk fills up stops with the file's name, its last checkpoint whole."""

import os
import subprocess

import pytest
import torch

from managers import TrainingError, load_checkpoint
from managers.callbacks import Record
from managers.runs.checkpoints import SaveCheckpoints
from system.faults import remedy

CPU = torch.device("cpu")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
                              capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fit(manager, batches, config, folder, monkeypatch, before_epoch_2):
    """Train two epochs; `before_epoch_2` is called when the first is on disk."""
    history = []
    checkpoints = SaveCheckpoints(folder, manager, history, config.to_dict())
    save = checkpoints.on_epoch_end

    def save_then_spoil(epoch, *summaries):
        save(epoch, *summaries)
        before_epoch_2()
    monkeypatch.setattr(checkpoints, "on_epoch_end", lambda epoch, summary, val_summary:
                        save_then_spoil(epoch, summary, val_summary))
    draw = Record(folder.parent, manager.compiled_optimizer, 2, history)  # on a disk of its own
    manager.fit(batches(1), 2, batches(1, crops=1), [draw, checkpoints], device=CPU)


def assert_first_epoch_stands(folder):
    assert len(load_checkpoint(folder / "last.model")["history"]) == 1
    assert sorted(path.name for path in folder.iterdir() if path.name != "filler") == [
        "best.model", "last.model"]


def test_a_full_disk(tiny_network, manager_of, batches, config, small_disk, monkeypatch):
    def fill():
        with open(small_disk / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
    with pytest.raises(TrainingError, match=r"epoch 2, .*No space left.*\.model") as raised:
        fit(manager_of(tiny_network()), batches, config(), small_disk, monkeypatch, fill)
    assert "disk is full" in remedy(raised.value)
    assert_first_epoch_stands(small_disk)


def test_rights_that_are_taken_away(tiny_network, manager_of, batches, config, tmp_path,
                                    monkeypatch):
    folder = tmp_path / "run"
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith(".model"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)
    with pytest.raises(TrainingError, match=r"epoch 2, .*Permission denied.*\.model") as raised:
        fit(manager_of(tiny_network()), batches, config(), folder, monkeypatch,
            lambda: monkeypatch.setattr(os, "replace", refuse))
    assert "may not" in remedy(raised.value)
    assert_first_epoch_stands(folder)
