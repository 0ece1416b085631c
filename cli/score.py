"""``seal-store score``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _complete, _options, command_line
from ._attribution import announce, attributing, take
from ._calibrated import QUANTILES, calibrated, use_name
from ._haplotypes import haplotypes
from ._progress import Meter
from ._scored import STDOUT, accounts, background, described, tell_finished, tell_scored
from ._text import plan_text, tell

if TYPE_CHECKING:
    from seal_store.exporting.render import Exported
    from seal_store.run.crew import Crew
    from seal_store.run.job import Prepared, ScoreJob
    from seal_store.scoring.options import ScoreOptions
    from seal_store.store.place import Place

ALONE = {"resume", "overwrite", "plan", "slices", "slice", "finalize", "workers", "scheduler"}
"""What has no effect on a stream."""

_NOT_SHARED = {"workers", "scheduler", "verbose"}
UNUSED = {
    "plan": _NOT_SHARED,
    "slice": {*_NOT_SHARED, "slices", "overwrite", "resume"},
    "finalize": {*_NOT_SHARED, "slices", "resume"},
}
"""Options that do nothing with one that chooses a step."""


_model = _options.stack(
    click.option(
        "--store",
        type=_options.PLACE,
        required=True,
        help="The store to score from: a folder, or an address as s3://BUCKET/PATH or https://...",
    ),
    _options.cache,
    _options.scheme,
    click.option(
        "--heads",
        multiple=True,
        shell_complete=_complete.head_sets,
        help="Only this head set. Repeatable. Default: all.",
    ),
    _options.contexts,
)
scoring = _options.stack(
    _model,
    calibrated(False, "Add quantile and z of every effect, from the store's calibration."),
    _options.crew_engine,
    _options.precision,
)
"""Options of every command that writes scores."""

writing = _options.stack(
    click.option(
        "--out",
        type=_options.PLACE,
        required=True,
        help="OUT.zarr (results group); .tsv, .tsv.gz, .parquet, .arrow, .feather (table); "
        ".vcf, .vcf.gz, .bcf (the input annotated). A path, or an address of a bucket.",
    ),
    _options.work,
    scoring,
    attributing,
    _options.selecting,
    _options.resume,
    click.option("--verbose", "-v", is_flag=True, help="Say how the engine worked."),
    _options.reporting,
)
"""Options of commands that write results."""

matching = _options.stack(
    _options.gene_distance,
    _options.mismatch,
    _options.normalize,
)
"""Options of commands that find the genes of variants."""


@click.group()
def score() -> None:
    """Score variants from a store."""


@score.command()
@click.argument("vcf", type=_options.FILE_OR_STDIN)
@writing
@matching
@click.option(
    "--region",
    multiple=True,
    help="Only variants whose REF touches CONTIG:FROM-TO, 1-based, both included; through the "
    "index of BGZF or BCF (.csi, .tbi) if there is one. Several with commas. Repeatable.",
)
@click.option(
    "--regions-file",
    type=_options.PATH,
    multiple=True,
    help="Regions in a file: BED if its name ends in .bed or .bed.gz, else CHROM, POS or CHROM, "
    "FROM, TO, 1-based. Repeatable.",
)
@click.option(
    "--liftover",
    type=_options.PATH,
    help="Chain file from the assembly of the variants to the store's, plain or gzipped.",
)
@_options.check_assembly
@_options.choice("--format", ["vcf", "tsv", "bcf"], "With --out -: what to write to stdout.")
@click.option(
    "--atlas",
    type=_options.PLACE,
    help="Take SNVs from this atlas of the store, and compute what it lacks; a column says which.",
)
@click.option("--plan", is_flag=True, help="Only divide the input into slices, for a cluster.")
@click.option(
    "--slices",
    type=click.IntRange(1),
    metavar="N",
    help="With --plan, --workers or --scheduler: into how many slices; one has some 1,000 alleles "
    "or more.",
)
@click.option(
    "--slice", type=int, multiple=True, help="Only do this slice of a plan, from 0. Repeatable."
)
@click.option("--finalize", is_flag=True, help="Only write OUT, of slices that are all done.")
def vcf(
    vcf: str,
    store: Place,
    region: tuple[str, ...],
    regions_file: tuple[Path, ...],
    plan: bool,
    slices: int | None,
    slice: tuple[int, ...],
    finalize: bool,
    atlas: Place | None,
    **common: Any,
) -> None:
    """Score every allele of VCF: text, .gz, BCF, Seal's headerless five columns, - for stdin.

    Positions are 1-based. Each allele, <DEL>, <DUP> and <INV> too, gives one row (one per gene
    with --genes all) or is counted with the reason why not. With --out - it is a filter: the
    annotated VCF (or what --format says) goes to stdout, the summary to stderr.

    On a cluster: the command once with --plan, for each slice it names with --slice I (on any
    machine that sees OUT, VCF and the store), then with --finalize.
    """
    from seal_store.errors import InputError
    from seal_store.exporting.render import is_vcf
    from seal_store.run.job import Prepared
    from seal_store.variants.regions import chosen

    out, streams = common["out"], common["out"] == STDOUT
    _options.check_step(UNUSED, plan=plan, slice=slice, finalize=finalize)
    if streams:
        _options.refuse_unused(ALONE, "with --out -")
    else:
        _options.refuse_unused({"format"}, f"in {out.name}: its ending says it")
    kind = f".{common['format']}" if streams else ""
    use_name(common)
    _check(out, calibrated=common["calibrated"], kind=kind)
    crew = _options.crew(common)
    if slices and crew.is_one and not plan:
        raise click.UsageError("--slices has no effect without --plan, --workers or --scheduler")
    regions, named = chosen(region, regions_file)
    own = {name: common[name] for name in ("liftover", "check_assembly")}
    part = {"regions": tuple(regions), "named": tuple(named)}
    prepared = Prepared(_job(store, common, crew, variants=str(vcf), atlas=atlas, **part, **own))
    if common["resume"] and prepared.source and prepared.source.is_pipe:
        raise InputError(
            f"--resume: {vcf} is not a file, and cannot be read again", "write it to one first"
        )
    if common["liftover"] and (common["format"] != "tsv" if streams else is_vcf(out)):
        raise InputError(
            "--liftover: an annotated VCF has every record of its input, where it was",
            "name the output .zarr, .tsv or .parquet",
        )
    if streams:
        _stream(prepared, common)
    elif plan:
        _plan(prepared, slices, common)
    elif slice:
        _slice(prepared, slice)
    elif finalize:
        _finalize(prepared, common)
    else:
        _run(prepared, common, crew, slices)


@score.command()
@click.argument("variants", nargs=-1, required=True)
@_model
@calibrated(
    None,
    "Add quantile and z of every effect, and in words how unusual it is. Default: if the store "
    "has a calibration that fits.",
)
@_options.engine
@_options.precision
@matching
@_options.number("--top", 10, "Contexts of each variant and gene, the strongest first.")
@_options.as_json
def variant(variants: tuple[str, ...], store: Place, top: int, **common: Any) -> None:
    """Score VARIANTS given here, and print their strongest contexts.

    Each is chr1:867550:C:G, 1-867550-C-G, chr1_867550_C_G, "chr1:867550 C>G" as it is printed, or
    HGVS: chr1:g.867550C>G, NC_000001.10:g.867550C>G; del, ins, delins, dup and inv as well.
    Positions are 1-based, but for SPDI, an accession and three more fields:
    NC_000001.10:867549:C:G. Quote what has a ">".
    """
    from seal_store.results.strongest import strongest_contexts
    from seal_store.scoring.calibration import fits
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store
    from seal_store.variants.bases import StoreBases
    from seal_store.variants.notation import parse_variant

    opened = Store(store)
    bases, assembly = StoreBases(opened), opened.attributes.assembly
    alleles = [a for text in variants for a in parse_variant(text, bases, assembly)]
    use_name(common)
    if common["calibrated"] is None:
        common["calibrated"] = fits(opened, _score_options({**common, "calibrated": False}))
    scorer = Scorer(opened, _score_options(common))
    rows = strongest_contexts(scorer, alleles, top)
    facts = {"scheme": common["scheme"], **scorer.counts.to_dict(), "variants": rows}
    lines = [line for row in rows for line in described(row, common["precision"])]
    if scorer.calibration is not None:
        facts["calibration"] = scorer.calibration.source
        lines.append(background(facts["calibration"], scorer.options))
    _options.say(facts, "\n".join(lines + accounts(facts)))


@score.command()
@click.argument("gene")
@writing
@_options.number("--span", 1_000, "Bases to either side of the TSS.", 0, 20_000)
def saturate(gene: str, store: Place, span: int, **common: Any) -> None:
    """Score every SNV around the TSS of GENE, against that gene."""
    from seal_store.errors import InputError
    from seal_store.run.job import Prepared

    use_name(common)
    _check(common["out"], calibrated=common["calibrated"])
    if common["out"] == STDOUT:
        raise InputError("--out -: is for `seal-store score vcf`", "name the output")
    crew = _options.crew(common)
    _run(Prepared(_job(store, common, crew, gene=gene, span=span)), common, crew)


score.add_command(haplotypes)


def _check(out: Place, *, calibrated: bool, kind: str = "") -> None:
    """Refuse options that do nothing in this output; ``kind`` is the ending that its name lacks."""
    name = out.name.lower() + kind
    if calibrated and name.endswith((".vcf", ".vcf.gz", ".bcf")):
        _options.refuse_unused(QUANTILES, f"in {out.name}: name it .zarr, .tsv or .parquet")
    if name.endswith((".zarr", ".parquet", ".arrow", ".feather")):
        _options.refuse_unused({"precision"}, f"in {out.name}: it is no text")


def _score_options(common: dict[str, Any]) -> ScoreOptions:
    from seal_store.scoring.options import ScoreOptions

    own = {name: common[name] for name in ScoreOptions.__dataclass_fields__ if name in common}
    return ScoreOptions(**{**own, "contexts": _options.names(common["contexts"])})


def _job(store: Place, common: dict[str, Any], crew: Crew, **own: Any) -> ScoreJob:
    """What is asked for, as data."""
    from seal_store.run.job import ScoreJob

    return ScoreJob(
        store,
        common["out"],
        options=_score_options({**common, "device": crew.kind}),
        attribution=take(common),
        selection=_options.selection(common),
        precision=common["precision"],
        command=command_line(),
        **own,
    )


def _stream(prepared: Prepared, common: dict[str, Any]) -> None:
    from seal_store.run.stream import stream_scores
    from seal_store.scoring.scorer import Tally

    alleles, scorer = prepared.whole, prepared.scorer
    announce(scorer.attributor, rows=1_000)
    with Meter() as progress:
        written = stream_scores(
            scorer,
            alleles,
            sys.stdout.buffer,
            common["format"],
            form=prepared.form,
            command=prepared.job.command,
            watch=prepared.watch,
            progress=progress,
        )
    tell_scored(prepared, Tally(scorer.counts), prepared.seen, [written])


def _plan(prepared: Prepared, slices: int | None, common: dict[str, Any]) -> None:
    from seal_store.run.slices_plan import plan_scores

    with Meter() as progress:
        plan = plan_scores(
            prepared,
            slices,
            overwrite=common["overwrite"],
            resume=common["resume"],
            progress=progress,
        )
    alleles, last = sum(piece.alleles for piece in plan.slices), len(plan.slices) - 1
    facts = {"out": str(prepared.job.out), "alleles": alleles, "slices": last + 1}
    _options.say(facts, plan_text(counted(alleles, "allele"), last + 1, "slice"))


def _slice(prepared: Prepared, numbers: tuple[int, ...]) -> None:
    from seal_store.run.slices import run_slices

    with Meter() as progress:
        run = partial(run_slices, prepared, numbers, progress)
        _options.do_tasks(prepared.job.out, "slice", numbers, run)


def _finalize(prepared: Prepared, common: dict[str, Any]) -> None:
    from seal_store.run.slices import finalize_scores

    done: list[Exported] = []
    with Meter() as progress:
        made = finalize_scores(
            prepared, overwrite=common["overwrite"], progress=progress, tell=done.append
        )
    if made is None:
        tell_finished(prepared)
    else:
        tally, plan = made
        tell_scored(prepared, tally, (plan.records, plan.malformed), done)


def _run(prepared: Prepared, common: dict[str, Any], crew: Crew, slices: int | None = None) -> None:
    """Score to an output, here or by several processes, or go on with what was begun."""
    from seal_store.run.scores import is_finished
    from seal_store.run.slices import is_divided, score_job

    out, resumes = prepared.job.out, common["resume"] and not common["overwrite"]
    if resumes and is_finished(out):
        tell_finished(prepared)
        return
    if is_divided(out, crew, resume=common["resume"]):
        _options.refuse_unused({"verbose"}, "where the work is divided")
    source = prepared.source
    if source and source.regions and source.is_read_whole and not _options.is_given("quiet"):
        tell(f"note: {source.name} has no index (.csi, .tbi) as new as it: all is read", err=True)
    announce(prepared.scorer.attributor, rows=1_000)
    done: list[Exported] = []
    with Meter() as progress:
        tally, seen = score_job(
            prepared,
            crew,
            slices,
            overwrite=common["overwrite"],
            resume=common["resume"],
            progress=progress,
            tell=done.append,
        )
    tell_scored(prepared, tally, seen, done, verbose=common["verbose"])
