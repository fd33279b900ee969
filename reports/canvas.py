"""What every picture shares: colours, a figure of exact pixel size and one way to save it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from system.files import write_bytes

# Okabe-Ito first, then tones after Paul Tol's schemes that stay apart from them on dark grey.
PALETTE = (
    "#E69F00", "#56B4E9", "#00B384", "#F0E442", "#CC79A7", "#D55E00", "#2F86DB",
    "#EE3377", "#99DDFF", "#BBCC33", "#FFAABB", "#AA4499", "#44BB99", "#EE8866",
    "#228833", "#A0305C", "#DDCC77", "#7C8FD9", "#AAAA00", "#B8E0B0",
)
_DPI = 100


def new_figure(width: int, height: int, ground: str) -> Any:
    """Return an empty figure of width x height pixels, free of pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=ground)
    FigureCanvasAgg(figure)
    return figure


def write_at(figure: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Centre a text on the pixel (x, y), counted from the lower left; a "$" stays a dollar."""
    width, height = figure.get_size_inches() * figure.dpi
    centred = {"ha": "center", "va": "center", "parse_math": False}
    figure.text(x / width, y / height, text, **centred, **options)


def save_png(path: str | Path, figure: Any) -> None:
    """Write the figure whole or not at all, creating the parent folder."""
    buffer = io.BytesIO()
    # no software tag: equal content gives equal bytes
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
