"""Reading and writing shards without zarr: the same bytes mean the same, damage is an error."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from seal_store.errors import FormatError
from seal_store.store.layout import ArraySpec, create_array
from seal_store.store.shards import ShardFiles


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
