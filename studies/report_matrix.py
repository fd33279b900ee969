"""The report of a study: its runs, tables, comparisons and pictures in the study's folder."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import experiment_dir
from managers.runs.folder import resumptions
from managers.runs.state import ABSENT, FINISHED
from metrics import compare
from metrics.repeats import mean_over_runs
from reports import per_case_csv
from reports.html.experiments import training_seconds
from reports.studies.numbers import (
    METRICS,
    Arm,
    Runs,
    arm_lines,
    average_gain,
    gain_lines,
    paired_runs,
)
from reports.studies.study_page import COMPLETE, MISSING, PARTIAL, UNSCORED, study_page
from reports.studies.study_picture import gains_picture
from system.files import write_json, write_text
from system.json_files import read_object

from .comparison_files import remove_comparisons, write_comparison_files
from .gather import Progress, rows_of_arms
from .plans.matrix import StudyPlan
from .plans.planned import PlannedRun

Row = dict[str, Any]


def write_report(plan: StudyPlan, progress: Mapping[str, Progress]) -> str:
    """Write report.md, its tables as CSV and JSON, and pictures; returns the page.

    The comparison of each arm with the baseline, per class, and the differences of its cases are
    in comparisons/.
    """
    folder = plan.folder
    arms = rows_of_arms(plan, _in_tables_order(plan), progress)
    runs = [_run_line(run, progress[run.name]) for run in plan.runs]
    (folder / "report.md").unlink(missing_ok=True)  # written again when all is of this report
    per_case_csv(folder / "runs.csv", [
        {key: value for key, value in run.items() if key != "command"} for run in runs])
    remove_comparisons(folder / "comparisons", "*_against_*")
    _write_comparisons(folder / "comparisons", arms, plan.study.methods[0].name)
    results = {"study": dataclasses.asdict(plan.study), "runs": runs,
               "environments": _environments(plan)}
    chosen = any(run.settings.val_every < run.settings.epochs for run in plan.runs)
    return write_tables(folder, results, arms, chosen)


def write_tables(folder: Path, results: Mapping[str, Any], arms: Mapping[Arm, Runs],
                 chosen: bool) -> str:
    """Write table.csv, gains.csv, gains.png, results.json and report.md; returns the page.

    Args:
        results: "study", "runs" and "environments" of results.json; the rest is computed here.
        chosen: whether best.model is one of several epochs that were validated.
    """
    study = results["study"]
    published, baseline = study["published"], study["methods"][0]["name"]
    lines, gains = arm_lines(arms), gain_lines(arms, baseline)
    average = {}
    if published is not None:
        for metric in METRICS:
            average[metric] = average_gain(gains, published["method"], metric)
    _write_or_remove(folder / "table.csv", lines)
    _write_or_remove(folder / "gains.csv", gains)
    if gains:
        gains_picture(folder / "gains.png", gains, published, study["title"])
    else:
        (folder / "gains.png").unlink(missing_ok=True)
    write_json(folder / "results.json", results | {"table": lines, "gains": gains,
                                                   "average_gain": average})
    page = study_page(study["title"], results["runs"], lines, gains, published,
                      results["environments"], study["group"], chosen,
                      study.get("protocol", ()))
    write_text(folder / "report.md", page)
    return page


def _in_tables_order(plan: StudyPlan) -> list[PlannedRun]:
    """By dataset, network, method, in the study's order."""
    study = plan.study
    methods = [method.name for method in study.methods]

    def place(run: PlannedRun) -> tuple[int, ...]:
        dataset, network, method = run.arm
        return (study.datasets.index(dataset), study.networks.index(network),
                methods.index(method), run.settings.fold, study.seeds.index(run.settings.seed))

    return sorted(plan.runs, key=place)


def _write_or_remove(path: Path, rows: list[Row]) -> None:
    """Write a table; without rows, remove the one of an earlier report."""
    if rows:
        per_case_csv(path, rows)
    else:
        path.unlink(missing_ok=True)


def _write_comparisons(folder: Path, arms: Mapping[Arm, Any], baseline: str) -> None:
    for (dataset, network, method), pairs in paired_runs(arms, baseline).items():
        before = mean_over_runs({run: pair[0] for run, pair in pairs.items()})
        after = mean_over_runs({run: pair[1] for run, pair in pairs.items()})
        name = f"{dataset}_{network}_{method}"
        write_comparison_files(folder / f"{name}_against_{baseline}", compare(before, after),
                               (f"{dataset}_{network}_{baseline}", before), (name, after), METRICS)


def _run_line(run: PlannedRun, progress: Progress) -> Row:
    if progress.state == ABSENT:
        state = MISSING
    elif progress.state != FINISHED:
        state = PARTIAL
    else:
        state = COMPLETE if progress.is_gathered else UNSCORED
    environment = _environment(run)
    minutes = training_seconds(experiment_dir(run.settings.experiment))
    if minutes is not None:
        minutes /= 60
    dataset, network, method = run.arm
    return {"name": run.name, "dataset": dataset, "network": network, "method": method,
            "fold": run.settings.fold, "seed": run.settings.seed, "state": state,
            "epochs_done": progress.epochs, "epochs": run.settings.epochs,
            "minutes": minutes,
            "command": ["python", *environment.get("command", [])] if environment else None}


def _environment(run: PlannedRun) -> Row | None:
    path = experiment_dir(run.settings.experiment) / "environment.json"
    return read_object(path) if path.is_file() else None


ABOUT = ("python", "packages", "platform", "device", "device_name", "cuda", "threads", "cpus",
         "processes", "git")


def _environments(plan: StudyPlan) -> list[Row]:
    """Every machine, set of versions and commit that runs started or resumed on, each once."""
    found: dict[str, set[str]] = {}
    for run in plan.runs:
        first = _environment(run)
        folder = experiment_dir(run.settings.experiment)
        for one in [first, *resumptions(first, folder)] if first else []:
            about = json.dumps({name: one.get(name) for name in ABOUT}, sort_keys=True)
            found.setdefault(about, set()).add(run.name)
    return [{"runs": len(names)} | json.loads(about) for about, names in found.items()]
