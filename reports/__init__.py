"""From numbers to tables and pictures."""

from .curves import progress_picture
from .pictures import case_picture
from .tables import per_case_csv, summary_table

__all__ = ["case_picture", "per_case_csv", "progress_picture", "summary_table"]
