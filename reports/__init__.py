"""From numbers to tables and pictures."""

from .comparison import (
    comparison_picture,
    comparison_table,
    differences_csv,
)
from .curves import pretraining_picture, progress_picture
from .folds import fold_table, folds_picture, read_per_case, summarise_folds
from .html.page_file import write_report
from .html.views import CaseView, case_view, write_views
from .pictures import CasePlanes, case_picture, case_planes, grey_window
from .tables import per_case_csv, summary_table

__all__ = [
    "CasePlanes", "CaseView", "case_picture", "case_planes", "case_view",
    "comparison_picture", "comparison_table", "differences_csv", "fold_table", "folds_picture",
    "grey_window", "per_case_csv", "pretraining_picture", "progress_picture", "read_per_case",
    "summarise_folds", "summary_table", "write_report", "write_views",
]
