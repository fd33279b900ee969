"""Work on the next item while one is in use."""

import threading

import pytest

from system.ahead import each_ahead


def test_results_come_in_order():
    assert list(each_ahead(lambda item: item**2, range(5))) == [0, 1, 4, 9, 16]
    assert list(each_ahead(lambda item: item, [])) == []


def test_the_next_one_is_made_meanwhile_and_no_further_one():
    begun = {item: threading.Event() for item in "abc"}

    def note(item):
        begun[item].set()
        return item

    results = each_ahead(note, "abc")
    assert next(results) == "a"
    assert begun["b"].wait(10) and not begun["c"].is_set()  # while "a" is in use
    assert next(results) == "b" and begun["c"].wait(10)
    assert list(results) == ["c"]


def test_an_error_is_that_of_its_item():
    def refuse_two(item):
        if item == 2:
            raise ValueError("2 is damaged")
        return item

    results = each_ahead(refuse_two, [1, 2, 3])
    assert next(results) == 1
    with pytest.raises(ValueError, match="2 is damaged"):
        next(results)
