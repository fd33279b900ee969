"""What the head of report.html says: what was trained, and the result in a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from metrics.repeats import EQUIVALENT, NOT_SHOWN, TOO_FEW_RUNS
from metrics.run_statistics import MIN_RUNS
from system.durations import duration

from ..tables import counted, metric_digits, metric_title, number_text

METHODS = {  # by --distil
    "both": "DSD", "decoder": "DSD in the decoder only", "encoder": "DSD in the encoder only",
    "none": "deep supervision"}


def training_facts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dataset, network, method, training cases, parameters and time of an experiment's runs.

    What no run tells is left out.

    Args:
        runs: of `read_experiment`, the folds of a cross-validation or a single run.
    """
    facts = []
    settings = [run["settings"] for run in runs]
    for texts in ([_dataset(one) for one in settings],
                  [one.get("network") for one in settings], [_method(one) for one in settings]):
        known = [str(text) for text in dict.fromkeys(texts) if text]
        if known:
            facts.append(", ".join(known))
    cases = _known(runs, "training_cases")
    if cases:
        facts.append(_range(cases, "training case"))
    parameters = _known(runs, "parameters")
    if parameters:
        facts.append(_range(parameters, "parameter"))
    seconds = _known(runs, "seconds")
    if seconds:
        facts.append(f"trained for {duration(sum(seconds))}")
        if len(runs) > 1:
            facts[-1] += f" in {counted(len(seconds), 'run')}"
    return facts


def _dataset(settings: Mapping[str, Any]) -> str | None:
    """The data set's name; of a user's own that in its dataset.json."""
    definition = settings.get("dataset_definition")
    if isinstance(definition, dict) and definition.get("name"):
        return str(definition["name"])
    return settings.get("dataset")


def _method(settings: Mapping[str, Any]) -> str | None:
    method = settings.get("method")
    if method != "dsd":
        return method
    return METHODS.get(settings.get("distil", "both"), "DSD")


def _known(runs: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [run[name] for run in runs if run.get(name) is not None]


def _range(numbers: Sequence[int], thing: str) -> str:
    low, high = min(numbers), max(numbers)
    if low == high:
        return f"{low:,} {thing}" if low == 1 else f"{low:,} {thing}s"
    return f"{low:,} to {high:,} {thing}s"


def result_of_one(headline: Mapping[str, Any], dice: Mapping[str, float], group: str) -> str:
    """The mean Dice of an experiment with its interval, the cases and the worst of them.

    Args:
        headline: Dice's line of `run_data.headline`.
        dice: of each case, by its id.
        group: of the cases, such as "testing"; may be empty.
    """
    if headline["mean"] is None:
        return "No case has a Dice."
    text = f"Mean Dice {headline['mean']:.3f}"
    if headline["low"] is not None:
        text += f" (95 % interval {headline['low']:.3f} to {headline['high']:.3f})"
    text += f" over {counted(headline['n'], f'{group} case'.strip())}"
    if headline["n"] > 1:
        worst = min(dice, key=dice.get)
        text += f"; worst case {worst} with {dice[worst]:.3f}"
    return text + "."


def result_of_two(name_a: str, name_b: str, line: Mapping[str, Any]) -> str:
    """What B shows against the baseline A in one metric; no verdict from few runs.

    Args:
        line: of `metrics.repeats.compare_runs`, judged.
    """
    title, digits = metric_title(line["metric"]), metric_digits(line["metric"])
    gain = number_text(line["mean_difference"], digits, "+")
    if line["verdict"] == TOO_FEW_RUNS:
        return (f"No verdict on {name_b} against {name_a}: {counted(line['runs'], 'pair')} of "
                f"runs, a verdict needs {MIN_RUNS}. On these cases {title} {gain}"
                f"{_interval(line, 'ci', 'cases', digits)}.")
    numbers = f"{gain}{_interval(line, 'run', 'runs', digits)}, {line['runs']} pairs of runs"
    if line["verdict"] == EQUIVALENT:
        return f"{name_b} and {name_a} are level in {title}: {numbers}."
    if line["verdict"] == NOT_SHOWN:
        return f"No difference in {title} is shown between {name_b} and {name_a}: {numbers}."
    return f"{name_b} is {line['verdict']} than {name_a} in {title}: {numbers}."


def _interval(line: Mapping[str, Any], unit: str, over: str, digits: int) -> str:
    low, high = line[f"{unit}_low"], line[f"{unit}_high"]
    if low is None:
        return ""
    return f" (95 % over {over} {low:+.{digits}f} to {high:+.{digits}f})"
