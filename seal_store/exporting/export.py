"""One export of results, or of a store's profiles, by the ending of the output's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.errors import InputError
from seal_store.exporting.attributions import export_attributions
from seal_store.exporting.haplotypes import export_haplotypes
from seal_store.exporting.render import Exported, Form, export
from seal_store.exporting.tracks import (
    effect_track,
    is_track,
    profile_track,
    track_lengths,
    write_track,
)
from seal_store.results.group import Results
from seal_store.results.haplotypes import ATTRIBUTE, Haplotypes
from seal_store.results.view import EVERYTHING, Selection
from seal_store.store.opening import attributes_at
from seal_store.store.place import Place, files_at, place
from seal_store.store.store import Store
from seal_store.variants.source import VariantSource


@dataclass(frozen=True)
class ExportOptions:
    """What to write, and how; see ``seal-store export --help`` for each.

    ``attributions`` is how many of each row and target are written instead of effects; ``feature``
    the feature whose reference profile becomes a track, along the genes ``gene``.
    """

    selection: Selection = EVERYTHING
    attributions: int | None = None
    vcf: Place | None = None
    store: Place | None = None
    feature: str | None = None
    gene: Sequence[str] = ()
    per_position: str = "strongest"
    precision: int = 6
    overwrite: bool = False

    def __post_init__(self) -> None:
        conform(self)
        if not 1 <= self.precision <= 17:
            raise InputError(f"`precision` {self.precision}: not between 1 and 17")
        if self.attributions is not None and self.attributions < 1:
            raise InputError(f"`attributions` {self.attributions}: not positive")
        if self.per_position not in ("strongest", "mean"):
            raise InputError(f"`per_position` {self.per_position!r}: not strongest or mean")


def export_to(
    source: Place, out: Place, options: ExportOptions, progress: Progress = silent
) -> Exported:
    """Write the results, the haplotypes or, for a profile, the store at ``source`` to ``out``.

    Raises an :class:`InputError` for options that do not fit, and :class:`OutputError` if ``out``
    exists or has an ending that is not known.
    """
    if is_track(out):
        return _track(source, out, options, progress)
    for name in ("feature", "gene"):
        if getattr(options, name):
            raise InputError(f"`{name}` is for tracks", "name the output .bw or .bedgraph")
    if ATTRIBUTE in attributes_at(source):
        return _haplotypes(source, out, options, progress)
    results, chosen = Results(source), options.selection
    if options.attributions is not None:
        rows = export_attributions(
            results,
            out,
            top=options.attributions,
            targets=chosen.contexts,
            precision=options.precision,
            overwrite=options.overwrite,
            progress=progress,
        )
        return Exported(rows)
    form = Form(chosen, options.precision, VariantSource(options.vcf) if options.vcf else None)
    how: dict[str, Any] = {"store": options.store, "overwrite": options.overwrite}
    return export(results, out, form, **how, progress=progress)


def _haplotypes(source: Place, out: Place, options: ExportOptions, progress: Progress) -> Exported:
    chosen = options.selection
    given = {name: getattr(options, name) for name in ("attributions", "vcf", "store")}
    for name, value in {**given, "top": chosen.top, "min_effect": chosen.min_effect}.items():
        if value:
            raise InputError(f"`{name}`: is not for haplotypes", "choose `contexts`")
    how: dict[str, Any] = {"contexts": chosen.contexts, "overwrite": options.overwrite}
    return Exported(export_haplotypes(Haplotypes(source), out, **how, progress=progress))


def _track(source: Place, out: Place, options: ExportOptions, progress: Progress) -> Exported:
    contexts, genes = options.selection.contexts, options.gene
    own: dict[str, Any] = {"precision": options.precision, "overwrite": options.overwrite}
    if options.feature is not None:
        store = Store(source)
        parts = profile_track(store, options.feature, genes, progress)
        return Exported(write_track(parts, out, track_lengths(store), **own))
    if len(contexts) != 1 or len(genes) > 1:
        raise InputError(
            f"{out}: a track is of one context and one gene",
            "give one `contexts`, and `gene` if the results have several; or a store and `feature`",
        )
    results = Results(source)
    recorded = options.store or place(results.attributes.store.path)
    lengths = None
    if options.store or files_at(recorded).exists() or not out.name.lower().endswith(".bedgraph"):
        lengths = track_lengths(Store(recorded))
    gene = genes[0] if genes else None
    tracks = effect_track(results, contexts[0], gene, options.per_position)
    return Exported(write_track(tracks, out, lengths, **own))
