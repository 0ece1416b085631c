"""Files of a folder that may come from elsewhere."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from seal_store.common.plain import PIECE, beginning, odd_entry, open_plain, read_plain


def test_what_is_read_takes_its_own_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    tracemalloc.start()
    try:
        assert read_plain(path, 1 << 30) == b"x" * 100
        assert tracemalloc.get_traced_memory()[1] < 4 * PIECE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_no_more_than_asked_for(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    assert len(read_plain(path, size)) == size
    assert len(beginning(path, 10)) == min(size, 10)
    if size:
        with pytest.raises(OSError, match="more than"):
            read_plain(path, size - 1)


@pytest.mark.parametrize("kind", ["link", "itself", "pipe", "folder", "device"])
def test_anything_else_says_what_it_is(tmp_path: Path, kind: str) -> None:
    """At once: nobody writes into the pipe."""
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_text("content")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": other, "itself": path, "device": Path("/dev/zero")}[kind])
    is_link = kind in ("link", "itself", "device")
    assert odd_entry(tmp_path) == (None if kind == "folder" else str(path))
    with pytest.raises(OSError, match="is a link" if is_link else "is not a plain file"):
        open_plain(path)
    if kind == "link":
        assert beginning(path, 4, follow=True) == b"cont"
    else:
        with pytest.raises(OSError, match="is a link|is not a plain file"):
            open_plain(path, follow=True)


def test_the_first_odd_thing_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    assert odd_entry(tmp_path) is None
    (tmp_path / "a" / "b" / "link").symlink_to(tmp_path)
    assert odd_entry(tmp_path) == str(tmp_path / "a" / "b" / "link")
