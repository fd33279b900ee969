"""The pre-training step: schedules, teacher, frozen layers, and a state that can be continued."""

import copy
import dataclasses
import math
import warnings

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from configs import pretraining_config
from losses import DeSDLoss, desd_loss
from managers import DeSDManager, build_optimizer, load_checkpoint, parameter_groups
from managers.compute.distributed import Processes
from managers.compute.precision import ShortAxisConv3d
from managers.desd.pretraining_recipe import SavePretraining
from managers.desd.pretraining_resume import pretraining_resume_point, restore_pretraining
from managers.loss_watch import FailureFile
from networks import build_desd
from system.files import write_json

STEPS = 4
CROP = (16, 32, 64)
SMALL = (8, 32, 64)  # half precision is slow on CPUs without it


@pytest.fixture
def manager_of():
    """manager_of(*flags) -> a manager of a small encoder with tiny heads, seeded."""

    def make(*flags):
        config = pretraining_config(["DATA", "LIST", "--output_dir", "x", "--tiny", "--out_dim",
                                     "12", "--crop_size", *map(str, CROP), "--epochs", "10",
                                     *map(str, flags)])
        torch.manual_seed(0)
        student, teacher = build_desd(config.arch, config.out_dim, config.use_bn_in_head,
                                      config.norm_last_layer)
        optimizer = build_optimizer(config.optimizer,
                                    parameter_groups(student, config.weight_decay), config.lr)
        loss = DeSDLoss(config.out_dim, config.student_temp, config.center_momentum)
        return DeSDManager(student, teacher, optimizer, loss, config, STEPS)

    return make


def views(seed=0, samples=2, count=2, size=CROP):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, 1, *size, generator=generator) for _ in range(count)]


def ready(manager):
    """As torchmanager has it at the start of a step."""
    manager.to(torch.device("cpu"))
    manager.__enter__()
    return manager


def step(manager, epoch, batch, data):
    manager.current_epoch, manager.current_batch = epoch, batch
    return manager.train_step(*manager.unpack_data(data))


def test_the_step_by_hand(manager_of):
    manager = ready(manager_of())
    student, teacher = copy.deepcopy(manager.model).train(), copy.deepcopy(manager.teacher)
    data = views()
    epoch, batch = 2, 1  # past the warm-up of two epochs and the frozen first one
    assert step(manager, epoch, batch, data) == {}

    total_steps, number, warmup = 10 * STEPS, epoch * STEPS + batch, 2 * STEPS
    peak = 3.2 * 8 / 256
    lr = 0.01 + 0.5 * (peak - 0.01) * (1 + math.cos(math.pi * (number - warmup)
                                                    / (total_steps - warmup)))
    momentum = 1 + 0.5 * (0.99 - 1) * (1 + math.cos(math.pi * number / total_steps))
    temperature = 0.04 + (0.07 - 0.04) * 2 / 4  # third of five epochs
    logits, _ = teacher(data)
    total, _ = desd_loss(student(data), logits, torch.zeros(1, 12), 0.1, temperature)
    total.backward()
    with torch.no_grad():
        for name, mine in student.named_parameters():
            if mine.grad is not None:
                decay = 0 if name.endswith(".bias") or mine.ndim == 1 else 1e-6
                mine -= lr * (mine.grad + decay * mine)
        for name, slow in teacher.named_parameters():
            slow.copy_(momentum * slow + (1 - momentum) * dict(student.named_parameters())[name])
    assert [group["lr"] for group in manager.optimizer.param_groups] == pytest.approx([lr, lr])
    for name, value in student.named_parameters():
        torch.testing.assert_close(manager.model.get_parameter(name), value, msg=name)
    for name, value in teacher.named_parameters():
        torch.testing.assert_close(manager.teacher.get_parameter(name), value, msg=name)
    torch.testing.assert_close(manager.loss_fn.center, 0.1 * logits.mean(0, keepdim=True))


