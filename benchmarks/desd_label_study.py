"""Does DeSD pre-training help when labels are few? Scratch against pre-trained, basic and DSD.

python benchmarks/desd_label_study.py --data phantoms --output study --quick
python benchmarks/desd_label_study.py --data hippocampus --hippocampus Task04_Hippocampus \\
    --output study

Pre-trains an encoder on unlabelled images, then fine-tunes a network on 5, 10 and 20 labelled cases
from scratch and from that encoder, with the scripts of the project; the same command goes on where
an interrupted one stopped. Arms share everything but the weights that they start from and the
method: labelled cases (the fewer are among the more), validation and test cases, seed (hence crops,
augmentation and the decoder's first weights), number of steps, learning rate and its schedule, and
the choice of best.model by validation Dice. The learning rate is not tuned for any of them.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path
from typing import Any

# Run as a file, Python puts benchmarks/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.study_settings import MAY_CHANGE, Study, study_of  # noqa: E402
from system.exit import LOGGER_NAME, StatedError, exit_with, log_to_console  # noqa: E402
from system.files import read_json, write_json, write_text  # noqa: E402
from system.json_files import read_lines  # noqa: E402


def begin(study: Study) -> None:
    """Make the study's folder, or refuse one of other settings.

    Raises:
        ValueError: the folder holds something else, or a study of other settings.
    """
    path = study.folder / "study.json"
    now = dataclasses.asdict(study)
    if path.is_file():
        before = read_json(path)
        now = {name: list(value) if isinstance(value, tuple) else value
               for name, value in now.items()}
        changed = [f"{name} {before.get(name)} -> {value}" for name, value in now.items()
                   if before.get(name) != value and name not in MAY_CHANGE]
        if changed:
            raise ValueError(f"{study.folder}: holds a study of other settings: "
                             f"{'; '.join(changed)}. Choose another --output.")
    elif study.folder.exists() and any(study.folder.iterdir()):
        raise ValueError(f"{study.folder}: exists and is no study; choose another --output.")
    write_json(path, now)
    handler = logging.FileHandler(study.folder / "study.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger(LOGGER_NAME).addHandler(handler)


def report(study: Study, source: Any, log: logging.Logger) -> None:
    """Write and show what the finished runs say: results.txt, .json, .png, .csv and others."""
    from benchmarks.study_plan import arms, run_folder
    from benchmarks.study_report import (
        arm_lines,
        difference_lines,
        study_picture,
        study_table,
    )
    from benchmarks.study_runs import scored
    from reports import per_case_csv, read_per_case

    found: dict[tuple[int, str, str], list[Any]] = {}
    for arm in arms(study):
        if scored(run_folder(study, arm), len(source.split.testing)):
            found.setdefault((arm.labels, arm.start, arm.method), []).append(
                (arm.seed, read_per_case(run_folder(study, arm) / "per_case.csv")))
    tables = {key: [rows for _, rows in of_arm] for key, of_arm in found.items()
              if len(of_arm) == len(study.seeds)}
    if not tables:
        log.info("no arm is finished: there is no table")
        return
    lines, differences = arm_lines(tables), difference_lines(tables)
    pretraining = _last_line(study.pretraining / "metrics.jsonl")
    table = study_table(lines, differences, [NOTE, *_told(pretraining)])
    folder = study.folder
    write_text(folder / "results.txt", table + "\n")
    per_case_csv(folder / "results.csv", lines)
    per_case_csv(folder / "cases.csv", [
        {"labels": labels, "start": start, "method": method, "seed": seed} | row
        for (labels, start, method), of_arm in found.items() for seed, rows in of_arm
        for row in rows])
    if differences:
        per_case_csv(folder / "differences.csv", differences)
    write_json(folder / "results.json", {
        "study": dataclasses.asdict(study), "pretraining": pretraining, "arms": lines,
        "differences": differences})
    study_picture(folder / "results.png", lines, differences,
                  f"{study.data}: DeSD pre-training of {study.arch}, {study.steps} steps of "
                  f"fine-tuning, {len(source.split.testing)} test cases")
    log.info(f"\n{table}\n\n{folder / 'results.png'}")


NOTE = """\
Mean and standard deviation over the test cases, each the mean over its classes and seeds, on the
label files' own grid, best.model. Differences are of the same case; 95 % CI: percentile bootstrap
over cases; over runs: t interval over the pairs of seeds, each with its own draw of labelled cases;
p: Wilcoxon signed-rank, two-sided; p Holm: corrected over the comparisons of a metric. "better" or
"worse" needs at least three pairs, p Holm below 0.05 and two intervals that leave out zero; "level"
is said where the 90 % t interval lies within 0.3 points of Dice. How much another pre-training
would change is in none of the intervals."""


def _last_line(path: Path) -> dict[str, Any] | None:
    lines = read_lines(path)
    return lines[-1] if lines else None


def _told(pretraining: dict[str, Any] | None) -> list[str]:
    """The end of the pre-training in a sentence."""
    if pretraining is None:
        return []
    told = ", ".join(f"{name} {pretraining[name]:.4g}" for name in
                     ("loss", "loss_ssl", "teacher_entropy", "kl", "feature_std")
                     if name in pretraining)
    return [f"Pre-training after {pretraining['epoch']} epochs: {told}."]


def main() -> None:
    study, show = study_of()
    from benchmarks.study_plan import SOURCES, all_tasks, arms, split_file, split_of
    from benchmarks.study_runs import run_tasks
    from data import write_splits

    source = SOURCES[study.data](study)
    tasks = all_tasks(study, source)
    if show:
        print("\n".join(shlex.join(["python", task.script, *task.arguments]) for task in tasks))
        return
    log = log_to_console()
    begin(study)
    for name, file in source.links.items():
        link = source.images / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(file)
    for arm in arms(study):
        write_splits(split_file(study, arm), [split_of(source, arm)])
    failures = run_tasks(tasks, study.folder / "logs")
    report(study, source, log)
    if failures:
        raise StatedError(f"{len(failures)} of {len(tasks)} steps failed or could not be run: "
                          f"{', '.join(failures)}. The same command tries them again.")


if __name__ == "__main__":
    exit_with(main)
