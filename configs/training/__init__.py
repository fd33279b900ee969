"""The settings of a training run, its command line, and where each value comes from."""
