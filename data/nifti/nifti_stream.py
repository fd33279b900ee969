"""Reading a whole NIfTI file without taking more memory than its header justifies.

A header can claim 10^6 voxels per side, and a few MB of gzip can unpack to many GB. So the header
is read first; what it claims must be possible for a file of this size and below a limit; and
nothing is unpacked beyond that. The unpacked bytes are held once: the voxels are a view of them.

Whether a file is packed is decided by its bytes, not by its name. Errors say what is wrong, since
a foreign file, an odd header and damage need different remedies.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling

from .file_kinds import FIRST_BYTES, GZIP_MAGIC, foreign_kind, nifti_kind

MAX_BYTES = 4 * 2**30   # unpacked; 512 x 512 x 2000 voxels of float64
MAX_RATIO = 1032        # deflate's largest: 258 bytes of two bits
SLACK = 2**20           # bytes after the voxels that are ignored
MAX_LENGTH_2 = 1.001    # of a quaternion's vector part, squared; rounding makes it longer than 1
DAMAGED = "the file is damaged or not NIfTI; copy or download it again"
CUT = "the file is cut or damaged; copy or download it again"
ODD_HEADER = ("its header is wrong, not its voxels; rewrite the header with the program that made "
              "it, or with nibabel")
_DAMAGE = (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError)


class UnreadableError(ValueError):
    """A file that cannot be read as NIfTI.

    Attributes:
        remedy: what to do about it.
    """

    def __init__(self, found: str, remedy: str = DAMAGED):
        super().__init__(found)
        self.remedy = remedy


@dataclass(frozen=True)
class NiftiFile:
    """The content of a file; attributes are named as in nibabel's images.

    Attributes:
        header: as in the file.
        affine: (4, 4), float64, voxel index to mm.
        dataobj: the voxels, scaled as the header says.
    """

    header: nibabel.Nifti1Header
    affine: np.ndarray
    dataobj: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the voxels."""
        return self.dataobj.shape


def read_nifti(path: str | Path) -> tuple[NiftiFile, bytearray]:
    """A NIfTI file with its voxels in memory, and its unpacked bytes.

    A gzip stream is read to its very end, where its checksum is.

    Raises:
        UnreadableError: not NIfTI, damaged, truncated, or larger than it can or may be.
    """
    with _opened(path) as (stream, size, packed):
        block = stream.read(FIRST_BYTES)
        header, claimed = _header_and_size(block)
        if claimed > MAX_BYTES:
            raise UnreadableError(
                f"its header claims {claimed} bytes; more than {MAX_BYTES} are not read",
                "crop or resample it if it is so large, otherwise its header is wrong")
        if claimed > (size * MAX_RATIO if packed else size):
            raise UnreadableError(f"truncated: its header claims {claimed} bytes, which a file of "
                                  f"{size} bytes cannot hold", CUT)
        content = _rest(stream, bytearray(block), claimed + SLACK + 1)
        if len(content) < claimed:
            raise UnreadableError(f"truncated: {len(content)} of {claimed} bytes", CUT)
        if len(content) > claimed + SLACK:
            raise UnreadableError(f"holds more than the {claimed} bytes that its header claims",
                                  ODD_HEADER)
        return NiftiFile(header, header.get_best_affine(), _voxels(header, content)), content


def load_nifti(path: str | Path) -> NiftiFile:
    """A NIfTI file; its voxels are mapped (copy on write) if it is neither packed nor scaled.

    Raises:
        UnreadableError: not NIfTI, damaged, truncated, or packed and larger than it may be.
    """
    with _opened(path) as (stream, size, packed):
        if packed:
            return read_nifti(path)[0]
        header, claimed = _header_and_size(stream.read(FIRST_BYTES))
        if claimed > size:
            raise UnreadableError(f"truncated: {size} of {claimed} bytes", CUT)
        raw = np.memmap(path, header.get_data_dtype(), "c", header.get_data_offset(),
                        header.get_data_shape(), "F")
        return NiftiFile(header, header.get_best_affine(), _scaled(header, raw))


def read_header(path: str | Path) -> NiftiFile:
    """A file's shape, affine and header without its extensions; all voxels are 0.

    Raises:
        UnreadableError: not NIfTI, or an impossible header.
    """
    with _opened(path) as (stream, _, _):
        header, _ = _header_and_size(stream.read(FIRST_BYTES))
        nothing = np.broadcast_to(np.uint8(0), header.get_data_shape())
        return NiftiFile(header, header.get_best_affine(), nothing)


