"""Alleles -> effects on expression, in batches of bounded memory.

Scheme ``grid`` (default): the allele is put into the gene's own 40 kb and the windows it touches
are evaluated for both haplotypes; ``effect = heads(A + D) - heads(A)`` with ``A`` the gene's
decay sums and ``D`` their change. Scheme ``centered``: Seal's own nine windows around the
variant, the sum of nine such differences. The heads are evaluated in delta form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.common.prefetch import ahead, begun, behind
from seal_store.common.progress import Progress, silent
from seal_store.common.records import to_json
from seal_store.errors import InputError
from seal_store.scoring.assign import Counts
from seal_store.scoring.haplotype import Stretch
from seal_store.scoring.known import Known
from seal_store.scoring.options import DEFAULTS, AttributionOptions, ScoreOptions
from seal_store.scoring.reading import Assign, Chunk, Reader
from seal_store.scoring.rows import Rows
from seal_store.store.store import Store, software
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    from seal_store.scoring.engine import Engine

ATTRIBUTION_BYTES = 256 << 20
"""Attributions of a chunk."""

ENGINES = 2
"""Loaded engines that a store keeps."""


@dataclass
class Tally:
    """How far scoring has come: where the input went, and how exact attributions were.

    ``completeness`` is the largest ``|sum of attributions - effect|`` so far, None where the
    method promises none.
    """

    counts: Counts = field(default_factory=Counts)
    completeness: float | None = None


class Scorer:
    """Scores alleles against one store; ``counts`` says where the input went.

    ``gene`` names the one gene to score against, whatever is nearest; by default an allele's
    genes are found as ``options`` say, or by ``assign`` if that is given. ``attribution`` adds
    attributions to every row. What is ``known``, as from an atlas, is not computed.

    The weights are read once: ``store`` keeps the engines last loaded of it, at most
    :data:`ENGINES`, and scorers with the same scheme, heads, contexts, calibration and device use
    them again.
    """

    def __init__(
        self,
        store: Store,
        options: ScoreOptions = DEFAULTS,
        gene: str | None = None,
        attribution: AttributionOptions | None = None,
        assign: Assign | None = None,
        known: Known | None = None,
    ) -> None:
        """Raises :class:`InputError` for attributions of what is ``known``, which has none."""
        if known is not None and attribution is not None:
            raise InputError("`atlas`: has no attributions", "score without one, or without these")
        self.store, self.options, self.gene, self.known = store, options, gene, known
        self.reader = Reader(store, options, gene, assign)
        self.engine = loaded(store, options)
        self.context_set = [head_set for head_set, _ in self.engine.contexts]
        self.context_name = [name for _, name in self.engine.contexts]
        self.calibration = self.engine.calibration
        self.attributor = self.engine.attributor(attribution) if attribution else None
        self.counts = Counts()
        """Where the input went, of the chunks given out."""
        self.completeness: float | None = None
        """See :class:`Tally`."""

    def score(
        self,
        alleles: Iterable[Allele],
        where: str = "input",
        progress: Progress = silent,
        start: Tally | None = None,
    ) -> Iterator[Rows]:
        """Rows in the order of the input, a chunk of alleles at a time; some may have none.

        ``counts`` go on from ``start``, that of an interrupted run whose alleles are left out; by
        default from where they are. Memory does not grow with the input. The next alleles are
        read and assigned while the last ones are computed.
        """
        if start is not None:
            self.counts, self.completeness = start.counts, start.completeness
        stream = Alleles.of(alleles, where)
        launched = (
            (chunk, self._launched(chunk))
            for chunk in ahead(self.reader.chunks(stream, self.chunk_rows))
        )
        fetched_later = self.engine.device.type == "cuda"  # it works on the next chunk meanwhile
        with self.store.standing():
            for chunk, fetched in behind(launched) if fetched_later else launched:
                values = fetched()
                if "completeness" in values:
                    largest = float(np.abs(values["completeness"]).max(initial=0))
                    self.completeness = max(largest, self.completeness or 0)
                _turn(values, chunk.stretches)
                effect = values.pop("effect")
                self.counts.add(chunk.counts)
                progress("alleles", self.counts.alleles, None)
                lines = [stretch.task.allele.line for stretch in chunk.stretches]
                calibrated = self.engine.calibrated(effect, chunk.columns)
                yield Rows(chunk.columns, effect, values, calibrated, lines)

    def _launched(self, chunk: Chunk) -> Callable[[], dict[str, np.ndarray]]:
        """As the engine's, of what is not known."""
        if self.known is None:
            return self.engine.launched(chunk, self.options, self.attributor)
        rows, effect = self.known.effects(chunk, self.engine.contexts)
        rest = np.setdiff1d(np.arange(len(chunk.stretches)), rows)
        chunk.columns["source"] = np.full(len(chunk.stretches), "computed")
        chunk.columns["source"][rows] = "atlas"
        part = replace(chunk, stretches=[chunk.stretches[i] for i in rest.tolist()])
        computed = self.engine.launched(part, self.options, None)

        def fetched() -> dict[str, np.ndarray]:
            values = np.empty((len(chunk.stretches), len(self.context_name)), np.float32)
            values[rows], values[rest] = effect, computed()["effect"]
            return {"effect": values}

        return fetched

    @property
    def chunk_rows(self) -> int | None:
        """Rows after which a chunk ends, whatever its alleles; None where there is no limit."""
        by = self.attributor
        return None if by is None else ATTRIBUTION_BYTES // by.row_bytes()

    def provenance(self) -> dict[str, Any]:
        """How effects are computed and from what, JSON-ready: for the attributes of results."""
        store = self.store
        named = ("scheme", "genes", "max_distance", "ref_mismatch", "normalize", "tf32")
        return {
            **{name: getattr(self.options, name) for name in named},
            "gene": self.gene,
            "device": self.engine.device.type,
            "attribution": self.attributor.provenance() if self.attributor else None,
            "calibration": self.calibration.source if self.calibration else None,
            **({"atlas": self.known.provenance()} if self.known is not None else {}),
            "store": {
                "path": str(store.path.resolve()),
                "sha256": store.sha256,
                "synthetic": store.synthetic,
                "assembly": store.attributes.assembly,
                "grid": to_json(store.attributes.grid),
                "cnn_sha256": store.attributes.cnn.sha256,
                "heads": {h.name: h.sha256 for h in store.attributes.heads},
            },
            "software": software(),
        }


