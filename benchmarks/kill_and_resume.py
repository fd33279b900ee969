"""Trainings are killed at random moments and resumed: do they end with the bits of a whole run?

python -m benchmarks.kill_and_resume [--kills 14] [--seed 0]

Each run is a process of its own with the training script's `main` (a small nnU-Net with DSD on
phantoms, on the CPU), forked from one that has done the imports, which take longer than the run.
It gets a signal at a moment drawn evenly over the length of an uninterrupted run; kills that come
before the run's folder is there, or too late, are drawn again. It is then started with --resume
until it ends by itself. It survived when the weights, the optimiser, every random generator, the
history and the scores are those of the uninterrupted run, bit for bit.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from system.command_line import CommandLine
from system.exit import exit_with
from system.files import write_text

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
EPOCHS, CASES = 3, 9
SETTINGS = ("--filters", 4, 8, 8, "--img_size", 16, 16, 16, "--device", "cpu", "--epochs", EPOCHS,
            "--training_split", 2, "--validation_split", 2, "--cache", "memory")
COMPARED = ("network", "optimizer", "scaler", "history", "rng_state", "python_rng_state",
            "numpy_rng_state")


def begin(folder: Path, *arguments: object) -> int:
    """Fork a process that runs the training script in `folder`; its id."""
    import train_SelfDistil_Original as script

    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    log = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = [script.__file__, *map(str, (*arguments, *SETTINGS))]
    status = 1
    try:
        exit_with(script.main)
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.stdout.flush()
        os._exit(status)


def end(pid: int) -> int:
    """Wait for a process; its exit status, negative for a signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end_after(pid: int, seconds: float, number: int) -> int | None:
    """Send a signal after a time; the exit status, or None where the process was faster."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status) or None
        time.sleep(min(left, 0.005))
    os.kill(pid, number)
    return end(pid) or None  # 0 where the signal came when all was done


def result(run: Path) -> dict:
    """What two runs must have in common."""
    last, best = (torch.load(run / f"{name}.model", weights_only=True)
                  for name in ("last", "best"))
    return {"last": {name: last[name] for name in COMPARED}, "best": best["network"],
            "files": [(run / name).read_bytes()
                      for name in ("metrics.jsonl", "per_case.csv", "summary.json")],
            "pictures": sorted(path.name for path in (run / "pictures").iterdir())}


def equal(one: object, other: object) -> bool:
    """Whether two results are the same to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def where(run: Path) -> str:
    """What a killed run had left; a file that cannot be read raises."""
    found = {name: torch.load(run / f"{name}.model", weights_only=True)
             for name in ("last", "best", "interrupted") if (run / f"{name}.model").is_file()}
    if "interrupted" in found:
        return "within an epoch"
    if "last" not in found:
        return "in the first epoch"
    done = len(found["last"]["history"])
    return "in a later epoch" if done < EPOCHS else "after the last epoch"


def trial(data: Path, folder: Path, seconds: float, number: int,
          workers: int) -> tuple[int, str, bool] | None:
    """One kill: its exit status, what was left, and whether the run survived.

    None where it came too late, or when there was no run yet.
    """
    folder.mkdir()
    run = folder / "experiments" / "Hippocampus_nnUnet_Test.exp"
    arguments = (data, "_", "--experiment", run.name, "--num_workers", workers)
    status = end_after(begin(folder, *arguments), seconds, number)
    if status is None or not (run / "config.json").is_file():
        return None
    left = where(run)
    ended = end(begin(folder, *arguments, "--resume"))
    done = ended == 0 or (ended == 2 and left == "after the last epoch")  # nothing was left to do
    same = done and equal(result(run), result(data.parent / "whole/experiments" / run.name))
    return status, left, same


def main() -> int:
    """Kills, resumes, prints the table and writes it."""
    parser = CommandLine(prog="python -m benchmarks.kill_and_resume",
                         description=__doc__,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14, help="of each signal (default: 14)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path,
                        default=Path(__file__).parent / "results" / "kill_and_resume.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    import data.volumes.loaders  # noqa: F401, I001  (once, for every process that is forked)
    import managers  # noqa: F401
    import reports  # noqa: F401
    from data.phantoms.make import make_phantoms

    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_phantoms("hippocampus", str(root / "data"), CASES, (24, 24, 24), progress=False)
        (root / "whole").mkdir()
        start = time.monotonic()
        status = end(begin(root / "whole", root / "data", "_", "--experiment",
                           "Hippocampus_nnUnet_Test.exp", "--num_workers", 0))
        whole_seconds = time.monotonic() - start
        assert status == 0, (root / "whole" / "output.txt").read_text()
        print(f"uninterrupted: {whole_seconds:.1f} s", flush=True)
        rows, places, number_of_trial = [], {}, 0
        for number in SIGNALS:
            statuses, survived, lost = set(), 0, []
            while survived + len(lost) < args.kills:
                number_of_trial += 1
                folder = root / f"trial{number_of_trial}"
                seconds = float(rng.uniform(0, whole_seconds))
                found = trial(root / "data", folder, seconds, number, number_of_trial % 2)
                if found is None:
                    continue
                status, left, same = found
                statuses.add(status)
                places[left] = places.get(left, 0) + 1
                survived += same
                if not same:
                    lost.append(f"{seconds:.2f} s ({left})")
                    print((folder / "output.txt").read_text(), file=sys.stderr)
                print(f"{number.name} at {seconds:.2f} s, {left}: {'same' if same else 'LOST'}",
                      flush=True)
            rows.append(f"| {number.name} | {args.kills} | {survived} | {len(lost)} | "
                        f"{', '.join(map(str, sorted(statuses)))} | {'; '.join(lost)} |")
    about = machine()
    text = "\n".join([
        "# Killed trainings, resumed", "",
        f"`python -m benchmarks.kill_and_resume --kills {args.kills} --seed {args.seed}`: "
        f"{args.kills * len(SIGNALS)} trainings of {EPOCHS} epochs ({whole_seconds:.1f} s when "
        f"left alone), each sent one signal at a random moment and resumed to its end; every other "
        f"one with a loader process. *Survived*: weights, optimiser, random generators, history "
        f"and scores are those of the uninterrupted run, bit for bit. Status: as the shell gives "
        f"it, negative where nothing could catch the signal.", "",
        "| signal | kills | survived | lost | exit status | when lost |",
        "|---|---|---|---|---|---|",
        *rows, "", "What the killed run had left behind: "
        + ", ".join(f"{place} {count}" for place, count in sorted(places.items())) + ".", "",
        f"{about['cpu']}, {about['cores']} cores, torch {about['versions']['torch']}, "
        f"{about['date']}, commit {about['commit']}.", ""])
    print(text)
    write_text(args.output, text)
    return int(any("| 0 |" not in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
