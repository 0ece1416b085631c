"""The values of an atlas: SNVs of a gene scored, summarized and coded; what all would take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.arrays import ALTS
from seal_store.atlas.attributes import AtlasAttributes
from seal_store.atlas.coding import Coded, coded
from seal_store.errors import OutputError
from seal_store.run.atlas_job import Positions, Prepared
from seal_store.store.layout import create
from seal_store.store.shards import ShardFiles
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles


@dataclass(frozen=True)
class Estimate:
    """What an atlas takes: ``entries`` SNVs of ``genes``, ``seconds`` by one process, ``bytes``.

    ``tried`` SNVs were scored for it. Where there are many genes, the SNVs of some were counted.
    """

    genes: int
    shards: int
    entries: int
    seconds: float
    bytes: int
    tried: int


TRIED = 128
"""Positions that are scored to estimate time and space."""

COUNTED = 200
"""Genes whose SNVs are counted for an estimate."""


def estimate(prepared: Prepared) -> Estimate:
    """Measure some SNVs around the TSS of a gene, and count those of the atlas."""
    genes = prepared.genes
    looked_at = genes[:: -(-len(genes) // COUNTED)]
    found = [prepared.positions(gene) for gene in looked_at]
    entries = round(sum(p.entries for p in found) * len(genes) / len(found))
    tried = max(found, key=lambda positions: positions.entries)
    near = np.argsort(np.abs(np.flatnonzero(tried.base) - prepared.job.span), kind="stable")[:TRIED]
    place = np.flatnonzero(tried.base)[np.sort(near)]
    attributes = prepared.attributes()  # loads the engine
    scored(prepared, _part(tried, place[: TRIED // 8]))  # the first run is slow
    part = _part(tried, place)
    begun = time.perf_counter()
    effects = scored(prepared, part)
    seconds = time.perf_counter() - begun
    values = gene_values(attributes, effects)
    each, once = _stored(attributes, values, part)
    return Estimate(
        len(genes),
        attributes.shards,
        entries,
        seconds / max(1, part.entries) * entries + values.coding * len(genes),
        round(each / max(1, part.entries) * entries) + once * len(genes),
        part.entries,
    )


def _part(positions: Positions, place: np.ndarray) -> Positions:
    base = np.zeros_like(positions.base)
    base[place] = positions.base[place]
    return Positions(positions.gene, base)


def _stored(attributes: AtlasAttributes, values: GeneValues, part: Positions) -> tuple[int, int]:
    """Bytes of what there is of the SNVs tried, and of what a gene has once."""
    group = zarr.create_group(zarr.storage.MemoryStore(), zarr_format=3)
    place = np.flatnonzero(part.base)
    held = slice(place[0], place[-1] + 1) if len(place) else slice(0, 1)
    sizes = {**attributes.sizes(), "position": held.stop - held.start}
    each = once = 0
    for entry in attributes.computed:
        own, array = values.arrays[entry.name], create(group, entry, sizes, 1)
        is_near = "position" in entry.dims
        chunks = ShardFiles(array).encoded((own[held] if is_near else own)[None])
        size = sum(map(len, chunks.values()))
        each, once = each + size * is_near, once + size * (not is_near)
    return each, once


@dataclass(frozen=True)
class Scored:
    """Effects float32 ``(SNVs, contexts)`` of a gene's SNVs, in the order of ``positions``.

    ``more`` are the other arrays by name: ``quantile`` and attributions, where there are any.
    """

    positions: Positions
    context_set: list[str]
    effect: np.ndarray
    more: dict[str, np.ndarray]


def scored(
    prepared: Prepared, positions: Positions, progress: Callable[[int], object] = bool
) -> Scored:
    """Score the SNVs of a gene."""
    scorer = prepared.scorer(positions.gene)
    effect = np.empty((positions.entries, len(scorer.context_set)), np.float32)
    more = {} if scorer.attributor is None else scorer.attributor.empty(positions.entries)
    if scorer.calibration is not None:
        more["quantile"] = np.empty(positions.entries, np.float32)
    done = 0
    for rows in scorer.score(Alleles(_snvs(prepared, positions), place="")):
        part = slice(done, done + len(rows))
        effect[part] = rows.effect
        if rows.calibrated:
            largest = np.abs(rows.effect).argmax(1)
            more["quantile"][part] = _picked(rows.calibrated["quantile"], largest)
        for name in more.keys() - {"quantile"}:
            more[name][part] = rows.attribution[name]
        done += len(rows)
        progress(len(rows))
    if done != positions.entries:
        raise OutputError(f"{done} of {positions.entries} SNVs were scored", "this is a bug")
    return Scored(positions, list(scorer.context_set), effect, more)


@dataclass
class GeneValues:
    """A gene's arrays by name, without the dimension ``gene``, and its facts."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any] = field(default_factory=dict)
    coding: float = 0.0
    """Seconds that the coding of the effects took."""


