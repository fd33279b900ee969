"""Whatever JSON a file holds, it is taken or refused with ValueError, and the path is named."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import training_config
from configs.dataset_json import read_dataset_json
from configs.study.studies import FOLDER, read_study
from configs.use.run_folder import read_config
from studies.plans.matrix import study_plan
from system.files import read_json

KEYS = st.sampled_from(["name", "labels", "modality", "channel_names", "training", "image", "label",
                        "file_ending", "0", "1", "background"]) | st.text(max_size=4)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    | st.sampled_from(["background", "CT", "imagesTr/a.nii.gz", "../a.nii.gz", "/a.nii.gz"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


def refusal(read, path, value):
    """The message of the reader's ValueError, or None where it took the file."""
    path.write_text(json.dumps(value))
    try:
        read()
    except ValueError as error:
        assert str(path) in str(error)
        return str(error)
    return None


@settings(deadline=None, max_examples=150)
@given(ANY)
def test_any_dataset_json(folder, value):
    path = folder / "dataset.json"
    said = refusal(lambda: read_dataset_json(path), path, value)
    if said is None:
        assert isinstance(value, dict) and "labels" in value


@settings(deadline=None, max_examples=150)
@given(st.data(), ANY)
def test_a_config_with_any_value(folder, data, value):
    config = training_config("dsd", ["DATA", "_", "--experiment", "Hippocampus_nnUnet.exp"])
    valid = config.to_dict()
    key = data.draw(st.sampled_from(sorted(valid)))
    path = folder / "config.json"
    said = refusal(lambda: read_config(folder), path, valid | {key: value})
    if said is None:
        assert read_config(folder).to_dict().keys() == valid.keys()


@settings(deadline=None, max_examples=150)
@given(st.data(), ANY)
def test_a_study_with_any_value(folder, data, value):
    valid = read_json(FOLDER / "hippocampus.json")
    key = data.draw(st.sampled_from(sorted(valid)))
    path = folder / "study.json"
    said = refusal(lambda: read_study(str(path)), path, valid | {key: value})
    if said is None:
        assert read_study(str(path)).name == "study"


@settings(deadline=None, max_examples=100)
@given(st.data(), ANY)
def test_a_label_study_with_any_value(folder, data, value):
    valid = read_json(FOLDER / "desd.json")
    key = data.draw(st.sampled_from(sorted(valid["label_study"])))
    changed = valid | {"label_study": valid["label_study"] | {key: value}}
    path = folder / "labels.json"
    said = refusal(lambda: study_plan([str(path), "--data", "DATA"]), path, changed)
    if said is None:
        assert study_plan([str(path), "--data", "DATA"]).study.labels


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "", "[1,]",
                                     "9" * 5000])
def test_json_that_is_none_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="a.json: is not valid JSON"):
        read_json(path)
