"""An open store, one self-contained Zarr group: its arrays, labels, weights and fingerprint.

The format is in :mod:`seal_store.store.layout`; :mod:`seal_store.building.build` writes it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cache, cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import zarr

from seal_store.common.files import file_sha256
from seal_store.common.output import partial_path
from seal_store.errors import FormatError, GeneTableError, HeadsError, StoreError
from seal_store.model.config import CnnConfig
from seal_store.model.grid import Grid
from seal_store.model.head_set import SYNTHETIC, WEIGHTS, HeadSet
from seal_store.reference.gene_table import GeneTable
from seal_store.store import frames, manifest
from seal_store.store import untrusted as guard
from seal_store.store.attributes import ATTRIBUTE, StoreAttributes, attributes_of
from seal_store.store.layout import (
    CALIBRATION,
    CALIBRATION_LEVELS,
    CNN,
    FORMAT_VERSION,
    HEADS,
    SEQUENCE_LENGTH,
    SEQUENCE_OFFSET,
    STORE,
    get,
    read,
    shape_of,
    texts,
)
from seal_store.store.shard_journal import earlier
from seal_store.store.shards import read_whole
from seal_store.store.untrusted import Expected

if TYPE_CHECKING:
    import anndata
    import xarray as xr

    import seal_store
    from seal_store.model.beluga import Beluga

UNFINISHED_HINT = "finish it with `seal-store build ... --resume` (same options as before)"


@cache
def software() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    return {name: version(name) for name in ("seal-store", "torch", "numpy", "zarr", "numcodecs")}


def check_attributes(
    attributes: Mapping[str, Any], where: Path, key: str, schema: str, format_version: int
) -> dict[str, Any]:
    """The entry ``key`` of a group's ``attributes``, checked against a JSON Schema.

    Raises :class:`FormatError` if it is missing, of another version, or does not fit.
    """
    found = attributes.get(key)
    if not isinstance(found, dict):
        raise FormatError(f"{where}: no {key!r} attributes", "is this a seal-store group?")
    written = found.get("results_version", found.get("format_version"))
    if written != format_version:
        raise FormatError(
            f"{where}: format version {str(written)[:80]}, this seal-store reads {format_version}",
            "upgrade seal-store" if isinstance(written, int) and written > format_version else "",
        )
    text = files("seal_store.schemas").joinpath(f"{schema}-{format_version}.json").read_text()
    for error in _validator(json.loads(text)).iter_errors(found):  # the first is enough
        raise FormatError(f"{where}: attributes {error.json_path[:200]}: {error.message[:200]}")
    return found


def store_attributes(attributes: Mapping[str, Any], where: Path) -> StoreAttributes:
    """Those of a store, checked. Raises :class:`FormatError` as :func:`check_attributes`."""
    return StoreAttributes.parse(
        check_attributes(attributes, where, ATTRIBUTE, "store", FORMAT_VERSION)
    )


def _validator(schema: Mapping[str, Any]) -> Any:
    """Of JSON Schema, but an integer is written as one: not 200.0, which Python takes otherwise."""
    kind = jsonschema.validators.validator_for(schema)
    checker = kind.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(kind, type_checker=checker)(schema)


def expected_arrays(attributes: StoreAttributes) -> dict[str, Expected]:
    """Every array of a store that has these attributes."""
    sizes, shard = attributes.sizes(), attributes.genes_per_shard
    found = {
        entry.name: Expected(entry, shape_of(entry, sizes), shard if entry.sharded else 0)
        for entry in (*STORE, *CNN)
        if (entry.name != "hidden" or attributes.hidden)
        and (entry.written != "finalize" or attributes.heads)
    }
    for heads in attributes.heads:
        own = attributes.head_sizes(heads)
        found |= {f"heads/{heads.name}/{e.name}": Expected(e, shape_of(e, own)) for e in HEADS}
    contexts = {heads.name: heads.contexts for heads in attributes.heads}
    for scheme, made in attributes.calibration.items():
        count = sum(contexts.get(name, 0) for name in made.heads)
        own = {"level": CALIBRATION_LEVELS, "context": count}
        found |= {
            f"calibration/{scheme}/{e.name}": Expected(e, shape_of(e, own)) for e in CALIBRATION
        }
    return found


def open_listed(
    path: Path, listed: Mapping[str, manifest.Entry]
) -> tuple[zarr.Group, StoreAttributes]:
    """Group and attributes of a store, of the files ``listed``. Raises :class:`FormatError`."""
    metadata = guard.read_metadata(path, listed)
    attributes = store_attributes(metadata["attributes"], path)
    expected = expected_arrays(attributes)
    group = guard.open_group(path, metadata, expected, listed)
    for name in expected:
        if name not in metadata["consolidated_metadata"]["metadata"]:
            raise FormatError(f"{path}: array {name} is missing", "build it again")
    return group, attributes


def consolidate(path: Path) -> None:
    """Write consolidated metadata, so that opening reads one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(str(path), zarr_format=3)


