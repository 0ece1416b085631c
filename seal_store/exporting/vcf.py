"""A VCF with its effects in INFO: every record of the input, in order, other columns as they are.

The records are read as they stand and matched, allele by allele, with the rows of the results,
which are finished or just being computed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError, VariantError, printable
from seal_store.exporting.bcf import BcfWriter
from seal_store.exporting.info import PREFIX, Fields, Row
from seal_store.exporting.lines import Annotated, Sink, Writer
from seal_store.exporting.losses import undeclared
from seal_store.reference.contigs import resolve_contig
from seal_store.results.view import View
from seal_store.scoring.reading import ALLELES_PER_CHUNK
from seal_store.scoring.rows import Rows
from seal_store.variants.alleles import Allele
from seal_store.variants.header import column_names, declaration
from seal_store.variants.source import Record, VariantSource

RECORDS_AT_ONCE = 4_096
HELD = 32 << 20
"""Bytes of lines that wait for the effects of one chunk of alleles."""
TBI_END = 1 << 29
"""Positions beyond this need a CSI index."""


def check_input(vcf: VariantSource) -> None:
    """Raises :class:`VariantError` if ``vcf`` cannot be read or has fields of ours already."""
    for number, line in enumerate(vcf.header, 1):
        if line.startswith(b"#CHROM"):
            column_names(line, f"{vcf.name}:{number}")
        kind, fields = declaration(line)
        name = fields.get(b"ID", b"").decode("utf-8", "replace")
        if kind == b"INFO" and name.startswith(PREFIX):
            raise VariantError(
                f"{vcf.name}:{number}: has annotations of seal-store already ({printable(name)})",
                f"remove them with `bcftools annotate -x INFO/{printable(name)},...`",
            )


def check_bcf(vcf: VariantSource) -> None:
    """Raises :class:`OutputError` for the first record that BCF cannot hold: all are tried."""
    with open(os.devnull, "wb") as nowhere, BcfWriter(nowhere, vcf.name) as sink:
        writer = Writer(None, vcf, undeclared(vcf), is_bcf=True)
        for record in vcf.records():
            writer.write(sink, record, [])
        writer.end(sink)


def annotate(
    view: View,
    vcf: VariantSource,
    path: Path,
    top: int,
    precision: int,
    reason: Callable[[Allele], str],
    progress: Progress = silent,
) -> Annotated:
    """Write ``vcf`` to ``path`` (``.vcf``, ``.vcf.gz`` in BGZF or ``.bcf``), and its index.

    ``view`` is of results of this VCF; ``top`` contexts are named for each allele and gene,
    and with chosen contexts there is a field for each. ``reason`` says why an allele has no row.
    In text every record stays as it stands, malformed ones too. An input that is not sorted gets
    no index.

    Raises :class:`OutputError` if the results are not of this VCF, or for ``.bcf`` if a record
    does not fit into BCF.
    """
    kind = path.suffix
    fields = Fields(view, top, precision, reason)
    writer = Writer(fields, vcf, undeclared(vcf) if kind == ".bcf" else (), is_bcf=kind == ".bcf")
    queue = _Queue(view, view.results.batches())
    with _opened(path, vcf) as handle:
        for record in vcf.records():
            writer.write(handle, record, [(a, queue.take(a)) for a in record.alleles])
            if writer.done.records % RECORDS_AT_ONCE == 0:
                progress("records", writer.done.records, None)
        writer.end(handle)
    queue.finish(vcf.name)
    found = writer.done
    if kind == ".vcf":
        found.why_no_index = ""
    elif found.records and not found.why_no_index:
        _index(found, path)
    return found


def annotate_stream(
    view: View,
    vcf: VariantSource,
    score: Callable[[Iterator[Allele]], Iterator[tuple[int, Rows]]],
    handle: Sink,
    writer: Writer,
) -> None:
    """Write ``vcf`` to ``handle`` record by record, as its effects are computed.

    ``score`` gives rows of the alleles that it is given, chunk by chunk, and how many alleles each
    is of. Lines wait for their effects in memory, :data:`HELD` bytes a chunk at most and a line.
    """
    queue, held = _Queue(view), deque[Record]()
    records = vcf.records()
    is_over = False

    def part() -> Iterator[Allele]:
        """Alleles of records until there are no more, or those of a chunk are too large."""
        nonlocal is_over
        size = count = 0
        for record in records:
            held.append(record)
            count += len(record.alleles)
            size += len(record.text)
            yield from record.alleles
            if size > HELD:
                return
            if count >= ALLELES_PER_CHUNK:
                size = count = 0
        is_over = True

    while not is_over:
        waiting = 0
        for alleles, rows in score(part()):
            queue.add(rows)
            waiting += alleles
            while held and len(held[0].alleles) <= waiting:
                record = held.popleft()
                waiting -= len(record.alleles)
                writer.write(handle, record, [(a, queue.take(a)) for a in record.alleles])
            handle.flush()
    writer.end(handle)
    handle.flush()
    queue.finish(vcf.name)
    writer.done.why_no_index = ""  # nobody expects one


def _opened(path: Path, vcf: VariantSource) -> AbstractContextManager[Any]:
    """What takes the lines of the output."""
    if path.suffix == ".gz":
        import pysam

        return pysam.BGZFile(str(path), "wb", None)
    return _bcf(path, vcf) if path.suffix == ".bcf" else path.open("wb")


@contextmanager
def _bcf(path: Path, vcf: VariantSource) -> Iterator[BcfWriter]:
    with path.open("wb") as handle, BcfWriter(handle, vcf.name) as writer:
        yield writer


def _index(found: Annotated, path: Path) -> None:
    """Make the index of ``path``, or say why there is none."""
    import pysam
    from pysam import bcftools
    from pysam.utils import SamtoolsError

    ending = ".csi" if path.suffix == ".bcf" or found.last > TBI_END else ".tbi"
    before = pysam.set_verbosity(0)  # htslib writes to stderr past Python
    try:
        if path.suffix == ".bcf":
            bcftools.index("-c", "-f", str(path), catch_stdout=False)
        else:
            pysam.tabix_index(str(path), preset="vcf", force=True, csi=ending == ".csi")
    except SamtoolsError:
        found.why_no_index = "contig lengths in the header are too short"
        return
    finally:
        pysam.set_verbosity(before)
    found.index = path.with_name(path.name + ending)


class _Queue:
    """Rows of results, given out allele by allele in the order in which they were scored."""

    def __init__(self, view: View, batches: Iterable[Rows] = ()) -> None:
        self._view, self._batches = view, iter(batches)
        self._rows: deque[Row] = deque()
        self._count = 0

    def add(self, rows: Rows) -> None:
        """Append ``rows``."""
        c = rows.columns
        c.setdefault("gene_symbol", np.full(len(rows), ""))  # not all results have these
        c.setdefault("source", np.full(len(rows), ""))
        c.setdefault("end", c["pos"] + np.strings.str_len(c["ref"]) - 1)
        keys = zip(*(c[name].tolist() for name in ("pos", "id", "ref", "alt", "end")), strict=True)
        names = ("contig", "gene_id", "gene_symbol", "dist_to_tss", "ref_match", "status", "source")
        columns = (c[name].tolist() for name in names)
        effect = self._view.effect(rows)
        self._rows.extend(Row(*values) for values in zip(keys, *columns, effect, strict=True))

    def _head(self) -> Row | None:
        while not self._rows and (rows := next(self._batches, None)) is not None:
            self.add(rows)
        return self._rows[0] if self._rows else None

    def take(self, allele: Allele) -> list[Row]:
        """The rows of the next allele: none if it was not scored.

        An allele has one row a gene, so that an equal allele after it begins where a gene comes
        again.
        """
        found: list[Row] = []
        key = (allele.pos, allele.id, allele.ref, allele.alt, allele.last)
        while (row := self._head()) is not None and row.key == key:
            if any(row.gene == other.gene for other in found):
                break
            if resolve_contig(allele.contig, {row.contig: 0}) is None:
                break
            found.append(self._rows.popleft())
            self._count += 1
        return found

    def finish(self, where: str) -> None:
        """Raises :class:`OutputError` if rows are left."""
        if (row := self._head()) is not None:
            pos, name, ref, alt, _ = row.key
            raise OutputError(
                f"{where}: row {self._count} (0-based) of the results, {row.contig}:{pos} "
                f"{ref[:20]}>{alt[:20]} {name[:40]}, is not in it at that place",
                "give the VCF that was scored",
            )
