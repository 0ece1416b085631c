"""Stores in a bucket or on a web server: read as local ones, bounded, whatever fails on the way."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

pytest.importorskip("obstore")
pytest.importorskip("moto")

import obstore
from cloud import Proxy, client, environment, files_handler, put, serving, upload

import seal_store
from seal_store.check.describe import describe
from seal_store.check.verify import verify
from seal_store.errors import FormatError, RemoteError, StoreError, UnfinishedError
from seal_store.store.place import place
from seal_store.store.remote import NEAR, Listed, merged
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]
TARGET = "early_fetal.OC"


@pytest.fixture
def far(bucket: str, store: Store) -> str:
    """Address of a copy of the session's store."""
    upload(Path(store.path), f"{bucket}/stores/hg.zarr")
    return f"{bucket}/stores/hg.zarr"


def same(found: Store, store: Store) -> None:
    """Whatever is read is what the local store holds."""
    assert found.sha256 == store.sha256
    assert found.attributes == store.attributes
    for name in ("sequence", "features", "aggregated", "expression", "hidden", "gene_id"):
        np.testing.assert_array_equal(found.array(name)[...], store.array(name)[...])
    for name, weights in store.weights().items():
        np.testing.assert_array_equal(found.weights()[name], weights)
    for ours, theirs in zip(found.heads(), store.heads(), strict=True):
        assert ours.sha256() == theirs.sha256()
    assert found.table.gene_id.tolist() == store.table.gene_id.tolist()


def test_a_store_in_a_bucket_is_the_store(far: str, store: Store, world: World) -> None:
    found = seal_store.open(far)
    assert str(found.path) == far
    same(found, store)
    facts, theirs = describe(far), describe(store.path)
    assert {**facts, "path": "", "missing": ""} == {**theirs, "path": "", "missing": ""}
    effects, ours = (seal_store.score(s, str(world.variants)) for s in (far, store))
    np.testing.assert_array_equal(effects["effect"].values, ours["effect"].values)
    assert effects.attrs["counts"] == ours.attrs["counts"]
    assert f'"path": "{far}"' in effects.attrs["store"]
    np.testing.assert_array_equal(
        found.to_xarray()["features"][2].values, store.to_xarray()["features"][2].values
    )


@pytest.mark.slow
def test_commands_take_an_address(cli: Cli, far: str, world: World, tmp_path: Path) -> None:
    assert cli("inspect", far).exit_code == 0
    found = cli("verify", far, "-q")
    assert (found.exit_code, found.stdout.splitlines()[-1]) == (0, f"{far}: store, no fault")
    for args in (
        ["heads", "list", far],
        ["expression", far, "--out", tmp_path / "expression.tsv"],
        ["export", far, tmp_path / "x.bedgraph", "--feature", "feature_0", "-q"],
        ["score", "variant", "chr1:107140:A:C", "--store", far, "--device", "cpu"],
        ["score", "vcf", world.variants, "--store", far, "--out", tmp_path / "x.zarr", "-q"],
        ["attribute", tmp_path / "x.zarr", "--attribute", "saliency", "--target", TARGET, "-q"],
        ["export", tmp_path / "x.zarr", tmp_path / "x.vcf", "--vcf", world.variants, "-q"],
    ):
        done = cli(*args)
        assert done.exit_code == 0, (args, done.output)
    for command in ("calibrate", "heads add"):
        done = cli(*command.split(), far, world.variants)
        assert done.exit_code == 1
        assert f"{far}: is an address" in done.stderr


def test_nothing_secret_is_kept_or_sent(far: str, world: World, tmp_path: Path, cli: Cli) -> None:
    found = seal_store.open(far)
    found.features(0)
    sent = pickle.dumps(found)
    assert b"never-to-be-seen" not in sent
    np.testing.assert_array_equal(pickle.loads(sent).features(1), found.features(1))
    args = ["score", "vcf", world.variants, "--store", far, "--out", tmp_path / "x.zarr", "-q"]
    assert cli(*args, "--cache", tmp_path / "cache").exit_code == 0
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert b"never-to-be-seen" not in path.read_bytes()


