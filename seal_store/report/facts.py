"""What a report says of how results were made: names, values and commands, as text."""

from __future__ import annotations

from seal_store.charts.base import UNIT
from seal_store.results.group import Results
from seal_store.scoring.bins import IN_WORDS


def facts(results: Results) -> list[tuple[str, str]]:
    """What was scored, from what and how: names and values, in the order shown."""
    made = results.attributes
    store, counts = made.store, made.counts
    found = [
        ("variants", made.variants),
        ("their SHA-256", made.variants_sha256 or "not known: they were no file"),
        ("regions", ", ".join(made.regions or ())),
        ("alleles", f"{counts.alleles:,}, of which {counts.alleles_scored:,} scored"),
        ("rows", f"{counts.rows:,}, one for each allele and gene"),
        ("REF is not the genome's", f"{counts.ref_mismatches:,} rows"),
        ("contexts", f"{len(results.contexts()[0]):,}"),
        ("scheme", made.scheme),
        ("genes", made.gene or f"{made.genes} within {made.max_distance:,} bp"),
        ("effect", f"{UNIT}, alt minus ref"),
        ("background", _background(results)),
        ("attributions", made.attribution.method if made.attribution else "none"),
        ("lifted by", made.liftover.chain if made.liftover else ""),
        ("store", store.path),
        ("its SHA-256", store.sha256),
        ("assembly", store.assembly),
        ("SHA-256 of the CNN", store.cnn_sha256),
        *((f"SHA-256 of head set {name}", digest) for name, digest in store.heads.items()),
        ("device", made.device or ""),
        ("software", ", ".join(f"{name} {version}" for name, version in made.software.items())),
    ]
    return [(name, value) for name, value in found if value]


def _background(results: Results) -> str:
    own = results.attributes.calibration
    if own is None:
        return "none: quantiles need `seal-store calibrate` and `score --calibrated`"
    text = f"{own.rows:,} rows of {own.file}, genes {own.genes} within {own.max_distance:,} bp"
    return (
        text + (f", {IN_WORDS[own.by]}" if own.by else "") + (f" ({own.name})" if own.name else "")
    )


def commands(results: Results) -> list[str]:
    """What made the results, as it was typed."""
    made = results.attributes
    own = [made.command, *(part.command for part in made.merged or ())]
    return [*own, *([made.attribution_command] if made.attribution_command else [])]
