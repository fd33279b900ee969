"""docs/results.md: every study on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metrics.run_statistics import MIN_RUNS

from ..tables import spread_text
from .study_page import COMPLETE, interval_of, markdown_table, scaled, signed_text

HEAD = f"""\
# Results

Written by `python scripts/update_results.py` from [studies/results](../studies/results/), where
the scores of every case are. Dice in points (%), HD95 in mm; a difference is method - baseline of
the same case, fold and seed. "Over cases" is a bootstrap interval over cases, about these trained
networks; "over runs" is Student's t interval over pairs of runs, about the methods. A verdict
needs at least {MIN_RUNS} pairs of runs and holds after correction for the number of comparisons in
its study ([how](metrics.md)); a difference of fewer runs is an observation and is listed
separately. Negative results are reported as they came out.

Two comparisons of another kind have pages of their own:
[DeSD pre-training with few labels](../benchmarks/results/desd_label_study.md) and
[the real nnU-Net v2](../benchmarks/results/nnunet_v2.md) in as much processor time.
"""


def results_page(studies: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The page.

    Args:
        studies: of each the name of its folder in studies/results, and its results.json.
    """
    judged, observed = [], []
    for name, results in studies:
        for line in results["gains"]:
            if line["metric"] != "dice":
                continue
            row = _difference(name, line)
            if line["runs"] >= MIN_RUNS:
                judged.append([*row, line["verdict"]])
            else:
                observed.append(row)
    columns = ["study", "data, network", "difference", "Dice", "over cases", "over runs",
               "pairs of runs"]
    parts = [HEAD, "## Differences with a verdict", ""]
    parts += markdown_table([*columns, "verdict"], judged) if judged else ["None yet."]
    parts += ["", f"## Observations: fewer than {MIN_RUNS} pairs of runs", ""]
    parts += markdown_table(columns, observed) if observed else ["None."]
    for name, results in studies:
        parts += ["", *_study(name, results, _shared_runs(name, studies))]
    return "\n".join([*parts, ""])


def _difference(name: str, line: Mapping[str, Any]) -> list[str]:
    return [f"[{name}](#{name})", f"{line['dataset']}, {line['network']}",
            f"{line['method']} - {line['baseline']}",
            signed_text("dice", line["mean_difference"]),
            interval_of(line, "ci"), interval_of(line, "run"), str(line["runs"])]


def _complete_runs(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in results["runs"] if run["state"] == COMPLETE]


def _shared_runs(name: str, studies: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A sentence per earlier study that has some of the same runs, told by name and minutes."""
    results = dict(studies)
    mine = {(run["name"], run["minutes"]) for run in _complete_runs(results[name])}
    sentences = []
    for other, others in studies:
        if other == name:
            break
        both = mine & {(run["name"], run["minutes"]) for run in _complete_runs(others)}
        if both:
            sentences.append(f"Runs that [{other}](#{other}) has too: {len(both)}.")
    return sentences


def _study(name: str, results: Mapping[str, Any], shared: Sequence[str]) -> list[str]:
    runs = _complete_runs(results)
    hours = sum(run["minutes"] for run in runs if run["minutes"] is not None) / 60
    rows = []
    for arm in results["table"]:
        dice = spread_text(scaled("dice", arm["dice_mean"]), scaled("dice", arm["dice_std"]), 2)
        rows.append([arm["dataset"], arm["network"], arm["method"], dice,
                     f"{arm['hd95_mm_mean']:.2f}", str(arm["runs"]), str(arm["cases"])])
    folder = f"../studies/results/{name}"
    return [f"## {name}", "", f"{results['study']['title']}.", "",
            f"{len(runs)} runs, {hours:.1f} hours of training. "
            f"[Report with every test, machine, versions and command line]({folder}/report.md).",
            *shared, "",
            *markdown_table(["data", "network", "method", "Dice", "HD95", "runs", "cases"], rows),
            "", f"![differences and intervals]({folder}/gains.png)"]
