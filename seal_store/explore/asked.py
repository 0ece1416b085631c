"""What an address or a form asks for: texts, choices and numbers, each within bounds.

Nothing of it is used as a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from seal_store.charts.base import short
from seal_store.errors import InputError

LONGEST = 50_000
"""Characters of a value: an allele of 45,000 bases."""


class Asked:
    """Named values of an address or a form."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        """A text without the blanks around it. Raises :class:`InputError` if it is too long."""
        found = self.values.get(name, default).strip()
        if len(found) > LONGEST:
            raise InputError(
                f"`{name}`: {len(found):,} characters", f"at most {LONGEST:,} are read"
            )
        return found or default

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """One of ``choices``, by default the first. Raises :class:`InputError` for another."""
        found = self.text(name, choices[0])
        if found not in choices:
            named = ", ".join(choice or "nothing" for choice in choices)
            raise InputError(f"`{name}` {short(found)}: not one of {named}")
        return found

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number; commas and blanks in it do not count.

        Raises :class:`InputError` for anything else, or one out of bounds.
        """
        found = self.text(name, str(default)).replace(",", "").replace(" ", "")
        digits = found.removeprefix("-")
        number = int(found) if digits.isascii() and digits.isdigit() and len(digits) < 16 else None
        if number is None or not least <= number <= most:
            raise InputError(
                f"`{name}` {short(found)}: not a whole number from {least:,} to {most:,}"
            )
        return number

    def number(self, name: str) -> float | None:
        """A number, None where nothing is given. Raises :class:`InputError` for anything else."""
        found = self.text(name)
        try:
            value = float(found) if found else None
        except ValueError:
            value = float("nan")
        if value is not None and not abs(value) < float("inf"):
            raise InputError(f"`{name}` {short(found)}: not a number")
        return value
