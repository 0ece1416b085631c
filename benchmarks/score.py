"""How fast is scoring? Sparse and dense SNVs, saturation, indels, both schemes.

The baseline is the published procedure in the same run with the same threads; the second table
sets the CNN part beside what else one could use.
"""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import torch

from benchmarks.common import arguments, matmul_peak, published, report, seconds, world
from seal_store.common.device import inference
from seal_store.model.beluga import Beluga
from seal_store.model.delta import Delta
from seal_store.model.edits import Edit
from seal_store.model.sweep import sweep
from seal_store.reference.fasta import one_hot
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store, grid_slice
from seal_store.variants.alleles import Allele, classify

SHARED = {
    "sparse SNVs, grid": False,
    "dense SNVs (1 per 40 bp), grid": True,
    "saturation, grid": True,
}
"""Workloads of SNVs, and whether neighbours share their reference activations."""

CONE = (615, 608, 145, 138, 2 * 27, 2 * 20)
CHANGED = (16, 23, 8, 15, 2 * 6, 2 * 13)
"""Positions of each convolution: evaluated for an SNV's cone; changed ones at its input."""


def gflop(model: Beluga, units: int, *, shared: bool) -> float:
    """Arithmetic of one SNV with ten windows, both strands; see docs/architecture.md."""
    config = model.config
    products, inner = 0, 4
    for outer, cone, changed in zip(config.channels, CONE, CHANGED, strict=True):
        products += (changed + (0 if shared else cone)) * config.kernel * inner * outer
        inner = outer
    products += 10 * 20 * inner * config.hidden + 2 * 10 * config.hidden * config.features
    return (4 * products + 2 * units * 10 * config.features) / 1e9


def allele(store: Store, gene: int, offset: int, rng: np.random.Generator, kind: str) -> Allele:
    """A variant ``offset`` bp from a gene's TSS."""
    table = store.table
    tss = int(table.tss[table.row(str(store.gene_id[gene]))])
    ref = chr(store.sequence(gene)[22_500 + offset])
    if kind == "snv":
        alt = str(rng.choice([b for b in "ACGT" if b != ref]))
    else:
        alt = ref + "".join(rng.choice(list("ACGT"), int(rng.integers(1, 20))))
    return Allele(1, "chr1", tss + offset, "", ref, alt, classify(ref, alt))


def sparse(store: Store, count: int, kind: str = "snv") -> list[Allele]:
    """Alleles spread over all genes, hundreds of bp from each other."""
    rng = np.random.default_rng(3)
    offsets = rng.permutation(np.arange(-18_900, 18_900, 350))
    return [
        allele(store, i % len(store), int(offsets[i % len(offsets)]), rng, kind)
        for i in range(count)
    ]


