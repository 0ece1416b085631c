"""Reading an untrusted store: nothing that it declares is believed before it is bounded.

What arrays there are, and their shapes and dtypes, follows from the attributes (:class:`Expected`).
An array's metadata must be those that this package would write: all that is taken from them are
the lengths of chunks, and one of a few compressors. zarr gets to see these metadata and never the
folder's own, and reads chunks through :class:`CheckedStore`, which lets none through that decodes
to more than its array declares.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from seal_store.common.beside import GROUP, METADATA_BYTES
from seal_store.errors import FormatError
from seal_store.store.address import Entry
from seal_store.store.crc import CRC
from seal_store.store.layout import ArraySpec, create_array, read, shards_of
from seal_store.store.place import Place, files_at

HINT = "it is damaged or not one of ours: copy it again, or make it again"

CHUNK_LIMIT, TEXT_LIMIT = 256 << 20, 100_000
"""Bytes that one chunk may decode to, and one string of it on average."""

WHOLE_LIMIT, RATIO = 256 << 20, 100
"""An array that is read as a whole has at most ``WHOLE_LIMIT + RATIO * stored`` bytes."""

TEXTS_BYTES = 256 << 20
"""Bytes of an array of strings in memory, as wide as the longest."""

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


def read_metadata(path: Place, listed: Mapping[str, Entry]) -> dict[str, Any]:
    """The metadata of the group at ``path``, consolidated, as the manifest lists them.

    Raises :class:`FormatError` if they are damaged, too large or not those of a Zarr v3 group.
    """
    file = path / GROUP
    if GROUP not in listed:
        raise FormatError(f"{path}: {GROUP} is not in the manifest", HINT)
    try:
        text = files_at(path).read(GROUP, METADATA_BYTES)
        if hashlib.sha256(text).hexdigest() != listed[GROUP]["sha256"]:
            raise FormatError(f"{file}: not as the manifest lists it (SHA-256)", HINT)
        found = json.loads(text)
        arrays = found["consolidated_metadata"]["metadata"]
        if (found["zarr_format"], found["node_type"]) != (3, "group"):
            raise ValueError("not a Zarr v3 group")
        if not all(isinstance(part, dict) for part in (found["attributes"], *arrays.values())):
            raise ValueError("attributes or arrays that are no objects")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)[:100]
        reason = "nested too deeply" if isinstance(error, RecursionError) else reason
        raise FormatError(f"{file}: damaged metadata ({reason})", HINT) from None
    return found


def open_group(
    path: Place,
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
                chunks[name] = Chunks(expected[name], declared, files[name])
                documents[name] = chunks[name].document
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


class Chunks:
    """The chunks of an array: which files they have to have, and how they decode.

    ``document`` has the metadata that this package would write for the array.
    """

    def __init__(
        self, want: Expected, declared: Mapping[str, Any], files: Mapping[str, int]
    ) -> None:
        """``files``: sizes by place. Raises :class:`ValueError` if they cannot be all."""
        entry, shape = want.entry, want.shape
        grid = declared["codecs"][0] if entry.sharded else declared["chunk_grid"]
        chunk = tuple(grid["configuration"]["chunk_shape"])
        # readers find a gene's values by its place: all of them, but for the number of windows
        parted = {"window", *(entry.chunks or ())}
        axes = zip(entry.dims[1:], chunk[1:], shape[1:], strict=False)
        apart = chunk[0] != 1 or any(n != length for dim, n, length in axes if dim not in parted)
        apart = entry.sharded and apart
        if apart or len(chunk) != len(shape) or any(type(n) is not int or n < 1 for n in chunk):
            raise ValueError(f"declares chunks {str(chunk)[:60]}")
        values, total, stored = math.prod(chunk), math.prod(shape), sum(files.values())
        if values * entry.itemsize > CHUNK_LIMIT:
            raise ValueError(f"declares chunks {str(chunk)[:60]} of more than {CHUNK_LIMIT} bytes")
        outer = shards_of(shape, chunk, want.shard) if entry.sharded else chunk
        self.document, names = _document(declared, want, chunk, outer)
        self._codec = next((name for name in names if name in ("blosc", "zstd")), "")
        self._tail = CRC * ("crc32c" in names)
        self.in_shard = math.prod(outer) // values if entry.sharded else 0
        self._entries = values if entry.dtype == "str" else 0
        self._size = min(CHUNK_LIMIT, self._entries * TEXT_LIMIT) or values * entry.itemsize
        places = [-(-length // n) for length, n in zip(shape, outer, strict=True)]
        if "float" in entry.dtype and (
            len(files) < math.prod(places)
            or any("/".join(map(str, place)) not in files for place in np.ndindex(*places))
        ):
            raise ValueError(f"declares {math.prod(places)} chunk files, the manifest lacks some")
        in_parts = entry.sharded or entry.dims[0] == "variant"
        if not in_parts and total * entry.itemsize > WHOLE_LIMIT + RATIO * stored:
            raise ValueError(f"declares {total * entry.itemsize} bytes, its files hold {stored}")

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

    def check_file(self, data: memoryview) -> None:
        """The same for all chunks of a file."""
        if not self.in_shard:
            return self.check(data)
        index = np.frombuffer(data[-(16 * self.in_shard + CRC) : -CRC], "<u8")
        for start, length in index.reshape(-1, 2).tolist():
            if start < len(data):
                self.check(data[start : start + length])


def _document(
    declared: Mapping[str, Any], want: Expected, chunk: tuple[int, ...], outer: tuple[int, ...]
) -> tuple[dict[str, Any], list[str]]:
    """What this package would write for an array with these chunks, and the names of its codecs.

    Raises :class:`ValueError` if other metadata are ``declared``.
    """
    entry, different = want.entry, ""
    # once weights were compressed, and the contexts of head sets had no checksum
    former = ((False, True), (False, entry.dims != ("output",)))
    for weights, checksum in ((entry.weights, True), *former):
        ours: dict[str, Any] = json.loads(_template(entry.dtype, weights, entry.sharded, checksum))
        ours |= {"shape": [*want.shape], "dimension_names": [*entry.dims]}
        ours |= {"attributes": entry.attributes}
        ours["chunk_grid"]["configuration"]["chunk_shape"] = [*outer]
        codecs = ours["codecs"]
        if entry.sharded:
            codecs[0]["configuration"]["chunk_shape"] = [*chunk]
            codecs = codecs[0]["configuration"]["codecs"]
        keys = {*ours, *declared} - {"attributes", "dimension_names"}  # nothing depends on these
        other = min((key for key in keys if ours.get(key) != declared.get(key)), default=None)
        if other is None:
            return ours, [codec["name"] for codec in codecs]
        found, wanted = (json.dumps(each.get(other))[:80] for each in (declared, ours))
        different = different or f"declares {other} {found}, expected {wanted}"
    raise ValueError(different)


@cache
def _template(dtype: str, weights: bool, sharded: bool, checksum: bool) -> str:
    """The metadata of an array of one value, as zarr writes them for this package."""
    entry = ArraySpec("array", dtype, ("gene",), "", weights=weights)
    group = zarr.create_group(MemoryStore(), zarr_format=3)
    shards = (1,) if sharded else None
    array = create_array(group, entry, (1,), (1,), shards, checksum=checksum)
    return json.dumps(array.metadata.to_dict())


class CheckedStore(MemoryStore):
    """A finished folder, read only: files of its manifest, chunks of the declared size.

    ``chunks`` has every array that is read, by name; ``metadata`` stands in for the folder's own.
    In memory are these and the names of the files.
    """

    def __init__(
        self,
        root: Place,
        listed: Mapping[str, Entry],
        chunks: Mapping[str, Chunks],
        metadata: bytes,
    ) -> None:
        own = default_buffer_prototype().buffer.from_bytes(metadata)
        super().__init__({**dict.fromkeys(listed, own), GROUP: own}, read_only=True)
        self.root, self.files, self.listed, self._chunks = root, files_at(root), listed, chunks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CheckedStore) and self.root == other.root

    def __str__(self) -> str:
        return str(self.root)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The bytes of a chunk, or of our own metadata. Raises :class:`FormatError`."""
        read = partial(self.get_sync, key, prototype=prototype, byte_range=byte_range)
        return await asyncio.to_thread(read)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As :meth:`get`."""
        if key == GROUP:
            return super().get_sync(key, prototype=prototype, byte_range=byte_range)
        chunks = self._chunks.get(key.rpartition("/c/")[0])
        if chunks is None or key not in self.listed:
            return None
        size = self.listed[key]["size"]
        start, end = 0, size
        if isinstance(byte_range, RangeByteRequest):
            start, end = byte_range.start, byte_range.end
        elif isinstance(byte_range, SuffixByteRequest):  # which is the index of a shard
            start = max(0, size - byte_range.suffix)
        elif byte_range is not None:
            start = byte_range.offset
        try:
            if not 0 <= start <= end <= size:
                raise ValueError("a chunk outside its file")
            with self.files.opened(key, self.listed[key]) as file:
                (found,) = file.ranges([(start, end - start)])
            if isinstance(byte_range, RangeByteRequest):
                chunks.check(memoryview(found))
            elif not (chunks.in_shard and isinstance(byte_range, SuffixByteRequest)):
                chunks.check_file(memoryview(found))
        except FileNotFoundError:
            raise FormatError(f"{self.root / key} is missing", HINT) from None
        except (ValueError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise FormatError(f"{self.root / key}: damaged data ({why})", HINT) from None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(found)


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


def texts(values: np.ndarray, where: str) -> np.ndarray:
    """Strings as numpy ``U``, all as wide as the longest.

    Raises :class:`FormatError` where that would take more than :data:`TEXTS_BYTES`.
    """
    found = values.tolist()
    longest = max(map(len, found), default=0)
    if 4 * longest * len(found) > TEXTS_BYTES:
        raise FormatError(
            f"{where}: a text of {longest} characters among {len(found)}", "is it one of ours?"
        )
    return np.array(found, dtype=np.str_)


def column(array: zarr.Array[Any], where: Place) -> np.ndarray:
    """A whole array of the group at ``where``; strings as :func:`texts`."""
    values = read(array)
    return texts(values, f"{where}: {array.path}") if values.dtype.kind == "T" else values
