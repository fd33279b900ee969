"""Files of weights, whatever code wrote them: every tensor by its name."""

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
    """Stands in for objects beside the weights; accepts their contents and keeps nothing."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


IGNORED = tuple((_Ignored, name) for name in
                ("argparse.Namespace", "numpy.dtype", "numpy.core.multiarray.scalar",
                 "numpy._core.multiarray.scalar"))
"""What the authors' code pickles beside tensors: its settings, and learning rates from NumPy. None
of these classes is imported or built."""

RUNS_CODE = ("os", "posix", "nt", "sys", "subprocess", "commands", "pty", "shutil", "runpy",
             "importlib", "pickle", "builtins")
"""Modules that have no place beside weights; "commands" is how pickle calls subprocess."""


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Every named tensor of a file, on the CPU; nothing in the file can run code.

    Nested dicts are flattened: the weight "conv.bias" under the key "model" becomes
    "model.conv.bias". `transfer_weights` finds out which tensors are a network's.

    Args:
        path: a run folder (its best.model; last.model of a pre-training; checkpoint.pth of the
            authors' code; weights.safetensors of a run that was passed on), a file by torch.save,
            or a .safetensors file.

    Raises:
        ValueError: the file is absent or damaged, holds other objects, or no named tensor.
    """
    path = Path(path)
    if path.is_dir():
        path = _checkpoint_of(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.model"))
        raise ValueError(f"{path}: no such file of weights; beside it: "
                         f"{', '.join(beside) or 'no .model'}. Give a run folder NAME.exp or a "
                         f"file.")
    content = load_tensors(path)
    found = dict(_named_tensors(content, "", set()))
    if not found:
        what = f"it is a {type(content).__name__}"
        if isinstance(content, dict):
            what = f"its keys: {', '.join(map(str, list(content)[:10])) or 'none'}"
        raise ValueError(f"{path}: holds no state dict (names and tensors); {what}.")
    return found


def load_tensors(path: Path) -> Any:
    """The content of a file of tensors, on the CPU; nothing in it can run code.

    Tensors of a torch file are mapped into memory, so unused ones, such as an optimizer's, cost
    none. The settings that the authors' code saves beside them (IGNORED) become empty objects.

    Args:
        path: a torch file, or a .safetensors file.

    Raises:
        ValueError: the file is damaged, or holds other objects.
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
        reason, kind = first_line(error), "damaged"
        if isinstance(error, SafetensorError):
            kind = "not a safetensors file"
        if isinstance(error, pickle.UnpicklingError):
            found = re.search(r"GLOBAL (\w+(\.\w+)*) (was|whose)", str(error))
            if found is not None:
                raise ValueError(_refusal(path, found[1])) from error
            reason = "not only tensors"  # torch's message advises to load it unsafely
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
    """The checkpoint of a run folder to start from."""
    if _method_of(folder) == "desd":
        if not (folder / "last.model").is_file():
            raise ValueError(f"{folder}: has no last.model; a pre-training writes it after the "
                             f"first epoch. Let the run go on, or name the file itself.")
        return folder / "last.model"
    ours = folder / "best.model"
    for other in (folder / "checkpoint.pth", folder / "weights.safetensors"):
        if other.is_file() and not ours.is_file():
            return other
    return ours


def _method_of(folder: Path) -> str | None:
    """The method of a run, from its config.json; None if that does not say."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # the latter: brackets by the thousand
        raise ValueError(f"{path}: is not valid JSON ({error}).") from error
    if not isinstance(config, dict):
        return None
    return config.get("method")


def _refusal(path: Path, name: str) -> str:
    """Why a file that names this global is not loaded, and how to get at its weights anyway."""
    if name.split(".")[0] in RUNS_CODE or "." not in name:  # torch drops "builtins."
        return (f"{path}: asks for {name} while it is loaded, which weights have no use for and "
                f"which may run commands. It was not loaded: get the weights from another source.")
    command = ("import sys, torch; torch.save(torch.load(sys.argv[1], map_location='cpu', "
               "weights_only=False)['teacher'], sys.argv[2])")
    line = shlex.join(["python", "-c", command, str(path), str(path.with_suffix(".teacher.pt"))])
    return (f"{path}: holds a {name} beside its weights. Such objects can run code and are never "
            f"loaded. If you trust its source, export the teacher alone, on a machine where any "
            f"code in the file may run, and give the file that this writes:\n{line}")
