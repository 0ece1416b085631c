"""Rows of results for the variants of a table, and the effects of these rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError
from seal_store.reference.contigs import called, chromosome, differ, resolve_contig
from seal_store.reference.gtf import without_version
from seal_store.results.group import Results
from seal_store.store.layout import VARIANTS_PER_CHUNK, get, read
from seal_store.study.tables import Line, Table
from seal_store.variants.bases import Reference
from seal_store.variants.prepare import left_aligned

ABSENT_CONTIG = "no row on this contig"
ABSENT = "no row at this position"
ABSENT_INDEL = "no row of this insertion or deletion"
AS_ALIGNED = f"{ABSENT_INDEL}, as it is aligned (`store` left-aligns)"
OTHER_ALLELES = "other alleles at this position"
OTHER_GENE = "no row of this gene"

_COLUMNS = ("gene_id", "dist_to_tss")

ALIGNED = 1 << 16
"""Edits that are kept: a line's is asked for again and again."""

Edit = tuple[int, str, str]
"""POS (1-based), REF and ALT of an allele without the bases they share; either may be empty."""


@dataclass(frozen=True, slots=True)
class Place:
    """A row of results: its gene, and how far from the TSS it is, in bp, signed."""

    row: int
    ref: str
    alt: str
    gene: str
    symbol: str
    distance: int


@dataclass(frozen=True, slots=True)
class Match:
    """A variant of a table and its rows, one a gene; ``swapped``: its numbers are of their REF."""

    line: Line
    places: tuple[Place, ...]
    swapped: bool

    @property
    def sign(self) -> int:
        """What an effect is multiplied with, so that it is that of the second allele."""
        return -1 if self.swapped else 1


def match(
    results: Results,
    table: Table,
    progress: Progress = silent,
    bases: Reference | None = None,
) -> list[Match]:
    """The rows of each variant of ``table``, by contig under any name, position and alleles.

    Alleles are compared in upper case, without the bases that REF and ALT share, however many of
    them are written. With ``bases``, indels of both sides are left-aligned before that, as far as
    bases are known; without, one that is aligned otherwise within a repeat is another one, since
    results have no genome. Unordered alleles are compared both ways, the order of the table first.
    A cell ``gene`` (id, id without version, or symbol) leaves the rows of that gene. Of rows of one
    variant and gene the first counts. Lines without a row are counted in ``table.unmatched``.
    Raises :class:`InputError` for bases of another assembly than the results'.
    """
    made = results.attributes.store
    if bases is not None and differ(bases.assembly, made.assembly):
        raise InputError(
            f"`store`: of {called(bases.assembly)}, the results of {called(made.assembly)}",
            "name the store that they were scored from",
        )
    edit_of = Edits(bases)
    edits = [
        [
            edit_of(line.contig, line.pos, *both)
            for both in ((line.ref, line.alt), (line.alt, line.ref))
        ]
        for line in table.lines
    ]
    wanted = {edit for pair in edits for edit in pair}
    positions = {line.pos for line in table.lines}
    known, at, taken = _places(results, wanted, positions, edit_of, progress)
    contig_of = {
        name: resolve_contig(name, known) for name in {line.contig for line in table.lines}
    }
    found = []
    for line, (edit, turned) in zip(table.lines, edits, strict=True):
        contig = contig_of[line.contig] or ""
        own = at.get((contig, edit), [])
        swapped = not own and not line.ordered and (contig, turned) in at
        if swapped:
            own = at[contig, turned]
        gene = line.cells.get("gene", "")
        chosen = _one_a_gene([place for place in own if not gene or is_gene(place, gene)])
        if chosen:
            found.append(Match(line, chosen, swapped != line.of_ref))
            continue
        if own:
            reason = OTHER_GENE
        elif not contig:
            reason = ABSENT_CONTIG
        elif len(edit[1]) != len(edit[2]):
            reason = AS_ALIGNED if bases is None else ABSENT_INDEL
        else:
            reason = OTHER_ALLELES if (contig, line.pos) in taken else ABSENT
        table.unmatched.note(reason, str(line))
    return found


class Edits:
    """Edits of alleles, left-aligned where ``bases`` say how."""

    def __init__(self, bases: Reference | None) -> None:
        self.bases = bases
        self._of = lru_cache(ALIGNED)(self._aligned)

    def __call__(self, contig: str, pos: int, ref: str, alt: str) -> Edit:
        """The edit of an allele; ``pos`` is 1-based."""
        if self.bases is None or len(ref) == len(alt):
            return _edit(pos, ref, alt)
        return self._of(contig, pos, ref, alt)

    def _aligned(self, contig: str, pos: int, ref: str, alt: str) -> Edit:
        found = _edit(pos, ref, alt)
        if not self._stands(contig, *found[:2]):
            return found
        try:
            return _edit(*left_aligned(*found, lambda at: self._base(contig, at)))
        except LookupError:  # it could be shifted further than bases are known
            return found

    def key(self, line: Line) -> tuple[object, ...]:
        """What is the same for two lines of one variant, however it is written."""
        contig = chromosome(line.contig) or line.contig
        own = self(line.contig, line.pos, line.ref, line.alt)
        if line.ordered:
            return contig, own
        return contig, *sorted((own, self(line.contig, line.pos, line.alt, line.ref)))

    def _stands(self, contig: str, pos: int, ref: str) -> bool:
        assert self.bases is not None
        return not ref or self.bases(contig, pos, pos + len(ref) - 1) == ref

    def _base(self, contig: str, pos: int) -> str:
        assert self.bases is not None
        found = self.bases(contig, pos, pos)
        if found is None:
            raise LookupError
        return found


