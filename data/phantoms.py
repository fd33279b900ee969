"""Phantoms: seeded synthetic cases in the layout, geometry and intensities of the real sets.

They let the whole pipeline run with no download and are what the tests train on. Field of view
with a chosen size: hearts keep about 150 x 150 x 130 mm, so voxels grow as the size shrinks, up to
3 mm, below which (and never finer than the scanner's own voxels) the anatomy shrinks with the
field of view; the brain and hippocampus sets keep their 1 mm voxels, so a small size shrinks the
anatomy and a large hippocampus size shows more of its surroundings. All structures are always in
view. Nothing heavy is imported before a case is made: the command line reads PHANTOMS for its
choices.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MIN_SIZE = 16
RECORD = "phantoms.json"  # says which files are phantoms: only those are ever overwritten
_HEART_FOV_MM, _HEART_MAX_VOXEL_MM = (150.0, 150.0, 130.0), 3.0
_BRAIN_FOV_MM = (165.0, 195.0, 150.0)
_HIPPOCAMPUS_FOV_MM = (33.0, 44.0, 30.0)
_HEART_LABELS = {
    0: "background", 205: "myocardium of the left ventricle", 420: "left atrium",
    500: "left ventricle", 550: "right atrium", 600: "right ventricle",
    820: "ascending aorta", 850: "pulmonary artery",
}


@dataclass(frozen=True)
class Phantom:
    """How one set lies on disk, and the size and voxels of its scanner."""

    folder: str  # below the output; "" for none
    image_path: str  # {case_id} is filled in
    label_path: str
    case_id: str  # {number} is filled in
    first: int  # number of the first case
    stride: float  # mean step of the numbers: the hippocampus set has gaps
    labels: dict[int, str]
    modalities: tuple[str, ...]
    size: tuple[int, int, int] | None  # None: drawn per case
    voxel_mm: tuple[float, float, float]
    decathlon: bool  # whether a dataset.json goes with it


def _mmwhs(modality: str, size: tuple[int, int, int], voxel_mm: float) -> Phantom:
    """Return the layout of one half of MM-WHS, as its authors distribute it."""
    return Phantom(
        "", "imagesTraining/{case_id}_image.nii.gz", "labelsTraining/{case_id}_label.nii.gz",
        modality + "_train_{number}", 1001, 1, _HEART_LABELS, (modality.upper(),),
        size, (voxel_mm,) * 3, False,
    )


PHANTOMS: dict[str, Phantom] = {
    "mmwhs-ct": _mmwhs("ct", (512, 512, 240), 0.35),
    "mmwhs-mr": _mmwhs("mr", (288, 288, 160), 0.9),
    "msd-brats": Phantom(
        "Task01_BrainTumour", "imagesTr/{case_id}.nii.gz", "labelsTr/{case_id}.nii.gz",
        "BRATS_{number:03d}", 1, 1,
        {0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"},
        ("FLAIR", "T1w", "t1gd", "T2w"), (240, 240, 155), (1.0, 1.0, 1.0), True,
    ),
    "hippocampus": Phantom(
        "Task04_Hippocampus", "imagesTr/{case_id}.nii.gz", "labelsTr/{case_id}.nii.gz",
        "hippocampus_{number:03d}", 1, 1.5, {0: "background", 1: "Anterior", 2: "Posterior"},
        ("MRI",), None, (1.0, 1.0, 1.0), True,
    ),
}


def _phantom(dataset: str) -> Phantom:
    if dataset not in PHANTOMS:
        raise ValueError(f"No phantom for dataset {dataset!r}; choose from {', '.join(PHANTOMS)}.")
    return PHANTOMS[dataset]


def _checked_size(size: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if size is None:
        return None
    if len(size) != 3 or any(axis != int(axis) or axis < MIN_SIZE for axis in size):
        raise ValueError(
            f"--size {' '.join(map(str, size))}: expected three whole numbers of voxels of at "
            f"least {MIN_SIZE}, or the thinnest structures would vanish."
        )
    return tuple(int(axis) for axis in size)


def case_id_of(dataset: str, index: int) -> str:
    """Return the name of case `index` (from 0), numbered as the real set is."""
    phantom = _phantom(dataset)
    number = phantom.first + math.ceil(index * phantom.stride)
    return phantom.case_id.format(number=number)


def _heart_affine(
    rng: np.random.Generator, size: tuple[int, int, int], finest_mm: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return affine (4, 4) and field of view (3,) in mm; never RAS, sometimes a little oblique."""
    import numpy as np
    from scipy.spatial.transform import Rotation

    fov_mm = np.array(_HEART_FOV_MM) * rng.uniform(0.97, 1.08)
    spacing_mm = np.clip(fov_mm / size, finest_mm, _HEART_MAX_VOXEL_MM)
    flips = ((-1, -1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, -1))
    signs = flips[rng.integers(len(flips))]
    degrees = rng.uniform(-5, 5, 3) * (rng.random() < 0.4)
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag(signs * spacing_mm)
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    return affine, spacing_mm * size


