"""Pages of results: their rows by page, a row's stored effects, and charts of many rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store import charts
from seal_store.charts.base import Scores
from seal_store.errors import InputError
from seal_store.explore.asked import Asked
from seal_store.explore.pages import Figure, Page, address
from seal_store.explore.views import Views, rows_of
from seal_store.results.group import Results
from seal_store.results.view import largest, strongest
from seal_store.scoring.assign import reasons
from seal_store.scoring.rows import Rows

if TYPE_CHECKING:
    import xarray as xr

PAGE = 25
MOST_SORTED = 200_000
"""Rows that are looked through for the strongest effects."""
MOST_DRAWN = 5_000
"""Rows whose effects are read for a chart."""
SORTS = ("input", "strongest")


class Listing:
    """Rows of ``results``, read in bounded parts."""

    def __init__(self, results: Results, views: Views) -> None:
        self.results, self.views = results, views
        names, sets = results.contexts()
        self.pairs = list(zip(sets, names, strict=True))

    @cached_property
    def _data(self) -> xr.Dataset:
        return self.results.to_xarray()

    @cached_property
    def _genes(self) -> tuple[np.ndarray, np.ndarray]:
        """Id and symbol of each row."""
        ids = self.results.labels("gene_id")
        has_symbol = "gene_symbol" in self.results.more_columns
        return ids, self.results.labels("gene_symbol") if has_symbol else ids

    @cached_property
    def _largest(self) -> np.ndarray:
        """The largest effect of each row, either sign; float32."""
        return largest(self.results)

    def _chosen(self, gene: str) -> np.ndarray:
        """Rows of a gene, or all."""
        if not gene:
            return np.arange(len(self.results))
        ids, symbols = self._genes
        found = ids == gene
        return np.flatnonzero(found if found.any() else symbols == gene)

    def page(self, asked: Asked) -> Page:
        """A page of rows."""
        gene, sort = asked.text("gene"), asked.one_of("sort", SORTS)
        rows = self._chosen(gene)
        if sort == "strongest":
            if len(self.results) > MOST_SORTED:
                raise InputError(
                    f"{len(self.results):,} rows: more than {MOST_SORTED:,} are not sorted here",
                    "`seal-store export RESULTS strong.tsv --min-effect X` keeps the strong ones",
                )
            rows = rows[np.argsort(-self._largest[rows], kind="stable")]
        last = max(1, -(-len(rows) // PAGE))
        page = asked.whole("page", 1, 1, last)
        counts = self.results.attributes.counts
        shown = self._read(rows[(page - 1) * PAGE : page * PAGE])
        figures = []
        if 0 < len(rows) <= MOST_DRAWN:
            figures = [Figure("locus", source=address("/chart/locus", gene=gene))]
        return Page(
            "results.html",
            {
                "title": "Results",
                "made": self.results.attributes,
                "path": self.results.path.name,
                "gene": gene,
                "sort": sort,
                "sorts": SORTS,
                "rows": shown,
                "total": len(rows),
                "page": page,
                "last": last,
                "missed": reasons(counts.not_scored, counts.examples),
                "figures": figures,
                "most_drawn": MOST_DRAWN,
            },
        )

    def _read(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """What the table shows of some rows."""
        if not len(rows):
            return []
        found, first, last = [], int(rows[0]), int(rows[-1]) + 1
        together = last - first == len(rows) and bool((np.diff(rows) == 1).all())
        block = self.results.rows(first, last) if together else None
        for i, row in enumerate(rows.tolist()):
            own = _one(block, i) if block else self.results.rows(row, row + 1)
            columns = {name: values[0] for name, values in own.columns.items()}
            plain = {k: v.item() if hasattr(v, "item") else v for k, v in columns.items()}
            name = ":".join(str(plain[key]) for key in ("contig", "pos", "ref", "alt"))
            best = int(strongest(own.effect, 1)[0, 0])
            more = {
                "row": row,
                "name": name,
                "symbol": plain.get("gene_symbol", ""),
                "context": self.pairs[best][1],
                "effect": float(own.effect[0, best]),
            }
            if "quantile" in own.calibrated:
                more["quantile"] = float(own.calibrated["quantile"][0, best])
            found.append(plain | more)
        return found

    def row(self, asked: Asked) -> Page:
        """A row, from what is stored."""
        row = asked.whole("row", 0, 0, max(0, len(self.results) - 1))
        data = self._data.isel(variant=[row]).load()
        (facts,) = rows_of(Scores(data))
        values = self.views.shown(data, 0, asked, facts)
        targets: list[str] = []
        if "attribution" in data:
            targets = Scores(data).texts("target_name")
            target = asked.one_of("target", targets)
            source = address("/chart/attribution", row=row, target=target)
            values["figures"] = [*values["figures"], Figure("attribution", source=source)]
            values["target"] = target
        contexts = asked.text("contexts")
        same = self.results.attributes.store.sha256 == self.views.store.sha256
        more = {"row": row, "targets": targets, "contexts": contexts, "same": same}
        return Page("row.html", {**values, **more})

    def attribution(self, asked: Asked) -> dict[str, Any]:
        """The chart of a row's attributions."""
        row = asked.whole("row", 0, 0, max(0, len(self.results) - 1))
        data = self._data.isel(variant=[row]).load()
        chart = charts.attribution(data, 0, target=asked.text("target") or None)
        found: dict[str, Any] = chart.to_dict(validate=False)
        return found

    def locus(self, asked: Asked) -> dict[str, Any]:
        """The chart of the rows of a gene, or of all."""
        rows = self._chosen(asked.text("gene"))
        if len(rows) > MOST_DRAWN:
            raise InputError(f"{len(rows):,} rows: more than {MOST_DRAWN:,} are not drawn here")
        data = self._data[["effect", *(n for n in ("quantile",) if n in self._data)]]
        chart = charts.locus(data.isel(variant=rows).load())
        found: dict[str, Any] = chart.to_dict(validate=False)
        return found


def _one(rows: Rows, i: int) -> Rows:
    part = slice(i, i + 1)
    columns, calibrated = (
        {name: values[part] for name, values in arrays.items()}
        for arrays in (rows.columns, rows.calibrated)
    )
    return Rows(columns, rows.effect[part], calibrated=calibrated)
