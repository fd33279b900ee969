"""The fuzzer reaches both ends of every reader, and says what it finds."""

from benchmarks import fuzz_readers
from benchmarks.fuzz_readers import READERS, fuzz


def test_some_inputs_are_taken_some_refused_and_none_fails():
    outcomes, failures = fuzz(600, seed=1)
    assert failures == []
    assert sum(outcomes.values()) == 600
    assert set(outcomes) == {(name, end) for name in READERS for end in ("taken", "refused")}


def test_a_failure_is_told_with_what_makes_it_again(monkeypatch):
    def broken(random, folder):
        raise KeyError(f"key {random.randrange(10**9)}")

    monkeypatch.setattr(fuzz_readers, "READERS", {"broken": broken})
    outcomes, failures = fuzz(2, seed=5)
    assert outcomes == {("broken", "failed"): 2}
    assert "broken, seed 5, input 1" in failures[1] and "KeyError" in failures[1]
    assert fuzz(2, seed=5)[1] == failures and fuzz(2, seed=6)[1] != failures
