"""What each output of a self-distilled network is worth."""

import math

import pytest
import torch

from losses import pixelwise_kl
from losses.dsd import branch_kl
from losses.heads import named_outputs
from managers import Predictor
from managers.inference.side_scores import OutputSums, score_side_outputs, teachers_of
from networks import build_network

SIZE = (8, 8, 8)


def volume(size, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return {"case_id": f"case{seed}", "image": torch.randn(1, *size, generator=generator),
            "label": torch.randint(0, 3, (1, *size), generator=generator, dtype=torch.uint8)}


def logits_of(label_map, sure):
    """Logits (3, H, W, D) that give the class of label_map the probability `sure`."""
    probabilities = torch.full((3, *label_map.shape), (1 - sure) / 2)
    return probabilities.scatter_(0, label_map[None], sure).log()


def sums_of(*slabs):
    sums = OutputSums(torch.zeros(3, 3, dtype=torch.long))
    for logits, label_map in slabs:
        sums.add(logits, label_map)
    return sums


def test_the_scores_of_four_voxels_by_hand():
    label_map = torch.tensor([0, 1, 1, 2]).view(4, 1, 1)
    found = torch.tensor([0, 1, 2, 2]).view(4, 1, 1)
    scores = sums_of((logits_of(found, 0.8), label_map)).scores()
    # Class 1: 2*1 / (1 + 2); class 2: 2*1 / (2 + 1). Two of three foreground voxels are right.
    assert scores["dice"] == pytest.approx(2 / 3)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["confidence"] == pytest.approx(0.8)


def test_the_accuracy_is_of_the_labels_foreground():
    """Four voxels of the label's foreground, two of them found; the prediction has two."""
    label_map = torch.tensor([0, 1, 1, 2, 1]).view(5, 1, 1)
    found = torch.tensor([0, 1, 0, 2, 0]).view(5, 1, 1)
    scores = sums_of((logits_of(found, 0.8), label_map)).scores()
    assert scores["accuracy"] == pytest.approx(0.5)
    assert scores["dice"] == pytest.approx((2 / 4 + 1) / 2)
    assert scores["confidence"] == pytest.approx(0.8)


def test_nothing_but_background_has_no_accuracy():
    empty = torch.zeros(2, 2, 2, dtype=torch.long)
    scores = sums_of((logits_of(empty, 0.9), empty)).scores()
    assert scores["dice"] == 1
    assert math.isnan(scores["accuracy"]) and math.isnan(scores["confidence"])


def test_slabs_add_up_to_the_volume():
    whole = volume((8, 8, 8))
    logits = torch.randn(3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    label_map = whole["label"][0].long()
    parts = sums_of((logits[:, :3], label_map[:3]), (logits[:, 3:], label_map[3:]))
    assert parts.scores() == pytest.approx(sums_of((logits, label_map)).scores())


@pytest.mark.parametrize("include_background", [True, False])
def test_rows_are_of_the_outputs_as_the_loss_names_them(tiny_network, include_background):
    network, one = tiny_network(), volume((8, 8, 8))  # one window
    rows = score_side_outputs(Predictor(network.eval(), SIZE), [one], 1, 3.0, include_background)
    with torch.no_grad():
        outputs = network.train()(one["image"][None])  # instance norms, no dropout: the same
    assert [row["output"] for row in rows] == list(named_outputs(outputs))
    assert [row["role"] for row in rows] == ["output", "student", "teacher", "student", "teacher"]
    by_name = {row["output"]: row for row in rows}
    for branch, name in (("dec", "dec2"), ("enc", "enc1")):
        expected = branch_kl(outputs[branch], 3.0, include_background).item()
        assert by_name[name]["kl"] == pytest.approx(expected, rel=1e-4)
    assert math.isnan(by_name["out"]["kl"]) and math.isnan(by_name["enc2"]["kl"])


def test_the_kl_of_a_large_volume_is_the_mean_over_its_voxels(tiny_network):
    network, one = tiny_network(), volume((20, 9, 8))  # several slabs
    row = score_side_outputs(Predictor(network.eval(), SIZE), [one], 1, 3.0)[1]
    whole = {}
    for name in ("dec2", "dec1"):
        one_output = Predictor(lambda windows, name=name:
                               named_outputs(network.all_outputs(windows))[name], SIZE)
        whole[name] = one_output.logits(one["image"])[None]
    assert row["output"] == "dec2"
    assert row["kl"] == pytest.approx(pixelwise_kl(whole["dec2"], whole["dec1"], 3.0).item(),
                                      rel=1e-4)


def test_the_output_is_the_label_map_of_the_evaluation(tiny_network):
    one, predictor = volume((11, 9, 20)), Predictor(tiny_network().eval(), SIZE)
    row = score_side_outputs(predictor, [one], 1, 3.0)[0]
    found, label_map = predictor.label_map(one["image"]).long(), one["label"][0].long()
    scores = sums_of((logits_of(found, 0.9), label_map)).scores()
    assert (row["dice"], row["accuracy"]) == pytest.approx((scores["dice"], scores["accuracy"]))


def test_scoring_leaves_the_statistics_of_a_norm_and_the_mode_alone():
    network = build_network("vnet", 1, 3, (16, 16, 32), True)  # batch norms and dropout
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predictor = Predictor(network.eval(), (16, 16, 32))
    first, second = (score_side_outputs(predictor, [volume((16, 16, 32))], 1, 3.0)
                     for _ in range(2))
    assert [row["dice"] for row in first] == [row["dice"] for row in second]
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_plain_network_has_its_output_alone(tiny_network):
    predictor = Predictor(tiny_network(self_distillation=False).eval(), SIZE)
    row, = score_side_outputs(predictor, [volume(SIZE)], 1, 3.0)
    assert (row["output"], row["role"]) == ("out", "output") and math.isnan(row["kl"])


def test_each_branch_has_its_own_teacher(tiny_network):
    assert teachers_of(tiny_network()) == {"out": "out", "dec2": "dec1", "dec1": "dec1",
                                           "enc1": "enc2", "enc2": "enc2"}
