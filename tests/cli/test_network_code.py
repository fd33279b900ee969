"""The code of a network that only a run folder names is not run before the user trusts it."""

import dataclasses

import pytest

from configs import read_config
from managers.runs.state import evaluation_command
from reports import write_report

DSD = "train_SelfDistil_Original.py"
NAME = "Hippocampus_own_Fold1.exp"
MODULE = '''
import pathlib
from monai.networks.nets import DynUNet
from networks import find_levels

pathlib.Path(__file__).with_name("imported").touch()


def factory(in_channels, num_classes, img_size):
    network = DynUNet(3, in_channels, num_classes, [3] * 3, [1, 2, 2], [2, 2], filters=(2, 3, 4),
                      norm_name="instance")
    return find_levels(network, in_channels, img_size, encoder=["input_block"],
                       decoder=["bottleneck", "upsamples.0"])
'''
TRAINING = ("--dataset", "hippocampus", "--network", "folder.helper:factory", "--img_size", 8, 8, 8,
            "--epochs", 1, "--training_split", 2, "--device", "cpu")


@pytest.fixture(scope="module")
def data(phantoms):
    return phantoms("hippocampus", 6, (16, 16, 16))


@pytest.fixture(scope="module")
def trained(run_script_in, data, tmp_path_factory):
    """A folder with the module, and a run of a command line that named the network."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "folder").mkdir()
    (folder / "folder" / "helper.py").write_text(MODULE)
    done = run_script_in(folder, DSD, data, "_", "--experiment", NAME, *TRAINING)
    return folder, done


@pytest.fixture
def sent(trained):
    """The folder, as if it came from somebody else: nothing has been imported yet."""
    folder, done = trained
    assert done.returncode == 0, done.stderr
    (folder / "folder" / "imported").unlink(missing_ok=True)
    return folder


def scripts(data):
    image = next(data.rglob("imagesTr/*.nii.gz"))
    return {
        "eval.py": ("--experiment", NAME, "--device", "cpu"),
        "predict.py": ("--experiment", NAME, "--input", image, "--output", "out", "--device",
                       "cpu"),
        "scripts/export_model.py": ("--experiment", NAME, "--format", "safetensors", "--output",
                                    "out.safetensors"),
        "scripts/score_side_outputs.py": (NAME, "--device", "cpu")}


def test_every_script_that_rebuilds_a_network_asks(run_script, sent, data):
    imported = sent / "folder" / "imported"
    for script, arguments in scripts(data).items():
        done = run_script(script, *arguments, cwd=sent)
        assert done.returncode == 2, script
        assert "folder.helper" in done.stderr and "--trust_network_code" in done.stderr
        assert not imported.exists()
        assert not list(sent.glob("out*"))
    for script, arguments in scripts(data).items():
        done = run_script(script, *arguments, "--trust_network_code", cwd=sent)
        assert done.returncode == 0, done.stderr
        assert imported.exists()
        imported.unlink()


def test_several_runs_are_named_together(run_script, sent, data):
    other = sent / "experiments" / "other.exp"
    other.mkdir()
    for path in (sent / "experiments" / NAME).glob("*.json"):
        (other / path.name).write_text(path.read_text().replace("folder.helper", "folder.second"))
    done = run_script("predict.py", "--experiment", NAME, "other.exp", *scripts(data)
                      ["predict.py"][2:], cwd=sent)
    assert done.returncode == 2
    assert "module folder.helper would" in done.stderr
    assert "module folder.second would" in done.stderr


def test_nothing_else_imports_it(run_script, sent, data):
    """Reports, weights to start from, and a run that other settings cannot continue."""
    own = sent / "experiments" / NAME
    write_report([str(own)])
    assert (own / "report.html").is_file()
    builtin = (data, "_", "--dataset", "hippocampus", "--network", "nnunet", "--filters", 2, 3, 4,
               *TRAINING[4:])
    for arguments, status in ((("--experiment", "B.exp", "--init_from", own), 0),
                              (("--experiment", NAME, "--resume"), 2)):
        done = run_script("train_basic.py", *builtin, *arguments, cwd=sent)
        assert done.returncode == status, done.stderr
    assert not (sent / "folder" / "imported").exists()


def test_a_network_of_this_command_line_is_trusted(run_script, sent, data):
    done = run_script(DSD, data, "_", "--experiment", NAME, *TRAINING, "--epochs", 2, "--resume",
                      cwd=sent)
    assert done.returncode == 0, done.stderr
    assert (sent / "folder" / "imported").exists()
    run = read_config(sent / "experiments" / NAME)
    assert "--trust_network_code" in evaluation_command(run, "validation")
    builtin = dataclasses.replace(run, network="nnunet")
    assert "--no-trust_network_code" in evaluation_command(builtin, "validation")
