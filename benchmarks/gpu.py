"""How fast is a GPU? Building with writing, extrapolated to hg19, and sparse SNVs a second."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import time
from dataclasses import replace
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import arguments, matmul_peak, report, seconds, world
from benchmarks.score import sparse
from seal_store.building.build import build
from seal_store.building.compute import GENES_AT_ONCE
from seal_store.common.device import inference
from seal_store.model.sweep import sweep
from seal_store.model.trunk import Trunk
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele

HG19_GENES = 24_339
SWEPT = GENES_AT_ONCE["cuda"]


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--genes", {"type": int, "default": 200}),
        ("--variants", {"type": int, "default": 32_768}),
        ("--batches", {"type": int, "nargs": "+", "default": [256, 1024]}),
        ("--processes", {"type": int, "nargs": "*", "default": [2, 3]}),
    )
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    args.device = "cuda"
    rows: list[dict[str, Any]] = []

    def row(work: str, figure: float) -> None:
        print(f"{work}: {figure:.4g}", flush=True)
        rows.append({"work": work, "figure": figure})

    row("float32 matrix products, GFLOP/s", matmul_peak(args.device))
    store = world(args, args.genes).store
    row(f"sweep of {SWEPT} genes at once, each gene, ms", _sweep(store) / SWEPT * 1e3)
    few, many = _build(args, args.genes // 4), _build(args, args.genes)
    per_gene = (many - few) / (args.genes - args.genes // 4)
    row(f"build, {args.genes} genes, writing included, s", many)
    row("the same, each further gene, ms", per_gene * 1e3)
    all_genes = (many + per_gene * (HG19_GENES - args.genes)) / 60
    row(f"extrapolated to {HG19_GENES} genes, minutes", all_genes)
    alleles = sparse(store, args.variants)
    contexts = len(store.contexts()[0])
    for batch in args.batches:
        name = f"SNVs a second, grid, {contexts} contexts, --batch {batch}"
        row(f"sparse {name}", _rate(store, alleles, batch))
    row("the same, --products tf32", _rate(store, alleles, batch, tf32=True))
    for count in args.processes:
        rate = _rate_together(store, args.variants, batch, count)
        row(f"sparse {name}, {count} processes on the GPU, together", rate)
    alleles = list(saturation(store, str(store.gene_id[0]), args.variants // 6))
    row(f"saturation, {name}", _rate(store, alleles, batch))
    alleles = sparse(store, args.variants // 4)
    figure = _rate(store, alleles, 64, scheme="centered")
    row("sparse SNVs a second, centered, --batch 64", figure)
    report("gpu", "GPU", rows, args)


def _rate_together(store: Store, variants: int, batch: int, count: int) -> float:
    """SNVs a second of several processes, their start-up left out."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(count), context.SimpleQueue()
    given = (store.path, variants, batch, barrier, times)
    processes = [context.Process(target=_one_of_them, args=given) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    began, ended = zip(*(times.get() for _ in processes), strict=True)
    return count * variants / (max(ended) - min(began))


def _one_of_them(
    path: Path, variants: int, batch: int, barrier: Barrier, times: SimpleQueue[Any]
) -> None:
    store = Store(path)
    alleles = sparse(store, variants)
    scorer = Scorer(store, ScoreOptions(device="cuda", batch=batch))
    list(scorer.score(alleles[: 4 * batch]))
    barrier.wait()
    began = time.perf_counter()
    list(scorer.score(alleles))
    times.put((began, time.perf_counter()))


def _rate(store: Store, alleles: list[Allele], batch: int, **options: Any) -> float:
    scorer = Scorer(store, ScoreOptions(device="cuda", batch=batch, **options))
    list(scorer.score(alleles[: 4 * batch]))
    return len(alleles) / seconds(lambda: list(scorer.score(alleles)), device="cuda")


def _build(args: argparse.Namespace, genes: int) -> float:
    """Seconds of a build, from the FASTA to the finished store."""
    options = world(args, genes).options
    out = options.out.with_name("again.zarr")
    shutil.rmtree(out, ignore_errors=True)
    took = seconds(lambda: build(replace(options, out=out), args.device))
    shutil.rmtree(out)
    return took


def _sweep(store: Store) -> float:
    """Seconds of the CNN over the 40 kb of several genes, nothing moved to or from the host."""
    model = store.cnn().to("cuda")
    trunk = Trunk(model)
    genes = [store.sequence(gene)[2500 : 2500 + 200 * 199 + 2000] for gene in range(SWEPT)]
    x = trunk.encode([bases.tobytes() for bases in genes]).transpose(1, 2)

    def work() -> Tensor:
        return model.output(sweep(model, x, trunk=trunk)).mean(2)

    with inference():
        work()
        return seconds(work, repeat=10, device="cuda")


if __name__ == "__main__":
    main()
