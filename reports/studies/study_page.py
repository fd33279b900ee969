"""A study as a page of Markdown: what ran, the papers' table, gains beside the published ones."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from metrics.repeats import BETTER, EQUIVALENT, LEVEL, MARGINS, NOT_SHOWN, VERDICTS, WORSE
from metrics.run_statistics import MIN_RUNS

from .numbers import METRICS, average_gain

Line = Mapping[str, Any]

_TITLES = {"dice": "Dice [%]", "hd95_mm": "HD95 [mm]", "msd_mm": "MSD [mm]"}
_GAINS = {"dice": "Dice [points]", "hd95_mm": "HD95 [mm]", "msd_mm": "MSD [mm]"}
COMPLETE, PARTIAL, MISSING, UNSCORED = "complete", "partial", "missing", "not scored"

NOTE = f"""\
Dice in %, distances in mm on the resampled grid, best.model of each run. A table entry is the mean
over runs (folds and seeds) of the mean over cases and classes, +- the sample standard deviation
between runs. MSD is the mean distance from the predicted surface to that of the label. Differences
are method - baseline of the same case, fold and seed: more Dice and less distance are gains.

- Over cases: percentile bootstrap over cases, for these trained networks. p: Wilcoxon signed-rank
  over cases, two-sided; p Holm: corrected over all comparisons of a metric.
- Over runs: Student's t interval over the pairs of runs, for the methods. Over runs and cases:
  bootstrap over both; too narrow with few runs.
- Without one case: the mean difference without the case that moves it most.
- p level: two one-sided t tests over runs that the difference of Dice lies within
  +-{100 * MARGINS["dice"]:g} points.

