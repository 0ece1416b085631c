"""Reading an atlas: where an SNV's entries are, their summaries, their effects. No PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.arrays import BASES, QUANTILE, SUMMARY, of_attributions
from seal_store.atlas.attributes import AtlasAttributes, expected_arrays, parse_attributes
from seal_store.atlas.coding import decoded
from seal_store.reference.contigs import resolve_contig
from seal_store.store import manifest
from seal_store.store import untrusted as guard
from seal_store.store.layout import get
from seal_store.store.opening import open_all
from seal_store.store.place import place
from seal_store.store.shards import ShardFiles
from seal_store.store.summary import Shown
from seal_store.store.untrusted import column

AT_ONCE = 64 << 20
"""Bytes of decoded chunks in memory."""

_CODE = np.full(256, -1, np.int8)
_CODE[list(BASES)] = range(len(BASES))


@dataclass(frozen=True)
class Found:
    """Entries of SNVs, ordered by these and then by gene, int64 each.

    ``row`` is the SNV, as it was asked for; ``gene``, ``position`` and ``alt`` are places along
    the atlas' dimensions. ``known`` says for each SNV asked for whether the atlas has its base,
    whatever its REF is.
    """

    row: np.ndarray
    gene: np.ndarray
    position: np.ndarray
    alt: np.ndarray
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


class Entries(Shown, manifest.Finished):
    """A finished atlas, read only: on this machine, in a bucket or on a web server.

    ``len(atlas)`` is the number of genes; :attr:`attributes` say what it was made from.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        cache: str | os.PathLike[str] | None = None,
        *,
        opened: tuple[zarr.Group, AtlasAttributes] | None = None,
    ) -> None:
        """Open. ``path`` may be an address; what is read from one is kept in ``cache``.

        ``opened`` has group and attributes if they were opened otherwise: then nothing is checked
        here. Raises :class:`~seal_store.errors.UnfinishedError` or
        :class:`~seal_store.errors.FormatError`.
        """
        self.path = place(path, None if cache is None else Path(cache))
        self.group, self.attributes = opened or self._open()
        self._basis = lru_cache(32)(self._read_basis)

    def _open(self) -> tuple[zarr.Group, AtlasAttributes]:
        self.listed = self._listed("atlas", "finish it with `seal-store atlas build ... --resume`")
        """Size and SHA-256 of every file, as the manifest has them."""
        metadata = guard.read_metadata(self.path, self.listed)
        attributes = parse_attributes(metadata["attributes"], self.path)
        expected = expected_arrays(attributes)
        return open_all(self.path, metadata, expected, self.listed), attributes

    def __len__(self) -> int:
        return self.attributes.gene_count

    def _summary(self) -> tuple[str, dict[str, str]]:
        made = self.attributes
        lines = {
            "genes": f"{len(self):,}, {made.span:,} bp to either side of their TSS",
            "entries": f"{int(self.column('entries').sum()):,} SNVs ({made.genes} genes)",
            "contexts": f"{made.contexts:,}",
            "scheme": made.scheme,
            "error": "none" if made.is_full else f"up to {made.max_error:g} of an SNV's largest",
            "store": f"{made.store.path}, sha256 {made.store.sha256[:16]}",
        }
        if made.store.synthetic:
            lines["weights"] = "SYNTHETIC: no biological meaning"
        return f"Atlas {self.path}", lines

    def column(self, name: str) -> np.ndarray:
        """A whole one-dimensional array; strings as numpy ``U``."""
        return column(get(self.group, name), self.path)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        names = ("gene_id", "gene_symbol", "contig", "strand", "tss", "rank")
        return {name: self.column(name) for name in names}

    def of_genes(self, name: str) -> np.ndarray:
        """``gene_id``, ``gene_symbol``, ``contig``, ``strand``, ``tss`` or ``rank`` of genes."""
        return self._columns[name]

    @cached_property
    def contexts(self) -> list[tuple[str, str]]:
        """Head set and name of each context."""
        names, sets = self.column("context_name"), self.column("context_set")
        return list(zip(sets.tolist(), names.tolist(), strict=True))

    @cached_property
    def set_columns(self) -> list[str]:
        """Names of the columns of ``largest_by_set`` in tables: ``largest_SET`` for each set.

        A set called as what else is told of the largest effect has ``largest_over_SET``.
        """
        found: list[str] = []
        taken = {"largest", "largest_set", "largest_context"}
        for name in self.column("head_set").tolist():
            own = f"largest_{name}"
            while own in taken:
                own = own.replace("largest_", "largest_over_", 1)
            taken.add(own)
            found.append(own)
        return found

    @cached_property
    def _on_contig(self) -> dict[str, np.ndarray]:
        contig = self.of_genes("contig")
        return {str(name): np.flatnonzero(contig == name) for name in np.unique(contig)}

    def contig_name(self, name: str) -> str | None:
        """The atlas' spelling of a contig, under any of its names; None if it has no gene."""
        return resolve_contig(name, self._on_contig)

    def position(self, gene: np.ndarray, pos: np.ndarray) -> np.ndarray:
        """Places along ``position`` of 1-based positions on the contigs of genes."""
        return np.asarray(pos - self.of_genes("tss")[gene] + self.attributes.span)

    def find(self, contig: np.ndarray, pos: np.ndarray, ref: np.ndarray, alt: np.ndarray) -> Found:
        """Entries of SNVs whose REF is the genome's.

        ``contig`` are names as :meth:`contig_name` gives them, ``pos`` int64 is 1-based, ``ref``
        and ``alt`` uint8 are ASCII bases, upper case. Fastest if they are sorted.
        """
        row, gene = self._pairs(contig, pos)
        position = self.position(gene, pos[row])
        base = self.gathered("base", gene, position)
        known = np.zeros(len(pos), bool)
        known[row[base != 0]] = True
        index = _places(ref, alt)[row]
        fits = (base != 0) & (base == ref[row]) & (index >= 0)
        return Found(row[fits], gene[fits], position[fits], index[fits], known)

    def bases(self, contig: str, pos: np.ndarray) -> np.ndarray:
        """Reference bases uint8 at 1-based positions of a contig; 0 where there is no entry."""
        row, gene = self._pairs(np.full(len(pos), contig), pos)
        position = self.position(gene, pos[row])
        found = np.zeros(len(pos), np.uint8)
        np.maximum.at(found, row, self.gathered("base", gene, position))
        return found

    def at(self, gene: np.ndarray, pos: np.ndarray, alt: np.ndarray) -> Found:
        """Entries of changes of the genome's base at ``pos`` (1-based) to ``alt``, by gene.

        Of those that are not there ``row`` is missing.
        """
        position = self.position(gene, pos)
        inside = np.flatnonzero((position >= 0) & (position <= 2 * self.attributes.span))
        base = np.zeros(len(pos), np.uint8)
        base[inside] = self.gathered("base", gene[inside], position[inside])
        index = _places(base, alt)
        row = np.flatnonzero((base != 0) & (index >= 0))
        return Found(row, gene[row], position[row], index[row], base != 0)

    def _pairs(self, contig: np.ndarray, pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """SNVs and genes within whose span they are, ordered by both; the nearest gene only."""
        span, tss = self.attributes.span, self.of_genes("tss")
        rows, genes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for name in np.unique(contig):
            own = np.flatnonzero(contig == name)
            on = self._on_contig.get(str(name), np.zeros(0, np.int64))
            order = own[np.argsort(pos[own], kind="stable")]
            first = np.searchsorted(pos[order], tss[on] - span)
            count = np.searchsorted(pos[order], tss[on] + span, side="right") - first
            shift = np.repeat(first - (np.cumsum(count) - count), count)
            rows.append(order[np.arange(int(count.sum())) + shift])
            genes.append(np.repeat(on, count))
        row, gene = np.concatenate(rows), np.concatenate(genes)
        if self.attributes.genes == "nearest" and len(row):
            distance = np.abs(pos[row] - tss[gene])
            nearest = np.full(len(pos), np.iinfo(np.int64).max)
            np.minimum.at(nearest, row, distance)
            kept = distance == nearest[row]
            row, gene = row[kept], gene[kept]
        order = np.lexsort((gene, row))
        return row[order], gene[order]

    def summaries(self, found: Found) -> dict[str, np.ndarray]:
        """Arrays of :data:`~seal_store.atlas.arrays.SUMMARY` (and ``quantile``), by entry."""
        more = (QUANTILE,) if self.attributes.calibration else ()
        return {
            entry.name: self.gathered(entry.name, found.gene, found.position, found.alt)
            for entry in (*SUMMARY, *more)
        }

    def of_features(self, found: Found) -> dict[str, np.ndarray]:
        """The strongest attributions of entries, by name: those of results, first dimension entry.

        Empty if the atlas has none. ``attribution`` float32 ``(entries, target, top)``, strongest
        first; ``attribution_feature`` says which feature each is of, -1 for none.
        """
        made = self.attributes.attribution
        names = [entry.name for entry in of_attributions(made)] if made else []
        where = (found.gene, found.position, found.alt)
        values = {name: self.gathered(name, *where) for name in names}
        if (scale := values.pop("attribution_scale", None)) is not None:
            values["attribution"] = values["attribution"].astype(np.float32) * scale[..., None]
        return values

    def values(self, found: Found, contexts: np.ndarray | None = None) -> np.ndarray:
        """Effects float32 ``(entries, contexts)``, on all contexts or those at these places."""
        where = (found.gene, found.position, found.alt)
        if self.attributes.is_full:
            effect = self.gathered("effect", *where)
            return effect if contexts is None else effect[:, contexts]
        step = self.gathered("step", *where)
        count = self.attributes.contexts if contexts is None else len(contexts)
        out = np.empty((len(found), count), np.float32)
        for rows, coefficient in self._parts("coefficient", *where):
            genes = found.gene[rows]
            for gene in np.unique(genes):
                own = genes == gene
                at = rows[own]
                out[at] = self._decoded(int(gene), coefficient[own], step[at], contexts)
        return out

    def _decoded(
        self, gene: int, coefficient: np.ndarray, step: np.ndarray, contexts: np.ndarray | None
    ) -> np.ndarray:
        rank = int(self.of_genes("rank")[gene])
        basis = self._basis(gene) if rank and (step > 0).any() else np.zeros((0, 0), np.float32)
        found = decoded(coefficient, step, basis, rank)
        return found if contexts is None else found[:, contexts]

    def _read_basis(self, gene: int) -> np.ndarray:
        return self._files("basis").read([(gene, 0, 0)])[0, 0]

    @cached_property
    def _opened(self) -> dict[str, ShardFiles]:
        return {}

    def _files(self, name: str) -> ShardFiles:
        if name not in self._opened:
            self._opened[name] = ShardFiles(get(self.group, name))
        return self._opened[name]

    def gathered(self, name: str, *where: np.ndarray) -> np.ndarray:
        """Values of an array at places along ``gene``, ``position`` and, if it has it, ``alt``."""
        files = self._files(name)
        shape = files.chunk[len(where) :]
        out = np.empty((len(where[0]), *shape), files.dtype)
        for rows, values in self._parts(name, *where):
            out[rows] = values
        return out

    def _parts(self, name: str, *where: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The same in parts of bounded size: which of the places, and their values."""
        files = self._files(name)
        length = files.chunk[1]
        along = -(-(2 * self.attributes.span + 1) // length)
        gene, position, *alt = where
        chunks, chunk = np.unique(gene * along + position // length, return_inverse=True)
        order = np.argsort(chunk, kind="stable")
        ends = np.searchsorted(chunk[order], np.arange(len(chunks) + 1))
        size = max(1, AT_ONCE // (files.dtype.itemsize * int(np.prod(files.chunk))))
        rest = (0,) * (len(files.chunk) - 2)
        for start in range(0, len(chunks), size):
            wanted = chunks[start : start + size]
            block = files.read([(int(c) // along, int(c) % along, *rest) for c in wanted])[:, 0]
            rows = order[ends[start] : ends[start + len(wanted)]]
            key: tuple[Any, ...] = (chunk[rows] - start, position[rows] % length)
            between = (...,) if name == "coefficient" else ()
            yield rows, block[(*key, *between, *(index[rows] for index in alt))]


def _places(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    """Places along ``alt`` of ASCII bases beside those of the reference; -1 for none."""
    ours, other = _CODE[ref].astype(np.int64), _CODE[alt].astype(np.int64)
    return np.where((other < 0) | (other == ours), -1, other - (other > ours))
