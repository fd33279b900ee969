"""The options that make training faster: what they change, and that they change no result."""

import copy
import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch

import managers.segmentation.speed_options as fast
from data import Split
from losses import DSDLoss
from managers import (
    SegmentationManager,
    TrainingError,
    load_checkpoint,
    manager_of,
    network_of,
    open_run,
    optimizer_of,
    restore,
    resume_point,
    save_checkpoint,
    settled,
)
from managers.compute import distributed
from managers.runs.resume import changed_settings
from networks import build_network
from system import shared_memory
from system.faults import remedy

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
NAMES = ("background", "anterior", "posterior")
FOLDS = [Split(("a", "b"), ("c",), ("d",))]


def step_of(manager, batch):
    """One step on the CPU, from a batch as the loader gives it."""
    manager.to(CPU)
    manager.model.train()
    manager.train_step(*manager.unpack_data(batch))


def trained(config, batch, network=None):
    """Weights and summary after one step of a settled run."""
    torch.manual_seed(0)
    network = network_of(config) if network is None else network
    manager = manager_of(config, network, optimizer_of(network, config), DSDLoss(), NAMES)
    step_of(manager, batch)
    return manager, manager.summary


@pytest.mark.parametrize("flags", [("--fused",), ("--channels_last",), ("--fast", "--amp", "off"),
                                   ("--optimizer", "sgd", "--lr", 0.01, "--fused")], ids=str)
def test_a_step_is_that_of_the_plain_run(config, batches, flags):
    batch, = batches(1)
    plain = tuple(flag for flag in flags if flag not in ("--fused", "--channels_last", "--fast"))
    expected, first = trained(settled(config(*plain), CPU), batch)
    found, second = trained(settled(config(*flags), CPU), batch)
    assert second == pytest.approx(first, rel=1e-5)
    torch.testing.assert_close(found.model.state_dict(), expected.model.state_dict(), rtol=1e-4,
                               atol=1e-5)


def test_kernels_and_crops_are_channels_last(config, batches):
    batch, = batches(1)
    manager, _ = trained(settled(config("--channels_last"), CPU), batch)
    image, label = manager.unpack_data(batch)
    layout = torch.channels_last_3d
    assert image.is_contiguous(memory_format=layout) and torch.equal(image, batch["image"])
    kernels = [p for p in manager.model.parameters() if p.ndim == 5]
    moments = [manager.optimizer.state[p]["exp_avg"] for p in kernels]
    assert all(value.is_contiguous(memory_format=layout) for value in kernels + moments)


class Compiles:
    """A compiler that counts the graphs it is given and runs them as they are."""

    def __init__(self, monkeypatch):
        self.graphs = 0
        self.compile = torch.compile
        monkeypatch.setattr(torch, "compile",
                            lambda module, **kwargs: self.compile(module, backend=self, **kwargs))

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def test_compiled_is_the_training_pass_alone(tiny_network, batches, monkeypatch):
    compiler, network = Compiles(monkeypatch), tiny_network()
    twin = copy.deepcopy(network)
    made = [SegmentationManager(net, torch.optim.SGD(net.parameters(), 0.01), DSDLoss(), NAMES,
                                (8, 8, 8), compile=compiled)
            for net, compiled in ((network, True), (twin, False))]
    for batch in batches(2):
        for manager in made:
            step_of(manager, batch)
    graphs = compiler.graphs
    assert graphs >= 1
    torch.testing.assert_close(made[0].model.state_dict(), made[1].model.state_dict())
    for size in ((9, 8, 11), (12, 13, 8)):
        network.eval(), twin.eval()
        first, second = (m.test(batches(1, size, crops=1), device=CPU) for m in made)
        assert first == pytest.approx(second, rel=1e-4)
    assert compiler.graphs == graphs  # neither shape was compiled for
    assert made[0].raw_model is network
    assert list(network.state_dict()) == list(twin.state_dict())


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_line_is_compiled_for_good():
    assert fast.can_compile(CPU)


def cpu_has_bf16(monkeypatch, has):
    """Make this CPU one that has, or has not, instructions for bf16."""
    for kind in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{kind}_supported", lambda: has)


