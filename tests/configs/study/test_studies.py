"""Files of studies: what they hold, and everything that is wrong with one in one message."""

import json

import pytest

from configs.study.studies import FOLDER, flag_problems, read_study, study_path

GOOD = {"title": "A study", "datasets": ["hippocampus"], "networks": ["nnunet", "vnet"],
        "methods": {"basic": {"method": "basic"},
                    "decoder_kl": {"method": "dsd", "flags": ["--distil", "decoder"]}},
        "seeds": [100, 101], "group": "testing"}


def read(tmp_path, content, name="mine.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_study(str(path))


@pytest.mark.parametrize("path", sorted(set(FOLDER.glob("*.json")) - {FOLDER / "desd.json"}),
                         ids=lambda path: path.stem)
def test_shipped_studies_are_sound(path):
    study = read_study(path.stem)
    assert study.name == path.stem and len(study.methods) > 1


@pytest.mark.parametrize(("name", "dice", "distance"), [
    ("mmwhs", 2.82, -7.15), ("brats", 4.53, -6.48), ("hippocampus", 1.3, -0.76)])
def test_the_papers_gains(name, dice, distance):
    published = read_study(name).published
    assert (published.method, published.dice_points, published.hd95_mm) == ("dsd", dice, distance)


def test_what_may_be_left_out_has_a_default(tmp_path):
    study = read(tmp_path, GOOD)
    assert (study.folds, study.epochs, study.flags, study.published) == ((1,), None, (), None)
    assert [one.name for one in study.methods] == ["basic", "decoder_kl"]
    assert study.methods[1].flags == ("--distil", "decoder")


def test_every_problem_is_in_one_message(tmp_path):
    wrong = {**GOOD, "title": " ", "datasets": ["l ng"], "networks": [["nnunet"], {"a": 1}],
             "seeds": [1, True, -1, 2.0, 10**30], "folds": [1, 1], "epochs": "many",
             "group": "training", "surprise": 1,
             "published": {"method": "dsd", "dice_points": 1, "hd95_mm": "far", "source": "x"},
             "methods": {"../../out": {"method": "basic"}, "b": {"method": "os.system"},
                         "c": {"method": "dsd", "flags": "--distil none"}, "d": 3}}
    with pytest.raises(ValueError) as error:
        read(tmp_path, wrong)
    said = str(error.value)
    for part in ("title: ' '", "datasets: 'l ng'", "networks: ['nnunet']", "networks: {'a': 1}",
                 "seeds: True", "seeds: -1", "seeds: 2.0", "seeds: 10000", "folds: 1 occurs more",
                 "epochs: 'many'", "group: 'training'", "'surprise': is unknown",
                 "published: dice_points and hd95_mm", "'../../out': must be of small letters",
                 "'b': 'os.system'", "'c': flags '--distil none'", "'d': 3"):
        assert part in said, part


@pytest.mark.parametrize("content", ["[]", "3", "null", '"x"'])
def test_what_is_no_object_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="must be one object"):
        read(tmp_path, content)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"seeds": [1' + "0" * 5000 + "]}"])
def test_what_is_no_json_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="is not valid JSON"):
        read(tmp_path, content)


def test_empty_lists_and_absent_keys(tmp_path):
    with pytest.raises(ValueError) as error:
        read(tmp_path, {"datasets": [], "methods": {}, "seeds": []})
    said = str(error.value)
    assert all(f"{key}: is missing" in said for key in ("title", "networks", "group"))
    assert said.count("must be a list that is not empty") == 2 and "methods: {} must be" in said


@pytest.mark.parametrize("number", [10**400, float("nan"), float("inf"), True, "1"])
def test_published_gains_are_numbers(tmp_path, number):
    published = {"method": "decoder_kl", "dice_points": number, "hd95_mm": -1, "source": "x"}
    with pytest.raises(ValueError, match="published: dice_points and hd95_mm must be numbers"):
        read(tmp_path, {**GOOD, "published": published})


def test_the_published_method_is_one_of_the_study(tmp_path):
    published = {"method": "basic", "dice_points": 1, "hd95_mm": -1, "source": "x"}
    with pytest.raises(ValueError, match="'basic' is none of the methods after the baseline"):
        read(tmp_path, {**GOOD, "published": published})


@pytest.mark.parametrize(("words", "said"), [
    (("--seed", "3"), "--seed is given by the study itself"),
    (("--network=evil.module:factory",), "--network is given by the study itself"),
    (("--netw", "evil.module:factory"), "--netw is no flag"),
    (("-exp", "/tmp/other.exp"), "-exp is given by the study itself"),
    (("--overwrite",), "--overwrite is given by the study itself"),
    (("--distil", "none"), "--distil is no flag of the training script of basic"),
    (("/tmp/weights.pt",), "'/tmp/weights.pt' belongs to no flag"),
    (("--",), "-- is no flag"),
    (("-h",), "-h is given by the study itself")])
def test_flags_that_a_study_may_not_give(words, said):
    assert any(said in problem for problem in flag_problems(words, "basic"))


def test_flags_that_it_may_give():
    assert flag_problems(("--window", "-175", "250", "--lr=1e-4", "-b", "2", "--fast"), "basic") \
        == []
    assert flag_problems(("--distil", "none", "--temperature", "5"), "dsd") == []


def test_names_of_studies(tmp_path):
    assert study_path("mmwhs") == FOLDER / "mmwhs.json"
    with pytest.raises(ValueError, match="must be one of brats, .*hippocampus, .*mmwhs"):
        study_path("../hippocampus")
    with pytest.raises(ValueError, match="cannot be read"):
        read_study(str(tmp_path / "absent.json"))
    with pytest.raises(ValueError, match="the file's name 'my study'"):
        read(tmp_path, GOOD, "my study.json")


def test_a_protocol_is_a_list_of_sentences(tmp_path):
    said = ["dsd is better than basic.", "Margin: 0.3 points of Dice."]
    assert read(tmp_path, {**GOOD, "protocol": said}).protocol == tuple(said)
    assert read(tmp_path, GOOD).protocol == ()
    for wrong, message in (("dsd wins", "must be a list of sentences"),
                           (["", 3], "protocol, 1: '' must be a line of text")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, {**GOOD, "protocol": wrong})
