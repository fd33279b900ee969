"""The benchmarks of the table that `python -m benchmarks` makes."""
