"""The checkpoint of a score: what a later run needs to go on as if it had never stopped.

In the folder that an output is written to, ``journal/progress.json`` says which alleles are done,
their counts, and what the writer has written; it is replaced in one step once all of that is on
the disk. Files are trusted only with the SHA-256 that it lists. A run goes on only with the
``fingerprint`` of inputs and options that it was begun with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seal_store.common.files import check_fingerprint, write_json
from seal_store.common.output import JOURNAL
from seal_store.common.plain import read_plain
from seal_store.errors import OutputError

PROGRESS = "progress.json"
CHECKPOINT = f"{JOURNAL}/{PROGRESS}"
PLAN = f"{JOURNAL}/plan.json"
"""Of a score in slices: see :mod:`seal_store.run.slices`."""
CHECKPOINT_BYTES = 256 << 20
"""Largest checkpoint that is read: it lists every file written."""


@dataclass(frozen=True)
class Checkpoint:
    """``counts`` (of the alleles done) and ``completeness`` are the scorer's.

    ``writer`` is what the writer needs to go on: JSON-ready.
    """

    counts: dict[str, Any]
    completeness: float | None
    writer: dict[str, Any]


def save(partial: Path, fingerprint: dict[str, Any], command: str, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in ``partial``, and remove the files that only the last one needed."""
    folder = partial / JOURNAL
    folder.mkdir(exist_ok=True)
    write_json(
        folder / PROGRESS,
        {"fingerprint": fingerprint, "command": command, "checkpoint": asdict(checkpoint)},
    )
    needed = {PROGRESS, Path(checkpoint.writer.get("tail", "")).name}
    for path in folder.iterdir():
        if path.name not in needed:
            path.unlink()


def load(partial: Path, fingerprint: dict[str, Any]) -> tuple[str, Checkpoint]:
    """The command that began the run in ``partial``, and its checkpoint.

    Raises :class:`OutputError` if it is damaged or was begun with another fingerprint; the
    message names the first difference.
    """
    try:
        found = json.loads(read_plain(partial / CHECKPOINT, CHECKPOINT_BYTES))
        begun, command = found["fingerprint"], found["command"]
        checkpoint = Checkpoint(**found["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(
            f"{partial}: its journal is damaged", "start again with `overwrite=True`"
        ) from error
    check_fingerprint(partial, begun, json.loads(json.dumps(fingerprint)))
    return command, checkpoint
