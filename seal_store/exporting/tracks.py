"""Tracks for genome browsers, bedGraph or BigWig: effects along a gene, a feature's profile.

Starts and ends are 0-based and half-open. A track has one value a base at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError
from seal_store.exporting.kinds import file_at
from seal_store.reference.contigs import resolve_contig
from seal_store.results.group import Results
from seal_store.results.view import Selection, View
from seal_store.store.place import Place
from seal_store.store.store import Store
from seal_store.variants.alleles import trim

ENDINGS = (".bedgraph", ".bw", ".bigwig")
SUMMARIES = ("strongest", "mean")
ENTRIES_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Part:
    """A track on one contig: ``start`` and ``end`` int64, ``value`` float32, sorted, no overlap."""

    contig: str
    start: np.ndarray
    end: np.ndarray
    value: np.ndarray


def is_track(out: Place) -> bool:
    """Whether the name is that of a track."""
    return out.name.lower().endswith(ENDINGS)


def track_lengths(store: Store) -> dict[str, int]:
    """Length of each contig of a store's genome, by the gene table's spelling where it has one."""
    lengths = store.attributes.genome.contigs
    spelling = {resolve_contig(str(c), lengths): str(c) for c in np.unique(store.table.contig)}
    return {spelling.get(name, name): length for name, length in lengths.items()}


def effect_track(
    results: Results, context: str, gene: str | None = None, per_position: str = "strongest"
) -> list[Part]:
    """Effects of SNVs on ``context`` along the genome, one value a base.

    ``per_position`` says what stands for the SNVs of a base, three in a saturation:
    ``strongest``, the effect of largest size with its sign, or ``mean``. ``gene`` may be left
    out where the results have only one. Other variants than SNVs are left out.

    Raises :class:`InputError` if the context is not exactly one, or for several genes.
    """
    view = View(results, Selection((context,)))
    if len(view.labels) != 1:
        raise InputError(
            f"`context` {context}: several head sets have it", f"name one: {view.labels[0]}"
        )
    if per_position not in SUMMARIES:
        raise InputError(f"`per_position` {per_position!r}: not one of {', '.join(SUMMARIES)}")
    found: list[tuple[np.ndarray, ...]] = []
    genes: set[str] = set()
    for rows in results.batches():
        c = rows.columns
        kept = c["kind"] == "snv"
        if gene is not None:
            kept &= c["gene_id"] == gene
        genes.update(c["gene_id"][kept].tolist())
        if len(genes) > 1:
            raise InputError(f"{results.path}: has rows of several genes", "choose one with `gene`")
        if kept.any():
            found.append((c["contig"][kept], _places(c, kept), view.effect(rows)[kept, 0]))
    if not found:
        raise InputError(
            f"{results.path}: no SNV was scored against {gene or 'any gene'}", "check `gene`"
        )
    contig, place, value = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    rows_of = {str(name): contig == name for name in np.unique(contig)}
    return [_per_base(n, place[own], value[own], per_position) for n, own in rows_of.items()]


def _places(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """0-based place of each SNV of ``rows``: within REF where it was written beside an indel."""
    place = columns["pos"][rows] - 1
    ref, alt = (columns[name][rows] for name in ("ref", "alt"))
    for i in np.flatnonzero(np.strings.str_len(ref) > 1).tolist():
        place[i] = trim(int(place[i]) + 1, ref[i], alt[i]).start
    return place


def _per_base(contig: str, place: np.ndarray, value: np.ndarray, per_position: str) -> Part:
    order = np.lexsort((-np.abs(value), place))  # of equal sizes the first row's
    start, first, count = np.unique(place[order], return_index=True, return_counts=True)
    if per_position == "strongest":
        values = value[order][first]
    else:
        values = np.add.reduceat(value[order].astype(np.float64), first) / count
    return Part(contig, start, start + 1, values.astype(np.float32))


def profile_track(
    store: Store, feature: str, genes: Sequence[str] = (), progress: Progress = silent
) -> Iterator[Part]:
    """Reference values of a feature along the windows of ``genes``, of all by default.

    A window stands for the ``step`` (200) bases around its centre: of one centred on 1-based
    position c these are ``[c - 100, c + 100)``, 0-based. Where windows of several genes lie on
    the same base their mean is taken.

    Raises :class:`InputError` if there is no such feature, :class:`GeneTableError` for a gene
    that was not computed.
    """
    names = store.column("feature_name").tolist()
    if feature not in names:
        raise InputError(f"{store.path}: no feature {feature!r}", "`feature_name` lists them")
    column = names.index(feature)
    chosen = [store.gene(gene) for gene in dict.fromkeys(genes)] or list(range(len(store)))
    lengths = track_lengths(store)
    contigs, strands, tss = (store.column(name) for name in ("contig", "strand", "tss"))
    by_contig: dict[str, list[int]] = defaultdict(list)
    for gene in chosen:
        by_contig[str(contigs[gene])].append(gene)
    done, half = 0, store.grid.step // 2
    with store.standing():
        for contig, members in by_contig.items():
            starts, values = [], []
            for gene in members:
                first = store.grid.starts(int(tss[gene]), int(strands[gene]))
                starts.append(first + store.grid.window // 2 - half)
                values.append(store.features(gene)[:, column])
                done += 1
                progress("genes", done, len(chosen))
            start = np.concatenate(starts)
            yield flatten(contig, start, start + 2 * half, np.concatenate(values), lengths[contig])


def flatten(
    contig: str, start: np.ndarray, end: np.ndarray, value: np.ndarray, length: int
) -> Part:
    """Intervals that may overlap as ones that do not, cut at the contig's ends.

    Where several lie on a base its value is their mean.
    """
    start, end = np.clip(start, 0, length), np.clip(end, 0, length)
    edges = np.unique(np.concatenate([start, end]))
    first, last = np.searchsorted(edges, start), np.searchsorted(edges, end)
    count = last - first
    pieces = np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())
    sums, times = np.zeros(len(edges)), np.zeros(len(edges), np.int64)
    np.add.at(sums, pieces, np.repeat(value.astype(np.float64), count))
    np.add.at(times, pieces, 1)
    kept = np.flatnonzero(times)
    values = (sums[kept] / times[kept]).astype(np.float32)
    return Part(contig, edges[kept], edges[kept + 1], values)


def write_track(
    parts: Iterable[Part],
    out: Place,
    lengths: Mapping[str, int] | None = None,
    *,
    precision: int = 6,
    overwrite: bool = False,
) -> int:
    """Write a track, BigWig (``.bw``, ``.bigwig``) or bedGraph; the number of intervals.

    ``lengths`` of all contigs are needed for BigWig. Contigs stand in that order, otherwise in
    the order of their names. ``out`` appears only once it is whole.

    Raises :class:`OutputError` if a contig has no length,
    :class:`seal_store.errors.MissingExtraError` without pyBigWig.
    """
    packed = not out.name.lower().endswith(".bedgraph")
    if packed:
        require("bigwig", "writing BigWig")
    with file_at(out) as held:
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        path = held[held.path.name]
        known = {part.contig: part for part in parts}
        if missing := sorted(set(known) - set(lengths or ())):
            if packed:
                raise OutputError(
                    f"{out}: the length of {missing[0]} is not known", "write .bedgraph"
                )
            lengths = None
        ordered = [known[name] for name in lengths or sorted(known) if name in known]
        if packed:
            _write_bigwig(ordered, path, lengths or {})
        else:
            _write_bedgraph(ordered, path, precision)
        held.publish()
    return sum(len(part.start) for part in ordered)


def _write_bedgraph(parts: Sequence[Part], path: Path, precision: int) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        for part in parts:
            lines = zip(part.start.tolist(), part.end.tolist(), part.value.tolist(), strict=True)
            for start, end, value in lines:
                handle.write(f"{part.contig}\t{start}\t{end}\t{value:.{precision}g}\n")


def _write_bigwig(parts: Sequence[Part], path: Path, lengths: Mapping[str, int]) -> None:
    import pyBigWig

    track = pyBigWig.open(str(path), "w")
    try:
        track.addHeader(list(lengths.items()))
        for part in parts:
            for first in range(0, len(part.start), ENTRIES_AT_ONCE):
                piece = slice(first, first + ENTRIES_AT_ONCE)
                start = part.start[piece].tolist()
                track.addEntries(
                    [part.contig] * len(start),
                    start,
                    ends=part.end[piece].tolist(),
                    values=part.value[piece].tolist(),
                )
    except RuntimeError as error:
        raise OutputError(f"{path}: BigWig cannot be written: {error}", "check `out`") from error
    finally:
        track.close()
