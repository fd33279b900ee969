"""Volumes on disk that record what they were made from, so that intact ones are not made again.

The mark is in the header's "descrip": a digest of the volume's source and settings, and the CRC-32
of all other bytes of the file, so that damage is found, too.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np

from system import ROOT
from system.files import crc32_of, sha256_of, write_bytes

GZIP_LEVEL = 1       # intermediate files: higher levels save a few per cent and take far longer
# What makes volumes of input files.
PACKAGES = ("nibabel", "numpy", "pillow", "scipy")
CODE = ("nifti/nifti_stream.py", "preparation/ct_volumes.py", "preparation/deeplesion.py",
        "preparation/job.py", "preparation/marked_files.py", "preparation/respacing.py",
        "preparation/tiles.py")  # of data/
MARK = re.compile(rb"DeSD preparation [0-9a-f]{32}")
MARK_WITH_CRC = re.compile(rb"DeSD preparation [0-9a-f]{32} ([0-9a-f]{8})")
HEADER_BYTES = 348
DESCRIP = slice(148, 228)  # of the header


def mark_of(files: Sequence[Path], settings: Mapping[str, Any]) -> str:
    """A text that changes with the content of the input files, the settings and the code."""
    made_of = [[path.name, sha256_of(path)] for path in files]
    text = json.dumps([made_of, dict(settings), code_versions()], sort_keys=True)
    return f"DeSD preparation {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def code_versions() -> list[str]:
    """Versions of the packages, and digests of this project's own files."""
    return [*map(version, PACKAGES),
            *(sha256_of(ROOT / "data" / name) for name in CODE)]


def write_volume(path: Path, volume: np.ndarray, affine: np.ndarray, mark: str) -> None:
    """Write (rows, cols, slices), int16, as .nii or .nii.gz, whole, with its mark inside."""
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    data = bytearray(image.to_bytes())
    text = f"{mark} {_crc32(data[:HEADER_BYTES], data[HEADER_BYTES:]):08x}".encode()
    data[DESCRIP] = text.ljust(DESCRIP.stop - DESCRIP.start, b"\0")
    data = bytes(data)
    if path.suffix == ".gz":
        data = gzip.compress(data, GZIP_LEVEL, mtime=0)
    write_bytes(path, data)


def _crc32(header: bytes, rest: bytes = b"") -> int:
    """The CRC-32 of a file's bytes, except those of "descrip"."""
    return zlib.crc32(rest, zlib.crc32(header[DESCRIP.stop:], zlib.crc32(header[:DESCRIP.start])))


def is_whole(path: Path, mark: str) -> bool:
    """Whether a file has the mark and is as it was written; reads every byte."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(HEADER_BYTES)
            return header[DESCRIP].startswith(mark.encode()) and is_intact(header, file) is True
    except (OSError, EOFError, zlib.error):
        return False


def is_intact(header: bytes, file: BinaryIO) -> bool | None:
    """Whether a file is as `write_volume` wrote it; None if its mark has no checksum.

    Args:
        header: its first HEADER_BYTES bytes.
        file: open, positioned after these.
    """
    found = MARK_WITH_CRC.match(header[DESCRIP])
    if found is None:
        return None
    return crc32_of(file, _crc32(header)) == int(found[1], 16)


def is_marked(path: Path) -> bool:
    """Whether a .nii file was written by a preparation, whatever its source."""
    with open(path, "rb") as file:
        return MARK.match(file.read(HEADER_BYTES)[DESCRIP]) is not None
