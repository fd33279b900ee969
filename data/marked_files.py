"""Volumes on disk that say what they were made of, so that whole ones are not made again."""

import gzip
import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from configs.files import write_bytes

GZIP_LEVEL = 1       # intermediate files: higher levels save a few per cent and take far longer
_HEADER_BYTES = 352  # of NIfTI-1, without extensions


def mark_of(files: Sequence[Path], settings: Mapping[str, Any]) -> str:
    """A text that changes with the input files (name, size, time) and the settings."""
    inputs = [(path.name, path.stat().st_size, int(path.stat().st_mtime)) for path in files]
    text = json.dumps([inputs, dict(settings)], sort_keys=True)
    return f"DeSD preparation {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def write_volume(path: Path, volume: np.ndarray, affine: np.ndarray, mark: str) -> None:
    """Write (rows, cols, slices), int16, as .nii or .nii.gz, whole, with its mark inside."""
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = mark
    data = image.to_bytes()
    if path.suffix == ".gz":
        data = gzip.compress(data, GZIP_LEVEL, mtime=0)
    write_bytes(path, data)


def is_whole(path: Path, mark: str) -> bool:
    """Whether a file carries the mark and has the size that its header says.

    Cheap: of a .nii.gz only the beginning and the size at the end are read, not the content.
    """
    try:
        with open(path, "rb") as raw:
            end = raw.seek(0, os.SEEK_END)
            if path.suffix == ".gz":
                raw.seek(-4, os.SEEK_END)
                end = int.from_bytes(raw.read(4), "little")  # of the content, modulo 2^32
            raw.seek(0)
            with gzip.open(raw) if path.suffix == ".gz" else raw as file:
                header = nibabel.Nifti1Header(file.read(348), check=False)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.wrapstruct.WrapStructError):
        return False
    size = _HEADER_BYTES + math.prod(map(int, header.get_data_shape())) * int(header["bitpix"]) // 8
    return header["descrip"].item().decode("latin-1") == mark and size % 2**32 == end
