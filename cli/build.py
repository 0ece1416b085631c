"""``seal-store build``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._progress import Meter
from ._text import plan_text, tell

if TYPE_CHECKING:
    from seal_store.building.plan import Planned
    from seal_store.building.seal_folder import SealFolder
    from seal_store.store.place import Place
    from seal_store.store.store import Store


PLANNED = {
    *("from_seal", "genome", "genes", "tss", "gene_type", "cnn", "features", "heads"),
    *("from_profiles", "gene", "near_vcf", "first_offset", "keep_bits", "hidden"),
}
"""Options that the plan of a store holds."""

CREW = {"workers", "scheduler"}

UNUSED = {
    "plan": {"tf32", *CREW},
    "shard": PLANNED - {"from_seal", "from_profiles"} | {"overwrite", "resume", *CREW},
    "finalize": PLANNED | {"tf32", "resume", *CREW},
    "add_hidden": PLANNED | {"tf32", "overwrite", "resume", *CREW},
    "repair": PLANNED - {"from_profiles"} | {"tf32", "overwrite", "resume", *CREW},
}
"""Options that do nothing with one that chooses what to do."""


@click.command()
@click.option(
    "--from-seal",
    type=_options.PATH,
    help="Folder with Seal's files, as `seal-store fetch` leaves it or Seal's own: genome, gene "
    "table, weights, profiles and head sets are found there, but for those named otherwise.",
)
@click.option("--genome", type=_options.PATH, help="FASTA of the genome, plain or bgzip.")
@click.option("--genes", type=_options.PATH, help="Gene table: BED, GTF, GFF3 or geneanno CSV.")
@_options.choice(
    "--tss",
    ["gene", "canonical", "transcript"],
    "TSS of a GTF or GFF3: 5' end of each gene, of its MANE Select or canonical transcript, "
    "or of every transcript, each a row of its own.",
)
@click.option(
    "--gene-type", multiple=True, help="Only genes of this type, as protein_coding. Repeatable."
)
@click.option("--cnn", type=_options.PATH, help="CNN weights, deepsea.beluga.pth.")
@click.option(
    "--features",
    type=_options.PATH,
    help="Labels of another CNN's features: a TSV with columns name, assay_type, factor, "
    "cell_type, treatment, a row each. Default: the published ones for 2,002 features.",
)
@click.option(
    "--heads",
    type=_options.PATH,
    multiple=True,
    help="Model summary file of a head set, or a folder of them. Repeatable.",
)
@click.option(
    "--out",
    type=_options.PLACE,
    required=True,
    help="The store to write: a path, or an address of a bucket.",
)
@_options.work
@click.option(
    "--from-profiles",
    type=_options.PATH,
    help="Take Seal's <gene>.npy profiles from this folder instead of running the CNN.",
)
@_options.gene("Compute only this gene, or those of a file of ids. Repeatable.")
@click.option(
    "--near-vcf", type=_options.PLACE, help="Compute only genes with a variant within 20 kb."
)
@click.option(
    "--first-offset",
    default=-19_900,
    show_default=True,
    help="Offset of window 0 from the TSS, bp.",
)
@click.option(
    "--keep-bits",
    type=click.IntRange(1, 23),
    help="Round features to this many mantissa bits: a smaller store. Effects of scheme grid stay "
    "the same, those of centered move by the rounding. Default: lossless.",
)
@click.option(
    "--hidden/--no-hidden",
    default=True,
    show_default=True,
    help="Store the first linear layer's output: about twice the size, faster scoring with grid.",
)
@_options.crew_device
@_options.tf32
@_options.crewed
@click.option("--plan", is_flag=True, help="Only check inputs and prepare the shards.")
@click.option(
    "--shard", type=int, multiple=True, help="Only this shard of a plan, from 0. Repeatable."
)
@click.option("--finalize", is_flag=True, help="Only finish a store whose shards are done.")
@click.option("--add-hidden", is_flag=True, help="Only add what --no-hidden left out of OUT.")
@click.option("--repair", is_flag=True, help="Only verify OUT and compute again what is damaged.")
@_options.resume
@_options.reporting
def build(
    out: Place,
    from_seal: Path | None,
    from_profiles: Path | None,
    gene: tuple[str, ...],
    device: str,
    tf32: bool,
    plan: bool,
    shard: tuple[int, ...],
    finalize: bool,
    add_hidden: bool,
    repair: bool,
    overwrite: bool,
    **given: Any,
) -> None:
    """Run the CNN over every gene's 40 kb and write a store. Once per genome.

    On a cluster: --plan once, --shard I for each shard it names (any machine that sees OUT),
    then --finalize. --gene and --near-vcf limit what is computed, not the gene table.
    """
    from seal_store.building import build as library
    from seal_store.building.options import gather
    from seal_store.building.plan import plan as plan_store
    from seal_store.building.seal_folder import locate
    from seal_store.check.repair import repair as repair_store
    from seal_store.common.files import local_path
    from seal_store.run.shards import build_with
    from seal_store.store.place import output_at

    steps = {"plan": plan, "shard": shard, "finalize": finalize}
    _options.check_step(UNUSED, **steps, add_hidden=add_hidden, repair=repair)
    crew = _options.crew(given | {"device": device})
    given = {name: value for name, value in given.items() if name not in CREW}
    if from_profiles is not None:
        _options.refuse_unused({"tf32"}, "with --from-profiles: the CNN does not run")
    with Meter() as progress:
        if shard:
            if from_seal is not None and from_profiles is None:
                located = locate(from_seal)
                _tell(located)
                from_profiles = located.from_profiles
            how: dict[str, Any] = {"from_profiles": from_profiles, "progress": progress}
            own = output_at(out).partial, shard, device
            run = partial(library.run_shards, *own, tf32=tf32, **how)
            _options.do_tasks(out, "shard", shard, run)
            return
        if finalize:
            _summary(library.finalize(out, overwrite=overwrite, progress=progress))
            return
        if add_hidden:
            _summary(library.add_hidden(out, device, progress))
            return
        if repair:
            how = {"from_profiles": from_profiles, "progress": progress}
            _options.say_repaired(out, repair_store(local_path(out), device, **how))
            return
        if from_seal is None and not all(given[name] for name in ("genome", "genes", "cnn")):
            raise click.UsageError(
                "--from-seal, or --genome, --genes and --cnn, are needed to build"
            )
        inputs = gather(
            out,
            from_seal=from_seal,
            from_profiles=from_profiles,
            gene=_options.names(gene),
            overwrite=overwrite,
            command=command_line(),
            **given,
        )
        _tell(inputs.found)
        if plan:
            _planned(out, plan_store(inputs.options, progress), inputs.found)
            return
        odd_lines: dict[str, Any] = {}

        def report(planned: Planned) -> None:
            _report(planned)
            odd_lines.update(planned.odd_lines.to_dict())

        store = build_with(inputs.options, crew, tf32=tf32, progress=progress, planned=report)
    _summary(store, inputs.found, odd_lines)


def _tell(found: SealFolder | None) -> None:
    for name, paths in found.facts().items() if found else ():
        for path in paths:
            tell(f"found --{name.replace('_', '-')} {path}", err=True)


def _planned(out: Place, planned: Planned, found: SealFolder | None) -> None:
    _report(planned)
    facts = {"out": str(out), "genes": planned.genes, "shards": planned.shards, **_where(found)}
    facts["odd_lines"] = planned.odd_lines.to_dict()
    _options.say(facts, plan_text(counted(planned.genes, "gene"), planned.shards, "shard"))


def _report(planned: Planned) -> None:
    for note in planned.odd_lines:
        tell(note, err=True)
    for status, count in planned.status.items():
        if status != "computed":
            tell(f"{counted(count, 'gene')} {status.replace('_', ' ')}", err=True)
    for contig, count in planned.contigs_not_in_fasta.items():
        tell(f"  contig {contig} is not in the FASTA: {counted(count, 'gene')} skipped", err=True)
    for gene in planned.without_profile[:20]:
        tell(f"  no profile for {gene}", err=True)
    if len(planned.without_profile) > 20:
        tell(f"  ... and {len(planned.without_profile) - 20} more", err=True)


def _summary(
    store: Store, found: SealFolder | None = None, odd_lines: dict[str, Any] | None = None
) -> None:
    contexts = sum(entry.contexts for entry in store.attributes.heads)
    facts = {
        "out": str(store.path),
        "sha256": store.sha256,
        "genes": len(store),
        "contexts": contexts,
        "gene_table": store.attributes.gene_table.status,
        "odd_lines": odd_lines or {},
        **_where(found),
    }
    _options.say(
        facts, f"{store.path}: {counted(len(store), 'gene')}, {counted(contexts, 'context')}"
    )


def _where(found: SealFolder | None) -> dict[str, Any]:
    return {"from_seal": found.facts()} if found else {}
