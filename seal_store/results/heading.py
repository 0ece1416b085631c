"""What all rows of results have in common: their contexts, and the arrays they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from seal_store.scoring.source import RowSource
from seal_store.store.layout import ATTRIBUTION, CALIBRATED, NAMED, SOURCE, ArraySpec, spec

Labels = list[tuple[ArraySpec, np.ndarray]]
"""Arrays of labels, each with its entry of the layout."""


@dataclass(frozen=True)
class Heading:
    """What a writer of rows must know before the first one comes.

    ``columns`` are those that rows have besides the ones of all results, ``attribution`` their
    arrays of attributions; ``sizes`` has the lengths of these and ``labels`` their labels.
    """

    context_name: list[str]
    context_set: list[str]
    columns: tuple[ArraySpec, ...] = ()
    calibrated: bool = False
    attribution: tuple[ArraySpec, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    labels: Labels = field(default_factory=list)

    @property
    def more(self) -> tuple[ArraySpec, ...]:
        """Every array of rows besides those of all results, in the order they are made."""
        return (*self.columns, *(CALIBRATED if self.calibrated else ()), *self.attribution)


def heading_of(scorer: RowSource, columns: Sequence[ArraySpec] = ()) -> Heading:
    """The heading of what ``scorer`` gives, with ``columns`` that not all of it has."""
    attributor = scorer.attributor
    return Heading(
        scorer.context_name,
        scorer.context_set,
        (*NAMED, *((SOURCE,) if scorer.known is not None else ()), *columns),
        scorer.calibration is not None,
        () if attributor is None else tuple(attributor.specs()),
        {} if attributor is None else attributor.sizes(),
        [] if attributor is None else attribution_labels(scorer),
    )


def attribution_labels(scorer: RowSource) -> Labels:
    """Labels of the attributions' dimensions."""
    attributor = scorer.attributor
    assert attributor is not None
    names, sets = np.array(scorer.context_name), np.array(scorer.context_set)
    labels: dict[str, np.ndarray] = dict(attributor.groups)
    labels |= {"target_name": names[attributor.targets], "target_set": sets[attributor.targets]}
    features = (e.name for e in ATTRIBUTION if e.dims == ("feature",))
    labels |= {name: scorer.store.column(name) for name in features}
    return [(spec(ATTRIBUTION, name), values) for name, values in labels.items()]
