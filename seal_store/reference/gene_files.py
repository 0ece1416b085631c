"""Files of genes -> gene tables. The format is told by the content, plain or gzipped.

* BED as Seal's, 5 columns: chrom, start, end, strand, gene id;
* BED6: chrom, start, end, gene id, score, strand;
* geneanno CSV with a header: ``id, symbol, seqnames, strand, CAGE_representative_TSS, type``;
* genePred, as UCSC's refGene.txt and refFlat.txt;
* GTF and GFF3, see :mod:`seal_store.reference.gtf`.

In a BED of 1 bp features the end coordinate is the TSS; a longer BED6 feature has its TSS at its
5' end. A line that is not as its format asks is skipped and counted; a file that has more of these
than genes, or a gene id twice, is refused.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import cast

import numpy as np

from seal_store.common.files import compression
from seal_store.common.odd_lines import OddLines
from seal_store.common.words import counted
from seal_store.errors import GeneTableError
from seal_store.reference.contigs import UNKNOWN, assembly_of_name, assembly_of_text
from seal_store.reference.gene_table import GeneTable
from seal_store.reference.gtf import (
    BOTH_STRANDS,
    MALFORMED,
    STRANDS,
    TSS_CHOICES,
    Row,
    decoded,
    is_annotation,
    read_rows,
)

LONGEST = 256
"""Most characters of an id, symbol, contig or type."""

HEAD_LINES = 1_000
"""Comments and blank lines before the first row that are kept to tell format and assembly."""

CSV_COLUMNS = ("id", "symbol", "seqnames", "strand", "CAGE_representative_TSS", "type")
FORMATS = "BED6, Seal's BED (chrom, start, end, strand, gene), GTF, GFF3, genePred or geneanno CSV"

Line = tuple[int, bytes]
"""1-based number, bytes with the line's end."""


class _OddError(ValueError):
    """Why a line is skipped."""


