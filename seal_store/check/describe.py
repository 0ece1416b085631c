"""Describe what seal-store wrote: what it holds, lacks and came from, as JSON-ready facts.

The keys are described in docs/formats.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from seal_store.atlas.attributes import ATTRIBUTE as ATLAS_ATTRIBUTE
from seal_store.atlas.entries import Entries
from seal_store.common.beside import partial_path
from seal_store.results.group import ATTRIBUTE as RESULTS_ATTRIBUTE
from seal_store.results.group import Results
from seal_store.results.haplotypes import ARRAYS as HAPLOTYPES
from seal_store.results.haplotypes import ATTRIBUTE as HAPLOTYPES_ATTRIBUTE
from seal_store.results.haplotypes import Haplotypes
from seal_store.scoring.calibration import CALIBRATION_GROUP, pinned, uncalibrated
from seal_store.scoring.needs import describe_needs
from seal_store.scoring.options import SCHEMES
from seal_store.store.address import Entry
from seal_store.store.layout import (
    ATTRIBUTION,
    CALIBRATED,
    LIFTED,
    NAMED,
    PLACES,
    RESULTS,
    SOURCE,
    STORE,
)
from seal_store.store.opening import attributes_at
from seal_store.store.place import place
from seal_store.store.store import Store

_TOP = ("assembly", "genome", "gene_table", "cnn", "grid", "source", "keep_bits", "hidden")
_CALIBRATION = ("file", "sha256", "rows", "genes", "max_distance")
_BINS = ("by", "bin_edges", "bin_least", "bins")


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Kind, provenance and arrays with their sizes. Raises as :class:`Store` does."""
    path = place(path)
    named = attributes_at(path) or attributes_at(partial_path(path))  # of one that is unfinished
    if RESULTS_ATTRIBUTE in named:
        return _results(Results(path))
    if ATLAS_ATTRIBUTE in named:
        return _atlas(Entries(path))
    if HAPLOTYPES_ATTRIBUTE in named:
        return _haplotypes(Haplotypes(path))
    return _store(Store(path))


def _store(store: Store) -> dict[str, Any]:
    attributes = store.attributes.to_dict()
    names = [*(entry.name for entry in STORE), "cnn", "heads", CALIBRATION_GROUP]
    return {
        "kind": "store",
        "path": str(store.path),
        "sha256": store.sha256,
        "format_version": attributes["format_version"],
        "genes": len(store),
        **{key: attributes[key] for key in _TOP},
        "heads": [
            {key: entry[key] for key in ("name", "contexts", "latent", "sha256")}
            for entry in attributes["heads"]
        ],
        "calibration": {
            own: {
                **{key: made[key] for key in _CALIBRATION},
                **{key: made[key] for key in _BINS if key in made},
                "pinned": pinned(store, own),
                "command": made["command"],
            }
            for own, made in attributes.get(CALIBRATION_GROUP, {}).items()
        },
        "missing": _missing(store),
        "bytes": store.total_bytes,
        "arrays": _arrays(store.listed, store.group, names),
        "needs": describe_needs(store),
        "software": attributes["software"],
        "command": attributes["command"],
    }


def _missing(store: Store) -> list[str]:
    """What a store could have and has not, each with how to add it."""
    found = []
    if not store.has_hidden:
        size = len(store) * store.grid.bins * 2 * store.config.hidden * 2
        found.append(
            f"hidden: with it (up to {size / 1e9:.2g} GB more) scheme grid need not evaluate the "
            f"reference's windows; add it with `seal-store build --add-hidden --out {store.path}`"
        )
    contexts = sum(entry.contexts for entry in store.attributes.heads)
    if not contexts:
        return [*found, f"heads: none; add some with `seal-store heads add {store.path} PATH`"]
    keys = [key.partition(".") for key in store.attributes.calibration]
    for scheme in SCHEMES:
        names = [name for own, _, name in keys if own == scheme]
        how = f"`seal-store calibrate {store.path} BACKGROUND.vcf --scheme {scheme}"
        if not names:
            found.append(f"calibration for scheme {scheme}: none; make one with {how}`")
        for name in names:
            if lacking := uncalibrated(store, scheme, name):
                called, option = (f" {name}", f" --name {name}") if name else ("", "")
                found.append(
                    f"calibration{called} for scheme {scheme}: {len(lacking)} of {contexts} "
                    f"contexts have none, {':'.join(lacking[0])} first; make it again with "
                    f"{how}{option} --overwrite`"
                )
    table = store.attributes.gene_table
    absent = {k: n for k, n in table.status.items() if k != "computed"}
    if absent:
        reasons = ", ".join(f"{n} {reason}" for reason, n in absent.items())
        found.append(f"genes: {sum(absent.values())} of {table.genes} ({reasons})")
    return found


