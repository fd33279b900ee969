"""The label study: which cases, which command lines, what its numbers say."""

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from benchmarks.desd_label_study import begin
from benchmarks.study_plan import (
    SOURCES,
    STARTS,
    all_tasks,
    arms,
    draw_labelled,
    split_file,
    split_of,
    spread,
    tasks_of,
)
from benchmarks.study_report import (
    arm_lines,
    conclusion,
    difference_lines,
    study_picture,
    study_table,
)
from benchmarks.study_runs import Task, run_tasks
from benchmarks.study_settings import PRESETS, study_of
from configs import training_config
from configs.pretraining.pretraining_parser import pretraining_config
from configs.use.evaluation import evaluation_parser
from metrics import METRICS_MM
from metrics.repeats import mean_over_seeds
from system.exit import TrainingInterruptedError

ROOT = Path(__file__).resolve().parents[2]


def words(data, output, *more):
    """A command line of the study, less its name."""
    where = ("--hippocampus", str(output / "Task04")) if data == "hippocampus" else ()
    return ["--data", data, "--output", str(output / "study"), *where, *more]


@pytest.fixture
def names(tmp_path):
    """A folder with the names of the 260 hippocampi; the plan reads no file."""
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / "Task04" / kind).mkdir(parents=True)
        for number in range(1, 261):
            (tmp_path / "Task04" / kind / f"hippocampus_{number:03d}.nii.gz").touch()
    return tmp_path


def test_tiles_with_failed_volumes_are_not_finished(tmp_path):
    study, _ = study_of(words("phantoms", tmp_path, "--quick"))
    tiles = next(task for task in all_tasks(study, SOURCES["phantoms"](study))
                 if task.name == "tiles")
    assert not tiles.is_finished()
    folder = study.folder / "tiles"
    folder.mkdir(parents=True)
    (folder / "SSL_data_deeplesion.txt").touch()
    assert tiles.is_finished()
    (folder / "failures.txt").touch()
    assert not tiles.is_finished()


def planned(data, folder, *more):
    study, _ = study_of(words(data, folder, *more))
    return study, SOURCES[data](study)


def test_fewer_labelled_cases_are_among_the_more():
    training = [f"c{number:02d}" for number in range(40)]
    for seed in range(5):
        five, ten, twenty = (draw_labelled(training, number, seed) for number in (5, 10, 20))
        assert ten[:5] == five and twenty[:10] == ten and len(set(twenty)) == 20
        assert draw_labelled(training[::-1], 20, seed) == twenty  # the order on disk is nothing
    assert draw_labelled(training, 5, 0) != draw_labelled(training, 5, 1)


@pytest.mark.parametrize(("number", "picked"), [(1, "a"), (2, "ae"), (3, "ace"), (5, "abcde")])
def test_a_part_of_the_test_cases_is_spread_over_all_of_them(number, picked):
    assert spread("abcde", number) == tuple(picked)


@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_nothing_is_pre_trained_on_that_validates_or_tests(names, quick):
    study, source = planned("hippocampus", names, *quick)
    held_out = {*source.split.validation, *source.split.testing}
    assert len(source.links) == 170 and len(source.split.testing) == 60
    assert not {name.removesuffix(".nii.gz") for name in source.links} & held_out
    assert set(source.links.values()) == {
        Path(study.hippocampus) / "imagesTr" / name for name in source.links}
    labelled = {case for arm in arms(study) for case in split_of(source, arm).training}
    assert labelled <= {name.removesuffix(".nii.gz") for name in source.links}


def test_more_cases_than_there_are_are_named_all_at_once(names):
    with pytest.raises(ValueError, match="31 validation cases.* are 30; 61 testing cases"):
        planned("hippocampus", names, "--val_cases", "31", "--test_cases", "61")


def test_no_phantom_is_in_two_groups(tmp_path):
    study, source = planned("phantoms", tmp_path, "--quick")
    groups = [source.split.training, source.split.validation, source.split.testing]
    assert [len(group) for group in groups] == [20, 4, 12]
    assert len(set().union(*groups)) == 36
    hearts = source.tasks[0].arguments
    assert hearts[hearts.index("--cases") + 1] == "36"


@pytest.mark.parametrize("data", list(SOURCES))
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_arms_differ_in_their_start_and_method_alone(names, data, quick):
    study, source = planned(data, names, *quick)
    lines = {}
    for arm in arms(study):
        training, testing = tasks_of(study, source, arm)
        arguments = list(training.arguments)
        name = arguments.pop(arguments.index("--experiment") + 1)
        if arm.start == "pretrained":
            assert arguments[-3:] == ["--init_from", str(study.pretraining), "--encoder_only"]
            del arguments[-3:]
        assert name in testing.arguments and "pretraining" not in testing.needs
        lines.setdefault((arm.labels, arm.seed), []).append(arguments)
        epochs = int(arguments[arguments.index("--epochs") + 1])
        every = int(arguments[arguments.index("--val_every") + 1])
        assert epochs * arm.labels == study.steps and epochs == every * study.validations
    for of_pair in lines.values():
        assert len(of_pair) == len(STARTS) * 2 and all(one == of_pair[0] for one in of_pair)
    files = {split_file(study, arm) for arm in arms(study)}
    assert len(files) == len(study.labels) * len(study.seeds)


