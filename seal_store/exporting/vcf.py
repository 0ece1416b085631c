"""A VCF with its effects in INFO: every record of the input, in order, other columns as they are.

The records are read as they stand and matched, allele by allele, with the rows of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seal_store.common.files import sync
from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError, VariantError, printable
from seal_store.exporting.info import PREFIX, Fields, Row
from seal_store.reference.contigs import resolve_contig
from seal_store.results.view import View
from seal_store.variants.alleles import Allele
from seal_store.variants.header import declaration
from seal_store.variants.source import Record, VariantSource

COLUMNS = b"#CHROM POS ID REF ALT QUAL FILTER INFO".split()
RECORDS_AT_ONCE = 4_096
TBI_END = 1 << 29
"""Positions beyond this need a CSI index."""


@dataclass
class Annotated:
    """What was written: ``records``, malformed lines ``left_out``, and ``index`` or why none."""

    records: int = 0
    left_out: int = 0
    index: Path | None = None
    why_no_index: str = ""


def check_input(vcf: VariantSource) -> None:
    """Raises :class:`VariantError` if ``vcf`` cannot be read or has fields of ours already."""
    for number, line in enumerate(vcf.header, 1):
        kind, fields = declaration(line)
        name = fields.get(b"ID", b"").decode("utf-8", "replace")
        if kind == b"INFO" and name.startswith(PREFIX):
            raise VariantError(
                f"{vcf.name}:{number}: has annotations of seal-store already ({printable(name)})",
                f"remove them with `bcftools annotate -x INFO/{printable(name)},...`",
            )


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
    Lines that have no position or fewer columns than VCF are left out: no reader of VCF takes
    them. An input that is not sorted gets no index.

    Raises :class:`OutputError` if the results are not of this VCF, or for ``.bcf`` if htslib
    does not take a record.
    """
    fields = Fields(view, top, precision, reason)
    if path.suffix == ".bcf":
        return _bcf(fields, vcf, path, progress)
    found = Annotated()
    order = _Order()
    lines = _annotated(fields, vcf, found, order, progress)
    if path.suffix == ".vcf":
        with path.open("wb") as handle:
            _write(lines, handle.write)
        return found
    import pysam

    with pysam.BGZFile(str(path), "wb", None) as packed:
        _write(lines, packed.write)
    if order.problem:
        found.why_no_index = order.problem
    elif found.records:
        far = order.last > TBI_END
        pysam.tabix_index(str(path), preset="vcf", force=True, csi=far)
        found.index = path.with_name(f"{path.name}.{'csi' if far else 'tbi'}")
        sync(found.index)
    return found


def _bcf(fields: Fields, vcf: VariantSource, path: Path, progress: Progress) -> Annotated:
    """By way of a VCF that declares whatever its records use."""
    import pysam
    from pysam import bcftools
    from pysam.utils import SamtoolsError

    found, order = Annotated(), _Order()
    plain = path.with_suffix(".text")
    lines = _annotated(fields, vcf, found, order, progress, _undeclared(vcf))
    with plain.open("wb") as handle:
        _write(lines, handle.write)
    before = pysam.set_verbosity(0)  # htslib writes to stderr past Python
    try:
        bcftools.view("--no-version", "-Ob", "-o", str(path), str(plain), catch_stdout=False)
        found.why_no_index = order.problem
        if found.records and not order.problem:
            found.index = _csi(path)
            found.why_no_index = "" if found.index else "contig lengths in the header are too short"
    except SamtoolsError as error:
        raise OutputError(
            f"{vcf.name}: htslib does not take one of its records as BCF",
            "write .vcf.gz; `bcftools view -Ob` on it names the record",
        ) from error
    finally:
        pysam.set_verbosity(before)
    plain.unlink()
    return found


def _csi(path: Path) -> Path | None:
    """The index made of a BCF; None where its header does not allow one."""
    from pysam import bcftools
    from pysam.utils import SamtoolsError

    try:
        bcftools.index("-c", "-f", str(path), catch_stdout=False)
    except SamtoolsError:
        return None
    return path.with_name(path.name + ".csi")


def _write(lines: Iterable[bytes], write: Callable[[bytes], Any]) -> None:
    held: list[bytes] = []
    for line in lines:
        held.append(line)
        if len(held) >= RECORDS_AT_ONCE:
            write(b"\n".join(held) + b"\n")
            held = []
    if held:
        write(b"\n".join(held) + b"\n")


def _annotated(
    fields: Fields,
    vcf: VariantSource,
    found: Annotated,
    order: _Order,
    progress: Progress,
    more: Sequence[bytes] = (),
) -> Iterator[bytes]:
    """Lines of the output; ``more`` are further lines of its header."""
    queue = _Queue(fields.view)
    header: list[bytes] = []
    width = 0
    for record in vcf.records():
        if record.text.startswith(b"#"):
            header.append(record.text)
            continue
        if not width:
            *head, columns = _header(header, record.text, [*more, *fields.header()])
            width = columns.count(b"\t") + 1
            yield from (*head, columns)
        groups = [(allele, queue.take(allele)) for allele in record.alleles]
        columns_of = _split(record, width)
        if columns_of is None:
            found.left_out += 1
            continue
        order.see(columns_of[0], record.alleles[0].pos)
        info, old = fields.info(groups), columns_of[7].rstrip(b";")
        columns_of[7] = info if old in (b".", b"") else old + b";" + info
        yield b"\t".join(columns_of)
        found.records += 1
        if found.records % RECORDS_AT_ONCE == 0:
            progress("records", found.records, None)
    if not width:
        yield from _header(header, b"", [*more, *fields.header()])
    queue.finish(vcf.name)


