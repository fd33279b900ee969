"""Files of weights: written whole, loaded without running code, chosen by validation Dice."""

import pickle
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from managers import load_checkpoint, save_checkpoint
from managers.runs.checkpoints import SaveCheckpoints, export_weights
from networks.weights.weight_files import read_weights

HISTORY = [{"epoch": 1, "lr": 0.1, "loss": 2.5, "val_dice": 0.25}, {"epoch": 2, "loss": 2.0}]


@pytest.fixture
def trained():
    """A network and its AdamW after one step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.5)
    network(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return network, optimizer


@pytest.fixture
def saved(trained, tmp_path):
    """A checkpoint on disk."""
    path = tmp_path / "last.model"
    save_checkpoint(path, *trained, HISTORY, {"network": "tiny", "filters": (2, 3)})
    return path


def same(ours, theirs):
    """Whether two state dicts hold equal tensors under equal names."""
    return list(ours) == list(theirs) and all(
        torch.equal(ours[name], theirs[name]) for name in ours)


def test_everything_comes_back(trained, saved):
    network, optimizer = trained
    drawn = torch.rand(3)
    state = load_checkpoint(saved)
    assert same(state["network"], network.state_dict())
    assert state["history"] == HISTORY
    assert state["config"] == {"network": "tiny", "filters": (2, 3)}
    fresh = torch.optim.AdamW(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).parameters())
    fresh.load_state_dict(state["optimizer"])
    assert fresh.param_groups[0]["lr"] == 0.5
    for ours, theirs in zip(fresh.state.values(), optimizer.state.values(), strict=True):
        assert torch.equal(ours["exp_avg"], theirs["exp_avg"])
    torch.set_rng_state(state["rng_state"])
    assert torch.equal(torch.rand(3), drawn)
    assert torch.load(saved, weights_only=True).keys() == state.keys()


def test_a_write_that_breaks_off_leaves_the_old_file(trained, saved, monkeypatch):
    before = saved.read_bytes()

    def half(state, file):
        file.write(b"PK half a checkpoint")
        raise OSError("no space left on device")
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(saved, *trained, [], {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["last.model"]


class Harmful:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return Path.mkdir, (Path(self.folder),)


@pytest.mark.parametrize("write", ["torch.save", "pickle"])
def test_objects_are_never_loaded(tmp_path, write):
    path, made = tmp_path / "best.model", tmp_path / "made"
    content = {"format": 1, "network": {"weight": Harmful(made)}}
    if write == "torch.save":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="best.model: cannot be read.*never loaded") as refused:
        load_checkpoint(path)
    assert "weights_only" not in str(refused.value)  # no word on how to load it all the same
    assert not made.exists()
    if write == "pickle":
        pickle.loads(path.read_bytes())
        assert made.is_dir()  # the file was harmful indeed


def test_truncated_files(saved):
    whole = saved.read_bytes()
    for size in (0, 1, 2, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="last.model: cannot be read"):
            load_checkpoint(saved)


def test_one_wrong_bit_is_refused_wherever_it_is(saved):
    """But where nothing is kept: torch pads its archives, and their headers hold a date."""
    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        end = archive.start_dir
        members = [(one.filename, one.header_offset) for one in archive.infolist()]
    weight = next(at for name, at in members if name.endswith("data/0"))
    pickled = next(at for name, at in members if name.endswith("data.pkl"))
    content = torch.load(saved, weights_only=True)["network"]["0.weight"].numpy().tobytes()
    for place in (whole.index(content), whole.index(content) + len(content) - 1,
                  whole.index(b"optimizer"), weight, pickled, end):
        for bit in (1, 128):
            damaged = bytearray(whole)
            damaged[place] ^= bit
            saved.write_bytes(damaged)
            with pytest.raises(ValueError, match="last.model: cannot be read"):
                load_checkpoint(saved)
            with pytest.raises(ValueError, match="last.model: cannot be read"):
                read_weights(saved)  # for --init_from
    saved.write_bytes(whole)
    assert "network.0.weight" in read_weights(saved)
    assert load_checkpoint(saved)["history"] == HISTORY


@pytest.mark.parametrize("content", [b"hello, this is text\n", b"a\n", b"\x80\x02J\x00.",
                                     b"\x00" * 64, b"(lp0\n.", b"\x80\x02}q\x00."])
def test_files_of_another_kind(tmp_path, content):
    (tmp_path / "last.model").write_bytes(content)
    with pytest.raises(ValueError, match="last.model: "):
        load_checkpoint(tmp_path / "last.model")


@pytest.mark.parametrize("content", [[1, 2], {"weight": torch.zeros(1)}, {"format": 99}])
def test_other_files_of_torch(tmp_path, content):
    torch.save(content, tmp_path / "last.model")
    with pytest.raises(ValueError, match="is not a checkpoint of this project"):
        load_checkpoint(tmp_path / "last.model")


def test_an_absent_file_names_its_neighbours(saved):
    with pytest.raises(ValueError, match="best.model: no such checkpoint; beside it: last.model"):
        load_checkpoint(saved.with_name("best.model"))


def test_best_is_chosen_by_dice_and_last_is_each_epoch(trained, tmp_path):
    network, optimizer = trained
    manager = SimpleNamespace(raw_model=network, compiled_optimizer=optimizer, scaler=None,
                              mean_teacher=None)
    history = []
    callback = SaveCheckpoints(tmp_path, manager, history, {})
    best = []
    # epochs 3 and 6 are not validated; 4 equals the best so far; a NaN is never the best
    for epoch, val in enumerate([{"dice": 0.2}, {"dice": 0.5}, {}, {"dice": 0.5}, {"dice": 0.4},
                                 None, {"dice": float("nan")}, {"dice": 0.6}]):
        history.append({"epoch": epoch + 1})
        network[0].weight.data.fill_(epoch + 1)
        callback.on_epoch_end(epoch, {"loss": 1.0}, val)
        last, chosen = (load_checkpoint(tmp_path / name) for name in ("last.model", "best.model"))
        assert last["history"][-1]["epoch"] == epoch + 1
        assert last["network"]["0.weight"].unique().item() == epoch + 1
        best.append(chosen["history"][-1]["epoch"])
        assert chosen["network"]["0.weight"].unique().item() == best[-1]
    assert best == [1, 2, 2, 2, 2, 2, 2, 8]


def test_a_dice_of_zero_is_a_first_best(trained, tmp_path):
    manager = SimpleNamespace(raw_model=trained[0], compiled_optimizer=trained[1], scaler=None,
                              mean_teacher=None)
    SaveCheckpoints(tmp_path, manager, HISTORY[:0], {}).on_epoch_end(0, {}, {"dice": 0.0})
    assert (tmp_path / "best.model").is_file()


def test_the_best_of_earlier_epochs_counts(trained, tmp_path):
    manager = SimpleNamespace(raw_model=trained[0], compiled_optimizer=trained[1], scaler=None,
                              mean_teacher=None)
    callback = SaveCheckpoints(tmp_path, manager, list(HISTORY), {})
    callback.on_epoch_end(2, {}, {"dice": 0.2})
    assert not (tmp_path / "best.model").exists()
    callback.on_epoch_end(3, {}, {"dice": 0.3})
    assert (tmp_path / "best.model").is_file()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.model"])
def test_exported_weights(tiny_network, tmp_path, name):
    network, path = tiny_network(), tmp_path / "new" / name
    export_weights(path, network)
    read = load_file(path) if name.endswith(".safetensors") else torch.load(path, weights_only=True)
    state = network.state_dict()
    assert same(dict(sorted(read.items())), dict(sorted(state.items())))
    other = tiny_network()
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(read)
    assert same(other.state_dict(), state)
