"""From CT series to tiles, over whole folders: convert, re-space, cut; in parallel, resumable.

OUTPUT/Images_nifti/*.nii.gz            int16 HU as in the PNG files   (nifti, all --keep)
OUTPUT/Images_respaced/*.nii.gz         int16, clipped, isotropic      (respace, all --keep)
OUTPUT/DL_patches_v2/*_dep*.nii         tiles                          (tile, all)
OUTPUT/SSL_data_deeplesion.txt          the tiles of the last run, one per line
OUTPUT/too_short.txt, failures.txt      volumes without tiles, and why
OUTPUT/without_air.txt                  volumes that may be no CT in HU
OUTPUT/preparation.json                 what each folder was made from, and how
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from configs.nifti_names import is_nifti_name, is_visible_nifti
from system.exit import StatedError
from system.files import read_json, write_json, write_text
from system.locks import held
from system.workers import for_each

from ..checks.hounsfield import LARGEST_OFFSET
from ..checks.passed_over import passed_over_below
from ..sets.cases import Problem
from .ct_volumes import find_nifti
from .deeplesion import IMAGES_DIR, INFO_FILE, SliceRun, find_runs, is_slice_name
from .job import NIFTI, RESPACED, TILES, Job, Outcome, Source, prepare_volume

LIST, TOO_SHORT, FAILURES = "SSL_data_deeplesion.txt", "too_short.txt", "failures.txt"
AIRLESS = "without_air.txt"
RECORD = "preparation.json"
STEPS = {"nifti": (NIFTI,), "respace": (RESPACED,), "tile": (TILES,), "all": (TILES,)}


@dataclass
class Preparation:
    """The result of a step over a folder; lists are sorted.

    Attributes:
        folders: the folders written to.
        made, there: names of volumes made now, and of those that existed already.
        tiles: file names.
        too_short: name and depth in slices of volumes that give no tile.
        failed: name -> reason.
        airless: names of volumes without air, which may not be CT in HU.
        sheared: names of volumes whose axes are not at right angles, but treated as if they were.
        passed_over: unused files of the input.
        num_labels: label maps that were left out.
    """

    folders: list[Path]
    made: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    tiles: list[str] = field(default_factory=list)
    too_short: list[tuple[str, int]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    airless: list[str] = field(default_factory=list)
    sheared: list[str] = field(default_factory=list)
    passed_over: list[Problem] = field(default_factory=list)
    num_labels: int = 0

    @property
    def cuts_tiles(self) -> bool:
        """Whether tiles are made."""
        return any(folder.name == TILES for folder in self.folders)

    def add(self, outcome: Outcome) -> None:
        """Add one volume's outcome to the lists."""
        if outcome.status == "failed":
            self.failed[outcome.name] = outcome.reason
            return
        if self.cuts_tiles and not outcome.tiles:
            self.too_short.append((outcome.name, outcome.depth))
        elif outcome.status == "made":
            self.made.append(outcome.name)
        else:
            self.there.append(outcome.name)
        self.tiles += outcome.tiles
        if not outcome.has_air:
            self.airless.append(outcome.name)
        if outcome.is_sheared:
            self.sheared.append(outcome.name)


