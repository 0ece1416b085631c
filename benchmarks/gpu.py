"""How fast is a GPU? Building with writing, extrapolated to hg19, and sparse SNVs a second."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace

import numpy as np
import torch

from benchmarks.common import arguments, matmul_peak, report, seconds, world
from benchmarks.score import sparse
from seal_store.building.build import build
from seal_store.common.device import inference
from seal_store.model.sweep import sweep
from seal_store.reference.fasta import one_hot
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele

HG19_GENES = 24_339


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--genes", {"type": int, "default": 200}),
        ("--variants", {"type": int, "default": 32_768}),
        ("--batches", {"type": int, "nargs": "+", "default": [256, 1024]}),
    )
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    args.device = "cuda"
    store = world(args, args.genes).store
    few, many = _build(args, args.genes // 4), _build(args, args.genes)
    per_gene = (many - few) / (args.genes - args.genes // 4)
    all_genes = (many + per_gene * (HG19_GENES - args.genes)) / 60
    rows = [
        {"work": "float32 matrix products, GFLOP/s", "figure": matmul_peak(args.device)},
        {"work": "sweep of one gene, ms", "figure": _sweep(store) * 1e3},
        {"work": f"build, {args.genes} genes, writing included, s", "figure": many},
        {"work": "the same, each further gene, ms", "figure": per_gene * 1e3},
        {"work": f"extrapolated to {HG19_GENES} genes, minutes", "figure": all_genes},
    ]
    for batch in args.batches:
        alleles = sparse(store, args.variants)
        name = f"SNVs a second, grid, {len(store.contexts()[0])} contexts, --batch {batch}"
        rows.append({"work": f"sparse {name}", "figure": _rate(store, alleles, batch)})
    alleles = list(saturation(store, str(store.gene_id[0]), args.variants // 6))
    rows.append({"work": f"saturation, {name}", "figure": _rate(store, alleles, batch)})
    alleles = sparse(store, args.variants // 4)
    figure = _rate(store, alleles, 64, scheme="centered")
    rows.append({"work": "sparse SNVs a second, centered, --batch 64", "figure": figure})
    report("gpu", "GPU", rows, args)


def _rate(store: Store, alleles: list[Allele], batch: int, **options: str) -> float:
    scorer = Scorer(store, ScoreOptions(device="cuda", batch=batch, **options))  # type: ignore[arg-type]
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
    """Seconds of the CNN over one gene's 40 kb, nothing moved to or from the host."""
    model = store.cnn().to("cuda")
    bases = store.sequence(0)[2500 : 2500 + 200 * 199 + 2000]
    x = torch.from_numpy(one_hot(np.asarray(bases)))[None].to("cuda")
    with inference():
        sweep(model, x)
        return seconds(lambda: model.output(sweep(model, x)).mean(2), repeat=10, device="cuda")


if __name__ == "__main__":
    main()
