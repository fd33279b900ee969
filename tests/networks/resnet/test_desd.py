"""Student and teacher of DeSD: names, rows, and what the teacher shares with the student."""

import json
from pathlib import Path

import pytest
import torch

from networks import ARCHS, DeSDStudent, build_desd, pooled, resnet3d, start_teacher

GOLDEN_DIR = Path(__file__).parents[2] / "golden"
PARAMS = json.loads((GOLDEN_DIR / "desd.json").read_text())["params"]
KEYS = json.loads((GOLDEN_DIR / "desd_state_dict_keys.json").read_text())
OUT = 12
SIZE = (4, 33, 33)


@pytest.fixture(scope="module")
def full():
    """Student and teacher of the published pre-training, without storage."""
    with torch.device("meta"):
        return build_desd("res3d50", 60000, use_bn_in_head=True)


def small(use_bn=False, **options):
    torch.manual_seed(0)
    return build_desd("res3d10", OUT, use_bn, **options)


def crops(count, batch=2, size=SIZE):
    return list(torch.randn(count, batch, 1, *size, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize(("index", "name"), [(0, "student"), (1, "teacher")])
def test_names_shapes_and_order_are_the_authors(full, index, name):
    expected = {name.removeprefix("module."): shape
                for name, shape in KEYS[f"checkpoint_{name}_ddp"].items()}
    found = {name: list(value.shape) for name, value in full[index].state_dict().items()}
    assert list(found.items()) == list(expected.items())


def test_parameter_counts(full):
    student, teacher = full
    assert [name for name, _ in student.named_children()] == ["backbone", "head", "head_1",
                                                              "head_2", "head_3"]
    reference = PARAMS["student_res3d50_out60000"]
    assert sum(p.numel() for p in student.parameters()) == reference["params"]
    assert sum(p.numel() for p in student.parameters() if p.requires_grad
               ) == reference["trainable"]
    assert sum(p.numel() for p in teacher.parameters()
               ) == PARAMS["teacher_res3d50_out60000"]["params"]


def test_every_teacher_parameter_has_its_namesake_in_the_student(full):
    student, teacher = (dict(module.named_parameters()) for module in full)
    assert len(teacher) == PARAMS["ema_pairs"]["n_pairs"]
    assert all(student[name].shape == p.shape for name, p in teacher.items())
    assert list(teacher) == list(student)[:len(teacher)]
    assert list(student)[len(teacher)] == PARAMS["ema_pairs"]["first_unpaired_student"]
    assert [name for name in student if "last_layer" in name
            ] == PARAMS["frozen_first_epoch_tensors"]


@pytest.mark.parametrize("arch", ARCHS)
def test_heads_are_as_wide_as_the_stages_at_every_depth(arch):
    with torch.device("meta"):
        student, teacher = build_desd(arch, OUT)
    widths = [64, 128, 256, 512] if ARCHS[arch] < 50 else [256, 512, 1024, 2048]
    heads = (student.head_1, student.head_2, student.head_3, student.head)
    assert [head.mlp[0].in_features for head in heads] == widths
    assert teacher.head.mlp[0].in_features == widths[-1]
    assert student.backbone.depth == teacher.backbone.depth == ARCHS[arch]


def test_an_unknown_arch_is_refused():
    with pytest.raises(ValueError, match="Unknown arch 'res3d'; known: res3d10, .*res3d200"):
        build_desd("res3d", OUT)


def test_student_logits_are_crop_major_and_shallow_to_deep():
    student, _ = small()
    views = crops(2)
    logits = student(views)
    assert [tuple(level.shape) for level in logits] == [(4, OUT)] * 4
    vectors = pooled(student.backbone(views[1])[1:])
    heads = (student.head_1, student.head_2, student.head_3, student.head)
    for level, head, vector in zip(logits, heads, vectors, strict=True):
        torch.testing.assert_close(level[2:], head(vector))


def test_crops_of_equal_size_go_through_the_encoder_together():
    student, _ = small(use_bn=True)
    batches, head_rows = [], []
    student.backbone.register_forward_pre_hook(
        lambda _, inputs: batches.append(tuple(inputs[0].shape)))
    for head in (student.head, student.head_1, student.head_2, student.head_3):
        head.register_forward_pre_hook(lambda _, inputs: head_rows.append(len(inputs[0])))
    views = crops(2) + crops(3, size=(4, 33, 20)) + crops(1)
    logits = student(views)
    assert batches == [(4, 1, *SIZE), (6, 1, 4, 33, 20), (2, 1, *SIZE)]
    assert head_rows == [12] * 4
    assert [len(level) for level in logits] == [12] * 4


def test_local_crops_follow_the_global_ones():
    student, _ = small()
    views = crops(2) + crops(2, size=(4, 20, 40))
    alone = student(views[3:])
    for level, expected in zip(student(views), alone, strict=True):
        torch.testing.assert_close(level[6:], expected)


def test_the_teacher_starts_as_the_student_and_reads_two_crops():
    student, teacher = small()
    views = crops(2) + crops(2, size=(4, 20, 40))
    logits, features = teacher(views)
    assert logits.shape == (4, OUT) and features.shape == (4, 512)
    torch.testing.assert_close(logits, student(views[:2])[-1])
    torch.testing.assert_close(features[:2], pooled(student.backbone(views[0])[4:])[0])
    torch.testing.assert_close(logits, teacher.head(features))


def test_the_teacher_is_a_copy_buffers_included():
    student, _ = small(use_bn=True)
    student(crops(2))  # moves the running statistics
    teacher = start_teacher(student)
    ours, theirs = student.state_dict(), teacher.state_dict()
    assert set(ours) - set(theirs) == {name for name in ours if name.startswith("head_")}
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    with torch.no_grad():
        for p in student.parameters():
            p.zero_()
    assert teacher.backbone.conv1.weight.any() and teacher.head.last_layer.weight_v.any()
    assert teacher.head.mlp[1].running_mean.any()


def test_no_gradient_reaches_the_teacher():
    student, teacher = small()
    logits, features = teacher(crops(2))
    assert not logits.requires_grad and not features.requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for name, p in student.named_parameters() if "weight_g" not in name)
    (sum(level.sum() for level in student(crops(2))) + logits.sum()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None for p in student.parameters() if p.requires_grad)


def test_the_teacher_stays_in_training_mode():
    _, teacher = small(use_bn=True)
    teacher.eval()
    assert all(module.training for module in teacher.modules())
    views = crops(2)
    logits, _ = teacher(views)
    norm = teacher.head.mlp[1]
    assert norm.num_batches_tracked == 1 and norm.running_mean.any()
    assert torch.equal(teacher(views)[0], logits)  # the batch's statistics, not the running ones
    assert torch.equal(teacher.train(False)(views)[0], logits)


def test_norms_of_the_prototypes_can_be_learned():
    student, teacher = small(norm_last_layer=False)
    assert all(p.requires_grad for p in student.parameters())
    assert not teacher.head.last_layer.weight_g.requires_grad


def test_student_of_any_encoder():
    student = DeSDStudent(resnet3d(10, in_channels=3), OUT)
    views = [torch.randn(1, 3, *SIZE) for _ in range(2)]
    assert [tuple(level.shape) for level in student(views)] == [(2, OUT)] * 4


def test_a_step_in_bfloat16_has_finite_gradients():
    student, teacher = small(use_bn=True)
    # With fewer slices than the first kernel's 7, oneDNN 3.12 corrupts memory on some CPUs.
    views = crops(2, size=(8, 32, 64))
    with torch.autocast("cpu", torch.bfloat16):
        levels, (target, _) = student(views), teacher(views)
    assert target.dtype == torch.float32 and all(level.dtype == torch.float32 for level in levels)
    sum((level - target).square().mean() for level in levels).backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.requires_grad)
