"""Options of the commands that attribute, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from seal_store.cli import _options

if TYPE_CHECKING:
    from seal_store.attribute import AttributionOptions, Attributor

METHODS = ["saliency", "integratedGradients", "deeplift", "kernelShap", "gradientShap", "lime"]


def attributing(command: Callable[..., None]) -> Callable[..., None]:
    """``--attribute``, ``--target`` and what shapes their output."""
    for option in reversed(
        (
            click.option(
                "--attribute",
                "--method",
                "method",
                type=click.Choice(METHODS),
                help="Store how much each chromatin feature contributes, by this method.",
            ),
            click.option(
                "--target",
                multiple=True,
                help="Context to attribute: a name, set:name, a file with one a line, or `all`. "
                "Repeatable.",
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
                type=click.IntRange(2),
                help="Samples of kernelShap, lime (default: 2 x features + 2048) and "
                "gradientShap (50).",
            ),
            click.option(
                "--seed", default=0, show_default=True, help="Of the sampled methods, per row."
            ),
            click.option(
                "--attribution-dtype",
                "dtype",
                type=click.Choice(["float32", "float16"]),
                default="float32",
                show_default=True,
                help="Storage of attributions.",
            ),
        )
    ):
        command = option(command)
    return command


def take(common: dict[str, Any]) -> AttributionOptions | None:
    """Take the options of :func:`attributing` out of a command's; None without a method."""
    from seal_store.attribute import AttributionOptions

    names = ("method", "target", "top_features", "by", "samples", "seed", "dtype")
    own = {name: common.pop(name) for name in names}
    if own["method"] is None:
        given = [name for name in ("target", "top_features", "by", "samples") if own[name]]
        if given:
            flag = given[0].replace("_", "-")
            raise click.UsageError(f"--{flag} needs --attribute METHOD.")
        return None
    return AttributionOptions(targets=_options.names(own.pop("target")), **own)


def announce(attributor: Attributor | None, rows: int | None, *, quiet: bool) -> None:
    """Say on stderr how much the attributions will take."""
    if attributor is None or quiet:
        return
    counted = 1_000 if rows is None else rows
    click.echo(
        f"attribution ({attributor.options.method}): {len(attributor.targets)} targets, "
        f"{attributor.features} features, {attributor.row_bytes() * counted / 1e6:,.4g} MB for "
        f"{counted:,} rows before compression",
        err=True,
    )