def test_without_a_compiler_the_network_is_used_as_it_is(config, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no C++ compiler\nand a long trace")
    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.warns(UserWarning, match=r"--compile: .*does not work here \(no C\+\+ compiler\)"):
        assert settled(config("--compile"), CPU).compile is False


@pytest.mark.parametrize(("has_bf16", "amp"), [(True, "bf16"), (False, "off")])
def test_fast_on_a_cpu(config, monkeypatch, has_bf16, amp):
    cpu_has_bf16(monkeypatch, has_bf16)
    run = settled(config("--fast"), CPU)
    assert (run.amp, run.fused, run.compile, run.tf32, run.channels_last) == (
        amp, True, False, False, False)


@pytest.mark.parametrize(("has_bf16", "amp"), [(True, "bf16"), (False, "fp16")])
def test_fast_on_a_gpu(config, monkeypatch, has_bf16, amp):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(fast, "can_compile", lambda device: True)
    run = settled(config("--fast"), CUDA)
    assert (run.amp, run.fused, run.compile, run.tf32, run.channels_last) == (
        amp, True, True, True, False)
    assert settled(config("--fast", "--use_multi_gpus"), CUDA).amp == amp


def test_a_flag_wins_over_fast(config, monkeypatch):
    cpu_has_bf16(monkeypatch, True)
    run = settled(config("--fast", "--amp", "off", "--channels_last"), CPU)
    assert (run.amp, run.channels_last, run.fused) == ("off", True, True)


@pytest.mark.parametrize(("flags", "said"), [
    (("--fast",), "--fast on cuda:0: --amp bf16 --compile --fused --tf32"),
    (("--fast", "--amp", "off"), "--fast on cuda:0: --compile --fused --tf32"),
    (("--amp", "bf16"), None)])
def test_what_fast_takes_is_said_in_a_line(config, monkeypatch, flags, said):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(fast, "can_compile", lambda device: True)
    asked = config(*flags)
    assert fast.fast_line(asked, settled(asked, CUDA), CUDA) == said


@pytest.mark.parametrize(("cores", "processes", "free", "flags", "expected"), [
    (16, 1, 2**40, (), 8), (6, 1, 2**40, (), 5), (16, 4, 2**40, (), 3), (1, 1, 2**40, (), 0),
    (16, 1, 7 * 1000, (), 3), (16, 1, 0, (), 0),  # a batch has 1000 bytes, and two may wait
    (16, 1, 2**40, ("--num_workers", 0), 0), (16, 1, 2**40, ("--num_workers", 12), 12),
    (16, 1, 0, ("--num_workers", 2), 2)])
def test_loader_processes_of_a_gpu(config, monkeypatch, cores, processes, free, flags, expected):
    monkeypatch.setattr(fast, "num_cores", lambda: cores)
    monkeypatch.setattr(distributed, "num_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    monkeypatch.setattr(shared_memory.os.path, "isdir", lambda path: True)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage",
                        lambda path: SimpleNamespace(free=free * processes))
    assert fast.workers_of(config(*flags), CUDA, 1000) == expected
    assert fast.workers_of(config(*flags), CPU, 1000) == (expected if flags else 0)


def test_a_full_gpu_is_told_what_of_this_run_would_take_less(config):
    error = TrainingError("epoch 1, step 1: OutOfMemoryError: CUDA out of memory")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    general = remedy(error, "train_basic.py")
    assert "--num_crops" in general and "(now" not in general
    error.needs_less = fast.needs_less(config("--batch_size", 3))
    assert remedy(error, "train_basic.py").startswith(
        "The GPU's memory is full: lower --img_size (now 8 8 8), --batch_size (now 3), --num_crops "
        "(now 8), in validation --window_batch (now 4); give --amp bf16 (now off); or end what "
        "else runs there.")
    least = dataclasses.replace(config("--num_crops", 1), amp="bf16", network="swinunetr")
    assert fast.needs_less(least) == (
        "lower --img_size (now 8 8 8), in validation --window_batch (now 4); give "
        "--use_checkpoint; or end what else runs there.")


def test_an_epochs_last_batch_is_not_compiled_for(tiny_network, batches, monkeypatch):
    compiler = Compiles(monkeypatch)
    network = tiny_network()
    manager = SegmentationManager(network, torch.optim.SGD(network.parameters(), 0.01), DSDLoss(),
                                  NAMES, (8, 8, 8), compile=True)
    network.train()
    full, odd = batches(2), batches(1, crops=1)
    for batch in (odd[0], full[0]):  # a resumed run may begin with the last
        manager.train_step(batch["image"], batch["label"])
    graphs = compiler.graphs
    for batch in (*full, *odd, *full, *odd):
        manager.train_step(batch["image"], batch["label"])
    assert compiler.graphs == graphs


def test_a_plain_run_has_none_of_it(config):
    assert settled(config(), CPU) == config()


def test_what_a_device_cannot_do(config, monkeypatch):
    with pytest.raises(ValueError, match="--amp fp16: is for GPUs, .* give --amp bf16"):
        settled(config("--amp", "fp16"), CPU)
    with pytest.warns(UserWarning, match="--tf32: has no effect on cpu"):
        assert settled(config("--tf32"), CPU).tf32 is False
    cpu_has_bf16(monkeypatch, False)
    with pytest.warns(UserWarning, match="no instructions for it"):
        assert settled(config("--amp", "bf16"), CPU).amp == "bf16"
    assert settled(config("--amp", "fp16"), CUDA).fused


@pytest.mark.usefixtures("close_logs")
def test_config_json_says_what_was_used_and_resuming_compares_it(config, monkeypatch):
    cpu_has_bf16(monkeypatch, False)
    run = settled(config("--fast"), CPU)
    folder, network = open_run(run, FOLDS, CPU, resume_point(run)), network_of(run)
    written = json.loads((folder / "config.json").read_text())
    assert {name: written[name] for name in (*fast.fast_options(CPU), "use_checkpoint")} == {
        "amp": "off", "fused": True, "compile": False, "channels_last": False, "tf32": False,
        "use_checkpoint": False}
    save_checkpoint(folder / "last.model", network, optimizer_of(network, run), [{"epoch": 1}],
                    run.to_dict())
    assert changed_settings(run, config("--fast")) == {}  # as cross_validate.py compares them
    resume_point(settled(config("--resume", "--channels_last"), CPU))  # rounding alone: no warning
    cpu_has_bf16(monkeypatch, True)
    with pytest.warns(UserWarning, match="--resume: amp off -> bf16"):
        resume_point(settled(config("--resume", "--amp", "bf16"), CPU))


@pytest.mark.parametrize(("before", "after"), [
    ((), ("--fused", "--channels_last")), (("--fused", "--channels_last"), ()),
    (("--channels_last",), ("--fused",)), (("--fused",), ("--channels_last",))], ids=str)
def test_resumed_with_another_step_and_layout(config, batches, tmp_path, before, after):
    first, second = batches(2)
    old, new = (settled(config(*flags), CPU) for flags in (before, after))
    manager, _ = trained(old, first)
    save_checkpoint(tmp_path / "last.model", manager.raw_model, manager.compiled_optimizer,
                    [{"epoch": 1}], {})
    step_of(manager, second)

    network = network_of(new)
    optimizer = optimizer_of(network, new)
    resumed = manager_of(new, network, optimizer, DSDLoss(), NAMES)
    restore(load_checkpoint(tmp_path / "last.model"), network, optimizer, resumed.scaler)
    assert all(group["fused"] is (new.fused or None) for group in optimizer.param_groups)
    step_of(resumed, second)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()
    torch.testing.assert_close(resumed.model.state_dict(), manager.model.state_dict(), rtol=1e-4,
                               atol=1e-5)


needs_cuda = [pytest.mark.cuda,
              pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


@pytest.mark.parametrize("amp", [pytest.param(amp, marks=needs_cuda)
                                 for amp in ("off", "bf16", "fp16")])
def test_nothing_in_the_step_waits_for_the_gpu(config, batches, amp):
    run, batch = settled(config("--amp", amp, "--fused"), CUDA), batches(1)[0]
    network = network_of(run)
    manager = manager_of(run, network, optimizer_of(network, run), DSDLoss(), NAMES)
    manager.to(CUDA)
    manager.model.train()
    pinned = {name: value.pin_memory() for name, value in batch.items()}
    for _ in range(3):  # cuDNN chooses, the scaler and the optimiser's state begin
        manager.train_step(*manager.unpack_data(pinned))
    torch.cuda.set_sync_debug_mode("error")
    try:
        manager.train_step(*manager.unpack_data(pinned))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert manager.summary["loss"] > 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_fused_step_is_resumed_on_the_gpu(config, batches, tmp_path):
    run, batch = settled(config("--amp", "fp16"), CUDA), batches(1)[0]
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        network = network_of(run)
        made.append(manager_of(run, network, optimizer_of(network, run), DSDLoss(), NAMES))
    manager, resumed = made
    manager.to(CUDA)
    manager.model.train()
    manager.train_step(*manager.unpack_data(batch))
    save_checkpoint(tmp_path / "last.model", manager.raw_model, manager.compiled_optimizer,
                    [{"epoch": 1}], {}, manager.scaler)
    restore(load_checkpoint(tmp_path / "last.model"), resumed.model, resumed.compiled_optimizer,
            resumed.scaler)
    resumed.to(CUDA)
    resumed.model.train()
    for each in made:
        each.train_step(*each.unpack_data(batch))
    assert resumed.scaler.state_dict() == manager.scaler.state_dict()
    torch.testing.assert_close(resumed.model.state_dict(), manager.model.state_dict())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_every_network_trains_a_fast_step_on_the_gpu(config, batches):
    for name, options in (("unetr", {"feature_size": 16}), ("vnet", {})):
        network = build_network(name, 1, 3, (32, 32, 32), True, **options)
        run, (batch,) = settled(config("--fast"), CUDA), batches(1, (32, 32, 32))
        manager = manager_of(run, network, optimizer_of(network, run), DSDLoss(), NAMES)
        manager.to(CUDA)
        manager.model.train()
        manager.train_step(*manager.unpack_data(batch))
        assert torch.isfinite(torch.tensor(manager.summary["loss"])), name
