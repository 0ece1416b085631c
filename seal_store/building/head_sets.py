"""Head sets of a store: whether they fit its CNN, and how they are described and written."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import zarr

from seal_store.errors import HeadsError
from seal_store.model.config import CnnConfig
from seal_store.model.grid import Grid
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import check_cnn
from seal_store.store.attributes import HeadSetAttributes, StoreAttributes
from seal_store.store.layout import HEADS, create

_TAKEN = (".partial", ".tmp", "zarr.json")


def describe_heads(heads: HeadSet) -> HeadSetAttributes:
    """What the store's attributes say of a head set."""
    return HeadSetAttributes(
        name=heads.name,
        sha256=heads.sha256(),
        contexts=len(heads.contexts),
        latent=len(heads.b1),
        summary=heads.summary,
    )


def check_heads(
    heads: Sequence[HeadSet], config: CnnConfig, grid: Grid, present: Sequence[str], cnn: str
) -> None:
    """Raise :class:`HeadsError` if a set does not fit the CNN or its name is not usable.

    ``cnn`` is the CNN's SHA-256. Seal's own head sets do not say which features they take in
    which order; those that were trained from a store do (:data:`seal_store.model.head_set.CNN`).
    """
    expected = 2 * len(grid.rates) * config.features
    seen = list(present)
    for head_set in heads:
        if head_set.inputs != expected:
            raise HeadsError(
                f"head set {head_set.name}: takes {head_set.inputs} inputs, "
                f"this CNN gives {expected} ({2 * len(grid.rates)} decay sums of "
                f"{config.features} features); SHA-256 of the heads {head_set.sha256()}, "
                f"of the CNN {cnn}",
                "heads and CNN must belong together",
            )
        check_cnn(head_set, cnn)
        if head_set.name in seen:
            raise HeadsError(f"head set {head_set.name} is there already", "rename its files")
        if not re.fullmatch(r"[^\W_][\w.-]*", head_set.name):
            raise HeadsError(
                f"head set {head_set.name!r}: a name has only letters, digits, '.', '_' and '-'"
            )
        if head_set.name.endswith(_TAKEN):
            raise HeadsError(
                f"head set {head_set.name!r}: names of files that are being written end so",
                "rename its files",
            )
        seen.append(head_set.name)


def write_head_set(group: zarr.Group, attributes: StoreAttributes, heads: HeadSet) -> None:
    """Write the weights and context names of a head set below ``heads/``."""
    target = group.require_group("heads").create_group(heads.name, overwrite=True)
    values = {entry.name: getattr(heads, entry.name) for entry in HEADS if entry.weights}
    values["context"] = np.array(heads.contexts)
    sizes = attributes.head_sizes(describe_heads(heads))
    for entry in HEADS:
        create(target, entry, sizes)[...] = values[entry.name]
