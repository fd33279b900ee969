"""Scoring whole volumes, and writing what came out."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from data import Case, Dataset, read_volume
from data.nifti.native_files import (
    in_ras_order,
    label_on_image_grid,
    plain_grid,
    values_of_classes,
    write_label_map,
)
from metrics import summarise
from reports import CaseView, case_picture, case_view, per_case_csv, summary_table, write_views
from reports.html.views import FILE as VIEWS
from reports.scores import ROWS
from system.files import read_json, sha256_of, write_bytes, write_json

from ..segmentation.segmentation_manager import SegmentationManager
from .case_scores import case_scores
from .logit_checks import naming
from .sliding_window import native_label_map

RANKS = ("best", "median", "worst")

Row = dict[str, Any]
Scored = tuple[list[Row], CaseView]


@dataclass(frozen=True)
class Scores:
    """Rows of per_case.csv and their summary."""

    rows: list[Row]
    summary: dict[str, Any]
    views: Sequence[CaseView] = ()  # of report.html, where there is one

    @property
    def table(self) -> str:
        """The summary for the terminal."""
        return summary_table(self.summary)


def score(manager: SegmentationManager, volumes: Iterable[dict[str, Any]], num_volumes: int,
          class_names: Sequence[str], device: torch.device, paper_metrics: bool = False,
          predictions_dir: Path | None = None, progress: bool = False) -> Scores:
    """Predict and score volumes one after another (see `case_scores`).

    Several processes score their shares, and each returns the scores of all.

    Args:
        volumes: as data.preprocessing gives them; this process's share of them.
        num_volumes: how many these are.
        predictions_dir: where label maps are written, on the volumes' own grid; None for no.
    """
    num_of_all = num_volumes * manager.processes.world_size
    scored: list[Scored] = []
    for volume in tqdm(volumes, total=num_volumes, desc="scoring", unit="case",
                       disable=not progress):
        with naming(volume["case_id"], manager.raw_model):
            label_map = manager.label_map(volume["image"], device)
        found = case_scores(label_map.numpy(), volume["label"][0].numpy(),
                            volume["affine"].numpy(), volume["spacing_mm"].tolist(), class_names,
                            paper_metrics)
        scored.append(([{"case_id": volume["case_id"]} | row for row in found], case_view(
            volume["case_id"], volume["image"][0].numpy(), volume["label"][0].numpy(),
            label_map.numpy(), volume["spacing_mm"].tolist(), num_of_all)))
        if predictions_dir is not None:
            write_label_map(predictions_dir / f"{volume['case_id']}.nii.gz", label_map.numpy(),
                            plain_grid(tuple(label_map.shape), volume["affine"].numpy()))
    return _scores_of_all(manager, scored, class_names)


def score_native(manager: SegmentationManager, volumes: Iterable[dict[str, Any]],
                 num_volumes: int, cases: Mapping[str, Case], dataset: Dataset,
                 device: torch.device,
                 predictions_dir: Path | None = None, progress: bool = False) -> Scores:
    """As `score`, but on the label files' own grid, against their own voxels, in mm.

    Args:
        volumes: as data.preprocessing gives them; this process's share of them.
        num_volumes: how many these are.
        cases: by case id.
        predictions_dir: where label maps are written on the files' grid, with the dataset's own
            label values; None for no.

    Raises:
        ValueError: a file has no way back from the resampled grid (a sheared affine).
    """
    manager.model.eval().to(device)
    window = manager.sliding_window(device, torch.device("cpu"))
    num_of_all = num_volumes * manager.processes.world_size
    scored: list[Scored] = []
    for volume in tqdm(volumes, total=num_volumes, desc="scoring", unit="case",
                       disable=not progress):
        case_id = volume["case_id"]
        label, grid = label_on_image_grid(cases[case_id], dataset.label_values,
                                          len(dataset.channels))
        try:
            with naming(case_id, manager.raw_model):
                label_map = native_label_map(volume, grid, window)
        except ValueError as error:
            raise ValueError(f"{case_id}: {error}; score it on the resampled grid.") from error
        found = case_scores(label_map, label, grid.affine, grid.spacing_mm, dataset.class_names)
        image = read_volume(cases[case_id].image, len(dataset.channels),
                            cases[case_id].channel_first)[0][0]
        turned, spacing_mm = in_ras_order((image, label, label_map), grid)
        scored.append(([{"case_id": case_id} | row for row in found],
                       case_view(case_id, *turned, spacing_mm.tolist(), num_of_all)))
        if predictions_dir is not None:
            write_label_map(predictions_dir / f"{case_id}.nii.gz",
                            values_of_classes(dataset.label_values)[label_map], grid)
    return _scores_of_all(manager, scored, dataset.class_names)


def _scores_of_all(manager: SegmentationManager, scored: list[Scored],
                   class_names: Sequence[str]) -> Scores:
    """The scores of every process's cases, from those of this one."""
    of_all = manager.processes.in_order(scored)
    rows = [row for case, _ in of_all for row in case]
    return Scores(rows, summarise(rows, class_names), [view for _, view in of_all])


