"""What stays of an output that was not finished, and who may remove what."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from seal_store.common import output
from seal_store.common.beside import remove
from seal_store.common.output import Output
from seal_store.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_published(tmp_path: Path) -> None:
    with Output(tmp_path / "new" / "out.txt") as out:
        out.claim()
        out.partial.mkdir()
        out["out.txt"].write_text("whole")
        assert names(tmp_path / "new") == ["out.txt.lock", "out.txt.partial"]
        out.publish()
    assert names(tmp_path / "new") == ["out.txt"]
    assert out.path.read_text() == "whole"


def test_an_exception_removes_what_was_claimed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("earlier")
    Path(f"{path}.partial").mkdir()
    Path(f"{path}.partial/out.txt.new").write_text("of a killed run")
    for claims, left in ((False, ["out.txt", "out.txt.partial"]), (True, ["out.txt"])):
        with pytest.raises(KeyboardInterrupt), Output(path) as out:
            if claims:
                out.claim(overwrite=True)
                out.partial.mkdir()
                out["out.txt"].write_text("half")
            raise KeyboardInterrupt
        assert names(tmp_path) == left
    assert path.read_text() == "earlier"


def test_a_checkpoint_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    def run(*, resume: bool) -> bool:
        with Output(tmp_path / "out", checkpoint="point", names={"a": b"", "b": b""}) as out:
            resumed = out.claim(resume=resume)
            out.partial.mkdir(exist_ok=True)
            if not resumed:
                (out.partial / "point").touch()
                raise KeyboardInterrupt
            for name in out.names:
                out[name].write_text(name)
            out.publish()
        return resumed

    with pytest.raises(KeyboardInterrupt):
        run(resume=True)
    with pytest.raises(OutputError, match="did not finish") as told:
        run(resume=False)
    assert told.value.hint.startswith("add `resume=True`")
    assert run(resume=True)
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("stop", ["a", "b"])
def test_renames_that_were_cut_off_are_ended_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    replace = os.replace

    def dying(source: Path, target: Path) -> None:
        if Path(target).name == stop:
            raise KeyboardInterrupt
        replace(source, target)

    own = {"a": b"", "b": b""}
    with pytest.raises(KeyboardInterrupt), Output(tmp_path / "out", names=own) as out:
        out.claim()
        out.partial.mkdir()
        for name in out.names:
            out[name].write_text(name)
        monkeypatch.setattr(output.os, "replace", dying)
        out.publish()
    monkeypatch.undo()
    assert names(tmp_path) == (["out.partial"] if stop == "a" else ["a", "out.partial"])
    out.complete()
    assert names(tmp_path) == ["a", "b"]


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    out = Output(tmp_path / "out", names={"a": b""}, checkpoint="point.pt")
    out.partial.mkdir()
    for ours in ("a.new", "a.new.tmp", "point.pt", "point.pt.tmp", "published.json.tmp"):
        (out.partial / ours).touch()
    out.check(overwrite=True)
    (out.partial / "notes.txt").touch()
    with pytest.raises(OutputError, match="other content"):
        out.claim(overwrite=True)
    assert "notes.txt" in names(out.partial)


def test_a_scratch_folder_is_gone_however_its_block_ends(tmp_path: Path) -> None:
    out = Output(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt), out.scratch(".work") as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert names(tmp_path) == []


@pytest.mark.slow
def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """Zarr writes in threads that go on after Ctrl-C: they are waited for, not outrun."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's job ignores it
    values = np.random.default_rng(1).random((600, 500))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), Output(tmp_path / "out.zarr", kind="ours") as out:
            out.claim()
            group = zarr.create_group(str(out.partial), zarr_format=3)
            array = group.create_array("a", shape=values.shape, chunks=(1, 500), dtype="f8")
            sent = threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT])
            sent.start()
            while sent.is_alive():
                array[...] = values
            raise KeyboardInterrupt  # where it came between two writes, or was lost
        assert names(tmp_path) == []
        time.sleep(0.1)
        assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("left", "ours"),
    [
        ("zarr.0f1e.partial", True),
        ("zarr.json.tmp", True),
        ("table.vcf.gz", True),
        ("out.new.tmp", True),
        ("thesis.partial", False),
        ("tables", False),
        ("zarr.json", False),
    ],
)
def test_an_unfinished_folder_is_known_by_its_names(tmp_path: Path, left: str, ours: bool) -> None:
    out = Output(tmp_path / "out", checkpoint="point")
    out.partial.mkdir()
    (out.partial / left).write_text("{}")
    if ours:
        out.claim(overwrite=True)
        assert not out.partial.exists()
    else:
        with pytest.raises(OutputError, match="other content"):
            out.claim(overwrite=True)
        assert names(out.partial) == [left]


@pytest.mark.parametrize("kind", ["link", "pipe", "file", "link to itself"])
def test_an_unfinished_folder_of_odd_things_is_not_ours(tmp_path: Path, kind: str) -> None:
    out = Output(tmp_path / "out", names={"a": b""})
    other = tmp_path / "other"
    other.write_text("theirs")
    if kind == "file":
        out.partial.write_text("theirs")
    else:
        out.partial.mkdir()
        place = out.partial / "a.new"
        odd = {"link": other, "link to itself": place}
        os.mkfifo(place) if kind == "pipe" else place.symlink_to(odd[kind])
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="out.partial is"):
            out.claim(**how)
    assert other.read_text() == "theirs"
    assert names(tmp_path) == ["other", "out.partial"]


