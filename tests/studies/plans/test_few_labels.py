"""A study with few labels: which cases, which command lines, which folders."""

import importlib.util
import shlex
from pathlib import Path

import pytest

from configs import training_config
from configs.pretraining.pretraining_parser import pretraining_config
from configs.study.few_labels import PRESETS, few_labels_call, few_labels_parser
from configs.use.evaluation import evaluation_parser
from studies.few_labels_study import command_lines
from studies.plans.few_labels import (
    SOURCES,
    STARTS,
    draw_labelled,
    few_labels_plan,
    splits_of,
    spread,
)
from studies.report_few_labels import begin, check_folder

ROOT = Path(__file__).resolve().parents[3]


def words(data, output, *more):
    """A command line of the study, less its name."""
    where = ("--hippocampus", str(output / "Task04")) if data == "hippocampus" else ()
    return ["--data", data, "--output", str(output / "study"), *where, *more]


def call_of(line):
    return few_labels_call(vars(few_labels_parser().parse_args(line)))


def planned(data, folder, *more):
    return few_labels_plan(call_of(words(data, folder, *more)))


@pytest.fixture
def names(tmp_path):
    """A folder with the names of the 260 hippocampi; the plan reads no file."""
    for kind in ("imagesTr", "labelsTr"):
        (tmp_path / "Task04" / kind).mkdir(parents=True)
        for number in range(1, 261):
            (tmp_path / "Task04" / kind / f"hippocampus_{number:03d}.nii.gz").touch()
    return tmp_path


def test_tiles_with_failed_volumes_are_not_finished(tmp_path):
    plan = planned("phantoms", tmp_path, "--quick")
    tiles = next(one for one in plan.preparations if one.name == "tiles")
    assert not tiles.is_finished()
    folder = plan.folder / "tiles"
    folder.mkdir(parents=True)
    (folder / "SSL_data_deeplesion.txt").touch()
    assert tiles.is_finished()
    (folder / "failures.txt").touch()
    assert not tiles.is_finished()


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
    plan = planned("hippocampus", names, *quick)
    study, source = plan.study, plan.source
    held_out = {*source.split.validation, *source.split.testing}
    assert len(source.links) == 170 and len(source.split.testing) == 60
    linked = {link.name.removesuffix(".nii.gz") for link in source.links}
    assert len(linked) == 170 and not linked & held_out
    assert set(source.links.values()) == {
        Path(study.hippocampus) / "imagesTr" / link.name for link in source.links}
    labelled = {case for split in splits_of(study, source).values() for case in split.training}
    assert labelled <= linked


def test_more_cases_than_there_are_are_named_all_at_once(names):
    with pytest.raises(ValueError, match="31 validation cases.* are 30; 61 testing cases"):
        planned("hippocampus", names, "--val_cases", "31", "--test_cases", "61")


def test_no_phantom_is_in_two_groups(tmp_path):
    source = planned("phantoms", tmp_path, "--quick").source
    groups = [source.split.training, source.split.validation, source.split.testing]
    assert [len(group) for group in groups] == [20, 4, 12]
    assert len(set().union(*groups)) == 36
    hearts = source.preparations[0].arguments
    assert hearts[hearts.index("--cases") + 1] == "36"


@pytest.mark.parametrize("data", list(SOURCES))
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_arms_differ_in_their_start_and_method_alone(names, data, quick):
    plan = planned(data, names, *quick)
    study, lines = plan.study, {}
    for run in plan.runs:
        labels, start, _ = run.arm
        arguments = list(run.arguments)
        del arguments[arguments.index("--experiment") + 1]
        assert ("pretraining" in run.needs) == (start == "pretrained")
        if start == "pretrained":
            assert arguments[-3:] == ["--init_from", str(study.pretraining), "--encoder_only"]
            del arguments[-3:]
        lines.setdefault((labels, run.settings.seed), []).append(arguments)
        assert run.settings.epochs * labels == study.steps
        assert run.settings.epochs == run.settings.val_every * study.validations
    for of_pair in lines.values():
        assert len(of_pair) == len(STARTS) * 2 and all(one == of_pair[0] for one in of_pair)
    files = {run.settings.splits for run in plan.runs}
    assert len(files) == len(study.labels) * len(study.seeds)
    assert files == {str(path) for path in splits_of(study, plan.source)}


