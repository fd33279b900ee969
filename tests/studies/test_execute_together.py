"""Several calls at work on one study."""

import threading

from managers.runs.run_locks import alone, locked
from managers.runs.state import FINISHED
from studies.gather import UNDER_WAY, progress_of
from studies.report_matrix import write_report
from tests.studies.stand_ins import NAMES, calls, config, run, states


def test_a_run_that_another_call_is_at_is_left_to_it(workplace, caplog):
    """It may be in any state: its folder here is one that no run has."""
    made = config()
    folder = workplace / "out" / f"{NAMES[1]}.exp"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"half": ')
    (made.folder / "logs").mkdir(parents=True)
    with locked(made.folder / "logs" / f".{NAMES[1]}.lock") as mine, caplog.at_level("INFO"):
        assert mine and run(made) == {}
        assert states(made) == [FINISHED, UNDER_WAY, FINISHED, FINISHED]
        assert "4 runs: 3 complete, 1 partial." in write_report(made, progress_of(made))
    assert f"[2/4] {NAMES[1]}: under way in another call" in caplog.text
    assert calls(workplace) == [word for name in (NAMES[0], *NAMES[2:])
                                for word in (name, f"score {name}")]
    (folder / "config.json").unlink()
    folder.rmdir()
    assert run(made) == {} and calls(workplace) == [NAMES[1], f"score {NAMES[1]}"]


def test_calls_at_once_share_the_runs(workplace):
    """Four calls, each run trained and scored by one of them; all are in the record."""
    outcomes = []
    together = [threading.Thread(target=lambda: outcomes.append(run(config()))) for _ in range(4)]
    for one in together:
        one.start()
    for one in together:
        one.join()
    assert outcomes == [{}] * 4
    assert sorted(calls(workplace)) == sorted([*NAMES, *(f"score {name}" for name in NAMES)])
    assert all(one.is_gathered for one in progress_of(config()).values())


def test_alone_waits_for_the_other(workplace):
    came = threading.Event()

    def come():
        with alone(workplace):
            came.set()

    other = threading.Thread(target=come)
    with alone(workplace):
        other.start()
        assert not came.wait(0.2)
    other.join()
    assert came.is_set()