def gene_values(attributes: AtlasAttributes, found: Scored) -> GeneValues:
    """Summarize and code what was scored."""
    effect, positions = found.effect, found.positions
    flat = _summarized(effect, found.context_set) | found.more
    facts = {"entries": positions.entries, "other_bases": positions.others, "rank": 0, "error": 0.0}
    arrays: dict[str, np.ndarray] = {"base": positions.base}
    coding = 0.0
    if attributes.is_full:
        flat["effect"] = effect
    else:
        begun = time.perf_counter()
        own = _coded(effect, np.abs(flat["largest"]), attributes)
        flat |= {"step": own.step, "coefficient": own.coefficient}
        coding, arrays["basis"] = time.perf_counter() - begun, own.basis
        facts |= {"rank": own.rank, "error": own.error * float(attributes.max_error or 0)}
    where, size = np.flatnonzero(positions.base), attributes.sizes()["position"]
    for name, values in flat.items():
        whole = np.zeros((size, ALTS, *values.shape[1:]), values.dtype)
        whole[where] = values.reshape(len(where), ALTS, *values.shape[1:])
        arrays[name] = np.moveaxis(whole, 1, 2) if name == "coefficient" else whole
    return GeneValues(arrays, facts, coding)


def _snvs(prepared: Prepared, positions: Positions) -> Iterator[Allele]:
    row = prepared.store.table.row(str(prepared.store.gene_id[positions.gene]))
    contig = str(prepared.store.table.contig[row])
    first = int(prepared.store.table.tss[row]) - prepared.job.span
    for index in np.flatnonzero(positions.base).tolist():
        ref = chr(positions.base[index])
        for alt in "ACGT".replace(ref, ""):
            yield Allele(0, contig, first + index, "", ref, alt, "snv")


def _summarized(effect: np.ndarray, context_set: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of :data:`~seal_store.atlas.arrays.SUMMARY`, one entry an SNV."""
    sets = np.array(context_set)
    found = np.abs(effect).argmax(1)
    by_set = []
    for name in dict.fromkeys(context_set):
        own = effect[:, sets == name]
        by_set.append(_picked(own, np.abs(own).argmax(1)))
    squares = np.einsum("ij,ij->i", effect, effect, dtype=np.float64)
    return {
        "largest": _picked(effect, found),
        "largest_context": found.astype(np.int16),
        "rms": np.sqrt(squares / effect.shape[1]).astype(np.float32),
        "largest_by_set": np.stack(by_set, 1),
    }


def _picked(values: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Of each row the value in its own column."""
    return np.asarray(np.take_along_axis(values, column[:, None], 1)[:, 0])


def _coded(effect: np.ndarray, largest: np.ndarray, attributes: AtlasAttributes) -> Coded:
    share = np.float32(attributes.max_error or 0)
    allowed = np.maximum(share * largest, np.float32(attributes.floor))
    return coded(effect, allowed.astype(np.float32))
