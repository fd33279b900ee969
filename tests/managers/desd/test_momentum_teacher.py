"""The momentum teacher: which tensors it follows, and how."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from managers.desd.momentum_teacher import pair_by_name, update
from networks.resnet.desd import build_desd

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "desd.json").read_text())


class Pieces(nn.Module):
    """Linear layers of given widths, registered in the order of the names."""

    def __init__(self, **widths: int):
        super().__init__()
        for name, width in widths.items():
            self.add_module(name, nn.Linear(width, 2))


def names_of(module, parameters):
    """The names under which `module` has these tensors."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


def test_reference_update():
    reference = GOLDEN["ema"]
    teacher, student = torch.tensor(reference["k"]), torch.tensor(reference["q"])
    update([teacher], [student], reference["m"])
    assert teacher.tolist() == pytest.approx(reference["after1"], abs=1e-7)
    assert student.tolist() == reference["q"]


@pytest.mark.parametrize(("momentum", "expected"), [(1.0, [4.0]), (0.75, [5.0]), (0.0, [8.0])])
def test_update_by_hand(momentum, expected):
    teacher = nn.Parameter(torch.tensor([4.0]))
    student = nn.Parameter(torch.tensor([8.0]))
    update([teacher], [student], momentum)
    assert teacher.tolist() == expected and teacher.requires_grad and teacher.grad_fn is None


def test_what_is_equal_stays_equal():
    teacher = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    student = teacher.clone()
    for momentum in (0.996, 0.9973, 0.99999):
        update([teacher], [student], momentum)
    assert torch.equal(teacher, student)


def test_order_and_further_layers_of_the_student_do_not_matter():
    teacher = Pieces(first=3, second=4)
    student = Pieces(shallow=3, second=4, first=3)
    pairs = pair_by_name(teacher, student)
    expected = ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert names_of(teacher, pairs[0]) == names_of(student, pairs[1]) == expected
    wrapped = pair_by_name(nn.DataParallel(teacher), nn.DataParallel(student))
    assert names_of(student, wrapped[1]) == expected
    assert names_of(teacher, pair_by_name(teacher, nn.DataParallel(student))[0]) == expected


def test_a_student_that_does_not_fit():
    with pytest.raises(ValueError) as error:
        pair_by_name(Pieces(head=3, neck=2), Pieces(head=4))
    message = str(error.value)
    assert "head.weight is (2, 3) in the teacher, (2, 4) in the student" in message
    assert "neck.weight is absent from the student; neck.bias is absent" in message
    with pytest.raises(ValueError, match=r"and 3 more\.$"):
        pair_by_name(Pieces(a=1, b=1, c=1, d=1), Pieces(e=1))


def test_buffers_are_not_averaged():
    teacher, student = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    student(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    nn.init.constant_(student.weight, 3.0)
    update(*pair_by_name(teacher, student), 0.5)
    assert teacher.weight.tolist() == [2.0, 2.0] and teacher.running_mean.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("use_bn", [True, False])
def test_the_published_teacher_has_171_pairs(use_bn):
    with torch.device("meta"):
        student, teacher = build_desd("res3d50", 60000, use_bn)
    first, second = pair_by_name(teacher, student)
    names = names_of(teacher, first)
    assert names == names_of(student, second)
    assert not any(name.startswith(("head_1", "head_2", "head_3")) for name in names)
    if use_bn:  # as published
        assert len(names) == GOLDEN["params"]["ema_pairs"]["n_pairs"] == 171


def test_runs_without_values():
    """Tensors without data: nothing may read one on the way."""
    tensors = [torch.zeros(3, device="meta")], [torch.zeros(3, device="meta")]
    assert update(*tensors, 0.9) is None and tensors[0][0].is_meta
