"""An open store, one self-contained Zarr group: its arrays, labels, weights and fingerprint.

The format is in :mod:`seal_store.store.layout`; :mod:`seal_store.building.build` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr

from seal_store.common.beside import partial_path
from seal_store.common.typed import conformed, shown
from seal_store.errors import GeneTableError, HeadsError, InputError, ParameterError
from seal_store.model.config import CnnConfig
from seal_store.model.contexts import select_contexts
from seal_store.model.grid import Grid
from seal_store.model.head_set import SYNTHETIC, WEIGHTS, HeadSet
from seal_store.reference.gene_table import GeneTable
from seal_store.store import frames, manifest
from seal_store.store.attributes import StoreAttributes, attributes_of
from seal_store.store.layout import (
    CNN,
    HEADS,
    SEQUENCE_LENGTH,
    SEQUENCE_OFFSET,
    STORE,
    get,
    read,
)
from seal_store.store.opening import open_listed
from seal_store.store.place import files_at, place
from seal_store.store.places import places
from seal_store.store.shard_journal import FINISHED
from seal_store.store.shards import of_each, read_whole
from seal_store.store.summary import Shown
from seal_store.store.untrusted import column

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import xarray as xr

    import seal_store
    from seal_store.model.beluga import Beluga

    Genes: TypeAlias = str | int | slice | Sequence[str] | Sequence[int] | np.ndarray

UNFINISHED_HINT = "finish it with `seal-store build ... --resume` (same options as before)"


@cache
def software() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    return {name: version(name) for name in ("seal-store", "torch", "numpy", "zarr", "numcodecs")}


class Store(Shown, manifest.Finished):
    """A finished store, read only.

    A gene is given by its id, with or without Ensembl's version, by its symbol where one gene has
    it, or by its position along the ``gene`` dimension, from 0: the genes computed
    (:attr:`gene_id`), a part of the whole gene :attr:`table`. Several genes are a list or an
    array of these, a slice of positions, or truth values, one for each gene; what is read then
    has a first dimension of genes, in the order given.

    ``len(store)`` is the number of genes, iterating gives their ids, and ``gene in store`` says
    whether a gene of that id or symbol was computed.

    A gene that the table lacks, or that was not computed, raises
    :class:`~seal_store.errors.GeneTableError`; a position that is not there raises
    :class:`IndexError`, a number that is no position
    :class:`~seal_store.errors.ParameterError` (a :class:`TypeError`), a damaged chunk
    :class:`~seal_store.errors.FormatError`. Arrays that the object keeps are read only.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        opened: tuple[zarr.Group, StoreAttributes] | None = None,
    ) -> None:
        """Open a store. Raises :class:`UnfinishedError` or :class:`FormatError`.

        ``path`` may be an address, see :func:`~seal_store.store.place.place`. ``opened`` has its
        group and attributes if they were opened otherwise: then nothing is checked here.
        """
        self.path = place(path)
        self.group, self.attributes = opened or self._open()
        self.grid, self.config = self.attributes.grid, self.attributes.cnn.config
        self.kept: dict[Any, Any] = {}
        """What is loaded of the store, kept by :func:`seal_store.scoring.scorer.loaded`."""

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name != "gene_position"}
        return {**kept, "kept": {}}

    def _open(self) -> tuple[zarr.Group, StoreAttributes]:
        self.listed = self._listed("store", self._finish)
        """Size and SHA-256 of every file, as the manifest has them."""
        return open_listed(self.path, self.listed)

    def _finish(self) -> str:
        """What finishes what there is, which is no finished store."""
        files = files_at(partial_path(self.path))
        if any(files.has(name) for name in FINISHED):
            return f"finish it with `seal-store build --finalize --out {self.path}`"
        return UNFINISHED_HINT

    def __len__(self) -> int:
        return len(self.gene_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.gene_id.tolist())

    def __contains__(self, gene: object) -> bool:
        try:
            return isinstance(gene, str) and self.gene(gene) >= 0
        except GeneTableError:
            return False

    def _summary(self) -> tuple[str, dict[str, str]]:
        """What a notebook shows: a title and lines, of names from anywhere."""
        made, config = self.attributes, self.config
        sets = [f"{entry.name} ({entry.contexts})" for entry in made.heads]
        lines = {
            "assembly": made.assembly,
            "genes": f"{len(self):,} of {made.gene_table.genes:,} in {made.gene_table.file}",
            "windows": f"{self.grid.bins} of {self.grid.window:,} bp, {config.features:,} features",
            "contexts": ", ".join(sets) or "none",
            "calibrated": ", ".join(made.calibration) or "no",
            "hidden": "stored" if self.has_hidden else "no",
        }
        with suppress(OSError):  # not published yet
            lines["sha256"] = self.sha256[:16]
        if self.synthetic:
            lines["weights"] = "SYNTHETIC: no biological meaning"
        return f"Store {self.path}", lines

    @property
    def has_hidden(self) -> bool:
        """Whether the first linear layer's outputs are stored."""
        return "hidden" in self.group

    def array(self, name: str) -> zarr.Array[Any]:
        """One of the arrays of :data:`seal_store.store.layout.STORE`.

        Raises :class:`~seal_store.errors.InputError` for another name, with those there are.
        """
        if not isinstance(name, str) or not isinstance(self.group.get(name), zarr.Array):
            there = ", ".join(entry.name for entry in STORE if entry.name in self.group)
            raise InputError(f"{self.path}: no array {name!r}", f"there are {there}")
        return get(self.group, name)

    def column(self, name: str) -> np.ndarray:
        """A whole one-dimensional array; strings as numpy ``U``."""
        return self._column(self.array(name))

    def _column(self, array: zarr.Array[Any]) -> np.ndarray:
        return column(array, self.path)

    @cached_property
    def gene_id(self) -> np.ndarray:
        """Ids of the computed genes, read only."""
        return _locked(self.column("gene_id"))

    @cached_property
    def table(self) -> GeneTable:
        """The whole gene table the store was built from, in file order; read-only arrays."""
        names = ("gene_id", "gene_symbol", "contig", "strand", "tss", "gene_type")
        columns = of_each(self.group, [f"table/{name}" for name in names], self._column)
        return GeneTable(*map(_locked, columns))

    @cached_property
    def table_status(self) -> np.ndarray:
        """For each row of :attr:`table` ``computed``, or why it was not; read only."""
        return _locked(self.column("table/status"))

    @cached_property
    def gene_position(self) -> Mapping[str, int]:
        """Positions of the computed genes, by id."""
        return MappingProxyType({gene: i for i, gene in enumerate(self.gene_id.tolist())})

    def gene(self, gene: str) -> int:
        """Position of a computed gene, by id or symbol.

        Raises :class:`~seal_store.errors.GeneTableError` if it was not computed.
        """
        if gene in self.gene_position:
            return self.gene_position[gene]
        row = self.table.row(gene)
        found = self.gene_position.get(str(self.table.gene_id[row]))
        if found is None:
            raise GeneTableError(
                f"gene {gene} is in the gene table but was not computed ({self.table_status[row]})",
                "build a store that includes it",
            )
        return found

    def position(self, gene: str | int) -> int:
        """Position of one computed gene along the ``gene`` dimension."""
        found = self.positions(gene)
        if not isinstance(found, int):
            raise ParameterError(f"`gene` {shown(gene)}: not one gene", "give its id or position")
        return found

    def positions(self, gene: Genes) -> int | slice | np.ndarray:
        """Positions of computed genes along the ``gene`` dimension, as they are given.

        One is an integer, several are a slice or int64.
        """
        return places("gene", gene, len(self), self.gene)

    def _of_genes(self, name: str, gene: Genes, *more: int | slice | np.ndarray) -> np.ndarray:
        key = (self.positions(gene), *more)
        several = any(isinstance(part, np.ndarray) for part in key)
        return read(self.array(name), key, orthogonal=several)

    def sequence(self, gene: Genes) -> np.ndarray:
        """ASCII bases uint8 ``(45000,)`` of the + strand, upper case; of several, ``(genes, ...)``.

        Index 0 is 1-based TSS-22500, the last TSS+22499; ``N`` beyond the contig. For text:
        ``store.sequence(gene).tobytes().decode()``.
        """
        return self._of_genes("sequence", gene)

    def features(self, gene: Genes, windows: Genes = slice(None)) -> np.ndarray:
        """Reference chromatin features float32 ``(windows, feature)``, probabilities.

        The mean of both strands; of several genes ``(genes, windows, feature)``, 1.6 MB each.
        Window 0 is the most upstream of the gene; the centres are at ``window_offset`` bp from
        the TSS. ``windows`` is a position, several or a slice.
        """
        return self._of_genes("features", gene, places("windows", windows, self.grid.bins))

    def aggregated(self, gene: Genes) -> np.ndarray:
        """Decay sums of the features float32 ``(decay, feature)``; of several, ``(genes, ...)``.

        Rows 0-4 are of the windows at or upstream of the TSS, 5-9 at or downstream, each at the
        rates of ``grid.rates``.
        """
        return self._of_genes("aggregated", gene)

    def expression(self, gene: Genes, contexts: str | Sequence[str] = ()) -> np.ndarray:
        """Reference predictions float32 ``(context,)``, ln(expression + pseudocount).

        Of several genes, ``(genes, context)``. ``contexts`` are names, each ``name`` or
        ``set:name``; by default all, in the order of :meth:`contexts` either way. Raises
        :class:`~seal_store.errors.HeadsError` if the store has no head sets, or no such context.
        """
        self._need_heads()
        return self._of_genes("expression", gene)[..., self._chosen(contexts)]

    def _chosen(self, contexts: str | Sequence[str]) -> np.ndarray:
        names, sets = (column.tolist() for column in self.contexts())
        wanted = conformed("contexts", contexts, Sequence[str], ())
        return select_contexts(list(zip(sets, names, strict=True)), wanted)

    def gene_frame(self) -> pd.DataFrame:
        """The computed genes as a table of pandas, by gene id.

        Columns: symbol, type, contig, strand (+1 or -1) and TSS (1-based). Needs the extra
        ``xarray``, which brings pandas.
        """
        names = [e.name for e in STORE if e.dims == ("gene",)]
        return frames.table({name: self.column(name) for name in names}, "gene_id")

    def context_frame(self) -> pd.DataFrame:
        """The contexts as a table of pandas, by label: what ``contexts`` of any function takes.

        The label is the name, or ``set:name`` where several sets share it. Columns:
        ``context_name`` and ``context_set``, kind, stage, region and cell type of published
        contexts, and ``context_stage_harmonised``, the stage in one spelling for all sets. Needs
        the extra ``xarray``.
        """
        self._need_heads()
        names, sets = (column.tolist() for column in self.contexts())
        return frames.contexts(sets, names)

    def expression_frame(
        self, gene: Genes = slice(None), contexts: str | Sequence[str] = ()
    ) -> pd.DataFrame:
        """Reference predictions as a table of pandas: a row for each gene, by id.

        A column for each context, by the label of :meth:`context_frame`; float32,
        ln(expression + pseudocount). Needs the extra ``xarray``.
        """
        keep = self._chosen(contexts)
        labels = self.context_frame().index[keep]
        rows = np.atleast_1d(np.arange(len(self))[self.positions(gene)])
        values = np.atleast_2d(self.expression(gene, contexts))
        return frames.matrix(values, self.gene_id[rows], labels, "gene_id")

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
        """Whether the summary of a head set says that its weights are synthetic.

        So it is in the demo's store: its effects have no biological meaning.
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


def _locked(values: np.ndarray) -> np.ndarray:
    """``values``, which nobody can change any more."""
    values.flags.writeable = False
    return values


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
    names = [entry.name for entry in CNN]
    weights = of_each(group, names, read_whole)
    return {name.partition("/")[2]: own for name, own in zip(names, weights, strict=True)}


def read_cnn(group: zarr.Group, config: CnnConfig) -> Beluga:
    """The CNN of a store, finished or not."""
    from seal_store.model.beluga import Beluga  # PyTorch: only where weights are used

    return Beluga.from_arrays(config, read_weights(group))


def read_heads(group: zarr.Group, names: list[str]) -> list[HeadSet]:
    """Head sets of a store, finished or not, in the order of its attributes."""
    entries = [entry for entry in attributes_of(group).heads if entry.name in names]
    parts = [e.name for e in HEADS if e.weights]
    arrays = [f"heads/{e.name}/{part}" for e in entries for part in (*parts, "context")]
    values = iter(of_each(group, arrays, read_whole))
    sets = []
    for entry in entries:
        weights = {part: next(values) for part in parts}
        contexts = tuple(str(c) for c in next(values))
        sets.append(HeadSet(entry.name, contexts, **weights, summary=entry.summary))
    return sets
