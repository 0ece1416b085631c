"""Add attributions to finished results: evaluate the same rows again from the same store.

The new arrays are written to a copy that shares the files of the results (hard links), which then
takes their place; until then the results stand as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import zarr

from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, StoreError
from seal_store.results import journal
from seal_store.results.group import ATTRIBUTE, Appender, Results, write_labels
from seal_store.results.heading import attribution_labels
from seal_store.scoring.assign import Counts, Task
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import manifest
from seal_store.store.address import Entry
from seal_store.store.layout import ATTRIBUTION
from seal_store.store.opening import consolidate
from seal_store.store.place import files_at, output_at, place
from seal_store.store.store import Store, software
from seal_store.variants.alleles import Allele, evaluated
from seal_store.variants.structural import KINDS

TOLERANCE = 1e-6, 1e-2
"""How far an effect may be from the stored one: absolute, and of the row's largest."""


def scorer_of(
    results: Results,
    store: Store | None,
    attribution: AttributionOptions,
    *,
    device: str = "auto",
    tf32: bool = False,
    batch: int = 128,
) -> Scorer:
    """A scorer with the options that ``results`` were made with, but for these.

    ``store`` is by default where theirs was. Raises :class:`StoreError` if it is not there, or has
    another CNN, other heads or another grid than the store that they were made from, and
    :class:`InputError` for effects from an atlas.
    """
    if results.attributes.atlas is not None:
        raise InputError(
            f"{results.path}: has effects from an atlas, which are rounded: attributions of what "
            "is computed do not add up to them",
            "score without `atlas`, or build the atlas with attributions",
        )
    made = results.attributes.store
    if store is None:
        recorded = place(made.path)
        if not files_at(recorded).exists():
            raise StoreError(
                f"{results.path} was made from {made.path}, which is not there", "give `store`"
            )
        store = Store(recorded)
    heads = {entry.name: entry.sha256 for entry in store.attributes.heads}
    names, sets = results.contexts()
    found: dict[str, tuple[str, str | None]] = {
        "CNN": (made.cnn_sha256, store.attributes.cnn.sha256),
        **{f"head set {name}": (made.heads[name], heads.get(name)) for name in set(sets)},
        "assembly": (made.assembly, store.attributes.assembly),
    }
    if made.grid is not None:
        found["grid"] = str(made.grid), str(store.attributes.grid)
    for what, (then, now) in found.items():
        if then != now:
            raise StoreError(
                f"{results.path} was made with {what} {then[:80]}, {store.path} has "
                f"{now[:80] if now else 'none'}",
                "give the store it was made from with `store`",
            )
    options = ScoreOptions(
        scheme=results.attributes.scheme,
        heads=tuple(dict.fromkeys(sets)),
        contexts=tuple(f"{s}:{n}" for s, n in zip(sets, names, strict=True)),
        device=device,
        ref_mismatch="swap" if results.attributes.ref_mismatch == "swap" else "flag",
        normalize=results.attributes.normalize,
        tf32=tf32,
        batch=batch,
    )
    gene = results.attributes.gene
    return Scorer(store, options, gene, attribution, assign=_Rows(results, store))


def add_attributions(
    results: Results,
    scorer: Scorer,
    *,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> None:
    """Evaluate every row of ``results`` again with ``scorer`` and add its attributions.

    Raises :class:`OutputError` if there are attributions already and ``overwrite`` is false,
    :class:`StoreError` if an effect is not the stored one.
    """
    with output_at(results.path, kind=ATTRIBUTE) as out:
        results.check_unchanged()
        if results.attributes.attribution and not overwrite:
            method = results.attributes.attribution.method
            raise OutputError(
                f"{out.place} has attributions already ({method})",
                "add `overwrite=True` to replace them",
            )
        if (out.partial / journal.CHECKPOINT).exists():
            raise OutputError(
                f"{out.partial} holds an unfinished score of the same name",
                "finish it with `seal-store score ... --resume`, or remove it",
            )
        out.claim(overwrite=True)
        known = manifest.link(place(out.place), out.partial, {entry.name for entry in ATTRIBUTION})
        group = zarr.open_group(str(out.partial), mode="r+", use_consolidated=False)
        files = _write(group, out.partial, results, scorer, progress)
        group.attrs[ATTRIBUTE] = {
            **results.attributes.to_dict(),
            "attribution": scorer.provenance()["attribution"],
            "attribution_command": command,
            "attribution_software": software(),
        }
        consolidate(out.partial)
        manifest.publish(out, known | files)


def _write(
    group: zarr.Group, folder: Path, results: Results, scorer: Scorer, progress: Progress
) -> dict[str, Entry]:
    """Write the attributions of every row to ``group`` in ``folder``; the files of their chunks."""
    attributor = scorer.attributor
    assert attributor is not None
    write_labels(group, attribution_labels(scorer))
    appender = Appender(group, folder, attributor.specs(), attributor.sizes())
    done, total = 0, len(results)
    places = _places(results, scorer)
    for rows in scorer.score(_alleles(results), str(results.path)):
        stored = results.rows(done, done + len(rows)).effect
        _same(stored, rows.effect[:, places], results, done)
        appender.append(rows.attribution)
        done += len(rows)
        progress("rows", done, total)
    if done != total:
        raise StoreError(
            f"{results.path}: {total - done} of {total} rows cannot be evaluated from "
            f"{scorer.store.path}",
            "give the store they were made from with `store`",
        )
    appender.flush()
    return appender.files


class _Rows:
    """Assigns the alleles of :func:`_alleles` to the genes of their rows."""

    def __init__(self, results: Results, store: Store) -> None:
        self.store = store
        self.gene_id = results.labels("gene_id")

    def __call__(self, allele: Allele, counts: Counts) -> list[Task]:
        gene_id = str(self.gene_id[allele.line])
        table, row = self.store.table, self.store.table.row(gene_id)
        tss, strand = int(table.tss[row]), int(table.strand[row])
        return [Task(allele, allele.contig, self.store.gene(gene_id), tss, strand)]


def _places(results: Results, scorer: Scorer) -> list[int]:
    """Where each context of ``results`` stands among the scorer's."""
    own = list(zip(scorer.context_set, scorer.context_name, strict=True))
    names, sets = results.contexts()
    return [own.index(key) for key in zip(sets, names, strict=True)]


def _alleles(results: Results) -> Iterator[Allele]:
    """The alleles that the rows are of, as they were assigned; ``line`` is the row."""
    names = ("contig", "pos", "id", "ref", "alt", "kind")
    row = 0
    for batch in results.batches():
        columns = (batch.columns[name].tolist() for name in names)
        notes = batch.columns.get("liftover", np.full(len(batch), "")).tolist()
        ends = batch.columns.get("end", np.zeros(len(batch), np.int64)).tolist()
        for values, note, end in zip(zip(*columns, strict=True), notes, ends, strict=True):
            allele = Allele(row, *values)
            yield replace(allele, end=end) if allele.alt in KINDS else evaluated(allele, note)
            row += 1


def _same(stored: np.ndarray, found: np.ndarray, results: Results, start: int) -> None:
    absolute, relative = TOLERANCE
    allowed = absolute + relative * np.abs(stored).max(1, initial=0)
    off = np.flatnonzero(np.abs(stored - found).max(1, initial=0) > allowed)
    if len(off):
        raise StoreError(
            f"{results.path}: row {start + off[0]} (0-based) gives another effect when evaluated",
            "is it the store that the results were made from?",
        )
