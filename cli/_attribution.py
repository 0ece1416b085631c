"""Options of the commands that attribute, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _complete, _options
from ._text import tell

if TYPE_CHECKING:
    from seal_store.scoring.attribution import Attributor
    from seal_store.scoring.options import AttributionOptions

CLOSED = ["saliency", "integratedGradients", "deeplift"]
METHODS = [*CLOSED, "kernelShap", "gradientShap", "lime"]

attributing = _options.stack(
    click.option(
        *("--attribute", "--method", "method"),
        type=click.Choice(METHODS),
        help="Store how much each chromatin feature contributes, by this method.",
    ),
    click.option(
        *("--target", "targets"),
        type=_options.NAME_OR_FILE,
        multiple=True,
        shell_complete=_complete.contexts,
        help="Context to attribute: a name (in every head set that has it), set:name, a "
        "file with one a line, or `all`. Repeatable.",
    ),
    click.option(
        "--top-features",
        type=click.IntRange(0),
        help="Keep only this many of the strongest features per row and target "
        "(0: none, with --by).",
    ),
    click.option(
        "--by",
        multiple=True,
        type=click.Choice(["assay", "factor", "cell_type"]),
        help="Add up the attributions by this label of the features too. Repeatable.",
    ),
    click.option(
        "--samples",
        type=click.IntRange(2, 2**24),
        help="Samples of kernelShap and lime (at least 2 x features + 2; default: 2 x features + "
        "2048) and of gradientShap (50).",
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**32 - 1),
        help="Of the sampled methods, the same for every row. Default: 0.",
    ),
    click.option(
        *("--attribution-dtype", "dtype"),
        type=click.Choice(["float32", "float16"]),
        help="Storage of attributions. Default: float32; float16 comes with a scale for "
        "each row and target.",
    ),
)
"""``--attribute``, ``--target`` and what shapes their output."""


def take(common: dict[str, Any]) -> AttributionOptions | None:
    """Take the options of :data:`attributing` out of a command's; None without a method."""
    from seal_store.scoring.options import AttributionOptions

    names = ("method", "targets", "top_features", "by", "samples", "seed", "dtype")
    own = {name: common.pop(name) for name in names}
    if own["method"] is None:
        _options.refuse_unused(names, "without --attribute METHOD")
        return None
    if own["method"] in CLOSED:
        _options.refuse_unused({"samples", "seed"}, f"with {own['method']}: it draws no samples")
    own["targets"] = _options.names(own["targets"])
    return AttributionOptions(**{name: value for name, value in own.items() if value is not None})


def announce(attributor: Attributor | None, rows: int) -> None:
    """Say on stderr how much the attributions will take."""
    if attributor is None or _options.is_given("quiet"):
        return
    fits = f"; {len(attributor.targets) * rows:,} fits by Captum"
    tell(
        f"attribution ({attributor.options.method}): {counted(len(attributor.targets), 'target')}, "
        f"{counted(attributor.features, 'feature')}, "
        f"{attributor.row_bytes() * rows / 1e6:,.4g} MB for "
        f"{rows:,} rows before compression" + fits * (attributor.options.method not in CLOSED),
        err=True,
    )


def facts_of(attributor: Attributor | None, completeness: float | None) -> dict[str, Any]:
    """What was attributed, and how far sums are from effects: JSON-ready.

    KernelShap's fit is made to add up, so its sums say nothing of how good it is: null.
    """
    from seal_store.scoring.options import FITTED

    made = attributor.provenance() if attributor else {}
    return {**made, "completeness": None if made.get("method") in FITTED else completeness}


def describe(facts: dict[str, Any]) -> str:
    """:func:`facts_of` for people."""
    line = f"  attributions: {facts['method']} of {counted(facts['targets'], 'target')}"
    if facts["samples"] is not None:
        line += f" from {facts['samples']} samples"
    if facts["completeness"] is None:
        return line
    return f"{line}, their sums within {facts['completeness']:.2g} of the effects"
