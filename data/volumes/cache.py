"""Prepared volumes on disk, keyed by everything that determines them.

An entry's name is a digest of the content of the case's files, the settings, this code and the
versions of the packages that do the work. So after any change a new entry is made beside the old
one; a cache may be deleted at any time, even while it is in use.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from system import ROOT
from system.once import compares_checksums

from ..sets.cases import Case
from ..sets.datasets import Dataset
from ..sets.intensities import INTENSITIES
from .cache_entries import FOLDER, Volume, is_intact, open_cache, read_entry, write_entry

FORMAT = 2  # of the entries
PACKAGES = ("monai", "nibabel", "numpy", "torch")
CODE = ("nifti/images.py", "nifti/nifti_stream.py", "sets/intensities.py", "volumes/distances.py",
        "volumes/prepared.py", "volumes/transforms.py")  # of data/


def recipe_of(dataset: Dataset, img_size: tuple[int, int, int] | None,
              distance_unit: str | None) -> dict[str, Any]:
    """Everything that determines a volume except its files, as JSON values."""
    recipe = {
        "format": FORMAT, "versions": [version(name) for name in PACKAGES],
        "code": [_digest(ROOT / "data" / name) for name in CODE],
        "num_channels": len(dataset.channels), "spacing_mm": dataset.spacing_mm,
        "label_values": sorted(dataset.label_values.items()),
        "intensity": INTENSITIES[dataset.intensity](dataset.window),
    }
    if img_size is not None:
        recipe |= {"img_size": img_size, "padding_mode": dataset.padding_mode,
                   "background": dataset.augmentation.negative > 0,
                   "centres": dataset.augmentation.centres}
    if distance_unit is not None:
        recipe |= {"distance_unit": distance_unit, "num_classes": dataset.num_classes,
                   "edt": version("edt")}
    return recipe


def volume_key(case: Case, recipe: dict[str, Any]) -> str:
    """The name of a case's entry, 32 hexadecimal digits; reads all files but decodes none."""
    images = [_digest(path) for path in case.images]
    made_of = [images, case.label and _digest(case.label), case.channel_first, recipe]
    return hashlib.blake2b(json.dumps(made_of).encode(), digest_size=16).hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class DiskVolumes(Sequence):
    """Volumes of a cache on disk, mapped each time they are used.

    Holds names only, so no voxel is sent to loader processes, and memory does not grow with the
    number of cases. An entry that is missing or damaged is made again.

    Args:
        folder: of the cache; the entries are in a folder of their own in it.
        keys: of the cases; see `volume_key`.
        prepare: makes a case's volume.
    """

    def __init__(self, folder: Path, cases: Sequence[Case], keys: Sequence[str],
                 prepare: Callable[[Case], Volume]):
        self.cases, self.prepare = list(cases), prepare
        self.entries = [folder / FOLDER / key for key in keys]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Volume:
        try:
            volume = read_entry(self.entries[index])
        except (OSError, ValueError):
            return self._made(index)  # not read back: it may be deleted again meanwhile
        return volume | {"case_id": self.cases[index].case_id}

    def has(self, index: int) -> bool:
        """Whether a volume's entry exists and is intact.

        One process per machine reads every byte; others only compare the lengths of its files.
        """
        if compares_checksums():
            return is_intact(self.entries[index])
        try:
            read_entry(self.entries[index])
        except (OSError, ValueError):
            return False
        return True

    def make(self, index: int) -> None:
        """Write the entry of a volume.

        Raises:
            ValueError: the folder cannot be written, or is not of a cache.
        """
        self._made(index)

    def _made(self, index: int) -> Volume:
        """Prepare the volume, write its entry, and return the volume in memory."""
        entry, volume = self.entries[index], self.prepare(self.cases[index])
        try:
            open_cache(entry.parent)
            write_entry(entry, volume)
        except OSError as error:
            raise ValueError(f"--cache disk: {entry.parent} cannot be written ({error.strerror}). "
                             f"Choose another --cache_dir, or keep the volumes in memory with "
                             f"--cache memory.") from error
        return volume
