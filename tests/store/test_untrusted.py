"""Stores, weights and journals from elsewhere: refused in one line, without taking memory."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from click.testing import Result
from interrupted import SERVER, scored
from numcodecs import Blosc, Zstd
from seldom import slow

from seal_store.check.verify import verify
from seal_store.common.beside import METADATA_BYTES, partial_path
from seal_store.errors import FormatError, OutputError, SealStoreError
from seal_store.results.group import Results
from seal_store.scoring import reading
from seal_store.store import layout, manifest
from seal_store.store.store import Store
from seal_store.store.untrusted import decoded_size
from seal_store.synthetic import World

BOMB = 256 << 20
MEMORY = 64 << 20
"""What refusing may cost, at most."""

Change = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes the attributes and the arrays' metadata of a store."""


def put(array: str, *path: str | int, value: object) -> Change:
    def change(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
        place = arrays[array]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def many_genes(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
    attributes["gene_table"]["status"]["computed"] = 10**7
    for declared in arrays.values():
        if declared.get("dimension_names", [""])[:1] == ["gene"]:
            declared["shape"][0] = 10**7


def large_weights(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
    """A first linear layer of 40 GB in chunks as small as they come, none of them there."""
    attributes["cnn"]["config"]["hidden"] = 100_000
    for name, declared in arrays.items():
        declared["shape"] = [100_000 if n == 24 else n for n in declared.get("shape", [])]
        if name.startswith("cnn/linear1_weight"):
            declared["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1, 100_000]


def sparse_weights(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
    """One file that declares 250 MB, three times over."""
    attributes["heads"][0]["latent"] = latent = 400_000
    name = f"heads/{attributes['heads'][0]['name']}"
    arrays[f"{name}/w1"]["shape"][0] = latent
    arrays[f"{name}/w1"]["chunk_grid"]["configuration"]["chunk_shape"][0] = latent


def metadata_within(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
    """A group's own consolidated metadata, which zarr would go by: an array of 80 GB."""
    group = f"heads/{attributes['heads'][0]['name']}"
    inner = {n.rpartition("/")[2]: arrays.pop(n) for n in list(arrays) if n.startswith(f"{group}/")}
    inner["w1"]["shape"] = [10**6, 20_000]
    arrays[group]["consolidated_metadata"]["metadata"] = inner


def two_genes_a_chunk(name: str) -> Change:
    def change(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
        arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][0] = 12
        arrays[name]["codecs"][0]["configuration"]["chunk_shape"][0] = 2

    return change


def attribute(*path: str, value: object) -> Change:
    def change(attributes: dict[str, Any], arrays: dict[str, Any]) -> None:
        place = attributes
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


GRID = ("chunk_grid", "configuration", "chunk_shape")
INNER = ("codecs", 0, "configuration")
SHARDING = {
    "name": "sharding_indexed",
    "configuration": {
        "chunk_shape": [1, 1, 1],
        "codecs": [{"name": "bytes"}],
        "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
    },
}

METADATA: dict[str, Change] = {
    "10^12 rows": put("features", "shape", 0, value=10**12),
    "10^30 rows": put("features", "shape", 0, value=10**30),
    "-1 rows": put("expression", "shape", 0, value=-1),
    "half a row": put("expression", "shape", 0, value=0.5),
    "true rows": put("expression", "shape", 0, value=True),
    "no shape": put("expression", "shape", value=None),
    "a shape of shapes": put("expression", "shape", value=[[11], [802]]),
    "20 dimensions": put("expression", "shape", value=[1] * 20),
    "10^7 genes throughout": many_genes,
    "40 GB of weights": large_weights,
    "sparse weights": sparse_weights,
    "a chunk of 1 TB": put("expression", *GRID, value=[2**18, 2**20]),
    "a chunk of 0": put("expression", *GRID, value=[0, 802]),
    "chunks of other dimensions": put("expression", *GRID, value=[802]),
    "a shard of 2^40": put("features", *GRID, 0, value=2**40),
    "10^9 chunks in a shard": put("sequence", *INNER, "chunk_shape", value=[1, 1]),
    "chunks that do not fill a shard": put("features", *INNER, "chunk_shape", 1, value=7),
    "shards in shards": put("features", *INNER, "codecs", 0, value=SHARDING),
    "an index elsewhere": put("features", *INNER, "index_location", value="start"),
    "an index unchecked": put("features", *INNER, "index_codecs", value=[{"name": "bytes"}]),
    "objects": put("gene_id", "data_type", value="object"),
    "a dtype of 1 MB": put("gene_id", "data_type", value="r8000000"),
    "a dtype with options": put("gene_id", "data_type", value={"name": "null_terminated_bytes"}),
    "another dtype": put("features", "data_type", value="float64"),
    "pickles": put("gene_id", "codecs", 0, "name", value="numcodecs.pickle"),
    "vlen bytes": put("gene_id", "codecs", 0, "name", value="vlen-bytes"),
    "gzip": put("gene_id", "codecs", 1, value={"name": "gzip", "configuration": {"level": 1}}),
    "zstd twice": put("gene_id", "codecs", 2, "name", value="zstd"),
    "an unknown codec": put("expression", "codecs", 1, "name", value="mine.evil"),
    "no codecs": put("expression", "codecs", value=[]),
    "codecs without names": put("expression", "codecs", value=["bytes"]),
    "a transformer": put("expression", "storage_transformers", value=[{"name": "x"}]),
    "another grid": put("expression", "chunk_grid", "name", value="rectangular"),
    "other chunk names": put("expression", "chunk_key_encoding", "name", value="v2"),
    "an array of Zarr 2": put("expression", "zarr_format", value=2),
    "no type": put("expression", "node_type", value=None),
    "a number for an array": lambda attributes, arrays: arrays.update(tss=5),
    "no array": lambda attributes, arrays: arrays.pop("table/tss"),
    "an array outside": lambda attributes, arrays: arrays.update({"../x": arrays["tss"]}),
    **{f"two genes a chunk of {n}": two_genes_a_chunk(n) for n in ("sequence", "aggregated")},
    "half of the features a chunk": put("features", *INNER, "chunk_shape", 2, value=8),
    "metadata within a group": metadata_within,
    "a group with more": put("cnn", "shape", value=[1]),
    "a long fill value": put("gene_symbol", "fill_value", value="x" * 20_000),
    "200.0 windows": attribute("grid", "bins", value=200.0),
    "windows from -19900.0": attribute("grid", "first_offset", value=-19_900.0),
    "24.0 units": attribute("cnn", "config", "hidden", value=24.0),
    "a contig of 10^40 bp": attribute("genome", "contigs", value={"chr1": 10**40}),
    "10^6 head sets": attribute("heads", value=[1] * 10**6),
    "10^12 genes in the table": lambda attributes, arrays: attributes["gene_table"].update(
        genes=10**12
    ),
    "a head set outside": lambda attributes, arrays: attributes["heads"][0].update(name="../../x"),
}


def checked(data: bytes) -> bytes:
    """With its crc32c: whoever forges a chunk forges that too."""
    return data + struct.pack("<I", google_crc32c.value(data))


def shard(chunk: bytes, chunks: int, place: tuple[int, int] | None = None) -> bytes:
    """A shard whose index says that every chunk is ``chunk``, or lies at ``place``."""
    index = struct.pack("<QQ", *(place or (0, len(chunk)))) * chunks
    return chunk + checked(index)


def plain_blosc(values: int) -> bytes:
    """Blosc that copies ``values`` float32 from behind its header, where only five bytes stand."""
    size = 4 * values
    return struct.pack("<BBBBIII", 2, 1, 2, 4, size, size, size + 16) + b"short"


def hostile_files() -> dict[str, tuple[str, bytes]]:
    zeros = np.zeros(BOMB, np.uint8)
    zstd = checked(Zstd(level=3).encode(zeros))
    blosc = checked(Blosc("zstd", shuffle=Blosc.NOSHUFFLE).encode(zeros.view(np.float32)))
    no_size = bytearray(Zstd(level=3).encode(zeros[:70_000]))
    no_size[4] &= 0x1F
    several = Zstd(level=3).encode(zeros[:11]) + Zstd(level=3).encode(zeros)
    behind = Zstd(level=3).encode(zeros[:45_000]) + Zstd(level=3).encode(zeros)
    lying = Zstd(level=3).encode(struct.pack("<I", 2**32 - 1) + b"\xff" * 100)
    small = checked(Blosc("zstd").encode(np.zeros(320, np.float32)))
    return {
        "a zstd bomb": ("strand/c/0", zstd),
        "a zstd bomb of text": ("gene_id/c/0", zstd),
        "a zstd bomb behind a small frame": ("strand/c/0", checked(several)),
        "a frame without size": ("strand/c/0", checked(bytes(no_size))),
        "a blosc bomb": ("expression/c/0/0", blosc),
        "a blosc bomb of weights": ("cnn/conv1_bias/c/0", blosc),
        "a blosc bomb in a shard": ("features/c/0/0/0", shard(blosc, 110)),
        "a zstd bomb in a shard": ("sequence/c/0/0", shard(zstd, 11)),
        "a zstd bomb behind a frame in a shard": ("sequence/c/0/0", shard(checked(behind), 11)),
        "a chunk beyond its shard": ("features/c/0/0/0", shard(small, 110, (2**40, 2**40))),
        "a chunk of 2^62 bytes": ("features/c/0/0/0", shard(small, 110, (0, 2**62))),
        "a text of 2^32 entries": ("gene_id/c/0", checked(lying)),
        "a blosc chunk that says it is more": ("expression/c/0/0", checked(plain_blosc(11 * 802))),
        "the same in a shard": ("features/c/0/0/0", shard(checked(plain_blosc(20 * 16)), 110)),
        "an empty chunk": ("expression/c/0/0", b""),
        "a chunk of one byte": ("expression/c/0/0", b"\x00"),
        "a shard of one byte": ("features/c/0/0/0", b"\x00"),
    }


def resealed(path: Path, changed: dict[str, bytes]) -> dict[str, bytes]:
    """Files to write so that the manifest fits them."""
    listed = json.loads((path / manifest.MANIFEST).read_text())["files"]
    for name, data in changed.items():
        listed[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return {**changed, manifest.MANIFEST: json.dumps({"files": listed}).encode()}


def read_arrays(path: Path, names: set[str]) -> None:
    """Read arrays, whole and in part; all for no names."""
    store = Store(path)
    for name, array in store.group.members(max_depth=None):
        if isinstance(array, zarr.Array) and (not names or name in names):
            layout.read(array)
            if array.ndim > 1:
                layout.read(array, 0)


def status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) << 10


def attempt_all(path: Path, cases: Path, out: Path) -> None:
    """Try each case in this process: what was said, and the memory taken."""
    read_arrays(path, set())
    found = {}
    for case in sorted(cases.iterdir()):
        saved: dict[Path, bytes] = {}
        for place in sorted(case.rglob("*")):
            if place.is_file():
                target = path / place.relative_to(case)
                saved[target] = target.read_bytes()
                shutil.copyfile(place, target)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        try:
            names = {file.relative_to(path).as_posix().rpartition("/c/")[0] for file in saved}
            read_arrays(path, names - {""})
            said = ""
        except SealStoreError as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:
            said = f"not ours: {error!r}"
        found[case.name] = said, status("VmHWM") - before
        for target, data in saved.items():
            target.write_bytes(data)
    out.write_text(json.dumps(found))


def attempts(path: Path, cases: dict[str, dict[str, bytes]]) -> dict[str, tuple[str, int]]:
    folder, out = path.parent / "cases", path.parent / "found.json"
    for name, changed in cases.items():
        for file, data in changed.items():
            place = folder / name / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    process = SERVER.Process(target=attempt_all, args=(path, folder, out))
    process.start()
    process.join()
    assert process.exitcode == 0
    return json.loads(out.read_text())


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "store.zarr"))


def test_what_a_hostile_store_declares_is_refused_before_memory_is_taken(copied: Path) -> None:
    cases = {}
    original = json.loads((copied / "zarr.json").read_text())
    for name, change in METADATA.items():
        metadata = json.loads(json.dumps(original))
        arrays = metadata["consolidated_metadata"]["metadata"]
        change(metadata["attributes"]["seal_store"], arrays)
        cases[name] = resealed(copied, {"zarr.json": json.dumps(metadata).encode()})
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    for name, data in {
        "deep nesting": deep,
        "a list": b"[]",
        "20 MB of blanks": json.dumps(original).encode() + b" " * (20 << 20),
        "a group of Zarr 2": json.dumps(original | {"zarr_format": 2}).encode(),
        "no text": b"\xff\xfe\x00",
    }.items():
        cases[name] = resealed(copied, {"zarr.json": data})
    listed = manifest.load(copied, "store", "")
    for name, files in {
        "a size of -1": listed | {"zarr.json": {"sha256": "0" * 64, "size": -1}},
        "a size of 10^30": listed | {"x": {"sha256": "0" * 64, "size": 10**30}},
        "a size of text": listed | {"x": {"sha256": "0" * 64, "size": "1"}},
        "a file above": listed | {"../x": {"sha256": "0" * 64, "size": 1}},
        "a file at the root": listed | {"/etc/passwd": {"sha256": "0" * 64, "size": 1}},
        "a name with NUL": listed | {"a\0b": {"sha256": "0" * 64, "size": 1}},
        "a name with a dot": listed | {"./strand/c/0": {"sha256": "0" * 64, "size": 1}},
        "a name with an empty part": listed | {"strand//c/0": {"sha256": "0" * 64, "size": 1}},
        "no name": listed | {"": {"sha256": "0" * 64, "size": 1}},
        "no metadata": {n: e for n, e in listed.items() if n != "zarr.json"},
    }.items():
        data = json.dumps({"files": files}, indent=1, sort_keys=True) + "\n"
        cases[name] = {manifest.MANIFEST: data.encode()}
    cases["a deep manifest"] = {manifest.MANIFEST: deep}
    for name, (said, taken) in attempts(copied, cases).items():
        assert said.startswith("FormatError: "), (name, said)
        assert "\n" not in said, name
        assert len(said) < 500, (name, said)
        assert taken < MEMORY, (name, taken)


@pytest.mark.slow
def test_a_chunk_that_is_more_than_it_declares_is_refused(copied: Path) -> None:
    cases = {n: resealed(copied, {f: data}) for n, (f, data) in hostile_files().items()}
    for name, (said, taken) in attempts(copied, cases).items():
        assert said.startswith("FormatError: "), (name, said)
        assert "\n" not in said, name
        assert taken < MEMORY, (name, taken)


@pytest.mark.parametrize("rounds", [40, pytest.param(3000, marks=pytest.mark.soak)])
def test_forged_chunks_end_in_an_error_or_numbers(
    rounds: int, copied: Path, rng: np.random.Generator
) -> None:
    """Bytes changed under a checksum that fits: nothing but our errors, and no crash."""
    names = ("strand/c/0", "gene_id/c/0", "expression/c/0/0", "tss/c/0", "cnn/conv1_bias/c/0")
    cases = {}
    for i in range(rounds):
        name = names[i % len(names)]
        data = bytearray((copied / name).read_bytes()[:-4])
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            data[place] = rng.integers(256)
        cases[f"{i}"] = resealed(copied, {name: checked(bytes(data))})
    for name, (said, taken) in attempts(copied, cases).items():
        assert said.startswith(("FormatError: ", "GeneTableError: ")) or not said, (name, said)
        assert taken < MEMORY, (name, taken)


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "secret"
    path.mkdir()
    (path / "0").write_bytes(b"secret")
    yield path
    assert [p.name for p in path.iterdir()] == ["0"]


@pytest.mark.parametrize("kind", ["file", "folder", "chain", "pipe", "absent"])
def test_no_link_leads_out_of_a_store(kind: str, copied: Path, secret: Path) -> None:
    place = copied / "strand" / "c" / "0"
    shutil.copyfile(place, secret / "0")
    shutil.rmtree(place.parent)
    if kind == "folder":
        place.parent.symlink_to(secret)
    else:
        place.parent.mkdir()
    if kind == "file":
        place.symlink_to(secret / "0")
    if kind == "chain":
        (copied / "link").symlink_to(secret)
        place.symlink_to("../../link/0")
    if kind == "pipe":
        os.mkfifo(place)
    expected = {"pipe": "is not a plain file", "absent": "is missing"}
    message = expected.get(kind, "leads outside by a link")
    with pytest.raises(FormatError, match=f"strand/c/0 {message}"):
        Store(copied)
    assert "strand/c/0" in verify(copied, contents=False).faulty("files")


@pytest.fixture
def results(store: Store, world: World, tmp_path: Path) -> Path:
    scored(store, world.variants, tmp_path / "r.zarr")
    return tmp_path / "r.zarr"


@pytest.mark.parametrize("kind", ["link", "zero", "pipe", "itself", "socket"])
@pytest.mark.parametrize("name", ["manifest.json", "zarr.json"])
def test_what_is_read_first_is_a_plain_file(
    cli: Callable[..., Result],
    copied: Path,
    results: Path,
    secret: Path,
    kind: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pipe would be waited for, /dev/zero read for ever, a link lead anywhere."""
    for folder in (copied, results):
        place = folder / name
        shutil.copyfile(place, secret / "0")
        place.unlink()
        if kind == "socket":
            monkeypatch.chdir(folder)  # the path of a socket is short
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(name)
        elif kind == "pipe":
            os.mkfifo(place)
        else:
            lead = {"link": secret / "0", "zero": Path("/dev/zero"), "itself": place}[kind]
            place.symlink_to(lead)
        commands: list[list[object]] = [["inspect", folder], ["verify", folder, "-q"]]
        if folder == results:
            commands.append(["export", folder, folder.with_name("o.tsv"), "-q"])
            commands.append(["attribute", folder, "--method", "deeplift", "--target", "all", "-q"])
        else:
            commands.append(["heads", "list", folder])
            commands.append(["expression", folder, "--out", folder.with_name("o.tsv")])
        for command in commands:
            done = cli(*command)
            assert done.exit_code == 1, (command, done.output)
            said = done.stderr if command[0] != "verify" else done.stdout
            lines = [line for line in said.splitlines() if name in line]
            assert any(
                word in line
                for line in lines
                for word in ("is a link", "plain file", "by a link", "damaged", "is missing")
            ), said
            assert done.exception is None or isinstance(done.exception, SystemExit)
        assert not folder.with_name("o.tsv").exists()


@pytest.mark.slow
def test_more_than_metadata_may_take_is_not_read(copied: Path) -> None:
    """It grows while it is read: its size is not believed."""
    for name, most in (("zarr.json", METADATA_BYTES), ("manifest.json", manifest.MANIFEST_BYTES)):
        os.truncate(copied / name, most + 1)  # takes no room on the disk
        with pytest.raises(FormatError, match=f"{name}: damaged .*more than {most >> 20} MiB|is "):
            Store(copied)


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("o.zarr", "zarr.json"),
        slow("o.zarr", "effect/zarr.json"),
        slow("o.zarr", "journal/progress.json"),
        ("o.tsv", "table"),
        slow("o.tsv", "published.json"),
        slow("o.tsv", "journal/progress.json"),
    ],
)
def test_an_unfinished_folder_from_elsewhere_is_not_gone_on_with(
    cli: Callable[..., Result],
    store: Store,
    world: World,
    tmp_path: Path,
    secret: Path,
    kind: str,
    name: str,
    inside: str,
) -> None:
    out = tmp_path / name

    def stop() -> None:
        with pytest.raises(KeyboardInterrupt):
            scored(store, world.variants, out, stop_after=1)

    stop()
    if not partial_path(out).exists():
        partial_path(out).mkdir()
    place = partial_path(out) / inside
    place.parent.mkdir(exist_ok=True, parents=True)
    place.unlink(missing_ok=True)
    place.symlink_to(secret / "0") if kind == "link" else os.mkfifo(place)
    args = ["score", "vcf", world.variants, "--store", store.path, "--out", out]
    for more in (["--resume"], ["--overwrite"]):
        done = cli(*args, "--device", "cpu", "-q", *more)
        assert done.exit_code == 1, done.output
        assert len(done.stderr.splitlines()) == 1
        assert place.is_symlink() or place.is_fifo()
    assert (secret / "0").read_bytes() == b"secret"


def test_links_within_a_store_may_stay(copied: Path, tmp_path: Path) -> None:
    (copied / "strand" / "c" / "0").rename(copied / "strand" / "c" / "own")
    (copied / "strand" / "c" / "0").symlink_to("own")
    (tmp_path / "name.zarr").symlink_to(copied)
    assert set(Store(tmp_path / "name.zarr").column("strand").tolist()) == {1, -1}


def test_files_that_the_manifest_does_not_list_are_not_read(copied: Path) -> None:
    group = zarr.open_group(str(copied), mode="r+", use_consolidated=False)
    group["strand"][...] = 5
    listed = manifest.load(copied, "store", "")
    del listed["strand/c/0"]
    manifest.write(copied, listed)
    assert set(Store(copied).column("strand").tolist()) == {0}


def test_zarr_counts_the_chunks_that_the_manifest_lists(copied: Path) -> None:
    listed = manifest.load(copied, "store", "")
    del listed["strand/c/0"]
    manifest.write(copied, listed)
    group = Store(copied).group
    assert group["strand"].nchunks_initialized == 0
    for name in ("tss", "features"):
        assert group[name].nchunks_initialized == group[name].nchunks > 0


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_shards_that_the_manifest_does_not_list_are_not_read(
    copied: Path, secret: Path, world: World, tmp_path: Path, kind: str
) -> None:
    """They are read without zarr; a pipe would be waited for."""
    place = copied / "sequence" / "c" / "0" / "0"
    listed = manifest.load(copied, "store", "")
    del listed["sequence/c/0/0"]
    manifest.write(copied, listed)
    if kind != "file":
        place.rename(secret / "0")
        place.symlink_to(secret / "0") if kind == "link" else os.mkfifo(place)
    with pytest.raises(FormatError, match="not in the manifest"):
        scored(Store(copied), world.variants, tmp_path / "out.zarr")


def test_xarray_decodes_no_chunk_that_is_more_than_it_declares(copied: Path) -> None:
    bomb = checked(Zstd(level=3).encode(np.zeros(1 << 20, np.uint8)))
    for name, data in resealed(copied, {"strand/c/0": bomb}).items():
        (copied / name).write_bytes(data)
    found = Store(copied).to_xarray()["strand"]
    with pytest.raises(FormatError, match="a chunk of 1048576 bytes"):
        found.load()


def test_xarray_reads_no_file_that_the_manifest_does_not_list(copied: Path) -> None:
    listed = manifest.load(copied, "store", "")
    del listed["tss/c/0"]
    manifest.write(copied, listed)
    assert set(Store(copied).to_xarray()["tss"].values.tolist()) == {0}


def test_an_xarray_dataset_of_a_store_can_be_sent_to_another_process(store: Store) -> None:
    found = pickle.loads(pickle.dumps(store.to_xarray()))
    np.testing.assert_array_equal(found["features"][0].values, store.features(0))


def test_one_long_text_does_not_widen_all(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seal_store.store.untrusted.TEXTS_BYTES", 200)
    with pytest.raises(FormatError, match="gene_id: a text of 6 characters among 11"):
        Store(copied).column("gene_id")


@pytest.mark.parametrize(
    "name", ["features/c/x/0/0", "strand/c/²", "strand/c/abc", "gene_id/c/9999999999999999999999"]
)
def test_verify_names_what_a_forged_manifest_lists(copied: Path, name: str) -> None:
    listed = manifest.load(copied, "store", "")
    manifest.write(copied, listed | {name: {"sha256": "0" * 64, "size": 1}})
    assert name in verify(copied, contents=False).faulty("files")


@pytest.mark.parametrize("missing", ["absent", "group", "nameless"])
def test_verify_goes_on_without_gene_ids(copied: Path, missing: str) -> None:
    metadata = json.loads((copied / "zarr.json").read_text())
    arrays = metadata["consolidated_metadata"]["metadata"]
    if missing == "absent":
        del arrays["gene_id"]
    elif missing == "group":
        arrays["gene_id"] = arrays["cnn"]
    else:
        arrays["tss"]["dimension_names"] = None
    for name, data in resealed(copied, {"zarr.json": json.dumps(metadata).encode()}).items():
        (copied / name).write_bytes(data)
    assert verify(copied, contents=False).ok == (missing == "nameless")


def test_control_characters_do_not_reach_the_terminal(
    cli: Callable[..., Result], copied: Path
) -> None:
    listed = manifest.load(copied, "store", "")
    manifest.write(copied, listed | {"a\x1b]0;title\x07b": {"sha256": "0" * 64, "size": 1}})
    for command in ("inspect", "verify"):
        found = cli(command, copied)
        assert found.exit_code == 1
        assert "\x1b" not in found.output
        assert r"a\x1b]0;title\x07b" in found.output


def test_hostile_results_are_refused(store: Store, world: World, tmp_path: Path) -> None:
    out = tmp_path / "scores.zarr"
    scored(store, world.variants, out)
    original = json.loads((out / "zarr.json").read_text())
    for rows in (10**12, 10**7):
        metadata = json.loads(json.dumps(original))
        metadata["attributes"]["seal_store_results"]["counts"]["rows"] = rows
        for declared in metadata["consolidated_metadata"]["metadata"].values():
            if declared.get("dimension_names") != ["context"]:
                declared["shape"][0] = rows
        for name, data in resealed(out, {"zarr.json": json.dumps(metadata).encode()}).items():
            (out / name).write_bytes(data)
        with pytest.raises(FormatError, match="effect: declares .* chunk files"):
            Results(out)


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_the_rows_of_a_journal_does_not_run(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    out, executed = tmp_path / "out.zarr", tmp_path / "executed"
    with pytest.raises(KeyboardInterrupt):
        scored(store, world.variants, out, stop_after=20)
    folder = partial_path(out)
    journal = folder / "journal" / "progress.json"
    found = json.loads(journal.read_text())
    writer = found["checkpoint"]["writer"]
    bomb = np.array([Malicious(executed)], object)
    for write in (
        lambda file: np.savez(file, **dict.fromkeys(writer["lengths"], bomb)),
        lambda file: file.write(b"PK\x03\x04 no archive"),
        lambda file: np.save(file, bomb, allow_pickle=True),
    ):
        with (folder / writer["tail"]).open("wb") as file:
            write(file)
        writer["files"][writer["tail"]] = manifest.entry(folder / writer["tail"])
        journal.write_text(json.dumps(found))
        with pytest.raises(OutputError, match="not the rows of an interrupted run"):
            scored(store, world.variants, out)
        assert not executed.exists()
    np.load(folder / writer["tail"], allow_pickle=True)
    assert executed.exists()  # it would have


def test_sizes_of_frames_are_those_that_the_codecs_wrote(rng: np.random.Generator) -> None:
    for size in (0, 1, 255, 256, 257, 65_791, 65_792, 1 << 20):
        data = rng.integers(0, 3, size, np.uint8)
        for level in (1, 3, 19):
            frame = memoryview(Zstd(level=level).encode(data))
            assert decoded_size(frame, "zstd") == size
        frame = memoryview(Blosc("zstd").encode(data))
        assert decoded_size(frame, "blosc") == size
    with pytest.raises(ValueError, match="unknown size"):
        decoded_size(memoryview(b"no frame at all"), "zstd")


def test_contexts_without_a_checksum_stay_readable(store: Store, copied: Path) -> None:
    """As stores had them once; nothing else may lack it."""
    original = json.loads((copied / "zarr.json").read_text())
    names = {name: f"heads/{name}/context" for name in store.head_sets}
    for array in (*names.values(), "gene_id"):
        metadata = json.loads(json.dumps(original))
        metadata["consolidated_metadata"]["metadata"][array]["codecs"].pop()
        chunk = (copied / array / "c" / "0").read_bytes()
        changed = {"zarr.json": json.dumps(metadata).encode(), f"{array}/c/0": chunk[:-4]}
        for name, data in resealed(copied, changed).items():
            (copied / name).write_bytes(data)
        if array == "gene_id":
            with pytest.raises(FormatError, match="array gene_id: declares codecs"):
                Store(copied)
        else:
            found = [s.contexts for s in Store(copied).heads()]
            assert found == [s.contexts for s in store.heads()]
            original = metadata
