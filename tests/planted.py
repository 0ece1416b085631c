"""Training inputs with a known answer: genes whose expression a known network decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CHROMOSOMES = [f"chr{i}" for i in range(1, 11)]


@dataclass(frozen=True)
class Planted:
    """Paths of an NPY, its gene table and an expression table; what the latter was made of."""

    features: Path
    genes: Path
    expression: Path
    x: np.ndarray
    signal: np.ndarray

    def args(self, **instead: object) -> list[object]:
        """The input options of a command, some replaced, None leaves one out."""
        given = {n: instead.get(n, getattr(self, n)) for n in ("features", "genes", "expression")}
        return [a for name, path in given.items() if path is not None for a in (f"--{name}", path)]


def gene_ids(count: int) -> list[str]:
    return [f"GENE{i:05d}" for i in range(count)]


def write_genes(path: Path, contigs: Sequence[str], types: Sequence[str] | None = None) -> Path:
    lines = ["id,symbol,seqnames,strand,TSS,CAGE_representative_TSS,type"]
    for i, (gene, contig) in enumerate(zip(gene_ids(len(contigs)), contigs, strict=True)):
        kind = types[i] if types else "protein_coding"
        lines.append(f"{gene},S{i},{contig},{'+-'[i % 2]},{1000 + i},{1000 + i},{kind}")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_expression(
    path: Path, genes: Sequence[str], contexts: Sequence[str], values: np.ndarray
) -> Path:
    lines = ["\t".join(("gene_id", *contexts))]
    for gene, row in zip(genes, values, strict=True):
        lines.append("\t".join((gene, *(repr(float(v)) for v in row))))
    path.write_text("\n".join(lines) + "\n")
    return path


def network(
    rng: np.random.Generator, inputs: int, hidden: int, contexts: int
) -> tuple[np.ndarray, np.ndarray]:
    """First layer ``(inputs, hidden)`` and second ``(hidden, contexts)``."""
    first = rng.standard_normal((inputs, hidden)) / np.sqrt(inputs)
    return first, rng.standard_normal((hidden, contexts)) / np.sqrt(hidden)


def write_planted(
    folder: Path,
    rng: np.random.Generator,
    *,
    genes: int = 400,
    layers: tuple[np.ndarray, np.ndarray] | None = None,
    x: np.ndarray | None = None,
    contexts: Sequence[str] = ("a", "b", "c", "d"),
    measured: np.ndarray | None = None,
    noise: float = 0.05,
    inputs: int = 40,
) -> Planted:
    """Expression exp(2 signal + noise), signal = relu(x first) second; chr1 to chr10 in turn.

    ``measured`` are the genes that the expression table has; all by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    x = rng.standard_normal((genes, inputs)).astype(np.float32) if x is None else x
    first, second = layers or network(rng, x.shape[1], 6, len(contexts))
    signal = np.maximum(x @ first, 0) @ second
    values = np.exp(2 * signal + noise * rng.standard_normal(signal.shape))
    np.save(folder / "features.npy", x)
    contigs = [CHROMOSOMES[i % len(CHROMOSOMES)] for i in range(len(x))]
    rows = np.arange(len(x)) if measured is None else measured
    ids = np.array(gene_ids(len(x)))[rows]
    return Planted(
        folder / "features.npy",
        write_genes(folder / "genes.csv", contigs),
        write_expression(folder / "expression.tsv", list(ids), contexts, values[rows]),
        x,
        signal,
    )
