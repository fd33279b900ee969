"""The pictures of training runs: losses, quality, learning rate and time over epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from .canvas import FAINT, INK, PALETTE, new_figure, save_png, style_axes, write_at
from .tables import counted

_TIME = "#B36B00"
_THIN = tuple(colour for colour in PALETTE if colour not in ("#F0E442", "#99DDFF", "#B8E0B0"))
_BOXES = {  # left, bottom, width, height; the legends stand to the right of the axes
    "loss": (0.09, 0.655, 0.66, 0.275),
    "middle": (0.09, 0.310, 0.66, 0.275),
    "pace": (0.09, 0.070, 0.66, 0.170),
}

_Curves = dict[str, tuple[list[int], list[float]]]


def progress_picture(path: str | Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write a 1000 x 1000 PNG of losses, validation Dice, learning rate and seconds by epoch.

    The first epoch with the highest "val_dice" is marked.

    Args:
        path: the PNG file.
        history: one dict per epoch with a 1-based "epoch"; every other key may be missing.

    Raises:
        ValueError: if the history is empty.
    """
    curves, best_epoch = _curves(history), None
    if "val_dice" in curves:
        validated, values = curves["val_dice"]
        best_epoch = validated[values.index(max(values))]
    terms = [key for key in curves
             if not key.startswith("val_") and key not in ("loss", "lr", "seconds")]
    _draw(path, history, curves, ("loss", "val_loss", *terms),
          lambda axes: _draw_dice(axes, curves, best_epoch), best_epoch)