@pytest.mark.parametrize("data", list(SOURCES))
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_every_command_line_is_one_that_the_scripts_take(names, data, quick):
    study, source = planned(data, names, *quick, "--device", "cpu")
    read = {"train_basic.py": lambda line: training_config("basic", line),
            "train_SelfDistil_Original.py": lambda line: training_config("dsd", line),
            "pretrain_DeSD.py": pretraining_config,
            "scripts/preprocess_deeplesion.py": script("scripts/preprocess_deeplesion.py").parse,
            "scripts/make_phantoms.py": script("scripts/make_phantoms.py").parse,
            "eval.py": evaluation_parser(script("eval.py").SETTINGS).parse_args}
    found = {}
    for task in all_tasks(study, source):
        found.setdefault(task.script, []).append(read[task.script](list(task.arguments)))
    assert {one.network for one in found["train_basic.py"]} == {
        study.arch.replace("res3d", "resnet") + "-unet"}
    assert {one.init_part for one in found["train_SelfDistil_Original.py"]} == {
        "network", "encoder"}
    assert found["pretrain_DeSD.py"][0].scaled_lr(1) == pytest.approx(0.1)
    assert all(one.mode == "testing" and one.native_space for one in found["eval.py"])


def script(path):
    """A script of the project as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plan_is_shown_without_anything_being_made(names):
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / "desd_label_study.py",
                           *words("hippocampus", names, "--quick", "--methods", "basic",
                                  "--labels", "5", "--show_plan")],
                          capture_output=True, text=True, timeout=100, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == [
        "scripts/preprocess_deeplesion.py", "pretrain_DeSD.py", "train_basic.py", "eval.py",
        "train_basic.py", "eval.py"]
    assert not (names / "study").exists()


def test_all_wrong_settings_are_named_at_once(tmp_path):
    with pytest.raises(ValueError) as error:
        study_of(["--data", "hippocampus", "--output", str(tmp_path), "--quick", "--labels", "7",
                  "5", "--seeds", "1", "1", "--test_cases", "0",
                  "--train_flags=--batch_size 2 --lr 1"])
    for text in ("--hippocampus: is needed", "--seeds 1 1", "--test_cases 0", "7 labels",
                 "--train_flags --batch_size: is given"):
        assert text in str(error.value)


def test_flags_come_after_those_of_the_preset(tmp_path):
    study, _ = study_of(words("phantoms", tmp_path, "--quick", "--train_flags", "--lr 0.5"))
    preset = shlex.split(PRESETS["quick"]["phantoms"]["train_flags"])
    assert study.train_flags == (*preset, "--lr", "0.5")


def test_a_study_goes_on_only_as_it_began(tmp_path):
    study, _ = study_of(words("phantoms", tmp_path, "--quick"))
    begin(study)
    begin(study)
    begin(study_of(words("phantoms", tmp_path, "--quick", "--seeds", "0", "1"))[0])
    with pytest.raises(ValueError, match="steps 100 -> 200"):
        begin(study_of(words("phantoms", tmp_path, "--quick", "--steps", "200"))[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(ValueError, match="is no study"):
        begin(study_of(["--data", "phantoms", "--output", str(tmp_path / "mine")])[0])


# The script of these tasks fails where it is told to, else writes down what it was called with.
SCRIPT = """
import sys
from pathlib import Path
if sys.argv[2] != "0":
    sys.exit(int(sys.argv[2]))
if sys.argv[1] != "nothing":
    Path(sys.argv[1]).write_text(" ".join(sys.argv[3:]))
