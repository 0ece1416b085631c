"""Numbers in sentences."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """``1 gene``, ``2 genes``, ``1,000 genes``; ``several`` where it is not ``one`` and an s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
