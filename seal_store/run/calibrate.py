"""Calibrate a store: score background variants, keep the distribution of their effects.

The background is scored to results of its own beside the store, so that an interrupted run can go
on; exact quantiles are then taken of a few contexts at a time. The store is replaced at the very
end by a copy that shares its files, and until then stands as it was.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.common.beside import GROUP, check_plain, discard, remove
from seal_store.common.output import JOURNAL, Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import HeadsError, InputError, OutputError, StoreError, VariantError
from seal_store.results.group import Results
from seal_store.run.crew import ALONE, Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.scores import is_finished, scores_at
from seal_store.run.slices import score_job
from seal_store.scoring.bins import Binning, bin_of
from seal_store.scoring.calibration import CALIBRATION_GROUP, key_of, levels
from seal_store.scoring.options import ScoreOptions
from seal_store.store import manifest
from seal_store.store.attributes import (
    ATTRIBUTE,
    CalibrationAttributes,
    CalibrationBin,
    StoreAttributes,
    attributes_of,
)
from seal_store.store.layout import CALIBRATION, CALIBRATION_BINS, create, get, read
from seal_store.store.opening import consolidate
from seal_store.store.place import Place, single_at
from seal_store.store.store import Store

WHOLE = Binning()
"""No bins."""

BLOCK_BYTES = 512 << 20
"""Effects in memory at once, a column for each context."""


def background_path(store: Path) -> Path:
    """Where the background's results stand while a calibration is made, beside the store."""
    return store.with_name(store.name + ".background.zarr")


