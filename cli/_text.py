"""The one way in which text gets to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from seal_store.common.words import counted
from seal_store.errors import printable


def tell(text: str | Sequence[str], *, err: bool = False, file: Any = None) -> None:
    """Print ``text``, or lines, on stdout or with ``err`` on stderr.

    Names come from files: what would steer the terminal is shown, escaped, and never sent; in a
    line of several, a line break too.
    """
    click.echo(shown(text), err=err, file=file)


def shown(text: str | Sequence[str]) -> str:
    """What :func:`tell` prints."""
    lines = text.split("\n") if isinstance(text, str) else text
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)


def plan_text(what: str, pieces: int, piece: str) -> str:
    """What a plan says: of ``what``, divided into so many pieces, shards or slices."""
    last = f" to --{piece} {pieces - 1}" if pieces > 1 else ""
    return f"planned {what} in {counted(pieces, piece)}: run --{piece} 0{last}, then --finalize"
