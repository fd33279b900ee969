"""From numbers to tables and pictures."""

from reports.pictures import case_picture, progress_picture
from reports.tables import markdown_table, per_case_csv, summary_table

__all__ = ["case_picture", "markdown_table", "per_case_csv", "progress_picture", "summary_table"]
