"""Volumes of NIfTI files, turned to the orientation in which slices are tiled.

Arrays are (rows, cols, slices) as those of `data.deeplesion`: rows run to the patient's back,
columns to the left, slices to the feet.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations

from configs.dataset_json import NIFTI_SUFFIXES

from .nifti_stream import READ_ERRORS, read_nifti

AXCODES = ("P", "L", "I")
# Label maps are no images to learn from; so they are named by MSD, MM-WHS, BraTS, LiTS and KiTS.
LABEL_FOLDERS, LABEL_ENDINGS, LABEL_WORD = "labels", ("_label", "_seg"), "segmentation"


@dataclass(frozen=True)
class NiftiVolume:
    """One NIfTI file.

    Attributes:
        name: of what is made of it.
        files: the file.
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

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Values (rows, cols, slices) as the file scales them, and affine (4, 4) in mm.

        Raises:
            ValueError: the file is damaged, no volume, or has values that are not finite.
        """
        path = self.files[0]
        try:
            file, _ = read_nifti(path)
            values = np.asanyarray(file.dataobj)
        except READ_ERRORS as error:
            raise _damaged(path, error) from error
        _, affine, turn = _layout(file, path)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{path}: holds {values.dtype} values, not one real number per voxel")
        bad = int(values.size - np.isfinite(values).sum()) if values.dtype.kind == "f" else 0
        if bad:
            raise ValueError(f"{path}: {bad} voxels are NaN or infinite")
        return orientations.apply_orientation(values.reshape(values.shape[:3]), turn), affine


def _header(path: Path) -> nibabel.Nifti1Image:
    try:
        return nibabel.load(path)
    except READ_ERRORS as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    what = " ".join(str(error).split())[:200] or type(error).__name__
    return ValueError(f"{path}: cannot be read ({what})")


def _layout(file: nibabel.Nifti1Image,
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

    A volume is named by its path below `root`, less the suffix, with _ for separators and blanks.
    Hidden files are left out, and label maps: folders named labels*, names that end in _label or
    _seg or have "segmentation" in them.

    Raises:
        ValueError: no volume, or two of one name.
    """
    found: dict[str, Path] = {}
    clashes: list[str] = []
    num_labels = 0
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = Path(folder).relative_to(root)
        of_labels = any(part.lower().startswith(LABEL_FOLDERS) for part in inside.parts)
        for file in sorted(names):
            suffix = next((end for end in NIFTI_SUFFIXES if file.endswith(end)), None)
            if suffix is None or file.startswith("."):
                continue
            stem = file.removesuffix(suffix)
            if of_labels or stem.endswith(LABEL_ENDINGS) or LABEL_WORD in stem:
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
        labels = f" but {num_labels} label map(s)" if num_labels else ""
        raise ValueError(f"{root}: holds no NIfTI volumes ({' or '.join(NIFTI_SUFFIXES)})"
                         f"{labels}.")
    return [NiftiVolume(name, (found[name],)) for name in sorted(found)], num_labels
