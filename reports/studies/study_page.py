"""A study as a page of Markdown: what ran, the papers' table, gains beside the published ones."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from metrics.repeats import BETTER, EQUIVALENT, LEVEL, MARGINS, NOT_SHOWN, VERDICTS, WORSE
from metrics.run_statistics import MIN_RUNS

from ..tables import interval_text, number_text, p_text, spread_text
from .numbers import METRICS, average_gain

Line = Mapping[str, Any]

_TITLES = {"dice": "Dice [%]", "hd95_mm": "HD95 [mm]", "msd_mm": "MSD [mm]"}
_GAINS = {"dice": "Dice [points]", "hd95_mm": "HD95 [mm]", "msd_mm": "MSD [mm]"}
COMPLETE, PARTIAL, MISSING, UNSCORED = "complete", "partial", "missing", "not scored"

NOTE = f"""\
Dice in %, distances in mm on the resampled grid, best.model of each run. A table entry is the mean
over runs (folds and seeds) of the mean over cases and classes, +- the sample standard deviation
between runs. MSD is the mean distance from the predicted surface to that of the label. Differences
are method - baseline of the same case, fold and seed: more Dice and less distance are gains. Their
mean is over cases; where runs have other cases, that over runs is a little different.

- Over cases: percentile bootstrap over cases, for these trained networks. p cases: Wilcoxon
  signed-rank, two-sided.
- Over runs: Student's t interval over the pairs of runs, for the methods; p runs: the t test. Both
  allow for the training cases that folds share (Nadeau and Bengio 2003). Over runs and cases:
  bootstrap over both, which does not; too narrow with few runs.
- Without one case: the mean difference without the case that moves it most.
- p level: two one-sided t tests over runs that the difference of Dice lies within
  +-{100 * MARGINS["dice"]:g} points.
- Every p is followed by its correction over all comparisons of a metric (Holm); intervals are not
  corrected.