def workloads(store: Store, count: int) -> dict[str, list[Allele]]:
    """Alleles by kind of input."""
    rng = np.random.default_rng(3)
    saturated = []
    for offset in range(-count // 6, count // 6 + 1):
        first = allele(store, 0, offset, rng, "snv")
        saturated += [
            Allele(1, first.contig, first.pos, "", first.ref, alt, "snv")
            for alt in "ACGT"
            if alt != first.ref
        ]
    return {
        "sparse SNVs, grid": sparse(store, count),
        "dense SNVs (1 per 40 bp), grid": [
            allele(store, 0, o, rng, "snv") for o in range(-20 * count, 20 * count, 40)
        ],
        "saturation, grid": saturated,
        "insertions, grid": sparse(store, count // 4, "insertion"),
        "sparse SNVs, centered": sparse(store, count // 4),
        "insertions, centered": sparse(store, count // 4, "insertion"),
    }


def alternatives(store: Store, count: int) -> list[dict[str, object]]:
    """Only the CNN: features of the ten windows that an SNV touches, both alleles."""
    model = store.cnn()
    delta = Delta(model)
    rng = np.random.default_rng(4)
    strand = int(store.array("strand")[0])  # type: ignore[arg-type]
    tss = int(store.array("tss")[0])  # type: ignore[arg-type]
    frame = store.sequence(0).tobytes()[grid_slice(store.grid, tss, strand)]
    edits = []
    for place in rng.permutation(np.arange(4_000, 38_000, 500))[:count]:
        first = (int(place) - 2000) // 200 + 1
        alt = bytearray(frame[200 * first : 200 * first + 3800])
        at = int(place) - 200 * first
        alt[at] = int(rng.choice([b for b in b"ACGT" if b != alt[at]]))
        edits.append(Edit(0, first, 10, bytes(alt)))

    def stretch(edit: Edit) -> torch.Tensor:
        ref = frame[200 * edit.first :][: len(edit.alt)]
        return torch.from_numpy(np.stack([one_hot(ref), one_hot(edit.alt)]))

    def tangermeme() -> None:
        from tangermeme.variant_effect import substitution_effect

        for edit in edits:
            x, base = stretch(edit)
            place = int((x != base).any(0).nonzero()[0])
            row = int(base[:, place].argmax())
            windows = torch.stack([x[:, 200 * i : 200 * i + 2000] for i in range(10)])
            table = torch.tensor([[i, place - 200 * i, row] for i in range(10)])
            substitution_effect(model, windows, table, device="cpu")

    def whole_windows() -> None:
        """Both alleles in one batch."""
        for edit in edits:
            x = stretch(edit)
            model(torch.cat([x[..., 200 * i : 200 * i + 2000] for i in range(10)]))

    def swept() -> None:
        for edit in edits:
            sweep(model, stretch(edit))

    rows: list[dict[str, object]] = []
    for name, work in (
        *([("tangermeme, substitution_effect", tangermeme)] if find_spec("tangermeme") else []),
        ("whole windows, both alleles", whole_windows),
        ("shared trunk, both alleles (sweep)", swept),
        ("delta engine", lambda: delta.hidden_change([frame], edits)),
    ):
        with inference():
            rows.append({"CNN part, per SNV": name, "ms": seconds(work) / len(edits) * 1e3})
    for row in rows:
        row["ratio"] = float(rows[0]["ms"]) / float(row["ms"])  # type: ignore[arg-type]
    return rows


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 256}),
        ("--baseline", {"type": int, "default": 8}),
    )
    setup = world(args, 8)
    store = setup.store
    peak = matmul_peak(args.device)
    work = workloads(store, args.variants)
    chosen = [
        (store.gene(str(store.gene_id[i % len(store)])), a.pos, a.alt)
        for i, a in enumerate(work["sparse SNVs, grid"][: args.baseline])
    ]
    model = store.cnn()
    with inference():
        slow = seconds(lambda: [published(model, s, store, chosen) for s in setup.sets])
    slow /= len(chosen)
    rows: list[dict[str, object]] = [
        {
            "work, 802 contexts": "published way, 3 model sets",
            "ms per variant": slow * 1e3,
            "ratio": 1.0,
        }
    ]
    for name, alleles in work.items():
        scheme = name.split(", ")[1]
        start = time.perf_counter()
        scorer = Scorer(store, ScoreOptions(scheme=scheme, device=args.device))
        list(scorer.score(alleles[:2]))
        startup = time.perf_counter() - start
        scored = Scorer(store, ScoreOptions(scheme=scheme, device=args.device))
        start = time.perf_counter()
        list(scored.score(alleles))
        fast = (time.perf_counter() - start) / len(alleles)
        row: dict[str, object] = {
            "work, 802 contexts": name,
            "variants": len(alleles),
            "ms per variant": fast * 1e3,
            "ratio": slow / fast,
            "start to first batch, s": startup,
        }
        if name in SHARED:
            units = sum(len(s.b1) for s in setup.sets)
            row["GFLOP"] = gflop(model, units, shared=SHARED[name])
            row["of matrix-product peak"] = float(row["GFLOP"]) / fast / peak  # type: ignore[arg-type]
        rows.append(row)
    report("score", f"Scoring; matrix products reach {peak:.0f} GFLOP/s", rows, args)
    if args.device == "cpu":
        report("alternatives", "The CNN part alone", alternatives(store, 8), args)


if __name__ == "__main__":
    main()
