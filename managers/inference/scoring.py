"""Scoring whole volumes, and writing the results."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.nifti.native_files import in_ras_order, write_label_map
from metrics import TOLERANCE_MM, summarise
from networks import SideOutputs
from reports import (
    CasePlanes,
    CaseView,
    case_picture,
    case_planes,
    case_view,
    grey_window,
    per_case_csv,
    summary_table,
    write_views,
)
from reports.html.views import FILE as VIEWS
from reports.scores import ROWS
from reports.volumes import FILE as VOLUMES
from reports.volumes import write_volumes
from system.files import read_json, sha256_of, write_bytes, write_json

from ..compute.distributed import Processes
from .case_scores import case_scores, case_volumes
from .predictor import Predictor
from .segment import SegmentedCase, segment_resampled

RANKS = ("best", "median", "worst")

Row = dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """Rows of per_case.csv, their summary, and what pictures and report show of the cases.

    Attributes:
        volumes: of `case_volumes`, with "case_id".
        views: of all cases, for report.html, where there is one.
        planes: of the best, median and worst case, by case id.
    """

    rows: list[Row]
    summary: dict[str, Any]
    volumes: Sequence[Row] = ()
    views: Sequence[CaseView] = ()
    planes: dict[str, CasePlanes] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The summary for the terminal."""
        return summary_table(self.summary)


def score(predictor: Predictor, volumes: Iterable[dict[str, Any]], num_volumes: int,
          class_names: Sequence[str], processes: Processes,
          segment: Callable[[Predictor, dict[str, Any]], SegmentedCase] = segment_resampled,
          paper_metrics: bool = False, predictions_dir: Path | None = None,
          progress: bool = False, tolerance_mm: float = TOLERANCE_MM) -> Scores:
    """Segment and score volumes one after another (see `case_scores`).

    Several processes score their shares, and each returns the scores of all.

    Args:
        volumes: this process's share, as data.preprocessing gives them.
        num_volumes: how many these are.
        segment: on which grid: `segment_resampled`, or `segment_native` of the cases' files.
        predictions_dir: where to write label maps on that grid; None for nowhere.
        tolerance_mm: of surface Dice.
    """
    num_of_all = num_volumes * processes.world_size
    scored: list[tuple[list[Row], list[Row], CaseView]] = []
    planes: dict[str, CasePlanes] = {}
    for volume in tqdm(volumes, total=num_volumes, desc="scoring", unit="case",
                       disable=not progress):
        case = segment(predictor, volume)
        rows = case_scores(case.prediction, case.label, case.grid.affine, case.spacing_mm,
                           class_names, paper_metrics, tolerance_mm)
        volumes_ml = case_volumes(case.prediction, case.label, case.grid.affine, class_names)
        view, planes[case.case_id] = _shown(case, num_of_all)
        who = {"case_id": case.case_id}
        scored.append(([who | row for row in rows], [who | row for row in volumes_ml], view))
        if predictions_dir is not None:
            write_label_map(predictions_dir / f"{case.case_id}.nii.gz", case.predicted_values,
                            case.grid)
        del case  # its volumes, while the next case is segmented
    all_rows, all_volumes_ml, views = [], [], []
    for rows, volumes_ml, view in processes.in_order(scored):
        all_rows += rows
        all_volumes_ml += volumes_ml
        views.append(view)
    summary = summarise(all_rows, class_names) | {"parameters": _num_parameters(predictor)}
    return Scores(all_rows, summary, all_volumes_ml, views,
                  _planes_to_draw(all_rows, planes, processes))


def _num_parameters(predictor: Predictor) -> int:
    """Parameters of the network that predicts: without the heads, which only training uses."""
    network = predictor.network
    if isinstance(network, SideOutputs):
        network = network.network
    return sum(parameter.numel() for parameter in network.parameters())


def _shown(case: SegmentedCase, num_cases: int) -> tuple[CaseView, CasePlanes]:
    """What the report and the picture of a case show."""
    volumes, spacing_mm = in_ras_order((case.image, case.label, case.prediction), case.grid)
    window = grey_window(case.image)
    return (case_view(case.case_id, *volumes, spacing_mm, window, num_cases),
            case_planes(*volumes, spacing_mm, window))


