"""Class volumes against hand computation, and the file that keeps them."""

import json

import pytest

from reports.volumes import FILE, read_volumes, volume_agreement, write_volumes


def row(case_id, label, predicted, name="left"):
    return {"case_id": case_id, "class_name": name, "label_ml": label, "predicted_ml": predicted}


def test_bias_and_limits_of_agreement():
    """Differences 1, 2 and 3: mean 2, sample deviation 1."""
    line, other = volume_agreement([row("a", 10.0, 11.0), row("b", 20.0, 22.0),
                                    row("a", 5.0, 4.0, "right"), row("c", 30.0, 33.0)])
    assert line == {"class_name": "left", "n": 3, "label_ml": 20.0, "predicted_ml": 22.0,
                    "bias_ml": 2.0, "sd_ml": 1.0, "low_ml": pytest.approx(0.04),
                    "high_ml": pytest.approx(3.96)}
    assert other == {"class_name": "right", "n": 1, "label_ml": 5.0, "predicted_ml": 4.0,
                     "bias_ml": -1.0, "sd_ml": None, "low_ml": None, "high_ml": None}
    assert volume_agreement([]) == []


def test_volumes_are_read_with_their_scores_only(tmp_path):
    scores, rows = tmp_path / "per_case.csv", [row("a", 10.0, 11.0)]
    assert read_volumes(tmp_path, scores) == []
    scores.write_text("scores")
    write_volumes(tmp_path, rows)
    copy = tmp_path / "fold1.csv"
    copy.write_text("scores")
    assert read_volumes(tmp_path, scores) == read_volumes(tmp_path, copy) == rows
    scores.write_text("scores of another evaluation")
    assert read_volumes(tmp_path, scores) == []
    assert read_volumes(tmp_path, tmp_path / "absent.csv") == []


@pytest.mark.parametrize("rows", [None, [1], [{"case_id": "a"}], [row("a", "10", 11.0)],
                                  [row("a", 10.0, 11.0) | {"more": 1}]])
def test_a_damaged_file_is_named(tmp_path, rows):
    (tmp_path / "per_case.csv").write_text("scores")
    write_volumes(tmp_path, [])
    content = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(content | {"rows": rows}))
    with pytest.raises(ValueError, match="class_volumes.json: is damaged"):
        read_volumes(tmp_path, tmp_path / "per_case.csv")
