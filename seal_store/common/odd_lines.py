"""Odd lines of a text that is read: how many of each kind, and the first of each.

One rule for all text: an odd line is skipped and counted where the rest is sound; the input is
refused where its meaning is in doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from seal_store.common.words import counted


class OddLines:
    """Counts lines by what became of them and why: ``skipped: no strand``.

    ``first`` has the place (``FILE:LINE: what``) of each kind's first.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.skipped = 0

    def skip(self, reason: str, where: str) -> None:
        """Count a line that is not used."""
        self.skipped += 1
        self.note(f"skipped: {reason}", where)

    def note(self, what: str, where: str) -> None:
        """Count a line that is used, but not as it stands."""
        self.counts[what] += 1
        self.first.setdefault(what, where)

    def __iter__(self) -> Iterator[str]:
        """A line for people for each kind."""
        yield from described(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values: ``{what: {"lines": count, "first": place}}``."""
        counts = sorted(self.counts.items())
        return {what: {"lines": n, "first": self.first[what]} for what, n in counts}


def described(found: Mapping[str, Any]) -> Iterator[str]:
    """What :meth:`OddLines.to_dict` gave, a line for people for each kind."""
    for what, entry in found.items():
        yield f"{counted(entry['lines'], 'line')} {what} (first: {entry['first']})"