"""


def task(folder, name, status=0, result=None, **more):
    (folder / "script.py").write_text(SCRIPT)
    return Task(name, str(folder / "script.py"),
                (str(result or folder / name), str(status), "argument"),
                (folder / name).is_file, **more)


def test_a_failure_stops_only_what_needs_it(tmp_path):
    called = []
    tasks = [task(tmp_path, "first", afterwards=lambda: called.append("first")),
             task(tmp_path, "second", 3), task(tmp_path, "third", needs=("second",)),
             task(tmp_path, "fourth", flags_to_go_on=lambda: ["--resume"]),
             task(tmp_path, "fifth", result="nothing")]
    failures = run_tasks(tasks, tmp_path / "logs")
    assert set(failures) == {"second", "third", "fifth"}
    assert "exit status 3" in failures["second"] and "needs second" in failures["third"]
    assert "result is incomplete" in failures["fifth"]
    assert (tmp_path / "first").read_text() == "argument" and called == ["first"]
    assert (tmp_path / "fourth").read_text() == "argument --resume"


def test_what_is_finished_is_not_run_again(tmp_path):
    (tmp_path / "done").write_text("before")
    assert run_tasks([task(tmp_path, "done")], tmp_path / "logs") == {}
    assert (tmp_path / "done").read_text() == "before"


def test_an_interruption_stops_the_study(tmp_path):
    with pytest.raises(TrainingInterruptedError, match="first"):
        run_tasks([task(tmp_path, "first", 130), task(tmp_path, "second")], tmp_path / "logs")
    assert not (tmp_path / "second").exists()


def rows(values, distance=4.0):
    """Two classes a case: the value, and 0.1 less."""
    return [{"case_id": f"case{number:02d}", "class": index, "class_name": name,
             **dict(zip(METRICS_MM, (value - 0.1 * (index - 1), *[distance] * 4), strict=True)),
             "empty": ""}
            for number, value in enumerate(values)
            for index, name in ((1, "left"), (2, "right"))]


def test_seeds_are_averaged_case_by_case():
    mean = mean_over_seeds([rows([0.8, 0.4]), rows([0.6, 0.6])[::-1]])
    assert [row["dice"] for row in mean] == pytest.approx([0.7, 0.6, 0.5, 0.4])
    with pytest.raises(ValueError, match="same cases"):
        mean_over_seeds([rows([0.8, 0.4]), rows([0.8])])


def test_the_line_of_an_arm_is_over_cases():
    line, = arm_lines({(5, "scratch", "basic"): [rows([0.8, 0.4]), rows([0.6, 0.6])]})
    # cases: (0.7 + 0.6) / 2 and (0.5 + 0.4) / 2; seeds: 0.55 and 0.55
    assert line["dice_mean"] == pytest.approx(0.55) and line["dice_std"] == pytest.approx(0.02**0.5)
    assert line["dice_between_seeds"] == pytest.approx(0) and line["seeds"] == 2
    assert (line["cases"], line["hd95_mm_mean"], line["hd95_mm_std"]) == (2, 4, 0)


def tables(gain, distance=4.0, cases=20):
    """Two methods at 5 labels; pre-training changes every Dice of "basic" by about `gain`."""
    spread_out = np.linspace(-0.01, 0.01, cases)
    scratch = 0.6 + 0.1 * np.cos(np.arange(cases))
    seeds = (-0.004, 0.0, 0.004)  # so far apart that nothing is shown to be level
    return {(5, "scratch", "basic"): [rows(scratch) for _ in seeds],
            (5, "pretrained", "basic"): [rows(scratch + gain + spread_out + seed, distance)
                                         for seed in seeds],
            (5, "scratch", "dsd"): [rows(scratch) for _ in seeds],
            (5, "pretrained", "dsd"): [rows(scratch + spread_out + seed) for seed in seeds]}


@pytest.mark.parametrize(("gain", "distance", "verdict"), [
    (0.05, 3.0, "better"), (-0.05, 5.0, "worse"), (0.0, 4.0, "no difference shown")])
def test_a_verdict_needs_a_clear_difference(gain, distance, verdict):
    lines = difference_lines(tables(gain, distance))
    assert [(line["metric"], line["method"]) for line in lines] == [
        ("dice", "basic"), ("dice", "dsd"), ("hd95_mm", "basic"), ("hd95_mm", "dsd")]
    assert lines[0]["mean_difference"] == pytest.approx(gain, abs=1e-9)
    assert [line["verdict"] for line in lines] == [verdict, "no difference shown"] * 2
    assert all(line["p_holm"] >= line["p"] for line in lines)


def test_two_cases_are_never_enough():
    assert {line["verdict"] for line in difference_lines(tables(0.05, cases=2))} == {
        "no difference shown"}


def test_the_conclusion_says_what_came_out():
    assert ("Dice, pre-trained against scratch: better at 5 labels basic; no difference shown at "
            "5 labels DSD.") in conclusion(difference_lines(tables(0.05)))
    assert "worse at 5 labels basic" in conclusion(difference_lines(tables(-0.05)))
    assert "no difference shown at 5 labels basic, 5 labels DSD" in conclusion(
        difference_lines(tables(0.0)))
    half = {key: of_arm for key, of_arm in tables(0.05).items() if key[1] == "scratch"}
    assert "nothing can be said" in conclusion(difference_lines(half))


def test_table_and_picture_hold_every_arm(tmp_path):
    found = tables(0.05)
    lines, differences = arm_lines(found), difference_lines(found)
    text = study_table(lines, differences, ["A note."])
    assert text.count("from scratch") == 2 and text.count("pre-trained   ") == 2
    assert "+0.050" in text and text.endswith("A note.")
    json.dumps([lines, differences], allow_nan=False)
    study_picture(tmp_path / "study.png", lines, differences, "a study")
    assert imread(tmp_path / "study.png").shape[:2] == (480, 1000)
