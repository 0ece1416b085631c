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
import stat
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from seal_store.common.files import file_sha256, json_text, local_path, sync, write_json
from seal_store.common.output import (
    GROUP,
    JOURNAL,
    Output,
    attribute_names,
    partial_path,
    remove,
    replace,
)
from seal_store.errors import FormatError, OutputError, UnfinishedError

MANIFEST = "manifest.json"
MANIFEST_BYTES = 256 << 20
"""Largest manifest that is read."""

Entry = dict[str, Any]
"""``{"sha256": hex, "size": bytes}``"""


def entry(path: Path) -> Entry:
    """Size and SHA-256 of a file."""
    return {"sha256": file_sha256(path), "size": path.stat().st_size}


def changed(folder: Path, files: Mapping[str, Entry]) -> str | None:
    """The first of ``files`` that is not there with its size and SHA-256; None if all are."""
    for name, listed in files.items():
        path = folder / name
        if not path.is_file() or entry(path) != listed:
            return name
    return None


def publish(out: Output, known: Mapping[str, Entry]) -> None:
    """Write the manifest of what is in ``out.partial`` and rename it to ``out.path``.

    Files are on the disk before the manifest is; ``known`` ones are so already, and are not read
    again.
    """
    partial = out.partial
    # Of what a killed run was writing; zarr writes aside too.
    for left in (*partial.rglob("*.partial"), partial / f"{MANIFEST}.tmp"):
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
    replace(partial, out.path)


def complete(out: Output) -> None:
    """End what a run killed in the middle of publishing had begun."""
    if out.kind in attribute_names(out.partial) and (out.partial / MANIFEST).exists():
        remove(out.partial / JOURNAL)
        replace(out.partial, out.path)
    else:
        out.complete()


def load(path: Path, what: str, command: str) -> dict[str, Entry]:
    """Entries of the manifest of a published folder, whole and of files below it only.

    Raises :class:`UnfinishedError` if the folder was never published, :class:`FormatError` if it
    is not a seal-store folder or its manifest is damaged, :class:`InputError` for an address.
    """
    if not path.exists():
        local_path(path)
        partial = partial_path(path)
        if partial.exists():
            raise UnfinishedError(f"{path}: unfinished {what} (see {partial.name})", command)
        raise FormatError(f"{what} not found: {path}", "check the path")
    file = path / MANIFEST
    try:
        if file.stat().st_size > MANIFEST_BYTES:
            raise FormatError(f"{file}: more than {MANIFEST_BYTES >> 20} MiB")
        text = file.read_text(encoding="utf-8")
        found = json.loads(text)
        files = {
            str(name): {"sha256": str(item["sha256"]), "size": _size(item["size"])}
            for name, item in found["files"].items()
        }
        changed = found.get("sha256") != _digest(found["files"]) or text != json_text(found)
        if "sha256" in found and changed:
            raise ValueError("not as it was written")
    except (FileNotFoundError, NotADirectoryError):
        if path.is_dir() and (path / "zarr.json").exists():
            raise UnfinishedError(f"{path}: no manifest, an unfinished {what}", command) from None
        raise FormatError(f"{path}: not a seal-store {what}", "check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{file}: damaged ({str(error)[:100]})", f"copy the {what} again or make it again"
        ) from None
    for name in files:
        if "\0" in name or {"", ".", ".."}.intersection(name.split("/")):
            raise FormatError(f"{file}: names a file outside the {what}: {name[:200]!r}")
    return files


def check(path: Path, what: str, command: str) -> dict[str, Entry]:
    """Check that a published folder has every file of its manifest, with its size; its entries.

    Raises :class:`UnfinishedError` or :class:`FormatError` as :func:`load`, and the latter if a
    file is missing, of another size, not a plain file, or lies elsewhere by a link.
    """
    files = load(path, what, command)
    for name, fault in misplaced(path, files).items():
        raise FormatError(
            f"{path}: {name} {fault}", f"the {what} is damaged: copy or make it again"
        )
    return files


def misplaced(path: Path, files: Mapping[str, Entry]) -> dict[str, str]:
    """Files that are missing, of another size, not plain, or outside ``path`` by a link."""
    root = os.path.realpath(path)
    folders = {name.rpartition("/")[0] for name in files}
    outside = {f for f in folders if not _below(os.path.realpath(path / f), root)}
    faults = {}
    for name, listed in files.items():
        try:
            found = os.lstat(path / name)
            leads_out = name.rpartition("/")[0] in outside
            if stat.S_ISLNK(found.st_mode) and not leads_out:
                leads_out = not _below(os.path.realpath(path / name), root)
                found = found if leads_out else os.stat(path / name)
            if leads_out:
                faults[name] = "leads outside by a link"
            elif not stat.S_ISREG(found.st_mode):
                faults[name] = "is not a plain file"
            elif found.st_size != listed["size"]:
                faults[name] = f"is {found.st_size} bytes, not {listed['size']}"
        except OSError:
            faults[name] = "is missing"
    return faults


def _below(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"size {value!r}")
    return value


def _digest(files: Any) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def write(folder: Path, files: Mapping[str, Entry]) -> None:
    """Write the manifest of ``folder``; it ends with a SHA-256 of its own entries."""
    write_json(folder / MANIFEST, {"files": files, "sha256": _digest(files)})


def link(path: Path, partial: Path, leave: Collection[str]) -> dict[str, Entry]:
    """Make ``partial`` a copy of a published group that shares its files, as hard links.

    Left out are files that are, or stand below, a name of ``leave``, and the manifest. The group's
    own ``zarr.json`` is copied, first of all: it tells what an interrupted copy is of. Returns
    the entries of the files linked, which must be replaced whole and never written into.
    """
    files = load(path, "store or results", "make it again")
    partial.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path / GROUP, partial / f"{GROUP}.tmp")
    os.replace(partial / f"{GROUP}.tmp", partial / GROUP)
    left = {*leave, GROUP}
    kept = {
        name: own
        for name, own in files.items()
        if left.isdisjoint((name, *map(str, PurePosixPath(name).parents)))
    }
    for name in kept:
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path / name, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path / name, target)
            sync(target)
    return kept
