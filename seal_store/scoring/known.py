"""What is known of effects before they are computed: the part of an atlas that a scorer asks."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from seal_store.scoring.reading import Chunk


class Known(Protocol):
    """Effects that need not be computed."""

    def effects(
        self, chunk: Chunk, contexts: list[tuple[str, str]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``chunk`` that are known, and their effects float32 ``(rows, contexts)``."""

    def provenance(self) -> dict[str, Any]:
        """What results say of it, JSON-ready."""
