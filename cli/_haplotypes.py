"""``seal-store score haplotypes``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._progress import Meter
from ._text import plan_text

if TYPE_CHECKING:
    from seal_store.results.haplotypes import Haplotypes
    from seal_store.store.place import Place

UNUSED = {
    "plan": {"workers", "scheduler"},
    "shard": {"workers", "scheduler", "overwrite", "resume"},
    "finalize": {"workers", "scheduler", "resume"},
}
"""Options that do nothing with one that chooses a step."""


@click.command()
@click.argument("vcf", type=_options.PATH)
@click.option("--store", type=_options.PLACE, required=True, help="The store to score from.")
@click.option("--out", type=_options.PLACE, required=True, help="The group to write, OUT.zarr.")
@click.option(
    "--samples",
    type=_options.NAME_OR_FILE,
    multiple=True,
    help="Only this sample, or those of a file. Repeatable. Default: all.",
)
@_options.gene("Only this gene, by id or symbol, or those of a file. Repeatable.")
@_options.choice(
    "--unphased",
    ["leave-out", "strict"],
    "Heterozygous alleles that are not phased: leave them out, or the gene of that sample.",
)
@_options.choice(
    "--phase-sets",
    ["strict", "ignore"],
    "Several phase sets in a gene's windows: leave the gene of that sample out, or take them "
    "for one.",
)
@_options.choice(
    "--missing",
    ["leave-out", "strict"],
    "Alleles that are not called: score the copy without them, or leave out the gene of that "
    "sample.",
)
@click.option(
    "--check-assembly/--no-check-assembly",
    default=True,
    help="Refuse a file whose header is of another assembly than the store.",
)
@_options.contexts
@_options.crew_engine
@click.option("--plan", is_flag=True, help="Only divide the genes into shards, for a cluster.")
@click.option(
    "--shard", type=int, multiple=True, help="Only this shard of a plan, from 0. Repeatable."
)
@click.option("--finalize", is_flag=True, help="Only write OUT, of shards that are all done.")
@_options.resume
@_options.work
@_options.cache
@_options.reporting
def haplotypes(
    vcf: Path,
    store: Place,
    out: Place,
    samples: tuple[str, ...],
    gene: tuple[str, ...],
    unphased: str,
    phase_sets: str,
    missing: str,
    check_assembly: bool,
    plan: bool,
    shard: tuple[int, ...],
    finalize: bool,
    overwrite: bool,
    resume: bool,
    **common: Any,
) -> None:
    """Score what each copy of a gene carries, all alleles together, of phased samples in VCF.

    VCF is in BGZF, or BCF, with an index. Each distinct haplotype of a gene is scored once, against
    the genome's bases; `interaction` is its effect minus the sum of those of its alleles alone.
    What genotypes do not tell is left out and counted. Differences BETWEEN PEOPLE predicted from
    sequence are unproven: see docs/haplotypes.md.

    On a cluster: the command once with --plan, for each shard it names with --shard I (on any
    machine that sees OUT, VCF and the store), then with --finalize.
    """
    from seal_store.run import haplotypes as library
    from seal_store.run.haplotypes_job import HaplotypesJob, Prepared
    from seal_store.scoring.carried import Rules
    from seal_store.scoring.options import ScoreOptions

    _options.check_step(UNUSED, plan=plan, shard=shard, finalize=finalize)
    crew = _options.crew(common)
    common["contexts"] = _options.names(common["contexts"])
    prepared = Prepared(
        HaplotypesJob(
            store,
            out,
            vcf,
            samples=_options.names(samples),
            genes=_options.names(gene),
            options=ScoreOptions(**{**common, "device": crew.kind}),
            rules=Rules(unphased, phase_sets, missing),
            check_assembly=check_assembly,
            command=command_line(),
        )
    )
    if plan:
        made = library.plan_haplotypes(prepared, overwrite=overwrite, resume=resume)
        facts = {"out": str(out), "genes": made.genes, "shards": made.shards}
        _options.say(facts, plan_text(counted(made.genes, "gene"), made.shards, "shard"))
        return
    with Meter() as progress:
        if shard:
            run = partial(library.run_shards, prepared, shard, progress)
            _options.do_tasks(out, "shard", shard, run)
            return
        if finalize:
            done = library.finalize_haplotypes(prepared, overwrite=overwrite, progress=progress)
        else:
            how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "progress": progress}
            done = library.score_haplotypes(prepared, crew, **how)
    _say(out, done)


def _say(out: Place, done: Haplotypes) -> None:
    facts = done.attributes
    named = ("genes", "samples", "haplotypes", "counts")
    summary = {"out": str(out), **{name: getattr(facts, name) for name in named}}
    lines = [
        f"{out}: {counted(facts.haplotypes, 'haplotype')} of {counted(facts.genes, 'gene')}, "
        f"{counted(facts.samples, 'sample')}",
        *(f"  {reason}: {count:,} ({meaning})" for reason, count, meaning in done.left_out()),
    ]
    _options.say(summary, lines)
