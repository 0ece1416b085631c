"""``seal-store score``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seal_store.cli import _options, command_line
from seal_store.cli._progress import Meter
from seal_store.errors import InputError


@click.group()
def score() -> None:
    """Score variants from a store."""


@score.command()
@click.argument("vcf", type=click.Path(allow_dash=True))
@click.option("--store", type=_options.PATH, required=True, help="The store to score from.")
@click.option(
    "--out", type=_options.PATH, required=True, help="OUT.zarr (results group) or OUT.tsv."
)
@click.option(
    "--scheme",
    type=click.Choice(["grid", "centered"]),
    default="grid",
    show_default=True,
    help="grid: the gene's own windows that the allele touches. centered: Seal's nine windows.",
)
@click.option("--heads", multiple=True, help="Only this head set. Repeatable. Default: all.")
@click.option(
    "--contexts",
    multiple=True,
    help="Only these contexts: a name, set:name, or a file with one a line. Repeatable.",
)
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
@click.option(
    "--batch", default=64, show_default=True, help="Variants at once: speed and memory only."
)
@_options.precision
@_options.device
@_options.tf32
@_options.overwrite
@_options.quiet
@_options.as_json
def vcf(
    vcf: str,
    store: Path,
    out: Path,
    scheme: str,
    heads: tuple[str, ...],
    contexts: tuple[str, ...],
    genes: str,
    max_distance: int,
    ref_mismatch: str,
    batch: int,
    precision: int,
    device: str,
    tf32: bool,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score every allele of VCF: text, .gz, Seal's headerless five columns, or - for stdin.

    Positions are 1-based. Each allele gives one row (one per gene with --genes all) or is
    counted with the reason why not.
    """
    from seal_store.results import write_scores
    from seal_store.score import ScoreOptions
    from seal_store.store import Store

    options = ScoreOptions(
        scheme=scheme,
        heads=heads,
        contexts=_context_names(contexts),
        genes=genes,
        max_distance=max_distance,
        ref_mismatch=ref_mismatch,
        batch=batch,
        device=device,
        tf32=tf32,
    )
    with Meter(quiet=quiet) as progress:
        counts = write_scores(
            Store(store),
            vcf,
            out,
            options,
            precision=precision,
            overwrite=overwrite,
            command=command_line(),
            progress=progress,
        )
    facts = {"out": str(out), "scheme": scheme, **counts.to_dict()}
    click.echo(json.dumps(facts) if as_json else summary(facts))


def _context_names(values: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    for value in values:
        path = Path(value)
        if not path.is_file():
            names.append(value)
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{path}: not a text file", "give one context a line") from None
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise InputError(f"{path}: names no context", "give one context a line")
        names += found
    return tuple(names)


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
        lines.append(f"  {facts['genes_not_computed']} genes in range were not computed")
    return "\n".join(lines)
