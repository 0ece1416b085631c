"""The results group: a Zarr group written batch by batch, renamed into place once it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import zarr

from seal_store.common.beside import partial_path
from seal_store.common.files import replace_synced, sync
from seal_store.common.output import JOURNAL, Output
from seal_store.common.plain import open_plain
from seal_store.errors import FormatError, OutputError
from seal_store.results.attributes import ResultsAttributes
from seal_store.results.heading import Heading, Labels
from seal_store.scoring.attribution_arrays import attribution_arrays
from seal_store.scoring.rows import Rows
from seal_store.store import frames, manifest
from seal_store.store import untrusted as guard
from seal_store.store.address import Entry
from seal_store.store.layout import (
    ATTRIBUTION,
    CALIBRATED,
    LIFTED,
    NAMED,
    PLACES,
    RESULTS,
    RESULTS_VERSION,
    SOURCE,
    VARIANTS_PER_CHUNK,
    ArraySpec,
    create,
    get,
    read,
    rows_per_chunk,
    shape_of,
    spec,
)
from seal_store.store.opening import check_attributes, consolidate
from seal_store.store.place import Place, files_at, place
from seal_store.store.summary import Shown
from seal_store.store.untrusted import Expected, texts
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ATTRIBUTE = "seal_store_results"
ANY_LENGTH = ("id", "ref", "alt", "source_ref", "source_alt")
"""Columns of text that stays as long as each is; others are names, numpy ``U``."""

PLACE_NAMES = tuple(entry.name for entry in PLACES)

COLUMNS = tuple(entry.name for entry in RESULTS if entry.dims == ("variant",))


def result_attributes(made: Mapping[str, Any], alleles: Alleles, command: str) -> dict[str, Any]:
    """Attributes of results but the counts; ``made`` is :meth:`Scorer.provenance`."""
    found = {"results_version": RESULTS_VERSION, **made, **alleles.provenance()}
    found["command"] = command
    own = (f.name for f in fields(ResultsAttributes))
    return {name: found[name] for name in own if name in found and name != "rest"}


class Appender:
    """Grows arrays of ``group`` along ``variant`` by whole chunks; holds less than one of each.

    ``partial`` is the folder of the group. ``state`` is that of an earlier :meth:`state`: rows
    after it are written again.
    """

    def __init__(
        self,
        group: zarr.Group,
        partial: Path,
        specs: Sequence[ArraySpec],
        sizes: dict[str, int],
        state: dict[str, Any] | None = None,
    ) -> None:
        self.group, self.partial = group, partial
        self.files: dict[str, Entry] = {}
        """Chunks written and synced."""
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._held: dict[str, list[np.ndarray]] = {}
        for entry in specs:
            entry = replace(entry, chunks={"variant": rows_per_chunk(entry, sizes)})
            if state is None:
                array = create(group, entry, {**sizes, "variant": 0})
            else:
                array = get(group, entry.name)
                array.resize((state["lengths"][entry.name], *array.shape[1:]))
            self._arrays[entry.name] = array
            self._held[entry.name] = []
        if state is not None:
            if name := manifest.changed(partial, state["files"]):
                raise OutputError(
                    f"{partial / name} is not as the journal lists it",
                    "start again with `overwrite=True`",
                )
            self.files = {n: e for n, e in state["files"].items() if n != state["tail"]}
            self._held = {name: [rows] for name, rows in self._tail(state["tail"]).items()}

    def _tail(self, name: str) -> dict[str, np.ndarray]:
        """Rows that an earlier writer held; nothing in the file is executed."""
        try:
            with open_plain(self.partial / name) as file:
                tail = np.load(file, allow_pickle=False)
                return {array: tail[array] for array in self._arrays}
        except (OSError, ValueError, LookupError, EOFError, BadZipFile, MemoryError) as error:
            raise OutputError(
                f"{self.partial / name}: not the rows of an interrupted run",
                "start again with `overwrite=True`",
            ) from error

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

    def state(self) -> dict[str, Any]:
        """Bring all rows so far to the disk; what a later writer needs to go on, JSON-ready."""
        rows = {
            name: np.concatenate([np.empty((0, *a.shape[1:]), a.dtype), *self._held[name]])
            for name, a in self._arrays.items()
        }
        plain = {
            n: np.array(v.tolist(), np.str_) if v.dtype.kind == "T" else v for n, v in rows.items()
        }
        lengths = {name: array.shape[0] for name, array in self._arrays.items()}
        total = max(lengths[name] + len(held) for name, held in rows.items())
        tail = self.partial / JOURNAL / f"tail-{total}.npz"
        tail.parent.mkdir(exist_ok=True)
        aside = tail.with_suffix(".tmp")
        with aside.open("wb") as handle:
            np.savez(handle, allow_pickle=False, **plain)
        replace_synced(aside, tail)
        name = tail.relative_to(self.partial).as_posix()
        files = {**self.files, name: manifest.entry(tail)}
        return {"lengths": lengths, "tail": name, "files": files}

    def flush(self) -> None:
        """Write what is held."""
        for name, held in self._held.items():
            if held:
                self._write(self._arrays[name], np.concatenate(held))
        self._held = {name: [] for name in self._held}

    def _write(self, array: zarr.Array[Any], values: np.ndarray) -> None:
        start, chunk = array.shape[0], array.chunks[0]
        if not len(values):
            return
        array.resize((start + len(values), *array.shape[1:]))
        array[start:] = values
        for index in range(start // chunk, -(-array.shape[0] // chunk)):
            name = "/".join([array.basename, "c", str(index), *["0"] * (array.ndim - 1)])
            if (self.partial / name).exists():  # zarr writes no chunk of fill values
                sync(self.partial / name)
                self.files[name] = manifest.entry(self.partial / name)


def write_labels(group: zarr.Group, labels: Labels) -> None:
    """Labels of the attributions' dimensions."""
    for entry, values in labels:
        create(group, entry, {entry.dims[0]: len(values)})[...] = values


