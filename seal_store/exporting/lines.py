"""A VCF's lines with effects in INFO, other columns as they are, and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from seal_store.errors import OutputError
from seal_store.exporting.bcf import BcfWriter
from seal_store.exporting.info import Fields, Row
from seal_store.exporting.losses import Losses
from seal_store.variants.alleles import Allele
from seal_store.variants.header import COLUMNS, column_names
from seal_store.variants.source import Record, VariantSource

Sink = IO[bytes] | BcfWriter
Groups = list[tuple[Allele, list[Row]]]
"""The alleles of a record and their rows, one a gene."""


@dataclass
class Annotated:
    """What was written: ``records``, and ``index`` or why none.

    It needs the records contig by contig and sorted; ``last`` is their largest 1-based position.
    """

    records: int = 0
    malformed: int = 0
    index: Path | None = None
    why_no_index: str = ""
    last: int = 0
    _seen: dict[bytes, int] = field(default_factory=dict)

    def count(self, contig: bytes, record: Record) -> None:
        """Count the next record."""
        self.records += 1
        pos = record.alleles[0].pos
        if not record.has_place:
            self.malformed += 1
            self.why_no_index = self.why_no_index or f"line {record.line} has no position"
            return
        newest = next(reversed(self._seen), contig)
        again = contig != newest and contig in self._seen
        if (again or pos < self._seen.get(contig, 0)) and not self.why_no_index:
            where = f"{contig.decode('utf-8', 'replace')}:{pos}"
            self.why_no_index = f"the input is not sorted at {where} (`bcftools sort` does it)"
        self._seen[contig] = pos
        self.last = max(self.last, pos)

    def notes(self) -> list[str]:
        """What people should know of it."""
        notes = []
        if self.malformed:
            notes.append(
                f"{self.malformed} malformed lines stand as they were; readers may stop there"
            )
        if self.why_no_index:
            notes.append(f"no index: {self.why_no_index}")
        return notes


class Writer:
    """Writes a header and annotated records; ``done`` counts them.

    ``more`` are further lines of the header; without ``fields`` nothing is added to the records.
    Of BCF (``is_bcf``) a record is refused that would lose something.
    """

    def __init__(
        self, fields: Fields | None, vcf: VariantSource, more: Sequence[bytes] = (), *, is_bcf: bool
    ) -> None:
        self.fields, self.vcf = fields, vcf
        self.more = [*more, *(fields.header() if fields else ())]
        self.done = Annotated()
        self._losses = Losses(vcf.header) if is_bcf else None
        self._width = 0

    def write(self, handle: Sink, record: Record, groups: Groups) -> None:
        """Write ``record`` with its ``groups``, after the header if it is the first."""
        line = record.text
        columns = line.split(b"\t") if b"\t" in line else line.split()
        if not self._width:
            self._begin(handle, len(columns))
        if self._losses and (problem := self._losses.of(record, columns, self._width)):
            raise OutputError(
                f"{self.vcf.name}:{record.line}: {problem}, which BCF cannot hold",
                "write .vcf.gz, or leave the line out",
            )
        columns += [b"."] * (self._width - len(columns))
        own, old = self.fields.info(groups) if self.fields else b"", columns[7].rstrip(b";")
        columns[7] = b";".join(part for part in (old, own) if part not in (b".", b"")) or b"."
        if isinstance(handle, BcfWriter):
            handle.number(record.line)
        handle.write(b"\t".join(columns) + b"\n")
        self.done.count(columns[0], record)

    def end(self, handle: Sink) -> None:
        """Write the header if there was no record."""
        if not self._width:
            self._begin(handle, 0)

    def _begin(self, handle: Sink, first: int) -> None:
        """The input's header with ours before its last line; what it lacks is made.

        ``first`` is the number of columns of the first record.
        """
        lines = self.vcf.header
        head = [line for line in lines if line.startswith(b"##")]
        if not head or not head[0].startswith(b"##fileformat="):
            head = [
                b"##fileformat=VCFv4.3",
                *(line for line in head if not line.startswith(b"##fileformat=")),
            ]
        named = next((line for line in lines if line.startswith(b"#CHROM")), b"")
        columns = column_names(named, self.vcf.name)
        if len(columns) < len(COLUMNS):
            samples = [b"SAMPLE%d" % i for i in range(1, first - len(COLUMNS))]
            columns = [*COLUMNS, *([b"FORMAT", *samples] if samples else ())]
        self._width = len(columns)
        handle.write(b"\n".join((*head, *self.more, b"\t".join(columns), b"")))
