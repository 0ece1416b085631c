"""Pages of a store: what it is, its genes, and a variant as it is typed."""

from __future__ import annotations

from typing import Any

from seal_store import charts
from seal_store.charts.base import Scores
from seal_store.charts.links import place_links, variant_links
from seal_store.charts.profile import GROUPS
from seal_store.errors import InputError
from seal_store.explore.asked import Asked
from seal_store.explore.contexts import lines
from seal_store.explore.engine import Engine
from seal_store.explore.genes import Gene, Genes
from seal_store.explore.maps import effect_map
from seal_store.explore.pages import Figure, Page, address
from seal_store.scoring.assign import REASONS
from seal_store.scoring.calibration import source_of
from seal_store.scoring.options import GENE_CHOICES, SCHEMES
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import sequence_start

SHOWN, PAGE = 20, 50
"""Contexts that a table begins with, and genes of a page."""
LINE, BLOCK = 60, 10
"""Bases of a line of sequence, and of a block of it."""
LINES = 6


class Views:
    """Pages of one store; each takes what was asked for and gives a page.

    They raise :class:`~seal_store.errors.SealStoreError` where that is wrong.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store = engine, engine.store
        self.genes = Genes(self.store)
        names, sets = (column.tolist() for column in self.store.contexts())
        self.pairs = list(zip(sets, names, strict=True))

    def home(self, asked: Asked) -> Page:
        """What the store is, and where to begin."""
        made = self.store.attributes
        facts = {
            "genome": f"{made.genome.file}, assembly {made.assembly}",
            "genes": f"{len(self.store):,} of {len(self.genes):,} in {made.gene_table.file}",
            "contexts": ", ".join(f"{own.name} ({own.contexts})" for own in made.heads),
            "features": f"{self.store.config.features:,} in {self.store.grid.bins} windows of "
            f"{self.store.grid.window:,} bp",
            "calibrated": ", ".join(made.calibration) or "no",
            "SHA-256": self.store.sha256,
        }
        values = {"title": "Store", "facts": facts, "example": self.engine.example}
        # the script that draws is big: a browser has it before the first chart is asked for
        return Page("home.html", {**values, "draws_next": True})

    def find(self, asked: Asked) -> Page | str:
        """Genes that are called as typed, page by page; the address of the only one."""
        typed = asked.text("q")
        page = asked.whole("page", 1, 1, 10**6)
        found, total = self.genes.find(typed, (page - 1) * PAGE, PAGE)
        if total == 1 and typed and found:
            return address("/gene", id=found[0].gene_id)
        values = {"title": "Genes", "typed": typed, "found": found, "total": total}
        return Page("genes.html", {**values, "page": page, "last": max(1, -(-total // PAGE))})

    def gene(self, asked: Asked) -> Page:
        """A gene: facts, chromatin profile, predicted expression, sequence."""
        gene = self.genes.of(asked.text("id"))
        position = self.store.gene(gene.gene_id)  # raises if it was not computed
        by = asked.one_of("by", ("", *GROUPS))
        first = sequence_start(gene.tss) + 1
        at = asked.whole("at", gene.tss, first, first + SEQUENCE_LENGTH - 1)
        marked = at if asked.text("at") else None
        contexts = asked.text("contexts")
        values = self.store.expression(gene.gene_id)
        shown, total = lines(self.pairs, values, contexts, self._most(asked), by_size=False)
        return Page(
            "gene.html",
            {
                "title": gene.name,
                "gene": gene,
                "position": position,
                "by": by,
                "groups": GROUPS,
                "at": at,
                "links": place_links(self.store.attributes.assembly, gene.contig, gene.tss),
                "figures": [self._profile(gene, marked, by)],
                "lines": shown,
                "total": total,
                "contexts": contexts,
                "sequence": self._sequence(gene, at),
            },
        )

    def _most(self, asked: Asked) -> int | None:
        return None if asked.one_of("top", ("some", "all")) == "all" else SHOWN

    def _sequence(self, gene: Gene, at: int) -> list[list[tuple[int, str]]]:
        """Lines of blocks around ``at``, each its first position (1-based) and bases."""
        bases = self.store.sequence(gene.gene_id).tobytes().decode("ascii")
        begin = sequence_start(gene.tss) + 1
        first = max(begin, at - LINES * LINE // 2)
        first -= (first - begin) % BLOCK
        blocks = [
            (pos, bases[pos - begin : pos - begin + BLOCK])
            for pos in range(first, min(first + LINES * LINE, begin + len(bases)), BLOCK)
        ]
        each = LINE // BLOCK
        return [blocks[i : i + each] for i in range(0, len(blocks), each)]

    def variant(self, asked: Asked) -> Page:
        """Effects of a typed variant on all contexts; of several rows the one asked for."""
        typed = asked.text("v")
        genes, scheme = asked.one_of("genes", GENE_CHOICES), asked.one_of("scheme", SCHEMES)
        contexts = asked.text("contexts")
        chosen = {"v": typed, "genes": genes, "scheme": scheme, "contexts": contexts}
        if not typed:
            return Page("variant.html", {"title": "Variant", "chosen": chosen, "rows": []})
        scored = self.engine.score(typed, genes, scheme)
        data = scored.data
        rows = rows_of(Scores(data))
        missed = [(REASONS.get(reason, reason), own) for reason, own in scored.not_scored.items()]
        values: dict[str, Any] = {"chosen": chosen, "rows": rows, "missed": missed}
        if not rows:
            return Page("variant.html", {**values, "title": typed})
        row = asked.whole("row", 0, 0, len(rows) - 1)
        return Page("variant.html", values | self.shown(data, row, asked, rows[row]))

    def shown(self, data: Any, row: int, asked: Asked, facts: dict[str, Any]) -> dict[str, Any]:
        """What a page shows of a row of ``data``: map, contexts, profile, links."""
        scores, contexts = Scores(data), asked.text("contexts")
        measures = {name: data[name].values[row] for name in ("quantile", "z") if name in data}
        found, total = lines(
            scores.pairs(), data.effect.values[row], contexts, self._most(asked), **measures
        )
        figures = [Figure("effects", effect_map(scores, row))]
        gene = facts["gene_id"]
        if gene in self.store.gene_position:
            figures.append(self._profile(self.genes.of(gene), facts["pos"]))
        where = (facts["contig"], facts["pos"], facts["ref"], facts["alt"])
        return {
            "title": facts["name"],
            "row": row,
            "facts": facts,
            "lines": found,
            "total": total,
            "calibrated": "quantile" in data,
            "scheme": scores.fact("scheme"),
            "among": {
                "scheme": scores.fact("scheme"),
                "name": (scores.fact("calibration") or {}).get("name", ""),
                "kind": facts["kind"],
                "distance": abs(facts["dist_to_tss"]),
            },
            "links": variant_links(self.store.attributes.assembly, *where),
            "figures": figures,
        }

    def _profile(self, gene: Gene, position: int | None, by: str = "") -> Figure:
        """The profile, fetched later; a click on a window leads to its sequence."""
        source = address("/chart/profile", id=gene.gene_id, by=by, position=position)
        leads = address("/gene", id=gene.gene_id, by=by, at="POSITION") + "#sequence"
        direction = 1 if gene.strand == "+" else -1
        return Figure("profile", source=source, leads=leads, origin=(gene.tss, direction))

    def profile(self, asked: Asked) -> dict[str, Any]:
        """The chart of a gene's profile."""
        gene = self.genes.of(asked.text("id"))
        by = asked.one_of("by", ("", *GROUPS))
        position = asked.whole("position", 0, 0, 10**10) or None
        return _spec(charts.profile(self.store, gene.gene_id, by=by, position=position))

    def calibration(self, asked: Asked) -> Page:
        """An effect on a context within the background's."""
        names = ("context", "effect", "scheme", "name", "kind", "distance")
        chosen = {name: asked.text(name) for name in names}
        source = address("/chart/calibration", **chosen)
        values = {"chosen": chosen, "figures": [Figure("calibration", source=source)]}
        self.calibrated(asked)  # raises here rather than in the chart
        return Page("calibration.html", {"title": "Calibration", **values})

    def calibrated(self, asked: Asked) -> dict[str, Any]:
        """The chart of it."""
        context, scheme = asked.text("context"), asked.one_of("scheme", SCHEMES)
        if not context:
            raise InputError("no `context` is named", "choose one from the table of a variant")
        name, kind = asked.text("name"), asked.text("kind") or None
        if source_of(self.store, scheme, name) is None:
            raise InputError(f"the store has no calibration {name} for scheme {scheme}")
        far = asked.whole("distance", 0, 0, 10**10) if asked.text("distance") else None
        effect = asked.number("effect")
        return _spec(charts.calibration(self.store, context, effect, scheme, name, kind, far))


def _spec(chart: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart.to_dict(validate=False)
    return found


def rows_of(scores: Scores) -> list[dict[str, Any]]:
    """What a table shows of each row, as plain Python; ``pos`` is 1-based."""
    columns = ("contig", "pos", "ref", "alt", "kind", "gene_id", "dist_to_tss", "status")
    data, names = scores.data, scores.names().tolist()
    found = []
    for i, name in enumerate(names):
        row = {column: data[column].values[i] for column in (*columns, "ref_match")}
        row = {key: value.item() if hasattr(value, "item") else value for key, value in row.items()}
        symbol = str(data.gene_symbol.values[i]) if "gene_symbol" in data else ""
        found.append({**row, "name": name, "symbol": symbol})
    return found