def _edit(pos: int, ref: str, alt: str) -> Edit:
    """POS, REF and ALT without the bases that both end with, then those that both begin with."""
    if len(ref) == len(alt) == 1:
        return pos, ref, alt
    most, end, start = min(len(ref), len(alt)), 0, 0
    while end < most and ref[-1 - end] == alt[-1 - end]:
        end += 1
    while start < most - end and ref[start] == alt[start]:
        start += 1
    return pos + start, ref[start : len(ref) - end], alt[start : len(alt) - end]


def is_gene(place: Place, gene: str) -> bool:
    """Whether a cell names the gene of a row: by id, id without version, or symbol."""
    plain = without_version(gene)
    return gene in (place.gene, place.symbol) or plain == without_version(place.gene)


def _one_a_gene(places: Sequence[Place]) -> tuple[Place, ...]:
    first: dict[str, Place] = {}
    for place in places:
        first.setdefault(place.gene, place)
    return tuple(first.values())


def _places(
    results: Results,
    edits: set[Edit],
    positions: set[int],
    edit_of: Edits,
    progress: Progress,
) -> tuple[set[str], dict[tuple[str, Edit], list[Place]], set[tuple[str, int]]]:
    """The contigs of all rows, the rows of ``edits``, and at which ``positions`` there are rows."""
    near = np.array(sorted(positions | {pos for pos, _, _ in edits}), np.int64)
    known: set[str] = set()
    found: dict[tuple[str, Edit], list[Place]] = defaultdict(list)
    taken: set[tuple[str, int]] = set()
    names = [*_COLUMNS, *(n for n in ("gene_symbol",) if n in results.more_columns)]
    with results.standing():
        for start in range(0, len(results), VARIANTS_PER_CHUNK):
            part = slice(start, start + VARIANTS_PER_CHUNK)
            pos = read(get(results.group, "pos"), part)
            contigs = results.labels("contig", part)
            known.update(map(str, np.unique(contigs).tolist()))
            ref, alt = (read(get(results.group, n), part).tolist() for n in ("ref", "alt"))
            beside = np.isin(pos, near)
            alleles = enumerate(zip(pos.tolist(), ref, alt, beside.tolist(), strict=True))
            rows = [
                (row, edit)
                for row, (own, r, a, is_near) in alleles
                if (is_near or len(r) > 1 or len(a) > 1)
                and (edit := edit_of(str(contigs[row]), own, r, a)) in edits
            ]
            taken.update(zip(contigs[beside].tolist(), pos[beside].tolist(), strict=True))
            if rows:
                values = {name: _column(results, name, part) for name in names}
                symbols = values.get("gene_symbol")
            for row, edit in rows:
                found[str(contigs[row]), edit].append(
                    Place(
                        start + row,
                        ref[row],
                        alt[row],
                        str(values["gene_id"][row]),
                        "" if symbols is None else str(symbols[row]),
                        int(values["dist_to_tss"][row]),
                    )
                )
            progress("rows looked at", min(part.stop, len(results)), len(results))
    return known, found, taken


def _column(results: Results, name: str, part: slice) -> np.ndarray:
    if name == "dist_to_tss":
        return read(get(results.group, name), part)
    return results.labels(name, part)


def effects_in_parts(
    results: Results, rows: np.ndarray, contexts: np.ndarray, progress: Progress = silent
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Effects of some ``rows`` of results on ``contexts`` (positions), a chunk at a time.

    Each part is the places in ``rows``, int64 ``(n,)``, and effects float32 ``(n, contexts)``.
    """
    chunk, done = rows // VARIANTS_PER_CHUNK, 0
    with results.standing():
        for index in np.unique(chunk).tolist():
            start = index * VARIANTS_PER_CHUNK
            own = np.flatnonzero(chunk == index)
            values = read(get(results.group, "effect"), slice(start, start + VARIANTS_PER_CHUNK))
            yield own, values[rows[own] - start][:, contexts]
            done += len(own)
            progress("effects read", done, len(rows))


def effects_of(
    results: Results, rows: np.ndarray, contexts: np.ndarray, progress: Progress = silent
) -> np.ndarray:
    """Effects of ``rows`` on ``contexts``, float32 ``(rows, contexts)``: all are held."""
    found = np.empty((len(rows), len(contexts)), np.float32)
    for own, values in effects_in_parts(results, rows, contexts, progress):
        found[own] = values
    return found


def strongest_places(
    results: Results, matches: Sequence[Match], contexts: np.ndarray, progress: Progress = silent
) -> list[Place]:
    """One row of each match: that of the largest ``|effect|`` on any of ``contexts``.

    Ties go to the row that stands first.
    """
    several = [place.row for m in matches if len(m.places) > 1 for place in m.places]
    rows = np.unique(np.array(several, np.int64))
    peak = np.zeros(len(rows), np.float32)
    for own, values in effects_in_parts(results, rows, contexts, progress):
        peak[own] = np.abs(values).max(1, initial=0)
    peaks = dict(zip(rows.tolist(), peak.tolist(), strict=True))
    return [
        max(m.places, key=lambda place: peaks[place.row]) if len(m.places) > 1 else m.places[0]
        for m in matches
    ]
