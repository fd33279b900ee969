"""What `pip install .` installs: built, unpacked, and used beside other packages of our names."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

from losses import dsd_loss

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]  # package to folder
DOCS = (ROOT / "docs" / "own_network.md").read_text(encoding="utf-8")


def sources():
    """Python files by their place in the package."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            found[Path(*package.split(".")) / path.relative_to(ROOT / folder)] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of a copy without the network."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools, which builds the package, is not installed here")
    copy = tmp_path_factory.mktemp("checkout")
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, copy / folder)
    (copy / "docs").mkdir()
    for name in ("pyproject.toml", "LICENSE", "docs/own_network.md"):
        shutil.copy(ROOT / name, copy / name)
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation",
                           "--no-deps", "--no-index", "--wheel-dir", copy / "dist", copy],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    path, = (copy / "dist").glob("dsd3d-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run_code(installed, tmp_path):
    """run_code(text) -> what it printed, run where losses, networks and metrics are others'."""
    for name in ("losses", "networks", "metrics"):
        (tmp_path / f"{name}.py").write_text('raise ImportError("the other one")\n')

    def run(text):
        (tmp_path / "script.py").write_text(text)
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True,
                              text=True, timeout=300, env=os.environ | {
                                  "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def example(name):
    """A complete program of the docs, by the comment that it begins with."""
    code = re.search(rf"```python\n(# {name}\n.*?)```", DOCS, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line]) <= 25
    return code


def test_the_wheel_holds_the_rooms_with_their_c_source_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name) for name in archive.namelist()]
    assert {name.parts[0].split("-")[0] for name in names} == {"dsd3d"}
    inside = {name for name in names if name.parts[0] == "dsd3d"}
    fused = Path("dsd3d/losses/fused")
    assert inside == {*sources(), fused / "cpu_passes.c", fused / "cpu_boxes.h",
                      fused / "cpu_lanes.h"}


def test_its_dependencies_are_what_the_rooms_import():
    needed = {"einops"}  # MONAI's UNETR
    for place, path in sources().items():
        if "nnunet" in place.parts:  # an extra, whose room asks for it by itself
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                needed |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                needed.add(node.module.split(".")[0])
    needed -= {*sys.stdlib_module_names, "triton"}  # comes with torch for CUDA
    dependencies = PROJECT["project"]["dependencies"]
    assert {re.match(r"[\w-]+", line)[0] for line in dependencies} == needed
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert set(dependencies) <= {line.split("#")[0].strip() for line in lines}


def test_a_step_is_that_of_the_checkout_where_other_packages_have_our_names(run_code):
    printed = run_code("""
import torch
import dsd3d
from dsd3d.losses import DSDLoss, dsd_loss
from dsd3d.metrics import dice
from dsd3d.networks import build_network, with_side_outputs
from dsd3d.losses.fused import cpu_passes
assert cpu_passes.SOURCE.is_file()
torch.manual_seed(0)
outputs = {"out": torch.randn(1, 3, 32, 32, 32, requires_grad=True)}
outputs["dec"] = [outputs["out"] * 0.5, outputs["out"] * 0.7]
label = torch.randint(0, 3, (1, 1, 32, 32, 32))
total, _ = dsd_loss(outputs, label)
total.backward(retain_graph=True)
print(dsd3d.__version__, total.item(), outputs["out"].grad.abs().sum().item())
print(DSDLoss()(outputs, label).item())
""").split()
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 32, 32, 32, requires_grad=True)
    label = torch.randint(0, 3, (1, 1, 32, 32, 32))
    total, _ = dsd_loss({"out": logits, "dec": [logits * 0.5, logits * 0.7]}, label)
    total.backward()
    version = re.search(r'__version__ = "(.*)"', (ROOT / "package/__init__.py").read_text())[1]
    assert printed[0] == version
    assert [float(value) for value in printed[1:]] == pytest.approx(
        [total.item(), logits.grad.abs().sum().item(), total.item()], rel=1e-5)


def test_the_newest_entry_of_the_changelog_is_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.*)"', (ROOT / "package/__init__.py").read_text())[1]
    assert re.search(r"^## ([\d.]+)", text, re.MULTILINE)[1] == version


def test_the_loop_of_the_docs_learns(run_code, tmp_path):
    printed = run_code(example("train_segresnet.py"))
    totals = [float(value) for value in re.findall(r"'dice_ce_out': ([\d.]+)", printed)]
    assert len(totals) == 3
    assert totals[-1] < totals[0]
    weights = torch.load(tmp_path / "segresnet.pt", weights_only=True)
    assert "convInit.conv.weight" in weights


def test_the_lightning_module_of_the_docs_trains(run_code):
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed here (pip install lightning)")
    printed = run_code(example("lightning_segresnet.py") + """
terms = module.trainer.callback_metrics
print("TERMS", sorted(terms), float(terms["loss"]))
""")
    names, loss = re.search(r"TERMS (\[.*\]) (.*)", printed).groups()
    wanted = {"loss", "dice_ce_out", "dice_ce_dec1", "kl_dec", "kl_enc"}
    assert wanted <= set(ast.literal_eval(names))
    assert 0 < float(loss) < 20