def test_an_earlier_folder_is_removed_by_the_next_run_if_it_is_ours(tmp_path: Path) -> None:
    out, old = Output(tmp_path / "out.zarr", kind="seal_store"), tmp_path / ".out.zarr.replaced"
    for folder in (out.path, old):
        zarr.create_group(str(folder), zarr_format=3, attributes={"seal_store": {}})
    with out:
        assert not old.exists()
    zarr.create_group(str(old), zarr_format=3, attributes={"mine": 1})
    with out, pytest.raises(OutputError, match="out.zarr.replaced is in the way"):
        out.claim(overwrite=True)
    assert names(old) == ["zarr.json"]


def test_what_an_older_run_kept_is_not_lost_while_nothing_stands_in_its_place(
    tmp_path: Path,
) -> None:
    """Killed between two renames: the old one is the only one that is whole."""
    old = tmp_path / ".out.zarr.replaced"
    zarr.create_group(str(old), zarr_format=3, attributes={"seal_store": {}})
    with Output(tmp_path / "out.zarr", kind="seal_store"):
        pass
    assert old.exists()


@pytest.mark.parametrize("stop", range(8))
def test_a_removal_cut_off_says_no_more_than_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    folder = tmp_path / "out.partial"
    (folder / "journal").mkdir(parents=True)
    files = ("manifest.json", "published.json", "zarr.json", "a", "journal/point")
    for name in files:
        (folder / name).touch()
    calls: list[object] = []

    def dying(real: Callable[..., None], *args: Any, **more: Any) -> None:
        calls.append(args)
        if len(calls) > stop:
            raise KeyboardInterrupt
        real(*args, **more)

    unlink = os.unlink
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(os, "unlink", partial(dying, unlink))
        remove(folder)
    left = {name for name in files if (folder / name).exists()}
    assert "manifest.json" not in left or left == set(files)
    assert "zarr.json" in left or left <= {"published.json"}
    assert "published.json" in left or not left


def test_names_too_long_for_their_siblings_are_refused_at_once(tmp_path: Path) -> None:
    Output(tmp_path / ("x" * 245))
    with pytest.raises(OutputError, match="too long") as told:
        Output(tmp_path / ("x" * 247))
    assert told.value.hint == "shorten it by 2 bytes"
    with pytest.raises(OutputError, match="too long"):
        Output(tmp_path / ("\N{GREEK SMALL LETTER ALPHA}" * 123))  # 246 bytes


def test_only_files_of_the_same_kind_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    out = Output(path, begins=rb"chrom\t")
    for text, packed in ((b"chrom\tpos\n", False), (b"chrom\tpos\n", True), (b"", False)):
        path.write_bytes(gzip.compress(text) if packed else text)
        out.check(overwrite=True)
    for text in (b"Dear reader,\n", b"chromosome", b"\x1f\x8b damaged"):
        path.write_bytes(text)
        with pytest.raises(OutputError, match="is not a file that seal-store made"):
            out.check(overwrite=True)
        assert path.read_bytes() == text
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OutputError, match="is not a plain file"):
        out.check(overwrite=True)


def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "out.zarr").write_text("mine")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        Output(tmp_path / "out.zarr", kind="ours").claim(overwrite=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note").touch()
    with pytest.raises(OutputError, match="b is a folder with other content"):
        Output(tmp_path / "out", names={"a": b"", "b": b""}).claim(overwrite=True)
    assert names(tmp_path / "b") == ["note"]


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("out")
    with pytest.raises(OutputError, match="a link that leads to itself"):
        Output(tmp_path / "out")


def test_a_list_of_renames_from_elsewhere_moves_nothing(tmp_path: Path) -> None:
    out = Output(tmp_path / "out", names={"a": b""})
    out.partial.mkdir()
    theirs = tmp_path / "theirs"
    theirs.write_text("mine")
    pairs = [["../theirs", "a"], ["b", "theirs"], ["b", "../a"]]
    (out.partial / "b").touch()
    (out.partial / "published.json").write_text(json.dumps(pairs))
    out.complete()
    assert names(tmp_path) == ["out.partial", "theirs"]
    (out.partial / "b").rename(out.partial / "a.new")
    lists = ([*pairs, ["a.new", "theirs"]], [1, 2], {"a.new": 3}, {"a.new": []})
    for damaged in ("[" * 4_000, *map(json.dumps, lists)):
        (out.partial / "published.json").write_text(damaged)
        out.complete()
        assert names(tmp_path) == ["out.partial", "theirs"]
        assert (out.partial / "a.new").exists()
    (out.partial / "published.json").write_text(json.dumps([["../theirs", "a"], ["a.new", "a"]]))
    out.complete()
    assert names(tmp_path) == ["a", "theirs"]
    assert theirs.stat().st_size == 4
