"""Reading an untrusted store: nothing that it declares is believed before it is bounded.

What arrays there are, and their shapes and dtypes, follows from the attributes (:class:`Expected`).
An array's metadata must be those that this package would write: all that is taken from them are
the lengths of chunks, and one of a few compressors. zarr gets to see these metadata and never the
folder's own, and reads chunks through :class:`CheckedStore`, which lets none through that decodes
to more than its array declares.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from seal_store.common.files import file_sha256
from seal_store.common.output import GROUP, METADATA_BYTES
from seal_store.errors import FormatError
from seal_store.store.layout import ArraySpec, create_array, shards_of
from seal_store.store.manifest import Entry

HINT = "it is damaged or not one of ours: copy it again, or make it again"

CHUNK_LIMIT, TEXT_LIMIT = 256 << 20, 100_000
"""Bytes that one chunk may decode to, and one string of it on average."""

WHOLE_LIMIT, RATIO = 256 << 20, 100
"""An array that is read as a whole has at most ``WHOLE_LIMIT + RATIO * stored`` bytes."""

CRC = 4
"""Bytes of the checksum that ends each chunk and each index of a shard."""

GROUP_METADATA = {"attributes": {}, "zarr_format": 3, "node_type": "group"}
EMPTY_GROUP = {**GROUP_METADATA, "consolidated_metadata": None}


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
    file = path / GROUP
    if GROUP not in listed:
        raise FormatError(f"{path}: {GROUP} is not in the manifest", HINT)
    try:
        if file.stat().st_size > METADATA_BYTES:
            raise FormatError(f"{file}: more than {METADATA_BYTES >> 20} MiB of metadata", HINT)
        if file_sha256(file) != listed[GROUP]["sha256"]:
            raise FormatError(f"{file}: not as the manifest lists it (SHA-256)", HINT)
        found = json.loads(file.read_text(encoding="utf-8"))
        arrays = found["consolidated_metadata"]["metadata"]
        if (found["zarr_format"], found["node_type"]) != (3, "group"):
            raise ValueError("not a Zarr v3 group")
        if not all(isinstance(part, dict) for part in (found["attributes"], *arrays.values())):
            raise ValueError("attributes or arrays that are no objects")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
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
        name, _, place = key.rpartition("/c/")
        files[name][place] = own["size"]
    documents: dict[str, Any] = {}
    chunks: dict[str, Chunks] = {}
    for name, declared in metadata["consolidated_metadata"]["metadata"].items():
        try:
            if not all(part.strip(".") for part in name.split("/")):
                raise ValueError("its name leads outside the group")
            if name in expected:
                documents[name] = _document(declared, expected[name])
                chunks[name] = Chunks(expected[name], documents[name], files[name])
            elif declared["node_type"] == "group":
                documents[name] = GROUP_METADATA
                if {**declared, "consolidated_metadata": None} != EMPTY_GROUP:
                    raise ValueError("a group with metadata of its own")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise FormatError(f"{path}: array {str(name)[:80]}: {reason}", HINT) from None
    inner = {"kind": "inline", "must_understand": False, "metadata": documents}
    root = {**GROUP_METADATA, "attributes": metadata["attributes"], "consolidated_metadata": inner}
    store = CheckedStore(path, listed, chunks, json.dumps(root).encode())
    return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=True)


def _document(declared: Mapping[str, Any], want: Expected) -> dict[str, Any]:
    """The metadata that this package would write for an array with the declared chunks."""
    entry, shape = want.entry, want.shape
    grid = declared["codecs"][0] if entry.sharded else declared["chunk_grid"]
    chunks = tuple(grid["configuration"]["chunk_shape"])
    # readers find a gene's values by its place: all of them, but for the number of windows
    whole = 2 if "window" in entry.dims else 1
    apart = entry.sharded and (chunks[0] != 1 or chunks[whole:] != shape[whole:])
    if apart or len(chunks) != len(shape) or any(type(n) is not int or n < 1 for n in chunks):
        raise ValueError(f"declares chunks {str(chunks)[:60]}")
    if math.prod(chunks) * entry.itemsize > CHUNK_LIMIT:
        raise ValueError(f"declares chunks {str(chunks)[:60]} of more than {CHUNK_LIMIT} bytes")
    outer = shards_of(shape, chunks, want.shard) if entry.sharded else chunks
    # once weights were compressed, and the contexts of head sets had no checksum
    former = ((False, True), (False, entry.dims != ("output",)))
    different = []
    for weights, crc in ((entry.weights, True), *former):
        ours: dict[str, Any] = json.loads(_template(entry.dtype, weights, entry.sharded, crc))
        ours |= {"shape": [*shape], "dimension_names": [*entry.dims]}
        ours |= {"attributes": entry.attributes}
        ours["chunk_grid"]["configuration"]["chunk_shape"] = [*outer]
        if entry.sharded:
            ours["codecs"][0]["configuration"]["chunk_shape"] = [*chunks]
        keys = {*ours, *declared} - {"attributes", "dimension_names"}  # nothing depends on these
        other = sorted(key for key in keys if ours.get(key) != declared.get(key))
        if not other:
            return ours
        different.append((other[0], declared.get(other[0]), ours.get(other[0])))
    key, *values = different[0]
    found, wanted = (json.dumps(value)[:80] for value in values)
    raise ValueError(f"declares {key} {found}, expected {wanted}")


@cache
def _template(dtype: str, weights: bool, sharded: bool, checksum: bool) -> str:
    """The metadata of an array of one value, as zarr writes them for this package."""
    entry = ArraySpec("array", dtype, ("gene",), "", weights=weights)
    group = zarr.create_group(MemoryStore(), zarr_format=3)
    shards = (1,) if sharded else None
    array = create_array(group, entry, (1,), (1,), shards, checksum=checksum)
    return json.dumps(array.metadata.to_dict())


class Chunks:
    """The chunks of an array: which files they have to have, and how they decode."""

    def __init__(
        self, want: Expected, document: Mapping[str, Any], files: Mapping[str, int]
    ) -> None:
        """``files``: sizes by place. Raises :class:`ValueError` if they cannot be all."""
        entry, codecs = want.entry, document["codecs"]
        outer = chunk = document["chunk_grid"]["configuration"]["chunk_shape"]
        if entry.sharded:
            chunk, codecs = (codecs[0]["configuration"][key] for key in ("chunk_shape", "codecs"))
        names = [codec["name"] for codec in codecs]
        self._codec = next((name for name in names if name in ("blosc", "zstd")), "")
        self._tail = CRC * ("crc32c" in names)
        self.in_shard = math.prod(outer) // math.prod(chunk) if entry.sharded else 0
        self._size = math.prod(chunk) * entry.itemsize
        self._entries = math.prod(chunk) if entry.dtype == "str" else 0
        if self._entries:
            self._size = min(CHUNK_LIMIT, self._entries * TEXT_LIMIT)
        grid = [-(-length // n) for length, n in zip(want.shape, outer, strict=True)]
        if "float" in entry.dtype and (
            len(files) < math.prod(grid)
            or any("/".join(map(str, place)) not in files for place in np.ndindex(*grid))
        ):
            raise ValueError(f"declares {math.prod(grid)} chunk files, the manifest lacks some")
        total, stored = math.prod(want.shape) * entry.itemsize, sum(files.values())
        in_parts = entry.sharded or entry.dims[0] == "variant"
        if not in_parts and total > WHOLE_LIMIT + RATIO * stored:
            raise ValueError(f"declares {total} bytes, but its files hold {stored}")

    def check(self, chunk: memoryview) -> None:
        """Raise :class:`ValueError` if a chunk does not decode to the size of its array's."""
        data = chunk[: len(chunk) - self._tail]
        size = decoded_size(data, self._codec)
        if size > self._size or (size < self._size and not self._entries):
            raise ValueError(f"a chunk of {size} bytes, not {self._size}")
        if self._codec == "zstd":
            text = np.empty(size, np.uint8)
            try:
                Zstd().decode(data, text)  # further frames do not fit
            except RuntimeError:
                raise ValueError("a chunk that does not decode") from None
            entries = int.from_bytes(text[:4].tobytes(), "little")
            if self._entries and entries != self._entries:
                raise ValueError(f"a chunk of {entries} entries, not {self._entries}")


