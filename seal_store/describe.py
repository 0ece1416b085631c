"""What a store or a results group holds, as JSON-ready facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from seal_store import manifest
from seal_store.layout import ATTRIBUTION, RESULTS, STORE
from seal_store.results import ATTRIBUTE as RESULTS_ATTRIBUTE
from seal_store.results import Results
from seal_store.store import Store

_TOP = ("assembly", "genome", "gene_table", "cnn", "grid", "source", "keep_bits", "hidden")


def describe(path: str | Path) -> dict[str, Any]:
    """Kind, provenance and arrays with their sizes. Raises as :class:`Store` does."""
    path = Path(path)
    if _is_results(path):
        return _results(Results(path))
    return _store(Store(path))


def _is_results(path: Path) -> bool:
    return RESULTS_ATTRIBUTE in manifest.attributes(path)


def _store(store: Store) -> dict[str, Any]:
    attributes = store.attributes
    missing = [] if store.has_hidden else [_hidden_note(store)]
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
        "missing": missing,
        "arrays": _arrays(
            store.path, store.group, [entry.name for entry in STORE] + ["cnn", "heads"]
        ),
        "software": attributes["software"],
        "command": attributes["command"],
    }


def _hidden_note(store: Store) -> str:
    size = len(store) * store.grid.bins * 2 * store.config.hidden * 2
    return (
        f"hidden: with it (up to {size / 1e9:.2g} GB more) scheme grid need not evaluate the "
        f"reference's windows; add it with `seal-store build --add-hidden --out {store.path}`"
    )


def _results(results: Results) -> dict[str, Any]:
    return {
        "kind": "results",
        "path": str(results.path),
        "rows": len(results),
        **{k: v for k, v in results.attributes.items() if k != "command"},
        "arrays": _arrays(
            results.path, results.group, [entry.name for entry in (*RESULTS, *ATTRIBUTION)]
        ),
        "command": results.attributes["command"],
    }


def _arrays(path: Path, group: zarr.Group, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        member = group.get(name)
        if member is None:
            continue
        shape = list(member.shape) if isinstance(member, zarr.Array) else []
        dtype = str(member.dtype) if isinstance(member, zarr.Array) else "group"
        size = sum(f.stat().st_size for f in (path / name).rglob("*") if f.is_file())
        rows.append({"name": name, "shape": shape, "dtype": dtype, "bytes": size})
    return rows
