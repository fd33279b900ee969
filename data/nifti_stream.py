"""One NIfTI file from its first byte to its last, without more memory than its header stands for.

A header can claim 10^6 voxels a side, and a few MB of gzip can unpack to many GB. So the header
is read first; what it claims must be possible for a file of this size and below a limit; and no
byte is unpacked beyond it.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

READ_ERRORS = (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError,
               HeaderDataError)
MAX_BYTES = 4 * 2**30   # unpacked; 512 x 512 x 2000 voxels of float64
MAX_RATIO = 1032        # deflate's largest: 258 bytes of two bits
SLACK = 2**20           # bytes after the voxels that are passed over


def read_nifti(path: Path) -> tuple[nibabel.Nifti1Image, bytes]:
    """The image of a .nii or .nii.gz file, and its unpacked bytes.

    A gzip stream is read to its very end, where its checksum is.

    Raises:
        READ_ERRORS: no NIfTI file, damaged, truncated, or larger than it can or may be.
    """
    size = path.stat().st_size
    packed = path.suffix == ".gz"
    with gzip.open(path) if packed else path.open("rb") as stream:
        block = stream.read(nibabel.Nifti2Header.sizeof_hdr)
        kind, claimed = _kind_and_size(block)
        if claimed > MAX_BYTES:
            raise ValueError(f"its header claims {claimed} bytes; more than {MAX_BYTES} are not "
                             f"read")
        if claimed > (size * MAX_RATIO if packed else size):
            raise ValueError(f"truncated: its header claims {claimed} bytes, which a file of "
                             f"{size} bytes cannot hold")
        content = block + _read(stream, claimed + SLACK + 1 - len(block))
    if len(content) < claimed:
        raise EOFError(f"truncated: {len(content)} of {claimed} bytes")
    if len(content) > claimed + SLACK:
        raise ValueError(f"holds more than the {claimed} bytes that its header claims")
    return kind.from_bytes(content), content


def _read(stream: BinaryIO, limit: int) -> bytes:
    """Up to `limit` bytes; memory grows with what is there, not with what is asked for."""
    parts = []
    while limit > 0 and (part := stream.read(min(limit, 2**20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def _kind_and_size(block: bytes) -> tuple[type[nibabel.Nifti1Image], int]:
    """The image's class, and the bytes of header and voxels that the header claims."""
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        if kind.header_class.may_contain_header(block):
            header = kind.header_class(block[:kind.header_class.sizeof_hdr], check=False)
            break
    else:
        raise ValueError("is no NIfTI file" if block else "is empty")
    if not header["magic"].item().startswith(b"n+"):
        raise ValueError("is no NIfTI file that holds its own voxels")
    shape = tuple(map(int, header.get_data_shape()))
    if not shape or min(shape) < 1:
        raise ValueError(f"has shape {shape}")
    offset = int(header["vox_offset"])
    if offset < 0:
        raise ValueError(f"its voxels begin at byte {offset}")
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise ValueError(f"has the unknown data type {error}") from error
    return kind, offset + math.prod(shape) * dtype.itemsize
