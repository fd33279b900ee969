"""What is removed beside and in a run's folder, and what never is."""

import multiprocessing
import os
import shutil

import pytest
import torch

from data import Split
from managers import open_run, resume_point
from managers.runs import folder as rooms
from managers.runs.folder import work_folder
from managers.runs.run_locks import claim_run, scores_held

CPU = torch.device("cpu")
FOLDS = [Split(("a", "b"), ("c",))]
DEAD = 4_194_303  # above what pid_max is by default, so that nobody has it

pytestmark = pytest.mark.usefixtures("close_logs")


def create(config):
    return open_run(config, FOLDS, CPU, resume_point(config))


def in_another_process(hold, then):
    """Call `then` while another process holds what `hold` takes."""
    context = multiprocessing.get_context("fork")
    held, end = context.Event(), context.Event()

    def run():
        hold()
        held.set()
        end.wait(60)

    other = context.Process(target=run)
    other.start()
    assert held.wait(60)
    try:
        then()
    finally:
        end.set()
        other.join(60)


@pytest.mark.parametrize("left", ["all", "part", "older"])
def test_what_a_killed_overwrite_left_is_removed(config, tmp_path, left):
    folder = create(config())
    aside = tmp_path / f".run.exp.{DEAD}"
    shutil.copytree(folder, aside)
    if left == "part":
        (aside / "config.json").unlink()
    if left == "older":  # which removed files in any order
        (aside / ".lock").unlink()
    create(config("--overwrite"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.exp"]


def test_nothing_else_beside_a_run_is_removed(config, tmp_path):
    run = create(config())
    foreign = [tmp_path / name for name in (
        f".run.exp.{os.getppid()}", f".other.exp.{DEAD}", f".run.exp.{DEAD}.bak", ".run.exp.old",
        f"run.exp.{DEAD}", ".run.exp.0", f".runXexp.{DEAD}", ".run.exp." + "9" * 30)]
    for path in foreign:
        shutil.copytree(run, path)
    mine = tmp_path / f".run.exp.{DEAD}"  # of the very name, but not a run
    mine.mkdir()
    (mine / "thesis.tex").touch()
    (tmp_path / f".run.exp.{DEAD - 1}").touch()
    before = sorted(tmp_path.rglob("*"))
    create(config("--overwrite"))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_being_removed_elsewhere_is_left_to_that(config, tmp_path):
    """On another machine the number of its process says nothing; its lock does."""
    aside = tmp_path / f".run.exp.{DEAD}"
    shutil.copytree(create(config()), aside)

    def then():
        create(config("--overwrite"))
        assert aside.is_dir()
    in_another_process(lambda: claim_run(aside), then)
    create(config("--overwrite"))
    assert not aside.exists()


def test_a_run_is_removed_with_its_lock_last(config, tmp_path, monkeypatch):
    folder = create(config())
    (folder / "pictures").mkdir()
    monkeypatch.setattr(rooms.shutil, "rmtree", lambda *_, **__: None)  # killed before
    create(config("--overwrite"))
    aside = tmp_path / f".run.exp.{os.getpid()}"
    assert sorted(path.name for path in aside.iterdir()) == [".lock", "pictures"]


@pytest.mark.parametrize("name", [".git", ".venv", ".env", ".config.json.old"])
def test_a_folder_with_hidden_files_of_others_is_not_empty(config, tmp_path, name):
    (tmp_path / "run.exp" / name).mkdir(parents=True)
    for flags in ((), ("--overwrite",)):
        with pytest.raises(ValueError, match="exists and is not a run"):
            create(config(*flags))
    assert (tmp_path / "run.exp" / name).is_dir()


@pytest.mark.parametrize("content", ['{"model_type": "bert"}', "[]", "half"])
def test_config_json_of_another_program_makes_no_run(config, tmp_path, content):
    (tmp_path / "run.exp").mkdir()
    (tmp_path / "run.exp" / "config.json").write_text(content)
    with pytest.raises(ValueError, match="exists and is not a run"):
        create(config("--overwrite"))
    assert (tmp_path / "run.exp" / "config.json").read_text() == content


def test_only_unfinished_checkpoints_are_cleared_from_a_run(config):
    folder = create(config())
    ours = [".last.model.ab_12xyz", ".epoch0012.model.abcdefgh"]
    theirs = [".last.model.bak", ".my.model.ab_12xyz", "last.model.ab_12xyz", ".best.model.swp"]
    for name in (*ours, *theirs):
        (folder / name).touch()
    open_run(config("--resume"), FOLDS, CPU, {"history": []})
    assert not any((folder / name).exists() for name in ours)
    assert all((folder / name).exists() for name in theirs)


def test_a_run_that_is_scored_elsewhere_is_not_replaced(config):
    folder = create(config())

    def then():
        with pytest.raises(ValueError, match="run.exp: another process scores this run now"):
            create(config("--overwrite"))
        with pytest.raises(ValueError, match="another process scores this run now"):
            scores_held(folder).__enter__()
        assert (folder / "splits.json").is_file()
    in_another_process(scores_held(folder).__enter__, then)
    create(config("--overwrite"))


def test_a_folder_of_other_files_is_no_work_folder(tmp_path):
    folder = tmp_path / "mine.cv"
    with work_folder(folder, "cross_validation.log", "cross_validate.py"):
        (folder / "summary.json").touch()
    with work_folder(folder, "cross_validation.log", "cross_validate.py"):
        pass
    (folder / "cross_validation.log").unlink()
    with (pytest.raises(ValueError, match="mine.cv: holds summary.json but no cross_valid"),
          work_folder(folder, "cross_validation.log", "cross_validate.py")):
        pass
    assert (folder / "summary.json").is_file()
