"""The arrays that attributions are kept in, by what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from seal_store.scoring.options import COMPLETE
from seal_store.store.layout import ATTRIBUTION, ArraySpec, spec


class Asked(Protocol):
    """Options of attributions, or what results say of theirs."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def by(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def top_features(self) -> int | None: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102


def attribution_arrays(asked: Asked) -> list[ArraySpec]:
    """Arrays of :data:`~seal_store.store.layout.ATTRIBUTION`, first dimension ``variant``."""
    names = [f"attribution_{by}" for by in asked.by]
    names += ["completeness"] if asked.method in COMPLETE else []
    if asked.top_features != 0:
        names += ["attribution"]
        names += ["attribution_feature"] if asked.top_features is not None else []
        names += ["attribution_scale"] if asked.dtype == "float16" else []
    found = {name: spec(ATTRIBUTION, name) for name in names}
    if "attribution" in found:
        found["attribution"] = _as_kept(found["attribution"], asked)
    return list(found.values())


def _as_kept(entry: ArraySpec, asked: Asked) -> ArraySpec:
    """The entry of ``attribution`` for what the options make of it."""
    if asked.method == "saliency":
        meaning = "size of the gradient by each feature, ten decay rows added up"
        entry = replace(entry, meaning=meaning)
    if asked.dtype == "float16":
        meaning = f"{entry.meaning}; to be multiplied with attribution_scale"
        entry = replace(entry, dtype="float16", meaning=meaning, unit="")
    if asked.top_features is not None:
        coordinates = spec(ATTRIBUTION, "attribution_feature").coordinates
        entry = replace(entry, dims=(*entry.dims[:2], "rank"), coordinates=coordinates)
    return entry
