"""Spans of time in words."""


def duration(seconds: float) -> str:
    """40 -> "40 s", 3900 -> "1 h 05 min", 200000 -> "2 d 8 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
