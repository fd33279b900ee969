"""The files of a paired comparison: its table, the differences of all cases, and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics import paired_values
from reports import comparison_picture, comparison_table, differences_csv, per_case_csv
from system.files import write_text

PICTURED = ("dice", "hd95_mm", "assd_mm")
ENDINGS = (".txt", ".csv", ".json", ".png")

Named = tuple[str, Sequence[Mapping[str, Any]]]


def write_comparison_files(path: Path, results: Sequence[Mapping[str, Any]], a: Named, b: Named,
                           pictured: Sequence[str] = PICTURED) -> str:
    """Write PATH.txt, .csv, .png and PATH_cases.csv; returns the text.

    Args:
        results: of `metrics.compare` of the rows of A and B.
        a: name and rows of the baseline.
        b: name and rows of the other.
        pictured: metrics in the picture.

    Raises:
        ValueError: see `metrics.paired_values`.
    """
    table = comparison_table(results, a[0], b[0])
    pairs = {metric: paired_values(a[1], b[1], metric) for metric in pictured}
    write_text(f"{path}.txt", table + "\n")
    per_case_csv(f"{path}.csv", results)
    differences_csv(f"{path}_cases.csv", a[1], b[1])
    comparison_picture(f"{path}.png", pairs, results,
                       f"A {a[0]}, B {b[0]}: {len(pairs['dice'].case_ids)} cases")
    return table


def remove_comparisons(folder: Path, pattern: str) -> None:
    """Remove comparisons that are no longer up to date."""
    for path in folder.glob(pattern):
        if path.suffix in ENDINGS and path.is_file():
            path.unlink()
