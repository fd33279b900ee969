"""What a figure was measured on."""

import os
import platform
import subprocess
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "monai", "torchmanager", "numpy", "scipy", "edt")


def machine(device: str = "cpu") -> dict:
    """Date, machine, versions and commit, for the record beside the figures."""
    return {"date": date.today().isoformat(), "cpu": _cpu(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": gpu_of(torch.cuda.get_device_properties(device)) if device != "cpu" else None,
            "python": platform.python_version(), "commit": _commit(),
            "versions": {name: version(name) for name in PACKAGES} | gpu_versions(device)}


def gpu_of(properties: Any) -> str:
    """A card in a line, from what torch.cuda.get_device_properties says of it."""
    return (f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"{properties.multi_processor_count} multiprocessors, sm_{properties.major}"
            f"{properties.minor}")


def gpu_versions(device: str) -> dict[str, str]:
    """What kernels of a GPU depend on: its driver, CUDA, cuDNN and Triton; nothing on a CPU."""
    if device == "cpu":
        return {}
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    return {"driver": _driver(), "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()), "triton": triton}


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return next(iter(run.stdout.split()), "unknown")


def header(found: dict) -> str:
    """What `machine` found, in a line."""
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items())
    return (f"{found['date']}, {found['gpu'] or found['cpu']}, {found['threads']} threads, "
            f"Python {found['python']}, {versions}")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _commit() -> str | None:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                         cwd=Path(__file__).parent)
    return run.stdout.strip() or None
