"""What a file is, by its first bytes, and how to convert it to one that can be read.

People rename files, download error pages in place of archives, and copy whole scanner exports; the
ending then says little.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel

from configs.nifti_names import is_nifti_name
from system.text_files import printable

LOOKED_AT = 200     # files of a folder whose bytes are looked at
FIRST_BYTES = 544  # of a file: a NIfTI-2 header and its extender
GZIP_MAGIC = b"\x1f\x8b"
DICOM_REMEDY = "convert its series to NIfTI with dcm2niix (dcm2niix -z y -o OUT FOLDER)"
_EXPORT = "export it as .nii.gz"
_UNPACK = "unpack it first"
# Group, element and value representation of what a DICOM file without its preamble begins with.
_BARE_DICOM = tuple(group + element for group in (b"\x02\x00", b"\x08\x00")
                    for element in (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00",
                                    b"\x12\x00", b"\x16\x00", b"\x18\x00"))
_BEGINNINGS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    ((b"NRRD",), "is an NRRD file", f"{_EXPORT} (3D Slicer, or SimpleITK)"),
    ((b"ObjectType", b"NDims"), "is a MetaImage", f"{_EXPORT} (3D Slicer, or SimpleITK)"),
    ((b"\x89HDF", b"CDF\x01", b"CDF\x02"), "is an HDF5, MINC or NetCDF file", _EXPORT),
    ((b"\x93NUMPY",), "is a NumPy array", f"{_EXPORT} with its affine (nibabel)"),
    ((b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"GIF8"), "is a picture",
     "give the volume that it was made of"),
    ((b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"),
     "is another kind of archive", _UNPACK),
    ((b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML", b"<?xml"), "is a web page",
     "the download went wrong; download it again"),
    ((b"version https://git-lfs",), "is a pointer of Git LFS, not the file", "run git lfs pull"),
)


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        found: for a message, such as "is DICOM".
        remedy: how to make it a file that can be read.
    """

    found: str
    remedy: str


def is_dicom(block: bytes) -> bool:
    """Whether the first bytes are those of a DICOM file, with its preamble or without."""
    return block[128:132] == b"DICM" or block[:4] in _BARE_DICOM


def nifti_kind(block: bytes) -> type[nibabel.Nifti1Image] | None:
    """The NIfTI image class whose header unpacked bytes begin with."""
    for kind in (nibabel.Nifti1Image, nibabel.Nifti2Image):
        if kind.header_class.may_contain_header(block):
            return kind
    return None


def foreign_kind(block: bytes) -> FileKind | None:
    """What kind of file this is, if not NIfTI, by its first (unpacked) bytes; None if unknown."""
    if is_dicom(block):
        return FileKind("is DICOM", DICOM_REMEDY)
    for beginnings, found, remedy in _BEGINNINGS:
        if block.startswith(beginnings):
            return FileKind(found, remedy)
    return None


def kind_of_file(path: Path) -> FileKind | None:
    """What a file is that has no NIfTI name; None if neither its name nor its bytes tell.

    Never blocks: only regular files are opened.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            block = file.read(FIRST_BYTES)
    except OSError:
        return None
    ending = path.suffix.lower()
    if is_dicom(block) or ending in (".dcm", ".dicom", ".ima") or path.name.upper() == "DICOMDIR":
        return FileKind("is DICOM", DICOM_REMEDY)
    if ending in (".hdr", ".img"):
        return FileKind("is half of an .hdr/.img pair", "convert it to .nii.gz (nibabel, FSL)")
    packed = block.startswith(GZIP_MAGIC)
    if packed:
        block = _unpacked(block)
    if nifti_kind(block) is not None:
        if is_nifti_name(path.name):
            return None
        ending = ".nii.gz" if packed else ".nii"
        return FileKind("is NIfTI by its content", f"rename it so that it ends in {ending}")
    return foreign_kind(block)


def _unpacked(block: bytes) -> bytes:
    """The unpacked beginning of a gzip stream; empty if it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(block, FIRST_BYTES)
    except zlib.error:
        return b""


def first_foreign(folder: Path) -> tuple[Path, FileKind] | None:
    """The first file in a folder or below of a known kind that cannot be read; None if none is."""
    looked_at = 0
    for inside, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            if not name.startswith("."):
                kind = kind_of_file(Path(inside, name))
                if kind is not None:
                    return Path(inside, name), kind
            looked_at += 1
            if looked_at == LOOKED_AT:
                return None
    return None


def foreign_hint(folder: Path) -> str:
    """A blank and a sentence on `first_foreign`; empty if there is none."""
    found = first_foreign(folder)
    if found is None:
        return ""
    path, kind = found
    return f" {printable(str(path.relative_to(folder)))} {kind.found}: {kind.remedy}."
