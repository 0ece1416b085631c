"""Seeded random worlds in Seal's file formats: for tests and benchmarks.

The weights are random numbers: effects have a plausible size and no meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seal_store.common.files import resource_table
from seal_store.model.config import CnnConfig
from seal_store.model.head_set import SYNTHETIC, WEIGHTS
from seal_store.model.heads import SUMMARY_SUFFIX

TINY = CnnConfig(channels=(8, 8, 12, 12, 16, 16), hidden=24, features=16)
"""The same topology as Beluga with few channels and features."""

FULL_LATENT = {
    "tissue_state_early_fetal_to_adult": 1000,
    "cell_state_mid_fetal_to_adult": 700,
    "cell_state_early_fetal": 700,
}
"""Published head sets and their hidden units."""

TINY_LATENT = dict.fromkeys(FULL_LATENT, 12)
DECAYS = 10


@dataclass(frozen=True)
class World:
    """Paths of a synthetic world."""

    genome: Path
    genes: Path
    cnn: Path
    heads: Path
    variants: Path


def random_bases(length: int, seed: int) -> bytes:
    """``length`` random bases, upper case."""
    rng = np.random.default_rng(seed)
    return np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, length, np.uint8)].tobytes()


def random_weights(config: CnnConfig, seed: int) -> dict[str, Tensor]:
    """A weights file's state dict for ``config``, scaled so that features spread over (0, 1)."""
    rng = np.random.default_rng(seed)
    state = {}
    for key, shape in config.shapes().items():
        scale = np.sqrt(2 / np.prod(shape[1:])) if key.endswith("weight") else 0.05
        values = rng.standard_normal(shape, np.float32) * np.float32(scale)
        state[key] = torch.from_numpy(values)
    state["model.1.4.1.bias"] -= 1.5
    return state


def random_head_set(inputs: int, latent: int, contexts: int, seed: int) -> dict[str, Tensor]:
    """A head set's ``model_state_dict``, scaled so that effects are as small as real ones."""
    rng = np.random.default_rng(seed)
    shapes = {
        "layers.0.weight": (latent, inputs),
        "layers.0.bias": (latent,),
        "layers.2.weight": (contexts, latent),
        "layers.2.bias": (contexts,),
    }
    state = {}
    for key, shape in shapes.items():
        scale = np.float32(0.5) / np.float32(np.sqrt(shape[-1]))
        state[key] = torch.from_numpy(rng.standard_normal(shape, np.float32) * scale)
    return state


def write_head_set(
    root: Path, name: str, contexts: Sequence[str], inputs: int, latent: int, seed: int
) -> Path:
    """Write ``root/model/<name>/`` as Seal lays it out; returns the summary file."""
    state = random_head_set(inputs, latent, len(contexts), seed)
    return save_head_set(root, name, contexts, state, f"{SYNTHETIC} random numbers")


def save_head_set(
    root: Path, name: str, contexts: Sequence[str], state: Mapping[str, Tensor], weights: str
) -> Path:
    """Write ``root/model/<name>/`` of a ``model_state_dict``, ``weights`` saying what they are."""
    folder = root / "model" / name
    folder.mkdir(parents=True, exist_ok=True)
    model = f"model/{name}/{name}_seal_ft_model.pt"
    torch.save({"model_state_dict": dict(state), "optimizer_state_dict": {}}, root / model)
    summary = folder / f"{name}_seal{SUMMARY_SUFFIX}"
    summary.write_text(
        f"Number of latent features: {len(state['layers.0.bias'])}\n"
        f"Optimal finetune model: {model} \n"
        f"Number of specific contexts: {len(contexts)}\n"
        f"Name of specific contexts: {','.join(contexts)} \n"
        f"{WEIGHTS}: {weights}\n",
        encoding="utf-8",
    )
    return summary


def write_models(
    root: Path, config: CnnConfig, latent: Mapping[str, int], seed: int
) -> tuple[Path, Path]:
    """CNN weights and the three head sets with the real context names; their two paths."""
    root.mkdir(parents=True, exist_ok=True)
    cnn = root / "deepsea.beluga.pth"
    torch.save(random_weights(config, seed), cnn)
    for i, (name, units) in enumerate(latent.items()):
        contexts = [row["name"] for row in resource_table("contexts") if row["head_set"] == name]
        write_head_set(root, name, contexts, DECAYS * config.features, units, seed + 1 + i)
    return cnn, root / "model"


