"""How far an output is whose work is divided: into shards, or a score into slices."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from seal_store.atlas.attributes import ATTRIBUTE as ATLAS_ATTRIBUTE
from seal_store.atlas.attributes import AtlasAttributes
from seal_store.common.beside import attribute_names, partial_path
from seal_store.common.output import JOURNAL
from seal_store.common.tasks import Note, notes
from seal_store.errors import UnfinishedError
from seal_store.results import journal
from seal_store.run import haplotypes
from seal_store.run.slices_plan import read_plan
from seal_store.store import shard_journal
from seal_store.store.attributes import ATTRIBUTE, attributes_of
from seal_store.store.manifest import MANIFEST
from seal_store.store.place import Place, files_at, local_of, place, single_at


@dataclass(frozen=True)
class Status:
    """``done``, ``running`` and ``failed`` are numbers of tasks of a ``unit``, in ``total``.

    ``costs`` are estimates of their times, in any unit; ``notes`` who does or did which.
    """

    path: Place
    finished: bool
    unit: str = ""
    total: int = 0
    done: tuple[int, ...] = ()
    costs: Sequence[float] = ()
    notes: dict[int, Note] | None = None

    def of(self, state: str) -> dict[int, Note]:
        """Notes of the tasks in a state that are not done."""
        found = (self.notes or {}).items()
        return {i: note for i, note in found if note.state == state and i not in self.done}

    @property
    def _timed(self) -> list[int]:
        return [i for i, note in (self.notes or {}).items() if i in self.done and note.ended]

    @property
    def _seconds(self) -> float:
        """Time in which a task was done that is; that in which none was does not count."""
        found, until = 0.0, 0.0
        notes = [(self.notes or {})[i] for i in self._timed]
        spans = ([datetime.fromisoformat(t).timestamp() for t in (n.since, n.ended)] for n in notes)
        for begin, end in sorted(spans):
            found += max(0.0, end - max(begin, until))
            until = max(until, end)
        return found

    @property
    def per_hour(self) -> float | None:
        """Tasks an hour so far; None while that is not known."""
        return len(self._timed) * 3600 / self._seconds if self._seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Time for the rest at the rate so far; None while that is not known."""
        known = sum(self.costs[i] for i in self._timed)
        left = sum(cost for i, cost in enumerate(self.costs) if i not in self.done)
        return left * self._seconds / known if known and self._seconds else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        if self.finished:
            return {"path": str(self.path), "finished": True}
        running = [
            {"task": i, "host": n.host, "pid": n.pid, "since": n.since, "alive": is_alive(n)}
            for i, n in self.of("running").items()
        ]
        failed = [
            {"task": i, "host": n.host, "ended": n.ended, "reason": n.reason}
            for i, n in self.of("failed").items()
        ]
        waiting = self.total - len(self.done) - len(running) - len(failed)
        seconds, rate = self.seconds_left, self.per_hour
        return {
            "path": str(self.path),
            "finished": False,
            "unit": self.unit,
            "total": self.total,
            "done": len(self.done),
            "waiting": waiting,
            "running": running,
            "failed": failed,
            "per_hour": None if rate is None else round(rate, 1),
            "seconds_left": None if seconds is None else round(seconds, 1),
        }


def is_alive(note: Note) -> bool | None:
    """Whether the process of a note lives; None on another host, which cannot be seen from here."""
    if note.host != socket.gethostname():
        return None
    try:
        os.kill(note.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def status(path: str | os.PathLike[str]) -> Status:
    """The status of the output ``path``; nothing is written, no lock is taken.

    Files are looked for, not read: ``--finalize`` and ``--resume`` check what is in them. Raises
    :class:`UnfinishedError` if nothing is there, or one process makes it alone.
    """
    out = place(path)
    partial = partial_path(local_of(out))
    if (partial / journal.PLAN).exists():
        plan = read_plan(partial)
        missing = set(plan.missing(partial))
        costs = [piece.cost for piece in plan.slices]
        done = tuple(i for i in range(len(costs)) if i not in missing)
        return Status(out, False, "slice", len(costs), done, costs, notes(partial))
    if (partial / JOURNAL).exists() and (total := _shards(partial)) is not None:
        entries = (shard_journal.entry_path(partial, shard) for shard in range(total))
        done = tuple(shard for shard, entry in enumerate(entries) if entry.exists())
        return Status(out, False, "shard", total, done, [1.0] * total, notes(partial))
    if files_at(out).has(MANIFEST) or single_at(out).is_file():
        return Status(out, True)
    made = "is made by one process, see its progress" if partial.exists() else "nothing there"
    raise UnfinishedError(f"{out}: {made}", "status is of work in shards or slices")


def is_finished(path: str | os.PathLike[str]) -> bool:
    """Whether the output stands, and nothing of it is planned."""
    try:
        return status(path).finished
    except UnfinishedError:
        return False


def _shards(partial: Path) -> int | None:
    """Shards of what is planned; None where nothing is planned in shards."""
    if (partial / haplotypes.PLAN).exists():
        return haplotypes.read_plan(partial).shards
    named = attribute_names(partial)
    if not {ATTRIBUTE, ATLAS_ATTRIBUTE}.intersection(named):
        return None
    import zarr

    group = zarr.open_group(str(partial), mode="r", use_consolidated=False)
    if ATTRIBUTE in named:
        return attributes_of(group).shards
    return AtlasAttributes.parse(group.attrs[ATLAS_ATTRIBUTE]).shards
