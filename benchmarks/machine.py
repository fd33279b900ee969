"""What a figure was measured on."""

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "monai", "torchmanager", "numpy", "scipy", "edt")


def machine(device: str = "cpu") -> dict:
    """Date, machine, versions and commit, for the record beside the figures."""
    return {"date": date.today().isoformat(), "cpu": _cpu(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name(device) if device != "cpu" else None,
            "python": platform.python_version(), "commit": _commit(),
            "versions": {name: version(name) for name in PACKAGES}}


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _commit() -> str | None:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         cwd=Path(__file__).parent)
    return run.stdout.strip() or None