def _turn(values: dict[str, np.ndarray], stretches: Sequence[Stretch]) -> None:
    """Turn the sign of what swapped alleles have: theirs is ALT to REF. Saliency has no sign."""
    swapped = np.array([stretch.task.allele.swapped for stretch in stretches], bool)
    if swapped.any():
        for name, value in values.items():
            if name not in ("attribution_feature", "attribution_scale"):
                value[swapped] *= -1


def loaded(store: Store, options: ScoreOptions) -> Engine:
    """The engine for ``options`` that ``store`` keeps, or a new one, which it keeps then.

    Raises :class:`HeadsError` for a head set or context that is not there, :class:`InputError`
    for a device that is not, and :class:`StoreError` if another store stands in its place by now.
    """
    calibration = (options.calibrated, options.calibration)
    key = (options.device, options.scheme, calibration, options.heads, options.contexts)
    kept: dict[Any, Engine] = store.kept
    if kept:
        store.check_unchanged()
    if key not in kept:
        other = next((kept[k] for k in kept if k[0] == options.device), None)
        kept[key] = _load(store, options, other)
    kept[key] = kept.pop(key)  # the last one is the newest
    while len(kept) > ENGINES:
        del kept[next(iter(kept))]
    return kept[key]


def _load(store: Store, options: ScoreOptions, other: Engine | None) -> Engine:
    """A new engine; ``other`` has the CNN on the same device, if there is one."""
    reading = begun(lambda: store.heads(list(options.heads)))
    weights = begun(store.weights) if other is None else None
    # PyTorch takes a second to load, in which the weights are read
    from seal_store.common.device import resolve_device
    from seal_store.model.beluga import Beluga
    from seal_store.model.delta import Delta
    from seal_store.scoring.engine import Engine

    device, sets = resolve_device(options.device), reading()
    if other is not None:
        return Engine(store, options, sets, other.evaluator.delta)
    assert weights is not None
    model = Beluga.from_arrays(store.config, weights()).to(device)
    return Engine(store, options, sets, Delta(model))
