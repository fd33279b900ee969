"""Change single lines of the code and check that a test fails: a change that survives lacks one.

python scripts/mutate.py                        all of tests/mutations.json: half an hour on 2 cores
python scripts/mutate.py --only losses/ --jobs 2

The changes are typical slips: an axis swapped, a mean for a sum, < for <=. Each is made in a copy
of the repository, never in place, and the tests named with it are run there. tests/mutations.json
is a list of {"file", "old", "new", "tests"}; "old" must occur exactly once in its file. Prints a
table; exit status 1 if a change survives, 2 if the list does not fit the code or its tests fail
without a change.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
MUTATIONS = ROOT / "tests" / "mutations.json"
OUTCOMES = {0: "SURVIVES", 1: "noticed"}  # by pytest's exit status; others: pytest failed


@dataclass(frozen=True)
class Mutation:
    """One change of a file, and the test files that should notice it."""

    file: str
    old: str
    new: str
    tests: list[str]


def read_mutations(path: Path, root: Path = ROOT) -> list[Mutation]:
    """The list, checked against the code.

    Raises:
        ValueError: all entries whose old text does not occur exactly once, that change nothing,
            or whose tests are not there.
    """
    mutations = [Mutation(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    problems = []
    for mutation in mutations:
        source = root / mutation.file
        found = source.read_text(encoding="utf-8").count(mutation.old) if source.is_file() else 0
        if found != 1:
            problems.append(f"{mutation.file}: {mutation.old!r} occurs {found} times, not once")
        if mutation.old == mutation.new:
            problems.append(f"{mutation.file}: {mutation.old!r} is not changed")
        lacking = [test for test in mutation.tests if not (root / test).is_file()]
        if lacking or not mutation.tests:
            problems.append(f"{mutation.file}: no such tests: {', '.join(lacking) or 'none named'}")
    if problems:
        raise ValueError("\n".join([f"{path} does not fit the code:", *problems]))
    return mutations


def copy_repository(target: Path) -> Path:
    """Copy the working tree's files that git tracks or would add."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def run_tests(copy: Path, tests: list[str]) -> int:
    """Run pytest in a copy without leaving compiled files; returns its exit status."""
    data = os.environ.get("HIPPOCAMPUS_DIR", str(ROOT.parent / "shared/data/Task04_Hippocampus"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests], cwd=copy,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"HIPPOCAMPUS_DIR": data, "PYTHONDONTWRITEBYTECODE": "1"}).returncode


def outcome_of(mutation: Mutation, copy: Path) -> str:
    """Make a change, run its tests and undo it: "noticed", "SURVIVES" or why it was not tested."""
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        status = run_tests(copy, mutation.tests)
    finally:
        path.write_text(before, encoding="utf-8")
    return OUTCOMES.get(status, f"NOT TESTED (pytest: {status})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="of files with this in the name")
    parser.add_argument("--jobs", type=int, default=1, help="changes tested at once (default 1)")
    args = parser.parse_args()
    try:
        mutations = [one for one in read_mutations(MUTATIONS) if args.only in one.file]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutate.") as scratch:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(args.jobs):
            copies.put(copy_repository(Path(scratch) / str(number)))
        tests = sorted({test for mutation in mutations for test in mutation.tests})
        if run_tests(Path(scratch) / "0", tests) != 0:
            print("error: the tests do not pass on the code as it is.", file=sys.stderr)
            return 2
        print("| file | was | becomes | tests |\n|---|---|---|---|", flush=True)

        def judge(mutation: Mutation) -> str:
            copy = copies.get()
            outcome = outcome_of(mutation, copy)
            copies.put(copy)
            print(f"| {mutation.file} | `{mutation.old}` | `{mutation.new}` | {outcome} |",
                  flush=True)
            return outcome

        with ThreadPoolExecutor(args.jobs) as pool:
            outcomes = list(pool.map(judge, mutations))
    print(f"\n{outcomes.count('noticed')} of {len(outcomes)} changes were noticed.")
    return 0 if set(outcomes) <= {"noticed"} else 1


if __name__ == "__main__":
    sys.exit(main())
