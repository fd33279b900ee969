"""Write the reports of studies/results, and docs/results.md, from the scores that lie there.

python scripts/update_results.py             every study, and the page
python scripts/update_results.py FOLDER ...  the reports of these

The statistics change with the code (metrics/repeats.py); the scores do not. Nothing is trained.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(ROOT))

from reports import per_case_csv, read_per_case  # noqa: E402
from reports.studies.numbers import METRICS, Arm, arm_lines, average_gain, gain_lines  # noqa: E402
from reports.studies.results_page import results_page  # noqa: E402
from reports.studies.study_page import COMPLETE, study_page  # noqa: E402
from reports.studies.study_picture import gains_picture  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.files import read_json, write_json, write_text  # noqa: E402 - the line above

RESULTS = ROOT / "studies" / "results"
PAGE = ROOT / "docs" / "results.md"
P_VALUES = ("p", "p_holm", "p_level")


def scored_arms(folder: Path, runs: list[dict[str, Any]]) -> dict[Arm, dict[tuple[int, int], Any]]:
    """By arm and (fold, seed), the rows of the cases that a complete run was scored on."""
    arms: dict[Arm, dict[tuple[int, int], Any]] = {}
    for run in runs:
        if run["state"] == COMPLETE:
            arm = (run["dataset"], run["network"], run["method"])
            rows = read_per_case(folder / f"{run['name']}_cases.csv")
            arms.setdefault(arm, {})[run["fold"], run["seed"]] = rows
    return arms


def update(folder: Path) -> None:
    """Write report.md, table.csv, gains.csv, gains.png and results.json of one study."""
    results = read_json(folder / "results.json")
    study, runs = results["study"], results["runs"]
    arms = scored_arms(folder, runs)
    baseline = study["methods"][0]["name"]
    lines, gains = arm_lines(arms), gain_lines(arms, baseline)
    published = study["published"]
    # Of one validated epoch, the last, no case chose anything.
    commands = [run["command"] for run in runs if run["command"]]
    chosen = not all(_validates_the_end_alone(command) for command in commands)
    write_text(folder / "report.md", study_page(
        study["title"], runs, lines, gains, published, results["environments"], study["group"],
        chosen))
    per_case_csv(folder / "table.csv", lines)
    per_case_csv(folder / "gains.csv", [
        line | {key: "" if line[key] is None else f"{line[key]:.4g}" for key in P_VALUES}
        for line in gains])
    gains_picture(folder / "gains.png", gains, published, study["title"])
    average = {} if published is None else {
        metric: average_gain(gains, published["method"], metric) for metric in METRICS}
    write_json(folder / "results.json", results | {"table": lines, "gains": gains,
                                                   "average_gain": average})


def _validates_the_end_alone(command: list[str]) -> bool:
    values = {flag: command[command.index(flag) + 1] for flag in ("--epochs", "--val_every")
              if flag in command}
    return len(values) == 2 and int(values["--val_every"]) >= int(values["--epochs"])


def main() -> None:
    parser = CommandLine(description=__doc__.splitlines()[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path)
    chosen = parser.parse_args().folders
    every = [path.parent for path in sorted(RESULTS.glob("*/results.json"))]
    for folder in chosen or every:
        update(folder)
        print(folder / "report.md")
    if not chosen:
        studies = [(folder.name, read_json(folder / "results.json")) for folder in every]
        write_text(PAGE, results_page(studies))
        print(PAGE)


if __name__ == "__main__":
    main()
