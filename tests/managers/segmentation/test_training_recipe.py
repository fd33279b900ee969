"""What --optimizer and --lr_schedule choose, and the scores after training."""

import json

import pytest
import torch
from torch import nn

from data import Split
from managers import Predictor, open_run, optimizer_of, resume_point, save_checkpoint
from managers.schedules import LR_SCHEDULES
from managers.segmentation.training_recipe import OPTIMIZERS, score_best


def test_each_optimiser_with_the_runs_rate_and_decay(config):
    network, found = nn.Linear(2, 2), {}
    for name in OPTIMIZERS:
        flags = ("--optimizer", name, "--lr", 0.5, "--weight_decay", 0.25)
        found[name] = optimizer_of(network, config(*flags))
        assert (found[name].defaults["lr"], found[name].defaults["weight_decay"]) == (0.5, 0.25)
    assert type(found["adamw"]) is torch.optim.AdamW and type(found["sgd"]) is torch.optim.SGD
    assert (found["sgd"].defaults["momentum"], found["sgd"].defaults["nesterov"]) == (0.99, True)


def test_poly_by_hand():
    poly = LR_SCHEDULES["poly"]
    assert poly(0, 0.5, 7) == 0.5
    assert poly(5, 1.0, 10) == pytest.approx(0.5358867)  # 0.5 ** 0.9
    assert poly(99, 2.0, 100) == pytest.approx(2 * 10**-1.8)
    rates = [poly(epoch, 1.0, 20) for epoch in range(20)]
    assert rates == sorted(rates, reverse=True) and rates[-1] > 0


@pytest.mark.usefixtures("close_logs")
def test_a_run_is_not_resumed_with_another_optimiser(config, tiny_network):
    before, network = config(), tiny_network()
    folder = open_run(before, [Split(("a",), ("b",))], torch.device("cpu"), resume_point(before))
    save_checkpoint(folder / "last.model", network, optimizer_of(network, before), [{"epoch": 1}],
                    before.to_dict())
    with pytest.raises(ValueError, match="other settings: optimizer adamw -> sgd"):
        resume_point(config("--resume", "--optimizer", "sgd", "--lr", before.lr))
    assert resume_point(config("--resume"))["history"] == [{"epoch": 1}]


@pytest.mark.usefixtures("close_logs")
def test_the_best_network_segments_each_case_once(config, manager_of, tiny_network, monkeypatch):
    run, network = config(), tiny_network()
    folder = open_run(run, [Split(("a",), ("b",))], torch.device("cpu"), resume_point(run))
    save_checkpoint(folder / "best.model", network, optimizer_of(network, run), [{"epoch": 4}],
                    run.to_dict())
    segmented, label_map = [], Predictor.label_map

    def counted(predictor, image):
        segmented.append(image)
        return label_map(predictor, image)
    monkeypatch.setattr(Predictor, "label_map", counted)
    volumes = [{"case_id": name, "image": torch.rand(1, 9, 9, 9),
                "label": torch.ones(1, 9, 9, 9, dtype=torch.uint8), "spacing_mm": torch.ones(3),
                "affine": torch.eye(4, dtype=torch.float64)} for name in ("a", "b")]
    score_best(folder, run, manager_of(network), volumes,
               ("background", "anterior", "posterior"), torch.device("cpu"))
    assert len(segmented) == 2
    assert len(list((folder / "pictures").glob("validation_*.png"))) == 3
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["group"], summary["epoch"], summary["num_cases"]) == ("validation", 4, 2)
