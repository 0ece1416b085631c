"""What the benchmarks share: full-size seeded weights, the machine, tables, the published way."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.model.beluga import Beluga
from seal_store.model.config import CnnConfig
from seal_store.model.grid import Grid, aggregate, decay_weights
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import load_heads
from seal_store.reference.fasta import one_hot
from seal_store.scoring.haplotype import SHIFTS
from seal_store.store.store import Store, sequence_start, software
from seal_store.synthetic import (
    FULL_LATENT,
    TINY,
    TINY_LATENT,
    random_bases,
    write_fasta,
    write_models,
)

ROOT = Path(__file__).resolve().parents[1]


def arguments(description: str, *extra: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Options that every benchmark takes, and its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-out", help="folder for JSON")
    parser.add_argument("--work", type=Path, default=ROOT / "bench-out" / "work")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="tiny CNN: only to try the script")
    for name, options in extra:
        parser.add_argument(name, **options)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def seconds(work: Callable[[], Any], repeat: int = 1, device: str = "cpu") -> float:
    """Shortest wall time of ``repeat`` runs."""
    best = float("inf")
    for _ in range(repeat):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_peak(device: str = "cpu") -> float:
    """Measured GFLOP/s of a large float32 matrix product (median of five)."""
    size = 4096 if device.startswith("cuda") else 2048
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    a @ b
    times = sorted(seconds(lambda: a @ b, device=device) for _ in range(5))
    return 2 * size**3 / times[2] / 1e9


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """Where and with what a figure was measured."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    cuda = args.device.startswith("cuda")
    return {
        "cpu": cpu,
        "threads": args.threads,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "commit": git.stdout.strip(),
        "software": software(),
        "python": platform.python_version(),
        "weights": "synthetic, " + ("tiny" if args.tiny else "full size"),
    }


def report(name: str, title: str, rows: Sequence[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print a table and write ``<out>/<name>.json``."""
    facts = machine(args)
    print(f"\n{title}\n{facts['cpu']}, {facts['threads']} threads, {facts['weights']} weights")
    print(markdown(rows))
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"title": title, "machine": facts, "rows": list(rows)}, indent=1)
    (args.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(name), *(len(c[i]) for c in cells)) for i, name in enumerate(names)]
    line = "| " + " | ".join(n.ljust(w) for n, w in zip(names, widths, strict=True)) + " |"
    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    body = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join([line, rule, *body])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class BenchWorld:
    """A genome with genes far apart, full-size weights and a finished store."""

    store: Store
    sets: list[HeadSet]
    options: BuildOptions


def world(args: argparse.Namespace, genes: int, **changes: Any) -> BenchWorld:
    """Made once in ``--work`` and used again: random sequence, seeded weights."""
    tiny = args.tiny
    root = args.work / f"{'tiny' if tiny else 'full'}-{genes}"
    spacing = 60_000
    if not (root / "ready").exists():
        root.mkdir(parents=True, exist_ok=True)
        write_fasta(root / "genome.fa", {"chr1": random_bases(spacing * (genes + 1), 1)})
        bed = [
            f"chr1\t{spacing * i - 1}\t{spacing * i}\t{'+-'[i % 2]}\tG{i:04d}\n"
            for i in range(1, genes + 1)
        ]
        (root / "genes.bed").write_text("".join(bed), encoding="utf-8")
        config, latent = (TINY, TINY_LATENT) if tiny else (CnnConfig(), FULL_LATENT)
        write_models(root, config, latent, 1)
        (root / "ready").touch()
    options = BuildOptions(
        genome=root / "genome.fa",
        genes=root / "genes.bed",
        cnn=root / "deepsea.beluga.pth",
        heads=(root / "model",),
        out=root / "store.zarr",
        command="benchmark",
    )
    if not (root / "store.zarr").exists():
        build(options, args.device)
    return BenchWorld(Store(options.out), load_heads(root / "model"), options)


def published(
    model: Beluga, head_set: HeadSet, store: Store, variants: Sequence[tuple[int, int, str]]
) -> np.ndarray:
    """SNVs (gene, pos, alt) for one model set, the way that the published command works.

    Nine shifts, both alleles, both strands, whole windows, all variants in one batch a shift;
    the gene's profile is aggregated anew for each and the heads run twice. The scripts' start-up
    and reloading of weights is left out. Returns effects ``(variants, contexts)``.
    """
    grid = Grid()
    total = np.zeros((len(variants), len(head_set.contexts)))
    for shift in SHIFTS:
        windows = []
        for gene, pos, alt in variants:
            bases, start = store.sequence(gene).tobytes(), sequence_start(_tss(store, gene))
            changed = bases[: pos - 1 - start] + alt.encode() + bases[pos - start :]
            low = pos + int(shift) - 1000 - start
            windows += [one_hot(s[low : low + 2000]) for s in (bases, changed)]
        rows = model(torch.from_numpy(np.stack(windows))).numpy()
        sums = []
        for i, (gene, pos, _) in enumerate(variants):
            strand = int(store.array("strand")[gene])  # type: ignore[arg-type]
            offset = (pos - _tss(store, gene) + int(shift)) * strand
            row = int(grid.nearest_bin(np.array(offset)))
            offsets = grid.offsets.copy()
            offsets[row] = offset
            for features in rows[2 * i : 2 * i + 2]:
                placed = store.features(gene)
                placed[row] = features
                sums.append(aggregate(decay_weights(offsets), placed).ravel())
        out = _heads(head_set, torch.from_numpy(np.stack(sums))).numpy()
        total += out[1::2] - out[::2]
    return total


def _tss(store: Store, gene: int) -> int:
    return int(store.array("tss")[gene])  # type: ignore[arg-type]


def _heads(s: HeadSet, x: Tensor) -> Tensor:
    w1, b1, w2, b2 = (torch.from_numpy(a) for a in (s.w1, s.b1, s.w2, s.b2))
    return torch.relu(x @ w1.T + b1) @ w2.T + b2
