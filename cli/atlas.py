"""``seal-store atlas``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._attribution import attributing, take
from ._progress import Meter
from ._text import plan_text, tell

if TYPE_CHECKING:
    from seal_store.atlas.atlas import Atlas
    from seal_store.run.atlas_values import Estimate
    from seal_store.store.place import Place

_NOT_SHARED = {"workers", "scheduler"}
UNUSED = {
    "dry_run": {*_NOT_SHARED, "overwrite", "resume"},
    "plan": _NOT_SHARED,
    "shard": {*_NOT_SHARED, "overwrite", "resume"},
    "finalize": {*_NOT_SHARED, "resume"},
    "repair": {"resume"},
}
"""Options that do nothing with one that chooses a step."""

_where = _options.stack(
    _options.gene("Only this gene, by id or symbol, or those of a file. Repeatable."),
    click.option(
        "--regions",
        type=_options.PATH,
        multiple=True,
        help="Only positions in the regions of this file: BED if its name ends in .bed or "
        ".bed.gz, else CHROM, POS or CHROM, FROM, TO, 1-based. Repeatable.",
    ),
)


@click.group()
def atlas() -> None:
    """Effects of every SNV near TSSs, scored once, to be looked up."""


@atlas.command()
@click.argument("store", type=_options.PLACE)
@click.option("--out", type=_options.PLACE, required=True, help="The atlas to write, OUT.zarr.")
@_options.work
@_options.cache
@_where
@_options.number("--span", 20_000, "Bases to either side of each TSS.", 0, 20_000)
@_options.choice(
    "--genes",
    ["nearest", "all"],
    "Entries against the gene with the nearest TSS, or against every gene within the span.",
)
@_options.scheme
@_options.calibration
@click.option(
    "--max-error",
    default=0.01,
    show_default=True,
    help="Largest error of an effect, as share of the largest of its SNV.",
)
@click.option("--full", is_flag=True, help="Store effects as they are: several times the size.")
@click.option(
    "--genes-per-shard",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Genes of a shard. Default: as many as make 1,000 shards at most.",
)
@attributing
@_options.crew_engine
@click.option("--dry-run", is_flag=True, help="Only say what it would take.")
@click.option("--plan", is_flag=True, help="Only prepare the shards, for a cluster.")
@click.option(
    "--shard", type=int, multiple=True, help="Only this shard of a plan, from 0. Repeatable."
)
@click.option("--finalize", is_flag=True, help="Only finish an atlas whose shards are done.")
@click.option(
    "--repair",
    is_flag=True,
    help="Only verify OUT, built by the same command, and compute again what is damaged.",
)
@_options.resume
@_options.reporting
def build(
    store: Place,
    dry_run: bool,
    plan: bool,
    shard: tuple[int, ...],
    finalize: bool,
    repair: bool,
    overwrite: bool,
    resume: bool,
    **given: Any,
) -> None:
    """Score every SNV near the TSSs of STORE against its gene, and write an atlas.

    It says first how many SNVs there are and what they take, from a short measurement on this
    machine. On a cluster: the command once with --plan, for each shard it names with --shard I
    (on any machine that sees OUT and STORE), then with --finalize.
    """
    from seal_store.run import atlas as library
    from seal_store.run.atlas_job import Prepared
    from seal_store.run.atlas_values import estimate

    steps = {"dry_run": dry_run, "plan": plan, "shard": shard, "finalize": finalize}
    _options.check_step(UNUSED, **steps, repair=repair)
    if given["full"]:
        _options.refuse_unused({"max_error"}, "with --full: effects are stored as they are")
    out, crew = given["out"], _options.crew(given)
    given["attribution"] = take(given)
    if finalize:
        with Meter() as progress:
            done = library.finalize_atlas(out, overwrite=overwrite, progress=progress)
        _say(done)
        return
    job = _job(store, {**given, "device": crew.kind})
    if repair:
        from seal_store.check.repair_atlas import repair_atlas

        with Meter() as progress:
            mended = repair_atlas(job, crew, overwrite=overwrite, progress=progress)
        _options.say_repaired(out, mended)
        return
    prepared = Prepared(job)
    if shard:
        with Meter() as progress:
            run = partial(library.run_shards, prepared, shard, progress)
            _options.do_tasks(out, "shard", shard, run)
        return
    for note in prepared.notes():
        tell(note, err=True)
    if plan:
        made = library.plan_atlas(prepared, overwrite=overwrite, resume=resume)
        facts = {"out": str(out), "genes": made.gene_count, "shards": made.shards}
        _options.say(facts, plan_text(counted(made.gene_count, "gene"), made.shards, "shard"))
        return
    if dry_run:
        _options.say(_facts(takes := estimate(prepared)), _words(takes, 1))
        return
    if not (_options.is_given("quiet") or resume):
        library.atlas_at(out).check(overwrite=overwrite)  # before anything is measured
        # processes on CPUs share the threads that the measurement took
        apart = bool(crew.scheduler) or crew.device.startswith("cuda")
        takes = estimate(prepared)
        workers = min(len(crew.devices()), takes.shards) if apart else 1
        tell(_words(takes, workers), err=True)
    with Meter() as progress:
        how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "progress": progress}
        done = library.build_atlas(prepared, crew, **how)
    _say(done)


def _job(store: Place, given: dict[str, Any]) -> Any:
    from seal_store.run.atlas_job import AtlasJob
    from seal_store.scoring.options import ScoreOptions
    from seal_store.variants.regions import chosen

    regions, named = chosen((), given["regions"])
    own = {
        name: given[name] for name in ("scheme", "genes", "device", "tf32", "batch", "calibration")
    }
    return AtlasJob(
        store,
        given["out"],
        ScoreOptions(**own),
        _options.names(given["gene"]),
        tuple(regions),
        tuple(named),
        given["span"],
        None if given["full"] else given["max_error"],
        given["attribution"],
        given["genes_per_shard"],
        command_line(),
    )


def _facts(takes: Estimate) -> dict[str, Any]:
    return {**vars(takes), "seconds": round(takes.seconds, 1)}


def _words(takes: Estimate, workers: int) -> str:
    hours = takes.seconds / 3600 / workers
    time = f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"
    with_ = f" with {workers} workers" if workers > 1 else ""
    return (
        f"about {counted(takes.entries, 'SNV')} of {counted(takes.genes, 'gene')} in "
        f"{counted(takes.shards, 'shard')}: "
        f"{time}{with_}, {takes.bytes / 1e9:,.3g} GB "
        f"(measured on {counted(takes.tried, 'SNV')}, "
        f"{takes.seconds / max(1, takes.entries) * 1e3:.3g} ms each)"
    )


def _say(done: Atlas) -> None:
    entries, errors = done.column("entries"), done.column("error")
    facts: dict[str, Any] = {
        "out": str(done.path),
        "sha256": done.sha256,
        "genes": len(done),
        "entries": int(entries.sum()),
        "bytes": done.total_bytes,
        "error": float(errors.max()),
    }
    lines = [
        f"{done.path}: {counted(len(done), 'gene')}, {counted(facts['entries'], 'SNV')}, "
        f"{counted(done.attributes.contexts, 'context')}, {done.total_bytes / 1e6:,.1f} MB"
    ]
    if not done.attributes.is_full:
        lines.append(f"  largest error {facts['error']:.2%} of the largest effect of an SNV")
    if others := int(done.column("other_bases").sum()):
        facts["other_bases"] = others
        lines.append(
            f"  {counted(others, 'position')} without entry: their base is none of A, C, G, T"
        )
    _options.say(facts, "\n".join(lines))


@atlas.command()
@click.argument("atlas", type=_options.PLACE)
@click.argument("out", type=_options.PLACE)
@_options.contexts
@_where
@click.option(
    "--terms",
    metavar="TEXT",
    help="What the header says of the terms of use. Default: that those of the weights hold.",
)
@_options.precision
@_options.cache
@_options.work
@_options.reporting
def export(
    atlas: Place,
    out: Place,
    contexts: tuple[str, ...],
    gene: tuple[str, ...],
    regions: tuple[Path, ...],
    terms: str | None,
    precision: int,
    overwrite: bool,
) -> None:
    """Write ATLAS in genome order for other programs, by the ending of OUT.

    \b
    .tsv.gz   BGZF with a tabix index
    .vcf.gz   BGZF with an index, INFO fields `SEAL_...`: for bcftools annotate -a
    .parquet  for DuckDB, pandas, polars
    .bw       one value a base: the effect of the largest size

    Effects on --contexts, or by default the summary. A line an SNV and gene.
    """  # noqa: D301 - click's own mark
    from seal_store.atlas.atlas import Atlas
    from seal_store.atlas.export import Exporting, export_atlas
    from seal_store.variants.regions import chosen

    name = out.name.lower()
    if name.endswith((".bw", ".bigwig")):
        _options.refuse_unused({"terms", "precision"}, f"in {out.name}: a track is numbers alone")
    if name.endswith(".parquet"):
        _options.refuse_unused({"precision"}, f"in {out.name}: it is no text")
    found, _ = chosen((), regions)
    own = {} if terms is None else {"terms": terms}
    what = Exporting(_options.names(contexts), _options.names(gene), tuple(found), precision, **own)
    with Meter() as progress:
        count = export_atlas(Atlas(atlas), out, what, overwrite=overwrite, progress=progress)
    _options.say({"out": str(out), "lines": count}, f"{out}: {counted(count, 'line')}")
