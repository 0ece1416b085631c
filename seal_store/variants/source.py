"""Variant files, each opened once, and the streams of alleles that are read from them.

What is scored is a stream (:class:`Alleles`) that says where it comes from. A step on the way,
such as liftover, makes another stream of it, whose alleles carry their origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from seal_store.errors import VariantError
from seal_store.store.layout import ArraySpec
from seal_store.variants import bcf
from seal_store.variants.alleles import Allele, alleles_of
from seal_store.variants.header import contig_lengths
from seal_store.variants.index import find_index, read_index
from seal_store.variants.input import Input
from seal_store.variants.lines import (
    BOM,
    DAMAGE,
    MAX_FIELDS,
    Line,
    damaged,
    pass_over,
    text_lines,
)
from seal_store.variants.regions import Region, Regions

HEADER_BYTES = 64 << 20
"""Most bytes of a text's header that are looked at."""


@dataclass(eq=False)
class Alleles(Iterator[Allele]):
    """Alleles, read once, and what results say of where they come from.

    ``name`` is what messages and results call the input, ``source`` the file it is, if it is one,
    and ``regions`` the parts of it that are read, if not all. ``columns`` are those that rows of
    these alleles have besides the ones of all results, and ``liftover`` describes that step.
    """

    stream: Iterable[Allele]
    name: str = "input"
    source: VariantSource | None = None
    regions: tuple[str, ...] = ()
    columns: tuple[ArraySpec, ...] = ()
    liftover: dict[str, str] | None = None

    def __post_init__(self) -> None:
        self._next = iter(self.stream)

    def __iter__(self) -> Iterator[Allele]:
        return self._next

    def __next__(self) -> Allele:
        return next(self._next)

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
            "variants_sha256": self.source.sha256 if self.source else None,
            "liftover": self.liftover,
        }


@dataclass(frozen=True, slots=True)
class VcfLine:
    """A line as it stands, without its end; header lines (``#``) have no alleles."""

    line: int
    text: bytes
    alleles: tuple[Allele, ...]


def read_variants(path: str | Path, regions: Sequence[Region] = ()) -> Alleles:
    """Every allele of a variant file: see :meth:`VariantSource.alleles`."""
    return VariantSource(path).alleles(regions)


class VariantSource(Input):
    """A VCF, compressed or not, a BCF or Seal's headerless 5 columns; ``-`` is stdin.

    Nothing is read before it is asked for, and memory does not grow with the file. Raises
    :class:`VariantError` if it is missing, neither text nor BCF, or damaged.
    """

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
            return bcf.header_lines(self._bcf_header)
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

    @cached_property
    def index(self) -> Path | None:
        """The ``.csi`` or ``.tbi`` beside a file of BGZF; None for another input."""
        return find_index(self.path) if self.is_file and self.compression == "bgzf" else None

    @property
    def is_read_whole(self) -> bool:
        """Whether regions of a compressed file are found only by reading all of it."""
        return self.is_file and bool(self.compression) and self.index is None

    def alleles(self, regions: Sequence[Region] = ()) -> Alleles:
        """Every allele, in the order of the file.

        Multi-allelic records are split; INFO and genotypes are ignored. With ``regions`` only
        alleles whose REF touches one of them, through :attr:`index` where there is one; a line
        without a position is in no region.
        """
        name = "-" if self.is_stdin else self.name
        return Alleles(self._alleles(Regions(regions)), name, self, tuple(map(str, regions)))

    def records(self) -> Iterator[VcfLine]:
        """The lines that are not empty, with their alleles; a BCF's as the text htslib makes."""
        for number, text, _ in self._lines(whole=True):
            seen = (number, text[:MAX_FIELDS], len(text) <= MAX_FIELDS)
            yield VcfLine(number, text, tuple(_split([seen])))

    @cached_property
    def _bcf_header(self) -> bytes:
        with self.opened(0) as handle:
            return bcf.read_header(handle, self.name)

    def _lines(self, *, whole: bool) -> Iterator[Line]:
        """The lines that are not empty; of BCF those of its header only if ``whole``."""
        read = bcf.bcf_lines if self.is_bcf else text_lines
        with self.opened() as handle:
            yield from (line for line in read(handle, self.name, whole=whole) if line[1].strip())

    def _alleles(self, regions: Regions) -> Iterator[Allele]:
        if regions and self.index is not None:
            found = self._indexed(self.index, regions)
        else:
            found = _split(self._lines(whole=False))
        if not regions:
            return found
        return (a for a in found if a.pos and regions.overlap(a.contig, a.pos, _last(a)))

    def _indexed(self, path: Path, regions: Regions) -> Iterator[Allele]:
        """Alleles of the records that touch ``regions``, in the order of the file."""
        index = read_index(path)
        foreign = VariantError(
            f"{path}: does not belong to {self.name}", "make it again with tabix"
        )
        self.check_end()
        header = self._bcf_header if self.is_bcf else b""
        names = bcf.contig_names(header, self.name) if header else index.names
        places = ((index.offset(names.index(r.contig), r.first), r) for r in regions.spelled(names))
        before = None
        for offset, region in sorted(
            ((o, r) for o, r in places if o is not None), key=itemgetter(0)
        ):
            if not self.is_block(offset >> 16):
                raise foreign
            first = True
            for allele in self._from(offset, header):
                if first and allele.contig != region.contig:
                    raise foreign
                first = False
                if allele.pos and (allele.contig != region.contig or allele.pos > region.last):
                    break
                if before is None or before.contig != region.contig or allele.pos > before.last:
                    yield allele
            if first:  # an index has no offset for a contig without records
                raise foreign
            before = region

    def _from(self, offset: int, header: bytes) -> Iterator[Allele]:
        """The alleles of all records from a virtual offset on, without line numbers."""
        with self.opened(offset >> 16) as handle:
            pass_over(handle, offset & 0xFFFF, self.name)
            if header:
                lines = bcf.bcf_lines(handle, self.name, header=header)
            else:
                lines = text_lines(handle, self.name)
            yield from _split((0, text, complete) for _, text, complete in lines if text.strip())


def _last(allele: Allele) -> int:
    return allele.pos + max(len(allele.ref), 1) - 1


def _split(lines: Iterable[Line]) -> Iterator[Allele]:
    """The alleles of the records among ``lines``."""
    for number, text, complete in lines:
        if not text.startswith(b"#"):
            yield from alleles_of(number, text.decode("utf-8", "replace"), complete)
