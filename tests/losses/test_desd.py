"""The DeSD loss: reference numbers, its definition written out, the centre, bad shapes."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses import DeSDLoss, desd_loss, teacher_targets, updated_center
from losses.desd import crop_targets

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "desd.json").read_text())["loss"]
PARTS = ["loss_head1", "loss_head2", "loss_head3", "loss_head4_main"]


def reference_logits(case):
    """The four heads' and the teacher's logits that the reference numbers were computed on."""
    generator = torch.Generator().manual_seed(case["seed"])
    draws = [torch.randn(8, 64, generator=generator).to(getattr(torch, case["dtype"]))
             for _ in range(5)]
    return [logits.requires_grad_() for logits in draws[:4]], draws[4]


def by_definition(student, teacher, center, student_temp, teacher_temp):
    """Loss of one head: the mean over pairs, each a cross-entropy averaged over samples."""
    targets = ((teacher - center) / teacher_temp).softmax(-1).chunk(2)
    crops = student.split(len(targets[0]))
    pairs = [-(targets[i] * (crops[v] / student_temp).log_softmax(-1)).sum(-1).mean()
             for i in range(2) for v in range(len(crops)) if v != i]
    return sum(pairs) / len(pairs)


def random_logits(num_crops, samples, width, heads=4, seed=0):
    """Heads' logits (V * B, K) as leaves, the teacher's (2B, K) and a centre, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(rows):
        return torch.randn(rows, width, generator=generator, dtype=torch.float64)
    student = [draw(num_crops * samples).requires_grad_() for _ in range(heads)]
    return student, draw(2 * samples), draw(1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_successive_calls_are_the_references(dtype):
    loss = DeSDLoss(64).to(getattr(torch, dtype))
    rel = {"float32": 1e-5, "float64": 1e-10}[dtype]
    cases = [case for case in GOLDEN["cases"] if case["dtype"] == dtype]
    assert [case["seed"] for case in cases] == [0, 1]
    for case in cases:
        student, teacher = reference_logits(case)
        if case["seed"] == 0:
            assert student[0].flatten()[:4].tolist() == pytest.approx(GOLDEN["check_s1_first4"])
            assert teacher.flatten()[:4].tolist() == pytest.approx(GOLDEN["check_t_first4"])
        _, per_head = desd_loss(student, teacher, loss.center)
        assert [value.item() for value in per_head] == pytest.approx(
            [case[part] for part in PARTS], rel=rel)
        total = loss(student, teacher)
        assert total.item() == pytest.approx(case["total"], rel=rel)
        center = loss.center
        assert center[0, :6].tolist() == pytest.approx(case["centre_after_first6"], rel=10 * rel)
        assert center.norm().item() == pytest.approx(case["centre_after_norm"], rel=rel)
        assert center.sum().item() == pytest.approx(case["centre_after_sum"], rel=10 * rel)
        total.backward()
        assert [logits.grad.norm().item() for logits in student] == pytest.approx(
            case["grad_norms"], rel=rel)
        for logits, row, name in ((student[0], 0, "grad_s1_row0_first3"),
                                  (student[3], 5, "grad_s4_row5_first3")):
            assert logits.grad[row, :3].tolist() == pytest.approx(case[name], rel=10 * rel)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 10), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_is_its_definition(num_crops, samples, width, heads):
    student, teacher, center = random_logits(num_crops, samples, width, heads)
    total, per_head = desd_loss(student, teacher, center, 0.3, 0.2)
    expected = [by_definition(logits, teacher, center, 0.3, 0.2) for logits in student]
    torch.testing.assert_close(torch.stack(per_head), torch.stack(expected))
    torch.testing.assert_close(total, sum(expected) / heads)
    ours = torch.autograd.grad(total, student)
    torch.testing.assert_close(ours, torch.autograd.grad(sum(expected) / heads, student))


def test_by_hand():
    """Two classes, one sample: targets (1/2, 1/2) of view 0 and (4/5, 1/5) of view 1."""
    teacher = torch.tensor([[1.0, 1.0], [math.log(4), 0.0]])
    student = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    total, (alone,) = desd_loss([student], teacher, torch.zeros(1, 2), 1.0, 1.0)
    # View 0 says (1/2, 1/2) against (4/5, 1/5); view 1 says (1/4, 3/4) against (1/2, 1/2).
    expected = (math.log(2) + math.log(4) / 2 + math.log(4 / 3) / 2) / 2
    assert total.item() == alone.item() == pytest.approx(expected)
    centred = desd_loss([student], teacher, torch.tensor([[math.log(4), 0.0]]), 1.0, 1.0)[0]
    swapped = (math.log(2) + 0.2 * math.log(4) + 0.8 * math.log(4 / 3)) / 2
    assert centred.item() == pytest.approx(swapped)


