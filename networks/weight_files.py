"""Files of weights, whichever run made them, and a network that starts from one."""

import re
import warnings
from pathlib import Path
from typing import Any

import torch

from configs.files import read_json
from configs.pretraining import METHOD

from .encoder_weights import CHECKPOINTS, depth_of, load_tensors, read_encoder_weights
from .side_outputs import SideOutputs
from .transfer import TransferReport, transfer_weights


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict onto the CPU; nothing in the file can run code.

    Of a DeSD pre-training, ours or the authors', it is the teacher's encoder, by the names of a
    ResNet3D.

    Args:
        path: a run folder (its best.model; the checkpoint of a pre-training), a checkpoint of this
            project (.model), a torch state dict, also under the key "state_dict", or a
            .safetensors file.

    Raises:
        ValueError: absent, damaged, or something else than named tensors.
    """
    path = Path(path)
    if path.is_dir():
        if _is_pretraining(path):
            return read_encoder_weights(path)
        path = path / "best.model"
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.model")) if path.parent.is_dir() else []
        raise ValueError(f"{path}: no such file of weights; beside it: "
                         f"{', '.join(beside) or 'no .model'}. Give a run folder NAME.exp or a "
                         f"file.")
    state = load_tensors(path)
    if isinstance(state, dict) and isinstance(state.get("teacher"), dict):
        return read_encoder_weights(path)
    for key in ("network", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if (not isinstance(state, dict) or not state
            or not all(isinstance(value, torch.Tensor) for value in state.values())):
        raise ValueError(f"{path}: holds no state dict (names and tensors).")
    if any(name.endswith("backbone.conv1.weight") for name in state):  # a teacher written out alone
        return read_encoder_weights(path)
    return dict(state)


def start_from(network: SideOutputs, path: str | Path, part: str = "network") -> TransferReport:
    """Copy what fits of the weights in a file or a run folder.

    Args:
        path: see `read_weights`.
        part: "network" or "encoder", see `transfer_weights`.

    Raises:
        ValueError: the file cannot be read, or nothing in it fits. Nothing has been written then.

    Warns:
        UserWarning: a 3D ResNet of another depth than the network's, of which a part fits.
    """
    state = read_weights(path)
    there, here = _depth(state), _depth(network.state_dict())
    if there and not here:
        raise ValueError(f"{path}: holds a 3D ResNet of depth {there}, as DeSD trains it, which "
                         f"this network has not: give --network resnet{there}-unet.")
    report = transfer_weights(network, state, part)
    if there and there != here:
        warnings.warn(f"{path}: holds a 3D ResNet of depth {there}, the network has one of depth "
                      f"{here}: {report.encoder_count()} could be copied. --network "
                      f"resnet{there}-unet takes all that the file has.", stacklevel=2)
    return report


def _is_pretraining(folder: Path) -> bool:
    """Whether a run folder is of our DeSD pre-training, or of the authors'."""
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        return isinstance(config, dict) and config.get("method") == METHOD
    return (not (folder / "best.model").is_file()
            and any((folder / name).is_file() for name in CHECKPOINTS[1:]))


def _depth(state: dict[str, Any]) -> int | None:
    """The depth of DeSD's 3D ResNet in a state dict; None where there is none."""
    names = {re.sub(r"^(network\.)?(encoder\.)?", "", name): None for name in state}
    return depth_of(names) if "norm1.weight" in names else None