def prepare(step: str, source_dir: str | Path, output_dir: str | Path, num_workers: int = 1, *,
            spacing_mm: float = 1.0, rescale: tuple[float, float] | None = None,
            hu_offset: int = 0, keep_intermediate: bool = False, overwrite: bool = False,
            progress: bool = True) -> Preparation:
    """Run one of STEPS over a folder; existing intact output of the same source is kept.

    Args:
        source_dir: a DeepLesion folder for "nifti", one of NIfTI volumes for "respace" and
            "tile", either of them for "all".
        output_dir: see the module's docstring.
        spacing_mm: edge of the isotropic voxels.
        rescale: percentiles that are mapped to HU_RANGE first, for images that are not CT.
        hu_offset: added to the values of every volume; for CT that is not in HU.
        keep_intermediate: in "all", also write the stages between PNG files and tiles.
        overwrite: make everything again, whatever settings it was made with.

    Raises:
        ValueError: wrong arguments or folders, or output of other settings; nothing was done.
        StatedError: the disk is full or a worker died; finished output stays.
    """
    source_dir, output_dir = Path(source_dir), Path(output_dir)
    _check_arguments(source_dir, output_dir, num_workers, spacing_mm, rescale, hu_offset)
    sources, failed, num_labels = _sources(step, source_dir, output_dir)
    folders = STEPS[step]
    if step == "all" and keep_intermediate:
        folders = (RESPACED, TILES)
        if sources and isinstance(sources[0], SliceRun):
            folders = (NIFTI, RESPACED, TILES)
    settings = {"input": str(source_dir.resolve())}
    if step in ("respace", "all"):
        settings |= {"spacing_mm": spacing_mm, "rescale": rescale and list(rescale)}
    if hu_offset:
        settings |= {"hu_offset": hu_offset}
    _check_record(output_dir, folders, settings, overwrite)  # before anything is written there
    output_dir.mkdir(parents=True, exist_ok=True)
    taken = (f"OUTPUT {output_dir}: another preprocess_deeplesion.py writes there now. Wait for it "
             f"or stop it, or give another folder.")
    with held(output_dir / ".lock", taken):
        record = _check_record(output_dir, folders, settings, overwrite)
        write_json(output_dir / RECORD, record | dict.fromkeys(folders, settings))

        result = Preparation([output_dir / folder for folder in folders], num_labels=num_labels)
        if _reads_slices(step, source_dir):
            result.passed_over = passed_over_below(source_dir / IMAGES_DIR, is_slice_name)
        else:
            result.passed_over = passed_over_below(source_dir, is_nifti_name)
        result.failed |= failed
        jobs = [Job(source, output_dir, folders, step in ("respace", "all"), spacing_mm, rescale,
                    overwrite, hu_offset) for source in sources]
        done = for_each(prepare_volume, jobs, num_workers, step, "volume", progress)
        with closing(done) as outcomes:
            for outcome in outcomes:
                if outcome.disk_full:
                    raise StatedError(f"{outcome.name}: {outcome.reason}. Make room on the disk "
                                      f"and run the same command again: what is done is kept.")
                result.add(outcome)
        result.airless += _known_as_airless(output_dir, result.there)
        _write_lists(output_dir, result)
    return result


def _check_arguments(source_dir: Path, output_dir: Path, num_workers: int, spacing_mm: float,
                     rescale: tuple[float, float] | None, hu_offset: int) -> None:
    problems = []
    if not source_dir.is_dir():
        what = "no such folder"
        if source_dir.exists():
            what = "is a file, give the folder"
        problems.append(f"INPUT {source_dir}: {what}.")
    if output_dir.exists() and not output_dir.is_dir():
        problems.append(f"OUTPUT {output_dir}: is a file, a folder is needed.")
    if num_workers < 1:
        problems.append(f"--workers {num_workers}: at least 1 is needed.")
    if not 0 < spacing_mm < np.inf:
        problems.append(f"--spacing {spacing_mm:g}: must be a size in mm above 0.")
    if rescale is not None and not 0 <= rescale[0] < rescale[1] <= 100:
        problems.append(f"--rescale {rescale[0]:g} {rescale[1]:g}: two percentiles from 0 to 100 "
                        f"are needed, the lower one first.")
    if rescale is not None and hu_offset:
        problems.append(f"--rescale and --hu_offset {hu_offset}: percentiles are mapped whatever "
                        f"the offset; give one.")
    if abs(hu_offset) > LARGEST_OFFSET:
        problems.append(f"--hu_offset {hu_offset}: must be between {-LARGEST_OFFSET} and "
                        f"{LARGEST_OFFSET}.")
    if problems:
        raise ValueError("\n".join(problems))


