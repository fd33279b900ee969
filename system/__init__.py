"""Files, signals, exit statuses, locks and worker processes: no torch, and nothing of images."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the project: its scripts, studies and licence."""