def test_the_last_layers_stay_in_the_first_epoch(manager_of):
    manager = ready(manager_of())
    before = {name: value.clone() for name, value in manager.model.named_parameters()}
    step(manager, 0, 1, views())
    for name, value in manager.model.named_parameters():
        frozen = "last_layer" in name
        assert torch.equal(value, before[name]) == frozen, name
    step(manager, 1, 0, views())
    assert not torch.equal(manager.model.head.last_layer.weight_v,
                           before["head.last_layer.weight_v"])
    assert torch.equal(manager.model.head.last_layer.weight_g, before["head.last_layer.weight_g"])


def test_local_views_are_for_the_student_alone(manager_of):
    manager = ready(manager_of())
    data = [*views(), torch.randn(2, 1, 16, 48, 48)]
    students, teachers = manager.unpack_data(data)
    assert len(students) == 3 and [view is mine for view, mine in
                                   zip(teachers, students, strict=False)] == [True, True]
    step(manager, 1, 0, data)
    assert manager.summary["loss"] > 0


class NothingIsRead(TorchDispatchMode):
    """Raises where Python asks a tensor for its values, which on a GPU waits for it."""

    READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal",
             "aten::masked_select")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function._schema.name not in self.READS, function._schema.name
        return function(*args, **(kwargs or {}))


def test_the_step_never_reads_a_value(manager_of, monkeypatch):
    """But for the loss, which on a CPU is looked at in each step."""
    manager = ready(manager_of("--clip_grad", 3))
    monkeypatch.setattr(manager, "_check_losses", lambda: None)
    with NothingIsRead():
        assert [step(manager, epoch, 0, views()) for epoch in (0, 1)] == [{}, {}]
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            assert manager.summary


@pytest.mark.parametrize("amp", ["none", "fp16"])  # scaled gradients are unscaled before
def test_gradients_are_clipped_tensor_by_tensor(manager_of, amp):
    manager = ready(manager_of("--clip_grad", 1e-4, "--amp", amp))
    if amp == "fp16":  # a scale that it would come down to, so that the first step is one
        manager.scaler.load_state_dict(manager.scaler.state_dict() | {"scale": 64.0})
    step(manager, 1, 0, views(size=SMALL))
    norms = [float(p.grad.norm()) for p in manager.model.parameters() if p.grad is not None]
    assert max(norms) <= 1e-4 * (1 + 1e-4)  # norms are float32 sums
    assert max(norms) > 0.99e-4


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_stays_near_full_precision(manager_of, amp):
    found = {}
    for kind in ("none", amp):
        manager = ready(manager_of("--amp", kind))
        step(manager, 1, 0, views(size=SMALL))
        found[kind] = manager.summary
        assert all(p.dtype == torch.float32 for p in manager.model.parameters())
    assert found[amp]["loss"] == pytest.approx(found["none"]["loss"], rel=0.02)


