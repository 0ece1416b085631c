"""Genes of GTF and GFF3 files: GENCODE's, Ensembl's, RefSeq's, MAKER's, AUGUSTUS's, StringTie's.

Lines -> features -> genes with their transcripts -> rows. The file is read once; the order of its
lines does not matter. Coordinates in these files are 1-based and closed: the 5' end of a feature,
its TSS, is the start on the + strand and the end on the - strand.

What a feature is, its type and its ``Parent`` tell (:mod:`seal_store.reference.terms`): what has a
gene for parent is a transcript, what has a transcript for parent (a mature miRNA) is neither. A
gene without a line of its own has the most 5' end of its transcripts or, in GTF, of its exons.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote

from seal_store.common.odd_lines import OddLines
from seal_store.reference.contigs import chromosome
from seal_store.reference.terms import GENES, PARTS, TRANSCRIPTS

TSS_CHOICES = ("gene", "canonical", "transcript")
"""``gene``: the 5' end of each gene. ``canonical``: that of its MANE Select or canonical
transcript, if one is tagged. ``transcript``: that of every transcript, each a row of its own."""


class Row(NamedTuple):
    """A line of a gene table: ``strand`` +1 or -1, ``tss`` 1-based, ``line`` where it stands."""

    line: int
    gene_id: str
    symbol: str
    contig: str
    strand: int
    tss: int
    gene_type: str


STRANDS = {"+": 1, "-": -1}
NO_STRAND = "no strand"
BOTH_STRANDS = "a gene on both strands"
NO_ID = "a transcript without transcript_id or ID"
MALFORMED = "not as its format asks"
ELSEWHERE = "a gene that stands on a chromosome too"

_GTF_ATTRIBUTE = re.compile(r'([\w.-]+)[ =]+(?:"([^"]*)"|([^\s";]+))')
_GFF3_ATTRIBUTES = re.compile(r"\s*[^\s=;\"]+=")
_GTF_GENE = re.compile(rb'\bgene_id "?([^";]+)')
_VERSION = re.compile(r"(ENS[A-Z]*\d+)\.\d+(?:_\d+)?(_PAR_Y)?")
_RANK = {"MANE_Select": 0, "Ensembl_canonical": 1, "RefSeq_Select": 1}
_NO_RANK = 9
_PREFIX = re.compile(r"^(gene|transcript|rna)[:-](?=.)")
_KINDS = frozenset(kind.encode() for kind in GENES | TRANSCRIPTS)
_PART_KINDS = frozenset(kind.encode() for kind in PARTS)


def is_annotation(fields: Sequence[str]) -> bool:
    """Whether a line's tab-separated ``fields`` are those of GTF or GFF3, not of BED or genePred.

    The third is a feature's type, where BED has a number. A column may be missing.
    """
    return len(fields) in (8, 9) and not fields[2].isdigit()


def without_version(identifier: str) -> str:
    """An Ensembl id without its version: other tables of genes have none; other ids stay.

    ``ENSG00000228572.7_PAR_Y`` becomes ``ENSG00000228572_PAR_Y``.
    """
    found = _VERSION.fullmatch(identifier)
    return found[1] + (found[2] or "") if found else identifier


class Feature(NamedTuple):
    """A line that may be a gene, a transcript or an exon; ids without prefix and version.

    ``tss`` is its 5' end, 0 on no strand. ``own`` and ``parent`` are ``ID`` and ``Parent`` as they
    stand; ``part`` is RefSeq's ``part=1/2`` of a trans-spliced gene, 0 without.
    """

    line: int
    kind: str
    contig: str
    strand: int
    tss: int
    own: str
    parent: str
    gene: str
    transcript: str
    symbol: str
    biotype: str
    rank: int
    part: int


@dataclass
class _Gene:
    """The features of one gene on one contig."""

    lines: list[Feature] = field(default_factory=list)
    transcripts: list[Feature] = field(default_factory=list)
    exons: list[Feature] = field(default_factory=list)

    @property
    def best(self) -> list[Feature]:
        """What tells where it lies."""
        return self.lines or self.transcripts or self.exons

    @property
    def first(self) -> Feature:
        """The first of these in the file."""
        return min(self.best, key=lambda feature: feature.line)

    def said(self, name: str) -> str:
        """``symbol`` or ``biotype`` as its own lines have it, else as its transcripts' do."""
        for features in (self.lines, self.transcripts or self.exons):
            if found := sorted({getattr(f, name) for f in features} - {""}):
                return str(found[0])
        return ""


