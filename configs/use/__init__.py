"""The settings of eval.py, predict.py and export_model.py, and reading a run's own."""
