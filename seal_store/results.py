"""Results: a Zarr group written batch by batch, and tables made from it.

A results group stands under its name only once it is whole, like a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr

from seal_store import manifest
from seal_store.assign import Counts
from seal_store.errors import FormatError, OutputError
from seal_store.layout import (
    RESULTS,
    RESULTS_VERSION,
    VARIANTS_PER_CHUNK,
    create,
    get,
    read,
)
from seal_store.progress import Progress, silent
from seal_store.score import Rows, Scorer
from seal_store.store import check_attributes, consolidate, software
from seal_store.variants import Allele

ATTRIBUTE = "seal_store_results"
COLUMNS = tuple(entry.name for entry in RESULTS if entry.dims == ("variant",))
TSV_COLUMNS = (
    "chrom",
    "pos",
    "ref",
    "alt",
    "gene_strand",
    "gene_id",
    "dist_to_tss",
    "reference_genome_match",
)
"""The leading columns of a TSV, as Seal writes them."""


def describe(scorer: Scorer, variants: str, command: str) -> dict[str, Any]:
    """Attributes of results: how they were computed and from what, without the counts."""
    options, store = scorer.options, scorer.store
    return {
        "results_version": RESULTS_VERSION,
        "scheme": options.scheme,
        "genes": options.genes,
        "max_distance": options.max_distance,
        "ref_mismatch": options.ref_mismatch,
        "gene": scorer.gene,
        "device": str(scorer.device),
        "tf32": options.tf32,
        "variants": variants,
        "store": {
            "path": str(store.path),
            "sha256": store.sha256,
            "assembly": store.attributes["assembly"],
            "cnn_sha256": store.attributes["cnn"]["sha256"],
            "heads": {h["name"]: h["sha256"] for h in store.attributes["heads"]},
        },
        "software": software(),
        "command": command,
    }


def write_scores(
    scorer: Scorer,
    alleles: Iterable[Allele],
    out: Path,
    *,
    source: str,
    precision: int = 6,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Counts:
    """Score ``alleles`` into ``out`` (``.zarr`` or ``.tsv``); says where they went.

    ``out`` appears only once it is whole. Rows are written while the next ones are computed.
    ``source`` names the input in messages and in the results' attributes.
    """
    if out.resolve() == scorer.store.path.resolve():
        raise OutputError(f"{out} is the store itself", "choose another --out")
    writer = open_writer(out, scorer, precision=precision, overwrite=overwrite)
    with publishing(writer), ThreadPoolExecutor(1) as pool:
        pending: Future[None] | None = None
        for rows in scorer.score(alleles, source, progress):
            if pending is not None:
                pending.result()
            pending = pool.submit(writer.write, rows)
        if pending is not None:
            pending.result()
        counts = scorer.counts.to_dict()
        writer.publish({**describe(scorer, source, command), "counts": counts})
    return scorer.counts


class Writer(Protocol):
    """Takes rows batch by batch; the output appears with :meth:`publish`, or not at all."""

    def write(self, rows: Rows) -> None:
        """Append rows."""

    def publish(self, attributes: dict[str, Any]) -> None:
        """Finish; ``attributes`` are those of :func:`describe` with ``counts``."""

    def discard(self) -> None:
        """Remove what was written."""


class ZarrWriter:
    """Writes a results group; whole chunks only, so at most one chunk is held in memory."""

    def __init__(self, out: Path, scorer: Scorer, *, overwrite: bool = False) -> None:
        self.out = out
        self.partial = manifest.claim(out, overwrite=overwrite, kind=ATTRIBUTE)
        self.group = zarr.create_group(str(self.partial), zarr_format=3)
        sizes = {"variant": 0, "context": len(scorer.context_name)}
        for entry in RESULTS:
            chunked = replace(entry, chunks={"variant": VARIANTS_PER_CHUNK})
            create(self.group, chunked, sizes)
        get(self.group, "context_name")[...] = np.array(scorer.context_name)
        get(self.group, "context_set")[...] = np.array(scorer.context_set)
        self._held: list[Rows] = []
        self._length = 0

    def write(self, rows: Rows) -> None:
        """Append rows."""
        self._held.append(rows)
        while sum(map(len, self._held)) >= VARIANTS_PER_CHUNK:
            merged = _concatenate(self._held)
            self._append(_slice(merged, slice(VARIANTS_PER_CHUNK)))
            self._held = [_slice(merged, slice(VARIANTS_PER_CHUNK, None))]

    def publish(self, attributes: dict[str, Any]) -> None:
        """Write what is held, the attributes and the manifest; rename into place."""
        if self._held:
            self._append(_concatenate(self._held))
        self.group.attrs[ATTRIBUTE] = attributes
        consolidate(self.partial)
        manifest.publish(self.partial, self.out, {})

    def discard(self) -> None:
        """Remove what was written."""
        manifest.remove(self.partial)

    def _append(self, rows: Rows) -> None:
        if not len(rows):
            return
        values = {**rows.columns, "effect": rows.effect}
        end = self._length + len(rows)
        for name, value in values.items():
            array = get(self.group, name)
            array.resize((end, *array.shape[1:]))
            array[self._length : end] = value
        self._length = end


class TsvWriter:
    """Writes Seal's table: eight columns and one per context, ``precision`` significant digits."""

    def __init__(
        self,
        out: Path,
        context_set: Sequence[str],
        context_name: Sequence[str],
        *,
        precision: int = 6,
        overwrite: bool = False,
    ) -> None:
        self.out = out
        self.partial = manifest.claim(out, overwrite=overwrite)
        labels = context_columns(context_set, context_name)
        self._format = "\t".join([f"%.{precision}g"] * len(labels)) + "\n"
        self._handle = self.partial.open("w", encoding="utf-8", newline="\n")
        self._handle.write("\t".join((*TSV_COLUMNS, *labels)) + "\n")

    def write(self, rows: Rows) -> None:
        """Append rows."""
        c = rows.columns
        signs = np.where(c["strand"] > 0, "+", "-")
        leading = zip(
            c["contig"],
            c["pos"].tolist(),
            c["ref"],
            c["alt"],
            signs,
            c["gene_id"],
            c["dist_to_tss"].tolist(),
            c["ref_match"].tolist(),
            strict=True,
        )
        for fields, effect in zip(leading, rows.effect, strict=True):
            self._handle.write("\t".join(map(str, fields)) + "\t")
            self._handle.write(self._format % tuple(effect.tolist()))

    def publish(self, attributes: dict[str, Any]) -> None:
        """Close and rename into place (a TSV has no room for ``attributes``)."""
        self._handle.close()
        manifest.replace(self.partial, self.out)

    def discard(self) -> None:
        """Remove what was written."""
        with suppress(OSError):  # what is buffered may not fit on the disk
            self._handle.close()
        manifest.remove(self.partial)


