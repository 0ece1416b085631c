"""What the tests of the faster paths share."""

from __future__ import annotations

import pytest

from seal_store.model import trunk


@pytest.fixture(params=["the library's", "with fewer products"])
def convolutions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test twice, since a tiny CNN alone would not take what the published one takes."""
    few = request.param == "the library's"
    monkeypatch.setattr(trunk, "FEWEST_CHANNELS", 1_000 if few else 0)
