"""Where a set of runs is executed: the flags that cross_validate.py and run_study.py share."""

import argparse
import json
import math
from typing import Any

from ..experiment_name import refuse_control_characters

EXECUTORS = ("local", "submitit-local", "slurm")

# Options that submitit names the same for every kind of job; all others are Slurm's.
SHARED_OPTIONS = {"name": str, "timeout_min": int, "mem_gb": (int, float), "nodes": int,
                  "cpus_per_task": int, "gpus_per_node": int, "tasks_per_node": int,
                  "stderr_to_stdout": bool}


def job_options(args: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """KEY=VALUE pairs of --slurm by submitit's names, and what is wrong with them.

    Args:
        args: with "slurm" and "executor".
    """
    options: dict[str, Any] = {}
    problems: list[str] = []
    for pair in args.slurm:
        key, equals, text = pair.partition("=")
        key = key.removeprefix("slurm_")
        if not (key and equals):
            problems.append(f"  --slurm {pair}: must be KEY=VALUE.")
            continue
        try:
            refuse_control_characters("--slurm", pair)
        except ValueError as error:
            problems.append(f"  {error}")
            continue
        value = _plain(text)
        kind = SHARED_OPTIONS.get(key)
        if kind is str:
            value = text
        elif kind and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            problems.append(f"  --slurm {pair}: must be a number or true or false, as its name "
                            f"says.")
        if key == "time" and not isinstance(value, int):
            problems.append(f"  --slurm {pair}: must be whole minutes.")
        if key not in SHARED_OPTIONS:
            key = f"slurm_{key}"
        options[key] = value
    if args.slurm and args.executor == "local":
        problems.append("  --slurm: is of --executor slurm.")
    if args.executor == "slurm" and not {"timeout_min", "slurm_time"} & set(options):
        problems.append("  --executor slurm: give --slurm timeout_min=MINUTES; submitit's own "
                        "default is five minutes.")
    return options, problems


def _plain(text: str) -> Any:
    """The value of JSON (numbers, true, lists), or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def budget_problems(minutes: float | None) -> list[str]:
    """What is wrong with --budget-minutes."""
    if minutes is None or (math.isfinite(minutes) and minutes > 0):
        return []
    return [f"  --budget-minutes {minutes}: must be above 0."]
