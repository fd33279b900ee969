"""Every command of README.md and docs/ runs on small data, here or in the test that is named."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = {path.name: path.read_text(encoding="utf-8")
         for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}

# Commands that other tests run: what they begin with, or hold, and where.
ELSEWHERE = {
    r"make (demo|test)": ".ci/run",
    r"train_\w+\.py .*(--training_split (4|24)|MMWHS/MR).*": "tests/cli/test_published_commands.py",
    r"train_\w+\.py phantoms|eval\.py .*Hippocampus_phantoms": "tests/cli/test_train_and_eval.py",
    r"eval\.py .*CT_MMWHS_UNETR_SelfDist_Original_Fold1": "tests/cli/test_train_and_eval.py",
    r"scripts/score_side_outputs\.py": "tests/cli/test_train_and_eval.py",
    r"scripts/make_phantoms\.py": "tests/cli/test_make_phantoms.py",
    r"scripts/preprocess_deeplesion\.py": "tests/cli/test_preprocess_deeplesion.py",
    r"pretrain_DeSD\.py": "tests/cli/test_pretrain_desd.py",
    r"(train|eval).*(resnet|DeSD)": "tests/cli/test_resnet_unet.py",
    r"eval\.py .*--tune_postprocessing": "tests/cli/test_predict.py",
    r"cross_validate\.py .*--executor slurm": "tests/studies/test_executors.py",
    r"cross_validate\.py": "tests/cli/test_cross_validate.py",
    r"predict\.py": "tests/cli/test_predict.py",
    r"run_study\.py": "tests/cli/test_run_study.py",
    r"reports NAME\.cv": "tests/reports/html/test_page_file.py",
    r"network my_nets:segresnet": "tests/cli/test_readme.py",
}
SMALL = {"nnunet": "--img_size 16 16 16 --filters 4 8 8", "unetr": "--img_size 32 32 32 "
         "--feature_size 4"}
TRAIN = "--epochs 1 --training_split 1 --device cpu --overwrite"


def commands_of(page):
    """The commands of a page's code blocks, each on one line."""
    blocks = re.findall(r"^```\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)
    found = [command for block in blocks
             for command in re.findall(r"^(?:python|torchrun|make) (?:.|\\\n)*?[^\\]$", block,
                                       re.MULTILINE)]
    return [re.sub(r"\s*\\\n\s*", " ", command) for command in found]


def place_of(command):
    """The test that runs a command elsewhere; None where it is run here."""
    return next((test for sign, test in ELSEWHERE.items() if re.search(sign, command)), None)


def test_the_other_tests_are_there():
    for test in ELSEWHERE.values():
        assert (ROOT / test).exists(), test
    every = [command for page in PAGES for command in commands_of(page)]
    assert len(every) > 30
    here = [command for command in every if place_of(command) is None]
    assert len(here) >= 9, here


@pytest.fixture
def folder(phantoms, tmp_path):
    """A folder with the data that the pages speak of."""
    hippocampus = phantoms("hippocampus", 5, (24, 24, 24)) / "Task04_Hippocampus"
    (tmp_path / "Task04_Hippocampus").symlink_to(hippocampus)
    spleen = tmp_path / "Task09_Spleen"
    shutil.copytree(hippocampus, spleen)
    about = json.loads((spleen / "dataset.json").read_text()) | {"modality": {"0": "CT"}}
    (spleen / "dataset.json").write_text(json.dumps(about))
    for path in (spleen / "imagesTr").glob("*.nii.gz"):
        _in_hu(path)
    return tmp_path


def _in_hu(path):
    """Make CT of an image: from air at -1000 to bone at 1000."""
    file = nibabel.load(path)
    values = file.get_fdata()
    scaled = 2000 * (values - values.min()) / (values.max() - values.min()) - 1000
    nibabel.save(nibabel.Nifti1Image(scaled.astype(np.int16), file.affine), path)


def smaller(command):
    """The command on small data: fewer epochs, narrower networks, two processes."""
    words = shlex.split(command.replace("--nproc_per_node=4", "--nproc_per_node=2"))
    if "train_" in command:
        words += shlex.split(TRAIN + " " + SMALL["unetr" if "UNETR" in command else "nnunet"])
        words += [] if "MMWHS" in command else ["--validation_split", "1"]
    elif "eval.py" in command:
        words += ["--device", "cpu"]
    return words


def run(command, folder, run_script_in):
    """Run it in the folder; a script within this process, modules in one of their own."""
    first, *words = smaller(command)
    own_process = {"--use_multi_gpus", "--estimate"}  # a fake GPU is made before any gradient
    # This process would keep its claim of a run that the next command replaces from another.
    if first == "python" and words[0] != "-m" and not own_process & set(words):
        return run_script_in(folder, *words)
    words = [str(ROOT / word) if re.fullmatch(r"\w+\.py", word) else word for word in words]
    if first == "torchrun":
        words = ["-m", "torch.distributed.run", *words]
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True,
                          timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})


def _scored_run(folder, run_script_in):
    """A run that the page has trained; where it trains none, a small one."""
    for path in (folder / "experiments").glob("*.exp/per_case.csv"):
        return path.parent
    done = run_script_in(folder, "train_basic.py", "Task04_Hippocampus", "_", "--experiment",
                         "First.exp", *shlex.split(f"{TRAIN} {SMALL['nnunet']}"),
                         "--validation_split", "1", "--network", "nnunet",
                         "--dataset", "hippocampus")
    assert done.returncode == 0, done.stderr
    return folder / "experiments" / "First.exp"


@pytest.mark.parametrize("page", [page for page in PAGES if any(
    place_of(command) is None for command in commands_of(page))])
def test_the_commands_of_a_page_run_in_their_order(page, folder, phantoms, run_script_in):
    if page == "cluster.md":
        (folder / "DATA").symlink_to(phantoms("mmwhs-ct", 5, (24, 24, 20)))
    else:
        (folder / "DATA").symlink_to(folder / "Task04_Hippocampus")
    for command in commands_of(page):
        if place_of(command) is not None:
            continue
        runs = folder / "experiments"
        if "reports" in command or "export_model" in command:  # of the runs before
            scored = _scored_run(folder, run_script_in)
            for name in ("NAME", "BASELINE", "OTHER", "CT"):
                if not (runs / f"{name}.exp").exists():
                    shutil.copytree(scored, runs / f"{name}.exp")
        done = run(command, folder, run_script_in)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