def _sources(step: str, source_dir: Path,
             output_dir: Path) -> tuple[Sequence[Source], dict[str, str], int]:
    """Volumes; series that give none, with the reason; and the number of label maps left out."""
    if _reads_slices(step, source_dir):
        return *find_runs(source_dir), 0
    if output_dir.resolve().is_relative_to(source_dir.resolve()):
        raise ValueError(f"OUTPUT {output_dir}: lies in INPUT {source_dir}, so its files would be "
                         f"taken as input; choose another.")
    volumes, num_labels = find_nifti(source_dir)
    return volumes, {}, num_labels


def _reads_slices(step: str, source_dir: Path) -> bool:
    """Whether the input is a DeepLesion folder rather than one of NIfTI volumes."""
    of_deeplesion = any((source_dir / name).exists() for name in (IMAGES_DIR, INFO_FILE))
    return step == "nifti" or (step == "all" and of_deeplesion)


def _check_record(output_dir: Path, folders: Sequence[str], settings: dict[str, Any],
                  overwrite: bool) -> dict[str, Any]:
    """The record of the output so far; folders of other settings are refused.

    Raises:
        ValueError: a folder holds volumes of other settings or of unknown origin.
    """
    path = output_dir / RECORD
    record = {}
    if path.exists():
        record = read_json(path)
        if not isinstance(record, dict):
            raise ValueError(f"{path}: is not the record of a preparation; choose another OUTPUT, "
                             f"or remove it and use --overwrite.")
    else:
        foreign = [name for name in (LIST, TOO_SHORT, FAILURES) if (output_dir / name).exists()]
        if foreign:
            raise ValueError(f"{output_dir}: holds {foreign[0]} but no {RECORD}, so this script "
                             f"did not write it; choose another OUTPUT.")
    if overwrite:
        return record
    problems = []
    for folder in folders:
        if not _holds_volumes(output_dir / folder):
            continue
        before = record.get(folder)
        if before is None:
            problems.append(f"  {output_dir / folder} holds volumes that this script did not make")
        elif before != settings:
            changed = [f"{name} {before.get(name)}, now {value}"
                       for name, value in settings.items() if before.get(name) != value]
            problems.append(f"  {output_dir / folder} was made with {'; '.join(changed)}")
    if problems:
        raise ValueError(
            f"{output_dir} is not an output of the same command:\n" + "\n".join(problems)
            + f"\nChoose another OUTPUT, or make everything again with --overwrite. If the input "
              f"has only been moved, correct its path in {path}.")
    return record


def _holds_volumes(folder: Path) -> bool:
    return folder.is_dir() and any(is_visible_nifti(path.name) for path in folder.iterdir())


def _known_as_airless(output_dir: Path, there: Sequence[str]) -> list[str]:
    """Volumes that existed, and so were not read, but that the last run listed as airless."""
    path = output_dir / AIRLESS
    if not path.is_file():
        return []
    named = path.read_text(encoding="utf-8").splitlines()
    return sorted(set(named) & set(there))


def _write_lists(output_dir: Path, result: Preparation) -> None:
    """Sort the result and write its lists; files of empty lists are removed."""
    for names in (result.made, result.there, result.tiles, result.too_short, result.airless,
                  result.sheared):
        names.sort()
    lists = {FAILURES: [f"{name}: {reason}" for name, reason in sorted(result.failed.items())],
             AIRLESS: result.airless}
    if result.cuts_tiles:
        lists |= {LIST: [f"{TILES}/{name}" for name in result.tiles],
                  TOO_SHORT: [f"{name} {depth}" for name, depth in result.too_short]}
    for name, lines in lists.items():
        if lines:
            write_text(output_dir / name, "".join(f"{line}\n" for line in lines))
        else:
            (output_dir / name).unlink(missing_ok=True)
