"""Volumes of NIfTI files, turned to the orientation in which slices are tiled.

Arrays are (rows, cols, slices) as in `data.preparation.deeplesion`: rows run to the patient's back,
columns to the left, slices to the feet.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations

from configs.nifti_names import NIFTI_SUFFIXES, split_nifti_name
from system.text_files import printable

from ..nifti.file_kinds import foreign_hint
from ..nifti.nifti_stream import NiftiFile, UnreadableError, read_header, read_nifti
from ..nifti.sheared_grids import is_sheared
from ..sets.case_names import name_fault

AXCODES = ("P", "L", "I")
MAX_NAME_BYTES = 255 - len("._dep1234.nii.12345678")  # a tile's temporary name adds that much
# Names of label maps, which are not to be learned from, in MSD, MM-WHS, BraTS, LiTS and KiTS.
LABEL_FOLDERS, LABEL_ENDINGS, LABEL_WORD = "labels", ("_label", "_seg"), "segmentation"


@dataclass(frozen=True)
class NiftiVolume:
    """One NIfTI file.

    Attributes:
        name: for the files that are made from it.
        files: the file itself.
    """

    name: str
    files: tuple[Path]

    def grid(self) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
        """Shape and spacing in mm along rows, cols, slices, from the header.

        Raises:
            ValueError: the file is damaged or no volume.
        """
        shape, affine, _ = _layout(_header(self.files[0]), self.files[0])
        return shape, tuple(nibabel.affines.voxel_sizes(affine).tolist())

    def is_sheared(self) -> bool:
        """Whether its axes are not at right angles, as with a gantry tilt; from the header.

        Raises:
            ValueError: the file is damaged or no volume.
        """
        shape, affine, _ = _layout(_header(self.files[0]), self.files[0])
        return is_sheared(affine, shape)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (rows, cols, slices) as the file scales them, and affine (4, 4) in mm.

        Raises:
            ValueError: the file is damaged, no volume, or has values that are not finite.
        """
        path = self.files[0]
        try:
            file, _ = read_nifti(path)
        except UnreadableError as error:
            raise _unreadable(path, error) from error
        values = file.dataobj
        _, affine, turn = _layout(file, path)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{path}: holds {values.dtype} values, not one real number per voxel")
        if values.dtype.kind == "f":
            bad = values.size - np.isfinite(values).sum()
            if bad:
                raise ValueError(f"{path}: {bad} voxels are NaN or infinite")
        return orientations.apply_orientation(values.reshape(values.shape[:3]), turn), affine


def _header(path: Path) -> NiftiFile:
    try:
        return read_header(path)
    except UnreadableError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: UnreadableError) -> ValueError:
    return ValueError(f"{path}: cannot be read ({error}); {error.remedy}")


def _layout(file: NiftiFile,
            path: Path) -> tuple[tuple[int, int, int], np.ndarray, np.ndarray]:
    """Shape (3,), affine (4, 4) and turn of a file in AXCODES."""
    shape = file.shape
    if len(shape) < 3 or np.prod(shape[3:]) != 1 or min(shape) < 1:
        raise ValueError(f"{path}: has shape {shape}, not that of one volume")
    affine = file.affine
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError(f"{path}: its affine is not that of a grid of voxels")
    turn = orientations.ornt_transform(orientations.io_orientation(affine),
                                       orientations.axcodes2ornt(AXCODES))
    turned = affine @ orientations.inv_ornt_aff(turn, shape[:3])
    order = np.argsort(turn[:, 0])
    return tuple(int(shape[axis]) for axis in order), turned, turn


def find_nifti(root: Path) -> tuple[list[NiftiVolume], int]:
    """The NIfTI volumes in a folder and below, sorted, and how many label maps were left out.

    A volume is named by its path below `root`, without the suffix and with _ for separators and
    blanks. Hidden files are left out, and so are label maps: those in folders named labels*, and
    those whose names end in _label or _seg or contain "segmentation".

    Raises:
        ValueError: no volume, two of one name, or a name that cannot be written.
    """
    found: dict[str, Path] = {}
    clashes: list[str] = []
    num_labels = 0
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        of_labels = any(part.lower().startswith(LABEL_FOLDERS) for part in inside.parts)
        for file in sorted(names):
            parts = split_nifti_name(file)
            if parts is None or file.startswith("."):
                continue
            stem = parts[0]
            if of_labels or stem.lower().endswith(LABEL_ENDINGS) or LABEL_WORD in stem.lower():
                num_labels += 1
                continue
            name = "_".join((inside / stem).as_posix().replace("/", " ").split())
            path = Path(folder, file)
            if name in found:
                clashes.append(f"  {found[name]} and {path}")
            found.setdefault(name, path)
    if clashes:
        raise ValueError(f"{root}: {len(clashes)} pair(s) of volumes would share a name; move or "
                         f"rename one of each:\n" + "\n".join(clashes))
    if not found:
        labels = ""
        if num_labels:
            labels = f" but {num_labels} label map(s)"
        raise ValueError(f"{root}: holds no NIfTI volumes ({' or '.join(NIFTI_SUFFIXES)})"
                         f"{labels}.{foreign_hint(root)}")
    unwritable = []
    for name, path in found.items():
        fault = name_fault(name, MAX_NAME_BYTES)
        if fault is not None:
            unwritable.append(f"  {printable(str(path))}: {fault}")
    if unwritable:
        raise ValueError(f"{root}: {len(unwritable)} volume(s) whose tiles could not be named; "
                         f"rename or move them:\n" + "\n".join(unwritable))
    return [NiftiVolume(name, (found[name],)) for name in sorted(found)], num_labels
