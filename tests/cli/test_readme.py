"""The README against the project it describes."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch

from configs import DATASETS, evaluation_config, training_config
from configs.pretraining.pretraining_parser import pretraining_config
from configs.use.prediction import prediction_parser
from eval import SETTINGS
from networks import build_network
from scripts.update_readme import recipe_table
from studies.plans.folds import cross_validation
from studies.plans.matrix import study_plan

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = {path: path.read_text(encoding="utf-8")
         for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = "\n".join(PAGES.values())


def test_the_tables_of_flags_are_those_of_the_parsers(run_script):
    done = run_script("scripts/update_readme.py", "--check")
    assert done.returncode == 0, "run python scripts/update_readme.py"


def test_networks_that_share_a_recipe_share_a_row():
    rows = [row.split(" | ")[:2] for row in recipe_table().splitlines() if "resnet" in row]
    assert rows == [[f"| {dataset}", "resnet10-unet to resnet200-unet"] for dataset in
                    ("mmwhs-ct, mmwhs-mr", "msd-brats", "hippocampus")]


@pytest.mark.parametrize("page", list(PAGES), ids=lambda path: path.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page]):
        assert (page.parent / link).exists(), link


def strings_of_the_code():
    """Every string in the code but docstrings, those of f-strings without what is filled in."""
    for room in (".", "configs", "data", "networks", "losses", "managers", "reports", "scripts",
                 "studies", "system"):
        for path in (ROOT / room).glob("*.py" if room == "." else "**/*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if (isinstance(node, ast.Constant) and isinstance(node.value, str)
                        and id(node) not in docstrings):
                    yield node.value


def test_docstrings_are_no_messages():
    known = list(strings_of_the_code())
    assert any("No weight matches" in text for text in known)
    assert not any("Every flag of the training scripts, in groups" in text
                   or "nothing in it fits" in text for text in known)


def test_the_messages_that_are_explained_are_in_the_code():
    text = PAGES[ROOT / "docs" / "troubleshooting.md"]
    messages = [message for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
                for message in re.findall(r"`([^`]+)`", row) if not message.startswith("--init")]
    known = "\n".join(strings_of_the_code())
    assert len(messages) > 20
    lacking = [piece.strip() for message in messages for piece in message.split("...")
               if piece.strip() not in known]
    assert lacking == []


def test_every_file_the_readme_names_exists():
    pages = {path.name: text for path, text in PAGES.items()}
    links = re.findall(r"\]\((?!http|#)([^)#]+)", pages["README.md"])
    rooms = "configs|data|networks|losses|managers|metrics|scripts"
    sources = re.findall(rf"`((?:{rooms})/[\w/]+\.py)`", pages["training.md"])
    ours = re.findall(r"\| `[^|]*\| (.*) \|", pages["from_authors_code.md"])
    here = re.findall(r"`([\w/]+(?:\.py|/))`", " ".join(ours))
    assert links and sources and here
    for name in {*links, *sources, *here}:
        assert (ROOT / name).exists(), name


def test_every_file_that_extending_names_exists():
    text = PAGES[ROOT / "docs" / "extending.md"]
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|json))`", text))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    # The lines and names that a reader is sent to.
    for name, line in {"losses/managed.py": "refuse_out_of_range(\"DSD\"",
                       "managers/segmentation/training_recipe.py": "def schedules_of(",
                       "configs/experiment_name.py": "DATASET_TOKENS = ",
                       "data/phantoms/case.py": "_SCENES = "}.items():
        assert line in (ROOT / name).read_text(encoding="utf-8"), (name, line)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A folder to run in, with the dataset.json of each data set of one's own in the pages."""
    for folder, name, modality in (("Task09_Spleen", "Spleen", "CT"),
                                   ("MouseBrain", "MouseBrain", "MRI")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "dataset.json").write_text(json.dumps({
            "name": name, "modality": {"0": modality}, "labels": {"0": "background", "1": "organ"},
            "training": [{"image": "./imagesTr/a_2.nii.gz", "label": "./labelsTr/a_2.nii.gz"}]}))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", re.findall(
    r"^(?:python|torchrun --standalone --nproc_per_node=6) (\w+\.py (?:.|\\\n)*?[^\\])$", README,
    re.MULTILINE))
def test_every_command_is_accepted(line, own_data):
    script, *arguments = line.replace("\\\n", " ").split()
    if script == "eval.py":
        assert evaluation_config(SETTINGS, arguments).experiment.endswith(".exp")
    elif script == "pretrain_DeSD.py":
        assert pretraining_config(arguments).arch in ("res3d10", "res3d50")
    elif script == "predict.py":
        assert prediction_parser().parse_args(arguments).output == "predictions"
    elif script == "cross_validate.py":
        assert len(cross_validation(arguments).runs) == 5
    elif script == "run_study.py":
        assert study_plan(arguments).runs
    else:
        config = training_config("basic" if script == "train_basic.py" else "dsd", arguments)
        assert config.dataset in (*DATASETS, "dataset.json")


def test_there_are_commands_of_every_script_to_check():
    for script in ("train_basic", "train_SelfDistil_Original", "pretrain_DeSD", "eval", "predict",
                   "cross_validate", "run_study"):
        assert re.search(rf"^python {script}\.py", README, re.MULTILINE), script


def test_the_network_of_ones_own_trains_as_it_stands(tmp_path, monkeypatch):
    code = re.search(r"```python\n(# my_nets\.py.*?)```", README, re.DOTALL)[1]
    (tmp_path / "my_nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    network = build_network("my_nets:segresnet", 1, 3, (32, 32, 32), True, width=8)
    outputs = network.train()(torch.randn(1, 1, 32, 32, 32))
    side = [outputs["out"], *outputs["dec"], *outputs["enc"]]
    assert [tuple(logits.shape) for logits in side] == [(1, 3, 32, 32, 32)] * 7
