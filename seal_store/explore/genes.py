"""Finding genes by what is typed of their symbol or id, among the whole gene table of a store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seal_store.store.store import Store


@dataclass(frozen=True)
class Gene:
    """A gene of the table. ``tss`` is 1-based; ``status`` ``computed``, or why it was not."""

    gene_id: str
    symbol: str
    kind: str
    contig: str
    tss: int
    strand: str
    status: str

    @property
    def name(self) -> str:
        """Symbol, or id where there is none."""
        return self.symbol or self.gene_id

    @property
    def is_computed(self) -> bool:
        """Whether the store has its profile."""
        return self.status == "computed"


class Genes:
    """The genes of ``store``, looked up without regard to case."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def _names(self) -> list[tuple[str, str]]:
        table = self.store.table
        pairs = zip(table.gene_id.tolist(), table.symbol.tolist(), strict=True)
        return [(id_.casefold(), symbol.casefold()) for id_, symbol in pairs]

    def __len__(self) -> int:
        return len(self.store.table)

    def at(self, row: int) -> Gene:
        """The gene of a row of the table."""
        table = self.store.table
        columns = (table.gene_id, table.symbol, table.gene_type, table.contig)
        id_, symbol, kind, contig = (str(column[row]) for column in columns)
        strand = "+" if table.strand[row] > 0 else "-"
        status = str(self.store.table_status[row])
        return Gene(id_, symbol, kind, contig, int(table.tss[row]), strand, status)

    def of(self, name: str) -> Gene:
        """A gene by id or symbol. Raises :class:`~seal_store.errors.GeneTableError`."""
        return self.at(self.store.table.row(name))

    def find(self, typed: str, start: int = 0, most: int = 50) -> tuple[list[Gene], int]:
        """Genes whose id or symbol holds ``typed``, and how many there are.

        Whole names come first, then beginnings, then the rest, each in the order of the table;
        from ``start``, at most ``most``. All genes where nothing is typed.
        """
        wanted = typed.strip().casefold()
        ranked: list[list[int]] = [[], [], []]
        for row, names in enumerate(self._names):
            if wanted in names:
                ranked[0].append(row)
            elif any(name.startswith(wanted) for name in names):
                ranked[1].append(row)
            elif any(wanted in name for name in names):
                ranked[2].append(row)
        rows = [row for own in ranked for row in own]
        return [self.at(row) for row in rows[start : start + most]], len(rows)
