"""Scores on standard output while they are computed: the VCF annotated, or a table.

Nothing is kept and nothing can be resumed: a filter between other programs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import IO, Any, cast

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError
from seal_store.exporting.bcf import BcfWriter
from seal_store.exporting.info import Fields
from seal_store.exporting.lines import Writer
from seal_store.exporting.losses import undeclared
from seal_store.exporting.render import TOP_IN_VCF, Exported, Form, check_selection
from seal_store.exporting.tsv import write_tsv
from seal_store.exporting.vcf import annotate_stream, check_input
from seal_store.results.attributes import ResultsAttributes
from seal_store.results.group import result_attributes
from seal_store.results.heading import heading_of
from seal_store.results.view import View
from seal_store.run.watch import Watch
from seal_store.scoring.assign import Counts
from seal_store.scoring.rows import Rows
from seal_store.scoring.source import RowSource
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles

FORMATS = ("vcf", "tsv", "bcf")


class Computed:
    """Results that are being computed, as far as a view asks for them."""

    def __init__(
        self, scorer: RowSource, alleles: Alleles, command: str, progress: Progress, watch: Watch
    ) -> None:
        self.scorer, self.alleles, self.progress, self.watch = scorer, alleles, progress, watch
        facts = result_attributes(scorer.provenance(), replace(alleles, source=None), command)
        self.attributes = ResultsAttributes.parse({**facts, "counts": Counts().to_dict()})
        self.more_columns = tuple(e.name for e in heading_of(scorer, alleles.columns).columns)
        self.is_calibrated = scorer.calibration is not None

    def contexts(self) -> tuple[list[str], list[str]]:
        """Names of the contexts and of their head sets."""
        return self.scorer.context_name, self.scorer.context_set

    def batches(self) -> Iterator[Rows]:
        """All rows, a chunk of alleles at a time."""
        return (rows for _, rows in self.score(self.alleles))

    def score(self, alleles: Iterator[Allele]) -> Iterator[tuple[int, Rows]]:
        """Rows of ``alleles`` chunk by chunk, each with the number of alleles it is of."""
        counts = self.scorer.counts
        before = counts.alleles
        for rows in self.scorer.score(
            Alleles.of(alleles, self.alleles.name), progress=self.progress
        ):
            self.watch(counts)
            yield counts.alleles - before, rows
            before = counts.alleles


def stream_scores(
    scorer: RowSource,
    alleles: Alleles,
    out: IO[bytes],
    kind: str = "vcf",
    *,
    form: Form,
    command: str = "",
    watch: Watch,
    progress: Progress = silent,
) -> Exported:
    """Score ``alleles`` and write them to ``out`` as ``kind``, one of :data:`FORMATS`.

    ``form.vcf`` is what is annotated; a BCF needs an ``out`` with a descriptor. ``watch`` is asked
    after each chunk of alleles. Memory does not grow with the input. Raises :class:`InputError`
    for options that do not fit, and :class:`BrokenPipeError` when nobody reads ``out`` any more.
    """
    if scorer.attributor is not None:
        raise InputError("`out` -: has no room for attributions", "name it .zarr")
    results = Computed(scorer, alleles, command, progress, watch)
    view = View(results, form.selection)
    if kind == "tsv":
        text = io.TextIOWrapper(cast(Any, out), "utf-8", newline="\n", write_through=True)
        try:
            return Exported(write_tsv(view, text, precision=form.precision))
        finally:
            text.detach()
    check_selection(form.selection)
    if form.vcf is None:
        raise InputError("`out` -: an annotated VCF repeats its input, which must be one")
    if kind == "bcf":
        require("htslib", "writing BCF")
    check_input(form.vcf)
    fields = Fields(view, form.selection.top or TOP_IN_VCF, form.precision, scorer.reader.reason)
    more = undeclared(form.vcf) if kind == "bcf" and form.vcf.is_file else ()
    writer = Writer(fields, form.vcf, more, is_bcf=kind == "bcf")
    with ExitStack() as stack:
        sink = stack.enter_context(BcfWriter(out, form.vcf.name)) if kind == "bcf" else out
        annotate_stream(view, form.vcf, results.score, sink, writer)
    return Exported(writer.done.records, writer.done.notes(), "records")
