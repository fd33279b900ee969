"""What every picture shares: colours, figures of exact pixel size, axes and saving."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from system.files import write_bytes

# Okabe-Ito first, then tones after Paul Tol's schemes that stay apart from them on dark grey.
PALETTE = (
    "#E69F00", "#56B4E9", "#00B384", "#F0E442", "#CC79A7", "#D55E00", "#2F86DB",
    "#EE3377", "#99DDFF", "#BBCC33", "#FFAABB", "#AA4499", "#44BB99", "#EE8866",
    "#228833", "#A0305C", "#DDCC77", "#7C8FD9", "#AAAA00", "#B8E0B0",
)
INK, FAINT, BETTER = "#202428", "#70767C", "#00B384"  # on white; BETTER tints the side of a gain
_DPI = 100
_LONGEST = 40  # characters of a name beside an axis


def colour_of(number: int) -> str:
    """The palette's colour of a number from 0, again from the first after the last."""
    return PALETTE[number % len(PALETTE)]


def new_figure(width: int, height: int, ground: str) -> Any:
    """Return an empty figure of width x height pixels, free of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=ground)
    FigureCanvasAgg(figure)
    return figure


def white_figure(height: int, title: str) -> Any:
    """A white figure, 1000 pixels wide, with its title at the top."""
    figure = new_figure(1000, height, "white")
    write_at(figure, 500, height - 24, title, size=min(13, 1200 / max(1, len(title))), color=INK)
    return figure


def write_at(figure: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Centre a text on the pixel (x, y), counted from the lower left; a "$" stays a dollar."""
    width, height = figure.get_size_inches() * figure.dpi
    centred = {"ha": "center", "va": "center", "parse_math": False}
    figure.text(x / width, y / height, text, **centred, **options)


def left_of(names: Sequence[str]) -> float:
    """Where axes begin so that the names fit on their left, as a fraction of 1000 pixels."""
    return max(0.17, 0.03 + 0.0095 * min(_LONGEST, max(map(len, names))))


def name_lines(axes: Any, names: Sequence[str]) -> None:
    """Write the names at 0, 1, ... of the y axis, from top to bottom; long ones are cut."""
    shown = []
    for name in names:
        if len(name) > _LONGEST:
            name = f"{name[:_LONGEST - 1]}\u2026"
        shown.append(name)
    axes.set_yticks(range(len(names)), shown, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)


def style_axes(axes: Any, grid: str = "x") -> None:
    """A faint grid, two faint spines, and no ticks on a y axis of names."""
    axes.grid(axis=grid, color=INK, alpha=0.12, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    if grid == "x":
        axes.tick_params(axis="y", length=0)


def tint_gains(axes: Any, reach: float, to_the_right: bool) -> None:
    """Axes of differences from -reach to reach, with the side of the gains tinted."""
    side = (0, reach) if to_the_right else (-reach, 0)
    axes.axvspan(*side, color=BETTER, alpha=0.10, linewidth=0)
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_xlim(-reach, reach)


def draw_interval(axes: Any, line: float, middle: float | None, low: float | None,
                  high: float | None, bar: str, **diamond: Any) -> None:
    """A bar from low to high and a diamond at the middle; what is None is left out."""
    if low is not None:
        axes.plot([low, high], [line, line], color=bar, linewidth=2.2, solid_capstyle="butt")
    if middle is not None:
        axes.plot([middle], [line], "D", markersize=6.5, markeredgecolor=INK, **diamond)


def save_png(path: str | Path, figure: Any) -> None:
    """Write the figure whole or not at all, creating the parent folder."""
    buffer = io.BytesIO()
    # no software tag: equal content gives equal bytes
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
