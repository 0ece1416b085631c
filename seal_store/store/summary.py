"""What a notebook shows of an object: a title and named lines, as text and as HTML.

Names come from files of anyone, so control characters are escaped, and in HTML markup too.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from seal_store.errors import printable

LONGEST = 300
"""Characters of a line."""


def as_text(title: str, lines: Mapping[str, str]) -> str:
    """For ``repr``."""
    width = max(map(len, lines), default=0)
    shown = (f"  {name:<{width}}  {_short(value)}" for name, value in lines.items())
    return "\n".join((f"<seal_store {_short(title)}>", *shown))


def as_html(title: str, lines: Mapping[str, str]) -> str:
    """For ``_repr_html_``."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{_escaped(name)}</th>"
        f"<td style='text-align:left'>{_escaped(value)}</td></tr>"
        for name, value in lines.items()
    )
    return f"<div><strong>{_escaped(title)}</strong><table>{rows}</table></div>"


class Shown:
    """What shows itself by a title and lines: in ``repr``, and in a notebook as a table."""

    def _summary(self) -> tuple[str, dict[str, str]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(*self._summary())

    def _repr_html_(self) -> str:
        return as_html(*self._summary())


def _escaped(text: str) -> str:
    return html.escape(_short(text))


def _short(text: str) -> str:
    return printable(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")
