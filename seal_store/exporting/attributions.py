"""The strongest attributions of each row and target, one a line: as TSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import HeadsError, OutputError
from seal_store.exporting.cells import cell
from seal_store.exporting.kinds import file_at
from seal_store.exporting.tsv import writing
from seal_store.model.contexts import select_contexts
from seal_store.results.group import Results
from seal_store.results.view import leading
from seal_store.store.layout import get
from seal_store.store.place import Place

ENDINGS = (".tsv", ".parquet", ".arrow", ".feather")
VALUE = "attribution"
_FEATURES = {
    "feature": "feature_name",
    "feature_assay_type": "feature_assay_type",
    "feature_factor": "feature_factor",
    "feature_cell_type": "feature_cell_type",
}


def export_attributions(
    results: Results,
    out: Place,
    *,
    top: int = 20,
    targets: Sequence[str] = (),
    precision: int = 6,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Write the ``top`` strongest attributions of each row and target, one a line; their number.

    ``out`` ends in one of :data:`ENDINGS`. ``targets`` are names as in
    :func:`seal_store.model.contexts.select_contexts`; all by default. Attributions of 0 are left
    out. Raises :class:`OutputError` if ``results`` have no attributions of single features, or
    for another ending, :class:`HeadsError` for a name that is no target.
    """
    if out.suffix not in ENDINGS:
        raise OutputError(
            f"{out}: attributions are a table of text or Parquet",
            f"name it {', '.join(ENDINGS)}",
        )
    with results.standing():
        lines = strongest_attributions(results, top, targets)
    if out.suffix == ".tsv":
        with writing(out, overwrite=overwrite) as handle, results.standing():
            return _write_tsv(lines, handle, precision, progress)
    require("parquet", f"writing {out.suffix}")
    from seal_store.exporting.parquet import metadata_of, write_lines

    with file_at(out) as held:
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        with results.standing():
            path = held[held.path.name]
            count = write_lines(lines, path, out.suffix, metadata_of(results), progress)
        held.publish()
    return count


def strongest_attributions(
    results: Results, top: int, targets: Sequence[str] = ()
) -> Iterator[dict[str, np.ndarray]]:
    """Columns of the lines, a bounded part at a time, at least one; strongest first in each row.

    They are the leading ones of every table, ``target_set``, ``target``, ``feature`` and its
    labels, and ``attribution`` float32. Raises as :func:`export_attributions` at once.
    """
    if VALUE not in results.group:
        raise OutputError(
            f"{results.path}: no attributions of single features",
            "add them with `seal-store attribute`",
        )
    labels = {"target_set": results.labels("target_set"), "target": results.labels("target_name")}
    pairs = list(zip(*(own.tolist() for own in labels.values()), strict=True))
    try:
        chosen = select_contexts(pairs, targets)
    except HeadsError as error:
        known = ", ".join(":".join(pair) for pair in pairs[:5])
        raise HeadsError(f"{results.path}: among its targets: {error}", f"it has {known}") from None
    features = {name: results.labels(own) for name, own in _FEATURES.items()}
    return _parts(results, top, chosen, labels, features)


def _parts(
    results: Results,
    top: int,
    chosen: np.ndarray,
    labels: dict[str, np.ndarray],
    features: dict[str, np.ndarray],
) -> Iterator[dict[str, np.ndarray]]:
    step = get(results.group, VALUE).chunks[0]
    for start in range(0, max(1, len(results)), step):
        found = results.attribution(start, start + step)
        values, feature = found[VALUE][:, chosen], found.get("attribution_feature")
        order = _largest(np.abs(values), top)
        value = np.take_along_axis(values, order, -1)
        index = order if feature is None else np.take_along_axis(feature[:, chosen], order, -1)
        row, target, place = np.nonzero((index >= 0) & (value != 0))
        of = chosen[target]
        yield {
            **{n: c[row] for n, c in leading(results.rows(start, start + step)).items()},
            **{name: own[of] for name, own in labels.items()},
            **{name: own[index[row, target, place]] for name, own in features.items()},
            VALUE: value[row, target, place],
        }


def _write_tsv(
    parts: Iterator[dict[str, np.ndarray]], handle: TextIO, precision: int, progress: Progress
) -> int:
    count = 0
    for number, part in enumerate(parts):
        if number == 0:
            handle.write("\t".join(part) + "\n")
        numbers = part.pop(VALUE).tolist()
        columns = (column.tolist() for column in part.values())
        for fields, value in zip(zip(*columns, strict=True), numbers, strict=True):
            handle.write("\t".join(map(cell, fields)) + f"\t{value:.{precision}g}\n")
        count += len(numbers)
        progress("lines", count, None)
    return count


def _largest(sizes: np.ndarray, top: int) -> np.ndarray:
    """Places of the ``top`` largest along the last axis, largest first."""
    top = min(top, sizes.shape[-1])
    chosen = np.argpartition(sizes, -top, axis=-1)[..., -top:]
    order = np.argsort(-np.take_along_axis(sizes, chosen, -1), axis=-1, kind="stable")
    return np.take_along_axis(chosen, order, -1)
