"""What all charts share: where they are from, what they are called, colours, inline data.

Altair is imported where a chart is made, so that without the extra ``plot`` the rest works.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.common.extras import require
from seal_store.errors import InputError, printable
from seal_store.model.contexts import select_contexts
from seal_store.reference.contigs import resolve_contig
from seal_store.results.group import Results
from seal_store.variants.notation import plain_fields

if TYPE_CHECKING:
    import altair as alt
    import xarray as xr

    Effects = xr.Dataset | Results | str | os.PathLike[str]

UNIT = "ln(expression + pseudocount)"
SYNTHETIC = "SYNTHETIC weights: no biological meaning"
DOWN, NONE, UP = "#2166ac", "#f7f7f7", "#b2182b"
"""Blue, near white, red of ColorBrewer's RdBu: told apart in all common colour blindness."""
BASES = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"}
"""Of Okabe and Ito's palette for colour blindness; A green, C blue, G orange, T red as is usual."""
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#f0e442", "#666")
"""Okabe and Ito's others."""


def altair() -> Any:
    """The library. Raises :class:`~seal_store.errors.MissingExtraError` without it."""
    require("plot", "a chart")
    import altair

    return altair


@dataclass(frozen=True)
class Scores:
    """Effects to chart: ``data`` as :func:`seal_store.score` and ``Results.to_xarray`` give it."""

    data: xr.Dataset

    @staticmethod
    def of(effects: Effects) -> Scores:
        """From a dataset, opened results, or where they are."""
        if isinstance(effects, str | os.PathLike):
            effects = Results(effects)
        return Scores(effects.to_xarray() if isinstance(effects, Results) else effects)

    def fact(self, name: str) -> Any:
        """An attribute of the results: nested ones are JSON in a dataset."""
        found = self.data.attrs.get(name)
        try:
            return json.loads(found) if isinstance(found, str) else found
        except ValueError:
            return found

    def about(self) -> list[str]:
        """Lines that say what was computed from what."""
        store = self.fact("store") or {}
        name = Path(str(store.get("path", ""))).name
        lines = [
            f"scheme {self.fact('scheme')}, store {name}, sha256 {store.get('sha256', '')[:12]}"
        ]
        return [*lines, SYNTHETIC] if store.get("synthetic") else lines

    def contexts(self, wanted: str | Sequence[str] = ()) -> np.ndarray:
        """Positions of contexts by name or query. Raises :class:`HeadsError`."""
        wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        return select_contexts(self.pairs(), wanted)

    def pairs(self) -> list[tuple[str, str]]:
        """Head set and name of each context."""
        return list(zip(self.texts("context_set"), self.texts("context_name"), strict=True))

    def texts(self, name: str) -> list[str]:
        """A column of strings."""
        return [str(value) for value in self.data[name].values.tolist()]

    def names(self) -> np.ndarray:
        """``CONTIG:POS:REF:ALT`` of each row, POS 1-based."""
        columns = (self.texts(name) for name in ("contig", "pos", "ref", "alt"))
        return np.array([":".join(parts) for parts in zip(*columns, strict=True)], object)

    def row(self, variant: str | int | None = None, gene: str | None = None) -> int:
        """The row of a ``variant``, as ``CONTIG:POS:REF:ALT`` or its number, against a ``gene``.

        Rows are counted from 0. Other notations that name all four are understood too.
        Raises :class:`InputError` if it is not exactly one.
        """
        if isinstance(variant, int | np.integer) and not isinstance(variant, bool):
            if not -len(self.data.pos) <= variant < len(self.data.pos):
                raise InputError(f"`variant` {variant}: there are {len(self.data.pos)} rows")
            return int(variant) % len(self.data.pos)
        fits = np.ones(len(self.data.pos), bool)
        if variant is not None:
            fits &= self.names() == self._named(str(variant))
        if gene is not None:
            fits &= self.of_gene(gene)
        rows = np.flatnonzero(fits)
        if len(rows) != 1:
            what = "`variant`" if variant is None else f"`variant` {printable(str(variant))}"
            found = f"{len(rows)} rows fit" if len(rows) else "is not among the rows"
            raise InputError(
                f"{what}: {found}",
                "name one as CONTIG:POS:REF:ALT, and its `gene` if it has several",
            )
        return int(rows[0])

    def _named(self, variant: str) -> str:
        """A variant as written, as :meth:`names` has it; a contig under any of its names."""
        contig, *rest = plain_fields(variant) or (variant,)
        own = resolve_contig(contig, set(self.texts("contig"))) or contig
        return ":".join((own, *(field.upper() for field in rest)))

    def of_gene(self, gene: str) -> np.ndarray:
        """Which rows are of a gene, by id or symbol."""
        found = np.array(self.texts("gene_id"), object) == gene
        if not found.any() and "gene_symbol" in self.data:
            found = np.array(self.texts("gene_symbol"), object) == gene
        if not found.any():
            raise InputError(f"`gene` {printable(gene)}: no row is of it")
        return found

    def title(self, row: int) -> str:
        """A row in words."""
        at = {name: self.data[name].values[row] for name in ("gene_id", "dist_to_tss")}
        symbol = str(self.data.gene_symbol.values[row]) if "gene_symbol" in self.data else ""
        gene = (
            f"{symbol} ({at['gene_id']})" if symbol and symbol != at["gene_id"] else at["gene_id"]
        )
        return f"{short(self.names()[row])}, {gene}, {int(at['dist_to_tss']):+,} bp from its TSS"


