"""Genes of GTF and GFF3 files: GENCODE's, Ensembl's and RefSeq's.

Coordinates in these files are 1-based and closed: the 5' end of a feature, its TSS, is the start
on the + strand and the end on the - strand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from seal_store.errors import GeneTableError
from seal_store.reference.contigs import chromosome

TSS_CHOICES = ("gene", "canonical", "transcript")
"""``gene``: the 5' end of each gene. ``canonical``: that of its MANE Select or canonical
transcript, if one is tagged. ``transcript``: that of every transcript, each a row of its own."""

Row = tuple[str, str, str, int, int, str]
"""Id, symbol, contig, strand (+1 or -1), TSS (1-based), type."""

STRANDS = {"+": 1, "-": -1}

_GENES = frozenset(("gene", "ncRNA_gene", "pseudogene"))
_KEYS = "gene_id|gene_name|gene_type|gene_biotype|biotype|transcript_id|tag|gene|ID|Name|Parent"
_GTF_ATTRIBUTE = re.compile(rf'\b({_KEYS}) "([^"]*)"')
_VERSION = re.compile(r"(ENS[A-Z]*\d+)\.\d+(?:_\d+)?(_PAR_Y)?")
_RANK = {"MANE_Select": 0, "Ensembl_canonical": 1, "RefSeq_Select": 1}
_PREFIX = re.compile(r"(gene|transcript|rna)[:-]")


def is_annotation(fields: list[str]) -> bool:
    """Whether a line's tab-separated ``fields`` are those of GTF or GFF3, not of BED."""
    return (
        len(fields) == 9
        and not fields[1].isdigit()
        and fields[3].isdigit()
        and fields[4].isdigit()
        and fields[6] in ("+", "-", ".", "?")
    )


def without_version(identifier: str) -> str:
    """An Ensembl id without its version: other tables of genes have none; other ids stay.

    ``ENSG00000228572.7_PAR_Y`` becomes ``ENSG00000228572_PAR_Y``.
    """
    found = _VERSION.fullmatch(identifier)
    return found[1] + (found[2] or "") if found else identifier


def read_rows(
    path: Path, lines: Iterable[tuple[int, str]], tss: str = "gene"
) -> list[tuple[int, Row]]:
    """Genes (or transcripts) of numbered ``lines``, in file order, each with its line number.

    Raises :class:`GeneTableError` with file and line for a feature that is not as it should be.
    """
    rows: list[tuple[int, Row]] = []
    parents: dict[str, tuple[str, str, str]] = {}
    place: dict[str, int] = {}
    best: dict[str, int] = {}
    transcripts: set[str] = set()
    for number, line, kind in _features(lines):
        is_gene = _is_gene(kind, line)
        if not is_gene and tss == "gene":
            continue
        where = f"{path}:{number}"
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) != 9:
            raise GeneTableError(f"{where}: {len(fields)} tab-separated columns, GTF has 9")
        attributes = _attributes(fields[8])
        contig, strand, position = _five_prime(fields, where)
        if is_gene:
            own = _gene_id(attributes, where)
            gene = without_version(own), _symbol(attributes), _type(attributes)
            parents[attributes.get("ID", [own])[0]] = parents[own] = gene
            best.pop(gene[0], None)  # the same id on X and then on Y
            if tss != "transcript":
                place[gene[0]] = len(rows)
                rows.append((number, (gene[0], gene[1], contig, strand, position, gene[2])))
            continue
        parent = attributes.get("Parent", attributes.get("gene_id", [""]))[0]
        transcripts.update(attributes.get("ID", ()))
        if parent in transcripts:  # a mature miRNA
            continue
        gene = parents.get(parent, (without_version(parent), _symbol(attributes), ""))
        if tss == "transcript":
            name = without_version(_transcript_id(attributes, where))
            kind = gene[2] or _type(attributes)
            rows.append((number, (name, gene[1], contig, strand, position, kind)))
            continue
        ranks = [_RANK.get(tag.replace(" ", "_"), 9) for tag in attributes.get("tag", ())]
        rank = min(ranks, default=9)
        if gene[0] in place and rank < best.get(gene[0], 9):
            best[gene[0]] = rank
            row = place[gene[0]]
            kept = rows[row][1]
            rows[row] = rows[row][0], (*kept[:4], position, kept[5])
    return _apart(rows)


def _features(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    """Lines of genes and transcripts, with the kind of feature; quick on all others."""
    for number, line in lines:
        start = line.find("\t", line.find("\t") + 1) + 1
        kind = line[start : line.find("\t", start)]
        wanted = _is_gene(kind, line) or "transcript" in kind or "RNA" in kind
        if (wanted or kind.endswith("segment")) and not line.startswith("#"):
            yield number, line, kind


def _is_gene(kind: str, line: str) -> bool:
    """Of a gene or, in GFF3 of Ensembl before release 90, of a ``lincRNA_gene`` and the like."""
    return kind in _GENES or kind.endswith("_gene") or "\tID=gene:" in line


def _attributes(text: str) -> dict[str, list[str]]:
    """Values by key, in order, of GTF (``key "value";``) or GFF3 (``key=value;``), of some keys."""
    found: dict[str, list[str]] = {}
    pairs = _GTF_ATTRIBUTE.findall(text)
    if pairs:
        for key, value in pairs:
            found.setdefault(key, []).append(value)
        return found
    for part in text.split(";"):
        key, _, value = part.strip().partition("=")
        found[key] = [unquote(item) for item in value.split(",")]
    return found


def _five_prime(fields: list[str], where: str) -> tuple[str, int, int]:
    contig, strand = fields[0], fields[6]
    if strand not in STRANDS:
        raise GeneTableError(f"{where}: strand {strand!r} is not + or -")
    for text in fields[3:5]:
        if not text.isascii() or not text.isdigit() or len(text) > 12:
            raise GeneTableError(f"{where}: {text!r} is not a position")
    start, end = int(fields[3]), int(fields[4])
    if not 1 <= start <= end:
        raise GeneTableError(f"{where}: interval {start}-{end} is empty or not 1-based")
    return contig, STRANDS[strand], start if strand == "+" else end


def _gene_id(attributes: dict[str, list[str]], where: str) -> str:
    for key in ("gene_id", "ID"):
        if attributes.get(key, [""])[0]:
            return _PREFIX.sub("", attributes[key][0], count=1)
    raise GeneTableError(f"{where}: a gene without gene_id or ID", "is this GTF or GFF3?")


def _transcript_id(attributes: dict[str, list[str]], where: str) -> str:
    for key in ("transcript_id", "ID"):
        if attributes.get(key, [""])[0]:
            return _PREFIX.sub("", attributes[key][0], count=1)
    raise GeneTableError(f"{where}: a transcript without transcript_id or ID", "is this GTF?")


def _symbol(attributes: dict[str, list[str]]) -> str:
    return next((attributes[k][0] for k in ("gene_name", "Name", "gene") if k in attributes), "")


def _type(attributes: dict[str, list[str]]) -> str:
    keys = ("gene_type", "gene_biotype", "biotype")
    return next((attributes[key][0] for key in keys if key in attributes), "")


def _apart(rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Genes of the pseudo-autosomal regions that stand on X and on Y: Y's get ``_PAR_Y``."""
    on_x = {row[0] for _, row in rows if chromosome(row[2]) == "X"}
    return [
        (number, (f"{row[0]}_PAR_Y", *row[1:]))
        if row[0] in on_x and chromosome(row[2]) == "Y"
        else (number, row)
        for number, row in rows
    ]
