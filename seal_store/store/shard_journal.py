"""The journal of a build: which shards of an unfinished store are done.

``shard-NNNNN.json`` in ``OUT.partial/journal`` lists a shard's files with size and SHA-256, and how
they were ``made``: :data:`ALIKE`, in which the shards of one output do not differ. It is there only
while the files are as it says, and says of which plan they are: ``key`` has a name that no other
plan has. A finished store that is being added to has its manifest there instead, so that nothing
takes the folder for a whole store meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from seal_store.common.beside import METADATA_BYTES, remove
from seal_store.common.files import check_fingerprint, difference, json_text, sync, write_json
from seal_store.common.output import JOURNAL
from seal_store.common.plain import read_plain
from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError, StoreError, UnfinishedError
from seal_store.store import manifest
from seal_store.store.address import Entry
from seal_store.store.attributes import StoreAttributes
from seal_store.store.layout import SHARD_ARRAYS
from seal_store.store.place import Folder

ALIKE = ("device", "software", "tf32")
"""What a shard was made with: the kind of device, versions of packages, whether TF32 was allowed.

Others give other bytes."""

SHOWN = 3
"""Shards that a message names."""

KEY = "key"
FINISHED = (manifest.MANIFEST, f"{JOURNAL}/{manifest.MANIFEST}")
"""Where the manifest of a store that was finished before is, in its ``.partial``."""


def begin(partial: Path) -> None:
    """Make the journal, once all of a plan is written: from then on the plan is one."""
    key = partial / JOURNAL / KEY
    key.parent.mkdir(parents=True)
    key.write_text(os.urandom(8).hex(), encoding="ascii")


def plan_key(partial: Path) -> str:
    """What tells the plan that stands there from any other; empty where there is none."""
    try:
        return read_plain(partial / JOURNAL / KEY, 64).decode("ascii", "replace")
    except OSError:
        return ""


def check_plan(partial: Path, key: str) -> None:
    """Raise :class:`OutputError` if the plan is another one than that of ``key``."""
    if plan_key(partial) != key:
        raise OutputError(f"{partial}: was planned anew meanwhile", "compute the shard again")


def entry_path(partial: Path, shard: int) -> Path:
    """Where the journal entry of a shard is."""
    return partial / JOURNAL / f"shard-{shard:05d}.json"


def write(
    partial: Path,
    shard: int,
    names: list[str],
    key: str,
    made: dict[str, Any],
    facts: dict[str, Any] | None = None,
) -> None:
    """Say that a shard is done, once its files are on the disk; ``facts`` are kept with that.

    ``key`` is that of the plan when the shard was begun: of another one it is not done. It was
    ``made`` with :data:`ALIKE`.
    """
    for name in names:
        sync(partial / name)
    files = {name: manifest.entry(partial / name) for name in names}
    facts = json.loads(json.dumps(facts))  # as they will be read
    more = {} if facts is None else {"facts": facts, "facts_sha256": _digest(facts)}
    write_json(entry_path(partial, shard), {"key": key, "files": files, "made": made, **more})


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def facts(partial: Path, shard: int) -> dict[str, Any]:
    """What was kept with a shard that is done."""
    found: dict[str, Any] = json.loads(read_plain(entry_path(partial, shard), METADATA_BYTES))
    return found["facts"]


def drop(partial: Path, shard: int) -> None:
    """Take back what is said of a shard, before its files are written anew."""
    path = entry_path(partial, shard)
    if path.exists():
        path.unlink()
        sync(path.parent)


def _read(partial: Path, shard: int) -> tuple[dict[str, Entry], dict[str, Any]] | None:
    """Files of a shard and how they were made; None without an entry of this plan."""
    try:
        found = json.loads(read_plain(entry_path(partial, shard), METADATA_BYTES))
        if found.get("key", "") != plan_key(partial):
            return None
        if "facts" in found and found["facts_sha256"] != _digest(found["facts"]):
            return None
        return dict(found["files"]), {name: found["made"][name] for name in ALIKE}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def check_alike(partial: Path, shards: int, made: dict[str, Any], but: Collection[int]) -> None:
    """Raise :class:`OutputError` if a shard that is done, ``but`` for some, was made otherwise."""
    for shard in range(shards):
        if shard not in but and (entry := _read(partial, shard)) is not None:
            return check_fingerprint(partial, entry[1], made)


def missing(partial: Path, shards: int) -> list[int]:
    """Shards that the journal lacks, or whose files are not as it lists them.

    None where the store was finished before.
    """
    if earlier(partial) is not None:
        return []
    return [shard for shard in range(shards) if not _is_done(partial, shard)]


def _is_done(partial: Path, shard: int) -> bool:
    entry = _read(partial, shard)
    return entry is not None and manifest.changed(partial, entry[0]) is None


def unless_done(partial: Path, do: Callable[[int], None]) -> Callable[[int], None]:
    """``do`` for shards that are not done yet: Dask does a task again whose result it lost.

    Done again, a shard would be out of the journal for that time, and the store not whole.
    """

    def once(shard: int) -> None:
        if not _is_done(partial, shard):
            do(shard)

    return once


def finished(
    partial: Path, shards: int, progress: Progress = silent, command: str = "build"
) -> tuple[dict[str, Entry], bool | None]:
    """Entries of all shard files, and whether the shards were computed with TF32.

    They are those of an earlier manifest (which leaves TF32 open: None), else of the shards, whose
    files are read again. Raises :class:`UnfinishedError` for a shard that is not done or not as
    listed, :class:`OutputError` if shards were not made alike, :class:`StoreError` if a file of the
    earlier manifest is not there with its size.
    """
    listed = earlier(partial)
    if listed is not None:
        entries = json.loads(read_plain(listed, manifest.MANIFEST_BYTES))["files"]
        own = {n: item for n, item in entries.items() if n.split("/")[0] in SHARD_ARRAYS}
        for name, fault in Folder(partial).misplaced(own).items():
            raise StoreError(f"{partial}: {name} {fault}", "copy the store again or build it again")
        return own, None
    files: dict[str, Entry] = {}
    made: list[dict[str, Any]] = []
    for shard in range(shards):
        entry = _read(partial, shard)
        bad = entry and manifest.changed(partial, entry[0])
        if entry is None or bad:
            fault = f"{bad} is not as its journal lists it" if bad else "is not done"
            raise UnfinishedError(
                f"{partial}: shard {shard} of {shards}{': ' if bad else ' '}{fault}",
                f"run `seal-store {command} --shard {shard} ...`, or build with `resume=True`",
            )
        files |= entry[0]
        made.append(entry[1])
        progress("shards checked", shard + 1, shards)
    _check_all_alike(partial, made, command)
    return files, any(own["tf32"] for own in made)


def _check_all_alike(partial: Path, made: Sequence[dict[str, Any]], command: str) -> None:
    """Raise :class:`OutputError` naming the shards that were made otherwise than most."""
    texts = [json_text(own) for own in made]
    ((most, _),) = Counter(texts).most_common(1)
    if odd := [shard for shard, text in enumerate(texts) if text != most]:
        name, then, now = difference(json.loads(most), made[odd[0]])
        named = "s" * (len(odd) > 1) + " " + ", ".join(map(str, odd[:SHOWN]))
        named += f" and {len(odd) - SHOWN} more" * (len(odd) > SHOWN)
        raise OutputError(
            f"{partial}: shard{named}: made with {name} {now!r}, the others with {then!r}",
            f"run `seal-store {command} --shard {odd[0]} ...` again as the others were, or start "
            "again with `overwrite=True`",
        )


def earlier(partial: Path) -> Path | None:
    """The manifest of a store that was finished before; None if it never was."""
    return next((partial / name for name in FINISHED if (partial / name).exists()), None)


def set_aside(partial: Path) -> None:
    """Move the manifest of a store that was finished before into the journal."""
    if (partial / manifest.MANIFEST).exists():
        journal = partial / JOURNAL
        journal.mkdir(exist_ok=True)
        os.replace(partial / manifest.MANIFEST, journal / manifest.MANIFEST)
        sync(journal)
        sync(partial)


def remove_unlisted(partial: Path, attributes: StoreAttributes) -> None:
    """Remove head sets and ``hidden`` of which the attributes do not say that they are whole."""
    if not attributes.hidden:
        remove(partial / "hidden")
    heads, known = partial / "heads", {entry.name for entry in attributes.heads}
    if not known:
        remove(heads)
    for folder in heads.glob("*/"):
        if folder.name not in known:
            remove(folder)
