"""DSD on the network with DeSD's encoder, started from a pre-training, and scored."""

import json

import pytest
import torch

from networks.resnet.desd import build_desd

NAME = "Hippocampus_ResNet10UNet_DeSD_SelfDist_Fold1.exp"


@pytest.fixture
def pretraining(tmp_path):
    """experiments/DeSD.exp with a teacher of depth 10."""
    torch.manual_seed(0)
    _, teacher = build_desd("res3d10", 8)
    folder = tmp_path / "experiments" / "DeSD.exp"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"method": "desd", "arch": "res3d10"}))
    torch.save({"format": 1, "teacher": teacher.state_dict()}, folder / "last.model")
    return teacher.backbone.state_dict()


def test_dsd_from_a_pretraining_and_its_score(run_script, phantoms, tmp_path, pretraining):
    data = phantoms("hippocampus", 4, (24, 24, 24))
    done = run_script(
        "train_SelfDistil_Original.py", data, "_", "--experiment", NAME, "--init_from", "DeSD.exp",
        "--encoder_only", "--img_size", 32, 32, 32, "--epochs", 1, "--training_split", 1,
        "--validation_split", 1, "--device", "cpu", "--upsampling", "trilinear",
        "--supervise_encoder", "--hint_weight", 1e-4, "--optimizer", "sgd", "--lr", 1e-30,
        "--weight_decay", 0, "--network_options", "decoder_widths=[4, 4, 4, 4]")
    assert done.returncode == 0, done.stderr
    assert "39 of 39 of the encoder" in done.stdout
    folder = tmp_path / "experiments" / NAME
    config = json.loads((folder / "config.json").read_text())
    assert (config["network"], config["lr_schedule"]) == ("resnet10-unet", "poly")
    line = json.loads((folder / "metrics.jsonl").read_text())
    terms = {name for name in line if name.startswith(("dice_ce", "kl", "hint"))}
    assert terms == {"dice_ce_out", "kl_dec", "kl_enc", "hint_dec", "hint_enc"} | {
        f"dice_ce_{branch}{i}" for branch in ("dec", "enc") for i in (1, 2, 3, 4)}
    # At a learning rate this small the encoder is still the teacher's.
    weights = torch.load(folder / "last.model", weights_only=True)["network"]
    assert all(torch.allclose(weights[f"network.encoder.{name}"], value, rtol=0, atol=1e-20)
               for name, value in pretraining.items())

    scored = run_script("eval.py", "--experiment", NAME, "--mode", "testing", "--device", "cpu")
    assert scored.returncode == 0, scored.stderr
    assert len((folder / "per_case.csv").read_text().splitlines()) > 1
