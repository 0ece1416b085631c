"""What makes a directory whole: a list of its files with size and SHA-256, written last.

Everything is written to ``NAME.partial``; publishing writes the manifest there and renames the
folder to ``NAME``. A folder under its own name without a manifest, or whose files do not have the
sizes it says, is not opened; contents are guarded by each chunk's crc32c.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from seal_store.errors import FormatError, OutputError, UnfinishedError
from seal_store.genome import file_sha256

MANIFEST = "manifest.json"
JOURNAL = "journal"
GROUP = "zarr.json"
RESUME_HINT = "add --resume to go on with it, or --overwrite to start again"

Entry = dict[str, Any]
"""``{"sha256": hex, "size": bytes}``"""


def partial_path(path: Path) -> Path:
    """Where ``path`` is written before it is published."""
    return path.with_name(path.name + ".partial")


def unpartial_path(partial: Path) -> Path:
    """The name that ``partial`` will be published under."""
    return partial.with_name(partial.name.removesuffix(".partial"))


def claim(path: Path, *, overwrite: bool, kind: str = "", resume_hint: str = "") -> Path:
    """An empty ``path.partial`` to write to.

    Raises :class:`OutputError` if ``path`` or an unfinished ``path.partial`` exists and
    ``overwrite`` is false, or ``path`` is a folder of another ``kind``: that is the attribute
    by which a group is known. The finished output stays in place until the new one is published.
    """
    partial = partial_path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already", "choose another --out or add --overwrite")
    foreign = path.is_dir() and any(path.iterdir()) and kind not in _attributes(path)
    if foreign or (partial.is_dir() and any(partial.iterdir()) and not _attributes(partial)):
        raise OutputError(
            f"{path if foreign else partial} is a folder with other content", "choose another --out"
        )
    if partial.exists() and not overwrite:
        raise OutputError(
            f"{partial} exists: an earlier run did not finish, or is still running",
            resume_hint or "add --overwrite to start again",
        )
    try:
        remove(partial)
        partial.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}", "check --out") from error
    return partial


def _attributes(folder: Path) -> set[str]:
    """Names of a Zarr group's attributes and of its metadata; empty if it is none."""
    try:
        metadata = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        return {*metadata, *metadata["attributes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    with suppress(PermissionError):  # not every system lets a folder be opened
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def entry(path: Path) -> Entry:
    """Size and SHA-256 of a file."""
    return {"sha256": file_sha256(path), "size": path.stat().st_size}


def publish(partial: Path, path: Path, known: Mapping[str, Entry]) -> None:
    """Write the manifest of ``partial`` and rename it to ``path``.

    Files are on the disk before the manifest is; ``known`` ones are so already, and are not read
    again.
    """
    for left in partial.rglob("*.partial"):
        left.unlink()  # of a chunk that a killed run was writing; zarr writes aside too
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
    write_json(partial / MANIFEST, {"files": listed})
    shutil.rmtree(partial / JOURNAL, ignore_errors=True)
    replace(partial, path)


def replace(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; what stood there is removed only afterwards."""
    if path.is_dir() and not path.is_symlink():
        old = path.with_name(path.name + ".old")
        remove(old)
        os.replace(path, old)
        os.replace(partial, path)
        sync(path.parent)
        remove(old)
    else:
        os.replace(partial, path)
        sync(path.parent)


def check(path: Path, what: str, command: str) -> None:
    """Check that a published folder has every file of its manifest, with its size.

    Raises :class:`UnfinishedError` if it was never published, :class:`FormatError` if it is not
    a seal-store folder or a file is missing or of another size.
    """
    if not path.exists():
        partial = partial_path(path)
        if partial.exists():
            raise UnfinishedError(f"{path}: unfinished {what} (see {partial.name})", command)
        raise FormatError(f"{what} not found: {path}", "check the path")
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        sizes = {str(name): int(item["size"]) for name, item in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        if path.is_dir() and (path / "zarr.json").exists():
            raise UnfinishedError(f"{path}: no manifest, an unfinished {what}", command) from None
        raise FormatError(f"{path}: not a seal-store {what}", "check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path}/{MANIFEST}: damaged ({error})", f"make the {what} again"
        ) from None
    for name, size in sizes.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts:
            raise FormatError(f"{path}/{MANIFEST}: names a file outside the {what}: {name!r}")
        try:
            found = (path / name).stat().st_size
        except OSError:
            found = -1
        if found != size:
            raise FormatError(
                f"{path}: {name} is {'missing' if found < 0 else f'{found} bytes, not {size}'}",
                f"the {what} is damaged: copy or make it again",
            )


def link(path: Path, partial: Path, leave: Collection[str]) -> dict[str, Entry]:
    """Make ``partial`` a copy of a published group that shares its files, as hard links.

    Left out are files that are, or stand below, a name of ``leave``, and the manifest. The group's
    own ``zarr.json`` is copied, first of all: it tells what an interrupted copy is of. Returns
    the entries of the files linked, which must be replaced whole and never written into.
    """
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        names = [PurePosixPath(name) for name in files]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: no readable manifest", "make it again") from error
    partial.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path / GROUP, partial / f"{GROUP}.tmp")
    os.replace(partial / f"{GROUP}.tmp", partial / GROUP)
    left = {PurePosixPath(name) for name in (*leave, GROUP)}
    kept = {str(n): files[str(n)] for n in names if left.isdisjoint((n, *n.parents))}
    for name in kept:
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path / name, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path / name, target)
            sync(target)
    return kept


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside, sync it and rename it into place."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
