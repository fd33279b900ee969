"""report.html: one page with everything about a run."""
