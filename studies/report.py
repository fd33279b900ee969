"""The report of a study: its runs, tables, comparisons and pictures in the study's folder."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import experiment_dir
from configs.study.study_plan import PlannedRun, StudyConfig
from managers.runs.folder import resumptions
from managers.runs.state import ABSENT, FINISHED
from metrics import compare, paired_values
from reports import (
    comparison_csv,
    comparison_picture,
    comparison_table,
    differences_csv,
    per_case_csv,
    read_per_case,
)
from reports.studies.numbers import METRICS, Arm, arm_lines, average_gain, gain_lines, paired_arms
from reports.studies.study_page import COMPLETE, MISSING, PARTIAL, UNSCORED, study_page
from reports.studies.study_picture import gains_picture
from system.files import write_json, write_text
from system.json_files import read_lines, read_object

from .execute import Progress, gather
from .folds import COMPARISON_ENDINGS

Row = dict[str, Any]


def write_report(config: StudyConfig, progress: Mapping[str, Progress]) -> str:
    """Write report.md, its tables as CSV and JSON, and pictures; returns the page.

    The comparison of each arm with the baseline, per class, and the differences of its cases are
    in comparisons/.
    """
    study, folder = config.study, config.folder
    arms: dict[Arm, dict[tuple[int, int], list[Row]]] = {}
    for run in _in_tables_order(config):
        if progress[run.name].state == FINISHED and gather(config, run):
            arms.setdefault((run.dataset, run.network, run.method), {})[run.fold, run.seed] = \
                read_per_case(folder / "cases" / f"{run.name}.csv")
    baseline = study.methods[0].name
    lines, gains = arm_lines(arms), gain_lines(arms, baseline)
    runs = [_run_line(run, progress[run.name]) for run in config.runs]
    environments = _environments(config)
    published = None if study.published is None else dataclasses.asdict(study.published)
    page = study_page(study.title, runs, lines, gains, published, environments,
                      study.group, any(one.settings.val_every < one.settings.epochs
                                       for one in config.runs))
    (folder / "report.md").unlink(missing_ok=True)  # written again when all is of this report
    per_case_csv(folder / "runs.csv", [
        {key: value for key, value in run.items() if key != "command"} for run in runs])
    _write_or_remove(folder / "table.csv", lines)
    _write_or_remove(folder / "gains.csv", [line | {
        key: "" if line[key] is None else f"{line[key]:.4g}" for key in ("p", "p_holm", "p_level")}
        for line in gains])
    average = {} if published is None else {
        metric: average_gain(gains, published["method"], metric) for metric in METRICS}
    write_json(folder / "results.json", {
        "study": dataclasses.asdict(study), "runs": runs, "table": lines, "gains": gains,
        "average_gain": average, "environments": environments})
    for path in (folder / "comparisons").glob("*_against_*"):  # perhaps of other runs
        if path.suffix in COMPARISON_ENDINGS and path.is_file():
            path.unlink()
    if gains:
        gains_picture(folder / "gains.png", gains, published, study.title)
        _write_comparisons(folder / "comparisons", arms, baseline)
    else:
        (folder / "gains.png").unlink(missing_ok=True)
    write_text(folder / "report.md", page)
    return page


def _in_tables_order(config: StudyConfig) -> list[PlannedRun]:
    """By dataset, network, method, in the study's order."""
    study = config.study
    methods = [method.name for method in study.methods]
    return sorted(config.runs, key=lambda run: (
        study.datasets.index(run.dataset), study.networks.index(run.network),
        methods.index(run.method), run.fold, study.seeds.index(run.seed)))


def _write_or_remove(path: Path, rows: list[Row]) -> None:
    """A table without a row has no header either; one of earlier runs must not stay."""
    if rows:
        per_case_csv(path, rows)
    else:
        path.unlink(missing_ok=True)


def _write_comparisons(folder: Path, arms: Mapping[Arm, Any], baseline: str) -> None:
    for arm, (before, after) in paired_arms(arms, baseline).items():
        names = [f"{arm[0]}_{arm[1]}_{method}" for method in (baseline, arm[2])]
        path = folder / f"{names[1]}_against_{baseline}"
        results = compare(before, after)
        write_text(f"{path}.txt", comparison_table(results, *names) + "\n")
        comparison_csv(f"{path}.csv", results)
        differences_csv(f"{path}_cases.csv", before, after)
        pairs = {metric: paired_values(before, after, metric) for metric in METRICS}
        comparison_picture(f"{path}.png", pairs, results,
                           f"A {names[0]}, B {names[1]}: {len(pairs['dice'].case_ids)} cases")


def _run_line(run: PlannedRun, progress: Progress) -> Row:
    state = (MISSING if progress.state == ABSENT else PARTIAL if progress.state != FINISHED
             else COMPLETE if progress.is_gathered else UNSCORED)
    environment = _environment(run)
    return {"name": run.name, "dataset": run.dataset, "network": run.network,
            "method": run.method, "fold": run.fold, "seed": run.seed, "state": state,
            "epochs_done": progress.epochs, "epochs": run.settings.epochs,
            "minutes": _minutes(experiment_dir(run.settings.experiment) / "timing.jsonl"),
            "command": ["python", *environment.get("command", [])] if environment else None}


def _minutes(path: Path) -> float | None:
    """The time of a run's epochs, without what comes before and after them."""
    if not path.is_file():
        return None
    return sum(line["seconds"] for line in read_lines(path, "seconds")) / 60


def _environment(run: PlannedRun) -> Row | None:
    path = experiment_dir(run.settings.experiment) / "environment.json"
    return read_object(path) if path.is_file() else None


ABOUT = ("python", "packages", "platform", "device", "device_name", "cuda", "threads", "cpus",
         "processes", "git")


def _environments(config: StudyConfig) -> list[Row]:
    """Every machine, set of versions and commit that runs began or went on with, each once."""
    found: dict[str, set[str]] = {}
    for run in config.runs:
        first = _environment(run)
        folder = experiment_dir(run.settings.experiment)
        for one in [first, *resumptions(first, folder)] if first else []:
            about = json.dumps({name: one.get(name) for name in ABOUT}, sort_keys=True)
            found.setdefault(about, set()).add(run.name)
    return [{"runs": len(names)} | json.loads(about) for about, names in found.items()]
