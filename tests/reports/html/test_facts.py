"""The head of report.html: facts that are known, and what the scores show."""

import pytest

from reports.html.facts import result_of_one, result_of_two, training_facts


def run(**more):
    settings = {"dataset": "hippocampus", "network": "nnunet", "method": "dsd"}
    return {"settings": settings, "training_cases": 170, "parameters": 4620118,
            "seconds": 5700.0} | more


def test_the_facts_of_a_run():
    assert training_facts([run()]) == [
        "hippocampus", "nnunet", "DSD", "170 training cases", "4,620,118 parameters",
        "trained for 1 h 35 min"]


@pytest.mark.parametrize(("settings", "text"), [
    ({"method": "basic", "distil": "both"}, "basic"), ({"method": "dsd", "distil": "both"}, "DSD"),
    ({"method": "dsd", "distil": "none"}, "deep supervision"),
    ({"method": "dsd", "distil": "encoder"}, "DSD in the encoder only"),
    ({"method": "dsd"}, "DSD")])
def test_the_method_is_what_its_flags_make_of_it(settings, text):
    old = run(training_cases=None, parameters=None, seconds=None, settings=settings)
    assert training_facts([old]) == [text]


def test_data_of_one_s_own_have_the_name_in_their_file():
    settings = {"dataset": "dataset.json", "dataset_definition": {"name": "Spleen"}}
    assert training_facts([run(settings=settings)])[0] == "Spleen"
    for unnamed in (None, {}, "Spleen"):
        old = run(settings=settings | {"dataset_definition": unnamed})
        assert training_facts([old])[0] == "dataset.json"


def test_folds_are_told_together():
    folds = [run(training_cases=207, seconds=60.0), run(training_cases=208, seconds=None),
             run(training_cases=208, seconds=120.0)]
    assert training_facts(folds)[3:] == [
        "207 to 208 training cases", "4,620,118 parameters", "trained for 3 min in 2 runs"]


def test_what_an_older_run_does_not_tell_is_left_out():
    old = run(training_cases=None, parameters=None, seconds=None, settings={"network": "unetr"})
    assert training_facts([old]) == ["unetr"]
    assert training_facts([]) == []


def test_the_result_of_one_experiment():
    headline = {"mean": 0.8, "low": 0.7, "high": 0.9, "n": 3}
    assert result_of_one(headline, {"a": 0.8, "b": 0.65, "c": 0.95}, "testing") == (
        "Mean Dice 0.800 (95 % interval 0.700 to 0.900) over 3 testing cases; worst case b with "
        "0.650.")
    headline = {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert result_of_one(headline, {"a": 0.5}, "") == "Mean Dice 0.500 over 1 case."
    assert result_of_one({"mean": None, "low": None, "high": None, "n": 0}, {}, "") == \
        "No case has a Dice."


def line(verdict, runs, **more):
    return {"metric": "dice", "mean_difference": 0.0214, "ci_low": 0.01, "ci_high": 0.03,
            "run_low": 0.005, "run_high": 0.035, "runs": runs, "verdict": verdict} | more


def test_the_result_of_two_experiments():
    assert result_of_two("A", "B", line("better", 5)) == (
        "B is better than A in Dice: +0.021 (95 % over runs +0.005 to +0.035), 5 pairs of runs.")
    assert result_of_two("A", "B", line("worse", 3, mean_difference=-0.02)).startswith(
        "B is worse than A in Dice: -0.020")
    assert result_of_two("A", "B", line("level", 3)).startswith("B and A are level in Dice: ")
    assert result_of_two("A", "B", line("no difference shown", 3)).startswith(
        "No difference in Dice is shown between B and A: ")


def test_few_runs_give_no_verdict():
    few = line("fewer than 3 paired runs", 1, run_low=None, run_high=None)
    assert result_of_two("A", "B", few) == (
        "No verdict on B against A: 1 pair of runs, a verdict needs 3. On these cases Dice +0.021 "
        "(95 % over cases +0.010 to +0.030).")
    assert "2 pairs of runs" in result_of_two("A", "B", few | {"runs": 2})
    one_case = few | {"ci_low": None, "ci_high": None}
    assert result_of_two("A", "B", one_case).endswith("On these cases Dice +0.021.")
