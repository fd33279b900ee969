"""A study with few labels in numbers, text and picture; differences are pre-trained - scratch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics import bootstrap_interval
from metrics.repeats import VERDICTS, case_means, compare_runs, judge, mean_over_seeds
from metrics.statistics import sample_deviation

from ..canvas import FAINT, PALETTE, save_png, style_axes, white_figure, write_at
from ..tables import (
    align,
    interval_text,
    metric_digits,
    metric_title,
    number_text,
    p_text,
    spread_text,
)

METRICS = ("dice", "hd95_mm")
_COLOURS = {"basic": PALETTE[6], "dsd": PALETTE[5]}
_STYLES = {"scratch": ("--", "white"), "pretrained": ("-", None)}
_WORDS = {"scratch": "from scratch", "pretrained": "pre-trained", "basic": "basic", "dsd": "DSD"}

Row = dict[str, Any]
Key = tuple[int, str, str]  # labels, start, method


def arm_lines(tables: Mapping[Key, Sequence[Sequence[Mapping[str, Any]]]]) -> list[Row]:
    """A line per arm: mean and deviation over the test cases, and its 95 % interval.

    A case's value is the mean over its classes and the seeds; the deviation is between cases,
    "between_seeds" that of the seeds' means (None for a single one); sample deviations.

    Args:
        tables: by (labels, start, method), of each seed the rows of its test cases.
    """
    lines = []
    for (labels, start, method), seeds in tables.items():
        line: Row = {"labels": labels, "start": start, "method": method, "seeds": len(seeds)}
        for metric in METRICS:
            values = case_means(mean_over_seeds(seeds), metric)
            low, high = bootstrap_interval(values)
            means = [case_means(rows, metric).mean() for rows in seeds]
            line |= {"cases": values.size, f"{metric}_mean": float(values.mean()),
                     f"{metric}_std": sample_deviation(values), f"{metric}_ci_low": low,
                     f"{metric}_ci_high": high,
                     f"{metric}_between_seeds": sample_deviation(means)}
        lines.append(line)
    return lines


def difference_lines(tables: Mapping[Key, Sequence[Sequence[Mapping[str, Any]]]]) -> list[Row]:
    """A line per metric, labels and method that have both starts: `metrics.compare` of the two.

    The corrected p and "verdict" (of the pre-trained) are those of `metrics.repeats.judge`.
    """
    lines = []
    for labels, start, method in tables:
        if start != "scratch" or (labels, "pretrained", method) not in tables:
            continue
        seeds = zip(tables[labels, "scratch", method], tables[labels, "pretrained", method],
                    strict=True)
        pairs = {(1, number): pair for number, pair in enumerate(seeds)}
        lines += [{"metric": one["metric"], "labels": labels, "method": method} | one
                  for one in compare_runs(pairs, METRICS)]
    lines.sort(key=lambda line: METRICS.index(line["metric"]))
    judge(lines)
    return lines


def conclusion(differences: Sequence[Mapping[str, Any]]) -> str:
    """What the study says about pre-training, in a few sentences, whatever it is."""
    if not differences:
        return "No pair of runs is finished: nothing can be said about pre-training yet."
    sentences = []
    for metric in METRICS:
        family = [line for line in differences if line["metric"] == metric]
        told = []
        for verdict in VERDICTS:
            arms = [f"{line['labels']} labels {_WORDS[line['method']]}" for line in family
                    if line["verdict"] == verdict]
            if arms:
                told.append(f"{verdict} at {', '.join(arms)}")
        sentences.append(f"{metric_title(metric)}, pre-trained against scratch: "
                         f"{'; '.join(told)}.")
    return "\n".join(sentences)


def few_labels_table(lines: Sequence[Mapping[str, Any]],
                     differences: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The text: arms, differences, what they say, and notes."""
    header = ["labels", "method", "start", "Dice", "HD95 [mm]", "cases", "seeds"]
    body = [[str(line["labels"]), _WORDS[line["method"]], _WORDS[line["start"]],
             spread_text(line["dice_mean"], line["dice_std"], 3),
             spread_text(line["hd95_mm_mean"], line["hd95_mm_std"], 2), str(line["cases"]),
             str(line["seeds"])] for line in lines]
    compared = ["pre-trained - scratch", "labels", "method", "mean", "95 % CI",
                "over runs", "better/equal/worse", "p", "p Holm", "p runs Holm", "verdict"]
    rows = [_difference_cells(line) for line in differences]
    return "\n".join([*align(header, body), "", *align(compared, rows), "",
                      conclusion(differences), "", *notes])