class CheckedStore(LocalStore):
    """A finished folder, read only: files of its manifest, chunks of the declared size.

    ``chunks`` has every array that is read, by name; ``metadata`` stands in for the folder's own.
    """

    def __init__(
        self,
        root: Path,
        listed: Mapping[str, Entry],
        chunks: Mapping[str, Chunks],
        metadata: bytes,
    ) -> None:
        super().__init__(root, read_only=True)
        self.listed, self._chunks, self._metadata = listed, chunks, metadata

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The bytes of a chunk, or of our own metadata. Raises :class:`FormatError`."""
        read = partial(self.get_sync, key, prototype=prototype, byte_range=byte_range)
        return await asyncio.to_thread(read)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """As :meth:`get`, several."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As :meth:`get`."""
        prototype = prototype or default_buffer_prototype()
        if key == GROUP:
            return prototype.buffer.from_bytes(self._metadata)
        chunks = self._chunks.get(key.rpartition("/c/")[0])
        if chunks is None or key not in self.listed:
            return None
        try:
            if isinstance(byte_range, RangeByteRequest) and not (
                0 <= byte_range.start <= byte_range.end <= self.listed[key]["size"]
            ):
                raise ValueError("a chunk outside its file")
            found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
            if found is None:
                raise FormatError(f"{self.root / key} is missing", HINT)
            data = memoryview(np.asarray(found.as_numpy_array()).view(np.uint8).data)
            if not chunks.in_shard or isinstance(byte_range, RangeByteRequest):
                chunks.check(data)
            elif not isinstance(byte_range, SuffixByteRequest):  # which is the index of a shard
                index = np.frombuffer(data[-(16 * chunks.in_shard + CRC) : -CRC], "<u8")
                for start, length in index.reshape(-1, 2).tolist():
                    if start < len(data):
                        chunks.check(data[start : start + length])
        except ValueError as error:
            raise FormatError(f"{self.root / key}: damaged data ({error})", HINT) from None
        return found


def decoded_size(data: memoryview, codec: str) -> int:
    """Bytes that a chunk of ``blosc`` or ``zstd`` says it decodes to; its length for no codec.

    Raises :class:`ValueError` if it does not say. Zstandard data may go on with further frames,
    which do not fit what is as large as the first.
    """
    if codec == "blosc" and len(data) >= 16:
        size, _, stored = np.frombuffer(data[4:16], "<u4").tolist()
        # Blosc trusts what stands there, and copies what is not compressed
        if stored == len(data) and not (data[2] & 2 and stored != size + 16):
            return int(size)
    elif codec == "zstd" and len(data) >= 6 and bytes(data[:4]) == b"\x28\xb5\x2f\xfd":
        # RFC 8878, 3.1.1.1: the frame header
        single = data[4] >> 5 & 1
        start = 6 - single + (0, 1, 2, 4)[data[4] & 3]
        width = (single, 2, 4, 8)[data[4] >> 6]
        if width:
            return int.from_bytes(data[start : start + width], "little") + 256 * (width == 2)
    elif not codec:
        return len(data)
    raise ValueError("a chunk of unknown size")
