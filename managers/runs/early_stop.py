"""Whether a run has stopped before its last epoch, decided from its record alone.

So there is no state to save: a resumed run stops where an uninterrupted one would have.
"""

from typing import Any


def has_stopped(history: list[dict[str, Any]], patience: int | None) -> bool:
    """Whether val_dice has not risen for `patience` epochs, counted from its best epoch.

    Args:
        history: one entry per epoch, as in metrics.jsonl; validated ones have "val_dice".
        patience: in epochs, at least 1; None never stops.
    """
    if patience is None or not history or "val_dice" not in history[-1]:
        return False
    validated = [line for line in history if "val_dice" in line]
    best = max(validated, key=lambda line: line["val_dice"])  # the first among equals
    return history[-1]["epoch"] - best["epoch"] >= patience


def epochs_to_train(history: list[dict[str, Any]], epochs: int, patience: int | None) -> int:
    """How many epochs a run trains: `epochs`, or those so far if it has stopped early."""
    if has_stopped(history, patience):
        return len(history)
    return epochs
