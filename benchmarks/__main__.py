"""python -m benchmarks [--only NAME ...] [--device cuda] [--quick]: the table of speed and memory.

Prints the rows as they are measured and writes them with the machine and the versions to
benchmarks/results/table_<device>.json and .md, again after each benchmark.
"""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.machine import machine
from benchmarks.rows import Row, table
from configs.files import write_json, write_text

# Each module has rows(device, quick) -> list[Row]; the order is that of the table.
BENCHMARKS = {
    "dsd_step": "benchmarks.dsd_step",
    "fast_options": "benchmarks.fast_options",
    "crop_loading": "benchmarks.crop_loading",
}


def main() -> int:
    """Runs the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
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
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    for name in args.only:
        start = time.perf_counter()
        new = import_module(BENCHMARKS[name]).rows(args.device, args.quick)
        seconds[name] = round(time.perf_counter() - start, 1)
        rows += new
        print(f"{name} ({seconds[name]:.0f} s)\n{table(new)}\n", flush=True)
        record = {"command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
                  "machine": machine(args.device), "seconds": seconds,
                  "rows": [row.as_json() for row in rows]}
        where = args.output / f"table_{args.device}"
        write_json(where.with_suffix(".json"), record)
        write_text(where.with_suffix(".md"), f"{table(rows)}\n")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
