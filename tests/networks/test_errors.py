"""What an error says, in one line."""

import pytest

from networks.errors import first_line


@pytest.mark.parametrize(("error", "want"), [
    (ValueError("one\ntwo"), "one"), (ValueError("one"), "one"), (EOFError(), "EOFError"),
    (KeyError("name"), "'name'"), (ValueError("\n"), "ValueError"), (ValueError("\none"), "one")])
def test_an_error_gives_its_first_line_or_its_class(error, want):
    assert first_line(error) == want
