"""The README against the project it describes."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tables_of_flags_are_those_of_the_parsers(run_script):
    done = run_script("scripts/update_readme.py", "--check")
    assert done.returncode == 0, "run python scripts/update_readme.py"


def test_every_file_the_readme_names_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    rooms = "configs|data|networks|losses|managers|metrics|scripts"
    sources = re.findall(rf"`((?:{rooms})/[\w/]+\.py)`", README.split("## Coming from")[0])
    ours = re.findall(r"\| `[^|]*\| (.*) \|", README.split("## Coming from")[1])
    here = re.findall(r"`([\w/]+(?:\.py|/))`", " ".join(ours))
    assert links and sources and here
    for name in {*links, *sources, *here}:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("line", re.findall(r"^python (train_\w+\.py (?:.|\\\n)*?[^\\])$", README,
                                            re.MULTILINE))
def test_every_training_command_is_accepted(line):
    from configs import training_config

    script, *arguments = line.replace("\\\n", " ").split()
    config = training_config("basic" if script == "train_basic.py" else "dsd", arguments)
    assert config.dataset in ("hippocampus", "mmwhs-ct", "mmwhs-mr")


def test_there_are_training_commands_to_check():
    assert len(re.findall(r"^python train_", README, re.MULTILINE)) >= 4