class ZarrWriter(Appender):
    """Writes a results group.

    It takes rows batch by batch; ``out`` appears with :meth:`publish`, or not at all. It is
    claimed, or ``state`` that of an earlier writer of it.
    """

    def __init__(self, out: Output, heading: Heading, state: dict[str, Any] | None = None) -> None:
        self.out = out
        specs = [*(entry for entry in RESULTS if entry.dims[0] == "variant"), *heading.more]
        sizes = {"context": len(heading.context_name), **heading.sizes}
        if state is None:
            # the attribute tells whose folder it is, from the first moment
            group = zarr.create_group(str(out.partial), zarr_format=3, attributes={ATTRIBUTE: {}})
            for name in ("context_name", "context_set"):
                values = np.array(getattr(heading, name))
                create(group, spec(RESULTS, name), sizes)[...] = values
            write_labels(group, heading.labels)
        else:
            group = zarr.open_group(str(out.partial), mode="r+", use_consolidated=False)
        super().__init__(group, out.partial, specs, sizes, state)

    def write(self, rows: Rows) -> None:
        """Append rows."""
        lines = np.array(rows.lines, np.int64)
        values = {**rows.columns, **dict.fromkeys(PLACE_NAMES, lines), "effect": rows.effect}
        self.append({**values, **rows.attribution, **rows.calibrated})

    def publish(self, attributes: dict[str, Any]) -> None:
        """Write what is held, the attributes and the manifest; rename into place.

        ``attributes`` are those of :func:`result_attributes` with ``counts``.
        """
        self.flush()
        self.group.attrs[ATTRIBUTE] = attributes
        consolidate(self.partial)
        manifest.publish(self.out, self.files)

    def close(self) -> None:
        """Nothing is open."""


def expected_arrays(
    attributes: ResultsAttributes, metadata: Mapping[str, Any]
) -> dict[str, Expected]:
    """What the arrays of a results group must declare.

    Rows follow from the counts; lengths that the attributes do not tell from label arrays, which
    are bounded by their files.
    """
    sizes = {"variant": attributes.counts.rows}
    arrays = metadata["consolidated_metadata"]["metadata"]
    labels = [e for e in (*RESULTS, *ATTRIBUTION) if len(e.dims) == 1 and e.dims != ("variant",)]
    for entry in labels:
        shape = arrays.get(entry.name, {}).get("shape")
        if isinstance(shape, list) and shape and type(shape[0]) is int:
            sizes.setdefault(entry.dims[0], shape[0])
    made = attributes.attribution
    top = made.top_features if made else None
    if top is not None:
        sizes["rank"] = min(top, sizes.get("feature", 0))
    found = {}
    for entry in (*RESULTS, *NAMED, SOURCE, *LIFTED, *PLACES, *CALIBRATED, *ATTRIBUTION):
        if entry.name == "attribution" and made:
            dims = entry.dims if top is None else (*entry.dims[:2], "rank")
            entry = replace(entry, dtype=made.dtype, dims=dims)
        if sizes.keys() >= set(entry.dims):
            found[entry.name] = Expected(entry, shape_of(entry, sizes))
    return found


