"""Stand-ins for the scripts, which write a run folder at once, and a study of four runs.

Where "slow" is in the data folder, training goes on until it is told to stop; where "stopped" is,
someone has told it; where "fail" is, the basic method fails.
"""

import json

from managers.runs import state as run_states
from studies.execute import execute, executor_of
from studies.gather import progress_of
from studies.plans.matrix import study_plan

TRAIN = """
import json, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from configs import experiment_dir, training_config
config = training_config({method!r})
folder = experiment_dir(config.experiment)
def write(epochs):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "environment.json").write_text(json.dumps({{
        "command": ["train.py", *sys.argv[1:]], "python": "3", "packages": {{}}, "platform": "x",
        "device": "cpu", "device_name": "", "threads": 1, "cpus": 1, "git": None}}))
    (folder / "splits.json").write_text('[{{"train": ["x"], "val": ["y"], "test": ["1", "2"]}}]')
    (folder / "metrics.jsonl").write_text("".join(
        json.dumps({{"epoch": epoch, "seed": config.seed}}) + "\\n"
        for epoch in range(1, epochs + 1)))
    (folder / "timing.jsonl").write_text('{{"epoch": 1, "seconds": 90}}\\n')
    for name in ("best", "last"):
        (folder / f"{{name}}.model").write_text(json.dumps({{"epoch": epochs}}))
with open("calls", "a") as calls:
    calls.write(f"{{folder.stem}}{{' resume' if config.resume else ''}}\\n")
data = Path(config.data_dir)
if (data / "fail").exists() and config.method == "basic":
    sys.exit("error: nothing to train on")
if (data / "stopped").exists():
    sys.exit(143)
if (data / "slow").exists() and not config.resume:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    write(1)
    while True:
        signal.pause()
write(config.epochs)
"""

SCORE = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--experiment") + 1])
run = json.loads((folder / "config.json").read_text())
with open("calls", "a") as calls:
    calls.write(f"score {folder.stem}\\n")
gain = {"basic": 0.0, "dsd": 0.1}[run["method"]] + (run["seed"] - 100) / 100
(folder / "per_case.csv").write_text(
    "case_id,class,class_name,dice,hd95_mm,msd_mm,msd_label_to_pred_mm,assd_mm,empty\\n"
    + "".join(f"{case},1,left,{0.5 + gain},{3 - gain},1,1,1,\\n" for case in (1, 2)))
(folder / "summary.json").write_text(json.dumps({
    "group": sys.argv[sys.argv.index("--mode") + 1], "saved_model": "best"}))
"""

STUDY = {"title": "A study", "datasets": ["hippocampus"], "networks": ["nnunet"],
         "methods": {"basic": {"method": "basic"}, "dsd": {"method": "dsd"}},
         "seeds": [100, 101], "group": "testing", "epochs": 3}
NAMES = [f"hippocampus_nnunet_{method}_Fold1_seed{seed}" for seed in (100, 101)
         for method in ("basic", "dsd")]


def make_workplace(folder, monkeypatch):
    """Turn a folder into a working folder with these scripts in place of the real ones."""
    scripts = {}
    for method in ("basic", "dsd"):
        scripts[method] = folder / f"train_{method}.py"
        scripts[method].write_text(TRAIN.format(root=str(run_states.ROOT), method=method))
    (folder / "eval.py").write_text(SCORE)
    (folder / "mine.json").write_text(json.dumps(STUDY))
    (folder / "data").mkdir()
    monkeypatch.setattr(run_states, "SCRIPTS", {name: str(path) for name, path in scripts.items()})
    monkeypatch.setattr(run_states, "ROOT", folder)
    monkeypatch.setattr(run_states, "load_checkpoint", lambda path: {
        "history": [json.loads(path.read_text())]})
    monkeypatch.chdir(folder)


def config(*arguments):
    return study_plan(["mine.json", "--data", "data", "--output", "out",
                         *map(str, arguments)])


def run(made):
    return execute(made, executor_of(made, progress_of(made)))


def calls(workplace):
    path = workplace / "calls"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text.splitlines()


def states(made):
    return [progress_of(made)[name].state for name in NAMES]
