"""What an error says, in one line."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text; its class when it has no text."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0]