def pretraining_picture(path: str | Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write a 1000 x 1000 PNG of DeSD pre-training: losses, signs of collapse, rate and seconds.

    The middle panel has, in nats, the teacher's entropy, the KL divergence of the deepest head from
    it and the information of the targets; on a logarithmic axis of their own the deviation of the
    teacher's features and the norm of the centre.

    Args:
        path: the PNG file.
        history: one dict per epoch with a 1-based "epoch"; every other key may be missing.

    Raises:
        ValueError: if the history is empty.
    """
    curves = _curves(history)
    terms = [key for key in curves if key == "loss_ssl" or key.startswith("deep_loss_")]
    _draw(path, history, curves, ("loss", *terms), lambda axes: _draw_collapse(axes, curves))


def _draw(path: str | Path, history: Sequence[Mapping[str, Any]], curves: _Curves,
          losses: Sequence[str], draw_middle: Callable[[Any], None],
          best_epoch: int | None = None) -> None:
    """Three panels: losses, what the caller draws, and learning rate with seconds."""
    if not history:
        raise ValueError("progress_picture: the history holds no epoch")
    from matplotlib.ticker import MaxNLocator

    epochs = [int(row["epoch"]) for row in history]
    figure = new_figure(1000, 1000, "white")
    title = f"training progress, {counted(max(epochs), 'epoch')}"
    write_at(figure, 500, 968, title, size=15, color=INK)
    axes = {name: figure.add_axes(box) for name, box in _BOXES.items()}
    _draw_loss(axes["loss"], curves, losses)
    draw_middle(axes["middle"])
    _draw_pace(axes["pace"], curves)
    margin = max(0.5, 0.02 * (max(epochs) - min(epochs)))
    for panel in axes.values():
        panel.set_xlim(min(epochs) - margin, max(epochs) + margin)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        style_axes(panel, "both")
        if best_epoch is not None:
            panel.axvline(best_epoch, color=FAINT, linewidth=1, linestyle="--", zorder=1)
    axes["pace"].set_xlabel("epoch")
    save_png(path, figure)


def _curves(history: Sequence[Mapping[str, Any]]) -> _Curves:
    """Turn the rows into one (epochs, values) pair per key, without what cannot be drawn."""
    curves: _Curves = {}
    for row in history:
        for key, value in row.items():
            if key != "epoch" and isinstance(value, Real) and math.isfinite(value):
                epochs, values = curves.setdefault(key, ([], []))
                epochs.append(int(row["epoch"]))
                values.append(float(value))
    return curves


def _draw_loss(axes: Any, curves: _Curves, names: Sequence[str]) -> None:
    thick = {"loss": ("-", 2.4), "val_loss": ("--", 1.6)}
    for index, term in enumerate(name for name in names if name not in thick):
        style = ("-", "--", ":")[index // len(_THIN) % 3]
        _plot(axes, curves, term, _THIN[index % len(_THIN)], 1.1, style)
    for name, (style, width) in thick.items():
        if name in names:
            _plot(axes, curves, name, INK, width, style)
    shown = [value for name in names for value in curves.get(name, ([], []))[1]]
    if shown and 0 < 10 * min(shown) < max(shown):  # with less, its labels would be long and many
        axes.set_yscale("log")
    axes.set_ylabel("training loss")
    _legend(axes, first="loss")


def _draw_collapse(axes: Any, curves: _Curves) -> None:
    _plot(axes, curves, "teacher_entropy", INK, 1.8, name="teacher entropy")
    _plot(axes, curves, "kl", _THIN[0], 1.8, name="KL to the student")
    _plot(axes, curves, "target_information", _THIN[1], 1.8, name="information")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("nats")
    norms = axes.twinx()
    _plot(norms, curves, "feature_std", _TIME, 1.2, name="std of features")
    _plot(norms, curves, "center_norm", _TIME, 1.2, "--", name="norm of centre")
    shown = [value for name in ("feature_std", "center_norm")
             for value in curves.get(name, ([], []))[1] if value > 0]
    if shown:
        norms.set_yscale("log")
        norms.set_ylim(10 ** math.floor(math.log10(min(shown))),
                       10 ** (math.floor(math.log10(max(shown))) + 1))
    norms.set_ylabel("unit features, centre", color=_TIME)
    norms.tick_params(axis="y", which="both", colors=_TIME)
    norms.spines[["top", "right", "left"]].set_visible(False)
    _legend(axes, norms, first="teacher entropy", left=1.13)  # beyond the labels of the other axis


def _draw_dice(axes: Any, curves: _Curves, best_epoch: int | None) -> None:
    classes = [key for key in curves if key.startswith("val_dice_")]
    for index, key in enumerate(classes):
        _plot(axes, curves, key, _THIN[index % len(_THIN)], 1.1, name=key.removeprefix("val_dice_"))
    _plot(axes, curves, "val_dice", INK, 2.4, name="mean")
    epochs, values = curves.get("val_dice", ([], []))
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("validation Dice")
    if best_epoch in epochs:
        best = values[epochs.index(best_epoch)]
        axes.plot(
            [best_epoch], [best], "*", color="#D55E00", markersize=15, markeredgecolor="white",
            zorder=5, label=f"best {best:.3f}, epoch {best_epoch}",
        )
    if not epochs:
        axes.text(0.5, 0.5, "no validation yet", color=FAINT, ha="center",
                  transform=axes.transAxes)
    _legend(axes, first="mean")


def _draw_pace(axes: Any, curves: _Curves) -> None:
    _plot(axes, curves, "lr", INK, 1.8)
    axes.set_ylabel("learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.set_ylim(bottom=0)
    clock = axes.twinx()
    _plot(clock, curves, "seconds", _TIME, 1.2)
    clock.set_ylim(bottom=0)
    clock.set_ylabel("seconds per epoch", color=_TIME)
    clock.tick_params(axis="y", colors=_TIME)
    clock.spines[["top", "right", "left"]].set_visible(False)
    axes.set_zorder(clock.get_zorder() + 1)  # the learning rate stays readable over the times
    axes.patch.set_visible(False)


def _plot(
    axes: Any, curves: _Curves, key: str, colour: str, width: float, style: str = "-",
    name: str | None = None,
) -> None:
    if key not in curves:
        return
    epochs, values = curves[key]
    # a lone or sparse point has no line to be seen by
    marker = "o" if len(epochs) <= 25 else None
    axes.plot(epochs, values, style, color=colour, linewidth=width, marker=marker,
              markersize=2.5 + width, label=name or key)


def _legend(axes: Any, *others: Any, first: str, left: float = 1.01) -> None:
    """To the right of the axes, `left` in their widths, with the lines of others on top of them."""
    handles = []
    for each in (axes, *others):
        handles += each.get_legend_handles_labels()[0]
    if not handles:
        return
    handles.sort(key=lambda handle: handle.get_label() != first)  # stable: the others in order
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(left, 1.02), frameon=False,
                fontsize=9 if len(handles) <= 14 else 7.5)