def read_rows(
    where: str,
    lines: Iterable[tuple[int, bytes]],
    tss: str,
    gene_types: Sequence[str],
    odd: OddLines,
) -> tuple[list[Row], set[str]]:
    """Rows of the numbered ``lines`` of the file ``where``, and all types of genes in it.

    In the order of the genes' first lines; only those of ``gene_types``, if any. Lines that cannot
    be used are counted in ``odd``.
    """
    genes = _genes(_features(where, lines, tss, odd))
    types = {gene.said("biotype") for gene in genes.values()}
    rows = []
    for (name, _), gene in genes.items():
        if gene_types and gene.said("biotype") not in gene_types:
            continue
        found = _transcript_rows(gene) if tss == "transcript" else _gene_row(name, gene, tss)
        if isinstance(found, str):
            odd.skip(found, f"{where}:{gene.first.line}: gene {name}")
        else:
            rows += found
    rows.sort(key=lambda row: row.line)
    return _one_of_each(where, rows, odd), types


def _features(
    where: str, lines: Iterable[tuple[int, bytes]], tss: str, odd: OddLines
) -> list[Feature]:
    """Features of the types that matter; quick on all other lines."""
    enough = TRANSCRIPTS if tss == "transcript" else GENES | TRANSCRIPTS
    found: list[Feature] = []
    known: set[tuple[bytes, bytes]] = set()
    for number, line in lines:
        contig, *kind = line[:400].split(b"\t", 3)[:3:2]
        if kind and kind[0] in _PART_KINDS:
            gene = _GTF_GENE.search(line)
            if gene is None or (contig, gene[1]) in known:  # GFF3's, or of a gene known by itself
                continue
        elif line.startswith((b"##FASTA", b">")):
            break
        elif not kind or kind[0] not in _KINDS or line.startswith(b"#"):
            continue
        text, note = decoded(line)
        if note:
            odd.note("read as Latin-1", f"{where}:{number}: {note}")
        feature = _feature(number, text.rstrip("\r\n\t ").split("\t"))
        if isinstance(feature, str):
            odd.skip(MALFORMED, f"{where}:{number}: {feature}")
        else:
            found.append(feature)
            if feature.kind in enough and (gene := _GTF_GENE.search(line)):
                known.add((contig, gene[1]))
    return found


def decoded(line: bytes) -> tuple[str, str]:
    """A line as text, and what is said of it if it is Latin-1 and not UTF-8."""
    try:
        return line.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        return line.decode("latin-1"), f"byte 0x{line[error.start]:02x} is not UTF-8"


def _feature(number: int, fields: list[str]) -> Feature | str:
    """The feature of a line's columns, or what is wrong with it."""
    if len(fields) != 9:
        return f"{len(fields)} tab-separated columns, GTF and GFF3 have 9"
    contig, _, kind, *ends, _, strand, _, text = fields
    for end in ends:
        if not end.isascii() or not end.isdigit() or len(end) > 12:
            return f"{end[:40]!r} is not a position"
    low, high = map(int, ends)
    if not 1 <= low <= high:
        return f"interval {low}-{high} is empty or not 1-based"
    if strand not in ("+", "-", ".", "?"):
        return f"strand {strand[:40]!r} is not + or -"
    values = _attributes(text, kind)
    own, parent, gene = (_first(values, key) for key in ("ID", "Parent", "gene_id"))
    if not (own or parent or gene):
        return "neither gene_id nor ID"
    part = _first(values, "part").partition("/")[0]
    names = ("gene_name", "Name", "gene") if kind in GENES else ("gene_name", "gene")
    sign = STRANDS.get(strand, 0)
    return Feature(
        line=number,
        kind=kind,
        contig=contig,
        strand=sign,
        tss={1: low, -1: high}.get(sign, 0),
        own=own,
        parent=parent,
        gene=_plain(gene),
        transcript=_plain(_first(values, "transcript_id") or own),
        symbol=_first(values, *names),
        biotype=_first(values, "gene_type", "gene_biotype", "biotype"),
        rank=min(_RANK.get(tag.replace(" ", "_"), _NO_RANK) for tag in values.get("tag", [""])),
        part=int(part) if part.isdecimal() and len(part) < 6 else 0,
    )


def _attributes(text: str, kind: str) -> dict[str, list[str]]:
    """Values by key, in order, of GTF (``key "value";``) or GFF3 (``key=value,value;``)."""
    found: dict[str, list[str]] = {}
    if _GFF3_ATTRIBUTES.match(text):
        for part in text.split(";"):
            key, _, value = part.strip().partition("=")
            items = value.removeprefix('"').removesuffix('"').split(",")
            found.setdefault(key, []).extend(map(unquote, items))
        return found
    for key, quoted, bare in _GTF_ATTRIBUTE.findall(text):
        found.setdefault(key, []).append(quoted or bare)
    if not found and text not in ("", "."):  # AUGUSTUS: an id alone, of a transcript GENE.NAME
        is_gene = kind in GENES
        found["gene_id"] = [text if is_gene else text.rpartition(".")[0]]
        found["transcript_id"] = ["" if is_gene else text]
    return found


