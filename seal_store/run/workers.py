"""Work done by processes of this machine: each takes a task at a time, a dead one is replaced."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from seal_store.common.tasks import reason_of
from seal_store.common.threads import VARIABLES, limit_threads
from seal_store.errors import InputError, OutputError
from seal_store.run.work import ATTEMPTS, Done, Outcome, Work

_BEGUN, _FAILED = -1, -2
"""What a worker answers instead of a task: it has begun, or could not."""


def run_workers(
    work: Work, tasks: Sequence[int], devices: Sequence[str], threads: int, done: Done = bool
) -> Outcome:
    """Do ``tasks`` with one process for each of ``devices``, which has so many ``threads``.

    A task that fails, or whose process dies, is tried three times; one whose input is
    at fault once. Raises :class:`OutputError` if the work cannot be begun. However this ends,
    no process is left.
    """
    outcome, waiting, tries = Outcome({}, {}), deque(tasks), Counter[int]()
    crew: list[_Worker] = []

    def begin(device: str) -> None:
        with unheard():
            crew.append(_Worker(work, device, threads))

    deaths = 0
    try:
        for device in devices:
            begin(device)
        while waiting or any(worker.task is not None for worker in crew):
            for worker in crew:
                if worker.is_begun and worker.task is None and waiting:
                    worker.give(waiting.popleft())
            for connection in wait([w.pipe for w in crew if w.is_awaited]):
                worker = next(w for w in crew if w.pipe is connection)
                task, value, reason, is_final = worker.answer()
                if task == _FAILED:
                    raise OutputError(f"a worker could not begin: {reason}")
                if task == _BEGUN:
                    deaths = 0
                elif task is None:  # died before it had begun
                    deaths += 1
                    if deaths == ATTEMPTS:
                        raise OutputError(f"{deaths} workers in a row could not begin: {reason}")
                elif not reason:
                    outcome.values[task] = value
                    done(task)
                else:
                    tries[task] += 1
                    if is_final or tries[task] == ATTEMPTS:
                        outcome.failures[task] = reason
                    else:
                        waiting.append(task)
                if not worker.is_alive:
                    crew.remove(worker)
                    if len(crew) < len(waiting) + sum(w.task is not None for w in crew):
                        begin(worker.device)
    except BaseException:
        for worker in crew:
            worker.kill()
        raise
    for worker in crew:
        worker.dismiss()
    return outcome


class _Worker:
    """A process and the task it has."""

    def __init__(self, work: Work, device: str, threads: int) -> None:
        self.device = device
        self.task: int | None = None
        self.is_begun, self.is_alive = False, True
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(work, device, threads, theirs), daemon=True
        )
        with _environment(threads):
            self._process.start()
        theirs.close()

    @property
    def is_awaited(self) -> bool:
        """Whether it will answer."""
        return not self.is_begun or self.task is not None

    def give(self, task: int) -> None:
        """Have it do a task. What it has died of meanwhile, its answer tells."""
        self.task = task
        with suppress(OSError):
            self.pipe.send(task)

    def answer(self) -> tuple[int | None, Any, str, bool]:
        """Task, value, why it failed, and whether it would again; a death as a failure."""
        try:
            task, value, reason, is_final = self.pipe.recv()
        except (EOFError, OSError):
            self.is_alive = False
            self._process.join()
            code = self._process.exitcode or 0
            known = -code in set(signal.Signals)
            ended = signal.Signals(-code).name if known else f"exit code {code}"
            more = ": out of memory?" if -code == signal.SIGKILL else ""
            return self.task, None, f"its process died ({ended}{more})", False
        self.is_begun = self.is_begun or task == _BEGUN
        self.task = None
        return task, value, reason, is_final

    def dismiss(self) -> None:
        """Let it end."""
        with suppress(OSError):
            self.pipe.send(None)
        self._process.join()
        self.pipe.close()

    def kill(self) -> None:
        """End it at once: whatever it was writing is not taken for whole."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(work: Work, device: str, threads: int, pipe: Connection) -> None:
    """Do tasks as they come until there is no more, or nobody who gives them."""
    with suppress(EOFError, OSError):
        try:
            # numcodecs makes a lock: one of `spawn` is a file that a killed process leaves behind
            multiprocessing.set_start_method("fork", force=True)
            limit_threads(threads)
            run = work.begin(device)
        except Exception as error:
            pipe.send((_FAILED, None, reason_of(error), True))
            return
        pipe.send((_BEGUN, None, "", False))
        while (task := pipe.recv()) is not None:
            try:
                answer = task, run(task), "", False
            except Exception as error:
                answer = task, None, reason_of(error), isinstance(error, InputError)
            pipe.send(answer)


@contextmanager
def unheard() -> Iterator[None]:
    """Ctrl-C waits until a process is started whole and known; the process never hears it.

    It goes to all processes of a terminal: one that imports would print a traceback, as would one
    whose parent ends before it has said what to do. The process inherits the mask. Here the mask
    is not enough: any thread may take the signal, and Python then interrupts the main one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    heard: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    waits = callable(handler) and threading.current_thread() is threading.main_thread()
    if waits:
        signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if waits:
            signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What a process that is started meanwhile reads before any of our code runs."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
