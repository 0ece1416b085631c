"""The manifest: size and SHA-256 of every file of a finished folder, written last.

Everything is written to ``NAME.partial``; publishing writes the manifest there and renames the
folder to ``NAME``. A folder under its own name without a manifest, or whose files do not have the
sizes it says, is not opened; contents are guarded by each chunk's crc32c. Files outside the
folder are never named by a manifest or reached by a link.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from seal_store.common.beside import (
    GROUP,
    METADATA_BYTES,
    WHOLE,
    attribute_names,
    partial_path,
    remove,
)
from seal_store.common.files import json_text, sync, write_text
from seal_store.common.output import JOURNAL, Output
from seal_store.common.plain import open_plain
from seal_store.errors import FormatError, OutputError, SealStoreError, StoreError, UnfinishedError
from seal_store.store.address import Entry
from seal_store.store.place import Place, files_at

MANIFEST = WHOLE
MANIFEST_BYTES = 256 << 20
"""Largest manifest that is read."""

REPAIR = {
    "store": "seal-store build --repair",
    "atlas": "seal-store atlas build ... --repair",
}
"""What computes damaged files again."""

Hint = str | Callable[[], str]
"""What finishes a folder, or what finds that out."""


def entry(path: Path) -> Entry:
    """Size and SHA-256 of a plain file. Raises :class:`OSError` for any other."""
    with open_plain(path) as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"sha256": digest.hexdigest(), "size": os.fstat(file.fileno()).st_size}


def changed(folder: Path, files: Mapping[str, Entry]) -> str | None:
    """The first of ``files`` that is not there with its size and SHA-256; None if all are."""
    for name, listed in files.items():
        try:
            if entry(folder / name) != listed:
                return name
        except OSError:
            return name
    return None


def publish(out: Output, known: Mapping[str, Entry]) -> None:
    """Write the manifest of what is in ``out.partial`` and let that take its place.

    Files are on the disk before the manifest is; ``known`` ones are so already, and are not read
    again.
    """
    partial = out.partial
    # Of what a killed run was writing; zarr writes aside too.
    for left in (*partial.rglob("*.partial"), partial / f"{MANIFEST}.tmp"):
        if not left.is_dir():  # a slice that was killed left one in the journal, which goes below
            left.unlink(missing_ok=True)
    names = sorted(
        file.relative_to(partial).as_posix()
        for file in partial.rglob("*")
        if file.is_file() and file != partial / MANIFEST
    )
    gone = sorted(set(known) - set(names))
    if gone:
        raise OutputError(f"{partial / gone[0]} disappeared while it was written", "run it again")
    listed = {
        name: known.get(name) or entry(partial / name)
        for name in names
        if not name.startswith(f"{JOURNAL}/")
    }
    for name in listed.keys() - known.keys():
        sync(partial / name)
    write(partial, listed)
    out.keep()
    shutil.rmtree(partial / JOURNAL, ignore_errors=True)
    out.take_place()


def complete(out: Output) -> None:
    """End what a run killed in the middle of publishing had begun."""
    if out.kind in attribute_names(out.partial) and (out.partial / MANIFEST).exists():
        remove(out.partial / JOURNAL)
        out.take_place()
        out.ended = True
    else:
        out.complete()


def stands(out: Output) -> bool:
    """:func:`complete` it; whether it is there then, and no other run of it waits to go on."""
    complete(out)
    return out.exists() and not out.partial.exists()


def load(path: Place, what: str, command: Hint, text: bytes | None = None) -> dict[str, Entry]:
    """Entries of the manifest of a published folder, whole and of files below it only.

    ``text`` is the manifest, if it was read already. Raises :class:`UnfinishedError` if the
    folder was never published, :class:`FormatError` if it is not a seal-store folder or its
    manifest is damaged.
    """
    file = path / MANIFEST
    try:
        text = files_at(path).read(MANIFEST, MANIFEST_BYTES) if text is None else text
        found = json.loads(text)
        files = {
            str(name): {"sha256": str(item["sha256"]), "size": _size(item["size"])}
            for name, item in found["files"].items()
        }
        sealed = found.get("sha256") == _digest(found["files"])
        if "sha256" in found and not (sealed and text == json_text(found).encode()):
            raise ValueError("not as it was written")
    except (FileNotFoundError, NotADirectoryError):
        raise _absent(path, what, command) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = str(error.strerror if isinstance(error, OSError) else error)[:100]
        raise FormatError(
            f"{file}: damaged ({why})", f"copy the {what} again or make it again"
        ) from None
    for name in files:
        if "\0" in name or {"", ".", ".."}.intersection(name.split("/")):
            raise FormatError(f"{file}: names a file outside the {what}: {name[:200]!r}")
    return files


def _absent(path: Place, what: str, command: Hint) -> StoreError:
    """What there is where no manifest is."""
    files, partial = files_at(path), partial_path(path)
    finish = command if isinstance(command, str) else command()
    if files.has(GROUP):
        return UnfinishedError(f"{path}: no manifest, an unfinished {what}", finish)
    if files.exists():
        return FormatError(f"{path}: not a seal-store {what}", "check the path")
    if files_at(partial).exists():
        return UnfinishedError(f"{path}: unfinished {what} (see {partial.name})", finish)
    return FormatError(f"{what} not found: {path}", "check the path")


def read(path: Place) -> bytes:
    """The manifest of a folder. Raises :class:`OSError` without a plain one."""
    return files_at(path).read(MANIFEST, MANIFEST_BYTES)


def fingerprint(path: Place) -> str:
    """SHA-256 of the manifest of a folder. Raises as :func:`read`."""
    return hashlib.sha256(read(path)).hexdigest()


class Finished:
    """A finished folder that was opened at ``path``, a store or results."""

    path: Place
    total_bytes: int
    """Of all files of the folder, the manifest included."""

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the manifest, the fingerprint of the whole folder as it was opened."""
        return fingerprint(self.path)

    def _loaded(self, what: str, command: Hint) -> dict[str, Entry]:
        """Entries of the manifest, read once: before anything else is. Raises as :func:`load`."""
        text = None
        with suppress(OSError):  # what is wrong is told next
            text = read(self.path)
            self.sha256 = hashlib.sha256(text).hexdigest()
        return load(self.path, what, command, text)

    def _listed(self, what: str, command: Hint) -> dict[str, Entry]:
        """Entries of the manifest, and that the files are there. Raises as :func:`check`."""
        listed = check(self.path, what, self._loaded(what, command))
        self.total_bytes = len(text_of(listed)) + sum(own["size"] for own in listed.values())
        return listed

    def check_unchanged(self) -> None:
        """Raise :class:`StoreError` if another folder stands in its place by now.

        What was opened otherwise, before it was finished, has no fingerprint to compare with.
        """
        if "sha256" not in vars(self):
            return
        try:
            same = fingerprint(self.path) == self.sha256
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.path} was replaced since it was opened", "open it again")

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Whatever is read in the block is of one and the same folder.

        Else it ends as :meth:`check_unchanged` does, whatever was found wrong with what was read.
        """
        try:
            yield
        except SealStoreError:
            self.check_unchanged()
            raise
        self.check_unchanged()


def check(path: Place, what: str, files: dict[str, Entry]) -> dict[str, Entry]:
    """Check that a published folder has the ``files`` of its manifest, with their sizes; these.

    Raises :class:`FormatError` if a file is missing, of another size, not a plain file, or lies
    elsewhere by a link. Where that takes a request for each, it is told when they are read.
    """
    for name, fault in files_at(path).misplaced(files).items():
        mend = f"`{REPAIR[what]}` mends it, or " if what in REPAIR else ""
        raise FormatError(f"{path}: {name} {fault}", f"{mend}copy or make the {what} again")
    return files


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"size {value!r}")
    return value


def _digest(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def write(folder: Path, files: Mapping[str, Entry]) -> None:
    """Write the manifest of ``folder``; it ends with a SHA-256 of its own entries."""
    write_text(folder / MANIFEST, text_of(files))


def text_of(files: Mapping[str, Entry]) -> str:
    """A manifest as it is written."""
    return json_text({"files": files, "sha256": _digest(files)})


def link(path: Place, partial: Path, leave: Collection[str]) -> dict[str, Entry]:
    """Make ``partial`` a copy of a published group that shares its files, where it can.

    Left out are files that are, or stand below, a name of ``leave``, and the manifest. The group's
    own ``zarr.json`` is copied, first of all: it tells what an interrupted copy is of. Returns
    the entries of the files shared, which must be replaced whole and never written into.
    """
    files = load(path, "store or results", "make it again")
    partial.mkdir(parents=True, exist_ok=True)
    theirs = files_at(path)
    (partial / f"{GROUP}.tmp").write_bytes(theirs.read(GROUP, METADATA_BYTES))
    os.replace(partial / f"{GROUP}.tmp", partial / GROUP)
    left = {*leave, GROUP}
    kept = {
        name: own
        for name, own in files.items()
        if left.isdisjoint((name, *map(str, PurePosixPath(name).parents)))
    }

    def share(name: str) -> None:
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        theirs.share(name, kept[name], partial / name)

    with ThreadPoolExecutor(theirs.threads or 1) as pool:
        list(pool.map(share, kept))
    return kept