def write_fasta(path: Path, contigs: Mapping[str, bytes], width: int = 60) -> None:
    """Write a FASTA file."""
    with path.open("wb") as handle:
        for name, bases in contigs.items():
            handle.write(f">{name}\n".encode())
            for start in range(0, len(bases), width):
                handle.write(bases[start : start + width] + b"\n")


def write_world(root: Path, seed: int = 1) -> World:
    """A small world: three contigs with N runs, twelve genes on both strands, 40 variants.

    One gene lies near a contig's end, one on a contig that the FASTA lacks; the variants are
    SNVs, indels, a multi-allelic record, one REF that differs from the genome, one allele that
    cannot be scored and one variant far from every gene.
    """
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    contigs = {}
    for i, length in enumerate((320_000, 180_000, 120_000), 1):
        bases = bytearray(random_bases(length, seed + i))
        bases[:10_000] = b"N" * 10_000
        gap = int(rng.integers(40_000, length - 40_000))
        bases[gap : gap + 500] = b"N" * 500
        contigs[f"chr{i}"] = bytes(bases)
    genes = _genes(contigs, rng)
    names = ("genome.fa", "genes.bed", "deepsea.beluga.pth", "model", "variants.vcf")
    world = World(*(root / name for name in names))
    write_fasta(world.genome, contigs)
    world.genes.write_text(
        "".join(f"{c}\t{tss - 1}\t{tss}\t{s}\t{gene}\n" for c, tss, s, gene in genes), "utf-8"
    )
    write_models(root, TINY, TINY_LATENT, seed)
    world.variants.write_text(_vcf(contigs, genes, rng), "utf-8")
    return world


_Gene = tuple[str, int, str, str]
"""Contig, TSS, strand and id."""


def _genes(contigs: Mapping[str, bytes], rng: np.random.Generator) -> list[_Gene]:
    genes: list[tuple[str, int, str]] = []
    for contig, bases in contigs.items():
        places = np.linspace(30_000, len(bases) - 60_000, 4 if contig == "chr1" else 3)
        for place in places:
            genes.append((contig, int(place + rng.integers(5_000)), "+-"[len(genes) % 2]))
    genes.append(("chr3", len(contigs["chr3"]) - 4_000, "-"))
    genes.append(("chr4", 50_000, "+"))
    return [(*gene, f"GENE{i:02d}") for i, gene in enumerate(genes, 1)]


def _vcf(contigs: Mapping[str, bytes], genes: Sequence[_Gene], rng: np.random.Generator) -> str:
    rows: list[tuple[str, int, str, str]] = []

    def base(contig: str, pos: int, length: int = 1) -> str:
        return contigs[contig][pos - 1 : pos - 1 + length].decode()

    def other(ref: str) -> str:
        return "ACGT"[("ACGT".index(ref) + int(rng.integers(1, 4))) % 4]

    here = [gene for gene in genes if gene[0] in contigs]
    for contig, tss, _, _ in here:
        for offset in rng.integers(-15_000, 15_000, 3):
            pos = int(min(max(tss + offset, 10_050), len(contigs[contig]) - 50))
            ref = base(contig, pos)
            if ref != "N":
                rows.append((contig, pos, ref, other(ref)))
    contig, tss, _, _ = here[1]
    rows.append((contig, tss - 200, base(contig, tss - 200), base(contig, tss - 200) + "ACGTT"))
    rows.append((contig, tss + 300, base(contig, tss + 300, 4), base(contig, tss + 300)))
    ref = base(contig, tss)
    rows.append((contig, tss, ref, ",".join(b for b in "ACGT" if b != ref)))
    ref = base(contig, tss + 900)
    wrong = other(ref)
    rows.append((contig, tss + 900, wrong, next(b for b in "ACGT" if b not in (ref, wrong))))
    rows.append((contig, tss + 1_500, base(contig, tss + 1_500), "<DEL>"))
    rows.append(("chr2", 10_100, base("chr2", 10_100), other(base("chr2", 10_100))))
    rows.sort(key=lambda row: (row[0], row[1]))
    lengths = [f"##contig=<ID={name},length={len(b)}>" for name, b in contigs.items()]
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    records = [f"{c}\t{p}\tv{i}\t{r}\t{a}\t.\t.\t." for i, (c, p, r, a) in enumerate(rows, 1)]
    return "\n".join(["##fileformat=VCFv4.2", *lengths, columns, *records, ""])
