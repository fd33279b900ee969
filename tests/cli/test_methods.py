"""The methods of the papers as flags of the DSD script, and starting from other weights."""

import json

import pytest
import torch

SETTINGS = ("--img_size", 16, 16, 16, "--device", "cpu", "--epochs", 1,
            "--training_split", 2, "--validation_split", 1)
SMALL = ("--filters", 4, 8, 8, *SETTINGS)
DSD = "train_SelfDistil_Original.py"


@pytest.fixture(scope="module")
def data(phantoms):
    return phantoms("hippocampus", 6, (24, 24, 24))


@pytest.fixture
def train(run_script, data, tmp_path):
    """train(script, name, *flags) -> its only line of metrics.jsonl, and what it printed."""

    def run(script, name, *flags):
        done = run_script(script, data, "_", "--experiment", name, *flags)
        assert done.returncode == 0, done.stderr
        lines = (tmp_path / "experiments" / name / "metrics.jsonl").read_text().splitlines()
        return json.loads(lines[-1]), done.stdout

    return run


def terms_of(line):
    """The terms of the training loss."""
    return {name for name in line if name.startswith(("dice_ce", "kl", "hint", "boundary"))}


DECODER = {"dice_ce_out", "dice_ce_dec2", "dice_ce_dec1"}


def test_deep_supervision_only_by_name(train):
    line, _ = train(DSD, "Hippocampus_nnUnet_DeepSuperOnly.exp", *SMALL)
    assert terms_of(line) == DECODER


def test_every_method_at_once_and_resumed(train, run_script, data):
    flags = ("--filters", 4, 8, 8, 8, *SETTINGS, "--distil", "encoder", "--detach_teacher",
             "--supervise_encoder", "--upsampling", "trilinear",
             "--hint_weight", 1e-4, "--shape_priors", "--beta_start", 0.5, "--beta_step", 0.25)
    name = "Hippocampus_nnUnet_SelfDist_Everything.exp"
    line, _ = train(DSD, name, *flags, "--epochs", 1)
    assert terms_of(line) == DECODER | {
        "dice_ce_dec3", "dice_ce_enc1", "dice_ce_enc2", "dice_ce_enc3", "kl_enc", "hint_dec",
        "hint_enc", "boundary"}
    total = sum(value for term, value in line.items() if term.startswith(("dice_ce", "kl")))
    total += 1e-4 * (line["hint_dec"] + line["hint_enc"]) + 0.5 * line["boundary"]
    assert line["loss"] == pytest.approx(total, rel=1e-4)
    line, _ = train(DSD, name, *flags, "--epochs", 2, "--resume")
    total = sum(value for term, value in line.items() if term.startswith(("dice_ce", "kl")))
    total += 1e-4 * (line["hint_dec"] + line["hint_enc"]) + 0.75 * line["boundary"]
    assert line["epoch"] == 2
    assert line["loss"] == pytest.approx(total, rel=1e-4)


def test_an_averaged_teacher_goes_on_where_it_was(train):
    flags = ("--filters", 4, 8, 8, 8, *SETTINGS, "--teacher", "ema", "--side_weights", "halved",
             "--encoder_heads", "own", "--lr_schedule", "constant")
    whole, _ = train(DSD, "Hippocampus_nnUnet_SelfDist_Whole.exp", *flags, "--epochs", 2)
    name = "Hippocampus_nnUnet_SelfDist_Resumed.exp"
    train(DSD, name, *flags, "--epochs", 1)
    resumed, _ = train(DSD, name, *flags, "--epochs", 2, "--resume")
    assert {"kl_dec", "kl_enc", "kl_out"} <= set(whole)
    assert resumed == whole  # to the bit


def test_a_run_starts_from_another_runs_weights(train, run_script, data, tmp_path):
    train("train_basic.py", "Hippocampus_nnUnet_Basic.exp", *SMALL)
    basic = tmp_path / "experiments" / "Hippocampus_nnUnet_Basic.exp"
    # At a learning rate this small the weights are still those it began with.
    _, printed = train(DSD, "Hippocampus_nnUnet_SelfDist.exp", *SMALL, "--init_from", basic.name,
                       "--lr", 1e-30, "--weight_decay", 0)
    assert "heads" in printed
    before = torch.load(basic / "best.model", weights_only=True)["network"]
    after = torch.load(tmp_path / "experiments" / "Hippocampus_nnUnet_SelfDist.exp" / "last.model",
                       weights_only=True)["network"]
    assert before and all(torch.equal(after[name], value) for name, value in before.items())

    other = run_script(DSD, data, "_", "--experiment", "Hippocampus_VNET_SelfDist.exp",
                       "--img_size", 32, 32, 32, "--init_from", basic)
    assert other.returncode == 2
    assert "No weight matches" in other.stderr
    assert not (tmp_path / "experiments" / "Hippocampus_VNET_SelfDist.exp").exists()


OWN_NETWORK = '''
from torch import nn
from networks import find_levels


class Small(nn.Module):
    def __init__(self, in_channels, num_classes, width):
        super().__init__()
        self.first = nn.Conv3d(in_channels, width, 3, padding=1)
        self.down = nn.Conv3d(width, 2 * width, 2, stride=2)
        self.deep = nn.Conv3d(2 * width, 4 * width, 2, stride=2)
        self.up = nn.ConvTranspose3d(4 * width, 2 * width, 2, stride=2)
        self.last = nn.ConvTranspose3d(4 * width, width, 2, stride=2)
        self.out = nn.Conv3d(2 * width, num_classes, 1)

    def forward(self, x):
        import torch
        first = self.first(x).relu()
        down = self.down(first).relu()
        deep = self.deep(down).relu()
        up = self.up(deep).relu()
        last = self.last(torch.cat([up, down], 1)).relu()
        return self.out(torch.cat([last, first], 1))


def small(in_channels, num_classes, img_size, width=4):
    return find_levels(Small(in_channels, num_classes, width), in_channels, img_size,
                       encoder=["first", "down"], decoder=["deep", "up"])
'''


def test_a_network_of_ones_own_by_its_path(run_script, data, tmp_path):
    (tmp_path / "my_nets.py").write_text(OWN_NETWORK)
    name = "Hippocampus_own.exp"
    done = run_script(DSD, data, "_", "--experiment", name, "--network", "my_nets:small",
                      "--network_options", "width=6", *SETTINGS)
    assert done.returncode == 0, done.stderr
    line = json.loads((tmp_path / "experiments" / name / "metrics.jsonl").read_text())
    assert terms_of(line) == DECODER | {"kl_dec", "kl_enc"}
    scored = run_script("eval.py", "--experiment", name, "--mode", "testing", "--device", "cpu",
                        "--trust_network_code")
    assert scored.returncode == 0, scored.stderr


def test_a_dataset_of_ones_own_by_its_json(run_script, data, tmp_path):
    task = data / "Task04_Hippocampus"
    task = task if task.is_dir() else data
    name = "own_nnUnet.exp"
    done = run_script(DSD, task, "_", "--experiment", name, "--dataset", task / "dataset.json",
                      "--spacing", 2, 2, 2, "--intensity", "minmax", "--augmentation",
                      "anatomical", *SMALL)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "experiments" / name / "config.json").read_text())
    assert config["dataset_definition"] and config["spacing_mm"] == [2, 2, 2]
    assert config["augmentation"] == "anatomical"
    scored = run_script("eval.py", "--experiment", name, "--mode", "testing", "--device", "cpu")
    assert scored.returncode == 0, scored.stderr
    assert "anterior" in scored.stdout.lower()
