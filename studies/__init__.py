"""Sets of runs: planned, executed here or on Slurm, gathered and reported."""