def _first(values: dict[str, list[str]], *keys: str) -> str:
    """The first value of the first key that has one."""
    return next((values[key][0] for key in keys if values.get(key, [""])[0]), "")


def _plain(identifier: str) -> str:
    """An id without Ensembl's or RefSeq's prefix and without Ensembl's version."""
    return without_version(_PREFIX.sub("", identifier, count=1))


def _genes(features: list[Feature]) -> dict[tuple[str, str], _Gene]:
    """Features by gene: its id and contig, for the same gene may stand on X and on Y."""
    by_id = {(f.contig, f.own): f for f in features if f.own}
    genes: dict[tuple[str, str], _Gene] = defaultdict(_Gene)
    for feature in features:
        parent = by_id.get((feature.contig, feature.parent))
        may_be_transcript = feature.kind in TRANSCRIPTS
        if feature.kind in PARTS:
            genes[feature.gene, feature.contig].exons.append(feature)
        elif parent is not None:
            if not _is_transcript(parent, by_id):
                genes[_name(parent), feature.contig].transcripts.append(feature)
        elif may_be_transcript and feature.parent:  # its gene has no line
            name = feature.gene or _plain(feature.parent)
            genes[name, feature.contig].transcripts.append(feature)
        elif may_be_transcript and feature.gene not in ("", feature.transcript or feature.gene):
            genes[feature.gene, feature.contig].transcripts.append(feature)
        else:
            genes[_name(feature), feature.contig].lines.append(feature)
    return genes


def _is_transcript(feature: Feature, by_id: dict[tuple[str, str], Feature]) -> bool:
    """Whether a feature within another (not a gene within an operon, say) is a transcript."""
    within = (feature.contig, feature.parent) in by_id
    return bool(feature.parent) and (within or feature.kind not in GENES)


def _name(gene: Feature) -> str:
    return gene.gene or _plain(gene.own)


def _five_prime(features: Sequence[Feature]) -> tuple[int, int] | str:
    """Strand and TSS of what these features make up, or why there is none."""
    stranded = [f for f in features if f.strand]
    if first := min((f.part for f in stranded if f.part), default=0):
        stranded = [f for f in stranded if f.part == first]  # trans-spliced: its 5' part
    strands = {f.strand for f in stranded}
    if len(strands) != 1:
        return BOTH_STRANDS if strands else NO_STRAND
    return (strand := strands.pop()), strand * min(strand * f.tss for f in stranded)


def _gene_row(name: str, gene: _Gene, tss: str) -> list[Row] | str:
    found = _five_prime(gene.best)
    if isinstance(found, str):
        return found
    strand, position = found
    if tss == "canonical":
        own = [t for t in gene.transcripts if t.strand == strand and t.rank < _NO_RANK]
        best = min((t.rank for t in own), default=_NO_RANK)
        ends = (strand * t.tss for t in own if t.rank == best)
        position = strand * min(ends, default=strand * position)
    first = gene.first
    symbol, kind = gene.said("symbol"), gene.said("biotype")
    return [Row(first.line, name, symbol, first.contig, strand, position, kind)]


def _transcript_rows(gene: _Gene) -> list[Row] | str:
    """A row for each transcript; a gene that is one itself, as a lone tRNA, has its own."""
    by_name: dict[str, list[Feature]] = defaultdict(list)
    alone = [f for f in gene.lines if f.kind not in GENES]
    for feature in gene.transcripts or alone or gene.exons:
        by_name[feature.transcript].append(feature)
    rows = []
    for name, features in by_name.items():
        found = _five_prime(features) if name else NO_ID
        if isinstance(found, str):
            return found
        first = min(features, key=lambda f: f.line)
        kind = gene.said("biotype")
        rows.append(Row(first.line, name, gene.said("symbol"), first.contig, *found, kind))
    return rows


def _one_of_each(where: str, rows: list[Row], odd: OddLines) -> list[Row]:
    """Ids on several contigs: Y's of X and Y gets ``_PAR_Y``; of a chromosome and others, its.

    Others stay as they are: they are the same id twice.
    """
    contigs: dict[str, list[str | None]] = defaultdict(list)
    for row in rows:
        contigs[row.gene_id].append(chromosome(row.contig))
    kept = []
    for row in rows:
        own, others = chromosome(row.contig), contigs[row.gene_id]
        if own == "Y" and "X" in others:
            kept.append(row._replace(gene_id=f"{row.gene_id}_PAR_Y"))
        elif own is None and any(others):
            odd.skip(ELSEWHERE, f"{where}:{row.line}: {row.gene_id} on {row.contig}")
        else:
            kept.append(row)
    return kept