def _geometry(
    dataset: str, rng: np.random.Generator, size: tuple[int, int, int] | None
) -> tuple[tuple[int, int, int], np.ndarray, float]:
    """Return size in voxels, affine (4, 4) and how much the anatomy is shrunk (0 to 1]."""
    import numpy as np

    phantom = PHANTOMS[dataset]
    # Drawn even if a size is given, so that the rest of the case does not depend on it.
    drawn = np.clip(rng.normal((36, 50, 36), (2, 3, 4)).round(), (31, 40, 24), (43, 59, 47))
    size = size or phantom.size or tuple(drawn.astype(int).tolist())
    if dataset.startswith("mmwhs"):
        affine, fov_mm = _heart_affine(rng, size, phantom.voxel_mm)
        return size, affine, float(min(1.0, *(fov_mm / _HEART_FOV_MM)))
    if dataset == "msd-brats":
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[1, 3] = size[1] - 1
        return size, affine, float(min(1.0, *(np.array(size) / _BRAIN_FOV_MM)))
    affine = np.eye(4)
    affine[:3, 3] = 1
    return size, affine, float(min(1.0, *(np.array(size) / _HIPPOCAMPUS_FOV_MM)))


def make_case(
    dataset: str, index: int, size: tuple[int, int, int] | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make case `index` of a seed: image (X, Y, Z[, C]), label (X, Y, Z), affine (4, 4) in mm.

    Raises:
        ValueError: unknown dataset, negative index or seed, or a size too small.
    """
    _phantom(dataset)
    size = _checked_size(size)
    if index < 0 or seed < 0:
        raise ValueError(f"Case index ({index}) and seed ({seed}) must not be negative.")
    import numpy as np

    from data import phantom_shapes as shapes

    # Three streams: more voxels need more noise, and must not change the anatomy.
    entropy = [seed, index, zlib.crc32(dataset.encode())]
    streams = np.random.SeedSequence(entropy).spawn(3)
    grid_rng, scene_rng, scan_rng = (np.random.default_rng(stream) for stream in streams)
    size, affine, shrink = _geometry(dataset, grid_rng, size)
    draw_scene, scan = shapes.SCENES[dataset]
    scene = draw_scene(scene_rng)
    center = (np.array(size) - 1) / 2 + grid_rng.uniform(-0.02, 0.02, 3) * size
    linear = scene.pose @ affine[:3, :3] / shrink
    tissue, shading = shapes.render(scene, size, np.column_stack([linear, -linear @ center]))
    image = scan(scan_rng, tissue, shading, scene.signal.astype(np.float32))
    label = scene.labels[tissue].astype(np.int16 if dataset.startswith("mmwhs") else np.uint8)
    if dataset == "hippocampus" and grid_rng.random() < 0.03:
        label = label.astype(np.float32)  # a few of the real ones are
    return image, label, affine


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; data folders are shared.
        os.umask(umask := os.umask(0))
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _nifti_bytes(volume: np.ndarray, affine: np.ndarray) -> bytes:
    """Return a .nii.gz whose bytes depend on nothing but its content."""
    import gzip

    import nibabel

    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    return gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)


def _recorded(folder: Path) -> set[str]:
    """Return the files of a folder that are known to be phantoms."""
    record = folder / RECORD
    if not record.is_file():
        return set()
    try:
        return set(json.loads(record.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        return set()


def _make_room(folder: Path, phantom: Phantom, overwrite: bool) -> None:
    """Refuse a folder that holds cases; with `overwrite` remove those that are phantoms.

    Raises:
        ValueError: the folder holds cases that must stay; nothing was removed.
    """
    found = [path for pattern in (phantom.image_path, phantom.label_path)
             for path in sorted((folder / pattern).parent.glob("[!.]*.nii*"))]
    found += [path for path in [folder / "dataset.json"] if phantom.decathlon and path.exists()]
    ours = _recorded(folder)
    foreign = [path for path in found if path.relative_to(folder).as_posix() not in ours]
    if foreign or (found and not overwrite):
        hint = "choose another --output"
        if not foreign:
            hint += " or replace them with --overwrite"
        elif overwrite:
            hint += f": --overwrite replaces phantoms only, and {foreign[0].name} is not one"
        raise ValueError(f"{folder} already holds cases ({len(found)} files); {hint}.")
    for path in found:
        path.unlink()


def _dataset_json(phantom: Phantom, ids: list[str]) -> bytes:
    """Return the Decathlon's description of a task."""
    content = {
        "name": phantom.folder.split("_")[1],
        "description": "Synthetic phantoms in the layout of the Medical Segmentation Decathlon",
        "reference": "none: no patient data",
        "licence": "none",
        "release": "phantoms",
        "tensorImageSize": "4D" if len(phantom.modalities) > 1 else "3D",
        "modality": {str(number): name for number, name in enumerate(phantom.modalities)},
        "labels": {str(value): name for value, name in phantom.labels.items()},
        "numTraining": len(ids),
        "numTest": 0,
        "training": [{"image": "./" + phantom.image_path.format(case_id=case_id),
                      "label": "./" + phantom.label_path.format(case_id=case_id)}
                     for case_id in ids],
        "test": [],
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def make_phantoms(
    dataset: str,
    output: str | os.PathLike,
    num_cases: int,
    size: tuple[int, int, int] | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> list[str]:
    """Write the first `num_cases` cases of a seed in the set's own layout; return their ids.

    Raises:
        ValueError: wrong arguments, or the output already holds cases that must stay.
    """
    phantom, size = _phantom(dataset), _checked_size(size)
    if num_cases < 1:
        raise ValueError(f"--cases {num_cases}: at least 1 case is needed.")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must not be negative.")
    folder = Path(output) / phantom.folder
    if any(path.exists() and not path.is_dir() for path in (Path(output), folder)):
        raise ValueError(f"--output {output}: is a file, a folder is needed.")
    _make_room(folder, phantom, overwrite)
    ids = [case_id_of(dataset, index) for index in range(num_cases)]
    patterns = (phantom.image_path, phantom.label_path)
    paths = [[pattern.format(case_id=case_id) for pattern in patterns] for case_id in ids]
    # First of all, so that what an interrupted run left can be overwritten too.
    record = {"dataset": dataset, "seed": seed, "size": size,
              "files": sum(paths, ["dataset.json"] if phantom.decathlon else [])}
    _write_whole(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    if phantom.decathlon:
        _write_whole(folder / "dataset.json", _dataset_json(phantom, ids))
    from tqdm import tqdm

    for index, pair in enumerate(tqdm(paths, desc=dataset, unit="case", disable=not progress)):
        image, label, affine = make_case(dataset, index, size, seed)
        for path, volume in zip(pair, (image, label), strict=True):
            _write_whole(folder / path, _nifti_bytes(volume, affine))
    return ids
