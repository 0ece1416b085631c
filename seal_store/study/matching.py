"""Rows of results for the variants of a table, and the effects of these rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.reference.contigs import resolve_contig
from seal_store.reference.gtf import without_version
from seal_store.results.group import Results
from seal_store.store.layout import VARIANTS_PER_CHUNK, get, read
from seal_store.study.tables import Line, Table

ABSENT_CONTIG = "no row on this contig"
ABSENT = "no row at this position"
OTHER_ALLELES = "other alleles at this position"
OTHER_GENE = "no row of this gene"

_COLUMNS = ("contig", "ref", "alt", "gene_id", "dist_to_tss")


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
    """A variant of a table and its rows, one a gene; ``swapped``: their alleles are turned."""

    line: Line
    places: tuple[Place, ...]
    swapped: bool

    @property
    def sign(self) -> int:
        """What an effect is multiplied with, so that it is that of the second allele."""
        return -1 if self.swapped else 1


def match(results: Results, table: Table, progress: Progress = silent) -> list[Match]:
    """The rows of each variant of ``table``, by contig under any name, position and alleles.

    Alleles are compared as they are written, in upper case; unordered ones both ways, the order
    of the table first. A cell ``gene`` (id, id without version, or symbol) leaves the rows of
    that gene. Of rows of one variant and gene the first counts. Lines without a row are counted
    in ``table.unmatched``.
    """
    known, at = _places(results, {line.pos for line in table.lines}, progress)
    contig_of = {
        name: resolve_contig(name, known) for name in {line.contig for line in table.lines}
    }
    found = []
    for line in table.lines:
        contig = contig_of[line.contig]
        here = at.get((contig, line.pos), []) if contig is not None else []
        own, swapped = _of_alleles(line, here)
        gene = line.cells.get("gene", "")
        chosen = _one_a_gene([place for place in own if not gene or _is_gene(place, gene)])
        if chosen:
            found.append(Match(line, chosen, swapped))
            continue
        reason = OTHER_GENE if own else OTHER_ALLELES if here else ABSENT
        table.unmatched.note(ABSENT_CONTIG if contig is None else reason, str(line))
    return found


def _of_alleles(line: Line, here: Sequence[Place]) -> tuple[list[Place], bool]:
    own = [p for p in here if (p.ref, p.alt) == (line.ref, line.alt)]
    if own or line.ordered:
        return own, False
    turned = [p for p in here if (p.ref, p.alt) == (line.alt, line.ref)]
    return turned, bool(turned)


def _is_gene(place: Place, gene: str) -> bool:
    plain = without_version(gene)
    return gene in (place.gene, place.symbol) or plain == without_version(place.gene)


def _one_a_gene(places: Sequence[Place]) -> tuple[Place, ...]:
    first: dict[str, Place] = {}
    for place in places:
        first.setdefault(place.gene, place)
    return tuple(first.values())


def _places(
    results: Results, positions: set[int], progress: Progress
) -> tuple[set[str], dict[tuple[str, int], list[Place]]]:
    """The contigs of all rows, and the rows at ``positions`` by contig and position."""
    wanted = np.array(sorted(positions), np.int64)
    known: set[str] = set()
    found: dict[tuple[str, int], list[Place]] = defaultdict(list)
    names = [*_COLUMNS, *(n for n in ("gene_symbol",) if n in results.more_columns)]
    with results.standing():
        for start in range(0, len(results), VARIANTS_PER_CHUNK):
            part = slice(start, start + VARIANTS_PER_CHUNK)
            pos = read(get(results.group, "pos"), part)
            contigs = results.labels("contig", part)
            known.update(map(str, np.unique(contigs).tolist()))
            own = np.flatnonzero(np.isin(pos, wanted))
            if len(own):
                values = {name: _column(results, name, part)[own].tolist() for name in names}
                values.setdefault("gene_symbol", [""] * len(own))
                for i, (row, place) in enumerate(zip(own.tolist(), pos[own].tolist(), strict=True)):
                    found[str(values["contig"][i]), place].append(
                        Place(
                            start + row,
                            str(values["ref"][i]),
                            str(values["alt"][i]),
                            str(values["gene_id"][i]),
                            str(values["gene_symbol"][i]),
                            int(values["dist_to_tss"][i]),
                        )
                    )
            progress("rows looked at", min(part.stop, len(results)), len(results))
    return known, found


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
