"""report.html: one file that contains everything and loads nothing."""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from system.files import write_text

from ..canvas import PALETTE
from .experiments import read_experiment, told_apart
from .run_data import page_data, shown_views

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("tools", "save", "plots", "scores", "volumes", "cases", "viewer", "training", "start")


def write_report(names: Sequence[str], path: Path | None = None) -> Path:
    """Write the report of one experiment, or the comparison of several with the first.

    Args:
        names: run folders NAME.exp or cross-validations NAME.cv.
        path: of the page; by default report.html in the folder of the last.

    Raises:
        ValueError: an experiment is missing, damaged or not scored; the experiments have different
            cases or were scored on different grids; the path is a folder.
    """
    experiments = told_apart([read_experiment(name) for name in names])
    path = path or experiments[-1]["folder"] / "report.html"
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the name of a file.")
    write_text(path, page(page_data(experiments), shown_views(experiments)))
    return path


def page(data: Mapping[str, Any], views: Sequence[Mapping[str, Any]]) -> str:
    """The page as text; the same data give the same bytes.

    Args:
        data: of `page_data`.
        views: of `shown_views`.
    """
    baseline, *others = [one["name"] for one in data["experiments"]]
    title = f"{', '.join(others)} against {baseline}" if others else baseline
    cases = [{key: view[key] for key in ("case_id", "shape", "spacing_mm", "of")}
             for view in views]
    parts = {
        "title": escape(title), "css": _file("page.css"), "js": _script(),
        "data": _json(dict(data) | {"title": title, "cases": cases, "palette": PALETTE}),
        "volumes": "\n".join(f'<script type="text/plain" id="volume-{index}">{_packed(view)}'
                             f"</script>" for index, view in enumerate(views))}
    # In one pass, so that a name that looks like a placeholder is not replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _file("page.html"))


def _script() -> str:
    """The page's script; its parts share one scope, which nothing else can see."""
    parts = "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def _file(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that cannot close the script element around it, whatever names are in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _packed(view: Mapping[str, Any]) -> str:
    content = b"".join(volume.tobytes() for volume in view["volumes"])
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
