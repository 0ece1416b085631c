"""What do attributions cost? Six methods beside the scoring itself."""

from __future__ import annotations

import time

from benchmarks.common import arguments, report, world
from benchmarks.score import workloads
from seal_store.scoring.options import CLOSED, AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 128}),
        ("--targets", {"type": int, "default": 20}),
    )
    store = world(args, 8).store
    names, sets = store.contexts()
    spread = range(0, len(names), len(names) // args.targets)
    some = tuple(f"{sets[i]}:{names[i]}" for i in spread)[: args.targets]
    work = workloads(store, args.variants)
    rows: list[dict[str, object]] = []
    for name in ("sparse SNVs, grid", "dense SNVs (1 per 40 bp), grid", "sparse SNVs, centered"):
        alleles, scheme = work[name], name.split(", ")[1]
        alone = 0.0
        for title, options in {
            "scoring alone": None,
            **{f"{m}, {len(some)} targets": AttributionOptions(m, some) for m in CLOSED},
            "deeplift, 802 targets, top 20": AttributionOptions(
                "deeplift", ("all",), top_features=20
            ),
        }.items():
            scorer = Scorer(
                store, ScoreOptions(scheme=scheme, device=args.device), attribution=options
            )
            list(scorer.score(alleles[:2]))
            begin = time.perf_counter()
            list(scorer.score(alleles))
            took = (time.perf_counter() - begin) / len(alleles)
            alone = alone or took
            rows.append(
                {
                    "work": name,
                    "attribution": title,
                    "ms per variant": took * 1e3,
                    "added to scoring, times": took / alone - 1,
                }
            )
    for method in ("gradientShap", "kernelShap", "lime"):
        options = AttributionOptions(method, some[:1])
        scorer = Scorer(store, ScoreOptions(device=args.device), attribution=options)
        begin = time.perf_counter()
        list(scorer.score(work["sparse SNVs, grid"][:1]))
        rows.append(
            {
                "work": "1 sparse SNV, grid",
                "attribution": f"{method}, 1 target, default samples",
                "ms per variant": (time.perf_counter() - begin) * 1e3,
            }
        )
    report("attribution", "Attributions beside scoring", rows, args)


if __name__ == "__main__":
    main()
