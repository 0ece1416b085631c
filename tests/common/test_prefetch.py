"""Work ahead: order, errors and the end of items made while the last one is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from seal_store.common.prefetch import ahead


def test_order_and_end() -> None:
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead(iter(()))) == []


def test_an_exception_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    items = ahead(failing())
    assert next(items) == 1
    with pytest.raises(KeyError, match="x"):
        next(items)


def test_the_next_item_is_made_while_the_last_one_is_used() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(3):
            made.append(i)
            yield i

    first = ahead(items())
    next(first)
    deadline = time.monotonic() + 5
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(made) >= 2
    first.close()  # type: ignore[attr-defined]


def test_stopping_early_does_not_wait_for_an_input_that_hangs() -> None:
    released = threading.Event()

    def hanging() -> Iterator[int]:
        yield 1
        released.wait(30)

    items = ahead(hanging())
    next(items)
    begin = time.monotonic()
    items.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5
    released.set()