def calibrate(
    store: Store,
    background: Place,
    options: ScoreOptions,
    *,
    name: str = "",
    binning: Binning = WHOLE,
    crew: Crew = ALONE,
    check_assembly: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> CalibrationAttributes:
    """Score the VCF ``background`` and keep the distribution of its effects in ``store``.

    All contexts of the store are calibrated, for the scheme of ``options``; a store has one
    calibration without a name for each, and any number with a ``name``. ``binning`` says whether
    kinds of variant and distances to the TSS have distributions of their own. Rows that touch no
    window (status ``outside_grid``) or whose ALT is the genome's (``alt_is_reference``) are left
    out. Returns what the store's attributes say of it.

    Readers may go on meanwhile; the open ``store`` stays as it was, open it again. With
    ``resume`` a later run goes on with the effects that an interrupted one has written. Raises
    :class:`OutputError` if there is such a calibration already, or something unfinished, and
    neither ``overwrite`` nor ``resume`` is given; :class:`InputError` if no variant could be
    scored; and, with ``check_assembly``, :class:`VariantError` if the background is of another
    assembly.
    """
    if options.heads or options.contexts:
        raise HeadsError("a calibration is made of all contexts", "leave the selection out")
    if not store.head_sets:
        raise HeadsError(f"{store.path} has no heads", "add some with `seal-store heads add`")
    if not single_at(background).is_file():
        raise VariantError(f"variant file not found: {background}", "check the path")
    key = key_of(options.scheme, name)
    with Output(store.path, kind=ATTRIBUTE) as out:
        store.check_unchanged()
        path = out.path
        present = store.attributes.calibration.get(key)
        scored = background_path(path)
        job = ScoreJob(
            store.path,
            scored,
            str(background),
            options=options,
            check_assembly=check_assembly,
            command=command,
        )
        prepared = Prepared(job, store)
        sha256 = prepared.whole.provenance()["variants_sha256"]
        bins = _asked(binning)
        if present is not None and resume and _is_done(store, path, present, sha256, options, bins):
            discard(background_path(path))
            return present
        if present is not None and not overwrite:
            raise OutputError(
                f"{store.path} has a calibration {name and name + ' '}for scheme {options.scheme} "
                f"already (made from {present.file})",
                "add `overwrite=True` to replace it, or give another `name`",
            )
        _clear(out, store)
        if resume and is_finished(scored):
            results = _left(store, scored, sha256, options)
        elif not (overwrite or resume) and (scored.exists() or scores_at(scored).partial.exists()):
            raise OutputError(
                f"{scored} is there: an earlier calibration did not finish",
                "add `resume=True` to go on with it, or `overwrite=True` to start again",
            )
        else:
            score_job(prepared, crew, overwrite=overwrite, resume=resume, progress=progress)
            store.kept.clear()  # the weights are done with
            results = Results(scored)
        facts = _facts(results, background, sha256, command)
        if bins and facts.rows:
            facts = replace(facts, **bins, bins=binning.bins(*_rows(results)))
        if not facts.rows:
            discard(scored)
            reasons = results.attributes.counts.not_scored.items()
            why = ", ".join(f"{count} {reason}" for reason, count in reasons)
            raise InputError(
                f"{background}: no variant of it could be scored ({why or 'it has none'})",
                "a background needs variants near the genes of the store",
            )
        _publish(out, key, facts, results, progress)
        discard(scored)
    return facts


def _facts(results: Results, background: Place, sha256: str, command: str) -> CalibrationAttributes:
    """What the store says of a calibration made of ``results``."""
    made = results.attributes
    counts = made.counts.to_dict()
    return CalibrationAttributes(
        file=background.name,
        sha256=sha256,
        rows=int(_scored(results).sum()),
        genes=made.genes,
        max_distance=made.max_distance,
        ref_mismatch=made.ref_mismatch,
        normalize=made.normalize,
        tf32=made.tf32,
        heads=made.store.heads,
        counts={key: value for key, value in counts.items() if key != "examples"},
        software=made.software,
        command=command,
    )


def _asked(binning: Binning) -> dict[str, Any]:
    """What attributes say of the bins asked for; empty without."""
    keys = ("by", "bin_edges", "bin_least")
    return {key: getattr(binning, key) for key in keys} if binning.by else {}


def distribution(
    results: Results,
    bins: Sequence[CalibrationBin] = (),
    *,
    block_bytes: int = BLOCK_BYTES,
    progress: Progress = silent,
) -> dict[str, np.ndarray]:
    """Arrays of :data:`seal_store.store.layout.CALIBRATION` from the scored rows of ``results``.

    With ``bins`` those of :data:`seal_store.store.layout.CALIBRATION_BINS` too, each as if the
    rows in it were all.

    Quantiles are those of :func:`numpy.quantile` (linear) on all effects of a context; mean and
    standard deviation are summed in float64. About ``block_bytes`` of effects are in memory, and
    as many contexts as fit are read in one pass over the results. Raises :class:`StoreError`
    if an effect is not finite.
    """
    names, sets = results.contexts()
    level = levels()
    use = _scored(results)
    rows = int(use.sum())
    effect = get(results.group, "effect")
    found = {
        "quantile": level,
        "effect_quantile": np.empty((len(names), len(level)), np.float32),
        "mean": np.empty(len(names)),
        "sd": np.empty(len(names)),
        "count": np.full(len(names), rows),
        "context_name": np.array(names),
        "context_set": np.array(sets),
    }
    own = bin_of(bins, *_rows(results))
    inside = [own == i for i in range(len(bins))]
    if bins:
        found["bin_effect_quantile"] = np.empty((len(bins), len(names), len(level)), np.float32)
        found["bin_mean"], found["bin_sd"] = np.empty((2, len(bins), len(names)))
    at_once = min(len(names), max(1, block_bytes // (4 * max(1, rows))))
    columns = np.empty((at_once, rows), np.float32)
    step = effect.chunks[0]
    for first in range(0, len(names), at_once):
        last = min(first + at_once, len(names))
        at = 0
        for start in range(0, len(use), step):
            part = read(effect, (slice(start, start + step), slice(first, last)))
            part = part[use[start : start + step]]
            columns[: last - first, at : at + len(part)] = part.T
            at += len(part)
        for i in range(first, last):
            column = columns[i - first]
            if not np.isfinite(column).all():
                raise StoreError(
                    f"{results.path}: effects of {sets[i]}:{names[i]} are not finite",
                    "check the weights of the head set",
                )
            for b, rows_inside in enumerate(inside):
                _fill(found, "bin_", (b, i), column[rows_inside])
            _fill(found, "", (i,), column)
            progress("contexts", i + 1, len(names))
    return found


def _fill(
    found: dict[str, np.ndarray], prefix: str, at: tuple[int, ...], values: np.ndarray
) -> None:
    values.sort()
    found[f"{prefix}effect_quantile"][at] = np.quantile(values, found["quantile"])
    found[f"{prefix}mean"][at] = values.mean(dtype=np.float64)
    found[f"{prefix}sd"][at] = values.std(dtype=np.float64)


def _rows(results: Results) -> tuple[np.ndarray, np.ndarray]:
    """``kind`` and ``dist_to_tss`` of the rows that count."""
    use = _scored(results)
    return results.labels("kind")[use], read(get(results.group, "dist_to_tss"))[use]


def _scored(results: Results) -> np.ndarray:
    """Which rows have the effect of a change to the genome, bool."""
    status = read(get(results.group, "status"))
    return np.asarray((status == "scored") | (status == "swapped"))


def _is_done(
    store: Store,
    path: Path,
    present: CalibrationAttributes,
    sha256: str,
    options: ScoreOptions,
    bins: dict[str, Any],
) -> bool:
    """Whether ``present`` is what was asked for, and no later run is under way."""
    heads = {entry.name: entry.sha256 for entry in store.attributes.heads}
    asked = {"by": None, "bin_edges": None, "bin_least": None} | bins
    asked |= {"sha256": sha256, "heads": heads}
    keys = ("genes", "max_distance", "ref_mismatch", "normalize", "tf32")
    asked |= {key: getattr(options, key) for key in keys}
    out = scores_at(background_path(path))
    if any(getattr(present, key) != value for key, value in asked.items()):
        return False
    if not is_finished(out.path):
        return not out.partial.exists()
    return bool(Results(out.path).attributes.store.sha256 != store.sha256)


def _left(store: Store, out: Path, sha256: str, options: ScoreOptions) -> Results:
    """The background's results that an earlier run left whole in ``out``.

    Raises :class:`OutputError` if they are not of the same store, background and options.
    """
    results = Results(out)
    made = results.attributes
    same = made.variants_sha256 == sha256 and made.store.sha256 == store.sha256
    keys = ("scheme", "genes", "max_distance", "ref_mismatch", "normalize", "tf32")
    if not same or any(getattr(made, key) != getattr(options, key) for key in keys):
        raise OutputError(
            f"{out} holds the effects of another calibration, {made.variants} with scheme "
            f"{made.scheme}",
            "repeat that command, or start again with `overwrite=True` alone",
        )
    return results


def _clear(out: Output, store: Store) -> None:
    """Remove what a killed run left of a copy of ``store``; anything else is not ours to remove.

    Raises :class:`OutputError` for that.
    """
    partial = out.partial
    if not os.path.lexists(partial):
        return
    check_plain(partial)
    names = {file.name for file in partial.iterdir()}
    ours = JOURNAL not in names and _without(partial) == replace(store.attributes, calibration={})
    if not (ours or names <= {f"{GROUP}.tmp"}):
        raise OutputError(
            f"{partial} holds another store that is not finished",
            f"finish it with `seal-store build ... --resume --out {out.path}`, or remove it",
        )
    remove(partial)


def _without(partial: Path) -> StoreAttributes | None:
    """Attributes of an unfinished store, without its calibration."""
    try:
        group = zarr.open_group(str(partial), mode="r", use_consolidated=False)
        return replace(attributes_of(group), calibration={})
    except Exception:  # zarr raises many types for damaged metadata
        return None


def _publish(
    out: Output, key: str, facts: CalibrationAttributes, results: Results, progress: Progress
) -> None:
    bins = facts.bins or ()
    with results.standing():
        arrays = distribution(results, bins, progress=progress)
    out.claim(overwrite=True)
    known = manifest.link(out.path, out.partial, {f"{CALIBRATION_GROUP}/{key}"})
    group = zarr.open_group(str(out.partial), mode="r+", use_consolidated=False)
    target = group.require_group(CALIBRATION_GROUP).create_group(key)
    sizes = {"level": len(arrays["quantile"]), "context": len(arrays["mean"]), "bin": len(bins)}
    for entry in (*CALIBRATION, *(CALIBRATION_BINS if bins else ())):
        create(target, entry, sizes)[...] = arrays[entry.name]
    attributes = attributes_of(group)
    made = attributes.calibration | {key: facts}
    group.attrs[ATTRIBUTE] = replace(attributes, calibration=made).to_dict()
    consolidate(out.partial)
    manifest.publish(out, known)
