"""What of a folder from elsewhere is believed, before memory is taken.

A finished folder is read through :class:`Guarded`: only files that its manifest lists, and no
chunk that would decode to more than its array declares. What arrays may declare follows from the
attributes (:class:`Expected`); :func:`check_arrays` compares before anything is opened.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from seal_store.common.files import file_sha256
from seal_store.errors import FormatError
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

DTYPES = ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64", "string"]
CODECS = frozenset({"bytes", "vlen-utf8", "blosc", "zstd", "crc32c"})
HINT = "it is damaged or not one of ours: copy it again, or make it again"


@dataclass(frozen=True)
class Expected:
    """What an array must declare: one of ``dtypes``, and ``shape``.

    ``whole``: it is read as a whole, so that its size counts. ``chunk``, if given, is the shape
    that its chunks must have; None where that is free.
    """

    dtypes: tuple[str, ...]
    shape: tuple[int, ...]
    whole: bool = True
    chunk: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Chunks:
    """How the chunks of an array decode: ``size`` in bytes, ``codec``, ``tail`` of a checksum.

    ``entries`` are those of a chunk of text, whose ``size`` is the largest; 0 for numbers.
    ``shape`` is that of a chunk; ``inner`` the number of chunks in a shard, 0 without shards;
    ``grid`` that of files (chunks or shards) along each dimension, ``total`` the array's bytes.
    """

    size: int
    entries: int
    codec: str
    tail: int
    shape: tuple[int, ...]
    inner: int
    grid: tuple[int, ...]
    total: int


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
    """The group at ``path``, read only, through :class:`Guarded`. Raises :class:`FormatError`."""
    chunks = check_arrays(metadata, expected, listed, path)
    try:
        return zarr.open_group(
            Guarded(path, listed, chunks), mode="r", zarr_format=3, use_consolidated=True
        )
    except FormatError:
        raise
    except Exception as error:  # zarr raises many types for damaged metadata
        raise FormatError(f"{path}: not a readable Zarr group ({error})", HINT) from error


def check_arrays(
    metadata: Mapping[str, Any],
    expected: Mapping[str, Expected],
    listed: Mapping[str, Entry],
    where: Path,
) -> dict[str, Chunks]:
    """How the chunks of every array decode. Raises :class:`FormatError`, naming the array.

    Arrays beside the expected ones may be there; they need a known dtype and known codecs too.
    """
    stored: Counter[str] = Counter()
    files: defaultdict[str, set[str]] = defaultdict(set)
    for name, entry in listed.items():
        array, _, place = name.rpartition("/c/")
        stored[array] += entry["size"]
        files[array].add(place)
    found = {}
    for name, declared in metadata["consolidated_metadata"]["metadata"].items():
        try:
            if not all(part.strip(".") for part in name.split("/")):
                raise ValueError("its name leads outside the group")
            if declared["node_type"] == "group":
                if name in expected:
                    raise ValueError("is a group")
                _check_group(declared)
                continue
            chunks = _chunks(declared)
            want = expected.get(name)
            if want is not None:
                _compare(declared, want, chunks, files[name], stored[name])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise FormatError(f"{where}: array {str(name)[:80]}: {reason}", HINT) from None
        found[str(name)] = chunks
    return found


def _check_group(declared: Mapping[str, Any]) -> None:
    """A group within has no metadata of its own that zarr would go by."""
    own = declared.get("consolidated_metadata")
    known = {"node_type", "zarr_format", "attributes", "consolidated_metadata"}
    if declared["zarr_format"] != 3 or not known.issuperset(declared):
        raise ValueError("not a plain Zarr v3 group")
    if own is not None and own["metadata"] != {}:
        raise ValueError("a group with metadata of its own")


def _compare(
    declared: Mapping[str, Any], want: Expected, chunks: Chunks, files: set[str], stored: int
) -> None:
    shape = tuple(declared["shape"])
    if declared["data_type"] not in want.dtypes or shape != want.shape:
        raise ValueError(
            f"declares {declared['data_type']} {_short(shape)}, "
            f"expected {' or '.join(want.dtypes)} {_short(want.shape)}"
        )
    if any(n not in (None, own) for n, own in zip(want.chunk, chunks.shape, strict=False)):
        raise ValueError(f"declares chunks {_short(chunks.shape)}")
    if "float" in declared["data_type"]:
        count = math.prod(chunks.grid)
        if len(files) < count:
            raise ValueError(f"declares {count} chunk files, the manifest lists {len(files)}")
        for place in itertools.product(*map(range, chunks.grid)):
            if "/".join(map(str, place)) not in files:
                raise ValueError(f"the manifest lacks its chunk {_short(place)}")
    if want.whole and chunks.total > WHOLE_LIMIT + RATIO * stored:
        raise ValueError(f"declares {chunks.total} bytes, but its files hold {stored}")


def _chunks(declared: Mapping[str, Any]) -> Chunks:
    """Raises an error of the kinds that :func:`check_arrays` names the array for."""
    dtype, shape = declared["data_type"], _lengths(declared["shape"], 0)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"unknown data type {str(dtype)[:60]!r}")
    if declared["zarr_format"] != 3 or declared.get("storage_transformers"):
        raise ValueError("not a plain Zarr v3 array")
    encoding = declared["chunk_key_encoding"]
    if encoding["name"] != "default" or encoding["configuration"]["separator"] != "/":
        raise ValueError("unknown names of chunks")
    if declared["chunk_grid"]["name"] != "regular":
        raise ValueError("chunks are not regular")
    outer = _lengths(declared["chunk_grid"]["configuration"]["chunk_shape"], 1)
    if dtype == "string" and declared["fill_value"] != "":
        raise ValueError(f"fill value {str(declared['fill_value'])[:60]!r}")
    codecs, chunk, inner = declared["codecs"], outer, 0
    if len(shape) != len(outer):
        raise ValueError("shape and chunks have another number of dimensions")
    if codecs[0]["name"] == "sharding_indexed":
        if len(codecs) != 1:
            raise ValueError("codecs after its shards")
        sharding = codecs[0]["configuration"]
        index = [codec["name"] for codec in sharding["index_codecs"]]
        if index != ["bytes", "crc32c"] or sharding.get("index_location", "end") != "end":
            raise ValueError("unknown shard index")
        codecs, chunk = sharding["codecs"], _lengths(sharding["chunk_shape"], 1)
        if len(chunk) != len(outer) or any(o % c for o, c in zip(outer, chunk, strict=True)):
            raise ValueError(f"chunks {_short(chunk)} do not fill shards {_short(outer)}")
        inner = math.prod(o // c for o, c in zip(outer, chunk, strict=True))
        if inner > INNER_CHUNKS:
            raise ValueError(f"declares {inner} chunks in a shard")
    text = dtype == "string"
    width = 16 if text else np.dtype(dtype).itemsize
    size = math.prod(chunk) * width
    if size > CHUNK_LIMIT:
        raise ValueError(f"declares chunks of {size} bytes, at most {CHUNK_LIMIT} are read")
    grid = tuple(-(-length // c) for length, c in zip(shape, outer, strict=True))
    entries = math.prod(chunk) if text else 0
    limit = min(CHUNK_LIMIT, entries * TEXT_LIMIT) if text else size
    codec, tail = _compressor(codecs, text)
    return Chunks(limit, entries, codec, tail, chunk, inner, grid, math.prod(shape) * width)


def _compressor(codecs: Any, text: bool) -> tuple[str, int]:
    """The compressor of a pipeline (``blosc``, ``zstd`` or none) and bytes of its checksum."""
    names = [codec["name"] for codec in codecs]
    for name in names:
        if name not in CODECS:
            raise ValueError(f"unknown codec {str(name)[:60]!r}")
    checksum = names[-1:] == ["crc32c"]
    rest = names[1:-1] if checksum else names[1:]
    possible = ([], ["zstd"]) if text else ([], ["zstd"], ["blosc"])
    if names[:1] != ["vlen-utf8" if text else "bytes"] or rest not in possible:
        raise ValueError(f"unknown codecs {', '.join(names)[:80]}")
    return "".join(rest), 4 * checksum


def _lengths(values: Any, least: int) -> tuple[int, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= 8:
        raise ValueError(f"lengths {str(values)[:60]}")
    for value in values:
        if type(value) is not int or not least <= value < 1 << 48:
            raise ValueError(f"length {str(value)[:60]}")
    return tuple(values)


def _short(values: tuple[int, ...]) -> str:
    return " x ".join(str(value) for value in values)


class Guarded(LocalStore):
    """A finished folder, read only: the files of its manifest, chunks of the declared size."""

    def __init__(
        self, root: Path, listed: Mapping[str, Entry], chunks: Mapping[str, Chunks]
    ) -> None:
        super().__init__(root, read_only=True)
        self.listed, self._chunks = listed, chunks

    def with_read_only(self, read_only: bool = False) -> Guarded:
        """Itself. Raises :class:`ValueError` if it is to be written to."""
        if not read_only:
            raise ValueError("a finished folder is read only")
        return self

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """The bytes of a listed file; None for others. Raises :class:`FormatError`."""
        if not self._may(key, byte_range):
            return None
        return self._checked(key, await super().get(key, prototype, byte_range), byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """As :meth:`get`."""
        if not self._may(key, byte_range):
            return None
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        return self._checked(key, found, byte_range)

    def _may(self, key: str, byte_range: ByteRequest | None) -> bool:
        if key not in self.listed:
            return False
        size = self.listed[key]["size"]
        if isinstance(byte_range, RangeByteRequest) and not (
            0 <= byte_range.start <= byte_range.end <= size
        ):
            raise FormatError(f"{self.root / key}: damaged data (a chunk outside its file)", HINT)
        return True

    def _checked(
        self, key: str, found: Buffer | None, byte_range: ByteRequest | None
    ) -> Buffer | None:
        chunks = self._chunks.get(key.rpartition("/c/")[0])
        if found is None:
            raise FormatError(f"{self.root / key} is missing", HINT)
        if chunks is None or (chunks.inner and isinstance(byte_range, SuffixByteRequest)):
            return found
        data = found.as_numpy_array().view(np.uint8)
        parts = _split(data, chunks.inner) if chunks.inner and byte_range is None else [data]
        for part in parts:
            fault = _excess(part, chunks)
            if fault:
                raise FormatError(f"{self.root / key}: damaged data ({fault})", HINT)
        return found


def _excess(chunk: np.ndarray, chunks: Chunks) -> str:
    """How a chunk would decode to something else than its array declares; empty if not."""
    data = chunk[: len(chunk) - chunks.tail]
    size = decoded_size(data, chunks.codec)
    if size is None:
        return "a chunk of unknown size"
    if size > chunks.size or (size < chunks.size and not chunks.entries):
        return f"a chunk of {size} bytes, not {chunks.size}"
    if chunks.entries:
        try:
            text = Zstd().decode(data.tobytes()) if chunks.codec else data.tobytes()
        except RuntimeError:
            return "a chunk that does not decode"
        if (entries := int.from_bytes(text[:4], "little")) != chunks.entries:
            return f"a chunk of {entries} entries, not {chunks.entries}"
    return ""


def _split(shard: np.ndarray, inner: int) -> list[np.ndarray]:
    """The chunks of a whole shard; none where its index cannot be (zarr says so)."""
    index = shard[-(16 * inner + 4) : -4]
    if len(index) != 16 * inner:
        return []
    places = np.frombuffer(index.tobytes(), "<u8").reshape(-1, 2).tolist()
    return [shard[start : start + length] for start, length in places if start < len(shard)]


def decoded_size(data: np.ndarray, codec: str) -> int | None:
    """What a chunk says that it decodes to, in bytes, from its first ones; None if unknown.

    ``data`` is uint8, without checksum.
    """
    if codec == "blosc":
        return _blosc_size(data[:16].tobytes(), len(data))
    if codec == "zstd":
        return _zstd_size(data.tobytes())
    return len(data)


def _blosc_size(head: bytes, stored: int) -> int | None:
    """Bytes of a Blosc chunk from its header; None unless all of it is there, as Blosc trusts."""
    if len(head) < 16 or int.from_bytes(head[12:16], "little") != stored:
        return None
    size = int.from_bytes(head[4:8], "little")
    plain = bool(head[2] & 2)
    return None if plain and stored != size + 16 else size


def _zstd_size(data: bytes) -> int | None:
    """Content size of a Zstandard frame (RFC 8878, 3.1.1); None unless it is the only one."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return None
    flags = data[4]
    single = bool(flags & 0x20)
    width = (1 if single else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    place, last = start + width, False
    while not last and place + 3 <= len(data):
        block = int.from_bytes(data[place : place + 3], "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        place += 3 + (1 if kind == 1 else length)  # a repeated byte stands there once
    place += 4 * bool(flags & 4)
    if not width or not last or place != len(data):
        return None
    return int.from_bytes(data[start : start + width], "little") + (256 if width == 2 else 0)