def short(text: str, most: int = 60) -> str:
    """Text for a title: printable, with its middle left out if it is long."""
    text = printable(text)
    half = most // 2 - 1
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


class _Name(str):
    """The name of a table in a chart. It takes the table along to :func:`filled`."""

    rows: list[dict[str, Any]]


def inline(rows: Iterable[Mapping[str, Any]]) -> alt.NamedData:
    """Data of a chart; numbers of NumPy become Python's.

    Altair copies and checks what a chart holds at each step, which for thousands of rows takes
    seconds. So it is given a name, and :func:`filled`, the last step, the rows.
    """
    plain = [{key: _plain(value) for key, value in row.items()} for row in rows]
    text = json.dumps(plain, sort_keys=True)
    name = _Name(f"data-{sha256(text.encode()).hexdigest()[:16]}")
    name.rows = plain
    found: alt.NamedData = altair().NamedData(name=name)
    return found


def _tables(node: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Names and rows of the data in a specification."""
    if isinstance(node, dict):
        for value in node.values():
            yield from _tables(value)
    elif isinstance(node, list):
        for value in node:
            yield from _tables(value)
    elif isinstance(node, _Name):
        yield str(node), node.rows


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def titled(chart: Any, title: str, lines: Sequence[str], description: str) -> Any:
    """``chart`` with its title, the small lines below it, and words in place of the picture."""
    params = altair().TitleParams(
        title, subtitle=list(lines), anchor="start", fontSize=14, subtitleFontSize=11, offset=12
    )
    found = chart.properties(title=params, description=description)
    found = found.configure_view(stroke=None).configure_axis(
        labelLimit=240, labelFlush=False, titleFontWeight="normal"
    )
    return filled(found)


def filled(chart: Any) -> Any:
    """``chart`` with the rows of its data, see :func:`inline`."""
    tables = dict(_tables(chart.to_dict(validate=False)))
    if tables:
        chart.datasets = tables
    return chart


def signed(most: float, title: str = f"effect, {UNIT}") -> Any:
    """The colour of an effect: symmetric about 0, up to ``most`` either way."""
    alt = altair()
    most = most or 1e-9
    scale = alt.Scale(domain=[-most, 0, most], range=[DOWN, NONE, UP], interpolate="lab")
    legend = alt.Legend(
        title=title, orient="bottom", gradientLength=240, format=".2g", titleLimit=400
    )
    return alt.Color("effect:Q", scale=scale, legend=legend)
