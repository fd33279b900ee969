"""python -m benchmarks [--only NAME ...] [--device cuda] [--quick]: the table of speed and memory.

Prints the rows as they are measured and writes them with the machine and the versions to
benchmarks/results/table_<device>.json and .md after each benchmark; benchmarks that were not asked
for keep their last figures there. With --device cuda it takes less than 8 minutes: none is begun
after 200 seconds. Its file is named after the card: please send it, as an issue or by mail.
"""

import argparse
import re
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.machine import header, machine
from benchmarks.table.rows import Row, table
from system.command_line import CommandLine
from system.exit import exit_with
from system.files import read_json, write_json, write_text

# Each module has rows(device, quick) -> list[Row]; the order is that of the table.
BENCHMARKS = {
    "dsd_step": "benchmarks.table.dsd_step",
    "fast_options": "benchmarks.table.fast_options",
    "crop_loading": "benchmarks.table.crop_loading",
    "whole_volume": "benchmarks.table.whole_volume",
    "native_prediction": "benchmarks.table.native_prediction",
    "scaling": "benchmarks.table.scaling",
    "fuzz_readers": "benchmarks.fuzz_readers",
    "surface_metrics": "benchmarks.table.surface_metrics",
}

# Of a GPU, those that compute on it, the shortest first. Sizes and repeats are chosen for an H100.
ON_GPU = ("whole_volume", "dsd_step", "fast_options")
LAST_START_S = 200  # of a benchmark of a GPU; the last may take four minutes, most to compile


def names_for(device: str, asked: Sequence[str] | None) -> list[str]:
    """The benchmarks to run, in order.

    Args:
        asked: by --only; None for all that the device has.

    Raises:
        ValueError: one does not run on the device.
    """
    known = ON_GPU if device == "cuda" else tuple(BENCHMARKS)
    foreign = [name for name in asked or () if name not in known]
    if foreign:
        raise ValueError(f"--only {' '.join(foreign)}: does not run on {device}, only on the CPU; "
                         f"on {device} there are {', '.join(known)}.")
    return [name for name in known if asked is None or name in asked]


def file_name(device: str, quick: bool, gpu: str | None) -> str:
    """Of the results, without its ending; `gpu` as benchmarks.machine.gpu_of says it."""
    name = f"{'quick' if quick else 'table'}_{device}"
    if gpu is None:
        return name
    card = re.sub(r"[^a-z0-9]+", "-", gpu.split(",")[0].lower()).strip("-")
    return f"{name}_{card}"


def main() -> None:
    """Runs the benchmarks that were asked for."""
    parser = CommandLine(prog="python -m benchmarks", description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true",
                        help="small volumes and few repeats: shows that it runs, not how fast")
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).parent / "results", metavar="FOLDER")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    names, here = names_for(args.device, args.only), machine(args.device)
    print(f"{header(here)}\n", flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    where = args.output / file_name(args.device, args.quick, here["gpu"])
    path = where.with_suffix(".json")
    record = read_json(path) if path.exists() else {}
    began = time.perf_counter()
    for name in names:
        module, start = import_module(BENCHMARKS[name]), time.perf_counter()
        if args.device == "cuda" and start - began > LAST_START_S:
            print(f"{name}: left out, since the others took {start - began:.0f} s; "
                  f"--only {name} runs it alone")
            continue
        new = module.rows(args.device, args.quick)
        seconds = round(time.perf_counter() - start, 1)
        print(f"{name} ({seconds:.0f} s)\n{table(new)}\n", flush=True)
        record[name] = {"machine": machine(args.device), "seconds": seconds,
                        "rows": [row.as_json() for row in new]}
        record = {known: record[known] for known in BENCHMARKS if known in record}
        write_json(path, record)
        write_text(where.with_suffix(".md"), report(record))
        if hasattr(module, "draw"):
            rows = {known: part["rows"] for known, part in record.items()}
            print(module.draw(rows, args.output, where.name))
    print(report(record))
    if args.device == "cuda":
        print(f"Please send {where.with_suffix('.md')} and {path}.")


def report(record: dict) -> str:
    """All that is on record as one table, and what it was measured on."""
    rows = [Row.of_json(row) for part in record.values() for row in part["rows"]]
    machines = dict.fromkeys(header(part["machine"]) for part in record.values())
    seconds = ", ".join(f"{name} {part['seconds']:.0f} s" for name, part in record.items())
    return f"{table(rows)}\n\n{'; '.join(machines)}. Took: {seconds}.\n"


if __name__ == "__main__":
    exit_with(main)
