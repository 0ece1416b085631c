"""Phased VCFs near the genes of a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pysam

from seal_store.store.store import Store
from seal_store.variants.bases import StoreBases

HEADER = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length={length}>\n"
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
)

PHASE_SET = '##FORMAT=<ID=PS,Number=1,Type=Integer,Description="Phase set">'

Row = tuple[int, str, str, Sequence[str]]
"""POS, REF, ALT and the sample columns."""


def written(
    path: Path,
    rows: Sequence[Row],
    samples: Sequence[str],
    form: str = "GT",
    length: int = 320_000,
) -> Path:
    """A VCF in BGZF with its index; its header declares PS only where ``form`` has it."""
    version, rest = HEADER.format(length=length).split("\n", 1)
    declared = [PHASE_SET] if "PS" in form else []
    lines = [version, *declared, rest + "\t" + "\t".join(samples)]
    for pos, ref, alt, calls in sorted(rows):
        lines.append("\t".join(["chr1", str(pos), ".", ref, alt, ".", ".", ".", form, *calls]))
    path.write_text("\n".join(lines) + "\n")
    return Path(pysam.tabix_index(str(path), preset="vcf", force=True))


def bases_of(store: Store, gene: int) -> tuple[int, Callable[[int, int], str]]:
    """TSS of a gene and its bases from a 1-based position on."""
    contig, bases = str(store.column("contig")[gene]), StoreBases(store)

    def at(pos: int, length: int = 1) -> str:
        return bases(contig, pos, pos + length - 1) or ""

    return int(store.column("tss")[gene]), at


def random_rows(
    store: Store, gene: int, rng: np.random.Generator, count: int, samples: int
) -> list[Row]:
    """Phased alleles, SNVs and indels, none of which touches another."""
    tss, at = bases_of(store, gene)
    rows: list[Row] = []
    for pos in np.unique(rng.integers(tss - 20_000, tss + 20_000, count) // 70 * 70).tolist():
        length, gained = ((1, 1), (1, 1), (1, 1), (1, 4), (5, 1), (2, 2))[int(rng.integers(6))]
        ref = at(pos, length)
        if "N" in ref:
            continue
        tail = "".join(rng.choice(list("ACGT"), gained - 1))
        alt = ref[0] + tail if gained > 1 or length > 1 else "CGTA"["ACGT".index(ref)]
        if alt != ref:
            calls = [f"{a}|{b}" for a, b in rng.integers(0, 2, (samples, 2)).tolist()]
            rows.append((pos, ref, alt, calls))
    return rows


def snv(store: Store, gene: int, offset: int, *calls: str) -> Row:
    """An SNV so many bases right of the TSS of a gene."""
    tss, at = bases_of(store, gene)
    ref = at(tss + offset)
    return tss + offset, ref, "CGTA"["ACGT".index(ref)], calls
