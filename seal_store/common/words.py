"""Numbers and names in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def counted(count: int, one: str, several: str = "") -> str:
    """``1 gene``, ``2 genes``, ``1,000 genes``; ``several`` where it is not ``one`` and an s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """The first ``most`` names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name: str, known: Iterable[str], most: int = 3) -> str:
    """Those of ``known`` that ``name`` may be meant for, the likeliest first; empty if none is.

    Case does not matter. Ends in a semicolon and a blank, to stand before another hint.
    """
    names: dict[str, str] = {}
    for own in known:
        names.setdefault(own.casefold(), own)
    found = [names[own] for own in get_close_matches(name.casefold(), names, most)]
    return f"nearest: {', '.join(found)}; " if found else ""
