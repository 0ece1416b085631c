"""Progress on stderr: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from . import _options
from ._text import tell

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_EVERY = 10.0
"""Seconds between lines in a log."""


class Meter:
    """A listener for library progress, silent with ``--quiet``; use as a context manager."""

    def __init__(self) -> None:
        self.quiet = _options.is_given("quiet")
        self.terminal = sys.stderr.isatty()
        self._unit = ""
        self._bar: tqdm[Any] | None = None
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, unit: str, done: int, total: int | None) -> None:
        """Show ``done`` of ``total``."""
        if self.quiet:
            return
        if unit != self._unit:
            self._start(unit, total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._printed >= LINE_EVERY or done == total:
            self._printed = now
            tell(self._line(done, total, now - self._began), err=True)

    def _start(self, unit: str, total: int | None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._unit, self._began = unit, time.monotonic()
        self._printed = self._began
        if self.terminal:
            from tqdm import tqdm

            self._bar = tqdm(desc=unit, total=total, unit=f" {unit}", file=sys.stderr)

    def _line(self, done: int, total: int | None, seconds: float) -> str:
        rate = done / seconds if seconds > 0 else 0.0
        line = f"{self._unit} {done}" + (f"/{total}" if total is not None else "")
        line += f", {rate:.3g}/s"
        if total is not None and rate > 0:
            line += f", {(total - done) / rate:.0f} s left"
        return line
