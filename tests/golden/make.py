"""Write a small store and its results: what every later version must open, verify and score from.

    python tests/golden/make.py N

leaves ``N.tar.xz`` beside this file, with ``store.zarr``, ``results.zarr`` and the ``variants.vcf``
that was scored. Run it once when what is written changes, with a new N; the older ones stay as
they are. It uses commands alone, so that it runs with earlier code too. The numbers are random and
mean nothing.

- ``0``: weights compressed, no ``genes_per_shard`` in the attributes
- ``1``: weights not compressed
- ``2``: ``input_chrom`` and ``gene_symbol`` in results, ``normalize`` in their attributes
- ``3``: calibrated, with calibrated results beside the others; a calibration has no bins
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from seal_store.cli import main as seal_store
from seal_store.model.beluga import CnnConfig
from seal_store.synthetic import DECAYS, random_weights, write_fasta, write_head_set

CONFIG = CnnConfig(channels=(2, 2, 3, 3, 4, 4), hidden=4, features=3)
LENGTH, TSS = 50_000, 24_000
CONTEXTS = ("one", "two")


def write_inputs(folder: Path) -> None:
    """A contig with one gene on each strand, a CNN of three features, two contexts, variants."""
    rng = np.random.default_rng(12)
    # repeats, as random bases do not compress
    runs = np.tile(rng.integers(0, 4, LENGTH // 20), 20)
    runs[rng.integers(0, LENGTH, LENGTH // 200)] = 2
    bases = np.frombuffer(b"ACGT", np.uint8)[runs].tobytes()
    write_fasta(folder / "genome.fa", {"chr1": bases})
    (folder / "genes.bed").write_text(
        f"chr1\t{TSS - 1}\t{TSS}\t+\tPLUS\nchr1\t{TSS + 799}\t{TSS + 800}\t-\tMINUS\n"
    )
    torch.save(random_weights(CONFIG, 12), folder / "cnn.pth")
    write_head_set(folder, "golden", CONTEXTS, DECAYS * CONFIG.features, 4, 12)
    (folder / "variants.vcf").write_text(variants(bases))


def variants(bases: bytes) -> str:
    """SNVs at several distances, an insertion, a deletion, a REF that differs, a symbolic ALT."""
    lines = []
    for i, pos in enumerate((TSS - 15_000, TSS - 700, TSS - 3, TSS + 1, TSS + 640, TSS + 9_000)):
        ref = chr(bases[pos - 1])
        lines.append((pos, ref, "ACGT"[("ACGT".index(ref) + 1 + i % 3) % 4]))
    at = TSS + 1_200
    lines.append((at, chr(bases[at - 1]), chr(bases[at - 1]) + "GATTACA"))
    lines.append((at + 50, bases[at + 49 : at + 55].decode(), chr(bases[at + 49])))
    lines.append((at + 90, *("AC" if bases[at + 89] != ord("A") else "GT")))
    lines.append((at + 99, chr(bases[at + 98]), "<DEL>"))
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    return header + "".join(f"chr1\t{p}\tv{p}\t{r}\t{a}\t.\t.\t.\n" for p, r, a in lines)


def run(*args: object) -> None:
    """A command of seal-store, in this process."""
    seal_store([str(arg) for arg in args], standalone_mode=False)


def make(number: int) -> None:
    """Write the store and the results ``number``."""
    archive = Path(__file__).resolve().parent / str(number)
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        write_inputs(Path())
        inputs = ("--genome", "genome.fa", "--genes", "genes.bed", "--cnn", "cnn.pth")
        run("build", *inputs, "--heads", "model", "--out", "store.zarr", "--device", "cpu")
        run("calibrate", "store.zarr", "variants.vcf", "--genes", "all", "--device", "cpu")
        score = ("score", "vcf", "variants.vcf", "--store", "store.zarr", "--genes", "all")
        run(*score, "--out", "results.zarr", "--device", "cpu")
        run(*score, "--out", "calibrated.zarr", "--device", "cpu", "--calibrated")
        for name in ("genome.fa", "genome.fa.fai", "genes.bed", "cnn.pth"):
            Path(name).unlink(missing_ok=True)
        shutil.rmtree("model")
        shutil.make_archive(str(archive), "xztar", work)


if __name__ == "__main__":
    make(int(sys.argv[1]))