def test_targets_of_crops():
    targets = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0], [0.5, 0.5]])  # 2 samples
    assert crop_targets(targets, 2).tolist() == targets[[2, 3, 0, 1]].tolist()
    both = [[1.0, 1.0], [0.75, 1.25]]
    expected = torch.tensor(targets[[2, 3, 0, 1]].tolist() + both + both) * 4 / 6
    torch.testing.assert_close(crop_targets(targets, 4), expected)


def test_teacher_targets_are_centred_sharpened_and_detached():
    logits = torch.tensor([[0.3, 0.1], [0.2, 0.2]], requires_grad=True)
    targets = teacher_targets(logits, torch.tensor([[0.2, 0.1]]), 0.05)
    two, none = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))
    torch.testing.assert_close(targets, torch.tensor([[two, 1 - two], [none, 1 - none]]))
    assert not targets.requires_grad


def test_the_teacher_takes_no_gradient():
    student, teacher, center = random_logits(2, 3, 5)
    teacher.requires_grad_()
    desd_loss(student, teacher, center)[0].backward()
    assert teacher.grad is None and all(logits.grad.any() for logits in student)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_reduce_in_float32(dtype):
    student, teacher, center = random_logits(2, 4, 4096)
    student = [logits.detach().to(dtype) for logits in student]
    teacher = teacher.to(dtype)
    total, per_head = desd_loss(student, teacher, center.float())
    assert {value.dtype for value in (total, *per_head)} == {torch.float32}
    exact, _ = desd_loss([logits.double() for logits in student], teacher.double(), center.float())
    assert total.item() == pytest.approx(exact.item(), rel=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert desd_loss(student, teacher, center.float())[0].item() == total.item()


def test_mean_terms():
    student, teacher, _ = random_logits(3, 2, 6)
    loss = DeSDLoss(6).double()
    loss.teacher_temp = 0.5
    _, per_head = desd_loss(student, teacher, loss.center, 0.1, 0.5)
    targets = teacher_targets(teacher, loss.center, 0.5)
    entropy = -(targets * targets.log()).sum(-1).mean()
    total = loss(student, teacher)
    assert total.item() == pytest.approx(sum(value.item() for value in per_head) / 4)
    *shallow, deepest = [value.item() for value in per_head]
    expected = {"loss_ssl": deepest}
    expected |= {f"deep_loss_{i}": value for i, value in enumerate(shallow, start=1)}
    mean = targets.mean(0)
    information = -(mean * mean.log()).sum() - entropy
    expected |= {"teacher_entropy": entropy.item(), "kl": deepest - entropy.item(),
                 "target_information": information.item(),
                 "center_norm": 0.1 * teacher.mean(0).norm().item()}
    assert list(loss.mean_terms) == list(expected)
    assert loss.mean_terms == pytest.approx(expected)


def test_kl_is_zero_where_the_student_agrees():
    logits = torch.randn(2, 7, generator=torch.Generator().manual_seed(0)).repeat(2, 1).double()
    loss = DeSDLoss(7, student_temp=0.2).double()
    loss.teacher_temp = 0.2
    loss([logits], logits)
    assert list(loss.mean_terms) == ["loss_ssl", "teacher_entropy", "kl", "target_information",
                                     "center_norm"]
    assert loss.mean_terms["kl"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("rows", "information"), [
    ([0, 0, 0, 0], 0.0), ([0, 1, 0, 1], math.log(2)), ([0, 1, 2, 0], 1.5 * math.log(2))])
def test_one_hot_targets_by_hand(rows, information):
    loss = DeSDLoss(3)
    loss([torch.zeros(4, 3)], 1e4 * torch.eye(3)[rows])
    assert loss.mean_terms["teacher_entropy"] == 0
    assert loss.mean_terms["target_information"] == pytest.approx(information)
    assert loss.mean_terms["loss_ssl"] == pytest.approx(math.log(3))


def test_the_centre_moves_after_the_loss():
    assert updated_center(torch.tensor([[1.0]]), torch.tensor([[3.0]]), 0.75).item() == 1.5
    student, teacher, _ = random_logits(2, 3, 5)
    loss, center = DeSDLoss(5, center_momentum=0.8).double(), torch.zeros(1, 5).double()
    for step in range(3):
        expected, _ = desd_loss(student, teacher + step, center)
        assert loss(student, teacher + step).item() == expected.item()
        center = 0.8 * center + 0.2 * (teacher + step).mean(0, keepdim=True)
        torch.testing.assert_close(loss.center, center)
    loss.eval()(student, teacher + 9)
    torch.testing.assert_close(loss.center, center)


def test_two_processes_are_one_with_all_rows():
    """Each sees two of four samples; the average is handed from one to the other by hand."""
    student, teacher, _ = random_logits(2, 4, 5)
    alone = DeSDLoss(5).double()
    alone(student, teacher)
    alone(student, teacher)
    parts = [[logits.detach()[rows] for logits in (*student, teacher)]
             for rows in ([0, 1, 4, 5], [2, 3, 6, 7])]
    losses, center = [DeSDLoss(5).double() for _ in parts], torch.zeros(1, 5).double()
    for _ in range(2):
        means = torch.stack([torch.stack([part[-1].mean(0),
                                          teacher_targets(part[-1], center).mean(0)])
                             for part in parts]).mean(0)
        for part, loss in zip(parts, losses, strict=True):
            def average(mine, part=part, means=means):
                torch.testing.assert_close(mine[0], part[-1].mean(0))
                return means
            loss.average = average
            loss(part[:-1], part[-1])
        center = losses[0].center.clone()
    for loss in losses:
        torch.testing.assert_close(loss.center, alone.center)
    for name, value in alone.mean_terms.items():
        assert sum(loss.mean_terms[name] for loss in losses) / 2 == pytest.approx(value), name


def test_state_holds_the_centre_and_reads_the_authors():
    student, teacher, _ = random_logits(2, 3, 5)
    loss, other = DeSDLoss(5).double(), DeSDLoss(5).double()
    loss(student, teacher)
    assert list(loss.state_dict()) == ["center"]
    theirs = loss.state_dict() | {"loss_center": torch.ones(1, 4)}
    other.load_state_dict(theirs)
    assert torch.equal(other.center, loss.center) and "loss_center" in theirs
    with pytest.raises(RuntimeError, match="size mismatch for center"):
        DeSDLoss(6).load_state_dict(theirs)
    with pytest.raises(RuntimeError, match="scale"):
        other.load_state_dict(loss.state_dict() | {"scale": torch.ones(1)})


def test_runs_without_values():
    """Tensors without data: nothing may read one on the way."""
    student = [torch.zeros(6, 9, device="meta", requires_grad=True) for _ in range(4)]
    loss = DeSDLoss(9, average=lambda mean: mean / 2).to("meta")
    loss(student, torch.zeros(4, 9, device="meta")).backward()
    assert loss.result.device.type == loss.center.device.type == "meta"


@pytest.mark.parametrize(("student", "teacher", "center", "message"), [
    ([(4, 3), (4, 2)], (4, 3), (1, 3), r"one shape, got \[\(4, 3\), \(4, 2\)\]"),
    ([], (4, 3), (1, 3), r"got \[\]"),
    ([(5, 3)], (4, 3), (1, 3), r"\(V \* 2, 3\).*got \(5, 3\)"),
    ([(2, 3)], (4, 3), (1, 3), r"V >= 2 crops.*got \(2, 3\)"),
    ([(4, 5)], (4, 3), (1, 3), r"\(V \* 2, 3\).*got \(4, 5\)"),
    ([(4, 3)], (3, 3), (1, 3), r"\(2B, K\), got \(3, 3\)"),
    ([(4, 3)], (0, 3), (1, 3), r"\(2B, K\), got \(0, 3\)"),
    ([(4, 3)], (4,), (1, 3), r"\(2B, K\), got \(4,\)"),
    ([(4, 3)], (4, 3), (1, 4), r"centre must be \(1, 3\), got \(1, 4\)"),
])
def test_shapes_that_do_not_fit(student, teacher, center, message):
    with pytest.raises(ValueError, match=message):
        desd_loss([torch.zeros(shape) for shape in student], torch.zeros(teacher),
                  torch.zeros(center))


def test_a_loss_of_another_width_says_so():
    with pytest.raises(ValueError, match=r"centre must be \(1, 3\), got \(1, 8\)"):
        DeSDLoss(8)([torch.zeros(4, 3)], torch.zeros(4, 3))


def test_all_values_out_of_range_in_one_message():
    with pytest.raises(ValueError) as error:
        DeSDLoss(0, student_temp=math.nan, center_momentum=1.5)
    assert str(error.value).count("must be") == 3
