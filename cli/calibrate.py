"""``seal-store calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.store.place import Place

FEW = 1_000


def _edges(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in value.split(","))
    except ValueError:
        raise click.BadParameter("not whole numbers with commas between") from None


@click.command()
@click.argument("store", type=_options.PATH)
@click.argument("background", type=_options.PLACE)
@_options.choice(
    "--scheme",
    ["grid", "centered"],
    "The scheme to calibrate; a store can have a calibration for each.",
)
@click.option(
    "--name",
    default="",
    help="Keep it under this name, beside others: `score --calibration NAME` takes it.",
)
@click.option(
    "--by",
    type=click.Choice(["distance", "kind", "both"]),
    help="Keep distributions of their own for distances to the TSS, for kinds of variant (SNVs "
    "and MNVs; indels), or both. Default: one for all.",
)
@click.option(
    "--bin-edges",
    default="500,1000,2000,5000,10000",
    show_default=True,
    callback=_edges,
    metavar="BP,...",
    help="Distances where a bin begins, beside 0.",
)
@_options.number(
    "--bin-least", 1_000, "Effects that a bin has, or it is pooled with its neighbour."
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
    name: str,
    by: str | None,
    bin_edges: tuple[int, ...],
    bin_least: int,
    check_assembly: bool,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Keep in STORE how the effects of the variants in the VCF BACKGROUND are distributed.

    `score --calibrated` then gives every effect its quantile and z among them, with --by among
    those of its like: a background for --by kind needs indels. The effects of the background
    stand in STORE.background.zarr meanwhile: up to 4 bytes a variant and context.
    """
    from seal_store.run.calibrate import calibrate
    from seal_store.scoring.bins import Binning
    from seal_store.scoring.calibration import key_of, pinned
    from seal_store.scoring.options import ScoreOptions
    from seal_store.store.store import Store

    if by is None:
        _options.refuse_unused({"bin_edges", "bin_least"}, "without --by")
    if by == "kind":
        _options.refuse_unused({"bin_edges"}, "with --by kind")
    crew = _options.crew(options)
    with Meter() as progress:
        made = calibrate(
            Store(store),
            background,
            ScoreOptions(**{**options, "device": crew.kind}),
            name=name,
            binning=Binning(by, bin_edges, bin_least),
            crew=crew,
            check_assembly=check_assembly,
            overwrite=overwrite,
            resume=resume,
            command=command_line(),
            progress=progress,
        )
    facts = {
        "store": str(store),
        "scheme": options["scheme"],
        "name": name,
        **made.to_dict(),
        "pinned": pinned(Store(store), key_of(options["scheme"], name)),
    }
    _options.say(facts, _summary)


def _summary(facts: dict[str, Any]) -> str:
    from ._scored import accounts

    counts, named = facts["counts"], facts["name"] and f" as {facts['name']}"
    lines = [
        f"{facts['store']}: calibrated{named} for scheme {facts['scheme']} with "
        f"{counted(facts['rows'], 'effect')} of {facts['file']} in each context",
        *accounts(counts),
    ]
    if left_out := counts["rows"] - facts["rows"]:
        lines.append(f"  rows left out, as they change nothing or touch no window: {left_out}")
    lines += _bins(facts) if facts.get("bins") else []
    if tied := facts["pinned"]:
        most = max(tied, key=lambda own: own["share"])
        where = most["context"] + (f" ({most['bin']})" if most["bin"] else "")
        contexts = len({own["context"] for own in tied})
        lines.append(
            "  1 % or more of the background is at one end, and cannot be ranked, in "
            f"{counted(contexts, 'context')}: most in {where}, {most['share']:.1%}; "
            "`seal-store inspect` lists them"
        )
    fewest = min((own["rows"] for own in facts.get("bins") or ()), default=facts["rows"])
    if fewest < FEW:
        where = " in the smallest bin" if facts.get("bins") else ""
        lines.append(f"  few effects: a quantile resolves no less than 1 in {fewest}{where}")
    return "\n".join(lines)


def _bins(facts: dict[str, Any]) -> list[str]:
    from seal_store.scoring.bins import Binning, label
    from seal_store.store.attributes import CalibrationBin

    binning = Binning(facts["by"], facts["bin_edges"], facts["bin_least"])
    bins = [CalibrationBin.parse(own) for own in facts["bins"]]
    lines = ["  effects in each bin:", *(f"    {label(own)}: {own.rows}" for own in bins)]
    if pooled := len(binning.asked) - len(bins):
        least = f"fewer than {binning.bin_least} effects"
        lines.append(f"  bins pooled with a neighbour, as they had {least}: {pooled}")
    return lines
