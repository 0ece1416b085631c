"""Reading and writing shards without zarr: the same bytes mean the same, damage is an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from seal_store.errors import FormatError
from seal_store.store import layout, shards
from seal_store.store.layout import ArraySpec, create, create_array
from seal_store.store.shards import ShardFiles, read_whole
from seal_store.store.store import Store


def created(folder: Path, shape: tuple[int, ...], dtype: str = "float32") -> zarr.Array:
    group = zarr.open_group(str(folder), mode="a")
    entry = ArraySpec(f"values-{dtype}", dtype, ("gene", "window", "unit"), "test")
    return create_array(group, entry, shape, (1, 4, 5), (8, 12, 5))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("shape", [(19, 12, 5), (8, 10, 5), (1, 3, 5)])
def test_shards_and_zarr_read_what_the_other_wrote(
    dtype: str, shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    values = (100 * rng.random(shape)).astype(dtype)
    ours, theirs = created(tmp_path / "a", shape, dtype), created(tmp_path / "b", shape, dtype)
    theirs[...] = values
    for shard in range(-(-shape[0] // 8)):
        ShardFiles(ours).write((shard, 0, 0), values[8 * shard : 8 * shard + 8])
    np.testing.assert_array_equal(ours[...], values)
    chunks = -(-shape[1] // 4)
    wanted = [(gene, part, 0) for gene in range(shape[0]) for part in range(chunks)]
    wanted = [wanted[i] for i in rng.permutation(len(wanted))]
    for array in (ours, theirs):
        found = ShardFiles(array, threads=int(rng.integers(1, 4))).read(wanted)
        assert found.dtype == values.dtype
        for (gene, part, _), chunk in zip(wanted, found, strict=True):
            expected = values[gene, 4 * part : 4 * part + 4]
            np.testing.assert_array_equal(chunk[0, : len(expected)], expected)
    assert not list(tmp_path.rglob("*.partial"))


def test_any_flipped_bit_that_is_read_is_an_error(tmp_path: Path, rng: np.random.Generator) -> None:
    array = created(tmp_path / "a", (8, 12, 5))
    ShardFiles(array).write((0, 0, 0), rng.random((8, 12, 5)).astype(np.float32))
    wanted = [(gene, part, 0) for gene in range(8) for part in range(3)]
    path = tmp_path / "a" / "values-float32" / "c" / "0" / "0" / "0"
    whole = path.read_bytes()
    for place in rng.integers(0, 8 * len(whole), 200):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="c/0/0/0: damaged data"):
            ShardFiles(array).read(wanted)
    for length in (0, 3, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="damaged data"):
            ShardFiles(array).read(wanted)
    path.unlink()
    with pytest.raises(FormatError, match="damaged data"):
        ShardFiles(array).read(wanted)


def test_a_chunk_of_another_size_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """The checksums of a hostile store are right."""
    array = created(tmp_path / "a", (8, 12, 5))
    bomb = Blosc("zstd", 3).encode(np.zeros(1 << 28, np.uint8))

    def crc(data: bytes) -> bytes:
        return data + google_crc32c.value(data).to_bytes(4, "little")

    index = np.zeros((8, 3, 1, 2), "<u8")
    index[..., 1] = len(bomb) + 4
    path = tmp_path / "a" / "values-float32" / "c" / "0" / "0" / "0"
    path.parent.mkdir(parents=True)
    path.write_bytes(crc(bomb) + crc(index.tobytes()))
    with pytest.raises(FormatError, match="damaged data"):
        ShardFiles(array).read([(0, 0, 0)])
    index[..., 0] = 1 << 40
    path.write_bytes(crc(bomb) + crc(index.tobytes()))
    with pytest.raises(FormatError, match="outside the file"):
        ShardFiles(array).read([(0, 0, 0)])


def test_an_array_with_other_codecs_is_refused(tmp_path: Path) -> None:
    group = zarr.open_group(str(tmp_path / "a"), mode="a")
    array = group.create_array("plain", shape=(4, 4), chunks=(2, 2), dtype="float32")
    with pytest.raises(FormatError, match="not stored as this version reads it"):
        ShardFiles(array)


def weights(folder: Path, shape: tuple[int, ...]) -> zarr.Array:
    """An array of weights, in chunks of a few rows."""
    dims = ("latent", "input", "tap")[: len(shape)]
    entry = ArraySpec("w", "float32", dims, "weights", weights=True)
    return create(
        zarr.open_group(str(folder), mode="a"), entry, dict(zip(dims, shape, strict=True))
    )


@pytest.mark.parametrize("shape", [(1,), (7,), (64,), (10, 3), (9, 4, 5)])
def test_weights_are_read_as_zarr_wrote_them(
    shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator, monkeypatch: Any
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 4 * int(np.prod(shape[1:])))
    array = weights(tmp_path / "a", shape)
    assert array.chunks == (min(4, shape[0]), *shape[1:])
    codecs = [type(codec).__name__ for codec in array.metadata.codecs]
    assert codecs == ["BytesCodec", "Crc32cCodec"]
    values = rng.standard_normal(shape, np.float32)
    array[...] = values
    monkeypatch.setattr(shards, "read", lambda array: pytest.fail("zarr was asked"))
    for threads in (1, 3, None):
        found = read_whole(array, threads)
        assert found.dtype == np.float32
        assert found.flags.writeable
        np.testing.assert_array_equal(found, values)


def test_any_flipped_bit_of_a_weight_is_an_error(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: Any
) -> None:
    monkeypatch.setattr(layout, "CHUNK_BYTES", 4 * 4 * 3)
    array = weights(tmp_path / "a", (10, 3))
    array[...] = rng.standard_normal((10, 3), np.float32)
    for path in sorted((tmp_path / "a" / "w" / "c").rglob("*/0")):
        whole = path.read_bytes()
        assert len(whole) == 4 * 4 * 3 + 4
        for place in rng.integers(0, 8 * len(whole), 40):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            with pytest.raises(FormatError, match="damaged data .wrong checksum"):
                read_whole(array)
        for data in (b"", whole[:-1], whole + b"x"):
            path.write_bytes(data)
            with pytest.raises(FormatError, match="damaged data .not of its size"):
                read_whole(array)
        path.unlink()
        with pytest.raises(FormatError, match="damaged data .* No such file"):
            read_whole(array)
        path.write_bytes(whole)


def test_other_arrays_are_read_by_zarr(tmp_path: Path, rng: np.random.Generator) -> None:
    group = zarr.open_group(str(tmp_path / "a"), mode="a")
    values = rng.standard_normal((8, 6), np.float32)
    for name, chunks, codecs in (("columns", (8, 2), []), ("packed", (2, 6), "auto")):
        array = group.create_array(
            name, shape=(8, 6), chunks=chunks, dtype="float32", compressors=codecs
        )
        array[...] = values
        np.testing.assert_array_equal(read_whole(array), values)


def test_reading_weights_of_a_store_asks_zarr_for_none(store: Store, monkeypatch: Any) -> None:
    cnn, heads, by_zarr = store.cnn(), store.heads(), shards.read

    def names_only(array: zarr.Array[Any]) -> np.ndarray:
        if array.dtype.kind == "f":
            pytest.fail(f"zarr was asked for {array.path}")
        return by_zarr(array)

    monkeypatch.setattr(shards, "read", names_only)
    assert store.cnn().sha256() == cnn.sha256() == store.attributes.cnn.sha256
    assert [s.sha256() for s in store.heads()] == [s.sha256() for s in heads]


def test_weights_that_the_manifest_does_not_list_are_not_read(store: Store, tmp_path: Path) -> None:
    path = Path(shutil.copytree(store.path, tmp_path / "store.zarr"))
    opened = Store(path)
    file = path / "cnn" / "conv1_bias" / "c" / "0"
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(FormatError, match="not as the manifest lists it"):
        opened.cnn()
    listed = json.loads((path / "manifest.json").read_text())["files"]
    assert listed["cnn/conv1_bias/c/0"]["size"] == 8 * 4 + 4
