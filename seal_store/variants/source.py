"""Variant files, each opened once, and the streams of alleles that are read from them.

What is scored is a stream (:class:`Alleles`) that says where it comes from. A step on the way,
such as liftover, makes another stream of it, whose alleles carry their origin.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from operator import itemgetter
from typing import Any

from seal_store.errors import VariantError
from seal_store.reference.contigs import resolve_contig
from seal_store.store.layout import ArraySpec
from seal_store.store.place import Place, given_place
from seal_store.variants import bcf
from seal_store.variants.alleles import SCORABLE, Allele, alleles_of, short
from seal_store.variants.header import column_names, contig_lengths, contigs, named_assembly
from seal_store.variants.index import find_index, read_index
from seal_store.variants.input import Input
from seal_store.variants.lines import (
    BOM,
    DAMAGE,
    Line,
    beginning,
    damaged,
    line_starts,
    pass_over,
    text_lines,
)
from seal_store.variants.regions import Region, Regions

HEADER_BYTES = 64 << 20
"""Most bytes of a text's header that are looked at."""
_IDX = re.compile(rb",IDX=\d+>$")
ODD_LINES = 100_000
"""Lines after which a file of which none is a variant is not read on."""


@dataclass(eq=False)
class Alleles(Iterator[Allele]):
    """Alleles, read once, and what results say of where they come from.

    ``name`` is what messages and results call the input, ``source`` the file it is, if it is one,
    and ``regions`` the parts of it that are read, if not all. ``columns`` are those that rows of
    these alleles have besides the ones of all results, and ``liftover`` describes that step.
    ``place`` names what an allele's ``line`` counts: one of
    :data:`~seal_store.store.layout.PLACES`, or nothing.
    """

    stream: Iterable[Allele]
    name: str = "input"
    source: VariantSource | None = None
    regions: tuple[str, ...] = ()
    columns: tuple[ArraySpec, ...] = ()
    liftover: dict[str, str] | None = None
    place: str = "line"

    def __post_init__(self) -> None:
        self._next = iter(self.stream)
        self.is_read = False
        """Whether all of them have been given out."""

    def __iter__(self) -> Iterator[Allele]:
        return self

    def __next__(self) -> Allele:
        try:
            return next(self._next)
        except StopIteration:
            self.is_read = True
            raise

    @classmethod
    def of(cls, alleles: Iterable[Allele], name: str) -> Alleles:
        """``alleles`` as they are if they say where they come from, else by ``name``."""
        return alleles if isinstance(alleles, cls) else cls(alleles, name)

    def after(self, count: int) -> Alleles:
        """Those after the first ``count``."""
        return replace(self, stream=islice(self._next, count, None))

    def provenance(self) -> dict[str, Any]:
        """What results say of their input: its name, the SHA-256 of a file, and the liftover."""
        return {
            "variants": self.name,
            "variants_sha256": self.source.known_sha256 if self.source else None,
            "liftover": self.liftover,
        }


@dataclass(frozen=True, slots=True)
class Record:
    """The line of a record without its end, as it stands or only to ALT, and its alleles."""

    line: int
    text: bytes
    alleles: tuple[Allele, ...]

    @property
    def is_malformed(self) -> bool:
        """Whether nothing of it can be read as a variant."""
        return all(allele.kind == "malformed" for allele in self.alleles)

    @property
    def has_place(self) -> bool:
        """Whether it has a position, which is 0 for a telomere."""
        return self.alleles[0].pos > 0 or self.alleles[0].kind == "telomere"


@dataclass(frozen=True)
class Entry:
    """Where in a file reading can begin: at the record on ``line``, behind ``alleles`` alleles.

    It stands ``within`` decompressed bytes behind byte ``start`` of the file; without a ``start``
    the file is read from its beginning.
    """

    line: int
    alleles: int
    start: int | None = None
    within: int = 0


@dataclass
class Seen:
    """How many records a reading has found so far, and how many of them are malformed."""

    records: int = 0
    malformed: int = 0


def read_variants(path: str | os.PathLike[str], regions: Sequence[Region] = ()) -> Alleles:
    """Every allele of a variant file, to be read once: see :meth:`VariantSource.alleles`."""
    return VariantSource(given_place("path", path), regions).alleles()


