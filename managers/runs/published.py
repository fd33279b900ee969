"""Runs as they are passed on: settings, split and weights in half precision, no optimiser."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import nn

from configs import TrainingConfig
from networks.errors import first_line
from system.files import read_json, sha256_of, write_bytes, write_json

from .checkpoints import weights_sha256
from .trained_with import preprocessing_of

WEIGHTS = "weights.safetensors"
RECORD = ("splits.json", "metrics.jsonl", "timing.jsonl")


def publish_run(target: Path, folder: Path, config: TrainingConfig, network: nn.Module,
                saved_model: str, epoch: int) -> None:
    """Write a run folder to be passed on: settings, split, environment, record, weights.

    Paths of this machine are left out, and the command lines with them: eval.py needs --data.

    Args:
        target: a new folder, or one that this has written before.
        folder: of the run.
        network: with the weights; side heads are kept.

    Raises:
        ValueError: a weight is beyond what half precision holds, or the folder holds something
            else; nothing is written.
    """
    if target.exists() and not (target / WEIGHTS).is_file():
        raise ValueError(f"{target}: is no run that was passed on; give another place.")
    state, shared = _stored_once(network)
    metadata = {"weights_sha256": weights_sha256(_whole(state, shared)),
                "shared": json.dumps(shared), "saved_model": saved_model, "epoch": str(epoch),
                "preprocessing": json.dumps(preprocessing_of(config))}
    public = replace(config, data_dir=Path(config.data_dir).name, experiment=target.name,
                     output_model=None, cache_dir=None, init_from=None, device="auto")
    environment = read_json(folder / "environment.json")
    for name in ("command", "resumed"):
        environment.pop(name, None)
    write_json(target / "environment.json", environment)
    for name in RECORD:
        if (folder / name).is_file():
            write_bytes(target / name, (folder / name).read_bytes())
    write_json(target / "config.json", public.to_dict())
    write_bytes(target / WEIGHTS, to_safetensors(state, metadata))


def _stored_once(network: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights in half precision, and the names that share the memory of one of them.

    MONAI's DynUNet holds its blocks under two names.
    """
    state, shared, names = {}, {}, {}
    for name, value in network.state_dict().items():
        first = names.setdefault((value.data_ptr(), value.shape), name)
        if first != name:
            shared[name] = first
            continue
        value = value.detach().cpu()
        if value.is_floating_point():
            value = value.half()
        if not value.isfinite().all():
            raise ValueError(f"{name}: has values beyond 65504, which half precision cannot hold; "
                             f"--format safetensors keeps float32.")
        state[name] = value.contiguous()
    return state, shared


def _whole(state: dict[str, torch.Tensor], shared: dict[str, str]) -> dict[str, torch.Tensor]:
    """The state dict, sorted by name, with the names that share a tensor."""
    whole = state | {name: state[first] for name, first in shared.items()}
    return dict(sorted(whole.items()))


def read_published(path: Path, saved_model: str) -> tuple[dict[str, Any], str]:
    """The content of a weights.safetensors, by the keys of a checkpoint, and its SHA-256.

    Every byte is checked; nothing in the file can run code.

    Args:
        saved_model: "best" or "last", which the weights have to be.

    Raises:
        ValueError: the file is damaged, was not written by `publish_run`, or has the others.
    """
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = {"network": _whole(state, json.loads(about["shared"])),
                 "history": [{"epoch": int(about["epoch"])}],
                 "preprocessing": json.loads(about["preprocessing"])}
        stated, holds = about["weights_sha256"], about["saved_model"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as the weights of a run "
                         f"({first_line(error)}). Get the file again.") from error
    if weights_sha256(found["network"]) != stated:
        raise ValueError(f"{path}: is damaged, its weights are not those that were written. Get "
                         f"the file again.")
    if holds != saved_model:
        raise ValueError(f"{path}: holds the {holds} weights alone; give --saved_model {holds}.")
    return found, sha256_of(path)
