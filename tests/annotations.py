"""GTF and GFF3 as others write them, made from genes that are known: what must be read of them.

A file is drawn from a ``random.Random``: genes with transcripts, written in one of several dialects
with ids, prefixes, versions, quotes and tags as these have them, among lines that mean nothing
here, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from seal_store.reference.gene_files import read_genes

RANKS = {"MANE_Select": 0, "Ensembl_canonical": 1, "RefSeq_Select": 1, "basic": 9}
Truth = dict[str, tuple[str, int, int]]


@dataclass
class Transcript:
    name: str
    start: int
    end: int
    tags: list[str]

    def tss(self, strand: int) -> int:
        return self.start if strand > 0 else self.end


@dataclass
class Gene:
    name: str
    contig: str
    strand: int
    transcripts: list[Transcript]
    with_line: bool = True
    with_transcripts: bool = True

    @property
    def ends(self) -> tuple[int, int]:
        return min(t.start for t in self.transcripts), max(t.end for t in self.transcripts)


def genes(rng: Random) -> list[Gene]:
    found = []
    for i in range(rng.randint(1, 6)):
        strand = rng.choice((1, 1, 1, -1, -1, -1, 0))
        name = rng.choice((f"ENSG{i:011d}", f"G{i}", f"maker-chr1-gene-{i}.7", f"a|b.{i}"))
        transcripts = []
        for j in range(rng.randint(1, 4)):
            start = rng.randint(1, 5_000)
            tags = rng.sample(sorted(RANKS), rng.choice((0, 0, 1, 2)))
            end = start + rng.randint(0, 900)
            transcripts.append(Transcript(f"ENST{i:05d}{j:06d}", start, end, tags))
        contig = rng.choice(("chr1", "2", "chrX", "NC_000003.11"))
        found.append(Gene(name, contig, strand, transcripts))
        if contig == "chrX" and rng.random() < 0.5:
            found.append(Gene(name, "chrY", strand, transcripts))
    return found


def truth(found: list[Gene], tss: str) -> Truth:
    """Contig, strand and TSS by id, straight from the genes."""
    table: Truth = {}
    for gene in found:
        suffix = "_PAR_Y" if gene.contig == "chrY" else ""
        if not gene.strand:
            continue
        low, high = gene.ends
        position = low if gene.strand > 0 else high
        if tss == "canonical" and gene.with_transcripts:
            ranked = [
                (min(RANKS[tag] for tag in t.tags), gene.strand * t.tss(gene.strand))
                for t in gene.transcripts
                if t.tags and min(RANKS[tag] for tag in t.tags) < 9
            ]
            position = gene.strand * min(ranked)[1] if ranked else position
        if tss != "transcript":
            table[gene.name + suffix] = gene.contig, gene.strand, position
            continue
        for t in gene.transcripts:
            table[t.name + suffix] = gene.contig, gene.strand, t.tss(gene.strand)
    return table


def gtf(rng: Random, found: list[Gene]) -> list[str]:
    version = rng.choice(("", ".3", ".12_2"))
    quote = rng.choice(('"', '"', ""))
    lines = []
    for gene in found:
        gene.with_line = rng.random() < 0.8
        gene.with_transcripts = rng.random() < 0.8
        named = gene.name + (version if gene.name.startswith("ENSG") else "")
        own = f"gene_id {quote}{named}{quote};"
        if gene.with_line:
            lines.append(_line(rng, gene, "gene", gene.ends, f"{own} level 2;"))
        for t in gene.transcripts:
            more = f"{own} transcript_id {quote}{t.name}{version}{quote};"
            tags = "".join(f' tag "{tag}";' for tag in t.tags)
            if gene.with_transcripts:
                lines.append(_line(rng, gene, "transcript", (t.start, t.end), more + tags))
            middle = rng.randint(t.start, t.end)
            lines.append(_line(rng, gene, "exon", (t.start, middle), more))
            lines.append(_line(rng, gene, "exon", (middle, t.end), more))
    if rng.random() < 0.3:
        lines.append(_noise("start_codon", 'gene_id "other"; transcript_id "T9";'))
    return lines


def gff3(rng: Random, found: list[Gene]) -> list[str]:
    style = rng.choice(("ensembl", "refseq", "plain"))
    gene_prefix = {"ensembl": "gene:", "refseq": "gene-", "plain": ""}[style]
    rna_prefix = {"ensembl": "transcript:", "refseq": "rna-", "plain": ""}[style]
    pseudo = rng.random() < 0.3
    lines = []
    for gene in found:
        own = gene_prefix + gene.name.replace("|", "%7C")
        more = f";gene_id={gene.name.replace('|', '%7C')}" if style == "ensembl" else ""
        note = rng.choice(("", ';Note=like "gene" 7', ";Alias=x,y"))
        kind = "pseudogene" if pseudo else rng.choice(("gene", "ncRNA_gene"))
        lines.append(_line(rng, gene, kind, gene.ends, f"ID={own}{more}{note}"))
        for t in gene.transcripts:
            tags = f";tag={','.join(t.tags)}" if t.tags else ""
            attributes = f"ID={rna_prefix}{t.name};Parent={own}{tags}"
            kind = "pseudogene" if pseudo else rng.choice(("mRNA", "lnc_RNA", "transcript"))
            lines.append(_line(rng, gene, kind, (t.start, t.end), attributes))
            within = f"Parent={rna_prefix}{t.name}"
            lines.append(_line(rng, gene, "exon", (t.start, t.end), within))
            if rng.random() < 0.2:  # a mature miRNA
                within = f"ID={rna_prefix}m{t.name};{within}"
                lines.append(_line(rng, gene, "miRNA", (t.start, t.end), within))
    for kind in ("transcriptional_cis_regulatory_region", "RNAi_reagent", "enhancer", "region"):
        if rng.random() < 0.3:
            lines.append(_noise(kind, f"ID=id-{kind}"))
    return lines


def _line(rng: Random, gene: Gene, kind: str, ends: tuple[int, int], attributes: str) -> str:
    strand = {1: "+", -1: "-", 0: "."}[gene.strand]
    end = rng.choice(("\n", "\n", "\n", "\r\n", "\t\n"))
    return f"{gene.contig}\tsrc\t{kind}\t{ends[0]}\t{ends[1]}\t.\t{strand}\t.\t{attributes}{end}"


def _noise(kind: str, attributes: str) -> str:
    return f"chr1\tsrc\t{kind}\t7000\t8000\t.\t+\t.\t{attributes}\n"


def check(rng: Random, tss: str, folder: Path) -> None:
    """Draw a file and read it: its table is the truth, in any order of its lines."""
    found = genes(rng)
    is_gff3 = rng.random() < 0.5
    lines = (gff3 if is_gff3 else gtf)(rng, found)
    if rng.random() < 0.6:
        rng.shuffle(lines)
    for _ in range(rng.randint(0, 3)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(("# comment\n", "\n", "###\n")))
    head = "##gff-version 3\n" if is_gff3 else rng.choice(("", "#!genome-build x\n"))
    tail = "##FASTA\n>chr1 gene\nACGT\n" if is_gff3 and rng.random() < 0.3 else ""
    text = head + "".join(lines) + tail
    expected = truth(found, tss)
    path = folder / "drawn.gtf"
    path.write_text(text, newline="")
    if not expected:
        return
    table = read_genes(path, tss=tss)
    columns = (table.contig.tolist(), table.strand.tolist(), table.tss.tolist())
    read = dict(zip(table.gene_id.tolist(), zip(*columns, strict=True), strict=True))
    assert read == expected, text
    assert table.odd.skipped == sum(not gene.strand for gene in found), text
