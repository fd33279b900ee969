"""Phantoms: seeded synthetic cases in the layout, geometry and intensities of the real sets."""

import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

from system.files import read_json, write_bytes, write_text

from .layouts import MIN_SIZE, PHANTOMS, Phantom

RECORD = "phantoms.json"  # says which files are phantoms: only those are ever overwritten


def _phantom(dataset: str) -> Phantom:
    if dataset not in PHANTOMS:
        raise ValueError(f"No phantom for dataset {dataset!r}; choose from {', '.join(PHANTOMS)}.")
    return PHANTOMS[dataset]


def checked_size(size: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
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


def make_case(
    dataset: str, index: int, size: tuple[int, int, int] | None = None, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Make case `index` of a seed: arrays image (X, Y, Z[, C]), label (X, Y, Z), affine (4, 4).

    Raises:
        ValueError: unknown dataset, negative index or seed, or a size too small.
    """
    _phantom(dataset)
    size = checked_size(size)
    if index < 0 or seed < 0:
        raise ValueError(f"Case index ({index}) and seed ({seed}) must not be negative.")
    from .case import draw_case  # only now: the command line reads PHANTOMS for --help

    return draw_case(dataset, index, size, seed)


def _nifti_bytes(volume: Any, affine: Any) -> bytes:
    """Return a .nii.gz of arrays (X, Y, Z[, C]) and (4, 4) that depends on nothing else."""
    import nibabel

    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    return gzip.compress(image.to_bytes(), compresslevel=3, mtime=0)


def _recorded(folder: Path) -> set[str]:
    """Return the files of a folder that are known to be phantoms."""
    try:
        return set(read_json(folder / RECORD)["files"])
    except (ValueError, KeyError, TypeError):
        return set()


def make_room(folder: Path, found: list[Path], overwrite: bool) -> None:
    """Refuse a folder in which cases were found; with `overwrite` remove them if all are phantoms.

    Raises:
        ValueError: the folder holds cases that must stay; nothing was removed.
    """
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


def _cases_in(folder: Path, phantom: Phantom) -> list[Path]:
    """Return the files of a folder that lie where a set's cases lie."""
    found = []
    for pattern in (phantom.image_path, phantom.label_path):
        found += sorted((folder / pattern).parent.glob("[!.]*.nii*"))
    if phantom.decathlon and (folder / "dataset.json").exists():
        found.append(folder / "dataset.json")
    return found


def _description(phantom: Phantom, ids: list[str]) -> dict[str, Any]:
    """Return the Decathlon's description of a task."""
    training = []
    for case_id in ids:
        training.append({"image": "./" + phantom.image_path.format(case_id=case_id),
                         "label": "./" + phantom.label_path.format(case_id=case_id)})
    return {
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
        "training": training,
        "test": [],
    }


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
    phantom, size = _phantom(dataset), checked_size(size)
    if num_cases < 1:
        raise ValueError(f"--cases {num_cases}: at least 1 case is needed.")
    if seed < 0:
        raise ValueError(f"--seed {seed}: must not be negative.")
    folder = Path(output) / phantom.folder
    if any(path.exists() and not path.is_dir() for path in (Path(output), folder)):
        raise ValueError(f"--output {output}: is a file, a folder is needed.")
    make_room(folder, _cases_in(folder, phantom), overwrite)
    ids = [case_id_of(dataset, index) for index in range(num_cases)]
    files, paths = [], []
    if phantom.decathlon:
        files.append("dataset.json")
    for case_id in ids:
        pair = [phantom.image_path.format(case_id=case_id),
                phantom.label_path.format(case_id=case_id)]
        paths.append(pair)
        files += pair
    # Before the files, so that those of an interrupted run can be overwritten, too.
    record = {"dataset": dataset, "seed": seed, "size": size, "files": files}
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    if phantom.decathlon:
        description = json.dumps(_description(phantom, ids), indent=1)
        write_text(folder / "dataset.json", description + "\n")
    from tqdm import tqdm

    for index, pair in enumerate(tqdm(paths, desc=dataset, unit="case", disable=not progress)):
        image, label, affine = make_case(dataset, index, size, seed)
        for path, volume in zip(pair, (image, label), strict=True):
            write_bytes(folder / path, _nifti_bytes(volume, affine))
    return ids
