"""How fast are files of variants as they come? Insertions and deletions among SNVs.

Each row is a VCF of which a share are insertions and deletions, scored to a TSV with all
contexts, set beside the published procedure on SNVs in the same round with the same threads.
Rounds alternate over all rows; each figure is the shortest of its rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common import arguments, matmul_peak, published, report, seconds, world
from seal_store.common.device import inference
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import read_variants

LENGTHS = {1: 0.45, 2: 0.17, 3: 0.08, 4: 0.11, 5: 0.04, 6: 0.03, 8: 0.03}
"""Assumed shares of lengths of insertions and deletions, as call sets of short reads have them
about; what is left over is spread evenly over 7 to 50 bp. As many are inserted as deleted."""

LIST, GENOME, CATALOGUE = 2_400, 800, 40
"""Assumed bp from one variant to the next: of a list of variants, of the genome of one person, of
a catalogue of many persons."""

BEYOND = 18_900
"""Variants are at most so far from a TSS, bp: all windows that one touches are on the grid."""


@dataclass(frozen=True)
class Mix:
    """Variants ``apart`` bp from each other in the mean, a ``share`` of them indels."""

    name: str
    share: float
    apart: int


MIXES = (
    *(Mix(f"list, {round(100 * s)} % indels", s, LIST) for s in (0.0, 0.04, 0.12, 0.15, 1.0)),
    *(Mix(f"genome, {round(100 * s)} % indels", s, GENOME) for s in (0.0, 0.12)),
    *(Mix(f"catalogue, {round(100 * s)} % indels", s, CATALOGUE) for s in (0.0, 0.12)),
)


def write_mix(mix: Mix, store: Store, count: int, path: Path) -> None:
    """``count`` variants around as many genes of ``store`` as they need, sorted, as a VCF."""
    rng = np.random.default_rng(5)
    per_gene = 2 * BEYOND // mix.apart
    genes = -(-count // per_gene)
    if genes > len(store):
        raise SystemExit(f"{count} variants {mix.apart} bp apart need {genes} genes")
    indel = rng.permutation(np.arange(count) < round(mix.share * count))
    lines = []
    for gene in range(genes):
        tss = int(store.table.tss[store.table.row(str(store.gene_id[gene]))])
        mine = indel[gene * per_gene : (gene + 1) * per_gene]
        offsets = np.sort(rng.choice(np.arange(-BEYOND, BEYOND), len(mine), replace=False))
        bases = store.sequence(gene).tobytes().decode()
        for offset, is_indel in zip(offsets, mine, strict=True):
            at = 22_500 + int(offset)  # of the TSS in the stored sequence
            ref, alt = _indel(bases[at:], rng) if is_indel else _snv(bases[at], rng)
            lines.append(f"chr1\t{tss + offset}\t.\t{ref}\t{alt}\n")
    path.write_text("".join(lines), encoding="ascii")


def _snv(base: str, rng: np.random.Generator) -> tuple[str, str]:
    return base, str(rng.choice([b for b in "ACGT" if b != base]))


def _indel(bases: str, rng: np.random.Generator) -> tuple[str, str]:
    """REF and ALT with the base before them; an insertion repeats the bases that follow."""
    rest = 1 - sum(LENGTHS.values())
    short = rng.choice(list(LENGTHS), p=np.array(list(LENGTHS.values())) / (1 - rest))
    length = int(rng.integers(7, 51) if rng.random() < rest else short)
    both = bases[0], bases[: length + 1]
    return both if rng.random() < 0.5 else both[::-1]


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 120}),
        ("--baseline", {"type": int, "default": 2}),
        ("--rounds", {"type": int, "default": 2}),
    )
    setup = world(args, 8)
    store, model = setup.store, setup.store.cnn()
    peak = matmul_peak(args.device)
    files = {mix: args.work / f"mix-{i}.vcf" for i, mix in enumerate(MIXES)}
    for mix, path in files.items():
        write_mix(mix, store, args.variants, path)
    scorer = Scorer(store, ScoreOptions(device=args.device))
    alleles = list(read_variants(files[MIXES[0]]))
    list(scorer.score(alleles[:2]))
    snvs = [(0, allele.pos, allele.alt) for allele in alleles[: args.baseline]]
    slow, fast = float("inf"), dict.fromkeys(MIXES, float("inf"))
    for _ in range(args.rounds):
        with inference():
            took = seconds(lambda: [published(model, s, store, snvs) for s in setup.sets])
        slow = min(slow, took / len(snvs))
        for mix, path in files.items():
            out = path.with_suffix(".tsv")
            took = seconds(
                lambda path=path, out=out: write_scores(  # type: ignore[misc]
                    scorer, read_variants(path), out, overwrite=True
                )
            )
            fast[mix] = min(fast[mix], took / args.variants)
    rows: list[dict[str, object]] = [
        {"VCF to TSV, 802 contexts": "published way, SNVs", "ms per variant": slow * 1e3}
    ]
    rows += [
        {
            "VCF to TSV, 802 contexts": mix.name,
            "bp apart": mix.apart,
            "ms per variant": took * 1e3,
            "ratio": slow / took,
        }
        for mix, took in fast.items()
    ]
    report("mixes", f"Mixes; matrix products reach {peak:.0f} GFLOP/s", rows, args)


if __name__ == "__main__":
    main()
