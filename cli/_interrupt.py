"""Ctrl-C ends a program always, and within two seconds.

Python raises ``KeyboardInterrupt`` where the main thread next runs Python. Three things can come
between. The signal may arrive just before a call that waits (for the network, a thread, a child),
which is then not cut short; the interrupt may be raised where it cannot be passed on (a finalizer
or a callback, "Exception ignored in"; the import of a C++ module); and what it unwinds may wait
for others (threads that compute or write). So a thread repeats the signal until it is heard, and
ends the process if that is still there after :data:`GRACE`: outputs stay as after ``kill -9``,
which they survive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

GRACE, TICK = 1.5, 0.05
"""Seconds from the signal to the end of the process, and between looks at it."""
CODE = 130
"""The exit code after Ctrl-C."""


class Interrupts:
    """A context in which Ctrl-C is heard; ``last_words`` gives the line that ends it by force.

    It does nothing where Ctrl-C is ignored (a job in the background of a script) or another
    program has a handler of its own, and outside the main thread.
    """

    def __init__(self, last_words: Callable[[], str]) -> None:
        self.last_words = last_words
        self.active = self.heard = False

    def __enter__(self) -> Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.active = True
            self._source, self._sink = os.pipe()
            os.set_blocking(self._sink, False)
            self._hook = sys.unraisablehook
            sys.unraisablehook = self._unraisable
            self._others = signal.set_wakeup_fd(self._sink, warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, self._hear)
            threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.active and not self.heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.set_wakeup_fd(self._others)
            sys.unraisablehook = self._hook
            os.close(self._sink)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # What a second one would stop is the cleaning up. Raised in the middle of an import, it
        # may meet C++ that knows no way to pass it on, and aborts (torch's does).
        if not (self.heard or _imports(frame)):
            self.heard = True
            raise KeyboardInterrupt

    def _unraisable(self, lost: Any) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            self.heard = False
        else:
            self._hook(lost)

    def _watch(self, main: int) -> None:
        while (number := os.read(self._source, 1)) != bytes([signal.SIGINT]):
            if not number:
                return os.close(self._source)
        for _ in range(round(GRACE / TICK)):
            time.sleep(TICK)
            if not self.heard:
                signal.pthread_kill(main, signal.SIGINT)
        with suppress(OSError):
            os.write(2, f"{self.last_words()}\n".encode())
        os._exit(CODE)

    def end(self, code: int = CODE) -> NoReturn:
        """End the process with ``code``, without waiting for threads.

        A thread that makes the next item ahead may be in the middle of a call of zarr's, whose
        event loop complains on stderr if Python takes it down.
        """
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being loaded in ``frame`` or in what called it."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
