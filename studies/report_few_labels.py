"""The files of a study with few labels: its settings and splits, then tables and a picture."""

import dataclasses
from typing import Any

from configs import experiment_dir
from configs.study.few_labels import MAY_CHANGE, LabelStudy
from data import write_splits
from managers.runs.folder import OF_WORK_FOLDERS
from reports import per_case_csv
from reports.studies.few_labels import (
    arm_lines,
    difference_lines,
    few_labels_picture,
    few_labels_table,
)
from system.files import read_json, write_json, write_text
from system.json_files import read_lines

from .gather import gather, progress_of, rows_of_arms
from .plans.few_labels import FewLabelsPlan, splits_of

NOTE = """\
Mean and standard deviation over the test cases, each the mean over its classes and seeds, on the
label files' own grid, best.model. Differences are of the same case; 95 % CI: percentile bootstrap
over cases; over runs: t interval over the pairs of seeds, each with its own draw of labelled cases;
p: Wilcoxon signed-rank over cases, two-sided; p Holm and p runs Holm: over cases and of the t test
over runs, corrected over the comparisons of a metric. "better" or "worse" needs at least three
pairs, both below 0.05 and an interval over cases without zero; "level" needs a corrected p below
0.05 that the difference lies within 0.3 points of Dice. No interval includes the variation between
pre-trainings: there is only one."""
LOG = "study.log"
TOLD = ("loss", "loss_ssl", "teacher_entropy", "kl", "feature_std")


def check_folder(study: LabelStudy) -> None:
    """Refuse a folder that belongs to something else.

    Raises:
        ValueError: the folder holds something else, or a study of other settings.
    """
    path = study.folder / "study.json"
    if path.is_file():
        before = read_json(path)
        changed = [f"{name} {before.get(name)} -> {value}"
                   for name, value in _as_json(study).items()
                   if before.get(name) != value and name not in MAY_CHANGE]
        if changed:
            raise ValueError(f"{study.folder}: holds a study of other settings: "
                             f"{'; '.join(changed)}. Choose another --output.")
        return
    there = study.folder.iterdir() if study.folder.exists() else ()
    if any(path.name not in (*OF_WORK_FOLDERS, LOG) for path in there):
        raise ValueError(f"{study.folder}: exists and is no study; choose another --output.")


def begin(plan: FewLabelsPlan) -> None:
    """Write study.json and the splits, link the images, and gather what has been scored."""
    study, source = plan.study, plan.source
    write_json(study.folder / "study.json", _as_json(study))
    for link, file in source.links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)
    for path, split in splits_of(study, source).items():
        write_splits(path, [split])
    for run in plan.runs:
        folder = experiment_dir(run.settings.experiment)
        # Older versions of --discard_models left the scores in the run folder alone.
        if (folder / "metrics.jsonl").is_file() and not any(folder.glob("*.model")):
            gather(plan, run, models_are_gone=True)


def _as_json(study: LabelStudy) -> dict[str, Any]:
    values = dataclasses.asdict(study)
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()}


def write_report(plan: FewLabelsPlan) -> str | None:
    """Write results.txt, .json, .png, .csv, cases.csv and differences.csv; returns the table.

    None, and nothing is written, where no arm has all of its seeds.
    """
    study = plan.study
    found = rows_of_arms(plan, plan.runs, progress_of(plan))
    tables = {arm: list(of_arm.values()) for arm, of_arm in found.items()
              if len(of_arm) == len(study.seeds)}
    if not tables:
        return None
    folder = study.folder
    lines, differences = arm_lines(tables), difference_lines(tables)
    pretraining = read_lines(study.pretraining / "metrics.jsonl")
    last = pretraining[-1] if pretraining else None
    table = few_labels_table(lines, differences, [NOTE, *_told(last)])
    write_text(folder / "results.txt", table + "\n")
    per_case_csv(folder / "results.csv", lines)
    per_case_csv(folder / "cases.csv", [
        {"labels": labels, "start": start, "method": method, "seed": seed} | row
        for (labels, start, method), of_arm in found.items() for (_, seed), rows in of_arm.items()
        for row in rows])
    if differences:
        per_case_csv(folder / "differences.csv", differences)
    write_json(folder / "results.json", {
        "study": dataclasses.asdict(study), "pretraining": last, "arms": lines,
        "differences": differences})
    few_labels_picture(folder / "results.png", lines, differences,
                       f"{study.data}: DeSD pre-training of {study.arch}, {study.steps} steps of "
                       f"fine-tuning, {lines[0]['cases']} test cases")
    return table


def _told(pretraining: dict[str, Any] | None) -> list[str]:
    """The last epoch of the pre-training in a sentence."""
    if pretraining is None:
        return []
    values = [f"{name} {pretraining[name]:.4g}" for name in TOLD if name in pretraining]
    return [f"Pre-training after {pretraining['epoch']} epochs: {', '.join(values)}."]
