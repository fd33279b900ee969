"""When a run stops before its last epoch."""

import pytest

from managers.runs.early_stop import epochs_to_train, has_stopped


def record(*dice):
    """Lines of metrics.jsonl; None for an epoch without validation."""
    return [{"epoch": number} | ({} if value is None else {"val_dice": value})
            for number, value in enumerate(dice, start=1)]


@pytest.mark.parametrize(("dice", "patience", "stopped"), [
    ((), 1, False),
    ((0.5,), 1, False),
    ((0.5, 0.4), None, False),
    ((0.5, 0.4), 1, True),
    ((0.5, 0.5), 1, True),          # level is no rise
    ((0.5, 0.4), 2, False),
    ((0.5, 0.4, 0.3), 2, True),
    ((0.5, 0.4, 0.6), 2, False),    # the best is the last
    ((0.5, None, None), 2, False),  # decided where there is a validation
    ((0.5, None, 0.4), 2, True),
    ((0.3, 0.5, 0.5, 0.4), 2, True),  # from the first of the equal bests, epoch 2
])
def test_stops_when_dice_has_not_risen(dice, patience, stopped):
    assert has_stopped(record(*dice), patience) is stopped
    assert epochs_to_train(record(*dice), 100, patience) == (len(dice) if stopped else 100)
