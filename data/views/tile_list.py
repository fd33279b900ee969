"""The list of tiles for pre-training, and one tile as an array."""

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from tqdm import tqdm

from configs.nifti_names import NIFTI_SUFFIXES, is_nifti_name
from system.once import compares_checksums
from system.text_files import listed_path, read_text

from ..nifti.file_kinds import nifti_kind
from ..nifti.images import not_finite_in_float32
from ..nifti.nifti_stream import is_packed, load_nifti
from ..preparation.marked_files import HEADER_BYTES, is_intact

NUM_THREADS = 16    # most of the time of a check is waiting for the disk
PER_TASK = 64
SHOWN = 10
HU_LIMIT = 1024
LOOKED_AT = 8


def read_tile_list(data_dir: str | Path, list_path: str | Path,
                   progress: bool = False) -> list[Path]:
    """The tiles that a list names, each checked by header, size and checksum, if it has one.

    A line holds a path below `data_dir`, or an absolute path; the rest of a line after white space
    is ignored, and so are blank lines. A tile is a .nii file with three axes (rows, cols, slices);
    .nii.gz works too, but takes several times as long to read, in every epoch. Looks at a few tiles
    throughout the list, and warns of values outside -1024..1024 HU, which re-spacing clips and a
    view does not.

    Args:
        progress: show a bar.

    Raises:
        ValueError: no folder, no list, an empty list, or tiles that cannot be used, all in one
            message.

    Differs from the authors' code: theirs concatenates folder and line as strings, stops at a
    blank line, and meets a missing or damaged tile in the middle of training.
    """
    data_dir, list_path = Path(data_dir), Path(list_path)
    problems = []
    if not data_dir.is_dir():
        problems.append(f"{data_dir}: is no folder; give the folder that the list's paths start "
                        f"from.")
    try:
        lines = read_text(list_path).splitlines()
    except OSError as error:
        problems.append(f"{list_path}: cannot be read ({error.strerror}); give the text file with "
                        f"a tile's path per line.")
    except ValueError as error:
        problems.append(f"{list_path}: {error}; give the list of the tiles, with a path per line.")
    else:
        paths = [listed_path(line.split(maxsplit=1)[0], data_dir) for line in lines
                 if line.strip()]
        if not paths:
            problems.append(f"{list_path}: names no tile; make the tiles again, or give another "
                            f"list.")
    if problems:
        raise ValueError("\n".join(problems))
    bad = _unusable(paths, progress)
    if bad:
        message = [f"{list_path}: {len(bad)} of {len(paths)} tiles cannot be used; make them "
                   f"again, or take their lines out of the list.", *bad[:SHOWN]]
        if len(bad) > SHOWN:
            message.append(f"  ... and {len(bad) - SHOWN} more")
        raise ValueError("\n".join(message))
    _warn_of_unclipped(list_path, paths)
    return paths


def read_tile(path: str | Path) -> np.ndarray:
    """Voxels (D, H, W) in HU: slice, row, column; an uncompressed int16 file is only mapped.

    The file's axes are (rows, cols, slices), whatever its affine says.

    Raises:
        RuntimeError: the file cannot be read, or values are not finite; the message names it.
    """
    try:
        tile = load_nifti(path).dataobj.transpose(2, 0, 1)
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{path}: cannot be read ({error})") from error
    bad = not_finite_in_float32(tile)
    if bad is not None:
        raise RuntimeError(f"{path}: {bad}")
    return tile


def tile_problem(path: Path) -> str | None:
    """What keeps a file from being a tile, by its header and its size; None if nothing does.

    A .nii file with a checksum, as preparations write them, is read whole, by one process per
    machine.
    """
    if not is_nifti_name(path.name):
        return f"is no {' or '.join(NIFTI_SUFFIXES)} file"
    try:
        packed = is_packed(path)
        with path.open("rb") as file:
            if packed:
                size, expected = _packed_sizes(file)
            else:
                size, expected = os.fstat(file.fileno()).st_size, _size_by_header(file)
                file.seek(0)
                if (size >= expected and compares_checksums()
                        and is_intact(file.read(HEADER_BYTES), file) is False):
                    return "is damaged: its checksum does not fit its content"
    except FileNotFoundError:
        return "does not exist"
    except EOFError:
        return "is truncated"
    except (OSError, zlib.error, HeaderDataError) as error:
        return f"cannot be read ({error})"
    except ValueError as error:
        return str(error)
    if size < expected:
        return f"is truncated: {size} of {expected} bytes"
    return None


def _size_by_header(file: BinaryIO) -> int:
    """The size in bytes that an open file must have by its header.

    Raises:
        ValueError: it is no file of one real number per voxel on three axes.
    """
    block = file.read(nibabel.Nifti2Header.sizeof_hdr)
    if not block:
        raise ValueError("is empty")
    image = nifti_kind(block)
    if image is None:
        raise ValueError("is no NIfTI file")
    kind = image.header_class
    header = kind(block[:kind.sizeof_hdr], check=False)
    if not header["magic"].item().startswith(b"n+"):
        raise ValueError("is no NIfTI file that holds its own voxels")
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"has shape {tuple(map(int, shape))}; expected (rows, cols, slices)")
    if dtype.kind not in "iuf":
        raise ValueError(f"holds {dtype} values; expected one real number per voxel")
    return header.get_data_offset() + prod(map(int, shape)) * dtype.itemsize


def _packed_sizes(file: BinaryIO) -> tuple[int, int]:
    """The size in bytes of an open .gz file once unpacked, and the size that it must have."""
    with gzip.open(file) as stream:
        expected = _size_by_header(stream)
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == expected % 2**32:
            return expected, expected
        # Truncated, or packed in several parts (the file's end gives the last one's size): count.
        stream.seek(0)
        size = 0
        while size < expected and (part := stream.read(1 << 20)):  # a bomb has no end
            size += len(part)
        return size, expected


def _unusable(paths: Sequence[Path], progress: bool) -> list[str]:
    """A line for each tile that cannot be used, in the list's order."""
    def check(first: int) -> list[str]:
        some = paths[first:first + PER_TASK]
        lines = []
        for path in some:
            problem = tile_problem(path)
            if problem is not None:
                lines.append(f"  {path}: {problem}")
        return lines

    def checked() -> Iterator[str]:
        with (ThreadPoolExecutor(NUM_THREADS) as pool,
              tqdm(total=len(paths), desc="checking tiles", disable=not progress) as bar):
            for found in pool.map(check, range(0, len(paths), PER_TASK)):
                bar.update(min(PER_TASK, len(paths) - bar.n))
                yield from found

    return list(checked())


def _warn_of_unclipped(list_path: Path, paths: Sequence[Path]) -> None:
    """Look at a few tiles, from the first to the last, for values that re-spacing clips."""
    some = sorted({round(index) for index in np.linspace(0, len(paths) - 1, LOOKED_AT)})
    for index in some:
        path = paths[index]
        try:
            tile = read_tile(path)
        except RuntimeError as error:
            raise ValueError(f"{error}; make the tile again.") from error
        low, high = float(tile.min()), float(tile.max())
        if not -HU_LIMIT <= low <= high <= HU_LIMIT:
            warnings.warn(f"{list_path}: {path.name} holds values from {low:g} to {high:g}; tiles "
                          f"for pre-training are in HU and clipped to {-HU_LIMIT}..{HU_LIMIT}, "
                          f"which nothing after re-spacing does.", stacklevel=3)
            return
