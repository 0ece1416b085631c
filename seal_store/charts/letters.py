"""Letters of a sequence logo as polygons, so that they stretch with their scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_BOWL = [
    (0.5 + 0.5 * float(np.cos(a)), 0.5 + 0.5 * float(np.sin(a)))
    for a in np.linspace(0.2 * np.pi, 1.8 * np.pi, 33)  # 90 and 270 degrees among them
]
_INNER = [
    (0.5 + 0.3 * float(np.cos(a)), 0.5 + 0.34 * float(np.sin(a)))
    for a in np.linspace(1.74 * np.pi, 0.26 * np.pi, 33)
]

OUTLINES: Mapping[str, tuple[tuple[float, float], ...]] = {
    # down to the hole of the A and round it the other way, so that it stays empty
    "A": (
        *((0.0, 0.0), (0.4, 1.0), (0.6, 1.0), (1.0, 0.0), (0.8, 0.0), (0.7, 0.25)),
        *((0.3, 0.25), (0.2, 0.0), (0.0, 0.0), (0.37, 0.42), (0.63, 0.42), (0.5, 0.78)),
        *((0.37, 0.42), (0.0, 0.0)),
    ),
    "C": (*_BOWL, *_INNER),
    "G": (
        *_BOWL,
        *((0.89, 0.45), (0.55, 0.45), (0.55, 0.57), (0.99, 0.57), (0.99, 0.0), (0.82, 0.0)),
        *_INNER,
    ),
    "T": (
        *((0.4, 0.0), (0.4, 0.85), (0.0, 0.85), (0.0, 1.0), (1.0, 1.0), (1.0, 0.85)),
        *((0.6, 0.85), (0.6, 0.0)),
    ),
}
"""Corners (x, y) of each letter in a unit square, y upwards."""

WIDTH = 0.86
"""Of a letter, in positions."""


def vertices(base: str, position: float, height: float) -> Iterator[dict[str, Any]]:
    """Corners of a letter over ``position`` that reaches from 0 to ``height``.

    One below 0 stands upright and hangs down: its foot is at ``height``.
    """
    low, size = min(height, 0.0), abs(height)
    for order, (x, y) in enumerate(OUTLINES.get(base, ())):
        yield {
            "letter": f"{position:g}",
            "base": base,
            "order": order,
            "x": position + (x - 0.5) * WIDTH,
            "y": low + y * size,
        }
