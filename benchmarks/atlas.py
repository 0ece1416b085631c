"""What an atlas takes, in time, bytes and error a variant, and how fast it is looked up.

Three worlds: random heads, whose effects have no pattern, the demo's planted ones, and heads
trained on expression that the planted ones give, with noise. The baseline of the build is scoring
the same SNVs, in the same run. `--full` has weights of full size.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import arguments, report, seconds, world
from seal_store.atlas.atlas import Atlas
from seal_store.atlas.bases import AtlasBases
from seal_store.atlas.export import Exporting, Lines
from seal_store.atlas.lookup import Lookup
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.invented.world import write_planted_world
from seal_store.results.strongest import strongest_contexts
from seal_store.run.atlas import build_atlas
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.run.lookup import alleles_of, write_summaries
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.training.fit import FitOptions
from seal_store.training.steps import finetune, pretrain
from seal_store.training.task import TrainOptions
from seal_store.variants.alleles import Allele
from seal_store.variants.notation import parse_variant
from seal_store.variants.source import VariantSource

SPAN = 500
GENES = 2
SUMMARIES, EFFECTS, STARTS = 100_000, 20_000, 5

SUMMARY = ("largest", "largest_context", "rms", "largest_by_set", "quantile", "base")
BY_SNV = (*SUMMARY, "coefficient", "step", "basis")


def planted(root: Path) -> Store:
    """The store of the demo's world, made once."""
    out = root / "store.zarr"
    if not out.exists():
        made = write_planted_world(root)
        inputs = made.genome, made.genes, made.cnn, (made.heads,), out
        build(BuildOptions(*inputs, features=made.features, command="benchmark"), "cpu")
    return Store(out)


def trained(root: Path, planted: Store) -> Store:
    """The same genome and CNN, heads trained on the planted ones' expression of its 11 genes.

    Expression has noise of 0.1 (ln), as measurements have, and the weights begin at random: what
    they do not learn stays in the effects, as in heads for real data.
    """
    out = root / "trained.zarr"
    if not out.exists():
        made = write_planted_world(root)
        names, sets = planted.contexts()
        true = planted.expression(planted.gene_id.tolist())
        noise = np.random.default_rng(1).normal(0, 0.1, true.shape)
        columns = [f"{heads}:{name}" for heads, name in zip(sets, names, strict=True)]
        table = pd.DataFrame(np.exp(true + noise), planted.gene_id, columns)
        table.rename_axis("gene_id").to_csv(root / "expression.tsv", sep="\t")
        options = TrainOptions(
            root / "expression.tsv",
            "trained",
            root / "trained",
            store=root / "store.zarr",
            latent=100,
            test_chromosomes=("chr2",),
            fit=FitOptions(lr=1e-3),
            device="cpu",
            overwrite=True,
        )
        pretrain(options)
        finetune(replace(options, base=options.out))
        inputs = made.genome, made.genes, made.cnn, (options.out,), out
        build(BuildOptions(*inputs, features=made.features, command="benchmark"), "cpu")
    return Store(out)


def snvs(atlas: Atlas) -> list[Allele]:
    """The SNVs of an atlas, in genome order."""
    found: list[Allele] = []
    for contig, columns in Lines(atlas, Exporting()).parts():
        own = zip(columns["pos"].tolist(), columns["ref"], columns["alt"], strict=True)
        found += [Allele(0, contig, pos, "", str(r), str(a), "snv") for pos, r, a in own]
    return found


def repeated(alleles: list[Allele], count: int) -> Iterator[Allele]:
    """So many, in order: each several times where there are fewer."""
    places = np.arange(count) * len(alleles) // count
    return (alleles[i] for i in places.tolist())


