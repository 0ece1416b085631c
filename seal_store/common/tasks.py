"""Notes of the numbered tasks of an unfinished output: who does each, since when, how it ended.

``OUT.partial/journal/tasks/NNNNN.json`` is for people (`seal-store status`): that a task is done
is told by what it wrote, never by its note.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from seal_store.common.files import json_text
from seal_store.common.output import JOURNAL
from seal_store.common.plain import read_plain
from seal_store.errors import SealStoreError

NOTE_BYTES = 1 << 16


@dataclass(frozen=True)
class Note:
    """``state`` is ``running``, ``done`` or ``failed``; times are ISO 8601 in UTC."""

    state: str
    host: str
    pid: int
    since: str
    ended: str = ""
    reason: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        begin, end = (datetime.fromisoformat(text) for text in (self.since, self.ended))
        return (end - begin).total_seconds()


@contextmanager
def noted(partial: Path, task: int) -> Iterator[None]:
    """Note that this process does ``task`` while the block runs, and how it ends."""
    begun = Note("running", socket.gethostname(), os.getpid(), _now())
    _write(partial, task, begun)
    try:
        yield
    except Exception as error:
        _write(partial, task, _ended(begun, "failed", reason_of(error)))
        raise
    _write(partial, task, _ended(begun, "done"))


def failed(partial: Path, task: int, reason: str) -> None:
    """Note that ``task`` was given up, by whoever gave it out."""
    begun = notes(partial).get(task) or Note("running", socket.gethostname(), os.getpid(), _now())
    _write(partial, task, _ended(begun, "failed", reason))


def notes(partial: Path) -> dict[int, Note]:
    """All readable notes, by task."""
    found = {}
    for path in sorted((partial / JOURNAL / "tasks").glob("*.json")):
        with suppress(OSError, ValueError, TypeError, RecursionError):
            found[int(path.stem)] = Note(**json.loads(read_plain(path, NOTE_BYTES)))
    return found


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, SealStoreError):
        return f"{text}; {error.hint}" if error.hint else text
    return f"{type(error).__name__}: {text}"


def _ended(begun: Note, state: str, reason: str = "") -> Note:
    return Note(**{**asdict(begun), "state": state, "ended": _now(), "reason": reason[:1_000]})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _write(partial: Path, task: int, note: Note) -> None:
    """Replace a note. What cannot be noted, as on a full disk, does not stop the work."""
    folder = partial / JOURNAL / "tasks"
    aside = folder / f"{task:05d}.{os.urandom(8).hex()}.partial"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        aside.write_text(json_text(asdict(note)), encoding="utf-8")
        os.replace(aside, folder / f"{task:05d}.json")
