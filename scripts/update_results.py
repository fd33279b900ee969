"""Write the reports of studies/results, and docs/results.md, from the scores in that folder.

python scripts/update_results.py             every study, and the page
python scripts/update_results.py FOLDER ...  the reports of these studies

Run it after a change of the statistics (metrics/repeats.py). Nothing is trained or scored.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(ROOT))

from reports import read_per_case  # noqa: E402 - the line above
from reports.studies.numbers import Arm  # noqa: E402
from reports.studies.results_page import results_page  # noqa: E402
from reports.studies.study_page import COMPLETE  # noqa: E402
from studies.report_matrix import write_tables  # noqa: E402
from system.command_line import CommandLine  # noqa: E402
from system.files import read_json, write_text  # noqa: E402

RESULTS = ROOT / "studies" / "results"
PAGE = ROOT / "docs" / "results.md"


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
    commands = [run["command"] for run in results["runs"] if run["command"]]
    # A run that validated its last epoch only has not chosen it by these cases.
    chosen = not all(_validates_the_end_alone(command) for command in commands)
    write_tables(folder, results, scored_arms(folder, results["runs"]), chosen)


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
