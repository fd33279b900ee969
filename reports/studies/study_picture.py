"""The gains of a study in a picture: every method and network beside the published gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics import higher_is_better

from .. import canvas
from .study_page import scaled

_LINE, _HEAD, _FOOT = 26, 52, 44  # pixels: of a comparison, above and below a panel's
_SHOWN = ("mean_difference", "ci_low", "ci_high")
_OVER_RUNS = ("run_low", "run_high")
_AXES = {"dice": "Dice, points", "hd95_mm": "HD95, mm"}


def gains_picture(path: str | Path, gains: Sequence[Mapping[str, Any]],
                  published: Mapping[str, Any] | None, title: str) -> None:
    """Write a PNG, 1000 pixels wide: of Dice and HD95 each mean difference and its 95 % intervals.

    A thick bar is the interval over cases, a thin one with ends that over runs, which a single
    pair of runs lacks. The side of a gain is tinted; a dashed line is the published gain of its
    method.

    Args:
        gains: of `reports.studies.numbers.gain_lines`, at least one.
        published: "method", "dice_points", "hd95_mm"; None for nothing published.
    """
    names = [f"{one['dataset']} {one['network']} {one['method']}" for one in gains
             if one["metric"] == "dice"]
    methods = list(dict.fromkeys(one["method"] for one in gains))
    tall = _LINE * len(names)
    height = 46 + len(_AXES) * (tall + _HEAD + _FOOT) + 24
    figure = canvas.white_figure(height, title)
    left, top = canvas.left_of(names), height - 46
    values = {}
    if published is not None:
        values = {"dice": published["dice_points"], "hd95_mm": published["hd95_mm"]}
    for metric, label in _AXES.items():
        bottom = top - _HEAD - tall
        axes = figure.add_axes((left, bottom / height, 0.96 - left, tall / height))
        lines = [one for one in gains if one["metric"] == metric]
        shown = [0.1, values.get(metric, 0)]
        for one in lines:
            shown += [scaled(metric, one[key]) for key in (*_SHOWN, *_OVER_RUNS)]
        reach = 1.08 * max(abs(value) for value in shown if value is not None)
        canvas.tint_gains(axes, reach, higher_is_better(metric))
        for at, one in enumerate(lines):
            colour = canvas.PALETTE[5 + methods.index(one["method"]) % 10]
            run_low, run_high = (scaled(metric, one[key]) for key in _OVER_RUNS)
            if run_low is not None:
                axes.plot([run_low, run_high], [at, at], "|-", color=colour, linewidth=0.9,
                          markersize=9)
            middle, low, high = (scaled(metric, one[key]) for key in _SHOWN)
            canvas.draw_interval(axes, at, middle, low, high, bar=colour, color=colour,
                                 markeredgewidth=1.2)
        if metric in values:
            axes.axvline(values[metric], color=canvas.INK, linewidth=1.4, linestyle="--")
        canvas.name_lines(axes, names)
        canvas.style_axes(axes)
        canvas.write_at(figure, 1000 * (left + 0.96) / 2, top - _HEAD / 2 + 4,
                        f"{label}: method - {lines[0]['baseline']}", size=11, color=canvas.INK)
        top = bottom - _FOOT
    note = "mean difference and its 95 % intervals: thick over cases, thin over runs"
    if published:
        note += f"; dashed: published for {published['method']}"
    canvas.write_at(figure, 500, 14, note, size=9, color=canvas.FAINT)
    canvas.save_png(path, figure)