def built(
    name: str, store: Store, options: ScoreOptions, out: Path
) -> tuple[Atlas, dict[str, Any]]:
    """An atlas of the first genes of ``store``, and what it took."""
    genes = tuple(str(gene) for gene in store.gene_id[:GENES])
    scorers = [Scorer(store, options, gene) for gene in genes]
    for scorer, gene in zip(scorers, genes, strict=True):  # engines are loaded and warm
        list(scorer.score(saturation(store, gene, 20)))
    dense = seconds(
        lambda: [
            sum(map(len, scorer.score(saturation(store, gene, SPAN))))
            for scorer, gene in zip(scorers, genes, strict=True)
        ],
        device=options.device,
    )
    prepared = Prepared(AtlasJob(store.path, out, options, genes, span=SPAN), store)
    took = seconds(lambda: build_atlas(prepared, overwrite=True), device=options.device)
    atlas = Atlas(out)
    entries = int(atlas.column("entries").sum())
    sizes: dict[str, int] = {}
    for file, entry in atlas.listed.items():
        array = file.partition("/")[0]
        sizes[array] = sizes.get(array, 0) + int(entry["size"])
    return atlas, {
        "heads": name,
        "SNVs": entries,
        "contexts": atlas.attributes.contexts,
        "scored, SNVs/s": entries / dense,
        "atlas, SNVs/s": entries / took,
        "bytes an SNV": atlas.total_bytes / entries,
        "of them coefficient": sizes["coefficient"] / entries,
        "step": sizes["step"] / entries,
        "summary": sum(sizes.get(array, 0) for array in SUMMARY) / entries,
        "basis": sizes["basis"] / entries,
        "labels": (atlas.total_bytes - sum(sizes.get(a, 0) for a in BY_SNV)) / entries,
        "basis, kB a gene": sizes["basis"] / len(atlas) / 1e3,
        "rank": ", ".join(map(str, atlas.of_genes("rank").tolist())),
        "largest error, %": 100 * float(atlas.column("error").max()),
    }


def looked_up(name: str, path: Path) -> Iterator[dict[str, Any]]:
    """How fast SNVs of an atlas are looked up."""
    alleles = snvs(Atlas(path))
    lookup = Lookup(Atlas(path))
    start = time.perf_counter()
    count = sum(len(columns["pos"]) for columns in lookup.summarized(repeated(alleles, SUMMARIES)))
    took = time.perf_counter() - start
    yield {"heads": name, "what": f"summaries of {count:,} sorted SNVs", "SNVs/s": count / took}
    vcf = path.with_suffix(".vcf")
    with vcf.open("w") as handle:
        for a in repeated(alleles, SUMMARIES):
            handle.write(f"{a.contig}\t{a.pos}\t.\t{a.ref}\t{a.alt}\t.\t.\t.\n")
    start = time.perf_counter()
    found, watch = alleles_of(Atlas(path), VariantSource(str(vcf)))
    write_summaries(Lookup(Atlas(path)), found, io.BytesIO(), watch=watch)
    took = time.perf_counter() - start
    what = "the same from a VCF to a TSV, read and written"
    yield {"heads": name, "what": what, "SNVs/s": count / took}
    lookup = Lookup(Atlas(path))
    start = time.perf_counter()
    count = sum(map(len, lookup.score(repeated(alleles, EFFECTS))))
    took = time.perf_counter() - start
    what = f"effects on {len(lookup.context_name)} contexts of {count:,} sorted SNVs"
    yield {"heads": name, "what": what, "SNVs/s": count / took}
    some = [alleles[i] for i in np.linspace(0, len(alleles) - 1, STARTS).astype(int).tolist()]
    texts = [f"{a.contig}:{a.pos}:{a.ref}:{a.alt}" for a in some]
    program = [sys.executable, "-c", "from seal_store.cli import main; main()", "lookup"]
    times = []
    for text in texts:
        command = [*program, str(path), text]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    what = f"`seal-store lookup` of one SNV, a process, median of {STARTS}"
    yield {"heads": name, "what": what, "ms": 1e3 * float(np.median(times))}
    for what, atlas in (
        ("the same in a process that runs: opened anew", None),
        ("and in an open atlas", Atlas(path)),
    ):
        times = []
        for text in texts:
            start = time.perf_counter()
            own = Lookup(atlas or Atlas(path))
            bases = AtlasBases(own.atlas)
            strongest_contexts(own, parse_variant(text, bases, bases.assembly), 10)
            times.append(time.perf_counter() - start)
        yield {"heads": name, "what": what, "ms": 1e3 * float(np.median(times))}


def main() -> None:
    args = arguments(__doc__ or "", ("--full", {"action": "store_true"}))
    args.tiny = not args.full
    options = ScoreOptions(device=args.device)
    worlds = {"random": world(args, GENES).store}
    if args.tiny:
        worlds["planted"] = planted(args.work / "planted")
        worlds["trained"] = trained(args.work / "planted", worlds["planted"])
    builds: list[dict[str, Any]] = []
    lookups: list[dict[str, Any]] = []
    for name, store in worlds.items():
        path = args.work / f"atlas-{'tiny' if args.tiny else 'full'}-{name}.zarr"
        builds.append(built(name, store, options, path)[1])
        lookups += looked_up(name, path)
    report("atlas", f"An atlas of {GENES} genes, {SPAN} bp to either side", builds, args)
    report("atlas-lookup", "Looking up", lookups, args)


if __name__ == "__main__":
    main()
