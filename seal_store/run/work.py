"""Work that others can do: numbered tasks of one output, each done by whoever takes it.

A task is a shard of a build, a slice of a score. It may be done twice, even at the same time, and
nothing is changed by that. Tasks return a few bytes: what they make is in the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

ATTEMPTS = 3
"""Times that a task is tried."""


class Work(Protocol):
    """What is sent to a process; it can be hashed, so that each process begins it once."""

    @property
    def unit(self) -> str: ...  # noqa: D102 - `shard`, `slice`

    @property
    def partial(self) -> Path | None: ...  # noqa: D102 - the folder of the unfinished output, if any

    def __hash__(self) -> int: ...

    def begin(self, device: str) -> Callable[[int], Any]:
        """Load what all tasks need; calling what is returned does one."""
        ...


@dataclass
class Outcome:
    """What tasks returned, and why others failed."""

    values: dict[int, Any]
    failures: dict[int, str]


Done = Callable[[int], object]
"""Called with each task that is done."""