class Store:
    """A finished store, read only.

    A gene is given by its id or by its position along the ``gene`` dimension, from 0: the genes
    computed (:attr:`gene_id`), a part of the whole gene :attr:`table`. An id that the table lacks,
    or whose gene was not computed, raises :class:`~seal_store.errors.GeneTableError`; a position
    that is not there raises :class:`IndexError`; a damaged chunk
    :class:`~seal_store.errors.FormatError`.
    """

    def __init__(
        self, path: str | Path, opened: tuple[zarr.Group, StoreAttributes] | None = None
    ) -> None:
        """Open a store. Raises :class:`UnfinishedError` or :class:`FormatError`.

        ``opened`` has its group and attributes if they were opened otherwise: then nothing is
        checked here.
        """
        self.path = Path(path)
        self.group, self.attributes = opened or self._open()
        self.grid, self.config = self.attributes.grid, self.attributes.cnn.config
        self.kept: dict[Any, Any] = {}
        """What is loaded of the store, kept by :func:`seal_store.scoring.scorer.loaded`."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "kept": {}}

    def _open(self) -> tuple[zarr.Group, StoreAttributes]:
        computed = earlier(partial_path(self.path)) is not None
        finish = f"finish it with `seal-store build --finalize --out {self.path}`"
        self.listed = manifest.check(self.path, "store", finish if computed else UNFINISHED_HINT)
        """Size and SHA-256 of every file, as the manifest has them."""
        self.sha256  # noqa: B018 - as it was opened
        return open_listed(self.path, self.listed)

    def __len__(self) -> int:
        return len(self.gene_id)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the manifest, the fingerprint of the whole store as it was opened."""
        return file_sha256(self.path / manifest.MANIFEST)

    def check_unchanged(self) -> None:
        """Raise :class:`StoreError` if another store stands in its place by now."""
        try:
            same = file_sha256(self.path / manifest.MANIFEST) == self.sha256
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.path} was replaced since it was opened", "open it again")

    @property
    def has_hidden(self) -> bool:
        """Whether the first linear layer's outputs are stored."""
        return "hidden" in self.group

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the arrays of :data:`seal_store.store.layout.STORE`."""
        return get(self.group, name)

    def column(self, name: str) -> np.ndarray:
        """A whole one-dimensional array; strings as numpy ``U``."""
        values = read(self.array(name))
        return texts(values, f"{self.path}: {name}") if values.dtype.kind == "T" else values

    @cached_property
    def gene_id(self) -> np.ndarray:
        """Ids of the computed genes."""
        return self.column("gene_id")

    @cached_property
    def table(self) -> GeneTable:
        """The whole gene table the store was built from, in file order."""
        names = ("gene_id", "gene_symbol", "contig", "strand", "tss", "gene_type")
        return GeneTable(*(self.column(f"table/{name}") for name in names))

    @cached_property
    def table_status(self) -> np.ndarray:
        """For each row of :attr:`table` ``computed``, or why it was not."""
        return self.column("table/status")

    @cached_property
    def gene_position(self) -> dict[str, int]:
        """Positions of the computed genes, by id."""
        return {str(gene): i for i, gene in enumerate(self.gene_id)}

    def gene(self, gene_id: str) -> int:
        """Position of a computed gene. Raises :class:`GeneTableError` if it was not computed."""
        try:
            return self.gene_position[gene_id]
        except KeyError:
            row = self.table.row(gene_id)
            raise GeneTableError(
                f"gene {gene_id} is in the gene table but was not computed "
                f"({self.table_status[row]})",
                "build a store that includes it",
            ) from None

    def position(self, gene: str | int) -> int:
        """Position of a computed gene along the ``gene`` dimension, from its id or checked."""
        if isinstance(gene, str):
            return self.gene(gene)
        if not 0 <= gene < len(self):
            raise IndexError(f"gene {gene}: {self.path} has the genes 0 to {len(self) - 1}")
        return int(gene)

    def sequence(self, gene: str | int) -> np.ndarray:
        """ASCII bases uint8 ``(45000,)`` of the + strand, upper case.

        Index 0 is 1-based TSS-22500, the last TSS+22499; ``N`` beyond the contig. For text:
        ``store.sequence(gene).tobytes().decode()``.
        """
        return read(self.array("sequence"), self.position(gene))

    def features(self, gene: str | int, windows: slice | int = slice(None)) -> np.ndarray:
        """Reference chromatin features float32 ``(windows, feature)``, probabilities.

        The mean of both strands. Window 0 is the most upstream of the gene; the centres are at
        ``window_offset`` bp from the TSS.
        """
        return read(self.array("features"), (self.position(gene), windows))

    def aggregated(self, gene: str | int | slice) -> np.ndarray:
        """Decay sums of the features float32 ``(decay, feature)``; of a slice, one each gene.

        Rows 0-4 are of the windows at or upstream of the TSS, 5-9 at or downstream, each at the
        rates of ``grid.rates``.
        """
        key = gene if isinstance(gene, slice) else self.position(gene)
        return read(self.array("aggregated"), key)

    def expression(self, gene: str | int) -> np.ndarray:
        """Reference predictions float32 ``(context,)``, ln(expression + pseudocount).

        In the order of :meth:`contexts`. Raises :class:`~seal_store.errors.HeadsError` if the
        store has no head sets.
        """
        self._need_heads()
        return read(self.array("expression"), self.position(gene))

    def to_xarray(self) -> xr.Dataset:
        """All arrays as an xarray dataset, read when they are used.

        Labels are coordinates; ``gene_id``, ``feature_name`` and ``context_name`` are indexes,
        so ``.sel(gene_id=...)`` works. Attributes are those of the store, as ``seal_store``.
        Needs the extra ``xarray``, else :class:`~seal_store.errors.MissingExtraError`.
        """
        return frames.open_store(self.group.store)

    def to_anndata(self) -> anndata.AnnData:
        """Reference predictions as AnnData: genes (``obs``) x contexts (``var``), in memory.

        ``X`` is float32, ln(expression + pseudocount). ``obs`` is indexed by gene id and has
        symbol, type, contig, strand and TSS (1-based); ``var`` by context, or ``set:context``
        where several sets share the name, and has the contexts' labels; ``uns`` says which store.
        Raises :class:`~seal_store.errors.HeadsError` if the store has no head sets; needs the
        extra ``anndata``, else :class:`~seal_store.errors.MissingExtraError`.
        """
        self._need_heads()
        arrays = (e for e in STORE if e.name in self.group)
        labels = {e.name: e.dims for e in arrays if len(e.dims) == 1}
        genes = {name: self.column(name) for name, dims in labels.items() if dims == ("gene",)}
        contexts = {n: self.column(n) for n, dims in labels.items() if dims == ("context",)}
        about = {"store": str(self.path), "sha256": self.sha256, "synthetic": self.synthetic}
        about |= {"assembly": self.attributes.assembly, "units": "ln(expression + pseudocount)"}
        return frames.expression(read(self.array("expression")), genes, contexts, about)

    @property
    def synthetic(self) -> bool:
        """Whether the summary of a head set says that its weights are random numbers.

        So it is in the demo's store: its effects have no meaning.
        """
        lines = (entry.summary.get(WEIGHTS, "") for entry in self.attributes.heads)
        return any(line.startswith(SYNTHETIC) for line in lines)

    def _need_heads(self) -> None:
        if not self.head_sets:
            raise HeadsError(f"{self.path} has no heads", "add some with `seal-store heads add`")

    def scorer(self, **options: Any) -> seal_store.Scorer:
        """What :func:`seal_store.score` scores with; takes its keyword arguments from ``scheme``.

        Its weights stay loaded with this store, for :func:`seal_store.score` and later scorers.
        """
        import seal_store  # the engine is built on this class: it is loaded when asked for

        return seal_store.Scorer(self, seal_store.ScoreOptions(**options))

    def weights(self) -> dict[str, np.ndarray]:
        """The CNN's weights float32, by the names that :mod:`seal_store.model.beluga` gives."""
        return read_weights(self.group)

    def cnn(self) -> Beluga:
        """The CNN, on CPU."""
        return read_cnn(self.group, self.config)

    @property
    def head_sets(self) -> list[str]:
        """Names of the head sets, in context order."""
        return [entry.name for entry in self.attributes.heads]

    def heads(self, names: list[str] | None = None) -> list[HeadSet]:
        """Head sets by name, in the store's order; all by default.

        Raises :class:`HeadsError` for a name that is not there.
        """
        for name in names or ():
            if name not in self.head_sets:
                raise HeadsError(
                    f"{self.path}: no head set {name!r}", f"it has {', '.join(self.head_sets)}"
                )
        return read_heads(self.group, names or self.head_sets)

    def contexts(self) -> tuple[np.ndarray, np.ndarray]:
        """``context_name`` and ``context_set``, one entry a context."""
        return self.column("context_name"), self.column("context_set")


