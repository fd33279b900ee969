"""Runs to export, as if they had been trained."""

import pytest
import torch

from configs import training_config
from managers import save_checkpoint
from managers.runs.resume import network_of
from system.files import write_json

NNUNET = ("nnunet", "--filters", 4, 6, 8, "--img_size", 16, 16, 16)


@pytest.fixture
def run_of(tmp_path):
    """run_of(dataset, network and flags) -> path of a DSD run, as if it had been trained."""

    def make(dataset="hippocampus", network=NNUNET):
        folder = tmp_path / "run.exp"
        config = training_config("dsd", ["DATA", "_", "--experiment", str(folder), "--dataset",
                                         dataset, "--network", *map(str, network)])
        torch.manual_seed(1)
        trained = network_of(config)
        write_json(folder / "config.json", config.to_dict())
        write_json(folder / "environment.json", {"command": [str(folder)], "device": "cpu"})
        write_json(folder / "splits.json", [{"train": ["a"], "val": ["b"], "test": []}])
        save_checkpoint(folder / "best.model", trained,
                        torch.optim.SGD(trained.parameters(), 1), [{"epoch": 4}],
                        config.to_dict())
        return str(folder)

    return make
