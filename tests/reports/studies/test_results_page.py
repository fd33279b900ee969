"""docs/results.md says what studies/results holds, verdicts apart from observations."""

import json
import re
from pathlib import Path

from reports.studies.results_page import results_page

ROOT = Path(__file__).resolve().parents[3]
ABSOLUTE = re.compile(r"""(?:^|[\s"'=(`])(/[\w.-]+/\S*)""", re.MULTILINE)


def test_the_page_is_that_of_the_results():
    folders = sorted(path.parent for path in (ROOT / "studies" / "results").glob("*/results.json"))
    studies = [(folder.name, json.loads((folder / "results.json").read_text(encoding="utf-8")))
               for folder in folders]
    written = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results_page(studies) == written, "run python scripts/update_results.py"


def test_recorded_results_have_no_paths_of_the_machine_that_made_them():
    assert ABSOLUTE.findall("--experiment /home/someone/a.exp") == ["/home/someone/a.exp"]
    assert ABSOLUTE.findall("--experiment experiments/a.exp 39/0/21") == []
    files = [path for folder in ("studies/results", "benchmarks/results", "models")
             for path in (ROOT / folder).rglob("*") if path.suffix in (".md", ".json", ".csv")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): ABSOLUTE.findall(path.read_text(encoding="utf-8"))[:3]
             for path in files}
    assert {name: paths for name, paths in found.items() if paths} == {}


def line(runs):
    return {"metric": "dice", "dataset": "d", "network": "n", "method": "dsd", "baseline": "basic",
            "mean_difference": 0.01, "ci_low": 0.005, "ci_high": 0.015, "run_low": None,
            "run_high": None, "runs": runs, "verdict": "better"}


def run(name, state, minutes):
    return {"name": name, "state": state, "minutes": minutes}


def test_runs_that_two_studies_report_are_told():
    studies = []
    for name, minutes in (("one", 10), ("two", 20)):
        runs = [run("both", "complete", 90), run("same_name", "complete", minutes)]
        studies.append((name, {"study": {"title": name}, "table": [], "gains": [], "runs": runs}))
    first, second = results_page(studies).split("## one\n")[1].split("## two\n")
    assert "Runs that [one](#one) has too: 1." in second and "has too" not in first


def test_two_pairs_of_runs_are_an_observation_and_three_have_a_verdict():
    arm = {"dataset": "d", "network": "n", "method": "dsd", "dice_mean": 0.8, "dice_std": 0.01,
           "hd95_mm_mean": 1.5, "runs": 3, "cases": 60}
    runs = [run("a", "complete", 90), run("b", "partial", 30), run("c", "missing", None)]
    few = {"study": {"title": "Few"}, "runs": runs, "table": [arm], "gains": [line(2), line(3)]}
    page = results_page([("few", few)])
    judged, observed = page.split("## Observations")
    assert "| +1.00 | +0.50 to +1.50 | - | 3 | better |" in judged
    assert "| +1.00 | +0.50 to +1.50 | - | 2 |" in observed and "better" not in observed
    assert "| d | n | dsd | 80.00 +- 1.00 | 1.50 | 3 | 60 |" in page
    assert "1 runs, 1.5 hours of training." in page
