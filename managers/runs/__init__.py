"""The run folder: checkpoints, resuming, and how far a run is."""
