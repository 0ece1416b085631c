"""File helpers: checksums, fsync, atomic writes of text and JSON, fingerprints of runs compared."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from seal_store.errors import InputError, OutputError

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""``s3://...``, or ``s3:/...`` as a :class:`pathlib.Path` makes of it."""


def local_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as a :class:`pathlib.Path`. Raises :class:`InputError` for an address."""
    text = os.fspath(path)
    if ADDRESS.match(text):
        shown = text if "://" in text else text.replace(":/", "://", 1)
        raise InputError(
            f"{shown}: is an address, where a path of this machine is needed",
            "give the path of a local file or folder",
        )
    return Path(path)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def compression(head: bytes) -> str:
    """``gzip`` or ``bgzf`` by the first 18 bytes of a file; empty for any other."""
    if head[:2] != b"\x1f\x8b":
        return ""
    return "bgzf" if head[3:4] == b"\x04" and head[12:14] == b"BC" else "gzip"


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    with suppress(PermissionError):  # not every system lets a folder be opened
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON as :func:`write_text` does."""
    write_text(path, json_text(value))


def write_text(path: Path, text: str) -> None:
    """Write a text file aside, sync it and rename it into place."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text, encoding="utf-8", newline="\n")
    replace_synced(aside, path)


def replace_synced(aside: Path, path: Path) -> None:
    """Rename a finished file to ``path`` once its bytes are on the disk."""
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def json_text(value: Any) -> str:
    """JSON as this package writes it: sorted, indented, one newline at the end."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


@lru_cache
def resource_table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of the package's own table ``resources/<name>.tsv``."""
    text = resources("seal_store.resources").joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), delimiter="\t"))


def check_fingerprint(path: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises :class:`OutputError` naming the first input or option of a run that differs."""
    if begun != now:
        name, then, is_now = difference(begun, now)
        raise OutputError(
            f"{path} was begun with {name} {then!r}, not {is_now!r}",
            "repeat the command as it was, or start again with `overwrite=True`",
        )


def difference(then: Any, now: Any, name: str = "") -> tuple[str, Any, Any]:
    """Where two JSON values differ first: the name of the place, and what each has there.

    Names of nested places have dots; a ``sha256`` counts before what stands beside it.
    """
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted({**then, **now}, key=lambda key: key != "sha256")
        pairs = [(key, then.get(key), now.get(key)) for key in keys]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(then, now, strict=True))]
    else:
        return name, then, now
    key, then, now = next(pair for pair in pairs if pair[1] != pair[2])
    return difference(then, now, f"{name}.{key}" if name else key)
