"""A prepared volume on disk: memory-mapped arrays, so that a crop reads only its own voxels.

An entry is a folder with an .npy file for each array, and entry.json, which says what they are,
with the CRC-32 of each file and of itself.
"""

import json
import math
import mmap
import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from system.files import crc32_of, read_json, write_text

from .transforms import BACKGROUND, DIST_MAP, FOREGROUND, GEOMETRY, KEYS

TENSORS = (*KEYS, DIST_MAP)  # the indices stay arrays: a crop reads one number of each
DTYPES = {"image": ("float32",), "label": ("uint8",), DIST_MAP: ("float32",),
          FOREGROUND: ("int32", "int64"), BACKGROUND: ("int32", "int64")}
ENTRY = "entry.json"
ABANDONED_S = 24 * 3600      # since the last write of a process that was killed
FOLDER = "prepared_volumes"  # below the user's folder, which may hold other files
MARKER = "cache.txt"         # marks FOLDER as ours
MARKER_TEXT = ("Prepared volumes of the training scripts. This folder may be deleted at any time; "
               "they are made again.\n")
NAME = re.compile(r"[0-9a-f]{32}")                  # of an entry
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.[0-9a-f]{16}")  # of an entry that is being written

Volume = dict[str, Any]


def open_cache(folder: Path) -> None:
    """Create the folder of the entries with its marker, unless it exists.

    Raises:
        OSError: it cannot be written.
        ValueError: it holds files of something else.
    """
    marker = folder / MARKER
    if marker.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Entries without a marker are fine: the cache may be deleted at any time, perhaps right now.
    foreign = [path.name for path in folder.iterdir() if not _is_ours(path.name)]
    if foreign:
        raise ValueError(f"{folder}: holds {min(foreign)} but no {MARKER}, so it is not a cache of "
                         f"this project. Move it away, or choose another --cache_dir.")
    write_text(marker, MARKER_TEXT)


def _is_ours(name: str) -> bool:
    is_entry = NAME.fullmatch(name) or UNFINISHED.fullmatch(name)
    return bool(is_entry) or name.startswith((MARKER, f".{MARKER}."))


def write_entry(folder: Path, volume: Volume) -> None:
    """Write a volume as `folder`, whole or not at all.

    Several processes may do so at the same time: an existing intact entry stays, a damaged one is
    replaced.
    """
    temporary = _beside(folder)
    temporary.mkdir(parents=True)
    try:
        arrays = {}
        for name in sorted(DTYPES.keys() & volume.keys()):
            array = np.ascontiguousarray(volume[name])
            assert array.dtype in DTYPES[name], f"{name}: {array.dtype}"
            with open(temporary / f"{name}.npy", "w+b") as file:
                np.save(file, array, allow_pickle=False)
                arrays[name] = {"dtype": str(array.dtype), "shape": array.shape,
                                "file_size": file.tell(), "crc32": _crc32_of_all(file)}
                _sync(file)
        about = {"arrays": arrays} | {name: volume[name].tolist() for name in GEOMETRY}
        about["crc32"] = _crc32_of_json(about)
        with open(temporary / ENTRY, "xb") as file:
            file.write(json.dumps(about, indent=2).encode())
            _sync(file)
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _crc32_of_all(file: BinaryIO) -> int:
    file.seek(0)
    return crc32_of(file)


def _crc32_of_json(about: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(about).encode())


def _beside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary: Path, folder: Path) -> None:
    """Rename a finished folder to its place."""
    while True:
        try:
            os.rename(temporary, folder)
            break
        except OSError:
            if not folder.exists():
                raise
        if is_intact(folder):
            return
        torn = _beside(folder)
        try:
            os.rename(folder, torn)
        except FileNotFoundError:
            continue  # another process took it away
        shutil.rmtree(torn, ignore_errors=True)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def is_intact(folder: Path) -> bool:
    """Whether an entry exists and its files are as they were written; reads every byte."""
    try:
        read_entry(folder)
        about = read_json(folder / ENTRY)
        expected = about.pop("crc32")
        if _crc32_of_json(about) != expected:
            return False
        for name, array in about["arrays"].items():
            with open(folder / f"{name}.npy", "rb") as file:
                if crc32_of(file) != array["crc32"]:
                    return False
    except (OSError, ValueError, KeyError):
        return False
    return True


def read_entry(folder: Path) -> Volume:
    """The volume of an entry, its arrays mapped and not yet read.

    A map is closed with its last tensor and then takes no memory in this process. Writing to a
    tensor does not change the file. Bytes are not checked against their CRC-32, see `is_intact`.

    Raises:
        OSError, ValueError: the entry is absent or torn.
    """
    about = read_json(folder / ENTRY)
    try:
        volume = {name: torch.tensor(about[name], dtype=torch.float64) for name in GEOMETRY}
        for name, array in about["arrays"].items():
            mapped = _mapped(os.path.join(folder, f"{name}.npy"), DTYPES[name], **array)
            volume[name] = torch.from_numpy(mapped) if name in TENSORS else mapped
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ENTRY}: is not of a cache") from error
    return volume


def _mapped(path: str, dtypes: Sequence[str], dtype: str, shape: Sequence[int],
            file_size: int, crc32: int) -> np.ndarray:
    """The array of an .npy file; np.load would take 0.2 ms to parse its header, which is known."""
    with open(path, "rb") as file:
        voxels = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if dtype not in dtypes or len(voxels) != file_size:
        raise ValueError(f"{path}: is torn")
    header = file_size - np.dtype(dtype).itemsize * math.prod(shape)
    return np.ndarray(shape, dtype, voxels, header)


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left in a cache, nothing else."""
    if not (folder / MARKER).is_file():
        return
    for path in folder.iterdir():
        if not UNFINISHED.fullmatch(path.name) or path.is_symlink():
            continue
        try:
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path)
        except OSError:
            continue  # gone already, or another user's
