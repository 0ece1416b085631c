"""Locks: what is no lock is neither written to nor removed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from seal_store.common.lock import hold, lock_path
from seal_store.errors import OutputError
from seal_store.store.store import Store
from seal_store.synthetic import World

OWN = json.dumps({"host": "elsewhere", "pid": 1, "since": "2026"})


def facts_of(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (s.st_ino, s.st_size, s.st_mtime_ns, s.st_nlink) for name, s in found.items()}


@pytest.mark.parametrize(
    "kind", ["link", "hard link", "text", "brackets", "pipe", "itself", "dangling", "folder"]
)
def test_what_is_no_lock_is_not_touched(
    cli: Callable[..., Result], store: Store, world: World, tmp_path: Path, kind: str
) -> None:
    """Also where it names a lock: of other files than this output, or by another name."""
    out, other = tmp_path / "o.tsv", tmp_path / "thesis"
    other.write_text(OWN)
    lock = lock_path(out)
    if kind in ("text", "brackets"):
        lock.write_text({"text": "Dear reader", "brackets": "[" * 4_000}[kind])
    make = {
        "link": lambda: lock.symlink_to(other),
        "hard link": lambda: lock.hardlink_to(other),
        "pipe": lambda: os.mkfifo(lock),
        "itself": lambda: lock.symlink_to(lock),
        "dangling": lambda: lock.symlink_to(tmp_path / "nowhere"),
        "folder": lock.mkdir,
    }
    make.get(kind, lambda: None)()
    before = facts_of(tmp_path)
    done = cli("score", "vcf", world.variants, "--store", store.path, "--out", out, "-q")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    expected = "cannot be written: Is a directory" if kind == "folder" else "no lock of seal-store"
    assert expected in line
    assert facts_of(tmp_path) == before
    assert other.read_text() == OWN


def test_an_output_that_is_a_link_to_itself_is_one_line(
    cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    for name in ("o.tsv", "o.zarr", "o.vcf"):
        (tmp_path / name).symlink_to(name)
        args = ["score", "vcf", world.variants, "--store", store.path, "-q"]
        done = cli(*args, "--out", tmp_path / name, "--overwrite")
        assert done.exit_code == 1
        assert "is a link that leads to itself" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        below = cli(*args, "--out", tmp_path / name / "x.tsv")
        assert below.exit_code == 1
        assert len(below.stderr.splitlines()) == 1


def test_a_lock_that_was_not_written_yet_is_one(tmp_path: Path) -> None:
    lock_path(tmp_path / "out").touch()
    with hold(tmp_path / "out"):
        assert json.loads(lock_path(tmp_path / "out").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_only_its_own_lock_is_removed(tmp_path: Path) -> None:
    """Somebody has moved it away meanwhile, and put another file there."""
    lock = lock_path(tmp_path / "out")
    with hold(tmp_path / "out"):
        lock.unlink()
        lock.write_text("theirs")
    assert lock.read_text() == "theirs"
    with pytest.raises(OutputError, match="no lock of seal-store"), hold(tmp_path / "out"):
        pass
