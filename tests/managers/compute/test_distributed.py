"""Several processes together: batch norm, means and gradients are those of one."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from configs import pretraining_config
from losses import DeSDLoss, DSDLoss
from managers import DeSDManager, SegmentationManager, build_optimizer, parameter_groups
from managers.compute.distributed import Processes, StopVote, join_processes, loader_workers
from managers.compute.synced_norm import SyncedBatchNorm
from networks import build_desd, build_network

ROWS, WIDTH = 6, 5


def data():
    generator = torch.Generator().manual_seed(1)
    return 3 + 2 * torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.GELU(),
                         nn.Linear(WIDTH, 3)).double()


SEGMENTED = {
    "published": {"steps": 3},
    "heads that nothing is learnt from": {"steps": 3, "distil": "none"},
    "batch norm": {"steps": 2, "batch_norm": True},
    "fewer cases than processes": {"steps": 1, "num_cases": 1},
}


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


CROPS = 3
# Crops of each of two processes in the steps of an epoch; the last has one crop for both.
STEPS = ([(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (0, 1)])


def batch_normed(network):
    """The network with batch norms for its instance norms."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                setattr(module, name, nn.BatchNorm3d(child.num_features))
    return network


def segmented(processes, steps, num_cases=3, batch_norm=False, **options):
    """Summaries and weights after some steps of DSD and a validation, in float64."""
    size = (8, 8, 8)
    torch.manual_seed(5)
    network = build_network("nnunet", 1, 3, size, True, filters=(2, 3, 4))
    network = (batch_normed(network) if batch_norm else network).double()
    manager = SegmentationManager(network, torch.optim.SGD(network.parameters(), 0.01),
                                  DSDLoss(**options), ("background", "front", "back"), size,
                                  processes=processes)
    manager.__enter__()
    generator = torch.Generator().manual_seed(6)

    def images(number):
        return {"image": torch.randn(number, 1, *size, generator=generator, dtype=torch.float64),
                "label": torch.randint(0, 3, (number, 1, *size), generator=generator)}

    network.train()
    for parts in STEPS[:steps]:
        crops, total = images(CROPS), 1 if parts[0] == parts[1] else CROPS
        first, last = parts[processes.rank] if processes.world_size > 1 else (0, total)
        batch = {key: value[first:last] for key, value in crops.items()}
        if processes.world_size > 1:
            idle = parts[0] == parts[1] and processes.rank == 0
            batch["share"] = torch.full((last - first,), 0 if idle else 1 / total)
        manager.train_step(*manager.unpack_data(batch))
    trained = manager.summary
    network.eval()
    cases = [images(1) for _ in range(num_cases)]
    validated = manager.test(processes.share(cases), device=torch.device("cpu"))
    return {"trained": trained, "validated": validated, "weights": dict(network.state_dict())}


def voted(processes):
    """What each question about a signal is answered, when the second process has it at its second.

    Then the same where nothing is heard before the end.
    """
    heard = signal.SIGTERM if processes.rank == 1 else None
    vote, late = StopVote(processes), StopVote(processes)
    answers = [vote.ask(heard if question > 0 else None) for question in range(4)]
    return answers + [late.ask(None), late.settle(heard), late.ask(None)]


