"""What was read from afar, kept in a local folder: one file for each part of a file.

Any number of processes use the folder: a file appears whole, by a rename, and is only ever
replaced by the same bytes. It is kept and taken for the part only where that is as it was written,
so that one that is damaged, here or where it is from, is fetched again. The name is a SHA-256 of
where the part is from and of what it is a part, so that no store can put anything in the place of
another one's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from seal_store.common.plain import read_plain
from seal_store.errors import OutputError


class Kept:
    """Parts kept in ``folder``, which nothing bounds: it may be emptied at any time."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`OutputError` if it cannot be made."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder}: cannot be written: {error.strerror}", "check `cache`"
            ) from error

    def get(self, key: str, length: int, is_right: Callable[[bytes], bool]) -> bytes | None:
        """A part of ``length`` bytes; None if it is not there, or not right."""
        try:
            found = read_plain(self._path(key), length)
        except OSError:
            return None
        return found if len(found) == length and is_right(found) else None

    def put(self, key: str, data: bytes, is_right: Callable[[bytes], bool]) -> None:
        """Keep a part that is right. A disk that is full, or not to be written, keeps nothing."""
        if not is_right(data):
            return
        path = self._path(key)
        aside = path.with_name(f"{path.name}.{os.urandom(8).hex()}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            aside.write_bytes(data)
            os.replace(aside, path)
        except OSError:
            with suppress(OSError):
                aside.unlink()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / name