def _results(results: Results) -> dict[str, Any]:
    tables = (*RESULTS, *NAMED, SOURCE, *LIFTED, *PLACES, *CALIBRATED, *ATTRIBUTION)
    names = [entry.name for entry in tables]
    missing = []
    if not results.is_calibrated:
        missing.append("quantile, z: add them with `seal-store score ... --calibrated`")
    if not results.attributes.attribution:
        missing.append(f"attributions: add them with `seal-store attribute {results.path}`")
    return {
        "kind": "results",
        "path": str(results.path),
        "rows": len(results),
        **{k: v for k, v in results.attributes.to_dict().items() if k != "command"},
        "missing": missing,
        "bytes": results.total_bytes,
        "arrays": _arrays(results.listed, results.group, names),
        "command": results.attributes.command,
    }


def _atlas(atlas: Entries) -> dict[str, Any]:
    made = atlas.attributes
    rank, entries, error = (atlas.column(name) for name in ("rank", "entries", "error"))
    return {
        "kind": "atlas",
        "path": str(atlas.path),
        "sha256": atlas.sha256,
        "entries": int(entries.sum()),
        "bytes_an_entry": round(atlas.total_bytes / max(1, int(entries.sum())), 1),
        "other_bases": int(atlas.column("other_bases").sum()),
        "largest_error": float(error.max()),
        "rank": {"least": int(rank.min()), "median": int(np.median(rank)), "most": int(rank.max())},
        **{k: v for k, v in made.to_dict().items() if k not in ("command", "contigs")},
        "missing": [] if made.calibration else ["quantile: of a store that is calibrated"],
        "bytes": atlas.total_bytes,
        "arrays": _arrays(atlas.listed, atlas.group, [entry.name for entry in made.arrays]),
        "command": made.command,
    }


def _haplotypes(found: Haplotypes) -> dict[str, Any]:
    made = found.attributes.to_dict()
    return {
        "kind": "haplotypes",
        "path": str(found.path),
        "sha256": found.sha256,
        "scheme": "grid",  # haplotypes are anchored at the TSS
        **{k: v for k, v in made.items() if k not in ("command", "counts")},
        "copies_with_alleles": int(found.column("copies").sum()),
        "left_out": [
            {"reason": reason, "count": count, "meaning": meaning}
            for reason, count, meaning in found.left_out()
        ],
        "missing": [],
        "bytes": found.total_bytes,
        "arrays": _arrays(found.listed, found.group, [entry.name for entry in HAPLOTYPES]),
        "command": found.attributes.command,
    }


def _arrays(
    listed: Mapping[str, Entry], group: zarr.Group, names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row an array; the arrays of a group of weights or labels are added up."""
    rows = []
    for name in names:
        member = group.get(name)
        if member is None:
            continue
        row: dict[str, Any] = {"name": name, "shape": [], "dtype": "group"}
        row |= {"chunks": [], "shards": None}
        if isinstance(member, zarr.Array):
            inside = [member]
            dtype = str(member.dtype) if member.dtype.kind in "biuf" else "string"
            row |= {"shape": list(member.shape), "dtype": dtype, "chunks": list(member.chunks)}
            row["shards"] = list(member.shards) if member.shards else None
        else:
            inside = [m for _, m in member.members(max_depth=None) if isinstance(m, zarr.Array)]
        raw, size = _raw_bytes(inside), _bytes(listed, name)
        ratio = round(raw / size, 3) if raw is not None and size else None
        rows.append({**row, "bytes": size, "raw_bytes": raw, "ratio": ratio})
    return rows


def _raw_bytes(arrays: Sequence[zarr.Array[Any]]) -> int | None:
    """Bytes of the values in memory; None for strings alone, which have no fixed length."""
    sizes = [int(array.nbytes) for array in arrays if array.dtype.kind in "biuf"]
    return sum(sizes) if sizes or not arrays else None


def _bytes(listed: Mapping[str, Entry], name: str) -> int:
    """Bytes of all files of an array or group, with their metadata."""
    return sum(own["size"] for file, own in listed.items() if file.startswith(f"{name}/"))
