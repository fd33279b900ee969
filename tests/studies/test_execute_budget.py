"""What a study does when its time is over."""

import threading

from managers.runs.state import ABSENT, BEGUN
from studies import execute as studies
from studies import executors
from studies.gather import progress_of
from tests.studies.stand_ins import NAMES, calls, config, run, states


def test_when_the_budget_is_over_the_run_keeps_its_place_and_no_other_begins(workplace,
                                                                            monkeypatch):
    """The clock stands until the first run has written its first epoch."""
    (workplace / "data" / "slow").touch()
    begun = workplace / "out" / f"{NAMES[0]}.exp" / "last.model"
    given = []

    class OnceBegun(threading.Thread):
        """Of a timer: it rings when the run has done its first epoch."""

        def __init__(self, seconds, ring):
            super().__init__()
            given.append(seconds)
            self.ring, self.is_cancelled = ring, threading.Event()

        def run(self):
            while not begun.exists() and not self.is_cancelled.wait(0.02):
                pass
            self.ring()

        cancel = property(lambda self: self.is_cancelled.set)

    monkeypatch.setattr(executors.threading, "Timer", OnceBegun)
    monkeypatch.setattr(studies.time, "monotonic", lambda: 1e6 if begun.exists() else 0.0)
    made = config("--budget-minutes", 30)
    assert run(made) == {}
    assert states(made) == [BEGUN, ABSENT, ABSENT, ABSENT]
    assert progress_of(made)[NAMES[0]].epochs == 1
    assert calls(workplace) == [NAMES[0]] and given == [60 * 30]


def test_what_was_stopped_goes_on_and_what_is_trained_is_scored_though_the_budget_is_over(
        workplace, monkeypatch):
    run(config("--seeds", 100))
    calls(workplace)
    stopped, unscored = (workplace / "out" / f"{name}.exp" for name in NAMES[:2])
    for name in ("metrics.jsonl", "last.model"):
        (stopped / name).write_text('{"epoch": 2}\n')
    (unscored / "summary.json").unlink()
    made = config("--seeds", 100, "--budget-minutes", 5)
    for name in NAMES[:2]:
        (made.folder / "cases" / f"{name}.csv").unlink()
    (stopped / "summary.json").unlink()
    with monkeypatch.context() as patch:
        ticks = iter([0.0])
        patch.setattr(studies.time, "monotonic", lambda: next(ticks, 1e6))
        assert run(made) == {}
    assert calls(workplace) == [f"score {NAMES[1]}"]
    assert progress_of(made)[NAMES[0]].epochs == 2
    assert run(made) == {}
    assert calls(workplace) == [f"{NAMES[0]} resume", f"score {NAMES[0]}"]