def looked_around(processes, folder):
    """Who had been within before this process, and who had left: the second is slow to look."""
    def seen():
        return sorted(path.name for path in Path(folder).glob("*of*"))
    with processes.main_first():
        time.sleep(0.5 * processes.rank)
        within = seen()
        Path(folder, f"inside of {processes.rank}").touch()
    after = seen()
    Path(folder, f"outside of {processes.rank}").touch()
    processes.wait()
    return within, [name for name in after if name.startswith("inside")]


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
    places = "abcde"
    torch.save({
        "rank": processes.rank, "main": processes.is_main, "device": str(device),
        "losses": torch.stack(losses), "state": model.state_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "desd": pretrained(processes, slice(rank, None, 2)),
        "segmented": {name: segmented(processes, **options)
                      for name, options in SEGMENTED.items()},
        "share": processes.share(places), "turns": processes.turns(places),
        "in order": processes.in_order([place.upper() for place in processes.share(places)]),
        "largest": processes.largest(3 + rank), "voted": voted(processes),
        "first": [processes.is_first(number) for number in (
            None, 5 - rank, 7, rank or None, 3 if rank == 0 else None)],
        "looked around": looked_around(processes, folder),
        "drawn": [(processes.seed_step(1, 2, step), float(torch.rand(())))[1] for step in (3, 4)],
    }, f"{folder}/{rank}.pt")
    processes.leave()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(work, (free_port(), str(folder)), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def join_late(rank, port, folder):
    """One of two processes; the second is still busy joining when the main one is through."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    new_group, joined = dist.new_group, Path(folder, "joined")

    def slow_group(**options):
        group = new_group(**options)
        time.sleep(2)
        joined.touch()
        return group

    if rank == 1:
        dist.new_group = slow_group
    join_processes("cpu")
    assert joined.exists()


def test_the_main_process_goes_on_when_all_have_joined(tmp_path):
    """It keeps the store by which they do; if it ended before, they failed with a traceback."""
    mp.spawn(join_late, (free_port(), str(tmp_path)), nprocs=2)


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


@pytest.mark.parametrize("name", list(SEGMENTED))
def test_segmentation_in_two_processes_is_that_of_one_with_all_crops(found, name):
    """Shares are uneven, in the last step of three none; one process validates one case more."""
    alone = segmented(Processes(), **SEGMENTED[name])
    assert alone["trained"]["loss"] > 0 and "dice_front" in alone["validated"]
    for one in found:
        torch.testing.assert_close(one["segmented"][name], alone, rtol=1e-6, atol=1e-9)


def test_each_process_knows_its_place(found):
    assert [(one["rank"], one["main"], one["device"]) for one in found] == [
        (0, True, "cpu"), (1, False, "cpu")]
    assert [one["share"] for one in found] == [["a", "c", "e"], ["b", "d"]]
    assert [one["turns"] for one in found] == [[["a"], ["c"], ["e"]], [["b"], ["d"], []]]
    assert [one["first"] for one in found] == [
        [None, False, True, False, True], [None, True, False, True, False]]
    for one in found:
        assert one["in order"] == list("ABCDE") and one["largest"] == 4


def test_the_main_process_is_first_and_waits_for_the_others(found):
    """What it makes afterwards, as a run's folder, is not there while the others look."""
    everyone = ["inside of 0", "inside of 1"]
    assert [one["looked around"] for one in found] == [([], everyone), (everyone[:1], everyone)]


def test_all_processes_stop_after_the_same_step(found):
    """The answer is to the question before, and the same for all."""
    for one in found:
        assert one["voted"] == [None, None, 15, 15, None, 15, 15]


def test_each_process_draws_its_own_numbers(found):
    drawn = [number for one in found for number in one["drawn"]]
    assert len(set(drawn)) == 4


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
    synced.__class__ = SyncedBatchNorm
    rows = data().float()
    assert torch.equal(plain(rows), synced(rows))
    assert torch.equal(plain.eval()(rows), synced.eval()(rows))
    assert list(plain.state_dict()) == list(synced.state_dict())


def test_on_gpus_the_norm_is_torchs_with_the_same_names_and_hooks(monkeypatch):
    monkeypatch.setattr("torch.distributed.get_backend", lambda: "nccl")
    model, calls = network().eval(), []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    before, expected = model.state_dict(), model(data())
    synced = Processes(0, 2).synchronised(model)
    assert synced is model and type(model[1]) is nn.SyncBatchNorm
    assert list(model.state_dict()) == list(before)
    assert torch.equal(model(data()), expected) and calls == [1, 1]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr("managers.compute.distributed.num_cores", lambda: 8)
    assert loader_workers(10) == 8 and loader_workers(3) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert loader_workers(10) == 2
