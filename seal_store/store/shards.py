"""Many chunks of an array at once, straight from and to its files.

zarr-python spends 0.3 ms or more of Python on each chunk, more than its coding takes. Building
and scoring on a GPU need thousands a second, so this reads and writes what
:func:`seal_store.store.layout.create_array` declares and nothing else: a shard ends with the offset
and length of each chunk and their CRC-32C; a chunk is Blosc or Zstandard data and its CRC-32C
(the zarr v3 ``sharding_indexed`` codec).
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc, Zstd
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec
from zarr.storage import LocalStore

from seal_store.errors import FormatError
from seal_store.store.crc import CRC, ends_with_crc, with_crc
from seal_store.store.layout import get, read
from seal_store.store.place import File, Files, Folder
from seal_store.store.untrusted import CheckedStore, decoded_size

_NONE = np.iinfo(np.uint64).max
"""Offset and length of a chunk that is not there."""
_TOGETHER = 16
"""Chunks that one thread reads and decodes at a time."""


class ShardFiles:
    """Reads and writes chunks of ``array``, a sharded one of this package, ``threads`` at once.

    Raises :class:`FormatError` if the array has other codecs than this package's.
    """

    def __init__(self, array: zarr.Array[Any], threads: int | None = None) -> None:
        self._array = array
        sharding = array.metadata.codecs[0]  # type: ignore[union-attr]
        inner = sharding.codecs if isinstance(sharding, ShardingCodec) else ()
        kinds: list[Any] = [type(codec) for codec in inner]
        if kinds not in (
            [BytesCodec, BloscCodec, Crc32cCodec],
            [BytesCodec, ZstdCodec, Crc32cCodec],
        ):
            raise FormatError(
                f"{_name(array)}: not stored as this version reads it", "build it again"
            )
        self._codec = _numcodec(inner[1])
        self.dtype = np.dtype(array.dtype)
        self.fill = array.fill_value
        self.chunk = array.chunks
        self._grid = tuple(
            shard // chunk for shard, chunk in zip(array.shards or (), self.chunk, strict=True)
        )
        self._threads = threads or _threads(array)
        self._index: dict[tuple[int, ...], np.ndarray] = {}

    def read(self, wanted: Sequence[tuple[int, ...]]) -> np.ndarray:
        """Chunks by their position in the grid of chunks: ``(len(wanted), *chunk shape)``.

        Raises :class:`FormatError` if one is missing or damaged.
        """
        out = np.empty((len(wanted), *self.chunk), self.dtype)
        by_shard: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, place in enumerate(wanted):
            shard = tuple(at // size for at, size in zip(place, self._grid, strict=True))
            by_shard[shard].append(i)
        parts = [
            (shard, [(i, wanted[i]) for i in members[first : first + _TOGETHER]])
            for shard, members in by_shard.items()
            for first in range(0, len(members), _TOGETHER)
        ]
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(lambda part: self._read_part(part[0], part[1], out), parts))
        return out

    def write(self, shard: tuple[int, ...], values: np.ndarray) -> None:
        """Write a whole shard; ``values`` may end before it does (the last one of an array).

        The file appears under its name when it is complete, whoever else writes the same one; it
        is not synced.
        """
        self.join(shard, self.encoded(values))

    def encoded(self, values: np.ndarray, first: int = 0) -> dict[tuple[int, ...], bytes]:
        """Chunks of ``values`` as they are stored, by their place in a shard.

        ``values`` are those of the genes of the shard from the ``first`` on.
        """
        count = [-(-n // size) for n, size in zip(values.shape, self.chunk, strict=True)]
        places = list(np.ndindex(*count))
        with ThreadPoolExecutor(self._threads) as pool:
            chunks = list(pool.map(lambda place: self._encoded(place, values), places))
        own = ((place[0] + first, *place[1:]) for place in places)
        return dict(zip(own, chunks, strict=True))

    def join(self, shard: tuple[int, ...], chunks: Mapping[tuple[int, ...], bytes]) -> None:
        """Write a whole shard of :meth:`encoded` chunks, as :meth:`write` does."""
        index = np.full((*self._grid, 2), _NONE, "<u8")
        offset = 0
        for place, data in chunks.items():
            index[place] = offset, len(data)
            offset += len(data)
        path = Path(_name(self._array, shard))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.urandom(8).hex()}.partial")
        with aside.open("wb") as file:
            file.writelines([*chunks.values(), with_crc(index.tobytes())])
        os.replace(aside, path)

    def _encoded(self, place: tuple[int, ...], values: np.ndarray) -> bytes:
        part = values[
            tuple(slice(at * n, at * n + n) for at, n in zip(place, self.chunk, strict=True))
        ]
        chunk = part
        if part.shape != self.chunk:
            chunk = np.full(self.chunk, self.fill, self.dtype)
            chunk[tuple(map(slice, part.shape))] = part
        return with_crc(self._codec.encode(np.ascontiguousarray(chunk, self.dtype)))

    def _read_part(
        self,
        shard: tuple[int, ...],
        members: Sequence[tuple[int, tuple[int, ...]]],
        out: np.ndarray,
    ) -> None:
        """Fill ``out[i]`` for each ``(i, place)``, chunks of one shard."""
        try:
            with _opened(self._array, shard) as file:
                index = self._index.get(shard)
                if index is None:
                    index = self._index[shard] = self._read_index(file)
                places = np.array([place for _, place in members]) % self._grid
                parts = [(at, length) for at, length in index[tuple(places.T)].tolist()]
                for (i, _), (_, length), stored in zip(
                    members, parts, file.ranges(parts), strict=True
                ):
                    data = _checked(stored, length)
                    target = out[i].reshape(-1).view(np.uint8)
                    size = decoded_size(memoryview(data), self._codec.codec_id)
                    if size != target.nbytes:
                        raise ValueError(f"a chunk of {size} bytes, not {target.nbytes}")
                    self._codec.decode(data, target)
        except (OSError, ValueError, RuntimeError, OverflowError) as error:
            raise _damaged(_name(self._array, shard), error) from error

    def _read_index(self, file: File) -> np.ndarray:
        """Offset and length of each chunk of a shard: uint64 ``(*chunks, 2)``."""
        length = 16 * int(np.prod(self._grid)) + CRC
        start = file.size - length
        if start < 0:
            raise ValueError("too short for its index")
        (stored,) = file.ranges([(start, length)])
        index = np.frombuffer(_checked(stored, length), "<u8").reshape(*self._grid, 2)
        inside = (index[..., 1] <= start) & (
            index[..., 0] <= start - np.minimum(index[..., 1], start)
        )
        if not inside[index[..., 0] != _NONE].all():
            raise ValueError("an index that leads outside the file")
        return index


def read_whole(array: zarr.Array[Any], threads: int | None = None) -> np.ndarray:
    """All values of an array.

    Chunks that are not compressed and follow each other in memory, as those of weights, are read
    straight to their place, ``threads`` at once; others by zarr. Raises :class:`FormatError` if
    one is missing or damaged.
    """
    kinds = [type(codec) for codec in array.metadata.codecs]  # type: ignore[union-attr]
    in_rows = array.ndim > 0 and array.chunks[1:] == array.shape[1:]
    plain = kinds == [BytesCodec, Crc32cCodec] and in_rows and sys.byteorder == "little"
    if not plain or not isinstance(array.store, LocalStore | CheckedStore):
        return read(array)
    # np.empty would ask for huge pages, which can take longer to make than the file to read
    out = np.frombuffer(bytearray(array.nbytes), array.dtype).reshape(array.shape)
    rows = array.chunks[0]
    size = rows * out[:1].nbytes + CRC

    def fill(place: int) -> None:
        part = out[place * rows : (place + 1) * rows].reshape(-1).view(np.uint8)
        key = (place, *(0,) * (array.ndim - 1))
        try:
            with _opened(array, key) as file:
                if file.size != size:
                    raise ValueError("not of its size")
                tail = file.into(part.data)  # rows beyond the last one, and the checksum
            checksum = google_crc32c.extend(google_crc32c.value(part), tail[:-CRC])
            if checksum != int.from_bytes(tail[-CRC:], "little"):
                raise ValueError("wrong checksum")
        except (OSError, ValueError) as error:
            raise _damaged(_name(array, key), error) from error

    with ThreadPoolExecutor(threads or _threads(array)) as pool:
        list(pool.map(fill, range(-(-len(out) // rows))))
    return out


def of_each(
    group: zarr.Group, names: Iterable[str], values: Callable[[zarr.Array[Any]], np.ndarray]
) -> list[np.ndarray]:
    """``values`` of every array of ``names``; several at once where each takes a request."""
    store = group.store
    at_once = (store.files.threads if isinstance(store, CheckedStore) else None) or 1
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda name: values(get(group, name)), names))


def _threads(array: zarr.Array[Any]) -> int:
    """As many as what holds the array takes, or zarr was told to use, else one a core, up to 8."""
    own = _files(array).threads
    return own or zarr.config.get("threading.max_workers") or min(8, os.cpu_count() or 1)


def _files(array: zarr.Array[Any]) -> Files:
    """What reads the files of an array: of a finished folder, or of one that is being written."""
    if isinstance(array.store, CheckedStore):
        return array.store.files
    return Folder(Path(str(array.store).removeprefix("file://")))


def _key(array: zarr.Array[Any], place: tuple[int, ...]) -> str:
    return "/".join([*filter(None, [array.path]), "c", *map(str, place)])


def _name(array: zarr.Array[Any], place: tuple[int, ...] | None = None) -> str:
    """The folder of an array, or a chunk's or shard's file."""
    key = array.path if place is None else _key(array, place)
    return f"{str(array.store).removeprefix('file://')}/{key}"


def _damaged(name: str, error: Exception) -> FormatError:
    hint = "copy it again or build it again"
    return FormatError(f"{name}: damaged data ({str(error)[:120]})", hint)


def _opened(array: zarr.Array[Any], place: tuple[int, ...]) -> AbstractContextManager[File]:
    """A chunk's or shard's file; of a finished folder one of the manifest, as that lists it."""
    key, entry = _key(array, place), None
    if isinstance(array.store, CheckedStore):
        entry = array.store.listed.get(key)
        if entry is None:
            raise ValueError("not in the manifest")
    return _files(array).opened(key, entry)


def _numcodec(codec: Any) -> Blosc | Zstd:
    """The same codec without zarr's wrapping."""
    if isinstance(codec, BloscCodec):
        shuffle = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}[codec.shuffle.value]
        return Blosc(
            codec.cname.value, codec.clevel, shuffle, codec.blocksize, typesize=codec.typesize
        )
    return Zstd(codec.level, codec.checksum)


def _checked(data: bytes, length: int) -> bytes:
    """``data`` without its CRC-32C, which must be right."""
    if len(data) != length or length < CRC:
        raise ValueError("a chunk is missing")
    if not ends_with_crc(data):
        raise ValueError("wrong checksum")
    return data[:-CRC]
