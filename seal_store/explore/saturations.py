"""Pages of saturations: asked for, going on, and drawn."""

from __future__ import annotations

from typing import Any

from seal_store import charts
from seal_store.explore.asked import Asked
from seal_store.explore.genes import Genes
from seal_store.explore.pages import Figure, Page, address
from seal_store.explore.task import SPANS, Job, Saturations, Wanted
from seal_store.scoring.options import SCHEMES
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import sequence_start

SPAN = 30
"""Bases to either side that are taken unless another number is given."""


class SaturationViews:
    """What is asked of saturations; the same address asks, watches and shows."""

    def __init__(self, jobs: Saturations, genes: Genes) -> None:
        self.jobs, self.genes = jobs, genes

    def page(self, asked: Asked) -> Page:
        """The form, the progress, or the chart."""
        if not asked.text("gene"):
            chosen = {"gene": "", "center": "", "span": SPAN, "scheme": "", "contexts": ""}
            values = {"gene": None, "job": None, "chosen": chosen}
            return Page("saturation.html", {"title": "Saturation", **values})
        wanted, contexts = self.wanted(asked), asked.text("contexts")
        job = self.jobs.get(wanted)
        figures = []
        if job is not None and job.data is not None:
            spec = charts.saturation(job.data, (contexts,) if contexts else ())
            figures = [Figure("saturation", spec.to_dict(validate=False))]
        gene = self.genes.of(wanted.gene_id)
        chosen = self.chosen(wanted, contexts)
        return Page(
            "saturation.html",
            {
                "title": f"Saturation of {gene.contig}:{wanted.center:,}",
                "gene": gene,
                "job": job,
                "chosen": chosen,
                "alleles": 3 * (2 * wanted.span + 1),
                "status": address("/saturation/status", **chosen),
                "figures": figures,
            },
        )

    def wanted(self, asked: Asked) -> Wanted:
        """What is asked for. Raises :class:`InputError` where it is not possible."""
        gene = self.genes.of(asked.text("gene"))
        self.genes.store.gene(gene.gene_id)  # raises if it was not computed
        first = sequence_start(gene.tss) + 1
        center = asked.whole("center", gene.tss, first, first + SEQUENCE_LENGTH - 1)
        span = asked.whole("span", SPAN, *SPANS)
        return Wanted(gene.gene_id, center, span, asked.one_of("scheme", SCHEMES))

    def chosen(self, wanted: Wanted, contexts: str) -> dict[str, Any]:
        """The values that ask for it."""
        return {
            "gene": wanted.gene_id,
            "center": wanted.center,
            "span": wanted.span,
            "scheme": wanted.scheme,
            "contexts": contexts,
        }

    def start(self, asked: Asked) -> str:
        """Begin; the address of its page."""
        wanted = self.wanted(asked)
        self.jobs.start(wanted)
        return address("/saturation", **self.chosen(wanted, asked.text("contexts")))

    def cancel(self, asked: Asked) -> str:
        """Stop; the address of its page."""
        wanted = self.wanted(asked)
        self.jobs.cancel(wanted)
        return address("/saturation", **self.chosen(wanted, asked.text("contexts")))

    def status(self, asked: Asked) -> dict[str, Any]:
        """How far it is."""
        job: Job | None = self.jobs.get(self.wanted(asked))
        return {"state": "unknown", "done": 0, "total": 0} if job is None else job.facts()
