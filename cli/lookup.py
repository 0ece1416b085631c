"""``seal-store lookup``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options, command_line
from ._progress import Meter
from ._scored import STDOUT, accounts, described

if TYPE_CHECKING:
    from seal_store.atlas.lookup import Lookup
    from seal_store.exporting.render import Exported
    from seal_store.store.place import Place

OF_FILES = {"out", "format", "summary", "long", "min_effect", "overwrite", "check_assembly"}
"""What has no effect on variants that are given here."""


@click.command()
@click.argument("atlas", type=_options.PLACE)
@click.argument("variants", nargs=-1, required=True)
@click.option(
    "--out",
    type=_options.PLACE,
    help="Of a file: where to write, as for `score vcf`; - for stdout.",
)
@_options.choice("--format", ["vcf", "tsv", "bcf"], "With --out -: what to write to stdout.")
@click.option(
    "--summary",
    is_flag=True,
    help="Of a file: the largest effect of each SNV and its context, root mean square, the "
    "largest of each head set, the quantile, instead of all effects; to OUT.tsv or -.",
)
@_options.contexts
@_options.selecting
@_options.check_assembly
@_options.precision
@_options.work
@_options.cache
@_options.reporting
def lookup(atlas: Place, variants: tuple[str, ...], **common: Any) -> None:
    """Look VARIANTS up in ATLAS: one variant file (- for stdin), or variants given here.

    What `score vcf` and `score variant` write and print, without PyTorch, of what the atlas has:
    SNVs whose REF is the genome's. Others are counted with the reason. Variants are written as
    for `score variant`; positions are 1-based.
    """
    from seal_store.atlas.atlas import Atlas
    from seal_store.atlas.lookup import Lookup
    from seal_store.errors import InputError

    found = Lookup(Atlas(atlas), _options.names(common["contexts"]))
    if len(variants) == 1 and _is_file(variants[0]):
        if common["out"] is None:
            raise click.UsageError("--out is needed to look a file up; - for stdout")
        _file(found, variants[0], common)
    else:
        if len(variants) == 1 and common["out"] is not None:
            raise InputError(f"{variants[0]}: no such file", "check the path")
        _options.refuse_unused(OF_FILES, "on variants that are given here: name one file")
        _given(found, variants, common["top"] or 10, common["precision"])


def _is_file(text: str) -> bool:
    return text == "-" or "://" in text or (text != "" and os.path.exists(text))


def _given(found: Lookup, variants: tuple[str, ...], top: int, precision: int) -> None:
    from seal_store.atlas.bases import AtlasBases
    from seal_store.results.strongest import strongest_contexts
    from seal_store.variants.notation import parse_variant

    bases = AtlasBases(found.atlas)
    alleles = [a for text in variants for a in parse_variant(text, bases, bases.assembly)]
    rows = strongest_contexts(found, alleles, top)
    facts = {**_facts(found), "variants": rows}
    lines = [line for row in rows for line in described(row, precision)]
    _options.say(facts, "\n".join(lines + accounts(facts)))


def _file(found: Lookup, path: str, common: dict[str, Any]) -> None:
    from seal_store.exporting.render import Form
    from seal_store.run.lookup import alleles_of, write_lookup, write_summaries
    from seal_store.store.place import place
    from seal_store.variants.source import VariantSource

    out, streams = common["out"], common["out"] == STDOUT
    if streams:
        _options.refuse_unused({"overwrite"}, "with --out -")
    if common["summary"]:
        unused = {"contexts", "long", "top", "min_effect", "format"}
        _options.refuse_unused(unused, "with --summary")
    elif not streams:
        _options.refuse_unused({"format"}, f"in {out.name}: its ending says it")
    source = VariantSource(str(place(path)))
    alleles, watch = alleles_of(found.atlas, source, check_assembly=common["check_assembly"])
    target = sys.stdout.buffer if streams else out
    how: dict[str, Any] = {"overwrite": common["overwrite"]}
    done: list[Exported] = []
    with Meter() as progress:
        how |= {"progress": progress, "watch": watch}
        if common["summary"]:
            write_summaries(found, alleles, target, precision=common["precision"], **how)
        else:
            form = Form(_options.selection(common), common["precision"], source)
            how |= {"kind": common["format"], "command": command_line()}
            done = write_lookup(found, alleles, target, form, **how)
    facts = {"out": "stdout" if streams else str(out), **_facts(found)}
    seen = source.seen
    facts |= {"records_in": seen.records, "records_malformed": seen.malformed}
    notes = [note for written in done for note in written.notes]
    if notes:
        facts["notes"] = notes
    if not (streams and _options.is_given("quiet") and not _options.is_given("as_json")):
        lines = [f"{facts['out']}: {counted(facts['rows'], 'row')}", *accounts(facts)]
        _options.say(facts, "\n".join([*lines, *(f"  {note}" for note in notes)]), err=streams)


def _facts(found: Lookup) -> dict[str, Any]:
    return {"scheme": found.options.scheme, **found.counts.to_dict()}