def sequence_start(tss: int) -> int:
    """0-based coordinate of the first stored base of a gene."""
    return tss + SEQUENCE_OFFSET - 1


def grid_slice(grid: Grid, tss: int, strand: int) -> slice:
    """Where all windows of a gene lie in its stored sequence.

    Raises :class:`ValueError` if they do not fit.
    """
    start = grid.first_start(tss, strand) - sequence_start(tss)
    end = start + grid.run_length(grid.bins)
    if start < 0 or end > SEQUENCE_LENGTH:
        raise ValueError(f"a grid from {grid.first_offset} does not fit the stored sequence")
    return slice(start, end)


def read_weights(group: zarr.Group) -> dict[str, np.ndarray]:
    """See :meth:`Store.weights`; of a store finished or not."""
    return {e.name.partition("/")[2]: read_whole(get(group, e.name)) for e in CNN}


def read_cnn(group: zarr.Group, config: CnnConfig) -> Beluga:
    """The CNN of a store, finished or not."""
    from seal_store.model.beluga import Beluga  # PyTorch: only where weights are used

    return Beluga.from_arrays(config, read_weights(group))


def read_heads(group: zarr.Group, names: list[str]) -> list[HeadSet]:
    """Head sets of a store, finished or not, in the order of its attributes."""
    sets = []
    for entry in attributes_of(group).heads:
        if entry.name not in names:
            continue
        own = f"heads/{entry.name}"
        weights = {e.name: read_whole(get(group, f"{own}/{e.name}")) for e in HEADS if e.weights}
        contexts = tuple(str(c) for c in read(get(group, f"{own}/context")))
        sets.append(HeadSet(entry.name, contexts, **weights, summary=entry.summary))
    return sets