A verdict needs at least {MIN_RUNS} pairs of runs. "{BETTER}" or "{WORSE}" needs p Holm below
{LEVEL} and zero outside the intervals over cases and over runs; "{EQUIVALENT}" needs p level below
{LEVEL}; otherwise "{NOT_SHOWN}", which does not mean that there is none."""


def study_page(title: str, runs: Sequence[Line], arms: Sequence[Line], gains: Sequence[Line],
               published: Line | None, environments: Sequence[Line], group: str,
               chosen: bool = True) -> str:
    """The page.

    Args:
        group: of the cases that were scored, "testing" or "validation".
        runs: "name", "state" (COMPLETE, ...), "epochs_done", "epochs", "method", "command".
        arms: of `reports.studies.numbers.arm_lines`.
        gains: of `reports.studies.numbers.gain_lines`.
        published: "method", "dice_points", "hd95_mm", "source"; None for nothing published.
        environments: of the runs, each once, with the number of "runs" that had it.
        chosen: whether best.model is one of several epochs that were validated.
    """
    return "\n".join([
        f"# {title}", "", *_state_lines(runs), "", "## Table", "", *_arm_table(arms, gains), "",
        "## Differences from the baseline", "", *_gain_table(gains), "", *_conclusions(gains), "",
        *_published_lines(gains, published), NOTE, *_group_lines(group, chosen), "",
        "## Runs", "", *_run_table(runs), "",
        "## How it was run", "", *_environment_lines(environments), "",
        "Command lines of the training runs:", "", "```",
        *(shlex.join(run["command"]) for run in runs if run["command"]), "```", ""])


def scaled(metric: str, value: float) -> float:
    """A value of a metric as the papers give it: Dice in percent."""
    return 100 * value if metric == "dice" else value


def _state_lines(runs: Sequence[Line]) -> list[str]:
    count = {state: sum(run["state"] == state for run in runs)
             for state in (COMPLETE, UNSCORED, PARTIAL, MISSING)}
    told = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    missing = "" if count[COMPLETE] == len(runs) else \
        " What is not complete is in no table below."
    return [f"{len(runs)} runs: {told}.{missing}"]


def _arm_table(arms: Sequence[Line], gains: Sequence[Line]) -> list[str]:
    if not arms:
        return ["No run is complete: there is no table."]
    found = {(one["dataset"], one["network"], one["method"], one["metric"]): one for one in gains}
    rows = []
    for arm in arms:
        who = [arm["dataset"], arm["network"], arm["method"]]
        gain = [found.get((*who, metric)) for metric in METRICS]
        rows.append([*who, *(_mean(arm, metric) for metric in METRICS),
                     *("" if one is None else signed_text(one["metric"], one["mean_difference"])
                       for one in gain), str(arm["runs"]), str(arm["cases"])])
    return markdown_table(["dataset", "network", "method", *(_TITLES[metric] for metric in METRICS),
                   *(f"gain {_GAINS[metric]}" for metric in METRICS), "runs", "cases"], rows)


def _gain_table(gains: Sequence[Line]) -> list[str]:
    if not gains:
        return ["No pair of runs is complete: nothing is compared."]
    rows, details = [], []
    for one in gains:
        metric = one["metric"]
        who = [_GAINS[metric], one["dataset"], one["network"],
               f"{one['method']} - {one['baseline']}"]
        intervals = {unit: interval_text(metric, one[f"{unit}_low"], one[f"{unit}_high"])
                     for unit in ("ci", "run", "both", "gain")}
        rows.append([*who, signed_text(metric, one["mean_difference"]), intervals["ci"],
                     intervals["run"], str(one["runs"]), one["verdict"]])
        details.append([*who, signed_text(metric, one["median_difference"]), _without_one_case(one),
                        intervals["gain"], intervals["both"],
                        f"{one['wins']}/{one['ties']}/{one['losses']}",
                        *(_p(one[p]) for p in ("p", "p_holm", "p_level"))])
    return [*markdown_table(["", "dataset", "network", "difference", "mean", "95 % over cases",
                     "95 % over runs", "pairs of runs", "verdict"], rows), "",
            *markdown_table(["", "dataset", "network", "difference", "median of cases",
                     "mean without one case", "lowest to highest run", "95 % over runs and cases",
                     "cases better/equal/worse", "p", "p Holm", "p level"], details)]


def _without_one_case(one: Line) -> str:
    if one["mean_without"] is None:
        return "-"
    return f"{signed_text(one['metric'], one['mean_without'])} ({one['influential_case']})"


def _conclusions(gains: Sequence[Line]) -> list[str]:
    """The verdicts of each method, counted over data sets and networks."""
    lines = []
    for method, baseline in dict.fromkeys((one["method"], one["baseline"]) for one in gains):
        told = []
        for metric in METRICS:
            verdicts = [one["verdict"] for one in gains
                        if (one["method"], one["metric"]) == (method, metric)]
            if verdicts:
                counts = ", ".join(f"{verdict} in {verdicts.count(verdict)}"
                                   for verdict in VERDICTS if verdict in verdicts)
                told.append(f"{_GAINS[metric].partition(' ')[0]} {counts} of {len(verdicts)}")
        lines.append(f"- {method} against {baseline}: {'; '.join(told)}.")
    if gains and max(one["runs"] for one in gains) < MIN_RUNS:
        lines += ["", f"Fewer than {MIN_RUNS} pairs of runs each: intervals and tests are about "
                      f"these trained networks, not about what the same methods give with another "
                      f"seed."]
    return lines


def _published_lines(gains: Sequence[Line], published: Line | None) -> list[str]:
    if published is None:
        return []
    rows = []
    for metric, value in (("dice", published["dice_points"]), ("hd95_mm", published["hd95_mm"])):
        here = average_gain(gains, published["method"], metric)
        cells = ["-", "-", "0"]
        if here is not None:
            cells = [signed_text(metric, here["mean"]),
                     interval_text(metric, here["lowest"], here["highest"]), str(here["n"])]
        rows.append([_GAINS[metric], f"{value:+.2f}", *cells])
    table = markdown_table(["gain", "published", "here", "lowest to highest",
                    "datasets x networks here"], rows)
    return [f"## {published['method']}: beside the published gain", "", *table, "",
            f"Published: averaged over the papers' networks, {published['source']}. Here: the mean "
            f"of the differences above.", ""]


def _group_lines(group: str, chosen: bool) -> list[str]:
    if group == "testing":
        return []
    flattered = ("They also chose its best.model, so that the table flatters every method a "
                 "little, and the" if chosen else
                 "They did not choose the epoch, the last one alone was validated. The")
    return ["", f"The cases are the validation cases of each fold. {flattered} training sets of "
                f"the folds overlap, so that cases are not quite independent: read a p near a "
                f"threshold with care."]


def _run_table(runs: Sequence[Line]) -> list[str]:
    return markdown_table(["run", "state", "epochs"],
                  [[run["name"], run["state"], f"{run['epochs_done']} of {run['epochs']}"]
                   for run in runs])


def _environment_lines(environments: Sequence[Line]) -> list[str]:
    lines = []
    for one in environments:
        packages = ", ".join(f"{name} {number}" for name, number in one["packages"].items())
        git = one["git"]
        commit = "unknown" if git is None else git["commit"] + (", files changed" if git["dirty"]
                                                                else "")
        device = one["device"] + (f" ({one['device_name']})" if one["device_name"] else "")
        lines.append(f"- {one['runs']} runs: {device}, {one['threads']} threads of {one['cpus']} "
                     f"CPUs, {one['platform']}; Python {one['python']}, {packages}; commit "
                     f"{commit}")
    return lines or ["No run has begun."]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _mean(arm: Line, metric: str) -> str:
    mean, std = (arm[f"{metric}_{what}"] for what in ("mean", "std"))
    text = f"{scaled(metric, mean):.2f}"
    return text if std is None else f"{text} +- {scaled(metric, std):.2f}"


def signed_text(metric: str, value: float | None) -> str:
    """A difference with its sign; a dash for none."""
    return "-" if value is None else f"{scaled(metric, value):+.2f}"


def interval_text(metric: str, low: float | None, high: float | None) -> str:
    """An interval of differences; a dash for none."""
    return "-" if low is None else f"{signed_text(metric, low)} to {signed_text(metric, high)}"


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.0001" if value < 0.0001 else f"{value:.4f}"
