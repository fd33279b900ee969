"""The outputs of a network as a table and a picture."""

import math

import numpy as np
import pytest
from PIL import Image

from reports.side_outputs import mean_outputs, outputs_picture, outputs_table


def row(case_id, output, role, dice, kl=math.nan, confidence=0.75):
    return {"case_id": case_id, "output": output, "role": role, "dice": dice, "accuracy": 0.5,
            "confidence": confidence, "kl": kl}


ROWS = [row("a", "out", "output", 0.9), row("a", "dec2", "student", 0.25, 0.1),
        row("a", "dec1", "teacher", 0.75),
        row("b", "out", "output", 0.7), row("b", "dec2", "student", 0.35, 0.3, math.nan),
        row("b", "dec1", "teacher", 0.85)]


def test_means_are_over_cases_and_leave_nan_out():
    out, student, teacher = mean_outputs(ROWS)
    assert (out["output"], out["role"]) == ("out", "output")
    assert out["dice"] == pytest.approx(0.8) and math.isnan(out["kl"])
    assert student["dice"] == pytest.approx(0.3) and student["kl"] == pytest.approx(0.2)
    assert student["confidence"] == 0.75
    assert teacher["dice"] == pytest.approx(0.8)


def test_the_table_has_a_line_for_each_output():
    lines = outputs_table(mean_outputs(ROWS)).splitlines()
    assert lines[0].split() == ["output", "role", "Dice", "accuracy", "confidence", "KL"]
    assert lines[1].split() == ["out", "output", "0.800", "0.500", "0.750", "-"]
    assert lines[2].split() == ["dec2", "student", "0.300", "0.500", "0.750", "0.2000"]


def test_the_picture_has_the_outputs_colours(tmp_path):
    outputs_picture(tmp_path / "a.png", ROWS, "run.exp")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert pixels.shape == (30 * 3 + 60 + 86, 1000, 3)
    for colour in ((0x00, 0xB3, 0x84), (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)):
        assert (pixels == colour).all(-1).sum() > 20, colour
