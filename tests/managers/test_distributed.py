"""Several processes together: batch norm, means and gradients are those of one."""

import os
import socket
import warnings

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from configs import pretraining_config
from losses import DeSDLoss
from managers import DeSDManager, build_optimizer, parameter_groups
from managers.distributed import (
    Processes,
    SyncedBatchNorm1d,
    join_processes,
    loader_workers,
    only_main_speaks,
)
from networks import build_desd

ROWS, WIDTH = 6, 5


def data():
    generator = torch.Generator().manual_seed(1)
    return 3 + 2 * torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.GELU(),
                         nn.Linear(WIDTH, 3)).double()


def loss_of(logits):
    return logits.logsumexp(1).square().mean()


def pretrained(processes, rows):
    """Summary, centre and weights after two steps of DeSD in float64, on every rows-th tile."""
    config = pretraining_config([
        "DATA", "LIST", "--output_dir", "x", "--tiny", "--clip_grad", "1", "--lr", "8",
        "--batch_size_per_gpu", str(4 // processes.world_size)])
    torch.manual_seed(3)
    student, teacher = build_desd(config.arch, 12, use_bn_in_head=True)
    loss = DeSDLoss(12, average=processes.mean)
    manager = DeSDManager(student.double(), teacher.double(), build_optimizer(
        "sgd", parameter_groups(student, config.weight_decay), config.lr), loss.double(), config,
        steps_per_epoch=2, processes=processes)
    manager.to(torch.device("cpu"))
    manager.__enter__()
    manager.current_epoch = 3
    generator = torch.Generator().manual_seed(4)
    for manager.current_batch in range(2):
        views = [torch.randn(4, 1, 8, 32, 64, generator=generator, dtype=torch.float64)[rows]
                 for _ in range(2)]
        manager.train_step(*manager.unpack_data(views))
    weights = {name: [float(value.double().sum()), float(value.double().norm())]
               for name, value in manager.teacher.state_dict().items()}
    return {"summary": manager.summary, "center": loss.center, "weights": weights}


def work(rank, port, folder):
    """One of two processes; it leaves what it found in a file."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    processes, device = join_processes("cpu")
    model = processes.synchronised(network())
    parallel = processes.parallel(model)
    losses = []
    for _ in range(2):
        loss = loss_of(parallel(data()[rank::2]))
        model.zero_grad()
        loss.backward()
        losses.append(processes.mean(loss.detach()))
    torch.save({"rank": processes.rank, "main": processes.is_main, "device": str(device),
                "losses": torch.stack(losses), "state": model.state_dict(),
                "gradients": [p.grad for p in model.parameters()],
                "desd": pretrained(processes, slice(rank, None, 2))}, f"{folder}/{rank}.pt")
    processes.leave()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_are_one_with_all_rows(found):
    alone = network()
    for _ in range(2):
        loss = loss_of(alone(data()))
        alone.zero_grad()
        loss.backward()
    for one in found:
        torch.testing.assert_close(one["losses"], loss.detach().expand(2))
        for mine, theirs in zip(alone.parameters(), one["gradients"], strict=True):
            torch.testing.assert_close(theirs, mine.grad)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(one["state"][name], value)


def test_pre_training_in_two_processes_is_that_of_one_with_all_tiles(found):
    alone = pretrained(Processes(), slice(None))
    for one in found:
        torch.testing.assert_close(one["desd"], alone, rtol=1e-5, atol=1e-7)


def test_each_process_knows_its_place(found):
    assert [(one["rank"], one["main"], one["device"]) for one in found] == [
        (0, True, "cpu"), (1, False, "cpu")]


def test_one_process_needs_no_group():
    processes, device = join_processes("cpu")
    model, value = network(), torch.ones(2)
    assert processes == Processes(0, 1) and processes.is_main and device.type == "cpu"
    assert processes.parallel(model) is model and processes.mean(value) is value
    assert type(processes.synchronised(model)[1]) is nn.BatchNorm1d
    processes.leave()
    assert not torch.distributed.is_initialized()


def test_a_synchronised_norm_alone_is_the_plain_one():
    plain, synced = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
    synced.__class__ = SyncedBatchNorm1d
    rows = data().float()
    assert torch.equal(plain(rows), synced(rows))
    assert torch.equal(plain.eval()(rows), synced.eval()(rows))
    assert list(plain.state_dict()) == list(synced.state_dict())


@pytest.mark.parametrize(("rank", "world_size", "speaks"), [
    (None, None, True), ("1", "1", True), ("0", "2", True), ("1", "2", False)])
def test_warnings_come_from_one_process(monkeypatch, rank, world_size, speaks):
    for name, value in (("RANK", rank), ("WORLD_SIZE", world_size)):
        if value is not None:
            monkeypatch.setenv(name, value)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert only_main_speaks() == speaks
        warnings.warn("said", stacklevel=1)
    assert len(heard) == speaks


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr("managers.distributed.num_cores", lambda: 8)
    assert loader_workers(10) == 8 and loader_workers(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loader_workers(10) == 2
