"""What is printed of scores: where the input went, and the strongest contexts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seal_store.common.words import counted

from . import _options
from ._attribution import describe, facts_of

if TYPE_CHECKING:
    from seal_store.exporting.render import Exported
    from seal_store.run.job import Prepared
    from seal_store.scoring.options import ScoreOptions
    from seal_store.scoring.scorer import Tally

STDOUT = Path("-")

COUNTED = {
    "ref_mismatches": "REF differs from the genome in {rows} (flagged)",
    "alt_is_reference": "the store's genome has ALT in {count} of these rows (alt_is_reference; "
    "--ref-mismatch swap exchanges REF and ALT)",
    "swapped": "the store's genome has ALT in {rows} (swapped, the sign of the effect turned)",
    "normalized": "left-aligned or trimmed in {rows} (rows keep the input's POS, REF and ALT)",
    "genes_not_computed": "pairs of allele and gene not computed: {count}",
    "genes_too_long": "pairs of allele and gene too long: {count}",
}
"""What a summary says of counts other than zero."""

STATUS = {
    "scored": "",
    "outside_grid": ", touches no window",
    "alt_is_reference": ", which has ALT (--ref-mismatch swap exchanges them)",
    "swapped": ", which has ALT: exchanged, the sign turned",
}
"""What is said of a row's status, after whether REF is the genome's."""


def background(made: dict[str, Any], options: ScoreOptions) -> str:
    """What quantiles and z are among, and whether its genes were found in another way."""
    from seal_store.scoring.bins import IN_WORDS

    text = (
        f"background: {counted(made['rows'], 'effect')} of {made['file']} in each context "
        f"(--genes {made['genes']}, --max-distance {made['max_distance']})"
    )
    text += f", {IN_WORDS[made['by']]}" if made.get("by") else ""
    if (made["genes"], made["max_distance"]) != (options.genes, options.max_distance):
        text += (
            f"; these are of --genes {options.genes}, --max-distance {options.max_distance}: "
            "quantiles compare unlike with unlike"
        )
    return text


def described(row: dict[str, Any], precision: int) -> list[str]:
    """A variant against a gene and its strongest contexts, for people."""
    from seal_store.scoring.calibration import in_words
    from seal_store.variants.alleles import short

    gene = row["gene_id"] + (f" ({row['gene_symbol']})" if row["gene_symbol"] else "")
    notes = "" if row["ref_match"] else ", REF differs from the genome"
    notes += STATUS[row["status"]]
    change = f"{row['contig']}:{row['pos']} {short(row['ref'])}>{short(row['alt'])}"
    lines = [f"{change}, {gene}, {row['dist_to_tss']:+} bp from its TSS{notes}"]
    named = [name for name in ("effect", "quantile", "z") if name in row["effects"][0]]
    columns = [
        [
            name,
            *(
                "nan" if effect[name] is None else f"{effect[name]:+.{precision}g}"
                for effect in row["effects"]
            ),
        ]
        for name in named
    ]
    widths = [max(map(len, column)) for column in columns]
    heading, *found = (
        "  ".join(f"{n:>{width}}" for n, width in zip(numbers, widths, strict=True))
        for numbers in zip(*columns, strict=True)
    )
    lines += [f"  {heading}  context"] if len(named) > 1 else []
    for effect, numbers in zip(row["effects"], found, strict=True):
        words = in_words(effect["quantile"]) if "quantile" in effect else ""
        words = f", {words}" if words else ""
        lines.append(f"  {numbers}  {effect['context_set']}:{effect['context_name']}{words}")
    return lines


def tell_scored(
    prepared: Prepared,
    tally: Tally,
    seen: tuple[int, int] | None,
    done: list[Exported],
    *,
    verbose: bool = False,
) -> None:
    """The summary, on stderr if the output is on stdout: with ``--quiet`` then only as JSON.

    ``seen`` has the records of the input, and how many of them were malformed.
    """
    out, scorer = prepared.job.out, prepared.scorer
    streams = out == STDOUT
    facts = {
        "out": "stdout" if streams else str(out),
        "scheme": scorer.options.scheme,
        **tally.counts.to_dict(),
    }
    if seen is not None:
        facts |= dict(zip(("records_in", "records_malformed"), seen, strict=True))
    for written in done:
        facts[f"{written.unit}_out"] = written.rows
        if written.notes:
            facts["notes"] = [*written.notes]
    if scorer.calibration is not None:
        facts["calibration"] = scorer.calibration.source
        facts.setdefault("notes", []).append(background(facts["calibration"], scorer.options))
    if scorer.engine.at_most is not None:
        most = scorer.engine.at_most
        facts.setdefault("notes", []).append(
            f"the device's memory was enough for {counted(most, 'variant')} at a time: "
            f"--batch {most}"
        )
    if scorer.attributor is not None:
        facts["attribution"] = facts_of(scorer.attributor, tally.completeness)
    if verbose:
        delta = scorer.engine.evaluator.delta
        facts["engine"] = {"shared_stretches": delta.shared, "cones": delta.alone}
    if not (streams and _options.is_given("quiet") and not _options.is_given("as_json")):
        _options.say(facts, summary, err=streams)


def summary(facts: dict[str, Any]) -> str:
    """Where the input went, for people."""
    lines = [f"{facts['out']}: {counted(facts['rows'], 'row')} (scheme {facts['scheme']})"]
    lines += accounts(facts)
    lines += [f"  {note}" for note in facts.get("notes", ())]
    if "attribution" in facts:
        lines.append(describe(facts["attribution"]))
    if "engine" in facts:
        engine = facts["engine"]
        lines.append(
            f"  reference activations: {engine['shared_stretches']} stretches shared by "
            f"neighbouring variants, {engine['cones']} of one variant or position each"
        )
    return "\n".join(lines)


def accounts(facts: dict[str, Any]) -> list[str]:
    """How many alleles were scored, and why the others were not."""
    from seal_store.scoring.assign import REASONS

    lines = [
        f"alleles in: {facts['alleles']}, scored: {facts['alleles_scored']}, "
        f"not scored: {sum(facts['not_scored'].values())}",
    ]
    for reason, count in facts["not_scored"].items():
        lines.append(f"  {reason}: {count} ({REASONS[reason]})")
        lines += [f"    {example}" for example in facts.get("examples", {}).get(reason, [])]
    return lines + [
        f"  {text.format(count=facts[name], rows=counted(facts[name], 'row'))}"
        for name, text in COUNTED.items()
        if facts.get(name)
    ]


def tell_finished(prepared: Prepared) -> None:
    """What a run finds that has nothing left to do."""
    from seal_store.run.scores import check_finished

    out = prepared.job.out
    facts: dict[str, Any] = {"out": str(out), "finished": True}
    text = f"{out}: is finished (a table does not say from which inputs)"
    if out.suffix == ".zarr":
        counts = check_finished(prepared.scorer, prepared.whole, out)
        facts |= counts.to_dict()
        text = "\n".join([f"{out}: is finished, {counted(counts.rows, 'row')}", *accounts(facts)])
    _options.say(facts, text)
