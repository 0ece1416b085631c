"""The shards of a build as work for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seal_store.building.build import ShardComputer, build
from seal_store.building.options import BuildOptions
from seal_store.building.plan import Planned
from seal_store.common.progress import Progress, silent
from seal_store.run.crew import Crew
from seal_store.store import shard_journal
from seal_store.store.store import Store


@dataclass(frozen=True)
class ShardWork:
    """Shards of the planned store ``partial``; see :mod:`seal_store.run.work`."""

    partial: Path
    tf32: bool = False
    from_profiles: Path | None = None
    unit = "shard"

    def begin(self, device: str) -> Callable[[int], None]:
        """Load the CNN on ``device``; what is returned computes a shard."""
        compute = ShardComputer(
            self.partial, device, tf32=self.tf32, from_profiles=self.from_profiles
        )
        return shard_journal.unless_done(self.partial, lambda shard: compute([shard]))


def build_with(
    options: BuildOptions,
    crew: Crew,
    *,
    tf32: bool = False,
    progress: Progress = silent,
    planned: Callable[[Planned], None] = lambda plan: None,
) -> Store:
    """:func:`~seal_store.building.build.build`, its shards computed by ``crew``: the same bytes."""
    if crew.is_one:
        return build(options, crew.device, tf32=tf32, progress=progress, planned=planned)

    def compute(partial: Path, shards: Sequence[int]) -> None:
        left = set(shards)

        def done(shard: int) -> None:
            left.discard(shard)
            progress("shards", len(shards) - len(left), len(shards))

        progress("shards", 0, len(shards))
        crew.do(ShardWork(partial, tf32, options.from_profiles), shards, done)

    return build(options, tf32=tf32, progress=progress, planned=planned, compute=compute)
