"""Progress callbacks: the library reports events, the caller displays them."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, "int | None"], None]
"""Called as ``progress(unit, done, total)``; ``total`` is None where it is not known ahead."""


def silent(unit: str, done: int, total: int | None) -> None:
    """The default listener."""
