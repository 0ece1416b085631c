"""Merge results that were made apart, as of one file a chromosome, in the order they are given."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.files import difference
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError
from seal_store.exporting.render import PLAIN, TABLES, Form, ending, is_vcf
from seal_store.results.group import Results
from seal_store.run.scores import check_kind, open_writer, scores_at
from seal_store.scoring.assign import Counts
from seal_store.store.layout import VARIANTS_PER_CHUNK, get, read
from seal_store.store.place import Place

SHOWN = 3
"""Inputs that ``variants`` names; ``merged`` has all."""

OWN = ("variants", "variants_sha256", "regions", "command", "counts", "software", "device")
"""Attributes in which results that are merged may differ."""


def merge(
    results: Sequence[Results],
    out: Place,
    *,
    form: Form = PLAIN,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Counts:
    """Write the rows of all ``results`` to ``out``, a results group or a table; their counts.

    They must be of one store, scheme and options, with the same contexts and arrays; the
    attributes say of each what it was made of. Raises :class:`InputError` that names two that
    differ and in what, or that have rows in common.
    """
    if not results:
        raise InputError("no results to merge", "name some")
    kinds = f"name the output .zarr, {', '.join(TABLES)}"
    if is_vcf(out):
        raise OutputError(f"{out}: an annotated VCF repeats one input", kinds)
    if out.suffix != ".zarr" and not ending(out):
        raise OutputError(f"{out}: unknown kind of output", kinds)
    if os.path.realpath(out) in (os.path.realpath(one.path) for one in results):
        raise OutputError(f"{out} is one of what is merged", "choose another `out`")
    inside = Path(os.path.realpath(out)).parents
    if within := next((r for r in results if Path(os.path.realpath(r.path)) in inside), None):
        raise OutputError(f"{out} lies in {within.path}, which is merged", "choose another `out`")
    first = results[0]
    for other in results[1:]:
        _check_alike(first, other)
    made_of = [(one, _made_of(one)) for one in results]
    positions = cache(_positions)  # of each once, whatever it is compared with
    for (one, parts), (other, others) in combinations(made_of, 2):
        _check_apart(one, parts, other, others, positions)
    heading = first.heading()
    with scores_at(out) as held:
        check_kind(out, form, attributed=bool(heading.attribution))
        held.claim(overwrite=overwrite)
        writer = open_writer(held, heading, form, lambda allele: allele.kind)
        counts, rows, total = Counts(), 0, sum(map(len, results))
        try:
            for one in results:
                with one.standing():
                    for start in range(0, len(one), VARIANTS_PER_CHUNK):
                        part = one.as_written(start, start + VARIANTS_PER_CHUNK)
                        writer.write(part)
                        rows += len(part)
                        progress("rows", rows, total)
                counts.add(Counts.from_dict(one.attributes.to_dict()["counts"]))
        except BaseException:
            writer.close()
            raise
        writer.publish(_attributes(results, command, counts))
    return counts


def _attributes(results: Sequence[Results], command: str, counts: Counts) -> dict[str, Any]:
    """Of the merged results: what all share, and in ``merged`` what each has of its own."""
    own = [part for one in results for part in _made_of(one)]
    first = results[0].attributes.to_dict()
    inputs = dict.fromkeys((part["variants"], part["variants_sha256"]) for part in own)
    names, hashes = zip(*inputs, strict=True)
    more = len(names) - SHOWN
    shared = {key: value for key, value in first.items() if key not in ("regions", "merged")}
    return {
        **shared,
        "variants": ", ".join(names[:SHOWN]) + f" and {more} more" * (more > 0),
        "variants_sha256": hashes[0] if len(inputs) == 1 else None,
        "command": command,
        "merged": own,
        "counts": counts.to_dict(),
    }


def _made_of(results: Results) -> list[dict[str, Any]]:
    """What results were merged from, or what they have of their own; JSON-ready."""
    facts = results.attributes.to_dict()
    own = {key: facts[key] for key in OWN if key in facts and key != "counts"}
    found: list[dict[str, Any]] = facts.get("merged") or [{**own, "sha256": results.sha256}]
    return found


def _check_apart(
    one: Results,
    parts: list[dict[str, Any]],
    other: Results,
    others: list[dict[str, Any]],
    positions: Callable[[Results], dict[str, np.ndarray]],
) -> None:
    """Raise :class:`InputError` if two results are the same, or have rows of one input in common.

    Those have that are of one input and have variants at the same position: a record's rows are
    all in the same results, whatever regions they are of.
    """
    same: dict[str, Any] = {}
    for part, theirs in product(parts, others):
        if part["sha256"] == theirs["sha256"]:
            raise InputError(
                f"{one.path} and {other.path} have the same results", "name them only once"
            )
        if part["variants_sha256"] and part["variants_sha256"] == theirs["variants_sha256"]:
            same = part
    if same and (where := _in_common(positions(one), positions(other))):
        raise InputError(
            f"{one.path} and {other.path} have variants of {same['variants']} in common, as at "
            f"{where}",
            "merge one of them, or score regions that are apart",
        )


def _in_common(one: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> str:
    """A position at which both have rows; empty if there is none."""
    for contig, own in one.items():
        found = np.intersect1d(own, theirs.get(contig, np.zeros(0, np.int64)))
        if len(found):
            return f"{contig}:{found[0]}"
    return ""


def _positions(results: Results) -> dict[str, np.ndarray]:
    """The positions, 1-based, of the rows on each contig."""
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(results), VARIANTS_PER_CHUNK):
        part = slice(start, start + VARIANTS_PER_CHUNK)
        contig, pos = results.labels("contig", part), read(get(results.group, "pos"), part)
        for name in np.unique(contig).tolist():
            found.setdefault(str(name), []).append(np.unique(pos[contig == name]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _check_alike(first: Results, other: Results) -> None:
    """Raise :class:`InputError` naming what is not alike in two results."""
    then, now = _shared(first), _shared(other)
    if then != now:
        name, was, found = difference(then, now)
        raise InputError(
            f"{first.path} and {other.path} cannot be merged: {name} {was!r} and {found!r}",
            "score them from one store with the same options",
        )


def _shared(results: Results) -> dict[str, Any]:
    """What must be equal, JSON-ready."""
    made, heading = results.attributes.to_dict(), results.heading()
    facts = {key: value for key, value in made.items() if key not in (*OWN, "merged")}
    facts["store"] = {key: value for key, value in facts["store"].items() if key != "path"}
    if facts.get("attribution"):
        facts["attribution"] = {
            key: value for key, value in facts["attribution"].items() if key != "device"
        }
    return {
        **facts,
        "contexts": list(map(list, zip(heading.context_set, heading.context_name, strict=True))),
        "arrays": [[e.name, e.dtype, list(e.dims)] for e in heading.more],
        "sizes": dict(heading.sizes),
        "labels": {e.name: np.asarray(values).tolist() for e, values in heading.labels},
    }
