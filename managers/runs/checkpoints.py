"""Checkpoints: state dicts and plain values, written whole, loaded without running code."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn
from torchmanager.callbacks import Callback

from networks.errors import first_line
from networks.weights.archives import archive_problem
from system.files import sha256_of, write_bytes, write_with

from ..compute.random_states import random_states, restore_random_states

FORMAT = 1


def save_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer,
                    history: list[dict[str, Any]], config: dict[str, Any],
                    scaler: torch.amp.GradScaler | None = None,
                    position: dict[str, Any] | None = None,
                    preprocessing: dict[str, Any] | None = None,
                    mean_teacher: Any = None) -> None:
    """Write one .model file: it loads with `torch.load(path, weights_only=True)`.

    The epoch is `history[-1]["epoch"]`; `config` is the run's config.json, so the file can be read
    on its own.

    Args:
        position: within the next epoch (see Trainer.position); None at the end of an epoch.
        preprocessing: what the weights were trained with (trained_with.preprocessing_of).
    """
    state = {"format": FORMAT, "network": network.state_dict(),
             "optimizer": optimizer.state_dict(), **random_states(), "scaler": {},
             "history": history, "config": config, "position": position,
             "preprocessing": preprocessing}
    if scaler is not None:
        state["scaler"] = scaler.state_dict()
    if mean_teacher is not None:
        state["mean_teacher"] = mean_teacher.state_dict()
    write_with(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a .model file onto the CPU.

    Raises:
        ValueError: it is absent, truncated, damaged in any byte, not one of ours, or holds more
            than data.
    """
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.model"))
        raise ValueError(f"{path}: no such checkpoint; beside it: {', '.join(beside) or 'none'}. "
                         f"They appear at the end of an epoch.")
    damage = archive_problem(path)
    if damage is not None:
        raise ValueError(f"{path}: cannot be read as a checkpoint, it is damaged ({damage}). "
                         f"Restore it from a copy, or train again.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        reason = first_line(error)
        if isinstance(error, pickle.UnpicklingError):
            reason = "not tensors and plain values alone"  # torch's text advises unsafe loading
        raise ValueError(f"{path}: cannot be read as a checkpoint ({reason}). It is damaged, or "
                         f"holds objects, which are never loaded.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path}: is not a checkpoint of this project (format {FORMAT}).")
    return state


def load_with_digest(path: Path) -> tuple[dict[str, Any], str]:
    """Read a .model file and its SHA-256.

    Reads again if a running training replaced the file in between.

    Raises:
        ValueError: see `load_checkpoint`.
    """
    while True:
        before = None
        if path.exists():
            before = path.stat().st_ino
        state, sha256 = load_checkpoint(path), sha256_of(path)
        if path.stat().st_ino == before:
            return state, sha256


def weights_sha256(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a network's weights, whatever file holds them."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def restore(checkpoint: dict[str, Any] | None, network: nn.Module,
            optimizer: torch.optim.Optimizer,
            scaler: torch.amp.GradScaler | None = None,
            mean_teacher: Any = None) -> list[dict[str, Any]]:
    """Set network, optimiser, random generators and scaler to their state in the checkpoint.

    The optimiser keeps its own weight decay and its way to compute a step (fused or not); the
    learning rate follows from the epoch (callbacks.LearningRate).

    Returns:
        The record of the epochs so far; empty for a new run, where `checkpoint` is None.
    """
    if checkpoint is None:
        return []
    network.load_state_dict(checkpoint["network"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    for group in optimizer.param_groups:
        for name in ("foreach", "fused", "weight_decay"):
            if name in group:
                group[name] = optimizer.defaults[name]
    saved_scaler = checkpoint.get("scaler")  # older runs have none
    if scaler is not None and saved_scaler:
        scaler.load_state_dict(saved_scaler)
    if mean_teacher is not None:
        mean_teacher.load_state_dict(checkpoint["mean_teacher"])
    restore_random_states(checkpoint)
    return checkpoint["history"]


def export_weights(path: Path, network: nn.Module) -> None:
    """Write the network's weights alone: .safetensors, or a torch state dict for other endings."""
    state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    if path.suffix != ".safetensors":
        write_with(path, lambda file: torch.save(state, file))
        return
    # DynUNet holds its blocks under two names; safetensors refuses tensors that share memory.
    write_bytes(path, to_safetensors({name: value.clone() for name, value in state.items()}))


class SaveCheckpoints(Callback):
    """last.model after every epoch, best.model when the validation Dice is the highest so far.

    Also interrupted.model, before a validation and when a signal ends the run within an epoch;
    removed when that epoch is finished.
    """

    def __init__(self, folder: Path, manager: Any, history: list[dict[str, Any]],
                 config: dict[str, Any], preprocessing: dict[str, Any] | None = None):
        self.folder = folder
        self.manager = manager
        self.history = history
        self.config = config
        self.preprocessing = preprocessing
        self.best_dice = -1.0
        for line in history:
            self.best_dice = max(self.best_dice, line.get("val_dice", -1.0))

    def on_epoch_end(self, epoch: int, summary: dict[str, float] | None = None,
                     val_summary: dict[str, float] | None = None) -> None:
        """Save; runs after Record, because the file holds this epoch's record.

        best.model first: a run killed between the two repeats the epoch and saves both.
        """
        dice = (val_summary or {}).get("dice")
        if dice is not None and dice > self.best_dice:
            self.best_dice = dice
            self._save("best.model")
        self._save("last.model")
        (self.folder / "interrupted.model").unlink(missing_ok=True)

    def save_position(self, position: dict[str, Any]) -> None:
        """Save the middle of an epoch."""
        self._save("interrupted.model", position)

    def _save(self, name: str, position: dict[str, Any] | None = None) -> None:
        save_checkpoint(self.folder / name, self.manager.raw_model,
                        self.manager.compiled_optimizer, self.history, self.config,
                        self.manager.scaler, position, self.preprocessing,
                        self.manager.mean_teacher)
