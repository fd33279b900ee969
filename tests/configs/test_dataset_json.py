"""dataset.json of both kinds becomes one definition; whatever is wrong with it is told at once."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.dataset_json import dataset_json_of, read_dataset_json

DECATHLON = {
    "name": "Spleen", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"},
    "numTraining": 2, "test": ["./imagesTs/spleen_1.nii.gz"],
    "training": [{"image": "./imagesTr/spleen_9.nii.gz", "label": "./labelsTr/spleen_9.nii.gz"},
                 {"image": "./imagesTr/spleen_2.nii.gz", "label": "./labelsTr/spleen_2.nii.gz"}]}
NNUNET = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "PZ": 1, "TZ": 2},
          "numTraining": 32, "file_ending": ".nii.gz", "name": "Prostate"}


@pytest.fixture
def read(tmp_path):
    """read(content) -> the definition of a dataset.json with this content."""

    def written_and_read(content):
        path = tmp_path / "dataset.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return read_dataset_json(path)

    return written_and_read


@pytest.fixture
def problems_of(read):
    """problems_of(content) -> the lines of the error, less its headline."""

    def refused(content):
        with pytest.raises(ValueError, match=r"dataset\.json: cannot be used:") as raised:
            read(content)
        return str(raised.value).splitlines()[1:]

    return refused


def listing(*pairs):
    return DECATHLON | {"training": [{"image": image, "label": label} for image, label in pairs]}


def test_the_decathlon_s_form(read):
    assert read(DECATHLON) == {
        "name": "Spleen", "channels": ["CT"], "labels": {"0": "background", "1": "spleen"},
        "cases": [{"case_id": f"spleen_{n}", "image": f"imagesTr/spleen_{n}.nii.gz",
                   "label": f"labelsTr/spleen_{n}.nii.gz"} for n in (2, 9)]}


def test_nnunet_s_form(read):
    assert read(NNUNET) == {"name": "Prostate", "channels": ["T2", "ADC"], "cases": None,
                            "labels": {"0": "background", "1": "PZ", "2": "TZ"},
                            "numbered": True, "num_training": 32}


def test_symmetric_is_kept_where_it_is_true(read):
    plain = read(DECATHLON)
    assert read(DECATHLON | {"symmetric": True}) == plain | {"symmetric": True}
    assert read(DECATHLON | {"symmetric": False}) == plain


@pytest.mark.parametrize("content", [DECATHLON, NNUNET])
def test_definitions_are_plain_json(content, read):
    definition = read(content)
    assert json.loads(json.dumps(definition)) == definition


def test_the_folder_s_name_stands_in_for_a_missing_one(read, tmp_path):
    content = {key: value for key, value in NNUNET.items() if key != "name"}
    assert read(content)["name"] == tmp_path.name


@pytest.mark.parametrize("labels", [
    {"500": "aorta", "0": "background", "205": "wall"},
    {"aorta": 500, "background": 0, "wall": 205}])
def test_label_values_need_not_be_consecutive_and_are_sorted(labels, read):
    found = read(NNUNET | {"labels": labels})["labels"]
    assert list(found.items()) == [("0", "background"), ("205", "wall"), ("500", "aorta")]


@given(values=st.sets(st.integers(1, 10**6), min_size=1, max_size=20))
def test_both_directions_of_labels_say_the_same(values, tmp_path_factory):
    names = {0: "background"} | {value: f"class {value}" for value in sorted(values, key=str)}
    path, found = tmp_path_factory.mktemp("json") / "dataset.json", []
    for labels in (names, {name: value for value, name in names.items()}):
        path.write_text(json.dumps(NNUNET | {"labels": labels}))
        found.append(list(read_dataset_json(path)["labels"].items()))
    assert found[0] == found[1] == [(str(value), names[value]) for value in sorted(names)]


@pytest.mark.parametrize(("image", "label", "case_id"), [
    ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "a"),
    ("./imagesTr/a_0000.nii.gz", "labelsTr/a.nii", "a"),
    ("imagesTr/a_0000.nii.gz", "labelsTr/a_0000.nii.gz", "a_0000"),
    ("imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz", "img0001"),
    ("a_image.nii.gz", "a_label.nii.gz", "a"),
    ("scans\\a.nii.gz", "masks\\a.nii.gz", "a"),
    (["imagesTr/a.nii.gz"], "labelsTr/a.nii.gz", "a")])
def test_case_ids_of_listed_files(image, label, case_id, read):
    (case,) = read(listing((image, label)))["cases"]
    assert case["case_id"] == case_id
    assert not case["image"].startswith("./") and "\\" not in case["image"]


@pytest.mark.parametrize("path", ["/data/a.nii.gz", "../a.nii.gz", "imagesTr/../../a.nii.gz",
                                  "C:/data/a.nii.gz", "C:a.nii.gz", "..\\a.nii.gz",
                                  "\\\\host\\share\\a.nii.gz"])
@pytest.mark.parametrize("role", ["image", "label"])
def test_paths_that_leave_the_folder_are_refused(role, path, problems_of):
    good = "imagesTr/a.nii.gz"
    line, = problems_of(listing((path, good) if role == "image" else (good, path)))
    assert f"training, entry 1, {role}: {path!r} leaves the folder" in line


def test_a_listed_case_has_a_file_for_each_channel_or_one(read, problems_of):
    files = ["imagesTr/a_0000.nii.gz", "./imagesTr/a_0001.nii.gz"]
    (case,) = read(listing((files, "labelsTr/a.nii.gz")) | {"modality": {"0": "T1", "1": "T2"}}
                   )["cases"]
    assert case == {"case_id": "a", "label": "labelsTr/a.nii.gz",
                    "image": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]}
    line, = problems_of(listing((files, "labelsTr/a.nii.gz")))
    assert "entry 1, image: has 2 files, but there are 1 channel(s)" in line


def test_nnunet_s_own_list_is_by_case_id(read, problems_of):
    files = {"images": ["imagesTr/x_0000.nii.gz", "imagesTr/x_0001.nii.gz"],
             "label": "labelsTr/x.nii.gz"}
    found = read(NNUNET | {"dataset": {"case_7": files}})
    assert found["cases"] == [{"case_id": "case_7", "image": files["images"],
                               "label": "labelsTr/x.nii.gz"}]
    assert "numbered" not in found and "num_training" not in found
    line, = problems_of(NNUNET | {"dataset": {"case_7": files | {"label": "/other/x.nii.gz"}}})
    assert "dataset, entry 1, label" in line and "leaves the folder" in line


def test_a_file_beside_the_images_is_found(tmp_path):
    assert dataset_json_of(tmp_path) is None
    (tmp_path / "dataset.json").touch()
    assert dataset_json_of(tmp_path) == str(tmp_path / "dataset.json")


@pytest.mark.parametrize(("labels", "words"), [
    ({"background": 0, "all": [1, 2]}, "'all': is a region of the values [1, 2]; regions"),
    ({"background": 0, "tumour": "one"}, "'one' must be one whole number"),
    ({"background": 0, "tumour": -1}, "-1 must be one whole number"),
    ({"background": 0, "tumour": 1.5}, "1.5 must be one whole number"),
    ({"background": 0, "tumour": True}, "True must be one whole number"),
    ({"0": "background", "1": ""}, "'' must be a text"),
    ({"0": "background", "1": 7}, "7 must be a text"),
    ({"background": 0, "tumour": 1, "ignore": 2}, "voxels without annotation; the losses"),
    ({"0": "background", "1": "a", "2": "a"}, "name 'a' occurs more than once"),
    ({"background": 0, "a": 1, "b": 1}, "value 1 occurs more than once"),
    ({"1": "a", "2": "b"}, "the value 0 is missing; it must be the background"),
    ({"0": "liver", "1": "tumour"}, "the value 0 is 'liver'; it must be the background"),
    ({"0": "background"}, "1 classes with the background; there must be 2 to 256"),
    ({"0": "background"} | {str(n): f"c{n}" for n in range(1, 257)}, "257 classes"),
    ({}, "missing or empty"), (None, "missing or empty"), (["background"], "missing or empty"),
])
def test_labels_that_cannot_be_used(labels, words, problems_of):
    line, = problems_of(NNUNET | {"labels": labels})
    assert "labels" in line and words in line


@pytest.mark.parametrize("modality", [{}, {"1": "CT"}, {"0": "a", "2": "b"}, {"0": 3}, "CT",
                                      ["CT"], {"first": "CT"}])
def test_channels_that_cannot_be_used(modality, problems_of):
    line, = problems_of(DECATHLON | {"modality": modality})
    assert "modality" in line and "by their numbers from 0 on" in line


@pytest.mark.parametrize(("changes", "words"), [
    ({"training": []}, "training: must be a list"),
    ({"training": {"image": "a.nii.gz"}}, "training: must be a list"),
    ({"training": ["a.nii.gz"]}, "entry 1: 'a.nii.gz' must be"),
    ({"training": [{"image": "a.nii.gz"}]}, "entry 1, label: None must be the path"),
    ({"training": [{"image": "a.png", "label": "a.nii"}]}, "entry 1, image: 'a.png' must be"),
    ({"training": [{"image": [], "label": "a.nii"}]}, "entry 1, image: [] must be"),
    ({"training": DECATHLON["training"] + DECATHLON["training"][:1]},
     "entry 3: case spleen_9 is listed more than once"),
    ({"file_ending": ".png"}, "file_ending '.png': only .nii.gz and .nii"),
    ({"file_ending": ".png"}, "go back to a file's own grid"),
    ({"training": None, "numTraining": "5"}, "numTraining '5': must be a whole number"),
    ({"name": ""}, "name '': must be a text"), ({"name": 7}, "name 7: must be a text"),
    ({"symmetric": "yes"}, "symmetric 'yes': must be true or false"),
])
def test_other_problems(changes, words, problems_of):
    line, = problems_of(DECATHLON | changes)
    assert words in line


def test_every_problem_is_in_one_message(problems_of):
    lines = problems_of({"name": "", "labels": {"1": "a"}, "file_ending": ".mha", "training": [
        {"image": "/a.nii.gz", "label": "a.nii.gz"}, 7, {"image": "a.nii.gz", "label": "../b.nii"},
        {"image": ["a.nii", "b.nii"], "label": None}]})
    starts = ["name", "modality", "labels", "labels", "training, entry 1, image",
              "training, entry 2", "training, entry 3, label", "training, entry 4, label",
              "file_ending"]
    assert len(lines) == len(starts)
    assert all(line.strip().startswith(start) for line, start in zip(lines, starts, strict=True))


@pytest.mark.parametrize("content", ["[", "", "[]", "3", '"text"'])
def test_a_file_that_is_no_object_is_named(content, read):
    with pytest.raises(ValueError, match=r"dataset\.json: (is not valid JSON|must be one object)"):
        read(content)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"dataset\.json: cannot be read"):
        read_dataset_json(tmp_path / "dataset.json")


def test_a_name_that_begins_a_new_line_is_a_problem(problems_of):
    problem, = problems_of(NNUNET | {"labels": {"background": 0, "P\rZ": 1}})
    assert problem == "  labels: the name 'P\\rZ': has the control character '\\r'; leave it out."
