"""``seal-store calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import _options, command_line
from ._progress import Meter

FEW = 1_000


@click.command()
@click.argument("store", type=_options.PATH)
@click.argument("background", type=_options.PATH)
@_options.choice(
    "--scheme",
    ["grid", "centered"],
    "The scheme to calibrate; a store can have a calibration for each.",
)
@_options.gene_distance
@_options.engine
@_options.resume
@_options.reporting
def calibrate(store: Path, background: Path, overwrite: bool, resume: bool, **options: Any) -> None:
    """Keep in STORE how the effects of the variants in the VCF BACKGROUND are distributed.

    `score --calibrated` then gives every effect its quantile and z among them. The effects of
    the background stand in STORE.background.zarr meanwhile: up to 4 bytes a variant and context.
    """
    from seal_store.run.calibrate import calibrate
    from seal_store.scoring.options import ScoreOptions
    from seal_store.store.store import Store

    with Meter() as progress:
        made = calibrate(
            Store(store),
            background,
            ScoreOptions(**options),
            overwrite=overwrite,
            resume=resume,
            command=command_line(),
            progress=progress,
        )
    facts = {"store": str(store), "scheme": options["scheme"], **made.to_dict()}
    _options.say(facts, _summary)


def _summary(facts: dict[str, Any]) -> str:
    counts = facts["counts"]
    lines = [
        f"{facts['store']}: calibrated for scheme {facts['scheme']} with {facts['rows']} effects "
        f"in each context",
        f"alleles in {facts['file']}: {counts['alleles']}, scored: {counts['alleles_scored']}",
    ]
    lines += [f"  {reason}: {count}" for reason, count in counts["not_scored"].items()]
    if facts["rows"] < FEW:
        lines.append(f"  few effects: a quantile resolves no less than 1 in {facts['rows']}")
    return "\n".join(lines)
