"""``seal-store score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _complete, _options, command_line
from ._attribution import announce, attributing, describe, facts_of, take
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.scoring.options import ScoreOptions
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store
    from seal_store.variants.liftover import Lifter
    from seal_store.variants.source import Alleles, VariantSource

scoring = _options.stack(
    click.option("--store", type=_options.PATH, required=True, help="The store to score from."),
    _options.scheme,
    click.option(
        "--heads",
        multiple=True,
        shell_complete=_complete.head_sets,
        help="Only this head set. Repeatable. Default: all.",
    ),
    _options.contexts,
    click.option(
        "--calibrated/--no-calibrated",
        default=False,
        help="Add quantile and z of every effect, from the store's calibration.",
    ),
    _options.engine,
    _options.precision,
)
"""Options of every command that scores."""

writing = _options.stack(
    click.option(
        "--out",
        type=_options.PATH,
        required=True,
        help="OUT.zarr (results group); .tsv, .tsv.gz, .parquet, .arrow, .feather (table); "
        ".vcf, .vcf.gz, .bcf (the input annotated).",
    ),
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
    _options.choice(
        "--ref-mismatch",
        ["flag", "skip", "error"],
        "What to do where REF differs from the genome.",
    ),
)
"""Options of commands that find the genes of variants."""


COUNTED = {
    "ref_mismatches": "REF differs from the genome in {} rows (flagged)",
    "swapped": "the store's genome has ALT in {} lifted rows "
    "(swapped, the sign of the effect turned)",
    "genes_not_computed": "pairs of allele and gene not computed: {}",
    "genes_too_long": "pairs of allele and gene too long: {}",
}
"""What a summary says of counts other than zero."""


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
    "index of BGZF or BCF (.csi, .tbi) if there is one. Repeatable.",
)
@click.option(
    "--liftover",
    type=_options.PATH,
    help="Chain file from the assembly of the variants to the store's, plain or gzipped.",
)
def vcf(
    vcf: str, store: Path, region: tuple[str, ...], liftover: Path | None, **common: Any
) -> None:
    """Score every allele of VCF: text, .gz, BCF, Seal's headerless five columns, - for stdin.

    Positions are 1-based. Each allele gives one row (one per gene with --genes all) or is
    counted with the reason why not.
    """
    from seal_store.errors import InputError
    from seal_store.exporting.render import is_vcf
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store
    from seal_store.variants.regions import parse_region
    from seal_store.variants.source import VariantSource

    _check(common["out"], calibrated=common["calibrated"])
    options = _score_options(common)
    opened = Store(store)
    source = VariantSource(vcf)
    regions = [parse_region(text) for text in region]
    if common["resume"] and source.is_pipe:
        raise InputError(
            f"--resume: {vcf} is not a file, and cannot be read again", "write it to one first"
        )
    lifter = _lifter(opened, source, liftover)
    for option, given in (("--liftover", lifter), ("--region", regions)):
        if given and is_vcf(common["out"]):
            raise InputError(
                f"{option}: an annotated VCF has every record of its input, where it was",
                "name the output .zarr, .tsv or .parquet",
            )
    scorer = Scorer(opened, options, attribution=take(common))
    if regions and source.is_read_whole and not _options.is_given("quiet"):
        click.echo(f"note: {vcf} has no index (.csi, .tbi) as new as it: all is read", err=True)
    alleles = source.alleles(regions)
    _run(scorer, lifter.lift(alleles) if lifter else alleles, common)


def _lifter(opened: Store, source: VariantSource, chain: Path | None) -> Lifter | None:
    """The way from the variants' assembly to the store's; refuses variants of another one."""
    from seal_store.reference.assembly import check_variants
    from seal_store.variants.liftover import Lifter

    lengths = source.contig_lengths
    if chain is not None:
        lifter = Lifter(chain, opened)
        lifter.check_variants(source.name, lengths)
        return lifter
    facts = opened.attributes
    where = f"the store {opened.path}"
    check_variants(source.name, lengths, facts.assembly, facts.genome.contigs, where)
    return None


@score.command()
@click.argument("variants", nargs=-1, required=True)
@scoring
@matching
@_options.number("--top", 10, "Contexts of each variant and gene, the strongest first.")
@_options.as_json
def variant(variants: tuple[str, ...], store: Path, top: int, **common: Any) -> None:
    """Score VARIANTS given here, and print their strongest contexts.

    Each is chr1:867550:C:G, 1-867550-C-G or HGVS: chr1:g.867550C>G, NC_000001.10:g.867550C>G;
    del, ins, delins, dup and inv as well. Positions are 1-based. Quote what has a ">".
    """
    from seal_store.results.strongest import strongest_contexts
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store
    from seal_store.variants.bases import StoreBases
    from seal_store.variants.notation import parse_variant

    opened = Store(store)
    bases, assembly = StoreBases(opened), opened.attributes.assembly
    alleles = [a for text in variants for a in parse_variant(text, bases, assembly)]
    scorer = Scorer(opened, _score_options(common))
    rows = strongest_contexts(scorer, alleles, top)
    facts = {"scheme": common["scheme"], **scorer.counts.to_dict(), "variants": rows}
    lines = [line for row in rows for line in _described(row, common["precision"])]
    _options.say(facts, "\n".join(lines + _accounts(facts)))


def _described(row: dict[str, Any], precision: int) -> list[str]:
    """A variant against a gene and its strongest contexts, for people."""
    from seal_store.variants.alleles import short

    gene = row["gene_id"] + (f" ({row['gene_symbol']})" if row["gene_symbol"] else "")
    notes = "" if row["ref_match"] else ", REF differs from the genome"
    notes += "" if row["status"] == "scored" else ", touches no window"
    change = f"{row['contig']}:{row['pos']} {short(row['ref'])}>{short(row['alt'])}"
    lines = [f"{change}, {gene}, {row['dist_to_tss']:+} bp from its TSS{notes}"]
    columns = [
        [
            "nan" if effect[name] is None else f"{effect[name]:+.{precision}g}"
            for effect in row["effects"]
        ]
        for name in ("effect", "quantile", "z")
        if name in row["effects"][0]
    ]
    widths = [max(map(len, column)) for column in columns]
    for effect, *numbers in zip(row["effects"], *columns, strict=True):
        text = "  ".join(f"{n:>{width}}" for n, width in zip(numbers, widths, strict=True))
        lines.append(f"  {text}  {effect['context_set']}:{effect['context_name']}")
    return lines


@score.command()
@click.argument("gene")
@writing
@_options.number("--span", 1_000, "Bases to either side of the TSS.", 0, 20_000)
def saturate(gene: str, store: Path, span: int, **common: Any) -> None:
    """Score every SNV around the TSS of GENE, against that gene."""
    from seal_store.scoring.saturate import saturation
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store
    from seal_store.variants.source import Alleles

    _check(common["out"], calibrated=common["calibrated"])
    opened = Store(store)
    scorer = Scorer(opened, _score_options(common), gene, take(common))
    name = f"SNVs within {span} bp of the TSS of {gene}"
    _run(scorer, Alleles(saturation(opened, gene, span), name), common)


def _check(out: Path, *, calibrated: bool) -> None:
    """Refuse options that do nothing in this output."""
    name = out.name.lower()
    if calibrated and name.endswith((".vcf", ".vcf.gz", ".bcf")):
        _options.refuse_unused({"calibrated"}, f"in {out.name}: name it .zarr, .tsv or .parquet")
    if name.endswith((".zarr", ".parquet", ".arrow", ".feather")):
        _options.refuse_unused({"precision"}, f"in {out.name}: it is no text")


def _score_options(common: dict[str, Any]) -> ScoreOptions:
    from seal_store.scoring.options import ScoreOptions

    own = {name: common[name] for name in ScoreOptions.__dataclass_fields__ if name in common}
    return ScoreOptions(**{**own, "contexts": _options.names(common["contexts"])})


def _run(scorer: Scorer, alleles: Alleles, common: dict[str, Any]) -> None:
    from seal_store.exporting.render import Form
    from seal_store.run.scores import is_finished, write_scores

    out = common["out"]
    if common["resume"] and not common["overwrite"] and is_finished(out):
        _tell_finished(scorer, alleles, out)
        return
    announce(scorer.attributor, rows=1_000)
    notes: list[str] = []
    with Meter() as progress:
        counts = write_scores(
            scorer,
            alleles,
            out,
            form=Form(_options.selection(common), common["precision"], alleles.source),
            overwrite=common["overwrite"],
            resume=common["resume"],
            command=command_line(),
            progress=progress,
            tell=notes.append,
        )
    facts = {"out": str(out), "scheme": common["scheme"], **counts.to_dict()}
    if notes:
        facts["notes"] = notes
    if scorer.attributor is not None:
        facts["attribution"] = facts_of(scorer)
    if common["verbose"]:
        delta = scorer.engine.evaluator.delta
        facts["engine"] = {"shared_stretches": delta.shared, "cones": delta.alone}
    _options.say(facts, summary)


def summary(facts: dict[str, Any]) -> str:
    """Where the input went, for people."""
    lines = [f"{facts['out']}: {facts['rows']} rows (scheme {facts['scheme']})"]
    lines += _accounts(facts)
    lines += [f"  {note}" for note in facts.get("notes", ())]
    if "attribution" in facts:
        lines.append(describe(facts["attribution"]))
    if "engine" in facts:
        engine = facts["engine"]
        lines.append(
            f"  reference activations: {engine['shared_stretches']} stretches shared by "
            f"neighbouring variants, {engine['cones']} cones of single positions"
        )
    return "\n".join(lines)


def _accounts(facts: dict[str, Any]) -> list[str]:
    """How many alleles were scored, and why the others were not."""
    from seal_store.scoring.assign import REASONS

    lines = [
        f"alleles in: {facts['alleles']}, scored: {facts['alleles_scored']}, "
        f"not scored: {sum(facts['not_scored'].values())}",
    ]
    for reason, count in facts["not_scored"].items():
        lines.append(f"  {reason}: {count} ({REASONS[reason]})")
        lines += [f"    {example}" for example in facts["examples"].get(reason, [])]
    return lines + [
        f"  {text.format(facts[name])}" for name, text in COUNTED.items() if facts[name]
    ]


def _tell_finished(scorer: Scorer, alleles: Alleles, out: Path) -> None:
    """What a run finds that has nothing left to do."""
    from seal_store.run.scores import check_finished

    facts: dict[str, Any] = {"out": str(out), "finished": True}
    text = f"{out}: is finished (a table does not say from which inputs)"
    if out.suffix == ".zarr":
        counts = check_finished(scorer, alleles, out)
        facts |= counts.to_dict()
        text = f"{out}: is finished, {counts.rows} rows"
    _options.say(facts, text)