class VariantSource(Input):
    """A VCF, compressed or not, a BCF or Seal's headerless 5 columns; ``-`` is stdin.

    With ``regions`` only records whose REF touches one of them are read, through :attr:`index`
    where there is one; a line without a position is in no region. ``named`` is how results call
    the regions, by default as they are.

    Nothing is read before it is asked for, and memory does not grow with the file. Raises
    :class:`VariantError` if it is missing, neither text nor BCF, damaged, or no line of it is a
    variant.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        regions: Sequence[Region] = (),
        named: Sequence[str] = (),
    ) -> None:
        super().__init__(path)
        self.regions = Regions(regions)
        self._named = tuple(named) or tuple(map(str, regions))
        self._refused: frozenset[str] = frozenset()
        self.seen = Seen()
        """Of the reading that began last."""
        self.last = Entry(0, 0)
        """The record that :meth:`alleles` gave an allele of last."""

    def refuse(self, contigs: Collection[str]) -> None:
        """Make alleles on ``contigs``, as the file spells them, be of kind ``contig_length``."""
        self._refused = frozenset(contigs)

    def check_regions(self, known: Collection[str]) -> None:
        """Raise :class:`VariantError` for a region on a contig that nobody knows.

        It must be one of ``known``, or in the header or the index.
        """
        unknown = [c for c in self.regions.contigs if resolve_contig(c, known) is None]
        if unknown:
            own = {
                fields.get(b"ID", b"").decode("utf-8", "replace") for fields in contigs(self.header)
            }
            names = own.union(read_index(self.index).names if self.index else ())
            if unknown := [c for c in unknown if resolve_contig(c, names) is None]:
                raise VariantError(
                    f"`region` {short(unknown[0], 'characters')}: a contig that is neither in the "
                    f"store nor in the header of {self.name}",
                    "name a contig as the VCF or the store does, such as chr1",
                )

    @property
    def known_sha256(self) -> str | None:
        """The file's SHA-256; None for what is no file, or of which only parts are fetched."""
        if self.regions and not self._at.comes_whole and self.index is not None:
            return None
        return self.sha256

    @cached_property
    def is_bcf(self) -> bool:
        """Whether it is BCF, compressed or not."""
        with self.opened(0) as handle:
            try:
                return handle.read(len(bcf.MAGIC)) == bcf.MAGIC
            except DAMAGE as error:
                raise damaged(self.name, "line", 0, error) from error

    @cached_property
    def header(self) -> list[bytes]:
        """The lines before the first record, all with ``#``, without their ends."""
        if self.is_bcf:
            return [_IDX.sub(b">", line) for line in bcf.header_lines(self._bcf_header)]
        lines: list[bytes] = []
        left = HEADER_BYTES
        with self.opened(0) as handle:
            try:
                bom = handle.peek(3)[:3] == BOM
                left -= len(handle.read(3 * bom))
                while left > 0 and handle.peek(1)[:1] == b"#":
                    line = handle.readline(left)
                    left -= len(line)
                    lines.append(line.rstrip(b"\r\n"))
            except DAMAGE as error:
                raise damaged(self.name, "line", len(lines), error) from error
        return lines

    @property
    def contig_lengths(self) -> dict[str, int]:
        """Length in bp of each contig that the header names.

        Empty where it names none or cannot be read: reading the alleles says what is wrong.
        """
        try:
            return contig_lengths(self.header)
        except VariantError:
            return {}

    @property
    def named_assembly(self) -> str:
        """The assembly that the header names, or ``unknown``; as :attr:`contig_lengths`."""
        try:
            return named_assembly(self.header)
        except VariantError:
            return named_assembly([])

    @cached_property
    def index(self) -> Place | None:
        """The ``.csi`` or ``.tbi`` beside a file of BGZF; None for another input."""
        return find_index(self.path) if self.is_file and self.compression == "bgzf" else None

    @property
    def is_read_whole(self) -> bool:
        """Whether regions of a compressed file are found only by reading all of it."""
        return self.is_file and bool(self.compression) and self.index is None

    def alleles(self, entry: Entry | None = None) -> Alleles:
        """Every allele, in the order of the file, or those from the record at ``entry`` on.

        Multi-allelic records are split; of INFO is read how far structural variants reach.
        """
        name = "-" if self.is_stdin else self.name
        return Alleles(self._alleles(entry), name, self, self._named)

    def _alleles(self, entry: Entry | None) -> Iterator[Allele]:
        given = entry.alleles if entry else 0
        for record in self._records(whole=False, entry=entry):
            self.last = Entry(record.line, given)
            given += len(record.alleles)
            yield from record.alleles

    def found(self, entries: Sequence[Entry]) -> list[Entry]:
        """The same entries, of ascending lines, with their place in the file if it has one.

        What is compressed, but not as BGZF, and regions are read from the beginning.
        """
        kind = self.compression if self.is_file else "pipe"
        if self.regions or kind not in ("", "bgzf"):
            return list(entries)
        with self.opened(0) as handle:
            find = bcf.record_starts if self.is_bcf else line_starts
            starts = find(handle, [entry.line for entry in entries])
        places = self.blocks(starts) if kind else [(start, 0) for start in starts]
        if places is None:
            return list(entries)
        return [
            replace(entry, start=start, within=within)
            for entry, (start, within) in zip(entries, places, strict=True)
        ]

    def records(self) -> Iterator[Record]:
        """Every record with its whole line, in the order of the file; a BCF's as htslib's text."""
        return self._records(whole=True)

    @cached_property
    def _bcf_header(self) -> bytes:
        with self.opened(0) as handle:
            return bcf.read_header(handle, self.name)

    def _lines(self, *, whole: bool) -> Iterator[Line]:
        """The lines that are not empty."""
        read = bcf.bcf_lines if self.is_bcf else text_lines
        with self.opened() as handle:
            yield from (line for line in read(handle, self.name, whole=whole) if line[1].strip())

    def _records(self, *, whole: bool, entry: Entry | None = None) -> Iterator[Record]:
        if entry is not None and entry.start is not None:
            header = self._bcf_header if self.is_bcf else b""
            found = self._from(entry.start, entry.within, header, whole=whole, first=entry.line)
        elif self.regions and self.index is not None:
            found = self._indexed(self.index, whole=whole)
        else:
            found = self._sound(self._split(self._lines(whole=whole), whole=whole))
        self.seen = seen = Seen()
        for record in found:
            first = record.alleles[0]
            if self.regions and not (
                first.pos and self.regions.overlap(first.contig, first.pos, _last(first))
            ):
                continue
            seen.records += 1
            seen.malformed += record.is_malformed
            yield record

    def _split(self, lines: Iterable[Line], *, whole: bool) -> Iterator[Record]:
        """The records among ``lines``."""
        for number, text, complete in lines:
            if text.startswith(b"#"):
                if text.startswith(b"#CHROM"):
                    column_names(text, f"{self.name}:{number}")
                continue
            fields, complete = beginning(text) if whole else (text, complete)
            alleles = tuple(alleles_of(number, fields.decode("utf-8", "replace"), complete))
            if self._refused and alleles[0].contig in self._refused:
                alleles = tuple(
                    replace(a, kind="contig_length", end=0) if a.kind in SCORABLE or a.end else a
                    for a in alleles
                )
            yield Record(number, text, alleles)

    def _sound(self, records: Iterator[Record]) -> Iterator[Record]:
        """The same records. Raises :class:`VariantError` if no line is one."""
        odd: Record | None = None
        for count, record in enumerate(records):
            if not record.is_malformed:
                yield record
                yield from records
                return
            odd = odd or record
            if count == ODD_LINES:
                break
            yield record
        if odd is not None:
            first = odd.alleles[0]
            raise VariantError(
                f"{self.name}: no line of it is a variant (line {first.line}: {first.problem})",
                "give VCF, VCF.gz, BCF, or lines of CHROM, POS, ID, REF, ALT",
            )

    def _indexed(self, path: Place, *, whole: bool) -> Iterator[Record]:
        """Records that touch the regions, and some others, in the order of the file."""
        index = read_index(path)
        foreign = VariantError(
            f"{path}: does not belong to {self.name}", "make it again with tabix"
        )
        self.check_end()
        header = self._bcf_header if self.is_bcf else b""
        names = bcf.contig_names(header, self.name) if header else index.names
        regions = self.regions.spelled(names)
        places = ((index.offset(names.index(r.contig), r.first), r) for r in regions)
        before = None
        for offset, region in sorted(
            ((o, r) for o, r in places if o is not None), key=itemgetter(0)
        ):
            if not self.is_block(offset >> 16):
                raise foreign
            is_first = True
            for record in self._from(offset >> 16, offset & 0xFFFF, header, whole=whole):
                contig, pos = record.alleles[0].contig, record.alleles[0].pos
                if is_first and contig != region.contig:
                    raise foreign
                is_first = False
                if pos and (contig != region.contig or pos > region.last):
                    break
                if before is None or before.contig != region.contig or pos > before.last:
                    yield record
            if is_first:  # an index has no offset for a contig without records
                raise foreign
            before = region

    def _from(
        self, start: int, within: int, header: bytes, *, whole: bool, first: int = 0
    ) -> Iterator[Record]:
        """All records from ``within`` decompressed bytes behind byte ``start`` of the file on.

        Line numbers begin at ``first``; without it all are 0.
        """
        with self.opened(start) as handle:
            pass_over(handle, within, self.name)
            if header:
                lines = bcf.bcf_lines(handle, self.name, whole=whole, header=header)
            else:
                lines = text_lines(handle, self.name, whole=whole)
            numbered = (
                (first and first + number - 1, text, complete)
                for number, text, complete in lines
                if text.strip()
            )
            yield from self._split(numbered, whole=whole)


def _last(allele: Allele) -> int:
    return allele.pos + max(len(allele.ref), 1) - 1
