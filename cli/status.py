"""``seal-store status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import _options

if TYPE_CHECKING:
    from seal_store.run.status import Status
    from seal_store.store.place import Place

SHOWN = 20
"""Tasks of each kind that are printed; --json has all."""


@click.command()
@click.argument("out", type=_options.PLACE)
@_options.work
@_options.as_json
def status(out: Place) -> None:
    """Say how far OUT is: a store, atlas or haplotypes made in shards, or scores in slices.

    Shards or slices that are done, running (where, since when) or failed (why), how many an hour,
    and the time left. It can be asked at any time, from any machine that sees OUT.
    """
    from seal_store.run.status import status

    found = status(out)
    _options.say(found.to_dict(), lambda facts: _lines(found))


def _lines(found: Status) -> list[str]:
    from seal_store.run.status import is_alive

    if found.finished:
        return [f"{found.path}: is finished"]
    running, failed = found.of("running"), found.of("failed")
    waiting = found.total - len(found.done) - len(running) - len(failed)
    dead = sum(is_alive(note) is False for note in running.values())
    lines = [
        f"{found.path}: {len(found.done)} of {found.total} {found.unit}s done, "
        f"{len(running) - dead} running, {waiting} waiting, {len(failed)} failed"
        + f", {dead} left by processes that are gone"
        * bool(dead)
    ]
    for task, note in list(running.items())[:SHOWN]:
        gone = ": that process is gone" if is_alive(note) is False else ""
        lines.append(
            f"  {found.unit} {task}: running on {note.host} (process {note.pid}) since "
            f"{note.since}{gone}"
        )
    for task, note in list(failed.items())[:SHOWN]:
        lines.append(f"  {found.unit} {task}: failed on {note.host}: {note.reason}")
    more = max(0, len(running) - SHOWN) + max(0, len(failed) - SHOWN)
    if more:
        lines.append(f"  ... and {more} more")
    if len(found.done) == found.total:
        lines.append("  all done: finish with --finalize or --resume")
    elif (seconds := found.seconds_left) is not None:
        lines.append(
            f"  {found.per_hour:,.0f} {found.unit}s an hour so far, about {seconds:,.0f} s left"
        )
    return lines
