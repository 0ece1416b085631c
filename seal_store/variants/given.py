"""Variants given in Python: tables of any library, rows, texts, files.

Positions are 1-based, as in VCF. What a VCF could hold too (an ALT of several alleles, a REF
that is no base, POS 0) becomes an allele with its kind, and is counted, as is a text that is not
understood; what is no variant at all is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from seal_store.common.extras import require
from seal_store.common.typed import shown
from seal_store.errors import VariantError
from seal_store.variants.alleles import MAX_POSITION, Allele, split_alts
from seal_store.variants.bases import Reference
from seal_store.variants.notation import as_printed, parse_variant
from seal_store.variants.regions import Region
from seal_store.variants.source import Alleles, VariantSource, read_variants

COLUMNS = {"contig": ("contig", "chrom"), "pos": ("pos",), "ref": ("ref",), "alt": ("alt",)}
"""Columns that a table must have, each with the names it may have, in any case, `#` or not."""

FORMS = (
    "give a table with columns contig, pos, ref, alt; tuples (contig, pos, ref, alt) or with an id "
    "behind; texts like chr1:867550:C:G or HGVS; or the path of a VCF"
)
HINT = "give columns contig (or chrom), pos (1-based), ref, alt and, if you like, id"

_VARIANT = re.compile(r"[^/\\]+(:g\.[^/\\]+|([:-]) *\d+ *\2[^/\\]*\2[^/\\]*)", re.ASCII)
"""What a text that names no file looks like, unless it is written as variants are printed."""

_BASES = re.compile(r"[ACGTN,]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Given(Allele):
    """An allele of a table or a list: ``line`` is its row, counted from 0."""

    def __str__(self) -> str:
        """As counts and errors show it."""
        if not (self.contig or self.ref or self.alt):
            return f"row {self.line}"
        return f"row {self.line}, {Allele.__str__(self).removeprefix(f'line {self.line}, ')}"


def given_alleles(
    variants: Any, reference: Reference, regions: Sequence[Region] = (), named: Sequence[str] = ()
) -> Alleles:
    """The alleles of whatever :func:`seal_store.score` takes; their ``place`` says what counts.

    ``reference`` has the bases that HGVS descriptions need. ``regions`` are those of a file that
    are read, ``named`` what results call them. Raises :class:`VariantError`.
    """
    if regions and isinstance(variants, str | os.PathLike):
        return VariantSource(os.fspath(variants), regions, named).alleles()
    if regions:
        raise VariantError("`region`: is for variants in a file", "choose among them before")
    found = _given(variants, reference)
    return replace(found, stream=_checked(found))


def _given(variants: Any, reference: Reference) -> Alleles:
    if isinstance(variants, Alleles):
        if variants.is_read:
            raise VariantError(
                f"`variants`: those of {variants.name} were read already",
                "a stream is read once: make it again, as by `read_variants(path)`",
            )
        return variants
    if isinstance(variants, str | os.PathLike):
        return _written_in(os.fspath(variants), reference)
    if hasattr(variants, "__arrow_c_stream__") or not isinstance(variants, list | tuple | Iterator):
        columns, variants = _opened(variants)
        if columns is not None:
            return Alleles(from_columns(columns, variants), "table", place="row")
    if isinstance(variants, Iterable) and not isinstance(variants, bytes):
        return Alleles(from_rows(variants, reference), "list", place="row")
    raise VariantError(f"`variants`: a {type(variants).__name__}", FORMS)


def _written_in(text: str, reference: Reference) -> Alleles:
    """Alleles of the file that a text names, else of the variant that it is."""
    if text == "-" or "://" in text or (text != "" and os.path.exists(text)):
        return read_variants(text)
    if _VARIANT.fullmatch(text.strip()) or as_printed(text):
        return _given([text], reference)
    raise VariantError(f"`variants` {shown(text)}: no such file, nor a variant", FORMS)


def _checked(alleles: Alleles) -> Iterator[Allele]:
    """The alleles; raises :class:`VariantError` behind the last if none of them is a variant."""
    first, number = None, 0
    for number, allele in enumerate(alleles, 1):
        if number == 1 or first is not None:
            first = (first or allele) if allele.kind == "malformed" else None
        yield allele
    if first is not None:
        raise VariantError(
            f"{alleles.name}: none of {number} is a variant, first {first}: {first.problem}", FORMS
        )


def from_columns(names: Sequence[Any], column: Callable[[Any], list[Any]]) -> Iterator[Allele]:
    """Alleles of a table: names of its columns, and the values of each.

    Raises :class:`VariantError` for a missing or doubled column, columns of unequal length, a
    ``pos`` without any position, or a value that is neither text nor missing among the alleles.
    """
    found = {name: column(own) for name, own in _named(names).items()}
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise VariantError(f"`variants`: columns of unequal length: {lengths}", HINT)
    rows = len(found["pos"])
    if rows and not any(map(position, found["pos"])):
        raise VariantError(
            f"`variants`: column 'pos' holds no position: row 0 has {shown(found['pos'][0])}",
            "positions are whole numbers from 1",
        )
    columns = [found[name] for name in COLUMNS]
    ids = found.get("id", [""] * rows)
    for row, values in enumerate(zip(*columns, ids, strict=True)):
        yield from _alleles(row, *values)


def from_rows(variants: Iterable[Any], reference: Reference) -> Iterator[Allele]:
    """Alleles of tuples (contig, pos, ref, alt) or these and an id, of mappings, and of texts.

    A text is one variant as :func:`~seal_store.variants.notation.parse_variant` understands it.
    Raises :class:`VariantError` for a row of another shape.
    """
    for row, item in enumerate(variants):
        if isinstance(item, str):
            yield from _written(row, item, reference)
        elif isinstance(item, Mapping) or _has_names(item):
            item = item if isinstance(item, Mapping) else item._asdict()
            own = _named(list(item))
            id_ = item[own["id"]] if "id" in own else ""
            contig, pos, ref, alt = (item[own[name]] for name in COLUMNS)
            yield from _alleles(row, contig, pos, ref, alt, id_)
        elif isinstance(item, bytes) or not isinstance(item, Iterable):
            raise VariantError(f"`variants`: row {row} is {shown(item)}, not a variant", FORMS)
        else:
            yield from _alleles(row, *_fields(row, tuple(item)))


def _has_names(item: Any) -> bool:
    """Whether it is a named tuple whose names are those of a table, as pandas' may be."""
    names = {str(name).lower() for name in getattr(item, "_fields", ())}
    return all(names & set(spellings) for spellings in COLUMNS.values())


