"""``seal-store calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options, command_line
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place

FEW = 1_000


@click.command()
@click.argument("store", type=_options.PATH)
@click.argument("background", type=_options.PLACE)
@_options.choice(
    "--scheme",
    ["grid", "centered"],
    "The scheme to calibrate; a store can have a calibration for each.",
)
@_options.gene_distance
@_options.mismatch
@_options.normalize
@_options.check_assembly
@_options.crew_engine
@_options.resume
@_options.reporting
def calibrate(
    store: Path,
    background: Place,
    check_assembly: bool,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Keep in STORE how the effects of the variants in the VCF BACKGROUND are distributed.

    `score --calibrated` then gives every effect its quantile and z among them. The effects of
    the background stand in STORE.background.zarr meanwhile: up to 4 bytes a variant and context.
    """
    from seal_store.run.calibrate import calibrate
    from seal_store.scoring.options import ScoreOptions
    from seal_store.store.store import Store

    crew = _options.crew(options)
    with Meter() as progress:
        made = calibrate(
            Store(store),
            background,
            ScoreOptions(**{**options, "device": crew.kind}),
            crew=crew,
            check_assembly=check_assembly,
            overwrite=overwrite,
            resume=resume,
            command=command_line(),
            progress=progress,
        )
    facts = {"store": str(store), "scheme": options["scheme"], **made.to_dict()}
    _options.say(facts, _summary)


def _summary(facts: dict[str, Any]) -> str:
    from ._scored import accounts

    counts = facts["counts"]
    lines = [
        f"{facts['store']}: calibrated for scheme {facts['scheme']} with {facts['rows']} effects "
        f"of {facts['file']} in each context",
        *accounts(counts),
    ]
    if left_out := counts["rows"] - facts["rows"]:
        lines.append(f"  rows left out, as they change nothing or touch no window: {left_out}")
    if facts["rows"] < FEW:
        lines.append(f"  few effects: a quantile resolves no less than 1 in {facts['rows']}")
    return "\n".join(lines)
