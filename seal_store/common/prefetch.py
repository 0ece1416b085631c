"""Prefetching: the next item is made in a thread while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


def begun(make: Callable[[], T]) -> Callable[[], T]:
    """Begin ``make`` in a thread; calling what is returned waits for its result, or raises.

    The thread is a daemon: a process that ends early does not wait for it.
    """
    made: Future[T] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=work, daemon=True, name="seal-store-begun").start()
    return made.result


def behind(items: Iterator[T]) -> Iterator[T]:
    """The same items, each given out when the next one has been made."""
    last: list[T] = []
    for item in items:
        yield from last
        last = [item]
    yield from last


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before it is used.

    An exception in ``items`` is raised where its item would have come. The thread is a daemon
    and is not waited for: a consumer that stops early never hangs on an input that does not end.
    """
    ready: queue.Queue[tuple[object, BaseException | None]] = queue.Queue(1)
    stopped = threading.Event()

    def put(item: object, error: BaseException | None = None) -> None:
        while not stopped.is_set():
            try:
                return ready.put((item, error), timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
        except BaseException as error:
            put(_END, error)
        else:
            put(_END)

    threading.Thread(target=work, daemon=True, name="seal-store-ahead").start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield cast(T, item)
    finally:
        stopped.set()
