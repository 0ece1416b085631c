"""INFO fields of an annotated VCF: their declarations, and their values for a record.

Each field has one entry for each ALT allele (``Number=A``). Where an allele has rows for several
genes their values are joined by ``|``, in the same order in every field. Reserved characters in
names are percent-encoded as in VCF 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.results.view import View, strongest
from seal_store.store.layout import SOURCE
from seal_store.variants.alleles import Allele

PREFIX = "SEAL_"
_RESERVED = re.compile(r"[^!-~]|[%:;=,|&]")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the results: an allele against one gene."""

    key: tuple[int, str, str, str, int]
    contig: str
    gene: str
    symbol: str
    distance: int
    match: bool
    status: str
    source: str
    effect: np.ndarray


def encode(text: str) -> str:
    """Percent-encode what separates values in an INFO field, and all but printable ASCII."""
    return _RESERVED.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), text)


class Fields:
    """The INFO fields: their declarations and their values."""

    def __init__(
        self, view: View, top: int, precision: int, reason: Callable[[Allele], str]
    ) -> None:
        self.view, self.top, self.reason = view, top, reason
        self._number = f"%.{precision}g"
        self._names = [encode(label) for label in view.labels]
        attributes = view.results.attributes
        self._single = attributes.genes == "nearest" or attributes.gene is not None
        self._chosen = field_names(view.labels) if view.selection.contexts else []
        is_sourced = SOURCE.name in view.results.more_columns
        names = ("GENE", "SYMBOL", "DIST", *(["SOURCE"] * is_sourced), "MAX", "TOP")
        self._of_rows = (*names, *self._chosen)

    def header(self) -> list[bytes]:
        """Lines of the header, without line ends."""
        made = self.view.results.attributes
        unit = "ln(expression + pseudocount)"
        several = "" if self._single else ", | between genes"
        number, whole = ("Float", "Integer") if self._single else ("String", "String")
        top = f"The {self.top} strongest contexts and effects as context:effect, & between contexts"
        status = (
            "scored, swapped (REF and ALT exchanged), alt_is_reference, outside_grid (touches no "
            "window), or why not scored"
        )
        fields = [
            ("GENE", "String", f"Gene scored against{several}"),
            ("SYMBOL", "String", f"Symbol of the gene{several}"),
            ("DIST", whole, f"POS - TSS of the gene in bp{several}"),
            ("SOURCE", "String", f"Where the effects are from: atlas or computed{several}"),
            ("MAX", "Float", f"Effect of largest size over contexts and genes, {unit}"),
            ("TOP", "String", f"{top}{several}"),
            ("STATUS", "String", f"{status}{several}"),
            ("REF_MISMATCH", "Flag", "REF differs from the store's genome"),
        ]
        if "SOURCE" not in self._of_rows:
            fields = [field for field in fields if field[0] != "SOURCE"]
        for name, label in zip(self._chosen, self.view.labels, strict=False):
            fields.append((name, number, f"Effect on {label}, {unit}{several}"))
        facts = {
            "version": made.software["seal-store"],
            "store": made.store.sha256,
            "assembly": made.store.assembly,
            "scheme": made.scheme,
            "command": made.command,
        }
        lines = [f"##{PREFIX}{name}={_one_line(value)}" for name, value in facts.items()]
        for name, kind, meaning in fields:
            count = 0 if kind == "Flag" else "A"
            text = _one_line(meaning).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(
                f'##INFO=<ID={PREFIX}{name},Number={count},Type={kind},Description="{text}">'
            )
        return [line.encode() for line in lines]

    def info(self, groups: Sequence[tuple[Allele, list[Row]]]) -> bytes:
        """The value of INFO for one record."""
        status = [
            "|".join(row.status for row in rows) or encode(self.reason(allele) or "not_scored")
            for allele, rows in groups
        ]
        found: list[tuple[str, Sequence[str]]] = [("STATUS", status)]
        if any(rows for _, rows in groups):
            per_allele = [self._values(rows) for _, rows in groups]
            found = [*zip(self._of_rows, zip(*per_allele, strict=True), strict=True), *found]
        text = ";".join(f"{PREFIX}{name}={','.join(values)}" for name, values in found)
        if any(not row.match for _, rows in groups for row in rows):
            text += f";{PREFIX}REF_MISMATCH"
        return text.encode()

    def _values(self, rows: Sequence[Row]) -> list[str]:
        """Values of one allele, in the order of the fields."""
        if not rows:
            return ["."] * len(self._of_rows)
        effect = np.stack([row.effect for row in rows])
        order = strongest(effect, self.top)
        number = self._number
        largest = effect.ravel()[np.abs(effect).argmax()] if effect.size else 0.0
        top = [
            "&".join(f"{self._names[i]}:{number % values[i]}" for i in places)
            for places, values in zip(order.tolist(), effect.tolist(), strict=True)
        ]
        chosen = effect.T.tolist() if self._chosen else []
        return [
            "|".join(encode(row.gene) for row in rows),
            "|".join(encode(row.symbol) or "." for row in rows),
            "|".join(str(row.distance) for row in rows),
            *(["|".join(row.source for row in rows)] if "SOURCE" in self._of_rows else []),
            number % largest,
            "|".join(top),
            *("|".join(number % value for value in values) for values in chosen),
        ]


def field_names(labels: Sequence[str]) -> list[str]:
    """Names of INFO fields for contexts: letters, digits and ``_``, each only once."""
    taken = {"GENE", "SYMBOL", "DIST", "SOURCE", "MAX", "TOP", "STATUS", "REF_MISMATCH"}
    names = []
    for label in labels:
        plain = name = re.sub(r"[^0-9A-Za-z_]", "_", label)
        count = 1
        while name in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name)
        names.append(name)
    return names


def _one_line(text: str) -> str:
    return " ".join(text.split())
