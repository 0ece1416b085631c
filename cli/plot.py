"""``seal-store plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import _options

if TYPE_CHECKING:
    from pathlib import Path

    from seal_store.store.place import Place


@click.group()
def plot() -> None:
    """Draw charts of results and stores: .png, .svg, .pdf, .html or .json (Vega-Lite).

    They need `pip install 'seal-store[plot]'`, and no network.
    """


_out = click.option(
    "--out", type=_options.PLACE, required=True, help="File to write; its ending says how."
)
_variant = click.option(
    "--variant",
    metavar="CONTIG:POS:REF:ALT",
    help="Which variant, POS 1-based; needed among several.",
)
_gene = click.option("--gene", help="Which gene, by id or symbol; needed among several.")
_finish = _options.stack(_out, _options.work, _options.overwrite, _options.quiet, _options.as_json)


@plot.command("effect-map")
@click.argument("results", type=_options.PLACE)
@_options.cache
@_variant
@_gene
@_finish
def effect_map(results: Place, **common: Any) -> None:
    """One variant's effects on all contexts: regions by stages, cell types by stages or regions."""
    _draw("effect_map", common, results, variant=common["variant"], gene=common["gene"])


@plot.command("saturation")
@click.argument("results", type=_options.PLACE)
@_options.cache
@_options.contexts
@_gene
@click.option("--region", metavar="FROM-TO", help="First and last position to show, 1-based.")
@_finish
def saturation(results: Place, **common: Any) -> None:
    """Every SNV around a TSS (RESULTS of `score saturate`), and the sequence as a logo.

    Of several contexts the mean is drawn.
    """
    _draw(
        *("saturation", common, results, _options.names(common["contexts"])),
        gene=common["gene"],
        region=_region(common["region"]),
    )


@plot.command("profile")
@click.argument("store", type=_options.PLACE)
@_options.cache
@click.option("--gene", required=True, help="Which gene, by id or symbol.")
@click.option(
    "--feature",
    "features",
    type=_options.NAME_OR_FILE,
    multiple=True,
    help="Only these features: a name, or a file with one a line. Repeatable.",
)
@click.option(
    "--by",
    type=click.Choice(["assay_type", "factor", "cell_type"]),
    help="Means of features by this label.",
)
@click.option("--position", type=click.IntRange(1), help="Mark this position (1-based).")
@_finish
def profile(store: Place, **common: Any) -> None:
    """A gene's chromatin features in its windows, and how windows count by their distance."""
    names = _options.names(common["features"])
    by = common["by"] or ""
    _draw("profile", common, store, common["gene"], names, by, common["position"])


@plot.command("attribution")
@click.argument("results", type=_options.PLACE)
@_options.cache
@_variant
@_gene
@click.option("--target", help="Which attributed context; needed among several.")
@_finish
def attribution(results: Place, **common: Any) -> None:
    """The features to which one variant's effect on a context is owed."""
    chosen = {name: common[name] for name in ("variant", "gene", "target")}
    _draw("attribution", common, results, **chosen)


@plot.command("locus")
@click.argument("results", type=_options.PLACE)
@_options.cache
@_options.contexts
@_gene
@_options.choice("--by", ["distance", "position"], "Along the distance to the TSS, or the contig.")
@_finish
def locus(results: Place, **common: Any) -> None:
    """Effects of many variants: of several contexts the strongest."""
    names = _options.names(common["contexts"])
    _draw("locus", common, results, names, gene=common["gene"], by=common["by"])


@plot.command("calibration")
@click.argument("store", type=_options.PLACE)
@_options.cache
@click.option("--context", required=True, help="Which context: a name, or set:name.")
@click.option("--effect", type=float, help="An effect to mark.")
@_options.choice("--scheme", ["grid", "centered"], "Scheme of the calibration.")
@click.option("--name", default="", help="Name of the calibration. Default: the one without.")
@click.option("--kind", help="Of bins by kind that of this one: snv, deletion ...")
@click.option("--distance", type=int, help="Of bins by distance to the TSS that of this one, bp.")
@_finish
def calibration(store: Place, **common: Any) -> None:
    """The distribution of a calibration's background, and an effect within it."""
    names = ("context", "effect", "scheme", "name", "kind", "distance")
    _check_bins(store, **{name: common[name] for name in names[2:]})
    _draw("calibration", common, store, **{name: common[name] for name in names})


def _check_bins(store: Place, scheme: str, name: str, **given: str | int | None) -> None:
    """Refuse what chooses a bin where the calibration has none by it."""
    from seal_store.errors import InputError
    from seal_store.scoring.calibration import key_of, source_of
    from seal_store.store.store import Store

    asked = {by for by, value in given.items() if value is not None}
    if not asked or (source := source_of(Store(store), scheme, name)) is None:
        return  # the chart refuses a calibration that is not there
    has = {"both": {"kind", "distance"}}.get(made_by := source.get("by", ""), {made_by})
    for by in sorted(asked - has):
        raise InputError(
            f"`{by}`: calibration {key_of(scheme, name)} of {store} has no bins by {by}",
            f"leave it out, or name one that was made with `seal-store calibrate --by {by}`",
        )


@plot.command("evaluation")
@click.argument("table", type=_options.PATH)
@_finish
def evaluation(table: Path, **common: Any) -> None:
    """How well effects agree with known variants (TABLE.parquet of `evaluate variants --out`)."""
    _draw("evaluation", common, table)


def _draw(kind: str, common: dict[str, Any], /, *arguments: Any, **options: Any) -> None:
    from seal_store import charts
    from seal_store.charts.files import check_chart_file
    from seal_store.common.extras import require

    require("plot", "a chart")
    out = check_chart_file(common["out"])
    chart = getattr(charts, kind)(*arguments, **options)
    charts.save(chart, out, overwrite=common["overwrite"])
    _options.say({"out": str(out), "description": chart.description}, f"{out}: {chart.description}")


def _region(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.replace(",", "").partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
        raise click.UsageError("--region is FROM-TO, as in 1000-1100")
    return int(first), int(last)