def _split(record: Record, width: int) -> list[bytes] | None:
    """The columns of a record, ``width`` of them; None where VCF has no place for it."""
    first = record.alleles[0]
    if first.kind == "malformed" and not first.pos:
        return None
    text = record.text
    columns = text.split(b"\t") if b"\t" in text else text.split()
    if len(columns) > width and width > len(COLUMNS):
        return None
    return columns + [b"."] * (width - len(columns))


def _header(lines: Sequence[bytes], first: bytes, more: Sequence[bytes]) -> list[bytes]:
    """The input's header with ``more`` before its last line; one is made where it has none."""
    head = [line for line in lines if line.startswith(b"##")]
    if not head or not head[0].startswith(b"##fileformat="):
        head = [b"##fileformat=VCFv4.3", *(h for h in head if not h.startswith(b"##fileformat="))]
    named = [line for line in lines if line.startswith(b"#CHROM")]
    columns = (
        named[0].split()
        if named and b"\t" not in named[0]
        else named[0].split(b"\t")
        if named
        else []
    )
    if len(columns) < len(COLUMNS):
        samples = (first.count(b"\t") + 1 if b"\t" in first else len(first.split())) - 9
        made = [b"FORMAT", *(b"SAMPLE%d" % (i + 1) for i in range(samples))]
        columns = [*COLUMNS, *(made if samples > 0 else ())]
    return [*head, *more, b"\t".join(columns)]


class _Order:
    """Whether records come contig by contig and sorted, as an index needs them."""

    def __init__(self) -> None:
        self.problem, self.last = "", 0
        self._contig, self._pos = b"", 0
        self._seen: set[bytes] = set()

    def see(self, contig: bytes, pos: int) -> None:
        """The next record, ``pos`` 1-based."""
        if contig != self._contig:
            again = contig in self._seen
            self._seen.add(contig)
            self._contig, self._pos = contig, 0
        else:
            again = False
        if (again or pos < self._pos) and not self.problem:
            where = f"{contig.decode('utf-8', 'replace')}:{pos}"
            self.problem = f"the input is not sorted at {where} (`bcftools sort` does it)"
        self._pos, self.last = pos, max(self.last, pos)


class _Queue:
    """Rows of results, given out allele by allele in the order in which they were scored."""

    def __init__(self, view: View) -> None:
        self._rows = _rows(view)
        self._head = next(self._rows, None)
        self._count = 0

    def take(self, allele: Allele) -> list[Row]:
        """The rows of the next allele: none if it was not scored.

        An allele has one row a gene, so that an equal allele after it begins where a gene comes
        again.
        """
        found: list[Row] = []
        key = (allele.pos, allele.id, allele.ref, allele.alt)
        while self._head is not None and self._head.key == key:
            if any(self._head.gene == row.gene for row in found):
                break
            if resolve_contig(allele.contig, {self._head.contig: 0}) is None:
                break
            found.append(self._head)
            self._count += 1
            self._head = next(self._rows, None)
        return found

    def finish(self, where: str) -> None:
        """Raises :class:`OutputError` if rows are left."""
        if self._head is not None:
            pos, name, ref, alt = self._head.key
            raise OutputError(
                f"{where}: row {self._count} (0-based) of the results, {self._head.contig}:{pos} "
                f"{ref[:20]}>{alt[:20]} {name}, is not in it at that place",
                "give the VCF that was scored",
            )


def _rows(view: View) -> Iterator[Row]:
    for rows in view.results.batches():
        c = rows.columns
        keys = zip(
            c["pos"].tolist(), c["id"].tolist(), c["ref"].tolist(), c["alt"].tolist(), strict=True
        )
        columns = (
            c[n].tolist() for n in ("contig", "gene_id", "dist_to_tss", "ref_match", "status")
        )
        for values in zip(keys, *columns, view.effect(rows), strict=True):
            yield Row(*values)


def _undeclared(vcf: VariantSource) -> list[bytes]:
    """Declarations of what the records of ``vcf`` use and its header lacks, as BCF needs them."""
    declared: set[tuple[bytes, bytes]] = {(b"FILTER", b"PASS"), (b"FILTER", b"."), (b"INFO", b".")}
    lines = []

    def need(kind: bytes, name: bytes, rest: bytes) -> None:
        if name and (kind, name) not in declared:
            declared.add((kind, name))
            lines.append(b"##%b=<ID=%b%b>" % (kind, name, rest))

    note = b',Description="not declared in the input"'
    for record in vcf.records():
        if record.text.startswith(b"#"):
            kind, own = declaration(record.text)
            declared.add((kind, own.get(b"ID", b"")))
            continue
        columns = record.text.split(b"\t") if b"\t" in record.text else record.text.split()
        if len(columns) < 5:
            continue
        need(b"contig", columns[0], b"")
        for name in columns[6].split(b";") if len(columns) > 6 else ():
            need(b"FILTER", name, note)
        for item in columns[7].split(b";") if len(columns) > 7 else ():
            name, value, _ = item.partition(b"=")
            need(
                b"INFO",
                name,
                (b",Number=.,Type=String" if value else b",Number=0,Type=Flag") + note,
            )
        for name in columns[8].split(b":") if len(columns) > 8 else ():
            one = b"1" if name == b"GT" else b"."
            need(b"FORMAT", name, b",Number=" + one + b",Type=String" + note)
    return lines
