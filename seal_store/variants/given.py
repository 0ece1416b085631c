"""Variants given in Python: a table with columns, or tuples.

Positions are 1-based, as in VCF. What a VCF could hold too (an ALT of several alleles, a REF
that is no base, POS 0) becomes an allele with its kind, and is counted; what is not a variant at
all is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seal_store.errors import VariantError
from seal_store.variants.alleles import MAX_POSITION, Allele, split_alts

COLUMNS = {"contig": ("contig", "chrom"), "pos": ("pos",), "ref": ("ref",), "alt": ("alt",)}
"""Columns that a table must have, each with the names it may have, in any case, `#` or not."""

HINT = "give columns contig (or chrom), pos (1-based), ref, alt and, if you like, id"


@dataclass(frozen=True, slots=True)
class Given(Allele):
    """An allele of a table or of tuples: ``line`` is its row, counted from 0."""

    def __str__(self) -> str:
        """As counts and errors show it."""
        return f"row {self.line}, {Allele.__str__(self).removeprefix(f'line {self.line}, ')}"


def is_table(variants: object) -> bool:
    """Whether ``variants`` has columns by name: a DataFrame or a mapping."""
    return isinstance(variants, Mapping) or hasattr(variants, "columns")


def from_table(table: Any) -> Iterator[Allele]:
    """Alleles of a DataFrame, or of a mapping of columns.

    Raises :class:`VariantError` for a missing or doubled column, columns of unequal length, a
    ``pos`` without any position, or a value that is neither text nor missing among the alleles.
    """
    names = list(table) if isinstance(table, Mapping) else list(table.columns)
    found: dict[str, list[object]] = {}
    for column, spellings in {**COLUMNS, "id": ("id",)}.items():
        own = [n for n in names if isinstance(n, str) and n.lower().lstrip("#") in spellings]
        if len(own) > 1:
            raise VariantError(f"variants: columns {own} are all {column}", "leave one of them")
        if own:
            found[column] = list(table[own[0]])
        elif column != "id":
            shown = ", ".join(repr(name) for name in names[:8]) or "none"
            raise VariantError(f"variants: no column {column!r} among {shown}", HINT)
    lengths = {column: len(values) for column, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise VariantError(f"variants: columns of unequal length: {lengths}", HINT)
    rows = len(found["pos"])
    if rows and not any(map(position, found["pos"])):
        raise VariantError(
            f"variants: column 'pos' holds no position: row 0 has {found['pos'][0]!r}",
            "positions are whole numbers from 1",
        )
    columns = [found[name] for name in COLUMNS]
    ids = found.get("id", [""] * rows)
    for row, values in enumerate(zip(*columns, ids, strict=True)):
        yield from _alleles(row, *values)


def from_tuples(variants: Iterable[Any]) -> Iterator[Allele]:
    """Alleles of tuples (contig, pos, ref, alt). Raises :class:`VariantError` for another shape."""
    hint = "give tuples (contig, pos, ref, alt), a DataFrame, or the path of a VCF"
    for row, item in enumerate(variants):
        if isinstance(item, str | bytes) or not isinstance(item, Iterable):
            raise VariantError(f"variants: row {row} is {_shown(item)}, not a tuple", hint)
        fields = tuple(item)
        if len(fields) != 4:
            raise VariantError(f"variants: row {row} has {len(fields)} values, not 4", hint)
        yield from _alleles(row, *fields, "")


def position(value: object) -> int:
    """A 1-based position as an integer, float or text has it; 0 if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        return 0
    return int(value) if 0 < value <= MAX_POSITION else 0


def _alleles(
    row: int, contig: object, pos: object, ref: object, alt: object, id_: object
) -> Iterator[Allele]:
    chosen, name, place = _name(contig), _name(id_), position(pos)
    bases, alts = _bases(row, "ref", ref), _bases(row, "alt", alt)
    problem = "" if chosen else "no contig"
    if not place:
        problem = f"POS {_shown(pos)} is not a position from 1 to {MAX_POSITION}"
    if problem:
        yield Given(row, chosen, 0, name, bases, alts, "malformed", problem)
        return
    yield from split_alts(Given, row, chosen, place, name, bases, alts)


def _name(value: object) -> str:
    """A contig or an id; numbers as text (contig 1), nothing for a missing value."""
    if _is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _bases(row: int, column: str, value: object) -> str:
    if _is_missing(value):
        return ""
    if not isinstance(value, str):
        raise VariantError(f"variants: row {row}: {column} is {_shown(value)}, not bases", HINT)
    return value.strip().upper()


def _is_missing(value: object) -> bool:
    """None, NaN, and pandas' own NA and NaT."""
    kind = type(value).__name__
    return (
        value is None or kind in ("NAType", "NaTType") or (kind[:5] == "float" and value != value)
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
