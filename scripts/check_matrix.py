"""Run the tests with several versions of Python, torch and MONAI, and write the table.

python scripts/check_matrix.py --pythons python3.11 python3.12 --torches 2.8.0 2.13.0 \
    --monais 1.5.2 1.6.1 --quick
python scripts/check_matrix.py --help

Each combination has a virtual environment of its own below --work, which takes up to 8 GB with a
CUDA build of torch and is deleted when its tests are done. What is in the table already, for the
same tests and commit, is not run again. Exit status 1 when a combination fails.
"""

import argparse
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(ROOT))

from system.command_line import CommandLine  # noqa: E402
from system.exit import exit_with  # noqa: E402 - the line above
from system.files import read_json, write_json, write_text  # noqa: E402

QUICK = ("tests/losses", "tests/networks", "tests/metrics", "tests/managers", "tests/data",
         "tests/cli/test_train_and_eval.py", "tests/cli/test_several_processes.py",
         "tests/cli/test_pretrain_desd.py", "tests/cli/test_predict.py")
TOOLS = ("pytest", "pytest-xdist", "pytest-timeout", "hypothesis", "ruff")
SHOWN = ("python", "torch", "monai", "numpy", "outcome")


def main() -> None:
    options = parser().parse_args()
    tests = list(QUICK if options.quick else options.tests)
    table = Path(options.table)
    rows = read_json(table.with_suffix(".json")) if table.with_suffix(".json").exists() else []
    about = {"tests": tests, "commit": commit()}
    for python, torch, monai in product(options.pythons, options.torches, options.monais):
        wanted = {"python": version_of(python), "torch": torch, "monai": monai}
        if any(row["wanted"] == wanted and row["about"] == about for row in rows):
            print(f"{named(wanted)}: in the table already", flush=True)
            continue
        found = checked(python, wanted, tests, Path(options.work), options.workers)
        print(f"{named(wanted)}: {found['outcome']}", flush=True)
        rows = [row for row in rows if row["wanted"] != wanted]
        rows.append({"wanted": wanted, "about": about} | found)
        write_json(table.with_suffix(".json"), rows)
        write_text(table.with_suffix(".md"), as_table(rows))
    if any(row["status"] != 0 for row in rows):
        sys.exit(1)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    new = CommandLine(description="Run the tests with several versions.")
    new.add_argument("--pythons", nargs="+", default=["python3.11", "python3.12"],
                     help="interpreters (default: %(default)s)")
    new.add_argument("--torches", nargs="+", default=["2.8.0", "2.13.0"],
                     help="versions (default: %(default)s)")
    new.add_argument("--monais", nargs="+", default=["1.5.2", "1.6.1"],
                     help="versions (default: %(default)s)")
    new.add_argument("--tests", nargs="+", default=["tests"], help="files or folders (default all)")
    new.add_argument("--quick", action="store_true", help=f"these: {' '.join(QUICK)}")
    new.add_argument("--work", default="matrix", help="folder of the environments (default matrix)")
    new.add_argument("--workers", default="auto", help="test processes (default: one per core)")
    new.add_argument("--table", default=str(ROOT / "benchmarks" / "results" / "compatibility"),
                     help="the table without .json and .md (default benchmarks/results/...)")
    return new


def version_of(python: str) -> str:
    """The version of an interpreter.

    Raises:
        ValueError: there is none.
    """
    try:
        return subprocess.run([python, "-c", "import platform; print(platform.python_version())"],
                              check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"--pythons {python}: cannot be run ({error}); give the path of an "
                         f"interpreter.") from error


def checked(python: str, wanted: dict[str, str], tests: list[str], work: Path,
            workers: str) -> dict[str, Any]:
    """Install one combination, run the tests with it, and remove it."""
    # Absolute, since the tests run in another folder than this one.
    folder = work.absolute() / named(wanted).replace(" ", "-")
    if folder.exists() and not (folder / "pyvenv.cfg").is_file():
        raise ValueError(f"{folder}: is in the way and not an environment; give another --work.")
    shutil.rmtree(folder, ignore_errors=True)
    own = folder / "bin" / "python"
    try:
        subprocess.run([python, "-m", "venv", folder], check=True)
        done = subprocess.run(
            [own, "-m", "pip", "install", "-q", "--disable-pip-version-check",
             "-r", ROOT / "requirements.txt", f"torch=={wanted['torch']}",
             f"monai=={wanted['monai']}", *TOOLS], capture_output=True, text=True)
        if done.returncode != 0:
            return {"status": done.returncode, "versions": {},
                    "outcome": "not installed: " + last_line(done.stderr)}
        versions = subprocess.run(
            [own, "-c", "from importlib.metadata import version as v; "
             "print(*(v(n) for n in ('torch', 'monai', 'numpy', 'torchmanager')))"],
            check=True, capture_output=True, text=True).stdout.split()
        done = subprocess.run(
            [own, "-m", "pytest", "-q", "-n", workers, "--maxprocesses", "4", "--dist", "loadfile",
             "--no-loadscope-reorder", "-p", "no:cacheprovider", *tests],
            cwd=ROOT, capture_output=True, text=True)
        (work / f"{folder.name}.log").write_text(done.stdout + done.stderr)
        names = ("torch", "monai", "numpy", "torchmanager")
        return {"status": done.returncode, "versions": dict(zip(names, versions, strict=True)),
                "outcome": re.sub(r" in [\d.]+s.*", "", last_line(done.stdout))}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def named(wanted: dict[str, str]) -> str:
    """A combination in words."""
    return f"python {wanted['python']} torch {wanted['torch']} monai {wanted['monai']}"


def numbers(version: str) -> list[int]:
    """What versions are sorted by: 2.8 before 2.13."""
    return [int(number) for number in re.findall(r"\d+", version)]


def commit() -> str:
    """Of this repository."""
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], check=True,
                          capture_output=True, text=True).stdout.strip()


def as_table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, with what was run."""
    lines = ["# Versions that the tests ran with", "",
             "Made by `python scripts/check_matrix.py`.", "",
             f"| {' | '.join(SHOWN)} |", f"|{'---|' * len(SHOWN)}"]
    for row in sorted(rows, key=lambda row: [numbers(v) for v in row["wanted"].values()]):
        cells = row["wanted"] | row["versions"] | {"outcome": row["outcome"]}
        lines.append(f"| {' | '.join(cells.get(name, '') for name in SHOWN)} |")
    for about in {(row["about"]["commit"], *row["about"]["tests"]) for row in rows}:
        lines += ["", f"Commit {about[0]}: `{' '.join(about[1:])}`"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    exit_with(main)
