"""python -m benchmarks [--only NAME ...] [--device cuda] [--quick]: the table of speed and memory.

Prints the rows as they are measured and writes them with the machine and the versions to
benchmarks/results/table_<device>.json and .md after each benchmark; benchmarks that were not asked
for keep their last figures there.
"""

import argparse
import time
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.machine import machine
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


def main() -> None:
    """Runs the benchmarks that were asked for."""
    parser = CommandLine(prog="python -m benchmarks", description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true",
                        help="small volumes and few repeats: shows that it runs, not how fast")
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).parent / "results", metavar="FOLDER")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    args.output.mkdir(parents=True, exist_ok=True)
    where = args.output / f"{'quick' if args.quick else 'table'}_{args.device}"
    path = where.with_suffix(".json")
    record = read_json(path) if path.exists() else {}
    for name in args.only:
        module, start = import_module(BENCHMARKS[name]), time.perf_counter()
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


def report(record: dict) -> str:
    """All that is on record as one table, and what it was measured on."""
    rows = [Row.of_json(row) for part in record.values() for row in part["rows"]]
    machines = dict.fromkeys(
        f"{m['date']}, {m['gpu'] or m['cpu']}, {m['threads']} threads, Python {m['python']}, "
        + ", ".join(f"{name} {version}" for name, version in m["versions"].items())
        for m in (part["machine"] for part in record.values()))
    seconds = ", ".join(f"{name} {part['seconds']:.0f} s" for name, part in record.items())
    return f"{table(rows)}\n\n{'; '.join(machines)}. Took: {seconds}.\n"


if __name__ == "__main__":
    exit_with(main)
