"""An output is not what it is made of, nor within it."""

from __future__ import annotations

import os
from pathlib import Path

from seal_store.common.beside import Named
from seal_store.errors import OutputError
from seal_store.store.manifest import Finished


def check_outside(
    out: Named, store: Finished, read: Named | None = None, what: str = "store"
) -> None:
    """Raise :class:`OutputError` if ``out`` is the store or in it, or the input ``read``.

    ``what`` is what messages call the store, which may be an atlas.
    """
    place, own = (Path(os.path.realpath(path)) for path in (out, store.path))
    if place == own:
        raise OutputError(f"{out} is the {what} itself", "choose another `out`")
    if own in place.parents:
        raise OutputError(f"{out} lies in the {what} {store.path}", "choose another `out`")
    if read is not None and place == Path(os.path.realpath(read)):
        raise OutputError(f"{out} is the input itself", "choose another `out`")
