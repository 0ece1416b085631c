"""Chunks of a folder from elsewhere: none is decoded to more than its array declares."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Zstd
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import default_buffer_prototype
from zarr.codecs import BloscCodec, ShardingCodec, ZstdCodec
from zarr.storage import LocalStore

from seal_store.errors import FormatError
from seal_store.store.manifest import Entry

HINT = "it is damaged or not one of ours: copy it again, or make it again"

CRC = 4
"""Bytes of the checksum that ends each chunk and each index of a shard."""


@dataclass(frozen=True)
class Chunks:
    """How the chunks of an array decode: to ``size`` bytes, by ``codec`` (None: plain).

    ``entries`` are those of a chunk of text, whose ``size`` is the largest; 0 for numbers.
    ``inner`` is the number of chunks in a shard, 0 without shards; ``tail`` the bytes of the
    checksum.
    """

    size: int
    codec: Any
    entries: int
    inner: int
    tail: int = CRC


def compressor(array: zarr.Array[Any]) -> Any:
    """The codec, of those of this package, that compresses the chunks; None without one."""
    codecs = array.metadata.codecs  # type: ignore[union-attr]
    inner = codecs[0].codecs if isinstance(codecs[0], ShardingCodec) else codecs
    return next((codec for codec in inner if isinstance(codec, BloscCodec | ZstdCodec)), None)


class Checked(LocalStore):
    """A finished folder, read only: files of its manifest, chunks of the declared size.

    ``chunks`` has every array that is read, by name; ``served`` stands in for files.
    """

    def __init__(
        self,
        root: Path,
        listed: Mapping[str, Entry],
        chunks: Mapping[str, Chunks],
        served: Mapping[str, bytes],
    ) -> None:
        super().__init__(root, read_only=True)
        self.listed, self._chunks, self._served = listed, chunks, served

    def with_read_only(self, read_only: bool = False) -> Checked:
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
        prototype = prototype or default_buffer_prototype()
        if key in self._served:
            return prototype.buffer.from_bytes(self._served[key])
        if key.rpartition("/c/")[0] not in self._chunks or key not in self.listed:
            return None
        if isinstance(byte_range, RangeByteRequest) and not (
            0 <= byte_range.start <= byte_range.end <= self.listed[key]["size"]
        ):
            raise FormatError(f"{self.root / key}: damaged data (a chunk outside its file)", HINT)
        found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
        if found is None:
            raise FormatError(f"{self.root / key} is missing", HINT)
        self._check(
            key, memoryview(np.asarray(found.as_numpy_array()).view(np.uint8).data), byte_range
        )
        return found

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """As :meth:`get`, several."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    def _check(self, key: str, data: memoryview, part: ByteRequest | None) -> None:
        chunks = self._chunks[key.rpartition("/c/")[0]]
        if chunks.inner and isinstance(part, SuffixByteRequest):
            return  # the index of a shard
        try:
            for chunk in _split(data, chunks.inner) if chunks.inner and part is None else [data]:
                check_size(chunk[: len(chunk) - chunks.tail], chunks)
        except ValueError as error:
            raise FormatError(f"{self.root / key}: damaged data ({error})", HINT) from None


def _split(shard: memoryview, inner: int) -> list[memoryview]:
    """The chunks of a whole shard; none where its index cannot be (zarr says so)."""
    index = shard[-(16 * inner + CRC) : -CRC]
    if len(index) != 16 * inner:
        return []
    places = np.frombuffer(index, "<u8").reshape(-1, 2).tolist()
    return [shard[start : start + length] for start, length in places if start < len(shard)]


def check_size(data: memoryview, chunks: Chunks) -> None:
    """Raise :class:`ValueError` if a chunk, without its checksum, decodes to another size."""
    size = decoded_size(data, chunks.codec)
    if size is None:
        raise ValueError("a chunk of unknown size")
    if size > chunks.size or (size < chunks.size and not chunks.entries):
        raise ValueError(f"a chunk of {size} bytes, not {chunks.size}")
    if chunks.entries:
        try:
            text = Zstd().decode(data)
        except RuntimeError:
            raise ValueError("a chunk that does not decode") from None
        if (entries := int.from_bytes(text[:4], "little")) != chunks.entries:
            raise ValueError(f"a chunk of {entries} entries, not {chunks.entries}")


def decoded_size(data: memoryview, codec: Any) -> int | None:
    """What a chunk says that it decodes to, in bytes, from its header; None if unknown."""
    if isinstance(codec, BloscCodec):
        if len(data) < 16 or int.from_bytes(data[12:16], "little") != len(data):
            return None  # Blosc trusts what stands there
        size = int.from_bytes(data[4:8], "little")
        return None if data[2] & 2 and len(data) != size + 16 else size  # stored as it is
    if isinstance(codec, ZstdCodec):
        return _zstd_size(data)
    return len(data)


def _zstd_size(data: memoryview) -> int | None:
    """Content size of a Zstandard frame (RFC 8878, 3.1.1); None unless it is the only one."""
    if len(data) < 6 or bytes(data[:4]) != b"\x28\xb5\x2f\xfd":
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
    return int.from_bytes(data[start : start + width], "little") + 256 * (width == 2)
