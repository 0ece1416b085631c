"""Results: a Zarr group written batch by batch.

It stands under its name only once it is whole, like a store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zarr

from seal_store import manifest
from seal_store.attribute import CLOSED
from seal_store.errors import FormatError
from seal_store.layout import (
    ATTRIBUTION,
    RESULTS,
    RESULTS_VERSION,
    VARIANTS_PER_CHUNK,
    ArraySpec,
    create,
    get,
    read,
    rows_per_chunk,
    spec,
)
from seal_store.score import Rows, Scorer
from seal_store.store import check_attributes, consolidate, software

ATTRIBUTE = "seal_store_results"
COLUMNS = tuple(entry.name for entry in RESULTS if entry.dims == ("variant",))


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
        "attribution": attribution_attributes(scorer),
        "variants": variants,
        "store": {
            "path": str(store.path.resolve()),
            "sha256": store.sha256,
            "assembly": store.attributes["assembly"],
            "grid": store.attributes["grid"],
            "cnn_sha256": store.attributes["cnn"]["sha256"],
            "heads": {h["name"]: h["sha256"] for h in store.attributes["heads"]},
        },
        "software": software(),
        "command": command,
    }


def attribution_attributes(scorer: Scorer) -> dict[str, Any] | None:
    """How attributions are made; None without any."""
    if scorer.attributor is None:
        return None
    options = scorer.attributor.options
    sampled = options.method not in CLOSED
    return {
        "method": options.method,
        "targets": len(scorer.attributor.targets),
        "samples": options.sample_count(scorer.attributor.features) if sampled else None,
        "seed": options.seed if sampled else None,
        "top_features": options.top_features,
        "by": list(options.by),
        "dtype": options.dtype,
        "device": str(scorer.device),
        "captum": version("captum") if sampled else None,
    }


class Writer(Protocol):
    """Takes rows batch by batch; the output appears with :meth:`publish`, or not at all."""

    def write(self, rows: Rows) -> None:
        """Append rows."""

    def publish(self, attributes: dict[str, Any]) -> None:
        """Finish; ``attributes`` are those of :func:`describe` with ``counts``."""

    def discard(self) -> None:
        """Remove what was written."""


class Appender:
    """Grows arrays along ``variant`` by whole chunks; holds less than one chunk of each."""

    def __init__(self, group: zarr.Group, specs: Sequence[ArraySpec], sizes: dict[str, int]):
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._held: dict[str, list[np.ndarray]] = {}
        for entry in specs:
            entry = replace(entry, chunks={"variant": rows_per_chunk(entry, sizes)})
            self._arrays[entry.name] = create(group, entry, {**sizes, "variant": 0})
            self._held[entry.name] = []

    def append(self, values: dict[str, np.ndarray]) -> None:
        """Add rows; ``values`` has every array by name."""
        for name, array in self._arrays.items():
            held, chunk = self._held[name], array.chunks[0]
            held.append(values[name])
            length = sum(map(len, held))
            if length >= chunk:
                merged = np.concatenate(held)
                whole = length - length % chunk
                self._write(array, merged[:whole])
                self._held[name] = [merged[whole:].copy()]

    def flush(self) -> None:
        """Write what is held."""
        for name, held in self._held.items():
            if held:
                self._write(self._arrays[name], np.concatenate(held))
        self._held = {name: [] for name in self._held}

    @staticmethod
    def _write(array: zarr.Array[Any], values: np.ndarray) -> None:
        start = array.shape[0]
        if len(values):
            array.resize((start + len(values), *array.shape[1:]))
            array[start:] = values


def write_labels(group: zarr.Group, scorer: Scorer) -> None:
    """Labels of the attributions' dimensions."""
    attributor = scorer.attributor
    assert attributor is not None
    names, sets = np.array(scorer.context_name), np.array(scorer.context_set)
    labels: dict[str, np.ndarray] = dict(attributor.groups)
    labels |= {"target_name": names[attributor.targets], "target_set": sets[attributor.targets]}
    features = (e.name for e in ATTRIBUTION if e.dims == ("feature",))
    labels |= {name: scorer.store.column(name) for name in features}
    for name, values in labels.items():
        entry = spec(ATTRIBUTION, name)
        create(group, entry, {entry.dims[0]: len(values)})[...] = values


class ZarrWriter:
    """Writes a results group."""

    def __init__(self, out: Path, scorer: Scorer, *, overwrite: bool = False) -> None:
        self.out = out
        self.partial = manifest.claim(out, overwrite=overwrite, kind=ATTRIBUTE)
        self.group = zarr.create_group(str(self.partial), zarr_format=3)
        sizes = {"context": len(scorer.context_name)}
        for name in ("context_name", "context_set"):
            create(self.group, spec(RESULTS, name), sizes)[...] = np.array(getattr(scorer, name))
        specs = [entry for entry in RESULTS if entry.dims[0] == "variant"]
        if scorer.attributor is not None:
            write_labels(self.group, scorer)
            specs += scorer.attributor.specs()
            sizes |= scorer.attributor.sizes()
        self._rows = Appender(self.group, specs, sizes)

    def write(self, rows: Rows) -> None:
        """Append rows."""
        self._rows.append({**rows.columns, "effect": rows.effect, **rows.attribution})

    def publish(self, attributes: dict[str, Any]) -> None:
        """Write what is held, the attributes and the manifest; rename into place."""
        self._rows.flush()
        self.group.attrs[ATTRIBUTE] = attributes
        consolidate(self.partial)
        manifest.publish(self.partial, self.out, {})

    def discard(self) -> None:
        """Remove what was written."""
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

    def attribution(self, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
        """Attribution arrays of rows ``[start, stop)``, float16 scaled back to float32.

        Empty without attributions; the arrays are those of
        :data:`seal_store.layout.ATTRIBUTION` with a dimension ``variant``.
        """
        part = slice(start, len(self) if stop is None else stop)
        names = [e.name for e in ATTRIBUTION if e.dims[0] == "variant" and e.name in self.group]
        found = {name: read(get(self.group, name), part) for name in names}
        scale = found.pop("attribution_scale", None)
        if scale is not None:
            found["attribution"] = found["attribution"].astype(np.float32) * scale[..., None]
        return found

    def labels(self, name: str) -> np.ndarray:
        """A label array: ``target_name``, ``feature_name``, ``assay`` ..."""
        return np.array(self._strings(name, slice(None)), np.str_)

    def batches(self) -> Iterator[Rows]:
        """All rows, one chunk at a time."""
        for start in range(0, len(self), VARIANTS_PER_CHUNK):
            yield self.rows(start, min(start + VARIANTS_PER_CHUNK, len(self)))

    def _strings(self, name: str, part: slice) -> list[str]:
        return [str(value) for value in read(get(self.group, name), part)]


@contextmanager
def publishing(writer: Writer) -> Iterator[None]:
    """Remove an output that was not published when the block fails."""
    try:
        yield
    except BaseException:
        writer.discard()
        raise
