"""The authors' four published commands as printed, on phantoms, for one epoch.

UNETR with self-distillation runs at full size: only the data folder and the number of epochs are
changed. The others are read as printed, and two of them run smaller: both scripts, both networks.
"""

import json
import shlex

import pytest

from configs import training_config

pytestmark = pytest.mark.full

COMMANDS = {
    "CT_MMWHS_UNETR_Basic_Fold1.exp":
        "train_basic.py PATH _ --img_size 96 96 96 --batch_size 1 --epochs 1 "
        "--experiment CT_MMWHS_UNETR_Basic_Fold1.exp --training_split 4 --device cuda:0 "
        "--show_verbose",
    "CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp":
        "train_SelfDistil_Original.py PATH _ --img_size 96 96 96 --batch_size 1 --epochs 1 "
        "--experiment CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp --training_split 4 "
        "--device cuda:0 --show_verbose",
    "multimodalMR_MSD_BraTS_SwinUNETR_Basic.exp":
        "train_basic.py PATH _ --img_size 128 128 128 --batch_size 1 --epochs 1 "
        "--experiment multimodalMR_MSD_BraTS_SwinUNETR_Basic.exp --training_split 24 "
        "--device cuda:0 --show_verbose",
    "multimodalMR_MSD_BraTS_SwinUNETR_SelfDist_Original.exp":
        "train_SelfDistil_Original.py PATH _ --img_size 128 128 128 --batch_size 1 --epochs 1 "
        "--experiment multimodalMR_MSD_BraTS_SwinUNETR_SelfDist_Original.exp "
        "--training_split 24 --device cuda:0 --show_verbose",
}
FULL_SIZE = "CT_MMWHS_UNETR_SelfDist_Original_Fold1.exp"
READ_ONLY = "multimodalMR_MSD_BraTS_SwinUNETR_Basic.exp"
SMALLER = {"unetr": "--img_size 32 32 32 --feature_size 4",
           "swinunetr": "--img_size 64 64 64 --feature_size 12"}
# One case trains, the fewest that leave the published number to hold out.
PHANTOMS = {"mmwhs-ct": (5, (24, 24, 20)), "msd-brats": (26, (24, 24, 20))}
LARGE_FILES = ("best.model", "last.model")  # hundreds of MB each


@pytest.mark.parametrize("name", COMMANDS)
def test_a_published_command_is_read_as_printed(name):
    script, *arguments = shlex.split(COMMANDS[name])
    config = training_config("basic" if script == "train_basic.py" else "dsd", arguments)
    unetr = "_UNETR" in name
    assert config.method == ("basic" if "Basic" in name else "dsd")
    assert (config.dataset, config.network, config.fold) == (
        ("mmwhs-ct", "unetr", 1) if unetr else ("msd-brats", "swinunetr", 1))
    assert config.img_size == ((96, 96, 96) if unetr else (128, 128, 128))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != READ_ONLY])
def test_a_published_command_runs_as_printed(name, phantoms, run_process, tmp_path):
    dataset = "mmwhs-ct" if "MMWHS" in name else "msd-brats"
    network = "unetr" if "_UNETR" in name else "swinunetr"
    data = phantoms(dataset, *PHANTOMS[dataset])
    script, *arguments = shlex.split(COMMANDS[name].replace("PATH", shlex.quote(str(data))))
    if name != FULL_SIZE:
        arguments += shlex.split(SMALLER[network])
    done = run_process(script, *arguments)
    assert done.returncode == 0, done.stderr
    assert "warning: --device cuda:0: there is no CUDA GPU here; the CPU is used." in done.stderr

    run = tmp_path / "experiments" / name
    config = json.loads((run / "config.json").read_text())
    assert (config["dataset"], config["network"], config["fold"]) == (dataset, network, 1)
    assert config["method"] == ("basic" if "Basic" in name else "dsd")
    line = json.loads((run / "metrics.jsonl").read_text())
    assert ("kl_dec" in line) == ("SelfDist" in name)
    assert (run / "summary.json").is_file()
    assert not (tmp_path / "_").exists()
    for file in LARGE_FILES:
        (run / file).unlink()