@pytest.mark.slow
def test_what_is_wrong_in_a_bucket_is_found(far: str, bucket: str, store: Store) -> None:
    own, key = client(far)
    original = bytes(obstore.get(own, f"{key}/features/c/0/0/0").bytes())
    flipped = bytearray(original)
    flipped[len(flipped) // 3] ^= 4
    put(f"{far}/features/c/0/0/0", bytes(flipped))
    put(f"{far}/strand/c/0", b"short")
    put(f"{far}/more", b"")
    obstore.delete(own, f"{key}/tss/c/0")
    report = verify(far)
    assert report.faulty("sha256") == {"features/c/0/0/0"}
    assert report.faulty("stray") == {"more"}
    assert report.faulty("files") == {"strand/c/0", "tss/c/0"}
    found = Store(far)
    with pytest.raises(FormatError, match=r"strand/c/0: damaged data \(is 5 bytes, not"):
        found.column("strand")
    with pytest.raises(FormatError, match="tss/c/0 is missing"):
        found.column("tss")
    with pytest.raises(FormatError, match="damaged data"):
        found.features(slice(None))
    obstore.delete(own, f"{key}/manifest.json")
    with pytest.raises(UnfinishedError, match="no manifest, an unfinished store"):
        Store(far)
    with pytest.raises(FormatError, match=f"store not found: {bucket}/other"):
        Store(f"{bucket}/other")


def test_shards_are_guarded_as_local_ones(far: str, store: Store, world: World) -> None:
    """The reader of shards asks for what a manifest and an index say, and believes neither."""
    name = "sequence/c/0/0"
    data = bytearray((Path(store.path) / name).read_bytes())
    data[-20] ^= 1  # in the index
    put(f"{far}/{name}", bytes(data))
    with pytest.raises(FormatError, match=r"sequence/c/0/0: damaged data \(wrong checksum\)"):
        seal_store.score(far, str(world.variants))
    put(f"{far}/{name}", bytes(data[:-1]))
    with pytest.raises(FormatError, match=r"sequence/c/0/0: damaged data \(.*is \d+ bytes, not"):
        seal_store.score(far, str(world.variants))


@pytest.mark.slow
def test_a_store_that_is_replaced_is_told(
    far: str, make_store: Callable[..., Store], world: World
) -> None:
    found = Store(far)
    found.check_unchanged()
    upload(Path(make_store(keep_bits=4).path), far)
    with pytest.raises(StoreError, match="was replaced since it was opened"):
        found.check_unchanged()


@pytest.fixture
def counted(s3_port: int, far: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    proxy = Proxy(s3_port)
    with serving(proxy.handler()) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield proxy


def test_opening_needs_no_list_and_reads_each_file_once(counted: Proxy, far: str) -> None:
    found = Store(far)
    assert found.gene_id.size
    assert not [asked for asked in counted.requests if "list-type" in asked]
    assert not [asked for asked in counted.requests if not asked.startswith("GET")]
    paths = [asked.split()[1] for asked in counted.requests]
    assert len(set(paths)) == len(paths)
    assert paths[0].endswith("/manifest.json")


@pytest.mark.slow
def test_the_cache_is_read_instead_and_mends_itself(
    counted: Proxy, far: str, store: Store, world: World, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    args = (str(world.variants),)
    ours = seal_store.score(store, *args)["effect"].values
    sent = []
    for _ in range(2):
        before = counted.sent
        found = seal_store.score(far, *args, cache=cache)
        np.testing.assert_array_equal(found["effect"].values, ours)
        sent.append(counted.sent - before)
    always = 2 * (Path(store.path) / "manifest.json").stat().st_size  # at the end again
    always += (Path(store.path) / "zarr.json").stat().st_size
    assert sent[0] > 3 * always
    assert sent[1] <= always
    for path in [p for p in cache.rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = seal_store.score(far, *args, cache=cache)
    np.testing.assert_array_equal(again["effect"].values, ours)
    assert verify(place(far, cache)).ok


def test_what_was_damaged_when_it_was_read_is_read_again_once_it_is_mended(
    counted: Proxy, far: str, store: Store, tmp_path: Path
) -> None:
    """A cache keeps no damage: neither of a chunk, nor of an index, nor of a whole file."""
    at = place(far, tmp_path / "cache")
    weights = next(name for name in store.listed if name.startswith("cnn/"))
    damaged = {"features/c/0/0/0": 9, "sequence/c/0/0": -20, weights: 9, "tss/c/0": 9}
    for name, where in damaged.items():
        data = bytearray((Path(store.path) / name).read_bytes())
        data[where] ^= 1
        put(f"{far}/{name}", bytes(data))
    found = Store(at)
    for read in (found.weights, lambda: found.column("tss"), lambda: found.array("features")[...]):
        with pytest.raises((FormatError, RuntimeError, ValueError)):
            read()
    with pytest.raises(FormatError, match=r"sequence/c/0/0: damaged data \(wrong checksum\)"):
        ShardFiles(found.array("sequence")).read([(0, 0)])
    for name in damaged:
        put(f"{far}/{name}", Path(store.path) / name)
    same(Store(at), store)
    before = counted.sent
    same(Store(at), store)
    always = [Path(store.path) / name for name in ("manifest.json", "zarr.json")]
    assert counted.sent - before <= sum(path.stat().st_size for path in always)


@pytest.mark.slow
def test_a_server_that_often_fails_gives_the_same(
    s3_port: int, far: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(s3_port, fails=0.2, cuts=0.1)
    with serving(proxy.handler()) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        same(Store(far), store)
    assert len(proxy.requests) > 50


def test_a_server_that_is_not_there_is_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setattr("seal_store.store.remote._RETRIES", {"max_retries": 1})
    for endpoint, address in (
        ("http://127.0.0.1:9", "s3://nowhere/x.zarr"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9/x.zarr"),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = cli("inspect", address)
        assert found.exit_code == 1
        (line,) = found.stderr.splitlines()
        assert line.startswith(f"seal-store: error: {address}/")
        assert "error sending request; check the address and the connection" in line


def test_a_web_server_is_read_from(store: Store, world: World, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(store.path, tmp_path / "a b" / "x.zarr")
    with serving(files_handler(tmp_path)) as server:
        address = f"{server}/a%20b/x.zarr"
        same(seal_store.open(address), store)
        report = verify(address)
        assert report.ok
        assert "does not list" in report.skipped["other files"]
        with pytest.raises(FormatError, match="store not found"):
            Store(f"{server}/y.zarr")
        out = tmp_path / "scores.tsv"
        done = cli("score", "vcf", world.variants, "--store", address, "--out", out, "-q")
        assert done.exit_code == 0, done.output
    theirs = tmp_path / "local.tsv"
    cli("score", "vcf", world.variants, "--store", store.path, "--out", theirs, "-q")
    assert out.read_bytes() == theirs.read_bytes()


def test_a_web_server_without_ranges_is_one_line(store: Store, cli: Cli) -> None:
    path = Path(store.path)
    with serving(files_handler(path.parent, ranges=False)) as server:
        found = cli("inspect", f"{server}/{path.name}")
    assert found.exit_code == 1
    (line,) = found.stderr.splitlines()
    assert "the server does not send parts of files (HTTP range requests)" in line


def test_parts_of_a_file_are_those_of_the_file(
    far: str, store: Store, rng: np.random.Generator, tmp_path: Path
) -> None:
    name = "features/c/0/0/0"
    whole = (Path(store.path) / name).read_bytes()
    found = seal_store.open(far, cache=tmp_path)
    for _ in range(5):
        starts = rng.integers(0, len(whole), 6)
        parts = [(int(s), int(rng.integers(0, len(whole) - s + 1))) for s in starts]
        with found.group.store.files.opened(name, found.listed[name]) as file:
            data = [bytes(part) for part in file.ranges(parts)]
            assert data == [whole[start : start + length] for start, length in parts]
            buffer = bytearray(len(whole) - 7)
            assert file.into(memoryview(buffer)) == whole[-7:]
            assert buffer == whole[:-7]


def test_parts_are_merged_where_they_are_near(rng: np.random.Generator) -> None:
    starts = np.sort(rng.integers(0, 40 * NEAR, 50)).tolist()
    parts = [(start, int(rng.integers(1, NEAR))) for start in starts]
    spans = list(merged(parts))
    assert [part for _, _, members in spans for part in members] == parts
    for start, end, members in spans:
        assert start == members[0][0]
        assert end == max(at + length for at, length in members)
    for (_, end, _), (start, _, _) in pairwise(spans):
        assert start > end + NEAR
    assert list(merged([])) == []


def test_a_server_that_sends_too_much_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    with serving(files_handler(tmp_path)) as server:
        address = place(f"{server}/x")
        with pytest.raises(OSError, match="is 100 bytes, not 90"):
            list(Listed(address, {"sha256": "", "size": 90}, None).ranges([(0, 5)]))


@pytest.mark.parametrize("address", ["gs://bucket/x.zarr", "az://container/x.zarr"])
def test_other_buckets_are_reached_by_their_own_variables(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that a client is made: there is no server of theirs here."""
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    from seal_store.store.remote import _client

    made = _client(address.rpartition("/")[0], -1)
    assert type(made).__name__ == {"gs": "GCSStore", "az": "AzureStore"}[address[:2]]


def test_without_the_extra_is_one_line(far: str) -> None:
    code = "import sys; sys.modules['obstore'] = None; from seal_store.cli import run"
    command = [sys.executable, "-c", f"{code}; run(['inspect', {far!r}])"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment("http://127.0.0.1:9")
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'seal-store[cloud]'" in done.stderr


def test_refusals_name_no_query(far: str) -> None:
    from seal_store.store.remote import _refusal

    error = obstore.exceptions.GenericError("Error GET http://h/x?sig=geheim - HTTP: a?b=geheim")
    assert isinstance(_refusal(place(far), error), RemoteError)
    assert "geheim" not in str(_refusal(place(far), error))