class Results:
    """A finished results group, read only."""

    def __init__(self, path: str | Path) -> None:
        """Open. Raises :class:`UnfinishedError` or :class:`FormatError`."""
        self.path = Path(path)
        manifest.check(self.path, "results", "score again with --overwrite")
        try:
            self.group = zarr.open_group(str(self.path), mode="r")
        except Exception as error:  # zarr raises many types for damaged metadata
            raise FormatError(f"{path}: not a readable Zarr group ({error})") from error
        self.attributes = check_attributes(
            self.group, self.path, ATTRIBUTE, "results", RESULTS_VERSION
        )

    def __len__(self) -> int:
        return int(get(self.group, "pos").shape[0])

    def contexts(self) -> tuple[list[str], list[str]]:
        """Names of the contexts and of their head sets."""
        return self._strings("context_name", slice(None)), self._strings("context_set", slice(None))

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Rows ``[start, stop)``, all by default."""
        part = slice(start, len(self) if stop is None else stop)
        columns = {}
        for name in COLUMNS:
            array = get(self.group, name)
            is_text = array.dtype.kind not in "bif"
            columns[name] = (
                np.array(self._strings(name, part), np.str_) if is_text else read(array, part)
            )
        return Rows(columns, read(get(self.group, "effect"), part))

    def batches(self) -> Iterator[Rows]:
        """All rows, one chunk at a time."""
        for start in range(0, len(self), VARIANTS_PER_CHUNK):
            yield self.rows(start, min(start + VARIANTS_PER_CHUNK, len(self)))

    def _strings(self, name: str, part: slice) -> list[str]:
        return [str(value) for value in read(get(self.group, name), part)]


def export_tsv(results: Results, out: Path, *, precision: int = 6, overwrite: bool = False) -> None:
    """Write a results group as TSV."""
    names, sets = results.contexts()
    writer = TsvWriter(out, sets, names, precision=precision, overwrite=overwrite)
    with publishing(writer):
        for rows in results.batches():
            writer.write(rows)
        writer.publish(results.attributes)


@contextmanager
def publishing(writer: Writer) -> Iterator[None]:
    """Remove an output that was not published when the block fails."""
    try:
        yield
    except BaseException:
        writer.discard()
        raise


def open_writer(out: Path, scorer: Scorer, *, precision: int, overwrite: bool) -> Writer:
    """The writer for ``out`` by its ending: ``.zarr`` or ``.tsv``."""
    if out.suffix == ".zarr":
        return ZarrWriter(out, scorer, overwrite=overwrite)
    if out.suffix == ".tsv":
        return TsvWriter(
            out, scorer.context_set, scorer.context_name, precision=precision, overwrite=overwrite
        )
    raise OutputError(f"{out}: unknown kind of output", "name it .zarr or .tsv")


def context_columns(context_set: Sequence[str], context_name: Sequence[str]) -> list[str]:
    """Column names: the context, or ``set:context`` where several sets have that name."""
    times = Counter(context_name)
    return [
        name if times[name] == 1 else f"{head_set}:{name}"
        for head_set, name in zip(context_set, context_name, strict=True)
    ]


def _concatenate(parts: Iterable[Rows]) -> Rows:
    parts = list(parts)
    columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in COLUMNS}
    return Rows(columns, np.concatenate([p.effect for p in parts]))


def _slice(rows: Rows, part: slice) -> Rows:
    columns = {name: value[part] for name, value in rows.columns.items()}
    return Rows(columns, rows.effect[part])
