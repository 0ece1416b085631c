"""What stays of an output that was not finished, and who may remove what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seal_store.common import output
from seal_store.common.output import Output
from seal_store.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_published(tmp_path: Path) -> None:
    with Output(tmp_path / "new" / "out.txt") as out:
        out.claim()
        out.partial.write_text("whole")
        assert names(tmp_path / "new") == ["out.txt.lock", "out.txt.partial"]
        out.publish()
    assert names(tmp_path / "new") == ["out.txt"]
    assert out.path.read_text() == "whole"


def test_an_exception_removes_what_was_claimed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("earlier")
    Path(f"{path}.partial").write_text("of a killed run")
    for claims, left in ((False, ["out.txt", "out.txt.partial"]), (True, ["out.txt"])):
        with pytest.raises(KeyboardInterrupt), Output(path) as out:
            if claims:
                out.claim(overwrite=True)
                out.partial.write_text("half")
            raise KeyboardInterrupt
        assert names(tmp_path) == left
    assert path.read_text() == "earlier"


def test_a_checkpoint_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    def run(*, resume: bool) -> bool:
        with Output(tmp_path / "out", checkpoint="point", names=["a", "b"]) as out:
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

    with pytest.raises(KeyboardInterrupt), Output(tmp_path / "out", names=["a", "b"]) as out:
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
    out = Output(tmp_path / "out", names=["a"], checkpoint="point.pt")
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


def test_what_zarr_wrote_after_an_interrupt_is_ours(tmp_path: Path) -> None:
    out = Output(tmp_path / "out.zarr", kind="ours")
    for name in ("effect/zarr.json", "effect/c/0/1", "effect/c/0/2.0f.partial", "zarr.1e.partial"):
        (out.partial / name).parent.mkdir(parents=True, exist_ok=True)
        (out.partial / name).touch()
    (out.partial / "effect" / "note").touch()
    with pytest.raises(OutputError, match="other content"):
        out.claim(overwrite=True)
    (out.partial / "effect" / "note").unlink()
    with pytest.raises(OutputError, match="did not finish"):
        out.claim()
    out.claim(overwrite=True)
    assert not out.partial.exists()
