"""Tables of variants that people give, as fine-mapping, eQTL and reporter studies write them.

TSV; CSV where the first line has commas and no tab, or fields apart by spaces where it has neither;
plain or gzipped; or a data frame. The first line names the columns, in any case. An odd line is
skipped and counted; a missing value, ``.`` among them, is an empty cell.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from seal_store.common.files import local_path
from seal_store.common.odd_lines import OddLines
from seal_store.common.typed import shown
from seal_store.errors import InputError, TrainingError
from seal_store.reference.contigs import assembly_of_text, differ
from seal_store.results.group import Results
from seal_store.training.expression import MISSING, NumberedLines
from seal_store.variants.alleles import short
from seal_store.variants.given import position

VARIANT = {
    "contig": ("contig", "chrom", "chr", "chromosome"),
    "pos": ("pos", "position", "bp", "base_pair_location"),
    "ref": ("ref",),
    "alt": ("alt",),
    "other allele": ("other_allele", "noneffect_allele"),
    "effect allele": ("effect_allele",),
    "first allele": ("allele1", "a1"),
    "second allele": ("allele2", "a2"),
    "variant": ("variant", "variant_id"),
}
"""What names a variant, and the names that the column may have, in any case, `#` or not."""

FORMS = (
    ("contig", "pos", "ref", "alt"),
    ("variant",),
    ("contig", "pos", "other allele", "effect allele"),
    ("contig", "pos", "first allele", "second allele"),
)
"""The columns by which a variant is told; of those that are there the first that tells it."""

HINT = (
    "give contig (or chrom, chr), pos and ref, alt (or other_allele, effect_allele), or one column "
    "variant as chr1:867550:C:G"
)

_POWER = re.compile(r"[0-9](?:\.[0-9]{1,9})?[eE]\+?0?[0-9]", re.ASCII)
_PADDED = re.compile(r"0[1-9]", re.ASCII)
_NUMBERED = {"23": "X", "24": "Y", "26": "MT"}
"""Chromosomes as PLINK numbers them."""

_WRITTEN = re.compile(
    r"(?P<contig>.+?)(?P<sep>[:_-])(?P<pos>[0-9]{1,10})(?:(?P=sep)| +)(?P<ref>[ACGTN]+)[:_/>-]"
    r"(?P<alt>[ACGTN]+)(?:_(?P<build>b3[78]))?",
    re.ASCII | re.IGNORECASE,
)
_BUILDS = {"b37": "GRCh37", "b38": "GRCh38"}
_BASES = re.compile("[ACGTN]+", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]+\.0+", re.ASCII)
_NOT_A_VARIANT = "not a variant"
_BY_NUMBER = {"first allele", "second allele"}

_Told = tuple[str, int, str, str]
"""Contig, position and alleles."""


@dataclass(frozen=True, slots=True)
class Line:
    """A variant of a table.

    ``where`` is its place for messages, ``pos`` 1-based. ``ordered`` says whether ``ref`` and
    ``alt`` are known to be that, else the alleles may be the other way round. ``of_ref`` says that
    numbers are of ``ref`` in the place of ``alt``. ``cells`` are the fields by what they mean,
    stripped, empty where a value is missing; those of other columns by the columns' own names.
    """

    where: str
    contig: str
    pos: int
    ref: str
    alt: str
    ordered: bool
    of_ref: bool
    cells: dict[str, str]

    def __str__(self) -> str:
        return f"{self.where}, {self.contig}:{self.pos}:{short(self.ref)}:{short(self.alt)}"


@dataclass
class Table:
    """A table that was read: ``others`` are columns without a meaning, ``odd`` lines not used."""

    name: str
    columns: frozenset[str]
    """What its columns mean, their own names where that is nothing."""
    fields: tuple[str, ...]
    others: tuple[str, ...]
    lines: list[Line]
    odd: OddLines
    sha256: str | None = None
    count: int = 0
    """Lines below the header."""
    unmatched: OddLines = field(default_factory=OddLines)
    """Lines of which the results have no row, by reason."""


def read_table(
    table: Any,
    parameter: str,
    meanings: Mapping[str, Sequence[str]],
    assembly: str = "unknown",
    *,
    needed: Sequence[Sequence[str]] = (),
) -> Table:
    """The variants of ``table``, the path of a file or a data frame given as ``parameter``.

    ``meanings`` are the columns beside the variant's, each with the names that it may have; of
    each group of ``needed`` at least one must be there. ``assembly`` is that of the results: a
    variant written with another one (``..._b38``) is not used. Raises :class:`InputError` if the
    file is not there or no text, a column is missing or doubled, or no line is a variant.
    """
    if isinstance(table, str | os.PathLike):
        source: _File | _Frame = _File(local_path(table), parameter)
    else:
        source = _Frame(table, parameter)
    odd = OddLines()
    columns = _columns(source, parameter, {**VARIANT, **meanings}, needed)
    found = Table(
        source.name,
        frozenset(columns.values()),
        tuple(name for name in meanings if name in columns.values()),
        tuple(
            own
            for own, what in columns.items()
            if own == what and own not in {**VARIANT, **meanings}
        ),
        list(_lines(source, columns, assembly, odd)),
        odd,
    )
    found.sha256, found.count = source.sha256 or None, len(found.lines) + odd.skipped
    if not found.lines:
        first = next(iter(odd), "it has no line below the header")
        raise InputError(f"`{parameter}` {source.name}: no variant in it: {first}", HINT)
    return found


def may_be_signed(table: Table) -> bool:
    """Whether columns say which allele signed effects are of: A1 and A2 do not."""
    return not table.columns & _BY_NUMBER or "effect allele" in table.columns


def check_allele_of_effects(table: Table, parameter: str) -> None:
    """Raise :class:`InputError` where columns do not say which allele signed effects are of.

    PLINK and METAL mean their first allele, others the second.
    """
    if not may_be_signed(table):
        raise InputError(
            f"`{parameter}` {table.name}: allele1 and allele2 (A1, A2) do not say which of them "
            "the effect is of",
            "name the columns effect_allele and other_allele",
        )


def number(text: str) -> float:
    """A finite number as written; NaN for a missing value. Raises :class:`ValueError`."""
    if text in MISSING:
        return math.nan
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def plain(text: str) -> str:
    """A whole number as it is usually written: ``1`` for ``1.0`` or ``1e+00``; other text as is."""
    if _WHOLE.fullmatch(text):
        return text.partition(".")[0]
    if _POWER.fullmatch(text) and (value := Decimal(text)) == value.to_integral_value():
        return str(int(value))
    return text


def _contig(text: str) -> str:
    """A contig's name where programs have made a number of it: ``1.0``, ``01``, PLINK's 23."""
    name = plain(text)
    return _NUMBERED.get(name, name.lstrip("0") if _PADDED.fullmatch(name) else name)


def nothing_left(table: Table, parameter: str, results: Results) -> InputError:
    """No line of a table can be used: for what it says, or as the results lack its variants."""
    if not table.unmatched.counts:
        first = next(iter(table.odd), "none is left")
        return InputError(f"`{parameter}` {table.name}: no line can be used: {first}", HINT)
    first = next(iter(table.unmatched))
    return InputError(
        f"`{parameter}` {table.name}: no variant has a row in {results.path}: {first}",
        "score these variants, in the assembly of the store",
    )


def same_number(one: float, other: float) -> bool:
    """Whether two are equal, or both missing."""
    return one == other or (math.isnan(one) and math.isnan(other))


class _File:
    """Rows of a text file: the header first, each with its place and fields."""

    def __init__(self, path: Path, parameter: str) -> None:
        try:
            self._lines = NumberedLines(path, "table", parameter)
        except TrainingError as error:
            raise InputError(str(error), error.hint) from None
        self.name = str(path)

    @property
    def sha256(self) -> str:
        return self._lines.sha256

    def __iter__(self) -> Iterator[tuple[str, list[str] | None]]:
        separator = ""
        try:
            for number_, line in self._lines:
                separator = separator or next((c for c in "\t, " if c in line), "\t")
                try:
                    if separator == " ":
                        row = line.split()
                    else:
                        row = next(csv.reader([line], delimiter=separator))
                except csv.Error:
                    yield f"{self.name}:{number_}", None
                else:
                    yield f"{self.name}:{number_}", [cell.strip() for cell in row]
        except TrainingError as error:
            raise InputError(str(error), error.hint) from None


class _Frame:
    """Rows of a data frame of pandas, polars or any other that narwhals knows."""

    sha256 = ""

    def __init__(self, frame: Any, parameter: str) -> None:
        import narwhals as nw

        found = nw.from_native(frame, pass_through=True)
        if not isinstance(found, nw.DataFrame):
            raise InputError(
                f"`{parameter}`: a {type(frame).__name__}", "give a path or a data frame"
            )
        self._frame, self.name = found, "table"

    def __iter__(self) -> Iterator[tuple[str, list[str] | None]]:
        yield "table", [str(name) for name in self._frame.columns]
        for i, row in enumerate(self._frame.iter_rows()):
            yield f"row {i}", ["" if _is_missing(value) else _text(value) for value in row]


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).strip()


def _columns(
    source: _File | _Frame,
    parameter: str,
    meanings: Mapping[str, Sequence[str]],
    needed: Sequence[Sequence[str]],
) -> dict[str, str]:
    """What each column of the header means, in their order; its own name where it means nothing."""
    header: list[str] | None = None
    for _, row in source:
        header = row
        break
    if not header:
        raise InputError(f"`{parameter}` {source.name}: empty", HINT)
    means = {name: what for what, names in meanings.items() for name in names}
    columns: dict[str, str] = {}
    for name in header:
        if name in columns:
            raise InputError(
                f"`{parameter}` {source.name}: column {shown(name)} is there twice",
                "leave one of them",
            )
        columns[name] = means.get(name.lower().lstrip("#"), name)
    for what in meanings:
        own = [name for name, meant in columns.items() if meant == what]
        if len(own) > 1:
            raise InputError(
                f"`{parameter}` {source.name}: columns {', '.join(map(shown, own))} all mean "
                f"{what}",
                "leave one of them",
            )
    there = set(columns.values())
    for group in needed:
        if not there & set(group):
            names = ", ".join(name for what in group for name in meanings[what])
            raise _lacking(source, parameter, " or ".join(group), header, f"name it {names}")
    if not any(there.issuperset(form) for form in FORMS):
        absent = next((n for n in ("contig", "pos") if n not in there), "ref and alt")
        raise _lacking(source, parameter, absent, header, HINT)
    return columns


def _lacking(
    source: _File | _Frame, parameter: str, what: str, header: Sequence[str], hint: str
) -> InputError:
    there = ", ".join(map(shown, header[:8])) + ", ..." * (len(header) > 8)
    return InputError(f"`{parameter}` {source.name}: no column {what} among {there}", hint)


def _lines(
    source: _File | _Frame, columns: Mapping[str, str], assembly: str, odd: OddLines
) -> Iterator[Line]:
    names = list(columns.values())
    forms = [form for form in FORMS if set(form) <= set(names)]
    rows = iter(source)
    next(rows)
    for where, row in rows:
        if row is None or len(row) != len(names):
            count = "fields that cannot be told apart" if row is None else f"{len(row)} fields"
            odd.skip("another number of fields than the header", f"{where}: {count}")
            continue
        cells = dict(zip(names, row, strict=True))
        form = forms[0]
        for form in forms:
            told = _told(cells, form, assembly)
            if told != _NOT_A_VARIANT:
                break
        if isinstance(told, str):
            own = ":".join(cells[name] for name in form)
            odd.skip(told, f"{where}: {shown(own)}")
            continue
        cells = {name: "" if text in MISSING | {"."} else text for name, text in cells.items()}
        ref, alt = told[2:]
        ordered = form[-1] in ("alt", "variant")
        effect = cells.get("effect allele", alt).upper()
        if effect not in (ref, alt):
            odd.skip("effect allele is none of the alleles", f"{where}: {shown(effect)}")
            continue
        yield Line(where, *told, ordered, effect != alt, cells)


def _told(cells: Mapping[str, str], form: Sequence[str], assembly: str) -> _Told | str:
    """Contig, position and alleles, or why there are none."""
    if form == ("variant",):
        written = _WRITTEN.fullmatch(cells["variant"])
        if written is None:
            return _NOT_A_VARIANT
        build = _BUILDS.get((written["build"] or "").lower(), "")
        if differ(assembly_of_text(build), assembly):
            return "of another assembly"
        contig, place, *alleles = (written[name] for name in ("contig", "pos", "ref", "alt"))
    else:
        contig, place, *alleles = (cells[name] for name in form)
    contig, pos = _contig(contig), position(plain(place))
    ref, alt = (allele.upper() for allele in alleles)
    if contig in MISSING:
        return "no contig"
    if not pos:
        return "no position"
    if not (_BASES.fullmatch(ref) and _BASES.fullmatch(alt)):
        return "alleles are not bases"
    return contig, pos, ref, alt
