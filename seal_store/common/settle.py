"""Waiting for zarr: it writes in threads of its own, which go on when a call is interrupted."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any


def settle() -> None:
    """Wait until zarr has written, or given up, all that it was asked to so far.

    Else a chunk may appear in a folder that was removed meanwhile.
    """
    if "zarr" not in sys.modules:
        return
    import zarr
    from zarr.storage import MemoryStore

    loops: list[asyncio.AbstractEventLoop] = []

    class Asked(MemoryStore):
        """Tells by which event loop it is asked for anything."""

        async def get(self, *_: Any, **__: Any) -> None:
            loops.append(asyncio.get_running_loop())

    with suppress(FileNotFoundError):
        zarr.open_group(Asked(), mode="r", zarr_format=3)
    for loop in loops[:1]:
        asyncio.run_coroutine_threadsafe(_ended(asyncio.all_tasks(loop)), loop).result()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
