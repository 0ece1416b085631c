"""``seal-store score``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.cli import _complete, _options, command_line
from seal_store.cli._attribution import announce, attributing, describe, facts_of, take
from seal_store.cli._progress import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seal_store.scorer import Scorer
    from seal_store.variants import Allele


def scoring(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command that scores."""
    for option in reversed(
        (
            click.option(
                "--store", type=_options.PATH, required=True, help="The store to score from."
            ),
            click.option(
                "--out",
                type=_options.PATH,
                required=True,
                help="OUT.zarr (results group) or OUT.tsv.",
            ),
            click.option(
                "--scheme",
                type=click.Choice(["grid", "centered"]),
                default="grid",
                show_default=True,
                help="grid: the gene's own windows that the allele touches. "
                "centered: Seal's nine windows.",
            ),
            click.option(
                "--heads",
                multiple=True,
                shell_complete=_complete.head_sets,
                help="Only this head set. Repeatable. Default: all.",
            ),
            _options.contexts,
            attributing,
            _options.batch,
            _options.precision,
            _options.device,
            _options.tf32,
            _options.overwrite,
            _options.resume,
            _options.quiet,
            click.option("--verbose", "-v", is_flag=True, help="Say how the engine worked."),
            _options.as_json,
        )
    ):
        command = option(command)
    return command


@click.group()
def score() -> None:
    """Score variants from a store."""


@score.command()
@click.argument("vcf", type=click.Path(allow_dash=True))
@scoring
@click.option(
    "--genes",
    type=click.Choice(["nearest", "all"]),
    default="nearest",
    show_default=True,
    help="The gene with the nearest TSS, or all genes within the distance.",
)
@click.option(
    "--max-distance", default=20_000, show_default=True, help="Largest distance to the TSS, bp."
)
@click.option(
    "--ref-mismatch",
    type=click.Choice(["flag", "skip", "error"]),
    default="flag",
    show_default=True,
    help="What to do where REF differs from the genome.",
)
def vcf(
    vcf: str, store: Path, genes: str, max_distance: int, ref_mismatch: str, **common: Any
) -> None:
    """Score every allele of VCF: text, .gz, Seal's headerless five columns, or - for stdin.

    Positions are 1-based. Each allele gives one row (one per gene with --genes all) or is
    counted with the reason why not.
    """
    from seal_store.scorer import Scorer
    from seal_store.store import Store
    from seal_store.variants import read_variants

    options = _score_options(
        common, genes=genes, max_distance=max_distance, ref_mismatch=ref_mismatch
    )
    scorer = Scorer(Store(store), options, attribution=take(common))
    _run(scorer, read_variants(vcf), vcf, common)


@score.command()
@click.argument("gene")
@scoring
@click.option(
    "--span",
    default=1_000,
    show_default=True,
    type=click.IntRange(0, 20_000),
    help="Bases to either side of the TSS.",
)
def saturate(gene: str, store: Path, span: int, **common: Any) -> None:
    """Score every SNV around the TSS of GENE, against that gene."""
    from seal_store.saturate import saturation
    from seal_store.scorer import Scorer
    from seal_store.store import Store

    opened = Store(store)
    scorer = Scorer(opened, _score_options(common), gene, take(common))
    _run(
        scorer,
        saturation(opened, gene, span),
        f"SNVs within {span} bp of the TSS of {gene}",
        common,
    )


def _score_options(common: dict[str, Any], **more: Any) -> Any:
    from seal_store.scorer import ScoreOptions

    names = ("scheme", "heads", "batch", "device", "tf32")
    contexts = _options.names(common["contexts"])
    return ScoreOptions(contexts=contexts, **{n: common[n] for n in names}, **more)


def _run(scorer: Scorer, alleles: Iterable[Allele], source: str, common: dict[str, Any]) -> None:
    from seal_store.errors import InputError
    from seal_store.write import is_finished, write_scores

    out = common["out"]
    if common["resume"] and source == "-":
        raise InputError("--resume: stdin cannot be read again", "write it to a file first")
    if common["resume"] and is_finished(out):
        click.echo(json.dumps({"out": str(out)}) if common["as_json"] else f"{out}: is finished")
        return
    announce(scorer.attributor, None, quiet=common["quiet"])
    with Meter(quiet=common["quiet"]) as progress:
        counts = write_scores(
            scorer,
            alleles,
            out,
            source=source,
            precision=common["precision"],
            overwrite=common["overwrite"],
            resume=common["resume"],
            command=command_line(),
            progress=progress,
        )
    facts = {"out": str(out), "scheme": common["scheme"], **counts.to_dict()}
    if scorer.attributor is not None:
        facts["attribution"] = facts_of(scorer)
    if common["verbose"]:
        delta = scorer.evaluator.delta
        facts["engine"] = {"shared_stretches": delta.shared, "cones": delta.alone}
    click.echo(json.dumps(facts) if common["as_json"] else summary(facts))


def summary(facts: dict[str, Any]) -> str:
    """Where the input went, for people."""
    from seal_store.assign import REASONS

    lines = [
        f"{facts['out']}: {facts['rows']} rows (scheme {facts['scheme']})",
        f"alleles in: {facts['alleles']}, scored: {facts['alleles_scored']}, "
        f"not scored: {sum(facts['not_scored'].values())}",
    ]
    for reason, count in facts["not_scored"].items():
        lines.append(f"  {reason}: {count} ({REASONS[reason]})")
        lines += [f"    {example}" for example in facts["examples"].get(reason, [])]
    if facts["ref_mismatches"]:
        lines.append(f"  REF differs from the genome in {facts['ref_mismatches']} rows (flagged)")
    if facts["genes_not_computed"]:
        lines.append(f"  pairs of allele and gene not computed: {facts['genes_not_computed']}")
    if facts["genes_too_long"]:
        lines.append(f"  pairs of allele and gene too long: {facts['genes_too_long']}")
    if "attribution" in facts:
        lines.append(describe(facts["attribution"]))
    if "engine" in facts:
        engine = facts["engine"]
        lines.append(
            f"  reference activations: {engine['shared_stretches']} stretches shared by "
            f"neighbouring variants, {engine['cones']} cones of single positions"
        )
    return "\n".join(lines)