def test_short_axes_are_guarded_in_both_networks(manager_of):
    manager = ready(manager_of("--amp", "none"))
    convolutions = [module for network in (manager.model, manager.teacher)
                    for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert {type(module) for module in convolutions} == {ShortAxisConv3d}


def test_a_restored_manager_goes_on_to_the_same_bits(manager_of, tmp_path):
    whole = ready(manager_of("--optimizer", "lars"))
    for batch in range(2):
        step(whole, 1, batch, views(batch))
    SavePretraining(tmp_path, whole, [{"epoch": 2}], whole.config, "tiles").on_epoch_end(1)
    step(whole, 2, 0, views(9))

    checkpoint = load_checkpoint(tmp_path / "last.model")
    second = manager_of("--optimizer", "lars")
    assert restore_pretraining(checkpoint, second, "tiles", STEPS) == [{"epoch": 2}]
    ready(second)
    step(second, 2, 0, views(9))
    for first, other in ((whole.model, second.model), (whole.teacher, second.teacher),
                         (whole.loss_fn, second.loss_fn)):
        for name, value in first.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_other_tiles_are_refused_and_other_steps_warned_of(manager_of, tmp_path):
    manager = ready(manager_of())
    step(manager, 0, 0, views())
    SavePretraining(tmp_path, manager, [{"epoch": 1}], manager.config, "tiles").on_epoch_end(0)
    checkpoint = load_checkpoint(tmp_path / "last.model")
    with pytest.raises(ValueError, match="list of tiles has changed"):
        restore_pretraining(checkpoint, manager, "other", STEPS)
    with pytest.warns(UserWarning, match="4 -> 2 steps an epoch"):
        restore_pretraining(checkpoint, manager, "tiles", 2)
    assert restore_pretraining(None, manager, "tiles", STEPS) == []


@pytest.mark.parametrize(("batch_size", "world_size", "goes_on"), [
    (2, 4, True), (4, 2, True), (8, 1, True), (2, 2, False), (4, 4, False), (8, 2, False)])
def test_a_broken_epoch_goes_on_with_as_many_tiles_a_step(manager_of, tmp_path, batch_size,
                                                          world_size, goes_on):
    """It was broken off in four processes of two tiles each, one epoch behind it."""
    folder = tmp_path / "run.exp"
    manager = manager_of("--output_dir", folder, "--batch_size_per_gpu", 2)
    manager.processes = Processes(0, 4)
    write_json(folder / "config.json", manager.config.to_dict())
    save = SavePretraining(folder, manager, [{"epoch": 1}], manager.config, "tiles")
    save.on_epoch_end(0)
    save.save_position({"steps": 3, "running": {}})
    now = dataclasses.replace(manager.config, resume=True, batch_size_per_gpu=batch_size)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        checkpoint = pretraining_resume_point(now, world_size)
    assert ("position" in checkpoint) == goes_on
    assert any("starts over" in str(warning.message) for warning in said) != goes_on


def test_teachers_are_kept_now_and_then(manager_of, tmp_path):
    manager = ready(manager_of("--saveckp_freq", 2))
    save = SavePretraining(tmp_path, manager, [{"epoch": 1}], manager.config, "tiles")
    for epoch in range(5):
        save.on_epoch_end(epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch0002.model", "epoch0004.model", "last.model"]
    kept = load_checkpoint(tmp_path / "epoch0004.model")
    assert kept["epoch"] == 4 and set(kept) == {"format", "teacher", "epoch", "config"}
    assert set(kept["teacher"]) == set(manager.teacher.state_dict())


class Tiles(torch.utils.data.Dataset):
    """Two views of three tiles; one tile is not finite."""

    paths = ("a.nii", "bad.nii", "c.nii")

    def __getitem__(self, key):
        drawn = [view[key[1]] for view in views(samples=3)]
        return [view * math.nan for view in drawn] if key[1] == 1 else drawn


def test_a_loss_that_is_no_number_stops_the_run(manager_of, tmp_path):
    manager = ready(manager_of())
    loader = torch.utils.data.DataLoader(
        Tiles(), batch_sampler=[[(1, 0), (1, 2)], [(1, 0), (1, 1)]])
    manager.save_failure = FailureFile(tmp_path, manager, loader, {}).write
    step(manager, 1, 0, next(iter(loader)))
    with pytest.raises(FloatingPointError, match=r"the batch is not finite: view of bad.nii \(loss "
                                                 r"nan, loss_ssl nan.*in step 2 on cases a.nii, "
                                                 r"bad.nii; .*Correct these files"):
        step(manager, 1, 1, list(loader)[1])
    saved = torch.load(tmp_path / "not_finite.model", weights_only=True)
    assert (saved["epoch"], saved["step"]) == (2, 2)
    assert saved["case_ids"] == ["a.nii", "bad.nii"] and saved["batch"][0].isnan().any()
    assert all(saved["student"][name].isfinite().all()
               for name, _ in manager.model.named_parameters())


def test_the_summary_has_what_collapse_shows_in(manager_of):
    manager = ready(manager_of())
    step(manager, 1, 0, views())
    summary = manager.summary
    assert list(summary) == ["loss", "loss_ssl", "deep_loss_1", "deep_loss_2", "deep_loss_3",
                             "teacher_entropy", "kl", "target_information", "center_norm",
                             "feature_std", "teacher_temp"]
    heads = [summary[name] for name in list(summary)[1:5]]
    assert summary["loss"] == pytest.approx(sum(heads) / 4)
    assert summary["kl"] == pytest.approx(summary["loss_ssl"] - summary["teacher_entropy"],
                                          abs=1e-5)
    assert 0 <= summary["teacher_entropy"] <= math.log(12) and summary["feature_std"] > 0
