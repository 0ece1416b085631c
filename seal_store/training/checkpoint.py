"""Checkpoints of a training run, one after each epoch, to resume from.

A checkpoint is written aside, synced and renamed, so there is always a whole one. It holds the
fingerprint of inputs and options; a run with another one does not go on from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seal_store.common.files import check_fingerprint
from seal_store.errors import OutputError
from seal_store.model.weights import load_tensors
from seal_store.training.fit import State
from seal_store.training.outputs import save_tensors

CHECKPOINT = "checkpoint.pt"


class TrainingCheckpoint:
    """The checkpoint of a run in ``folder``; ``fingerprint`` names what must be the same."""

    def __init__(self, folder: Path, fingerprint: dict[str, Any]) -> None:
        self.path = folder / CHECKPOINT
        self.fingerprint = fingerprint

    def save(self, state: State) -> None:
        """Write it. Raises :class:`OutputError` if it cannot be written."""
        save_tensors({"fingerprint": self.fingerprint, "state": vars(state)}, self.path)

    def load(self) -> State | None:
        """The state to go on from; None if no epoch was finished.

        Raises :class:`OutputError` if the file is damaged, or naming the first input or option
        that differs.
        """
        if not self.path.exists():
            return None
        hint = "add `overwrite=True` to start again"
        try:
            found = load_tensors(self.path, OutputError, hint)
        except OutputError as error:
            raise OutputError(str(error), hint) from error
        check_fingerprint(self.path, found.get("fingerprint", {}), self.fingerprint)
        try:
            return State(**found["state"])
        except (KeyError, TypeError) as error:
            raise OutputError(f"{self.path}: not a checkpoint of this version", hint) from error
