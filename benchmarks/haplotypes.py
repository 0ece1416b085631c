"""How fast are haplotypes scored, and what do sharing and cones save? Two ratios, in one run.

One gene, phased genotypes of samples who share a few haplotypes, with some indels. Shared: as
`score haplotypes` does it, without the alleles alone. Each copy alone: nothing is kept from one to
the next. Whole windows: those that each distinct haplotype touches are swept. `--full` has weights
of full size.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.common import arguments, report, seconds, world
from seal_store.common.device import inference
from seal_store.run.haplotypes_values import frame_of
from seal_store.scoring.joint import Carried, Frame, runs_of
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.variants.alleles import Change

VARIANTS, INDELS = 20, 2


def changes_of(frame: Frame, rng: np.random.Generator) -> list[Change]:
    """Alleles some 1,000 bp apart, sorted: SNVs and a few deletions."""
    found = []
    deleted = set(rng.choice(VARIANTS, INDELS, replace=False).tolist())
    for i, offset in enumerate(range(-10_000, 10_000, 20_000 // VARIANTS)):
        start = frame.tss + offset + int(rng.integers(0, 400))
        ref = frame.ref[start - frame.first : start - frame.first + 1].decode()
        alt = "" if i in deleted else "CGTA"["ACGT".index(ref)]
        found.append(Change(start, 3 if i in deleted else 1, alt))
    return found


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--full", {"action": "store_true"}),
        ("--samples", {"type": int, "default": 50}),
        ("--distinct", {"type": int, "default": 10}),
    )
    args.tiny = not args.full
    rng = np.random.default_rng(1)
    store = world(args, 2).store
    evaluator = Scorer(store, ScoreOptions(device=args.device)).engine.evaluator
    frame, sums = frame_of(store, 0), torch.from_numpy(store.aggregated(0))[None]
    sums = sums.to(evaluator.device)
    alleles = changes_of(frame, rng)
    patterns = [rng.random(VARIANTS) < 0.3 for _ in range(args.distinct)]
    known = [tuple(c for c, has in zip(alleles, own, strict=True) if has) for own in patterns]
    copies = [known[i] for i in rng.integers(0, len(known), 2 * args.samples).tolist()]
    distinct = list(dict.fromkeys(copies))

    def effects(haplotypes: list[tuple[Change, ...]]) -> np.ndarray:
        made = [frame.haplotype(changes) for changes in haplotypes]
        return Carried(evaluator, 0, frame, sums).effects([h for h in made if h is not None])

    def swept() -> None:
        """The touched windows of each distinct haplotype; the genome's are taken for known."""
        for changes in distinct:
            haplotype = frame.haplotype(changes)
            assert haplotype is not None
            for start, stop in runs_of(haplotype.touched):
                begin = frame.grid.step * start
                evaluator.swept([haplotype.alt[begin:][: frame.grid.run_length(stop - start)]])

    alone = lambda: np.concatenate([effects([copy]) for copy in copies])  # noqa: E731
    with inference(tf32=False):
        together = effects(distinct)[[distinct.index(copy) for copy in copies]]
        off = float(np.abs(alone() - together).max() / np.abs(together).max())
        ways = {
            "shared, as `score haplotypes`": lambda: effects(distinct),
            "each copy alone": alone,
            "distinct ones, whole windows swept": swept,
        }
        took = {name: seconds(work, device=args.device) for name, work in ways.items()}
    least = took["shared, as `score haplotypes`"]
    rows = [
        {
            "way": name,
            "copies/s": len(copies) / t,
            "distinct/s": len(distinct) / t,
            "ratio": t / least,
        }
        for name, t in took.items()
    ]
    rows[1]["largest difference"] = off
    title = f"Haplotypes of a gene: {len(copies)} copies, {len(distinct)} distinct, "
    report(
        f"haplotypes-{'tiny' if args.tiny else 'full'}", title + f"{VARIANTS} alleles", rows, args
    )


if __name__ == "__main__":
    main()