def _fields(row: int, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """Contig, position, REF, ALT and id."""
    if len(fields) == 4:
        return (*fields, "")
    if len(fields) != 5:
        raise VariantError(f"`variants`: row {row} has {len(fields)} values, not 4 or 5", FORMS)
    is_base = [isinstance(f, str) and bool(_BASES.fullmatch(f)) for f in fields]
    if is_base[3] and is_base[4] and not is_base[2]:
        raise VariantError(
            f"`variants`: row {row}: {shown(fields[2])} is not bases, {shown(fields[4])} are",
            "of five values the id is the last: (contig, pos, ref, alt, id)",
        )
    return fields


def _written(row: int, text: str, reference: Reference) -> Iterator[Allele]:
    try:
        found = parse_variant(text.strip(), reference, reference.assembly)
    except VariantError as error:
        problem = str(error)
        yield Given(row, "", 0, text[:200], "", "", "malformed", problem)
        return
    for allele in found:
        own = allele.contig, allele.pos, allele.id, allele.ref, allele.alt, allele.kind
        yield Given(row, *own)


def _named(names: Sequence[Any]) -> dict[str, Any]:
    """Which of the columns ``names`` is which of :data:`COLUMNS`, and ``id`` if there is one."""
    found: dict[str, Any] = {}
    for column, spellings in {**COLUMNS, "id": ("id",)}.items():
        own = [n for n in names if isinstance(n, str) and n.lower().lstrip("#") in spellings]
        if len(own) > 1:
            raise VariantError(f"`variants`: columns {own} are all {column}", "leave one of them")
        if own:
            found[column] = own[0]
        elif column != "id":
            there = ", ".join(repr(name) for name in names[:8]) or "none"
            raise VariantError(f"`variants`: no column {column!r} among {there}", HINT)
    return found


def _opened(variants: Any) -> tuple[list[Any] | None, Any]:
    """Of a table the names of its columns and what gives the values of one; else rows or as it is.

    narwhals knows the tables of pandas, polars, Arrow, DuckDB and others, lazy ones too.
    """
    if hasattr(variants, "data_vars"):  # of xarray: a mapping without its coordinates
        return list(variants.variables), lambda name: variants[name].values.tolist()
    if isinstance(variants, Mapping):
        return list(variants), lambda name: list(variants[name])
    if isinstance(variants, np.ndarray) and variants.dtype.names:
        return list(variants.dtype.names), lambda name: np.atleast_1d(variants[name]).tolist()
    import narwhals as nw

    try:
        frame = nw.from_native(variants, pass_through=True, allow_series=True)
        if isinstance(frame, nw.LazyFrame):
            named = _named(frame.collect_schema().names())
            frame = frame.select(*named.values()).collect()
        if frame is variants and hasattr(variants, "__arrow_c_stream__"):
            frame = nw.from_arrow(variants, backend="pyarrow")
        if isinstance(frame, nw.Series):
            return None, frame.to_list()
        if not isinstance(frame, nw.DataFrame):
            return None, variants
    except nw.exceptions.NarwhalsError as error:
        raise VariantError(f"`variants`: {' '.join(str(error).split())[:200]}", HINT) from error
    except ImportError as error:  # what a lazy table is collected into
        require("parquet", "a table of Arrow or DuckDB")
        raise VariantError(f"`variants`: {error}", HINT) from error
    return list(frame.columns), lambda name: frame.get_column(name).to_list()


def position(value: object) -> int:
    """A 1-based position as an integer, float, decimal or text has it; 0 if it is none."""
    value = _decoded(value)
    if isinstance(value, str):
        digits = value.strip(" \t")
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0
    if isinstance(value, float | np.floating | Decimal):
        known = value.is_finite() if isinstance(value, Decimal) else np.isfinite(value)
        in_range = known and 0 < value <= MAX_POSITION
        value = int(value) if in_range and value == int(value) else 0
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
        problem = f"POS {shown(pos)} is not a position from 1 to {MAX_POSITION}"
    if problem:
        yield Given(row, chosen, 0, name, bases, alts, "malformed", problem)
        return
    yield from split_alts(Given, row, chosen, place, name, bases, alts)


def _name(value: object) -> str:
    """A contig or an id; numbers as text (contig 1), nothing for a missing value."""
    value = _decoded(value)
    if _is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _bases(row: int, column: str, value: object) -> str:
    value = _decoded(value)
    if _is_missing(value):
        return ""
    if not isinstance(value, str):
        raise VariantError(f"`variants`: row {row}: {column} is {shown(value)}, not bases", HINT)
    return value.strip().upper()


def _is_missing(value: object) -> bool:
    """None, NaN, and pandas' own NA and NaT."""
    kind = type(value).__name__
    return (
        value is None or kind in ("NAType", "NaTType") or (kind[:5] == "float" and value != value)
    )


def _decoded(value: object) -> object:
    """Text of a structured array may be bytes."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
