"""Work on the next item while one is in use."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item in order, the next one's made in a thread meanwhile.

    Of the results this holds none but the next. An error is raised when its item's turn has come.
    """
    with ThreadPoolExecutor(1) as pool:
        futures = (pool.submit(function, item) for item in items)
        following = next(futures, None)
        while following is not None:
            ready = [following.result()]
            following = next(futures, None)
            yield ready.pop()
