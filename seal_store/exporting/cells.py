"""Fields of a TSV, guarded so that no spreadsheet takes them for a formula."""

from __future__ import annotations

import re

import numpy as np

from seal_store.errors import printable

_FORMULA = re.compile("'?[=+\\-@\uff1d\uff0b\uff0d\uff20]|''")
"""How a formula begins, also in full width, or text that could be taken for a guarded one."""


def texts(values: np.ndarray, number: str) -> list[str]:
    """A column as it is written: floats by the format ``number``, text as :func:`cell`."""
    if values.dtype.kind == "f":
        return [number % value for value in values.tolist()]
    if values.dtype.kind in "UT":
        found = values.tolist()
        known = {text: cell(text) for text in set(found)}  # names come again and again
        return [known[text] for text in found]
    return list(map(str, values.tolist()))


def cell(value: object) -> str:
    """``value`` as a field of a TSV.

    Numbers and the lone signs of strands stay as they are. Text that would begin a formula gets
    an apostrophe in front, as does text that looks as if it had got one: to undo it, drop an
    apostrophe before ``=``, ``+``, ``-``, ``@`` or another apostrophe. Tabs, ends of lines and
    other control or invisible characters are escaped as Python escapes them.
    """
    if not isinstance(value, str):
        return str(value)
    text = printable(value)
    guard = _FORMULA.match(text) and text not in ("+", "-")
    return f"'{text}" if guard else text
