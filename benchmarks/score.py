"""How fast is scoring? Sparse SNVs in all contexts, both schemes, against the published way."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.common import arguments, published, report, seconds, world
from seal_store.device import inference
from seal_store.score import ScoreOptions, Scorer
from seal_store.store import Store
from seal_store.variants import Allele


def sparse_snvs(store: Store, count: int, seed: int = 3) -> list[Allele]:
    """Random SNVs, at most a few per gene and far apart."""
    rng = np.random.default_rng(seed)
    table, alleles = store.table, []
    for i in range(count):
        gene = i % len(store)
        tss = int(table.tss[table.row(str(store.gene_id[gene]))])
        offset = int(rng.integers(-19_000, 19_000))
        ref = chr(store.sequence(gene)[22_500 + offset])
        alt = str(rng.choice([b for b in "ACGT" if b != ref]))
        alleles.append(Allele(i + 1, "chr1", tss + offset, "", ref, alt, "snv"))
    return alleles


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 64}),
        ("--baseline", {"type": int, "default": 3}),
    )
    setup = world(args, 2)
    store, sets = setup.store, setup.sets
    alleles = sparse_snvs(store, args.variants)
    model = store.cnn()
    with inference():
        chosen = alleles[: args.baseline]

        def baseline() -> None:
            for s in sets:
                for allele in chosen:
                    gene = 0 if allele.pos < 90_000 else 1
                    published(model, s, store, gene, allele.pos, allele.alt)

        slow = seconds(baseline) / len(chosen)
    rows = [{"work": "published way, 3 model sets", "ms per variant": slow * 1e3, "ratio": 1.0}]
    for scheme in ("grid", "centered"):
        scorer = Scorer(store, ScoreOptions(scheme=scheme, device=args.device))
        list(scorer.score(alleles[:16]))
        fast = seconds(partial(list, scorer.score(alleles)), 1) / len(alleles)
        rows.append(
            {
                "work": f"sparse SNVs, {scheme}, 802 contexts",
                "ms per variant": fast * 1e3,
                "ratio": slow / fast,
            }
        )
    report("score", "Scoring, all 802 contexts", rows, args)


if __name__ == "__main__":
    main()
