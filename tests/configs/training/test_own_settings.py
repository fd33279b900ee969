"""Data of one's own are planned unless flags or the run that goes on say otherwise."""

import dataclasses
import json

import pytest

import data
from configs import TrainingConfig, training_config
from configs.training.contents import CaseContents, Contents
from configs.training.own_settings import plan_in_words
from configs.training.plan import Grids
from system.files import write_json

PLAN = {"img_size": (40, 56, 40), "spacing_mm": None, "intensity": "hu", "window": (10.0, 90.0),
        "crop_centres": "classes", "num_crops": 2, "epochs": 250,
        "network_options": {"filters": (32, 64, 128, 256)}}
# Two cases; the second lacks b, which is 40 of 800 labelled voxels of the first.
CASES = (CaseContents(61250, 1e-3, (60450, 760, 40), (0.0,), ((10.0, 90.0),)),
         CaseContents(61250, 1e-3, (60490, 760, 0), (0.0,), ((10.0, 90.0),)))


class Small:
    """Data of three images of 35 x 50 x 35 voxels of 1 mm, of which two train."""

    num_measured = 0
    split = None
    folder = None

    def measured_grids(self, data_dir, definition):
        self.num_measured += 1
        return Grids(((35, 50, 35),) * 3, ((1.0, 1.0, 1.0),) * 3, ((0, 1, 2),) * 3)

    def measured_contents(self, data_dir, definition, split, folder):
        self.split, self.folder = split, folder
        return Contents(("CT",), ("background", "a", "b"), True, CASES)

    def decided_values(self, config):
        return {"training_split": 1, "validation_split": 0}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """DATA with a dataset.json, and the current folder."""
    (tmp_path / "dataset.json").write_text(json.dumps({
        "name": "Mine", "channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1, "b": 2}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(root, *flags, source=None, network="nnunet"):
    argv = [str(root), "_", "--network", network, *map(str, flags)]
    return training_config("basic", argv, Small() if source is None else source)


def planned(run):
    return {name: getattr(run, name) for name in PLAN}


def test_the_plan_is_kept_in_the_settings(root):
    run = config(root)
    assert planned(run) == PLAN and run.dataset == "dataset.json"
    assert TrainingConfig.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_flags_win_and_the_rest_follows_from_them(root):
    run = config(root, "--epochs", 7, "--img_size", 32, 32, 32, "--spacing", 1, 1, 1,
                 "--num_crops", 3)
    assert planned(run) == PLAN | {"epochs": 7, "img_size": (32, 32, 32), "num_crops": 3,
                                   "spacing_mm": (1.0, 1.0, 1.0)}
    run = config(root, "--intensity", "minmax", "--crop_centres", "foreground")
    assert planned(run) == PLAN | {"intensity": "minmax", "window": None,
                                   "crop_centres": "foreground"}
    run = config(root, "--intensity", "ct", "--window", -160, 240)
    assert (run.intensity, run.window) == ("ct", (-160, 240))
    assert config(root, "--window", -160, 240).intensity == "hu"
    run = config(root, "--network_options", "filters=[4, 8, 8]")
    assert (run.network_options, run.img_size) == ({"filters": (4, 8, 8)}, (36, 52, 36))
    with pytest.raises(ValueError, match="--epochs 0: must be at least 1"):
        config(root, "--epochs", 0)


def test_a_name_or_a_flag_wins_over_the_file_in_the_folder(root):
    small = Small()
    by_name = config(root, "--experiment", "Hippocampus_Try.exp", source=small)
    by_flag = config(root, "--dataset", "hippocampus", source=small)
    for run in (by_name, by_flag):
        assert (run.dataset, run.img_size, run.epochs) == ("hippocampus", (32, 32, 32), 100)
        assert run.num_crops is None and run.dataset_definition is None
    assert small.num_measured == 0


def test_the_contents_are_those_of_the_run_s_training_cases(root):
    """And are kept where the run keeps its volumes."""
    small = Small()
    config(root, "--fold", 2, "--num_folds", 3, "--experiment", "runs/Mine.exp", source=small)
    assert small.split == {"splits": None, "fold": 2, "num_folds": 3, "training_split": None,
                           "validation_split": None}
    assert str(small.folder) == "runs/cache"
    config(root, "--cache_dir", "there", source=small)
    assert str(small.folder) == "there"
    config(root, "--cache", "memory", source=small)
    assert small.folder is None


def test_a_class_that_is_rare_is_warned_of(root):
    few = Small()
    few.measured_contents = lambda *arguments: Contents(
        ("CT",), ("background", "a", "b"), True, (*CASES, CASES[1]))
    with pytest.warns(UserWarning, match="b is in 1 of 3 cases: it is learnt from these"):
        config(root, source=few)


def test_contents_that_cannot_be_measured_leave_the_rest_planned(root):
    """Such as too few cases to split, which the run refuses."""
    class Unread(Small):
        def measured_contents(self, *arguments):
            raise ValueError("no training case")

    run = config(root, source=Unread())
    assert planned(run) == PLAN | {"intensity": None, "window": None,
                                   "crop_centres": "foreground", "epochs": 125}


def test_a_resumed_run_is_not_planned_again(root):
    before = config(root, "--experiment", "Mine.exp", "--epochs", 3)
    kept = dataclasses.replace(before, img_size=(16, 24, 16), num_crops=5,
                               network_options={"filters": (4, 8, 8)})
    write_json(root / "experiments/Mine.exp/config.json", kept.to_dict())
    small = Small()
    again = config(root, "--experiment", "Mine.exp", "--resume", source=small)
    assert planned(again) == planned(kept) and small.num_measured == 0
    # Not resumed, a cross-validation or study asks what its run has; to replace it is to plan.
    assert planned(config(root, "--experiment", "Mine.exp", source=small)) == planned(kept)
    assert small.num_measured == 0
    assert planned(config(root, "--experiment", "Mine.exp", "--overwrite")) == PLAN
    longer = config(root, "--experiment", "Mine.exp", "--resume", "--epochs", 9, source=small)
    assert planned(longer) == planned(kept) | {"epochs": 9}
    other = config(root, "--experiment", "Mine.exp", "--resume", "--intensity", "zscore")
    assert (other.intensity, other.window) == ("zscore", None)  # refused by what it differs in
    older = {name: value for name, value in kept.to_dict().items() if name != "crop_centres"}
    write_json(root / "experiments/Mine.exp/config.json", older | {"intensity": None,
                                                                   "window": None})
    before_it_was_planned = config(root, "--experiment", "Mine.exp", "--resume", source=small)
    assert planned(before_it_was_planned) == planned(kept) | {
        "intensity": None, "window": None, "crop_centres": "foreground"}
    # Another network, or no run at all, is for the resuming to refuse.
    assert config(root, "--experiment", "Mine.exp", "--resume", network="vnet").epochs == 250
    assert config(root, "--experiment", "None.exp", "--resume").epochs == 250


def test_images_that_cannot_be_measured_leave_the_recipe(root):
    run = config(root, source=data)  # there are no images
    assert (run.img_size, run.epochs, run.num_crops) == ((96, 96, 96), 600, None)


def rows_of(text):
    """What --show_settings prints, by setting, below its table's head."""
    table = text.splitlines()
    start = next(n for n, line in enumerate(table) if line.startswith("---")) + 1
    return {line.split()[0]: line.split()[1:] for line in table[start:]}


def test_every_value_is_shown_with_the_plan_before(root, capsys):
    with pytest.raises(SystemExit) as stop:
        config(root, "--show_settings", "--epochs", 7)
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"Planned from the images of {root}; flags override it:\n")
    assert "  img_size 40,56,40: median image 35 x 50 x 35 voxels" in printed
    rows = rows_of(printed)
    assert set(rows) == set(TrainingConfig.__dataclass_fields__)
    assert not any(words[0] == "-" for words in rows.values())
    assert rows["img_size"] == ["40,56,40", "plan"] and rows["epochs"] == ["7", "flag"]
    assert rows["spacing_mm"] == ["unchanged", "plan"]
    assert rows["intensity"] == ["hu", "plan"] and rows["window"] == ["10.0,90.0", "plan"]
    assert "  window 10.0,90.0: 0.5 and 99.5 percentile of the labelled voxels of 2" in printed
    assert rows["network_options"] == ["filters=32,64,128,256", "plan"]
    assert rows["dataset"] == ["dataset.json", "DATA"]
    assert rows["validation_split"] == ["0", "dataset"]
    assert rows["cache_dir"] == ["experiments/cache", "default"]


def test_a_plan_in_words():
    assert plan_in_words({"data_dir": "D", "spacing_mm": None, "img_size": (4, 8, 4)},
                         {"spacing_mm": "as it is", "img_size": "it fits"}) == (
        "Planned from the images of D; flags override it:\n"
        "  spacing_mm unchanged: as it is\n  img_size 4,8,4: it fits")
