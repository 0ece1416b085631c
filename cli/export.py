"""``seal-store export``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seal_store.cli import _options
from seal_store.cli._progress import Meter


@click.command()
@click.argument("results", type=_options.PATH)
@click.argument("out", type=_options.PATH, required=False)
@click.option("--out", "out_option", type=_options.PATH, help="The same as the argument OUT.")
@_options.contexts
@_options.min_effect
@_options.top
@_options.long
@click.option(
    "--attributions",
    type=click.IntRange(1),
    metavar="N",
    help="Write the N strongest attributions of each row and target instead of effects (.tsv).",
)
@click.option(
    "--vcf",
    type=_options.PATH,
    help="The VCF to annotate. Default: the input of RESULTS.",
)
@click.option(
    "--store",
    type=_options.PATH,
    help="The store RESULTS were made from. Default: the one they name.",
)
@_options.precision
@_options.overwrite
@_options.quiet
@_options.as_json
def export(results: Path, out: Path | None, out_option: Path | None, **common: Any) -> None:
    r"""Write RESULTS (a .zarr of `score`) in another format, by the ending of OUT.

    \b
    .tsv, .tsv.gz             Seal's own columns
    .parquet                  the same columns (pip install 'seal-store[parquet]')
    .arrow, .feather          the same as Arrow IPC
    .vcf, .vcf.gz, .bcf       the scored VCF with INFO fields SEAL_... ('seal-store[htslib]')
    """
    from seal_store.results import Results

    if (out is None) == (out_option is None):
        raise click.UsageError("give one output, as OUT or with --out")
    target = out or out_option
    assert target is not None
    opened = Results(results)
    with Meter(quiet=common["quiet"]) as progress:
        done = _write(opened, target, common, progress)
    facts: dict[str, Any] = {"out": str(target), "rows": done.rows}
    if done.notes:
        facts["notes"] = done.notes
    lines = [f"{target}: {done.rows} rows", *(f"  {note}" for note in done.notes)]
    click.echo(json.dumps(facts) if common["as_json"] else "\n".join(lines))


def _write(results: Any, out: Path, common: dict[str, Any], progress: Any) -> Any:
    from seal_store.errors import InputError
    from seal_store.export import Exported, Form, export
    from seal_store.tables import export_attributions

    selection = _options.selection(common)
    own = {"precision": common["precision"], "overwrite": common["overwrite"]}
    if (count := common["attributions"]) is None:
        form = Form(selection, common["precision"], common["vcf"])
        return export(
            results,
            out,
            form,
            store=common["store"],
            overwrite=common["overwrite"],
            progress=progress,
        )
    if out.suffix != ".tsv":
        raise InputError(f"{out}: attributions are exported as text", "name it .tsv")
    return Exported(export_attributions(results, out, top=count, **own))
