"""Reference bases from an atlas: those of positions that have entries."""

from __future__ import annotations

import numpy as np

from seal_store.atlas.entries import Entries


class AtlasBases:
    """As :class:`~seal_store.variants.bases.Reference`."""

    def __init__(self, atlas: Entries) -> None:
        self._atlas = atlas
        self.assembly = atlas.attributes.store.assembly

    def __call__(self, contig: str, first: int, last: int) -> str | None:
        """None unless all of the positions, 1-based and both included, have entries."""
        name = self._atlas.contig_name(contig)
        if name is None or last - first >= 2 * self._atlas.attributes.span + 1:
            return None
        base = self._atlas.bases(name, np.arange(first, last + 1))
        return base.tobytes().decode("ascii") if base.all() else None
