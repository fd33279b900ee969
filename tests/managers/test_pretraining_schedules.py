"""Rates, momenta and temperatures of the pre-training, as functions of the step or epoch."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from managers.schedules import cosine, teacher_temperature

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "desd.json").read_text())
SCHEDULES = {name: value for name, value in GOLDEN["schedules"].items()
             if isinstance(value, dict) and "args" in value}


def close(values):
    """The reference's values to 1e-12."""
    return pytest.approx(values, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_reference_values(name):
    reference = SCHEDULES[name]
    base, final, epochs, steps_per_epoch = reference["args"]
    total = epochs * steps_per_epoch
    warmup = reference["kwargs"].get("warmup_epochs", 0) * steps_per_epoch
    values = [cosine(step, base, final, total, warmup) for step in range(total)]
    assert len(values) == reference["len"] and values[-1] == close(reference["last"])
    assert {step: values[int(step)] for step in reference["at"]} == close(reference["at"])
    assert sum(values) == pytest.approx(reference["sum"], rel=1e-12)


def test_which_schedules_there_are():
    assert list(SCHEDULES) == ["lr_npi10", "wd_npi10", "ema_npi10", "lr_small"]


@pytest.mark.parametrize(("warmup", "expected"), [
    (0, [1.0, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5]), (1, [3.0, 1.0, 0.75, 0.25]),
    (2, [3.0, 1.0, 1.0, 0.5]), (3, [3.0, 2.0, 1.0, 1.0]), (4, [3.0, 7 / 3, 5 / 3, 1.0]),
    (5, [3.0, 2.5, 2.0, 1.5])])
def test_warm_up_by_hand(warmup, expected):
    """Four steps: from 3 to the peak 1 in the warm-up, then towards 0."""
    values = [cosine(step, 1.0, 0.0, 4, warmup, start=3.0) for step in range(4)]
    assert values == close(expected)


@given(st.integers(1, 40), st.integers(0, 50), st.floats(0, 2), st.floats(0, 2))
def test_warm_up_is_evenly_spaced_and_the_rest_falls_to_the_final_value(total, warmup, base, final):
    values = [cosine(step, base, final, total, warmup) for step in range(total)]
    assert values[:warmup] == close(np.linspace(0, base, warmup)[:total].tolist())
    rest = values[warmup:]
    assert sorted(rest, reverse=base > final) == close(rest)
    assert all(min(base, final) - 1e-12 <= value <= max(base, final) + 1e-12 for value in rest)
    if rest:
        assert rest[0] == close(base)


def test_steps_outside_the_run_are_a_mistake():
    for step in (-1, 10):
        with pytest.raises(AssertionError, match="of 10"):
            cosine(step, 1.0, 0.0, 10)


def test_reference_temperatures():
    start, final, warmup, epochs = GOLDEN["teacher_temp"]["args"]
    at = GOLDEN["teacher_temp"]["at"]
    assert {e: teacher_temperature(int(e), start, final, warmup) for e in at} == close(at)
    assert {e: teacher_temperature(int(e)) for e in at} == close(at)
    assert epochs == GOLDEN["teacher_temp"]["len"]
    constant = GOLDEN["teacher_temp"]["defaults(0.04,0.04,0,100)"]
    assert {e: teacher_temperature(int(e), 0.04, 0.04, 0) for e in constant} == close(constant)


@pytest.mark.parametrize(("warmup", "expected"), [
    (0, [5.0, 5.0, 5.0]), (1, [1.0, 5.0, 5.0]), (2, [1.0, 5.0, 5.0]), (3, [1.0, 3.0, 5.0]),
    (5, [1.0, 2.0, 3.0])])
def test_short_warm_ups_of_the_temperature(warmup, expected):
    assert [teacher_temperature(epoch, 1.0, 5.0, warmup) for epoch in range(3)] == expected