def is_packed(path: str | Path) -> bool:
    """Whether a file is a gzip stream, by its first bytes; its name does not count.

    Raises:
        OSError: there is none, or it may not be read.
        UnreadableError: it is no regular file.
    """
    _check_regular(Path(path))
    with open(path, "rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _check_regular(path: Path) -> None:
    """Refuse anything but files: opening a pipe or a device might block for ever.

    Raises:
        UnreadableError: it is something else.
    """
    if path.exists() and not path.is_file():
        found = "is a pipe, socket or device, not a file"
        if path.is_dir():
            found = "is a folder"
        raise UnreadableError(found, "give the file itself, or take this out of the folder")


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[BinaryIO, int, bool]]:
    """The unpacked stream of a file, its size in bytes and whether it is packed.

    Raises:
        UnreadableError: for any error, also while the caller reads.
    """
    path = Path(path)
    try:
        packed = is_packed(path)
        with gzip.open(path) if packed else path.open("rb") as stream:
            yield stream, path.stat().st_size, packed
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError("is not there", "copy it there") from error
    except PermissionError as error:
        raise UnreadableError("may not be read", "ask for the right to read it") from error
    except HeaderDataError as error:
        raise UnreadableError(_one_line(error), ODD_HEADER) from error
    except _DAMAGE as error:
        raise UnreadableError(_one_line(error), DAMAGED) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _rest(stream: BinaryIO, content: bytearray, limit: int) -> bytearray:
    """Read on up to `limit` bytes; memory grows with what the stream has, not with `limit`."""
    while len(content) < limit and (part := stream.read(min(limit - len(content), 2**20))):
        content += part
    return content


def _header_and_size(block: bytes) -> tuple[nibabel.Nifti1Header, int]:
    """The checked header, and how many bytes of header and voxels it claims."""
    kind = nifti_kind(block)
    if kind is None:
        known = foreign_kind(block)
        if known is not None:
            raise UnreadableError(known.found, known.remedy)
        raise UnreadableError("is no NIfTI file" if block else "is empty")
    raw = block[:kind.header_class.sizeof_hdr]
    header = kind.header_class(raw, check=False)
    if not header["magic"].item().startswith(b"n+"):
        raise UnreadableError("is no NIfTI file that holds its own voxels",
                              "convert the .hdr/.img pair to .nii.gz (nibabel, FSL)")
    shape = tuple(map(int, header.get_data_shape()))
    if not shape or min(shape) < 1:
        raise UnreadableError(f"has shape {shape}", ODD_HEADER)
    offset = int(header["vox_offset"])
    if offset < 0:
        raise UnreadableError(f"its voxels begin at byte {offset}", ODD_HEADER)
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise UnreadableError(f"has the unknown data type {error}", ODD_HEADER) from error
    header = _with_unit_quaternion(kind.header_class(raw))  # here nibabel checks and mends it
    return header, offset + math.prod(shape) * dtype.itemsize


def _with_unit_quaternion(header: nibabel.Nifti1Header) -> nibabel.Nifti1Header:
    """The header with its quaternion no longer than 1, as the NIfTI library reads it.

    Files keep three of its four numbers, in float32 and often rounded before; nibabel refuses
    them if their length exceeds 1 by more than 2e-7.

    Raises:
        UnreadableError: it is longer than rounding can make it, and the affine depends on it.
    """
    names = ("quatern_b", "quatern_c", "quatern_d")
    length_2 = sum(float(header[name]) ** 2 for name in names)
    if not length_2 > 1:
        return header
    if length_2 > MAX_LENGTH_2:
        if header["qform_code"] and not header["sform_code"]:
            raise UnreadableError(f"its quaternion has the length {math.sqrt(length_2):.6g}, not "
                                  f"up to 1", ODD_HEADER)
        return header
    for name in names:
        header[name] = float(header[name]) / math.sqrt(length_2)
    return header


def _voxels(header: nibabel.Nifti1Header, content: bytearray) -> np.ndarray:
    """The scaled values: a view of the content if the header has no scale."""
    raw = np.ndarray(header.get_data_shape(), header.get_data_dtype(), content,
                     header.get_data_offset(), order="F")
    return _scaled(header, raw)


def _scaled(header: nibabel.Nifti1Header, raw: np.ndarray) -> np.ndarray:
    slope, inter = header.get_slope_inter()
    if slope is None:
        return raw
    return apply_read_scaling(raw, np.float64(slope), np.float64(inter))
