"""VCF text of versions 4.1 to 4.5 as it is found, and what must hold of it once annotated.

A file is drawn from a ``random.Random``: header, samples, spacing, and records of every kind near
genes and elsewhere, some with columns missing, too many, or malformed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pysam
from hostile import Places

from seal_store.scoring.assign import REASONS

FIXED = "#CHROM POS ID REF ALT QUAL FILTER INFO".split()
META = (
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">',
    '##INFO=<ID=END,Number=1,Type=Integer,Description="End, of \\"block\\"">',
    '##INFO=<ID=AF,Number=A,Type=Float,Description="a,b=<c>",Source="x",Version="3">',
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
    '##FORMAT=<ID=PL,Number=G,Type=Integer,Description="Likelihoods">',
    '##FILTER=<ID=q10,Description="Quality below 10">',
    '##ALT=<ID=DEL,Description="Deletion">',
    '##ALT=<ID=NON_REF,Description="Any other allele">',
    "##META=<ID=Assay,Type=String,Number=.,Values=[WholeGenome, Exome]>",
    "##PEDIGREE=<ID=child,Father=f,Mother=m>",
    "##SAMPLE=<ID=s1,Assay=Exome>",
    "##contig=<ID=HLA-A*01:01:01:01,length=3503>",
    "##contig=<ID=chrUn_x>",
    "##fileDate=20260101",
    "##reference=file:///seq/genome.fasta",
    '##source=caller v1, <odd> "text" é',
    "##phasing=partial",
)
IDS = (".", "rs1", "rs1;rs2", "COSV-7_é", "a\u200bb", "=1+1", "x" * 300)
SYMBOLIC = ("<DEL>", "<DUP:TANDEM>", "<NON_REF>", "<*>", "<INS:ME:ALU>", "<CNV>")
BREAKENDS = ("G]17:198982]", "]13:123456]T", "[17:1[A", "C[<ctg1>:7[", ".A", "A.", "[<c>:1[A")
QUALS = (".", "29", "29.50", "3e-05", "0", "1e9", "inf")
FILTERS = (".", "PASS", "q10", "q10;s50", "0")
INFOS = (".", "DP=14", "DB;DP=3", "AF=0.5,0.25;DP=1", "X=a%3Bb", "END=9", "DP=1;", ";", "S=a b")
GENOTYPES = ("0/1", "0|1", "./.", ".", "1", "0/1:10,0,9", "./.:.", "0/0/1", "0|0:.")


@dataclass
class Drawn:
    """A file: its bytes, and the columns of its records and names of its header as they stand."""

    content: bytes = b""
    names: list[str] = field(default_factory=list)
    meta: list[str] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    is_readable: bool = True
    """Whether htslib reads all of its records."""


def drawn(rng: Random, places: Places, lengths: dict[str, int]) -> Drawn:
    """Draw a file; a contig whose length is in the header has its own, as in ``lengths``."""
    found = Drawn()
    samples = rng.choice(([], [], ["s1"], ["s1", "s2"], ["Sample 1", "é", "3"]))
    has_header = rng.random() < 0.9
    lines = _header(rng, found, samples, lengths) if has_header else []
    end = rng.choice(("\n", "\n", "\n", "\r\n"))
    for _ in range(rng.choice((0, 1, 2, 4))):
        columns = _record(rng, places, lengths, samples)
        columns, line = _odd(rng, found, columns, is_headed=has_header)
        found.records.append(columns)
        lines.append(line)
        if rng.random() < 0.05:
            lines.append(rng.choice(("", "# comment")))
    found.records.append(good := _record(rng, places, lengths, samples))
    lines.append("\t".join(good))
    if not has_header:
        width = len(found.records[0])
        made = ["FORMAT", *(f"SAMPLE{i}" for i in range(1, width - 8))] if width > 9 else []
        found.names = [*FIXED, *made]
    bom = "\ufeff" if rng.random() < 0.05 else ""
    found.content = (bom + end.join(lines) + (end if rng.random() < 0.9 else "")).encode()
    return found


def _header(rng: Random, found: Drawn, samples: list[str], lengths: dict[str, int]) -> list[str]:
    version = f"##fileformat=VCFv4.{rng.randint(1, 5)}"
    contigs = [f"##contig=<ID={name},length={n},md5=x>" for name, n in lengths.items()]
    more = rng.sample(META, rng.randint(0, len(META)))
    found.meta = [version, *rng.choice(([], contigs)), *more]
    blank = rng.choice(("", "", "", " ", "\t"))
    found.meta = [line + blank for line in found.meta]
    found.names = [*FIXED, *(["FORMAT", *samples] if samples else ())]
    mixed = rng.random() < 0.2
    head = rng.choice((" ", "  ", "\t")).join(found.names[:8]) if mixed else "\t".join(FIXED)
    named = head + "".join("\t" + name for name in found.names[8:])
    return [*found.meta, named + rng.choice(("", "", "", "\t", " " * (not samples)))]


def _record(rng: Random, places: Places, lengths: dict[str, int], samples: list[str]) -> list[str]:
    contig, pos, bases = rng.choice(places.places)
    ref = bases[: rng.choice((1, 1, 1, 2, 9))]
    alts = [next(b for b in "ACGT" if b != ref[0])]
    kind = rng.randrange(12)
    if kind == 0:
        alts = [rng.choice(SYMBOLIC)]
    elif kind == 1:
        alts = [rng.choice(BREAKENDS)]
    elif kind == 2:
        alts = [*alts, *rng.sample((*SYMBOLIC, "*", ref + "A", ref, "N", "TTT"), 3)]
    elif kind == 3:
        ref, alts = rng.choice((("A" * 2_000, ["A"]), ("A", ["ACGT" * 500]), ("a", ["g"])))
    elif kind == 4:
        pos, ref, alts = rng.choice(((0, "N", [".[1:5["]), (lengths[contig] + 1, "N", ["<DUP>"])))
    elif kind == 5:
        contig, pos = rng.choice((("chrUn_x", 7), ("HLA-A*01:01:01:01", 3), (contig, 10**8)))
    elif kind == 6:
        alts = [rng.choice((".", "*", "R"))]
    if rng.random() < 0.2:
        contig = contig.removeprefix("chr")
    fixed = [contig, str(pos), rng.choice(IDS), ref, ",".join(alts)]
    rest = [rng.choice(QUALS), rng.choice(FILTERS), rng.choice(INFOS)]
    if kind in (0, 6) and rng.random() < 0.5:
        rest[2] = f"END={pos + 500}"
    own = [rng.choice(("GT", "GT:PL")), *(rng.choice(GENOTYPES) for _ in samples)]
    if samples and own[0] == "GT":
        own[1:] = [genotype.partition(":")[0] for genotype in own[1:]]
    return [*fixed, *rest, *(own if samples else ())]


def _odd(
    rng: Random, found: Drawn, columns: list[str], *, is_headed: bool
) -> tuple[list[str], str]:
    """The columns of a record that may be odd, and its line."""
    kind = rng.randrange(20)
    if kind == 0 and is_headed:
        columns = [*columns, rng.choice(("", "0/1"))]
    elif kind == 1:
        columns = columns[: rng.choice((5, 6, 7))]
    elif kind == 2 and is_headed:
        columns = rng.choice((columns[:3], [columns[0], "x1", *columns[2:]], ["oops"]))
        found.is_readable = False
    elif kind == 3 and not any(" " in column or not column for column in columns):
        return columns, rng.choice((" ", "  ")).join(columns)
    return columns, "\t".join(columns)


def check(found: Drawn, annotated: bytes, path: Path) -> None:
    """The input and SEAL_* fields, byte by byte and as pysam reads it from ``path``."""
    lines = annotated.decode().split("\n")
    assert lines.pop() == ""
    head = [line for line in lines if line.startswith("#")]
    own = [line for line in head if not re.match("##(INFO=<ID=)?SEAL_", line)]
    assert own[:-1] == (found.meta or ["##fileformat=VCFv4.3"])
    assert own[-1].split("\t") == found.names
    records = [line.split("\t") for line in lines[len(head) :]]
    assert len(records) == len(found.records)
    for old, new in zip(found.records, records, strict=True):
        whole = old + ["."] * (len(found.names) - len(old))
        assert [*new[:7], *new[8:]] == [*whole[:7], *whole[8:]]
        kept = "" if whole[7] == "." else whole[7].rstrip(";")
        info, _, ours = new[7].partition("SEAL_")
        assert info == (f"{kept};" if kept else "")
        assert not re.search(r"(^|;)(?!SEAL_)", f"SEAL_{ours}")
        (status,) = re.findall(r"SEAL_STATUS=([^;]*)", new[7])
        assert len(status.split(",")) == len(whole[4].split(","))
        assert set(status.split(",")) <= {*REASONS, "scored", "swapped", "outside_grid"}
    if found.is_readable:
        path.write_bytes(annotated)
        before = pysam.set_verbosity(0)
        try:
            with pysam.VariantFile(str(path)) as handle:
                read = [(r.chrom, r.pos, len(r.info["SEAL_STATUS"])) for r in handle]
        finally:
            pysam.set_verbosity(before)
        assert read == [(r[0], int(r[1]), len(r[4].split(","))) for r in found.records]
