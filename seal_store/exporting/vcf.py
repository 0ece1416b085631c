"""A VCF with its effects in INFO: every record of the input, in order, other columns as they are.

The records are read as they stand and matched, allele by allele, with the rows of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError, VariantError, printable
from seal_store.exporting.info import PREFIX, Fields, Row
from seal_store.reference.contigs import resolve_contig
from seal_store.results.view import View
from seal_store.variants.alleles import Allele
from seal_store.variants.header import declaration
from seal_store.variants.source import VariantSource

COLUMNS = b"#CHROM POS ID REF ALT QUAL FILTER INFO".split()
RECORDS_AT_ONCE = 4_096
TBI_END = 1 << 29
"""Positions beyond this need a CSI index."""


@dataclass
class Annotated:
    """What was written: ``records``, malformed lines ``left_out``, and ``index`` or why none.

    It needs the records contig by contig and sorted; ``last`` is their largest 1-based position.
    """

    records: int = 0
    left_out: int = 0
    index: Path | None = None
    why_no_index: str = ""
    last: int = 0
    _seen: dict[bytes, int] = field(default_factory=dict)

    def count(self, contig: bytes, pos: int) -> None:
        """Count the next record, ``pos`` 1-based."""
        newest = next(reversed(self._seen), contig)
        again = contig != newest and contig in self._seen
        if (again or pos < self._seen.get(contig, 0)) and not self.why_no_index:
            where = f"{contig.decode('utf-8', 'replace')}:{pos}"
            self.why_no_index = f"the input is not sorted at {where} (`bcftools sort` does it)"
        self._seen[contig] = pos
        self.last = max(self.last, pos)
        self.records += 1

    def notes(self) -> list[str]:
        """What people should know of it."""
        notes = []
        if self.left_out:
            notes.append(f"{self.left_out} lines that no reader of VCF takes are left out")
        if self.why_no_index:
            notes.append(f"no index: {self.why_no_index}")
        return notes


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
    kind, found = path.suffix, Annotated()
    more = _undeclared(vcf) if kind == ".bcf" else ()
    lines = _annotated(Fields(view, top, precision, reason), vcf, found, progress, more)
    if kind == ".gz":
        import pysam

        with pysam.BGZFile(str(path), "wb", None) as packed:
            for line in lines:
                packed.write(line)
    else:
        plain = path.with_suffix(".vcf")
        with plain.open("wb") as handle:
            handle.writelines(lines)
        if kind == ".vcf":
            found.why_no_index = ""
            return found
        if not _bcftools("view", "--no-version", "-Ob", "-o", str(path), str(plain)):
            raise OutputError(
                f"{vcf.name}: htslib does not take one of its records as BCF",
                "write .vcf.gz; `bcftools view -Ob` on it names the record",
            )
        plain.unlink()
    if found.records and not found.why_no_index:
        _index(found, path)
    return found


def _index(found: Annotated, path: Path) -> None:
    """Make the index of ``path``, or say why there is none."""
    import pysam

    ending = ".csi" if path.suffix == ".bcf" or found.last > TBI_END else ".tbi"
    if path.suffix != ".bcf":
        pysam.tabix_index(str(path), preset="vcf", force=True, csi=ending == ".csi")
    elif not _bcftools("index", "-c", "-f", str(path)):
        found.why_no_index = "contig lengths in the header are too short"
        return
    found.index = path.with_name(path.name + ending)


def _bcftools(command: str, *arguments: str) -> bool:
    """Run a command of bcftools in this process, without its messages: whether it succeeded."""
    import pysam
    from pysam import bcftools
    from pysam.utils import SamtoolsError

    before = pysam.set_verbosity(0)  # htslib writes to stderr past Python
    try:
        getattr(bcftools, command)(*arguments, catch_stdout=False)
    except SamtoolsError:
        return False
    finally:
        pysam.set_verbosity(before)
    return True


def _annotated(
    fields: Fields, vcf: VariantSource, found: Annotated, progress: Progress, more: Sequence[bytes]
) -> Iterator[bytes]:
    """Lines of the output, with their ends; ``more`` are further lines of its header."""
    queue = _Queue(fields.view)
    header: list[bytes] = []
    width = 0
    for record in vcf.records():
        if record.text.startswith(b"#"):
            header.append(record.text)
            continue
        columns = _columns(record.text)
        if not width:
            width, lines = _header(header, len(columns), [*more, *fields.header()])
            yield from lines
        groups = [(allele, queue.take(allele)) for allele in record.alleles]
        first = record.alleles[0]
        is_broken = first.kind == "malformed" and not first.pos
        if is_broken or len(columns) > width > len(COLUMNS):  # VCF has no place for it
            found.left_out += 1
            continue
        columns += [b"."] * (width - len(columns))
        info, old = fields.info(groups), columns[7].rstrip(b";")
        columns[7] = info if old in (b".", b"") else old + b";" + info
        yield b"\t".join(columns) + b"\n"
        found.count(columns[0], first.pos)
        if found.records % RECORDS_AT_ONCE == 0:
            progress("records", found.records, None)
    if not width:
        yield from _header(header, 0, [*more, *fields.header()])[1]
    queue.finish(vcf.name)


def _columns(line: bytes) -> list[bytes]:
    """The columns of a line, separated by tabs or, without any, by white space."""
    return line.split(b"\t") if b"\t" in line else line.split()


def _header(
    lines: Sequence[bytes], first: int, more: Sequence[bytes]
) -> tuple[int, Iterator[bytes]]:
    """The number of columns, and the input's header with ``more`` before its last line.

    What it lacks is made; ``first`` is the number of columns of the first record.
    """
    head = [line for line in lines if line.startswith(b"##")]
    if not head or not head[0].startswith(b"##fileformat="):
        head = [b"##fileformat=VCFv4.3", *(h for h in head if not h.startswith(b"##fileformat="))]
    columns = next((_columns(line) for line in lines if line.startswith(b"#CHROM")), [])
    if len(columns) < len(COLUMNS):
        samples = [b"SAMPLE%d" % i for i in range(1, first - len(COLUMNS))]
        columns = [*COLUMNS, *([b"FORMAT", *samples] if samples else ())]
    return len(columns), (line + b"\n" for line in (*head, *more, b"\t".join(columns)))


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
        while (row := self._head) is not None and row.key == key:
            if any(row.gene == other.gene for other in found):
                break
            if resolve_contig(allele.contig, {row.contig: 0}) is None:
                break
            found.append(row)
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
        keys = zip(*(c[name].tolist() for name in ("pos", "id", "ref", "alt")), strict=True)
        names = ("contig", "gene_id", "dist_to_tss", "ref_match", "status")
        columns = (c[name].tolist() for name in names)
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

    flag, note = b",Number=0,Type=Flag", b',Description="not declared in the input"'
    for record in vcf.records():
        if record.text.startswith(b"#"):
            kind, own = declaration(record.text)
            declared.add((kind, own.get(b"ID", b"")))
            continue
        columns = _columns(record.text)
        if len(columns) < 5:
            continue
        filters, info, form = (*columns[6:9], b"", b"", b"")[:3]
        need(b"contig", columns[0], b"")
        for name in filters.split(b";"):
            need(b"FILTER", name, note)
        for item in info.split(b";"):
            name, value, _ = item.partition(b"=")
            need(b"INFO", name, (b",Number=.,Type=String" if value else flag) + note)
        for name in form.split(b":"):
            one = b"1" if name == b"GT" else b"."
            need(b"FORMAT", name, b",Number=" + one + b",Type=String" + note)
    return lines