@pytest.mark.parametrize("data", list(SOURCES))
@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_every_command_line_is_one_that_the_scripts_take(names, data, quick):
    plan = planned(data, names, *quick, "--device", "cpu")
    read = {"train_basic.py": lambda line: training_config("basic", line),
            "train_SelfDistil_Original.py": lambda line: training_config("dsd", line),
            "pretrain_DeSD.py": pretraining_config,
            "scripts/preprocess_deeplesion.py": script("scripts/preprocess_deeplesion.py").parse,
            "scripts/make_phantoms.py": script("scripts/make_phantoms.py").parse,
            "eval.py": evaluation_parser(script("eval.py").SETTINGS).parse_args}
    found = {}
    for line in command_lines(plan):
        _, name, *arguments = shlex.split(line)
        found.setdefault(name, []).append(read[name](arguments))
    assert {one.network for one in found["train_basic.py"]} == {
        plan.study.arch.replace("res3d", "resnet") + "-unet"}
    assert {one.init_part for one in found["train_SelfDistil_Original.py"]} == {
        "network", "encoder"}
    assert found["pretrain_DeSD.py"][0].scaled_lr(1) == pytest.approx(0.1)
    assert all(one.mode == "testing" and one.native_space for one in found["eval.py"])


@pytest.mark.parametrize(("flags", "said"), [
    (("--train_flags=--lr -1",), "--lr -1.0: must be above 0"),
    (("--pretrain_epochs", "1"), "--warmup_epochs 2: is longer than --epochs 1")])
def test_what_a_script_would_refuse_is_refused_before_anything_runs(tmp_path, flags, said):
    with pytest.raises(ValueError, match=said):
        planned("phantoms", tmp_path, "--quick", *flags)


def script(path):
    """A script of the project as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_plan_is_shown_without_anything_being_made(names, run_script):
    done = run_script("benchmarks/desd_label_study.py",
                      *words("hippocampus", names, "--quick", "--methods", "basic", "--labels",
                             "5", "--show_plan"))
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[1] for line in lines] == [
        "scripts/preprocess_deeplesion.py", "pretrain_DeSD.py", "train_basic.py", "eval.py",
        "train_basic.py", "eval.py"]
    assert not (names / "study").exists()


def test_all_wrong_settings_are_named_at_once(tmp_path):
    with pytest.raises(ValueError) as error:
        call_of(["--data", "hippocampus", "--output", str(tmp_path), "--quick", "--labels", "7",
                 "5", "--seeds", "1", "1", "--test_cases", "0",
                 "--train_flags=--batch_size 2 --lr 1"])
    for text in ("--hippocampus: is needed", "--seeds 1 1", "--test_cases 0", "7 labels",
                 "--train_flags --batch_size: is given"):
        assert text in str(error.value)


def test_flags_come_after_those_of_the_preset(tmp_path):
    study = call_of(words("phantoms", tmp_path, "--quick", "--train_flags", "--lr 0.5")).study
    preset = shlex.split(PRESETS["quick"]["phantoms"]["train_flags"])
    assert study.train_flags == (*preset, "--lr", "0.5")


def test_a_study_goes_on_only_as_it_began(tmp_path):
    plan = planned("phantoms", tmp_path, "--quick")
    for _ in range(2):
        check_folder(plan.study)
        begin(plan)
    assert (plan.folder / "splits" / "n005_s0.json").is_file()
    check_folder(planned("phantoms", tmp_path, "--quick", "--seeds", "0", "1").study)
    with pytest.raises(ValueError, match="steps 100 -> 200"):
        check_folder(planned("phantoms", tmp_path, "--quick", "--steps", "200").study)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".lock").touch()
    mine = call_of(["--data", "phantoms", "--output", str(tmp_path / "mine")]).study
    check_folder(mine)
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(ValueError, match="is no study"):
        check_folder(mine)
