"""The gains of a study in a picture: every method and network beside the published gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics import higher_is_better

from ..canvas import PALETTE, new_figure, save_png, write_at
from ..folds import left_of, name_lines, style_axes
from .study_page import scaled

_INK, _FAINT, _BETTER = "#202428", "#70767C", "#00B384"
_LINE, _HEAD, _FOOT = 26, 52, 44  # pixels: of a comparison, above and below a panel's
_AXES = {"dice": "Dice, points", "hd95_mm": "HD95, mm"}


def gains_picture(path: str | Path, gains: Sequence[Mapping[str, Any]],
                  published: Mapping[str, Any] | None, title: str) -> None:
    """Write a PNG, 1000 pixels wide: of Dice and HD95 each mean difference and its 95 % interval.

    The side of a gain is tinted; a dashed line is the published gain of its method.

    Args:
        gains: of `reports.studies.numbers.gain_lines`, at least one.
        published: "method", "dice_points", "hd95_mm"; None for nothing published.
    """
    names = [f"{one['dataset']} {one['network']} {one['method']}" for one in gains
             if one["metric"] == "dice"]
    methods = list(dict.fromkeys(one["method"] for one in gains))
    tall = _LINE * len(names)
    height = 46 + len(_AXES) * (tall + _HEAD + _FOOT) + 24
    figure = new_figure(1000, height, "white")
    write_at(figure, 500, height - 24, title, size=min(13, 1200 / max(1, len(title))), color=_INK)
    left, top = left_of(names), height - 46
    values = {} if published is None else {"dice": published["dice_points"],
                                           "hd95_mm": published["hd95_mm"]}
    for metric, label in _AXES.items():
        bottom = top - _HEAD - tall
        axes = figure.add_axes((left, bottom / height, 0.96 - left, tall / height))
        lines = [one for one in gains if one["metric"] == metric]
        reach = 1.08 * max([0.1, *(abs(scaled(metric, one[key])) for one in lines
                                   for key in ("mean_difference", "ci_low", "ci_high")
                                   if one[key] is not None), abs(values.get(metric, 0))])
        axes.axvspan(*((0, reach) if higher_is_better(metric) else (-reach, 0)), color=_BETTER,
                     alpha=0.10, linewidth=0)
        axes.axvline(0, color=_FAINT, linewidth=1)
        for at, one in enumerate(lines):
            _draw(axes, at, one, PALETTE[5 + methods.index(one["method"]) % 10])
        if metric in values:
            axes.axvline(values[metric], color=_INK, linewidth=1.4, linestyle="--")
        name_lines(axes, names)
        axes.set(xlim=(-reach, reach), ylim=(len(names) - 0.5, -0.5))
        style_axes(axes)
        write_at(figure, 1000 * (left + 0.96) / 2, top - _HEAD / 2 + 4,
                 f"{label}: method - {lines[0]['baseline']}", size=11, color=_INK)
        top = bottom - _FOOT
    told = f"; dashed: published for {published['method']}" if published else ""
    write_at(figure, 500, 14, f"mean difference over cases and its 95 % interval{told}", size=9,
             color=_FAINT)
    save_png(path, figure)


def _draw(axes: Any, at: int, one: Mapping[str, Any], colour: str) -> None:
    if one["ci_low"] is not None:
        axes.plot([scaled(one["metric"], one[key]) for key in ("ci_low", "ci_high")], [at, at],
                  color=colour, linewidth=2.2, solid_capstyle="butt")
    if one["mean_difference"] is not None:
        axes.plot([scaled(one["metric"], one["mean_difference"])], [at], "D", color=colour,
                  markersize=6.5, markeredgecolor=_INK, markeredgewidth=1.2)