def best_median_worst(rows: Sequence[Row]) -> dict[str, tuple[str, float]]:
    """Best, median and worst case by mean foreground Dice: {"best": (case id, Dice), ...}."""
    per_case: dict[str, list[float]] = {}
    for row in rows:
        per_case.setdefault(row["case_id"], []).append(row["dice"])
    means = {case_id: float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
             for case_id, values in per_case.items()}
    ranked = sorted(means.items(), key=lambda item: (-item[1], item[0]))
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def draw_cases(folder: Path, manager: SegmentationManager, scores: Scores,
               volume_of: Callable[[str], dict[str, Any]], class_names: Sequence[str], group: str,
               device: torch.device) -> list[Path]:
    """Pictures of the best, median and worst case, label and prediction side by side.

    Args:
        volume_of: case id -> volume as data.preprocessing gives it.
    """
    paths = []
    for rank, (case_id, dice) in best_median_worst(scores.rows).items():
        volume = volume_of(case_id)
        for stale in (folder / "pictures").glob(f"{group}_{rank}_*.png"):
            stale.unlink()  # of an earlier evaluation of this group
        path = folder / "pictures" / f"{group}_{rank}_{case_id}.png"
        case_picture(path, volume["image"][0].numpy(), volume["label"][0].numpy(),
                     manager.label_map(volume["image"], device).numpy(),
                     volume["spacing_mm"].tolist(), class_names,
                     title=f"{case_id}: {rank} of {scores.summary['num_cases']} {group} cases, "
                           f"Dice {dice:.3f}")
        paths.append(path)
    return paths


def retract_scores(folder: Path, group: str) -> None:
    """Take back what says that there are scores, before anything of new ones is written.

    summary.json goes first here and comes last in `write_scores`, so that where it is, all is of
    the evaluation that it speaks of.
    """
    (folder / "summary.json").unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)
    for picture in (folder / "pictures").glob(f"{group}_*.png"):
        if picture.name.startswith(tuple(f"{group}_{rank}_" for rank in RANKS)):
            picture.unlink()


def write_scores(folder: Path, scores: Scores, about: dict[str, Any]) -> None:
    """per_case.csv, volumes for the report and, at the end, summary.json of this evaluation.

    And a line in evaluations.jsonl, which keeps the summary of each. The files are those of the
    latest evaluation; `about` (group, checkpoint, ...) says which.
    """
    (folder / "summary.json").unlink(missing_ok=True)
    per_case_csv(folder / "per_case.csv", scores.rows)
    if scores.views:
        write_views(folder / VIEWS, scores.views)
    summary = about | scores.summary | {ROWS: sha256_of(folder / "per_case.csv")}
    history = folder / "evaluations.jsonl"
    before = history.read_bytes() if history.exists() else b""  # kept as it is, damaged or not
    write_bytes(history, before + f"{json.dumps(summary)}\n".encode())
    write_json(folder / "summary.json", summary)


PREDICTIONS = "predictions.json"  # of a run: what each label map of --save_predictions is of


def retract_predictions(folder: Path, case_ids: Iterable[str]) -> None:
    """Note that the label maps of these cases are about to be replaced."""
    _update_predictions(folder, dict.fromkeys(case_ids))


def note_predictions(folder: Path, case_ids: Iterable[str], about: dict[str, Any]) -> None:
    """Note that the label maps of these cases are there, and of what."""
    _update_predictions(folder, dict.fromkeys(case_ids, about))


def _update_predictions(folder: Path, changes: dict[str, dict[str, Any] | None]) -> None:
    path = folder / PREDICTIONS
    known = (read_json(path) if path.is_file() else {}) | changes
    write_json(path, {case_id: about for case_id, about in known.items() if about is not None})