def _difference_cells(line: Mapping[str, Any]) -> list[str]:
    digits = metric_digits(line["metric"])
    return [metric_title(line["metric"]), str(line["labels"]), _WORDS[line["method"]],
            number_text(line["mean_difference"], digits, "+"),
            interval_text(line["ci_low"], line["ci_high"], digits),
            interval_text(line["run_low"], line["run_high"], digits),
            f"{line['wins']}/{line['ties']}/{line['losses']}",
            p_text(line["p"]), p_text(line["p_holm"]), p_text(line["p_run_holm"]), line["verdict"]]


def few_labels_picture(path: Path, lines: Sequence[Mapping[str, Any]],
                  differences: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write a PNG, 1000 x 480: Dice by number of labels, and the paired differences of Dice."""
    figure = white_figure(480, title)
    left, right = (figure.add_axes((x, 0.20, 0.39, 0.66)) for x in (0.085, 0.595))
    numbers = sorted({line["labels"] for line in lines})
    arms = list(dict.fromkeys((line["method"], line["start"]) for line in lines))
    for rank, (method, start) in enumerate(arms):
        of_arm = [line for line in lines if (line["method"], line["start"]) == (method, start)]
        style, face = _STYLES[start]
        _with_intervals(left, numbers, of_arm, "dice_mean", "dice_ci_low", "dice_ci_high",
                        _shift(rank, len(arms)), linestyle=style, color=_COLOURS[method],
                        markerfacecolor=face or _COLOURS[method],
                        label=f"{_WORDS[method]}, {_WORDS[start]}")
    methods = list(dict.fromkeys(method for method, _ in arms))
    right.axhline(0, color=FAINT, linewidth=1)
    for rank, method in enumerate(methods):
        of_method = [line for line in differences
                     if line["method"] == method and line["metric"] == "dice"]
        _with_intervals(right, numbers, of_method, "mean_difference", "ci_low", "ci_high",
                        _shift(rank, len(methods)), linestyle="-", color=_COLOURS[method],
                        label=_WORDS[method])
        _over_runs(right, numbers, of_method, _shift(rank, len(methods)), _COLOURS[method])
    left.set_ylabel("Dice of the test cases")
    right.set_ylabel("Dice, pre-trained - scratch")
    for axes in (left, right):
        axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        axes.set_xlim(-0.5, len(numbers) - 0.5)
        axes.set_xlabel("labelled cases")
        style_axes(axes, "y")
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=4, frameon=False, fontsize=9)
    write_at(figure, 500, 428, "95 % intervals: bars over cases, thin ones with ends over runs",
             size=9, color=FAINT)
    save_png(path, figure)


def _shift(rank: int, number: int) -> float:
    """Side by side, so that bars do not hide each other."""
    return 0.06 * (rank - (number - 1) / 2)


def _with_intervals(axes: Any, numbers: Sequence[int], lines: Sequence[Mapping[str, Any]],
                    middle: str, low: str, high: str, shift: float, **options: Any) -> None:
    at = [numbers.index(line["labels"]) + shift for line in lines]
    axes.plot(at, [line[middle] for line in lines], marker="o", markersize=5.5, linewidth=1.8,
              **options)
    for x, line in zip(at, lines, strict=True):
        if line[low] is not None:
            axes.plot([x, x], [line[low], line[high]], color=options["color"], linewidth=1.2)


def _over_runs(axes: Any, numbers: Sequence[int], lines: Sequence[Mapping[str, Any]],
               shift: float, colour: str) -> None:
    for line in lines:
        if line["run_low"] is not None:
            x = numbers.index(line["labels"]) + shift
            axes.plot([x, x], [line["run_low"], line["run_high"]], "_-", color=colour,
                      linewidth=0.8, markersize=9)
