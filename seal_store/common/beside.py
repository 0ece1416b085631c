"""What stands beside an output: by which name, whose it is, how it is removed or takes its place.

``OUT.partial`` is an output that is not finished, ``.OUT.replaced`` what it takes the place of.
Nothing is removed that was not made here: :func:`is_ours` tells folders, what
:func:`head` gives tells files.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self, TypeVar

from seal_store.common.files import compression, sync
from seal_store.common.plain import beginning, odd_entry, read_plain
from seal_store.errors import OutputError

GROUP = "zarr.json"
METADATA_BYTES = 4 << 20
"""Largest ``zarr.json`` of a group that is read."""

OURS = "seal_store"
"""How the names of the attributes begin by which a Zarr group of this package is known."""

WHOLE = "manifest.json"
"""What a group has as soon as it is whole."""

PUBLISHED = "published.json"
LAST = (GROUP, PUBLISHED)

ASIDE = re.compile(r".+\.[0-9a-f]+\.partial|.+\.tmp")
"""Files that zarr, and :func:`~seal_store.common.files.write_text`, have not renamed yet."""

HEAD_BYTES = 1 << 16
"""Of a file, read to see what it is."""

MOVE = "move it away, or choose another `out`"


class Named(Protocol):
    """A path, whatever it is one of."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def suffix(self) -> str:
        """The ending of the name."""

    def with_name(self, name: str) -> Self:
        """What stands beside it."""

    def __fspath__(self) -> str: ...


P = TypeVar("P", bound=Named)


def partial_path(path: P) -> P:
    """Where ``path`` is written before it is published."""
    return path.with_name(path.name + ".partial")


def unpartial_path(partial: Path) -> Path:
    """The name that ``partial`` will be published under."""
    return partial.with_name(partial.name.removesuffix(".partial"))


def replaced_path(path: Path) -> Path:
    """Where a folder at ``path`` is moved to when another one takes its place."""
    return path.with_name(f".{path.name}.replaced")


def attribute_names(folder: Path) -> set[str]:
    """Names of a Zarr group's attributes and of its metadata; empty if it is none."""
    try:
        return names_in(read_plain(folder / GROUP, METADATA_BYTES))
    except OSError:
        return set()


def names_in(metadata: bytes) -> set[str]:
    """Names that the metadata of a Zarr group, and its attributes, have; empty if it is none."""
    try:
        found = json.loads(metadata)
        return {*found, *found["attributes"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


def check_plain(folder: Path) -> None:
    """Raise :class:`OutputError` for a link or a pipe below an unfinished ``folder``."""
    if folder.is_dir() and (odd := odd_entry(folder)) is not None:
        raise OutputError(f"{odd} is no plain file", "it was not made by seal-store: move it away")


def is_ours(path: Path, names: Collection[str] = (), *, plain: bool = True) -> bool:
    """Whether nothing is at ``path`` but what a run of ours made, however early it was killed.

    That is a folder of plain files, which is a group of ours (of which :func:`remove` leaves the
    mark to the end), or in which only ``names``, and what is written aside for them, stand.
    Not ``plain``: links may be in it too, as in what was unpacked.
    """
    if path.is_symlink() or not path.is_dir():
        return not os.path.lexists(path)
    if plain and odd_entry(path) is not None:
        return False
    if any(name.startswith(OURS) for name in attribute_names(path)):
        return True
    own = {name.removesuffix(".json") for name in names if name}
    return all(
        ASIDE.fullmatch(entry.name)
        or any(entry.name == name or entry.name.startswith(f"{name}.") for name in own)
        for entry in path.iterdir()
    )


def head(path: Path) -> bytes:
    """The beginning of a file, unpacked if it is gzip. Raises :class:`OSError` for no file."""
    return unpacked(beginning(path, HEAD_BYTES, follow=True))


def unpacked(found: bytes) -> bytes:
    """The beginning of what ``found`` is the beginning of, if that is gzip; else ``found``."""
    if compression(found):
        with suppress(OSError, EOFError, zlib.error), gzip.open(io.BytesIO(found)) as plain:
            return plain.read1(HEAD_BYTES)
    return found


def replace(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; a folder that stood there is removed only afterwards."""
    if path.is_dir() and not path.is_symlink():
        discard(path, lambda: os.replace(partial, path))
    else:
        os.replace(partial, path)
        sync(path.parent)


def discard(path: Path, then: Callable[[], None] = lambda: None) -> None:
    """Take a finished folder from its name, do ``then``, and remove it.

    Killed in between, it is never half there under its name. Raises :class:`OutputError` if it
    cannot be moved aside because something is there that is not ours.
    """
    old = replaced_path(path)
    if not is_ours(old):
        raise OutputError(f"{old} is in the way: it was not made by seal-store", MOVE)
    remove(old)
    if path.exists():
        os.replace(path, old)
    then()
    sync(path.parent)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there.

    First goes what says that a group is whole, last what tells whose folder it is, and that all
    files of it are published: killed at any moment, what is left says no more than is true.
    """
    if path.is_dir() and not path.is_symlink():
        (path / WHOLE).unlink(missing_ok=True)
        for inner in path.iterdir():
            if inner.name not in LAST:
                remove(inner)
        for name in LAST:
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