def parse_attributes(attributes: Mapping[str, Any], where: Place) -> ResultsAttributes:
    """Those of results, checked. Raises :class:`FormatError` as :func:`check_attributes`."""
    return ResultsAttributes.parse(
        check_attributes(attributes, where, ATTRIBUTE, "results", RESULTS_VERSION)
    )


class Results(Shown, manifest.Finished):
    """A finished results group, read only.

    ``attributes`` say how it was made: scheme, options, store, and ``counts`` with the reasons
    of alleles that were not scored. ``len(results)`` is the number of rows, iterating gives them
    in bounded parts, and ``gene_id in results`` says whether a row is of that gene.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        opened: tuple[zarr.Group, ResultsAttributes] | None = None,
    ) -> None:
        """Open. Raises :class:`UnfinishedError` or :class:`FormatError`.

        ``path`` may be an address, see :func:`~seal_store.store.place.place`. ``opened`` has
        group and attributes if they were opened otherwise, as those of an output that is not
        published yet: then nothing is checked here.
        """
        self.path = place(path)
        self.group, self.attributes = opened or self._open()

    def _open(self) -> tuple[zarr.Group, ResultsAttributes]:
        self.listed = self._listed("results", self._finish)
        """Size and SHA-256 of every file, as the manifest has them."""
        metadata = guard.read_metadata(self.path, self.listed)
        attributes = parse_attributes(metadata["attributes"], self.path)
        expected = expected_arrays(attributes, metadata)
        group = guard.open_group(self.path, metadata, expected, self.listed)
        for entry in RESULTS:
            if entry.name not in group:
                raise FormatError(f"{self.path}: array {entry.name} is missing", "score again")
        return group, attributes

    def _finish(self) -> str:
        """What finishes what there is, which are no finished results."""
        partial = partial_path(self.path)
        if files_at(partial).has(manifest.MANIFEST):
            return f"all of it is there: rename {partial.name} to {self.path.name}"
        return "finish it with `seal-store score ... --resume`, or score again"

    def __len__(self) -> int:
        return int(get(self.group, "pos").shape[0])

    def __iter__(self) -> Iterator[Rows]:
        return self.batches()

    def __contains__(self, gene: object) -> bool:
        return isinstance(gene, str) and any((ids == gene).any() for ids in self._genes())

    def _genes(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), VARIANTS_PER_CHUNK):
            yield self.labels("gene_id", slice(start, start + VARIANTS_PER_CHUNK))

    def _summary(self) -> tuple[str, dict[str, str]]:
        """What a notebook shows: a title and lines, of names from anywhere."""
        made, counts = self.attributes, self.attributes.counts
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.not_scored.items())
        lines = {
            "rows": f"{len(self):,} in {len(self.contexts()[0]):,} contexts",
            "scheme": f"{made.scheme}, genes {made.genes} within {made.max_distance:,} bp",
            "variants": made.variants,
            "alleles": f"{counts.alleles:,}, scored {counts.alleles_scored:,}",
            "not scored": reasons or "none",
            "calibrated": made.calibration.file if made.calibration else "no",
            "attributions": made.attribution.method if made.attribution else "no",
            "store": f"{made.store.path}, sha256 {made.store.sha256[:16]}",
        }
        if made.store.synthetic:
            lines["weights"] = "SYNTHETIC: no biological meaning"
        return f"Results {self.path}", lines

    def contexts(self) -> tuple[list[str], list[str]]:
        """Names of the contexts and of their head sets."""
        return self.labels("context_name").tolist(), self.labels("context_set").tolist()

    def rows(self, start: int = 0, stop: int | None = None) -> Rows:
        """Rows ``[start, stop)``, all by default."""
        part = slice(start, stop)
        columns = {}
        for name in (*COLUMNS, *self.more_columns):
            values = read(get(self.group, name), part)
            is_short = values.dtype.kind == "T" and name not in ANY_LENGTH
            columns[name] = texts(values, f"{self.path}: {name}") if is_short else values
        calibrated = {
            e.name: read(get(self.group, e.name), part) for e in CALIBRATED if e.name in self.group
        }
        return Rows(columns, read(get(self.group, "effect"), part), calibrated=calibrated)

    def attribution(self, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
        """Attribution arrays of rows ``[start, stop)``, float16 scaled back to float32.

        Empty without attributions; the arrays are those of
        :data:`seal_store.store.layout.ATTRIBUTION` with a dimension ``variant``.
        """
        part = slice(start, stop)
        names = [e.name for e in ATTRIBUTION if e.dims[0] == "variant" and e.name in self.group]
        found = {name: read(get(self.group, name), part) for name in names}
        scale = found.pop("attribution_scale", None)
        if scale is not None:
            found["attribution"] = found["attribution"].astype(np.float32) * scale[..., None]
        return found

    def as_written(self, start: int = 0, stop: int | None = None) -> Rows:
        """Rows ``[start, stop)`` with all arrays as they were written, attributions unscaled."""
        part = slice(start, stop)
        names = [e.name for e in ATTRIBUTION if e.dims[0] == "variant" and e.name in self.group]
        places = [read(get(self.group, n), part) for n in PLACE_NAMES if n in self.group]
        return replace(
            self.rows(start, stop),
            attribution={name: read(get(self.group, name), part) for name in names},
            lines=places[0].tolist() if places else (),
        )

    def heading(self) -> Heading:
        """What the rows have in common, as they are stored."""
        group, made = self.group, self.attributes.attribution
        arrays = [] if made is None else attribution_arrays(made)
        return Heading(
            *self.contexts(),
            columns=tuple(e for e in (*NAMED, SOURCE, *LIFTED, *PLACES) if e.name in group),
            calibrated=self.is_calibrated,
            attribution=tuple(arrays),
            sizes={
                dim: length
                for entry in arrays
                for dim, length in zip(entry.dims, get(group, entry.name).shape, strict=True)
                if dim != "variant"
            },
            labels=[
                (entry, self.labels(entry.name))
                for entry in ATTRIBUTION
                if entry.dims[0] != "variant" and entry.name in group
            ],
        )

    @property
    def more_columns(self) -> tuple[str, ...]:
        """Columns that not all results have: of :data:`NAMED`, ``source``, :data:`LIFTED`."""
        return tuple(e.name for e in (*NAMED, SOURCE, *LIFTED) if e.name in self.group)

    @property
    def is_lifted(self) -> bool:
        """Whether rows are not where the input has its variants."""
        return all(entry.name in self.group for entry in LIFTED)

    @property
    def is_calibrated(self) -> bool:
        """Whether every effect has its ``quantile`` and ``z``."""
        return all(entry.name in self.group for entry in CALIBRATED)

    def labels(self, name: str, part: slice = slice(None)) -> np.ndarray:
        """An array of strings, or a part of it: ``target_name``, ``feature_name`` ..."""
        return texts(read(get(self.group, name), part), f"{self.path}: {name}")

    def batches(self) -> Iterator[Rows]:
        """All rows, one chunk at a time.

        Raises :class:`StoreError` at the end if other results have taken their place meanwhile.
        """
        with self.standing():
            for start in range(0, len(self), VARIANTS_PER_CHUNK):
                yield self.rows(start, start + VARIANTS_PER_CHUNK)

    def to_xarray(self) -> xr.Dataset:
        """All arrays as an xarray dataset, read when they are used.

        As :func:`seal_store.score` gives it: ``effect`` float32 (variant, context), the columns
        and labels as coordinates, ``context_name`` an index, :attr:`attributes` as ``attrs``;
        attributions too, if there are any. :func:`seal_store.to_frame` makes a table of it.
        Needs the extra ``xarray``, else :class:`~seal_store.errors.MissingExtraError`.
        """
        return frames.open_effects(self.group, self.attributes.to_dict())

    def to_frame(self, *, long: bool = False) -> pd.DataFrame:
        """All rows as a table of pandas, see :func:`seal_store.to_frame`."""
        return frames.to_frame(self, long=long)
