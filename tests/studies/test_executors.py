"""Running commands here and as jobs; Slurm is three small scripts that stand in for it."""

import os
import sys
from pathlib import Path

import pytest

from studies import executors
from studies.executors import Outcome, job_executor, run_jobs, run_logged

SAY = [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]
FAIL = [sys.executable, "-c", "import sys; sys.exit('error: no such data')"]


def test_a_command_is_logged_and_shown(tmp_path, capfdbinary):
    assert run_logged(FAIL, tmp_path / "fail.log", show=True) == 1
    assert Outcome(1, tmp_path / "fail.log").tail() == "    error: no such data"
    assert run_logged(SAY, tmp_path / "say.log") == 0
    assert sorted((tmp_path / "say.log").read_text().split()) == ["err", "out"]
    assert capfdbinary.readouterr().out == b"error: no such data\n"


def test_only_the_end_of_a_log_is_shown(tmp_path):
    (tmp_path / "log").write_text("".join(f"line {n}\n" for n in range(50)))
    assert Outcome(1, tmp_path / "log").tail(2) == "    line 48\n    line 49"
    assert "no log" in Outcome(1, tmp_path / "absent").tail()


def test_jobs_of_submitit_here(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    seen = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    executor = job_executor("submitit-local", {}, tmp_path / "jobs", "Try")
    outcomes = run_jobs({"fold 1": FAIL, "fold 2": seen}, executor, tmp_path, poll_seconds=0.1)
    assert "error: no such data" in outcomes["fold 1"].tail(40)
    log = outcomes["fold 2"].log
    assert "3\n" in log.with_name(log.name.replace("_log.err", "_log.out")).read_text()


def test_without_submitit_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match="pip install submitit"):
        job_executor("slurm", {}, tmp_path, "Try")


@pytest.mark.parametrize(("folder", "name"), [("jobs", "A\n#SBATCH --wrap=x"), ("a\nb", "Try")])
def test_no_name_begins_a_line_of_a_job_script(tmp_path, folder, name):
    with pytest.raises(ValueError, match="folder of its jobs, .*has the control character"):
        job_executor("submitit-local", {}, tmp_path / folder, name)


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """sbatch, srun and sacct in PATH; sbatch keeps its script and runs the array."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script(tools / "sbatch", f"""
cp "$1" {tmp_path}/submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
cp "$1" {tmp_path}/running.sh
for task in $(seq 0 ${{last:-0}}); do
    env SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_NTASKS=1 \\
        SLURM_LOCALID=0 SLURM_PROCID=0 SLURM_NODEID=0 SLURM_NNODES=1 bash {tmp_path}/running.sh
done > {tmp_path}/sbatch.log 2>&1 &
echo "Submitted batch job 7"
""")
    script(tools / "srun", """
while [[ $1 == --* ]]; do
    case $1 in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
""")
    # never says that a job has ended: its result does
    script(tools / "sacct", r"printf 'JobID|State|NodeList\n7_0|RUNNING|n\n7_1|RUNNING|n\n'")
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


OPTIONS = {"timeout_min": 600, "slurm_partition": "gpu", "gpus_per_node": 1, "mem_gb": 32,
           "slurm_additional_parameters": {"nice": 100}, "slurm_array_parallelism": 1}


def test_slurm_gets_an_array_with_the_options(slurm):
    marks = {name: slurm / name for name in ("fold 1", "fold 2")}
    executor = job_executor("slurm", OPTIONS, slurm / "jobs", "Try")
    outcomes = run_jobs({name: ["touch", str(path)] for name, path in marks.items()}, executor,
                        slurm, poll_seconds=0.1)
    assert all(path.exists() for path in marks.values()), (slurm / "sbatch.log").read_text()
    assert set(outcomes) == set(marks) and outcomes["fold 1"].log.name == "7_0_0_log.err"
    lines = (slurm / "submitted.sh").read_text().splitlines()
    for flag in ("--partition=gpu", "--time=600", "--gpus-per-node=1", "--mem=32GB", "--nice=100",
                 "--array=0-1%1", "--job-name=Try"):
        assert f"#SBATCH {flag}" in lines


def test_jobs_of_an_earlier_call_are_waited_for_not_submitted_again(slurm, monkeypatch):
    executor = job_executor("slurm", OPTIONS, slurm / "jobs", "Try")
    commands = {name: ["true"] for name in ("fold 1", "fold 2")}
    run_jobs(commands, executor, slurm, poll_seconds=0.1)
    (slurm / "submitted.sh").unlink()
    results = sorted((slurm / "jobs").glob("*_result.pkl"))
    assert len(results) == 2
    for path in results:
        path.unlink()
    executor.job_class.watcher.clear()

    def finish(_seconds):
        for path in results:
            path.touch()
    monkeypatch.setattr(executors.time, "sleep", finish)
    assert set(run_jobs(commands, executor, slurm)) == set(commands)
    assert not (slurm / "submitted.sh").exists()


def test_no_slurm_here_and_unknown_options_are_said(slurm, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="partiton"):
        job_executor("slurm", {"slurm_partiton": "gpu"}, tmp_path / "jobs", "Try")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="srun"):
        job_executor("slurm", {}, tmp_path / "jobs", "Try")
