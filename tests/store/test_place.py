"""Places: which addresses are taken, whose credentials, what is kept of what was read."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from seal_store.errors import InputError, OutputError, RemoteError
from seal_store.store.address import Address
from seal_store.store.crc import ends_with_crc, with_crc
from seal_store.store.credentials import aws_settings
from seal_store.store.kept import Kept
from seal_store.store.place import Folder, files_at, place, single_at

KEYS = "[default]\naws_access_key_id = one\naws_secret_access_key = two\n"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/a/b.zarr", "s3://bucket/a/b.zarr"),
        (Path("s3://bucket/a/b.zarr"), "s3://bucket/a/b.zarr"),
        ("S3://bucket/a/b.zarr/", "s3://bucket/a/b.zarr"),
        ("gs://bucket/x", "gs://bucket/x"),
        ("az://container/x y", "az://container/x y"),
        ("https://host:8080/a%20b/c.zarr", "https://host:8080/a%20b/c.zarr"),
    ],
)
def test_addresses_that_are_taken(given: str | Path, url: str) -> None:
    found = place(given)
    assert isinstance(found, Address)
    assert (str(found), found.name) == (url, url.rpartition("/")[2])
    assert str(found / "zarr.json") == f"{url}/zarr.json"
    assert str(found.with_name("other")) == f"{url.rpartition('/')[0]}/other"
    assert f"{found.root}/{found.key}" == url
    assert place(found) == pickle.loads(pickle.dumps(found)) == found.resolve()


@pytest.mark.parametrize("given", ["a/b.zarr", "/a/b:c", Path("x"), "./s3://b/x", "C:/x"])
def test_paths_that_are_none(given: str | Path) -> None:
    assert place(given) == Path(given)
    assert isinstance(files_at(place(given)), Folder)


@pytest.mark.parametrize(
    "given",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3:///x",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/a\nb",
        "file:///x",
        "ftp://host/x",
        "s3://b%20d ü/x",
        "s3://bucket:80/x",
        "http://host:abc/x",
        "http://[::1/x",
    ],
)
def test_addresses_that_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="is no address"):
        place(given)


@pytest.mark.parametrize(
    "given",
    [
        "https://user:geheim@host/x",
        "s3://geheim@bucket/x",
        "https://host/x?X-Amz-Signature=geheim",
        "https://host/x#geheim",
    ],
)
def test_secrets_are_refused_and_not_shown(given: str) -> None:
    with pytest.raises(InputError, match="was given with a user, a query or a fragment") as caught:
        place(given)
    assert "geheim" not in str(caught.value)


def test_a_secret_with_a_slash_is_not_shown() -> None:
    """Before it there is no @ yet."""
    with pytest.raises(InputError) as caught:
        place("s3://AKIA:ge/heim@lab/x")
    assert not {"AKIA", "ge/", "heim"} & set(str(caught.value).replace("/", "/ ").split())
    assert "AKIA" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ("az://c/x", {"AZURE_STORAGE_ACCOUNT_NAME": ""}),
        ("gs://c/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere"}),
        ("s3://c/x", {"AWS_ENDPOINT_URL": "minio:9000"}),
        ("s3://c/x", {"AWS_SKIP_SIGNATURE": "maybe"}),
    ],
)
def test_settings_that_cannot_be_are_one_line(
    given: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("obstore")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RemoteError) as caught:
        files_at(place(given)).read("zarr.json", 100)
    assert "\n" not in str(caught.value).split("\nhint: ")[0]


def test_files_of_aws_stand_in_for_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    assert aws_settings({}, tmp_path) == {}
    (tmp_path / ".aws/credentials").write_text(KEYS + "[lab]\naws_access_key_id = three\n")
    config = "[default]\nregion = r1\n[profile lab]\nregion = r2\nendpoint_url = http://here\n"
    (tmp_path / ".aws/config").write_text(f"{config}[profile sso]\nsso_session = x\n")
    keys = {"access_key_id": "one", "secret_access_key": "two"}
    assert aws_settings({}, tmp_path) == {**keys, "region": "r1"}
    lab = {"access_key_id": "three", "region": "r2", "endpoint": "http://here", "plain": True}
    assert aws_settings({"AWS_PROFILE": "lab"}, tmp_path) == lab
    own = {"AWS_ACCESS_KEY_ID": "x", "AWS_REGION": "r3", "AWS_ENDPOINT_URL": "https://there"}
    assert aws_settings(own, tmp_path) == {}
    assert aws_settings({"AWS_SKIP_SIGNATURE": "true"}, tmp_path) == {"region": "r1"}
    with pytest.raises(RemoteError, match="AWS_PROFILE sso: has no access key") as caught:
        aws_settings({"AWS_PROFILE": "sso"}, tmp_path)
    assert "export-credentials" in caught.value.hint
    with pytest.raises(RemoteError, match="no such profile"):
        aws_settings({"AWS_PROFILE": "other"}, tmp_path)
    (tmp_path / "keys").write_text(KEYS.replace("one", "four"))
    elsewhere = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "keys")}
    assert aws_settings(elsewhere, tmp_path)["access_key_id"] == "four"
    (tmp_path / "keys").write_text("no file of AWS")
    with pytest.raises(RemoteError, match="cannot be read as a file of AWS"):
        aws_settings(elsewhere, tmp_path)


def test_what_is_kept_comes_back_or_not_at_all(tmp_path: Path, rng: np.random.Generator) -> None:
    kept = Kept(tmp_path / "cache")
    data = {f"key {i}": with_crc(rng.bytes(int(rng.integers(1, 500)))) for i in range(20)}
    for key, value in data.items():
        kept.put(key, value, ends_with_crc)
    for key, value in data.items():
        assert kept.get(key, len(value), ends_with_crc) == value
        assert kept.get(key, len(value) + 1, ends_with_crc) is None
        assert kept.get(f"other {key}", len(value), ends_with_crc) is None
    for path in [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]:
        damaged = bytearray(path.read_bytes())
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
    assert all(kept.get(key, len(value), ends_with_crc) is None for key, value in data.items())
    for key, value in data.items():
        kept.put(key, value[:-1] + b"?", ends_with_crc)
    assert all(kept.get(key, len(value), ends_with_crc) is None for key, value in data.items())
    for key, value in data.items():
        kept.put(key, value, ends_with_crc)
    assert all(kept.get(key, len(value), ends_with_crc) == value for key, value in data.items())


def test_how_a_file_looks_is_told_by_its_blocks(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 70_000, 1 << 20, 3 << 20):
        data = rng.bytes(size)
        path.write_bytes(data)
        looks = single_at(path).looks()
        assert looks["size"] == size
        small = size <= 1 << 20
        places = (
            [0, size - 1, *(rng.integers(0, size, 3).tolist() if small else ())] if size else ()
        )
        for place_ in places:
            changed = bytearray(data)
            changed[place_] ^= 1
            path.write_bytes(changed)
            os.utime(path, ns=(looks["mtime_ns"], looks["mtime_ns"]))
            assert single_at(path).looks() != looks
        path.write_bytes(data)
        os.utime(path, ns=(looks["mtime_ns"], looks["mtime_ns"]))
        assert single_at(path).looks() == looks


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/cache: cannot be written"):
        Kept(tmp_path / "file" / "cache")


def _put(folder: Path, seed: int) -> None:
    kept = Kept(folder)
    for i in np.random.default_rng(seed).permutation(40):
        kept.put(f"{i}", bytes([i]) * 5_000, bool)
        assert kept.get(f"{i}", 5_000, bool) == bytes([i]) * 5_000


def test_several_processes_keep_in_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_put, args=(tmp_path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert all(Kept(tmp_path).get(f"{i}", 5_000, bool) == bytes([i]) * 5_000 for i in range(40))
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 40


def test_nothing_is_followed_in_the_cache(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "cache")
    kept.put("key", b"12345", bool)
    (path,) = (p for p in (tmp_path / "cache").rglob("*") if p.is_file())
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert kept.get("key", 5, bool) is None
    path.unlink()
    os.mkfifo(path)
    assert kept.get("key", 5, bool) is None