def _planes_to_draw(rows: Sequence[Row], planes: dict[str, CasePlanes],
                    processes: Processes) -> dict[str, CasePlanes]:
    """The planes of the best, median and worst case, whichever process has scored them."""
    drawn = {case_id for case_id, _ in best_median_worst(rows).values()}
    mine = {case_id: planes[case_id] for case_id in drawn & planes.keys()}
    of_all: dict[str, CasePlanes] = {}
    for found in processes.in_order([mine]):
        of_all |= found
    return of_all


def best_median_worst(rows: Sequence[Row]) -> dict[str, tuple[str, float]]:
    """Best, median and worst case by mean foreground Dice: {"best": (case id, Dice), ...}."""
    per_case: dict[str, list[float]] = {}
    for row in rows:
        per_case.setdefault(row["case_id"], []).append(row["dice"])
    means = {}
    for case_id, values in per_case.items():
        means[case_id] = 0.0
        if np.isfinite(values).any():
            means[case_id] = float(np.nanmean(values))
    ranked = sorted(means.items(), key=lambda item: (-item[1], item[0]))
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}


def publish_scores(folder: Path, scores: Scores, about: dict[str, Any],
                   class_names: Sequence[str]) -> list[Path]:
    """Replace a run's scores and pictures of a group of cases by these; the pictures' paths.

    Args:
        about: "group", the checkpoint and whatever else summary.json shall say.
    """
    retract_scores(folder, about["group"])
    pictures = draw_cases(folder, scores, class_names, about["group"])
    write_scores(folder, scores, about)  # last: it says that all of it is there
    return pictures


def draw_cases(folder: Path, scores: Scores, class_names: Sequence[str],
               group: str) -> list[Path]:
    """Pictures of the best, median and worst case, label and prediction side by side."""
    paths = []
    for rank, (case_id, dice) in best_median_worst(scores.rows).items():
        path = folder / "pictures" / f"{group}_{rank}_{case_id}.png"
        case_picture(path, scores.planes[case_id], class_names,
                     title=f"{case_id}: {rank} of {scores.summary['num_cases']} {group} cases, "
                           f"Dice {dice:.3f}")
        paths.append(path)
    return paths


def retract_scores(folder: Path, group: str) -> None:
    """Remove the signs of an earlier evaluation before a new one is written.

    summary.json is removed first here and written last in `write_scores`: where it exists, all
    files are of its evaluation.
    """
    (folder / "summary.json").unlink(missing_ok=True)
    (folder / "report.html").unlink(missing_ok=True)
    for picture in (folder / "pictures").glob(f"{group}_*.png"):
        if picture.name.startswith(tuple(f"{group}_{rank}_" for rank in RANKS)):
            picture.unlink()


def write_scores(folder: Path, scores: Scores, about: dict[str, Any]) -> None:
    """Write per_case.csv, the report's volumes and, at the end, summary.json of this evaluation.

    They replace those of an earlier one; evaluations.jsonl keeps the summary of each.

    Args:
        about: group, checkpoint and the like, for the summary.
    """
    (folder / "summary.json").unlink(missing_ok=True)
    per_case_csv(folder / "per_case.csv", scores.rows)
    (folder / VOLUMES).unlink(missing_ok=True)
    if scores.volumes:
        write_volumes(folder, scores.volumes)
    if scores.views:
        write_views(folder / VIEWS, scores.views)
    summary = about | scores.summary | {ROWS: sha256_of(folder / "per_case.csv")}
    history = folder / "evaluations.jsonl"
    before = b""
    if history.exists():
        before = history.read_bytes()  # kept as it is, damaged or not
    write_bytes(history, before + f"{json.dumps(summary)}\n".encode())
    write_json(folder / "summary.json", summary)


PREDICTIONS = "predictions.json"  # of a run: what each label map of --save_predictions is of


def retract_predictions(folder: Path, case_ids: Iterable[str]) -> None:
    """Record that the label maps of these cases are about to be replaced."""
    _update_predictions(folder, dict.fromkeys(case_ids))


def note_predictions(folder: Path, case_ids: Iterable[str], about: dict[str, Any]) -> None:
    """Record that the label maps of these cases are written, and from which weights."""
    _update_predictions(folder, dict.fromkeys(case_ids, about))


def _update_predictions(folder: Path, changes: dict[str, dict[str, Any] | None]) -> None:
    path = folder / PREDICTIONS
    known = {}
    if path.is_file():
        known = read_json(path)
    known |= changes
    write_json(path, {case_id: about for case_id, about in known.items() if about is not None})