def read_genes(path: str | Path, *, tss: str = "gene", gene_types: Sequence[str] = ()) -> GeneTable:
    """Read a gene table.

    ``tss`` is one of :data:`seal_store.reference.gtf.TSS_CHOICES`; it applies to GTF and GFF3.
    With ``gene_types`` only genes of these types are in the table. Raises
    :class:`GeneTableError` with file and line if the file is missing, empty, mostly malformed or
    has a gene id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise GeneTableError(f"gene table not found: {path}", "check `genes`")
    if tss not in TSS_CHOICES:
        raise GeneTableError(f"`tss` {tss!r}: not one of {', '.join(TSS_CHOICES)}")
    odd = OddLines()
    try:
        with _opened(path) as lines:
            head, rows, types = _parsed(path, lines, tss, gene_types, odd)
    except (EOFError, OSError, zlib.error) as error:
        raise GeneTableError(f"{path}: cannot be read ({error})", "copy it again") from error
    _check_types(path, types, gene_types)
    rows = [row for row in rows if not gene_types or row.gene_type in gene_types]
    _check_sound(path, rows, odd)
    _check_ids(path, rows)
    _, gene_id, symbol, contig, strand, tsss, gene_type = zip(*rows, strict=True)
    return GeneTable(
        np.array(gene_id),
        np.array(symbol),
        np.array(contig),
        np.array(strand, np.int8),
        np.array(tsss, np.int64),
        np.array(gene_type),
        assembly=_assembly(path, head, set(contig)),
        odd=odd,
    )


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[Line]]:
    """Numbered lines of a file, gunzipped if need be; a byte order mark is left out."""
    with path.open("rb") as raw:
        packed = compression(raw.read(18))
        raw.seek(0)
        handle = gzip.GzipFile(fileobj=raw) if packed else raw
        lines = enumerate(cast(Iterable[bytes], handle), 1)
        yield ((n, line.removeprefix(b"\xef\xbb\xbf") if n == 1 else line) for n, line in lines)


def _parsed(
    path: Path, lines: Iterator[Line], tss: str, gene_types: Sequence[str], odd: OddLines
) -> tuple[list[str], list[Row], set[str]]:
    """The comments before the first row, all genes, and the types of genes in the file."""
    head: list[str] = []
    where = str(path)
    for number, line in lines:
        text = _text(where, number, line)
        if _is_blank(text):
            head += [text] if len(head) < HEAD_LINES else []
            continue
        rows = chain([(number, line)], lines)
        fields = text.rstrip("\r\n\t ").split("\t")
        if is_annotation(fields) or any(h.startswith("##gff-version") for h in head):
            found, types = read_rows(where, rows, tss, gene_types, odd)
            if not found and not odd.skipped and not (gene_types and types - {""}):
                raise _nothing(where, tss)
            return head, found, types
        if tss != "gene":
            raise GeneTableError(
                f"{path}: `tss={tss}` needs GTF or GFF3", "this table has one TSS a gene"
            )
        if "\t" not in text and "," in text:
            found = list(_csv_rows(where, rows, odd))
        elif _gene_pred(fields) is not None:
            found = _gene_pred_rows(where, rows, odd)
        else:
            found = list(_bed_rows(where, rows, odd))
        return head, found, {row.gene_type for row in found}
    return head, [], set()


def _nothing(where: str, tss: str) -> GeneTableError:
    if tss == "transcript":
        return GeneTableError(
            f"{where}: no transcripts in it", "it has no feature of a transcript's type"
        )
    return GeneTableError(
        f"{where}: no genes in it",
        "it has no feature of a gene's or transcript's type, and no exon with a gene_id",
    )


def _text(where: str, number: int, line: bytes, odd: OddLines | None = None) -> str:
    """A line as text; what is odd about it is counted in ``odd``, if given."""
    if b"\0" in line:
        raise GeneTableError(f"{where}:{number}: NUL byte: not a text file", f"give {FORMATS}")
    text, note = decoded(line)
    if note and odd is not None:
        odd.note("read as Latin-1", f"{where}:{number}: {note}")
    return text


def _is_blank(line: str) -> bool:
    return not line.strip() or line.startswith(("#", "track", "browser"))


def _rows(where: str, lines: Iterator[Line], odd: OddLines) -> Iterator[tuple[int, list[str]]]:
    """Tab-separated columns of lines that are not blank."""
    for number, line in lines:
        text = _text(where, number, line, odd)
        if not _is_blank(text):
            yield number, text.rstrip("\r\n").split("\t")


def _bed_rows(where: str, lines: Iterator[Line], odd: OddLines) -> Iterator[Row]:
    for count, (number, fields) in enumerate(_rows(where, lines, odd)):
        try:
            yield _bed_row(number, fields)
        except _OddError as problem:
            names = count == 0 and len(fields) > 4 and not any(f[:1].isdigit() for f in fields)
            if not names:  # a line of column names before the first row is none of these
                odd.skip(MALFORMED, f"{where}:{number}: {problem}")


def _bed_row(number: int, fields: list[str]) -> Row:
    if len(fields) == 5:
        contig, start, end, strand, gene = fields
    elif len(fields) >= 6:
        contig, start, end, gene, _, strand = fields[:6]
    elif len(fields) == 4:
        raise _OddError("BED with 4 columns has no strand, and the model needs it: write BED6")
    else:
        raise _OddError(f"{len(fields)} tab-separated columns, where {FORMATS} are read")
    low, high = _integer(start), _integer(end)
    sign = _strand(strand)
    if not 0 <= low < high:
        raise _OddError(f"interval {start}-{end} is empty or negative")
    tss = high if sign < 0 or len(fields) == 5 else low + 1
    return _row(number, gene, "", contig, sign, tss, "")


def _gene_pred(fields: list[str]) -> tuple[str, str, str, str, int, int] | None:
    """Transcript, gene, contig, strand and 0-based interval of a line of genePred, else None.

    It begins with the transcript's name, in refGene after a bin, in refFlat after the gene's; the
    extended form has the gene's name in its twelfth column.
    """
    for first in (0, 1):
        own = fields[first:]
        if len(own) >= 10 and own[2] in STRANDS and all(f.isdigit() for f in own[3:8]):
            name2 = own[11] if len(own) >= 15 else ""
            gene = fields[0] if first and not fields[0].isdigit() else name2
            return own[0], gene or own[0], own[1], own[2], int(own[3]), int(own[4])
    return None


def _gene_pred_rows(where: str, lines: Iterator[Line], odd: OddLines) -> list[Row]:
    """The most 5' end of each gene's transcripts."""
    genes: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for number, fields in _rows(where, lines, odd):
        found = _gene_pred(fields)
        if found is None or not found[4] < found[5]:
            odd.skip(MALFORMED, f"{where}:{number}: not a line of genePred")
            continue
        _, gene, contig, strand, start, end = found
        tss = start + 1 if strand == "+" else end
        row = _row(number, gene, "", contig, STRANDS[strand], tss, "")
        genes[gene, contig].append(row)
    rows = []
    for (gene, _), found_rows in genes.items():
        if len({row.strand for row in found_rows}) > 1:
            odd.skip(BOTH_STRANDS, f"{where}:{found_rows[0].line}: gene {gene}")
            continue
        most = min(found_rows, key=lambda row: row.strand * row.tss)
        rows.append(found_rows[0]._replace(tss=most.tss))
    return rows


def _csv_rows(where: str, lines: Iterator[Line], odd: OddLines) -> Iterator[Row]:
    number, first = next(lines)
    texts = (_text(where, n, line, odd) for n, line in lines)
    try:
        names = next(csv.reader([_text(where, number, first, odd)]))
    except csv.Error as error:
        raise GeneTableError(f"{where}:{number}: not CSV ({error})") from error
    missing = [name for name in CSV_COLUMNS if name not in names]
    if missing:
        raise GeneTableError(
            f"{where}:{number}: no column {missing[0]!r}",
            f"a geneanno CSV has {', '.join(CSV_COLUMNS)}",
        )
    reader = csv.DictReader(texts, names)
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            line = reader.line_num + number + 1
            raise GeneTableError(f"{where}:{line}: not CSV ({error})") from error
        if values is None:
            return
        line = reader.line_num + number
        try:
            yield _csv_row(line, values, len(names))
        except _OddError as problem:
            odd.skip(MALFORMED, f"{where}:{line}: {problem}")


def _csv_row(number: int, values: dict[str, str | None], columns: int) -> Row:
    own = [values[name] for name in CSV_COLUMNS]
    if any(text is None for text in own):
        raise _OddError(f"{columns} columns expected, fewer found")
    gene, symbol, contig, strand, tss, kind = map(str, own)
    return _row(number, gene, symbol, contig, _strand(strand), _integer(tss), kind)


def _row(number: int, gene: str, symbol: str, contig: str, strand: int, tss: int, kind: str) -> Row:
    if not gene:
        raise _OddError("empty gene id")
    if tss < 1:
        raise _OddError(f"TSS {tss} is not a 1-based position")
    return Row(number, gene, symbol, contig, strand, tss, kind)


def _strand(text: str) -> int:
    if text not in STRANDS:
        raise _OddError(f"strand {text[:40]!r} is not + or -")
    return STRANDS[text]


def _integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise _OddError(f"{text[:40]!r} is not a position")
    return int(text)


def _check_types(path: Path, types: set[str], wanted: Sequence[str]) -> None:
    if wanted and types <= {""}:
        raise GeneTableError(f"{path}: no types of genes in this table", "leave `gene_type` out")
    for name in wanted:
        if name not in types:
            some = ", ".join(islice(sorted(types - {""}), 6))
            raise GeneTableError(f"{path}: no gene of type {name!r}", f"it has {some} ...")


def _check_sound(path: Path, rows: Sequence[Row], odd: OddLines) -> None:
    """Refuse a file without genes, or whose lines are mostly not as its format asks."""
    malformed = odd.counts[f"skipped: {MALFORMED}"]
    if rows and malformed <= len(rows):
        return
    if not odd.skipped:
        raise GeneTableError(f"{path}: no gene in this table", "check `genes`")
    first = odd.first.get(f"skipped: {MALFORMED}") or next(iter(odd.first.values()))
    more = f" (and {counted(odd.skipped - 1, 'line')} like it)" if odd.skipped > 1 else ""
    raise GeneTableError(first + more, f"give {FORMATS}")


def _check_ids(path: Path, rows: Sequence[Row]) -> None:
    seen: dict[str, int] = {}
    for row in rows:
        where = f"{path}:{row.line}"
        for what, text in (
            ("id", row.gene_id),
            ("symbol", row.symbol),
            ("contig", row.contig),
            ("type", row.gene_type),
        ):
            if len(text) > LONGEST:
                raise GeneTableError(
                    f"{where}: a gene's {what} of {len(text):,} characters",
                    f"{LONGEST} is the most",
                )
            if not text.isprintable():
                raise GeneTableError(
                    f"{where}: a gene's {what} has a control or invisible character"
                )
        if row.gene_id in seen:
            raise GeneTableError(
                f"{where}: gene {row.gene_id!r} stands on line {seen[row.gene_id]} too",
                "gene ids must be unique",
            )
        seen[row.gene_id] = row.line


def _assembly(path: Path, head: Sequence[str], contigs: set[str]) -> str:
    """The assembly that the header names or, by versioned accessions, the contigs."""
    named = next((a for a in map(assembly_of_text, head) if a != UNKNOWN), UNKNOWN)
    owners = {assembly_of_name(name) for name in contigs} - {UNKNOWN}
    if len(owners) > 1 or (owners and named not in (UNKNOWN, *owners)):
        both = " and ".join(sorted(owners | {named} - {UNKNOWN}))
        raise GeneTableError(f"{path}: its contigs and header are of {both}", "give one assembly")
    return named if named != UNKNOWN else next(iter(owners), UNKNOWN)
