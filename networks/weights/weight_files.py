"""Files of weights, whichever code made them: every tensor by its name."""

import json
import pickle
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.serialization import safe_globals

from ..errors import first_line
from .archives import archive_problem


class _Ignored:
    """Stands in for the objects beside the weights; takes their contents and keeps nothing."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


IGNORED = tuple((_Ignored, name) for name in
                ("argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar",
                 "numpy._core.multiarray.scalar"))
"""What the authors' code pickles beside tensors: its settings, and learning rates as NumPy makes
them. None of it is built, nor is it looked up."""

RUNS_CODE = ("os", "posix", "nt", "sys", "subprocess", "commands", "pty", "shutil", "runpy",
             "importlib", "pickle", "builtins")
"""Modules of which nothing belongs beside weights; "commands" is how pickle calls subprocess."""


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Every named tensor of a file, on the CPU; nothing in the file can run code.

    Dicts in dicts are made one: the weight "conv.bias" under the key "model" is
    "model.conv.bias". Which of the tensors are a network's is for `transfer_weights` to find.

    Args:
        path: a run folder (its best.model; of a pre-training last.model, of the authors'
            checkpoint.pth), a file by torch.save, or a .safetensors file.

    Raises:
        ValueError: absent, damaged, holding other objects, or no named tensor.
    """
    path = Path(path)
    if path.is_dir():
        path = _checkpoint_of(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.model")) if path.parent.is_dir() else []
        raise ValueError(f"{path}: no such file of weights; beside it: "
                         f"{', '.join(beside) or 'no .model'}. Give a run folder NAME.exp or a "
                         f"file.")
    content = load_tensors(path)
    found = dict(_named_tensors(content, "", set()))
    if not found:
        what = (f"its keys: {', '.join(map(str, list(content)[:10])) or 'none'}"
                if isinstance(content, dict) else f"it is a {type(content).__name__}")
        raise ValueError(f"{path}: holds no state dict (names and tensors); {what}.")
    return found


def load_tensors(path: Path) -> Any:
    """Whatever a file of tensors holds, on the CPU; nothing in it can run code.

    Tensors of a torch file are mapped into memory, so that those nobody uses, such as an
    optimizer's, take none. The settings that the authors' code saves beside them (IGNORED) are
    replaced by empty objects.

    Args:
        path: a torch file, or a .safetensors file.

    Raises:
        ValueError: damaged, or holding other objects.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        damage = archive_problem(path)
        if damage is not None:
            raise ValueError(damage)
        is_archive = zipfile.is_zipfile(path)
        with safe_globals(list(IGNORED)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, pickle.UnpicklingError) and (
                found := re.search(r"GLOBAL (\w+(\.\w+)*) (was|whose)", str(error))):
            raise ValueError(_refusal(path, found[1])) from error
        reason = first_line(error)
        if isinstance(error, pickle.UnpicklingError):
            reason = "not tensors alone"  # torch would advise to load it all the same
        kind = "not a safetensors file" if isinstance(error, SafetensorError) else "damaged"
        raise ValueError(f"{path}: cannot be read as weights ({reason}). It is {kind}, or holds "
                         f"objects, which are never loaded.") from error


def _named_tensors(content: Any, prefix: str,
                   seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if not isinstance(content, dict) or id(content) in seen:  # a file may hold itself
        return
    seen.add(id(content))
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            if value.layout == torch.strided and value.device.type == "cpu":  # no meta tensors
                yield f"{prefix}{name}", value
        elif isinstance(name, str):
            yield from _named_tensors(value, f"{prefix}{name}.", seen)


def _checkpoint_of(folder: Path) -> Path:
    """The checkpoint of a run folder, the one that people start from."""
    if _method_of(folder) == "desd":
        if not (folder / "last.model").is_file():
            raise ValueError(f"{folder}: has no last.model; a pre-training writes it after the "
                             f"first epoch. Let the run go on, or name the file itself.")
        return folder / "last.model"
    authors = folder / "checkpoint.pth"
    return authors if authors.is_file() and not (folder / "best.model").is_file() else (
        folder / "best.model")


def _method_of(folder: Path) -> str | None:
    """What a run folder trained, from its config.json; None where that does not say."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # the latter: brackets by the thousand
        raise ValueError(f"{path}: is not valid JSON ({error}).") from error
    return config.get("method") if isinstance(config, dict) else None


def _refusal(path: Path, name: str) -> str:
    """Why a file with this global is not loaded, and how its weights can be had all the same."""
    if name.split(".")[0] in RUNS_CODE or "." not in name:  # torch drops "builtins."
        return (f"{path}: asks for {name} while it is loaded, which weights have no use for and "
                f"which may run commands. It was not loaded: get the weights from another source.")
    command = ("import sys, torch; torch.save(torch.load(sys.argv[1], map_location='cpu', "
               "weights_only=False)['teacher'], sys.argv[2])")
    line = shlex.join(["python", "-c", command, str(path), str(path.with_suffix(".teacher.pt"))])
    return (f"{path}: holds a {name} beside its weights. Such objects can run code and are never "
            f"loaded. If you trust whoever made the file, write out its teacher alone, on a "
            f"machine where any code in the file may run, and give what that makes:\n{line}")
