"""Folders from elsewhere: nothing that they declare is believed before it is bounded.

What arrays there are, and their shapes and dtypes, follows from the attributes (:class:`Expected`).
An array's metadata must be those that this package would write: all that is taken from them are
the lengths of chunks, and one of a few compressors. zarr gets to see these metadata and never the
folder's own, and reads chunks through :class:`~seal_store.store.checked.Checked`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import MemoryStore

from seal_store.common.files import file_sha256
from seal_store.errors import FormatError
from seal_store.store.checked import CRC, HINT, Checked, Chunks, compressor
from seal_store.store.layout import ArraySpec, create_array
from seal_store.store.manifest import METADATA_BYTES, Entry

METADATA = "zarr.json"
CHUNK_LIMIT = 256 << 20
"""Bytes that one chunk may decode to."""

TEXT_LIMIT = 100_000
"""Bytes of one string of a chunk, on average."""

WHOLE_LIMIT, RATIO = 256 << 20, 100
"""An array that is read as a whole has at most ``WHOLE_LIMIT + RATIO * stored`` bytes."""

INNER_CHUNKS = 1 << 16
"""Chunks in one shard."""


@dataclass(frozen=True)
class Expected:
    """An array of a folder: what the layout says of it, and its shape.

    ``shard`` is the number of genes in a shard; 0 for arrays that have none.
    """

    entry: ArraySpec
    shape: tuple[int, ...]
    shard: int = 0


def read_metadata(path: Path, listed: Mapping[str, Entry]) -> dict[str, Any]:
    """The metadata of the group at ``path``, consolidated, as the manifest lists them.

    Raises :class:`FormatError` if they are damaged, too large or not those of a Zarr v3 group.
    """
    file = path / METADATA
    if METADATA not in listed:
        raise FormatError(f"{path}: {METADATA} is not in the manifest", HINT)
    try:
        if file.stat().st_size > METADATA_BYTES:
            raise FormatError(f"{file}: more than {METADATA_BYTES >> 20} MiB of metadata", HINT)
        if file_sha256(file) != listed[METADATA]["sha256"]:
            raise FormatError(f"{file}: not as the manifest lists it (SHA-256)", HINT)
        found = json.loads(file.read_text(encoding="utf-8"))
        if (found["zarr_format"], found["node_type"]) != (3, "group"):
            raise ValueError("not a Zarr v3 group")
        if not isinstance(found["attributes"], dict):
            raise ValueError("no attributes")
        arrays = found["consolidated_metadata"]["metadata"]
        if not isinstance(arrays, dict) or not all(isinstance(a, dict) for a in arrays.values()):
            raise ValueError("no consolidated metadata")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]
        raise FormatError(f"{file}: damaged metadata ({reason})", HINT) from None
    return found


def open_group(
    path: Path,
    metadata: Mapping[str, Any],
    expected: Mapping[str, Expected],
    listed: Mapping[str, Entry],
) -> zarr.Group:
    """The expected arrays of the group at ``path``, as far as they are there, read only.

    Others are not in it. Raises :class:`FormatError`, naming the array.
    """
    files: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for key, own in listed.items():
        files[key.rpartition("/c/")[0]][key.rpartition("/c/")[2]] = own["size"]
    chunks: dict[str, Chunks] = {}
    documents: dict[str, Any] = {}
    for name, declared in metadata["consolidated_metadata"]["metadata"].items():
        try:
            if not all(part.strip(".") for part in name.split("/")):
                raise ValueError("its name leads outside the group")
            if declared["node_type"] == "group" and name not in expected:
                _check_group(declared)
                documents[name] = GROUP
            elif name in expected:
                documents[name], chunks[name] = _array(declared, expected[name], files[name])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise FormatError(f"{path}: array {str(name)[:80]}: {reason}", HINT) from None
    inner = {"kind": "inline", "must_understand": False, "metadata": documents}
    root = {**GROUP, "attributes": metadata["attributes"], "consolidated_metadata": inner}
    store = Checked(path, listed, chunks, {METADATA: json.dumps(root).encode()})
    return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=True)


GROUP = {"attributes": {}, "zarr_format": 3, "node_type": "group"}


def _check_group(declared: Mapping[str, Any]) -> None:
    """A group within has no metadata of its own that zarr would go by."""
    within = declared.get("consolidated_metadata") or {"metadata": {}}
    rest = {key: value for key, value in declared.items() if key != "consolidated_metadata"}
    if rest != GROUP or within["metadata"] != {}:
        raise ValueError("a group with metadata of its own")


def _array(
    declared: Mapping[str, Any], want: Expected, files: Mapping[str, int]
) -> tuple[dict[str, Any], Chunks]:
    """Our own metadata of an array, and how its chunks decode."""
    entry = want.entry
    outer = _lengths(declared["chunk_grid"]["configuration"]["chunk_shape"], want)
    inner = outer
    if entry.sharded:
        inner = _lengths(declared["codecs"][0]["configuration"]["chunk_shape"], want)
    chunks = _chunks(want, outer, inner)
    # once weights were compressed, and the contexts of head sets had no checksum
    former = replace(entry, weights=False)
    for kind, crc in ((entry, True), (former, True), (former, entry.dims != ("output",))):
        scratch = zarr.create_group(MemoryStore(), zarr_format=3)
        shards = outer if entry.sharded else None
        array = create_array(scratch, kind, want.shape, inner, shards, checksum=crc)
        ours = json.loads(json.dumps(array.metadata.to_dict()))
        different = [k for k in {**ours, **declared} if ours.get(k) != declared.get(k)]
        if not set(different) - {"attributes", "dimension_names"}:
            _check_files(want, outer, files)
            return ours, replace(chunks, codec=compressor(array), tail=CRC * crc)
    key = next(k for k in different if k not in ("attributes", "dimension_names"))
    found, wanted = (json.dumps(own.get(key))[:80] for own in (declared, ours))
    raise ValueError(f"declares {key} {found}, expected {wanted}")


def _lengths(values: Any, want: Expected) -> tuple[int, ...]:
    """Lengths of chunks, one for each dimension."""
    if len(values) != len(want.shape) or any(type(n) is not int or n < 1 for n in values):
        raise ValueError(f"declares chunks {str(values)[:60]}")
    return tuple(values)


def _chunks(want: Expected, outer: tuple[int, ...], inner: tuple[int, ...]) -> Chunks:
    entry, count = want.entry, 0
    if entry.sharded:
        # readers find a gene's values by its place: one gene, and all but the number of windows
        free = dict(zip(entry.dims, inner, strict=True)) | {"gene": 1}
        whole = dict(zip(entry.dims, want.shape, strict=True))
        fixed = whole | {dim: free[dim] for dim in ("gene", "window") if dim in free}
        if inner != tuple(fixed.values()) or outer[0] != min(want.shard, max(1, want.shape[0])):
            raise ValueError(f"declares chunks {_short(inner)} in shards {_short(outer)}")
        if any(o % c for o, c in zip(outer, inner, strict=True)):
            raise ValueError(f"chunks {_short(inner)} do not fill shards {_short(outer)}")
        count = math.prod(o // c for o, c in zip(outer, inner, strict=True))
        if count > INNER_CHUNKS:
            raise ValueError(f"declares {count} chunks in a shard")
    entries = math.prod(inner) if entry.dtype == "str" else 0
    size = math.prod(inner) * _width(entry)
    if size > CHUNK_LIMIT:
        raise ValueError(f"declares chunks of {size} bytes, at most {CHUNK_LIMIT} are read")
    limit = min(CHUNK_LIMIT, entries * TEXT_LIMIT) if entries else size
    return Chunks(limit, None, entries, count)


def _check_files(want: Expected, outer: tuple[int, ...], files: Mapping[str, int]) -> None:
    """All chunks of floats are there, and no more is read as a whole than the files can hold."""
    grid = tuple(-(-length // c) for length, c in zip(want.shape, outer, strict=True))
    if "float" in want.entry.dtype:
        count = math.prod(grid)
        if len(files) < count:
            raise ValueError(f"declares {count} chunk files, the manifest lists {len(files)}")
        for place in itertools.product(*map(range, grid)):
            if "/".join(map(str, place)) not in files:
                raise ValueError(f"the manifest lacks its chunk {_short(place)}")
    total, stored = math.prod(want.shape) * _width(want.entry), sum(files.values())
    in_parts = want.entry.sharded or want.entry.dims[0] == "variant"
    if not in_parts and total > WHOLE_LIMIT + RATIO * stored:
        raise ValueError(f"declares {total} bytes, but its files hold {stored}")


def _width(entry: ArraySpec) -> int:
    return 16 if entry.dtype == "str" else np.dtype(entry.dtype).itemsize


def _short(values: tuple[int, ...]) -> str:
    return " x ".join(str(value) for value in values)
