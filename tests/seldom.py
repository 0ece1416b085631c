"""Cases that `make test` leaves out: like others, and slow."""

from __future__ import annotations

from typing import Any

import pytest


def soak(*values: Any) -> Any:
    """Values of a parametrized test, for `make soak` only."""
    return pytest.param(*values, marks=pytest.mark.soak)


def slow(*values: Any) -> Any:
    """Values of a parametrized test, for `make slow` only."""
    return pytest.param(*values, marks=pytest.mark.slow)
