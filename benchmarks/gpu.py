"""How fast is a GPU? Building with writing, extrapolated to hg19, and sparse SNVs a second."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace

import torch

from benchmarks.common import arguments, report, world
from benchmarks.score import workloads
from seal_store.build import build
from seal_store.score import ScoreOptions, Scorer

HG19_GENES = 24_339


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--genes", {"type": int, "default": 200}),
        ("--variants", {"type": int, "default": 4096}),
        ("--batch", {"type": int, "default": 256}),
    )
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    args.device = "cuda"
    setup = world(args, args.genes)
    out = setup.store.path.with_name("again.zarr")
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    build(replace(setup.options, out=out), args.device)
    per_gene = (time.perf_counter() - begin) / args.genes
    shutil.rmtree(out)
    alleles = workloads(setup.store, args.variants)["sparse SNVs, grid"]
    scorer = Scorer(setup.store, ScoreOptions(device=args.device, batch=args.batch))
    list(scorer.score(alleles[: args.batch]))
    begin = time.perf_counter()
    list(scorer.score(alleles))
    rate = len(alleles) / (time.perf_counter() - begin)
    rows = [
        {"work": f"build {args.genes} genes, writing included", "per gene, ms": per_gene * 1e3},
        {"work": f"extrapolated to {HG19_GENES} genes", "minutes": per_gene * HG19_GENES / 60},
        {"work": "sparse SNVs, grid, 802 contexts", "per second": rate},
    ]
    report("gpu", "GPU", rows, args)


if __name__ == "__main__":
    main()