A verdict needs at least {MIN_RUNS} pairs of runs. "{BETTER}" or "{WORSE}" needs the corrected p
below {LEVEL}, over cases and over runs, and zero outside the interval over cases; "{EQUIVALENT}"
needs the corrected p level below {LEVEL}; otherwise "{NOT_SHOWN}", which does not mean that there
is none."""


def study_page(title: str, runs: Sequence[Line], arms: Sequence[Line], gains: Sequence[Line],
               published: Line | None, environments: Sequence[Line], group: str,
               chosen: bool = True, protocol: Sequence[str] = ()) -> str:
    """The page.

    Args:
        group: of the cases that were scored, "testing" or "validation".
        runs: "name", "state" (COMPLETE, ...), "epochs_done", "epochs", "method", "command".
        arms: of `reports.studies.numbers.arm_lines`.
        gains: of `reports.studies.numbers.gain_lines`.
        published: "method", "dice_points", "hd95_mm", "source"; None for nothing published.
        environments: of the runs, each once, with the number of "runs" that had it.
        chosen: whether best.model is one of several epochs that were validated.
        protocol: sentences of the study's file.
    """
    return "\n".join([
        f"# {title}", "", *_state_lines(runs), "", *_protocol_lines(protocol),
        "## Table", "", *_arm_table(arms, gains), "",
        "## Differences from the baseline", "", *_gain_table(gains), "", *_conclusions(gains), "",
        *_published_lines(gains, published), NOTE, *_group_lines(group, chosen), "",
        "## Runs", "", *_run_table(runs), "",
        "## How it was run", "", *_environment_lines(environments), "",
        "Command lines of the training runs:", "", "```",
        *(shlex.join(run["command"]) for run in runs if run["command"]), "```", ""])


def scaled(metric: str, value: float | None) -> float | None:
    """A value of a metric as the papers give it: Dice in percent."""
    if value is None or metric != "dice":
        return value
    return 100 * value


def _state_lines(runs: Sequence[Line]) -> list[str]:
    count = Counter(run["state"] for run in runs)
    told = [f"{count[state]} {state}" for state in (COMPLETE, UNSCORED, PARTIAL, MISSING)
            if count[state]]
    line = f"{len(runs)} runs: {', '.join(told)}."
    if count[COMPLETE] < len(runs):
        line += " Runs that are not complete are in no table below."
    return [line]


def _protocol_lines(protocol: Sequence[str]) -> list[str]:
    if not protocol:
        return []
    return ["## Written before the runs", "", *(f"- {one}" for one in protocol), ""]


def _arm_table(arms: Sequence[Line], gains: Sequence[Line]) -> list[str]:
    if not arms:
        return ["No run is complete: there is no table."]
    gain_of = {}
    for one in gains:
        key = (one["dataset"], one["network"], one["method"], one["metric"])
        gain_of[key] = signed_text(one["metric"], one["mean_difference"])
    rows = []
    for arm in arms:
        who = [arm["dataset"], arm["network"], arm["method"]]
        means, differences = [], []
        for metric in METRICS:
            mean, std = arm[f"{metric}_mean"], arm[f"{metric}_std"]
            means.append(spread_text(scaled(metric, mean), scaled(metric, std), 2))
            differences.append(gain_of.get((*who, metric), ""))
        rows.append([*who, *means, *differences, str(arm["runs"]), str(arm["cases"])])
    titles = [*_TITLES.values(), *(f"gain {title}" for title in _GAINS.values())]
    return markdown_table(["dataset", "network", "method", *titles, "runs", "cases"], rows)


def _gain_table(gains: Sequence[Line]) -> list[str]:
    if not gains:
        return ["No pair of runs is complete: nothing is compared."]
    rows, details = [], []
    for one in gains:
        metric = one["metric"]
        who = [_GAINS[metric], one["dataset"], one["network"],
               f"{one['method']} - {one['baseline']}"]
        rows.append([*who, signed_text(metric, one["mean_difference"]), interval_of(one, "ci"),
                     interval_of(one, "run"), str(one["runs"]), one["verdict"]])
        details.append([*who, signed_text(metric, one["median_difference"]), _without_one_case(one),
                        interval_of(one, "gain"), interval_of(one, "both"),
                        f"{one['wins']}/{one['ties']}/{one['losses']}",
                        *(f"{p_text(one[name])}, {p_text(one[f'{name}_holm'])}"
                          for name in ("p", "p_run", "p_level"))])
    who = ["", "dataset", "network", "difference"]
    return [*markdown_table([*who, "mean", "95 % over cases", "95 % over runs", "pairs of runs",
                             "verdict"], rows), "",
            *markdown_table([*who, "median of cases", "mean without one case",
                             "lowest to highest run", "95 % over runs and cases",
                             "cases better/equal/worse", "p cases, Holm", "p runs, Holm",
                             "p level, Holm"], details)]


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
            count = Counter(one["verdict"] for one in gains
                            if (one["method"], one["metric"]) == (method, metric))
            counts = [f"{verdict} in {count[verdict]}" for verdict in VERDICTS if count[verdict]]
            if counts:
                name = _GAINS[metric].partition(" ")[0]
                told.append(f"{name} {', '.join(counts)} of {count.total()}")
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
            low, high = scaled(metric, here["lowest"]), scaled(metric, here["highest"])
            cells = [signed_text(metric, here["mean"]), interval_text(low, high, 2),
                     str(here["n"])]
        rows.append([_GAINS[metric], f"{value:+.2f}", *cells])
    table = markdown_table(["gain", "published", "here", "lowest to highest",
                            "datasets x networks here"], rows)
    return [f"## {published['method']}: beside the published gain", "", *table, "",
            f"Published: averaged over the papers' networks, {published['source']}. Here: the mean "
            f"of the differences above.", ""]


def _group_lines(group: str, chosen: bool) -> list[str]:
    if group == "testing":
        return []
    if chosen:
        choice = ("They also chose its best.model, so the table flatters every method a little, "
                  "and the")
    else:
        choice = "They did not choose the epoch: only the last one was validated. The"
    return ["", f"The cases are the validation cases of each fold. {choice} training sets of "
                f"several folds overlap, so their cases are not quite independent: read a p near a "
                f"threshold with care."]


def _run_table(runs: Sequence[Line]) -> list[str]:
    rows = [[run["name"], run["state"], f"{run['epochs_done']} of {run['epochs']}"]
            for run in runs]
    return markdown_table(["run", "state", "epochs"], rows)


def _environment_lines(environments: Sequence[Line]) -> list[str]:
    lines = []
    for one in environments:
        packages = ", ".join(f"{name} {number}" for name, number in one["packages"].items())
        commit, device = "unknown", one["device"]
        if one["git"] is not None:
            commit = one["git"]["commit"]
            if one["git"]["dirty"]:
                commit += ", files changed"
        if one["device_name"]:
            device += f" ({one['device_name']})"
        lines.append(f"- {one['runs']} runs: {device}, {one['threads']} threads of {one['cpus']} "
                     f"CPUs, {one['platform']}; Python {one['python']}, {packages}; commit "
                     f"{commit}")
    return lines or ["No run has begun."]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def signed_text(metric: str, value: float | None) -> str:
    """A difference with its sign; a dash for none."""
    return number_text(scaled(metric, value), 2, "+")


def interval_of(line: Line, unit: str) -> str:
    """An interval of a line of gains, such as of the unit "ci" or "run"; a dash for none."""
    metric = line["metric"]
    return interval_text(scaled(metric, line[f"{unit}_low"]), scaled(metric, line[f"{unit}_high"]),
                         2)
