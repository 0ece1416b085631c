"""Work of which some tasks fail or die, in a module that workers can import."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seal_store.errors import InputError


@dataclass(frozen=True)
class Marks:
    """Work that leaves a file for each task; the tasks of some kinds fail or die."""

    partial: Path
    always: tuple[int, ...] = ()
    dies: tuple[int, ...] = ()
    once: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    seconds: float = 0.0
    unit = "shard"

    def begin(self, device: str) -> Callable[[int], int]:
        if device != "cpu":
            raise InputError(f"no {device} here")
        return self.run

    def run(self, task: int) -> int:
        mark = self.partial / f"{task}"
        tries = len(mark.read_text()) if mark.exists() else 0
        mark.write_text("x" * (tries + 1))
        time.sleep(self.seconds)
        if task in self.always:
            raise ValueError(f"task {task} is odd")
        if task in self.refused:
            raise InputError("refused", "mend it")
        if task in self.dies or (task in self.once and not tries):
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task
