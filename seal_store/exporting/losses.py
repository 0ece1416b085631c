"""What BCF cannot hold of a VCF's lines, and what it needs declared."""

from __future__ import annotations

import re
from collections.abc import Sequence

from seal_store.errors import printable
from seal_store.variants.header import declaration
from seal_store.variants.source import Record, VariantSource

_INTEGER = rb"[+-]?\d+"
_FLOAT = rb"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|(?i:nan|inf|infinity))"
_LISTS = {
    kind: re.compile(rb"(?:%b|\.)?(?:,(?:%b|\.)?)*" % (number, number))
    for kind, number in ((b"Integer", _INTEGER), (b"Float", _FLOAT))
}
"""Values of INFO by their declared type; of others htslib makes ``.`` or keeps a part, silently."""


class Losses:
    """Finds what htslib would change in silence. ``header`` has the lines of the VCF's header."""

    def __init__(self, header: Sequence[bytes]) -> None:
        declared = [own for kind, own in map(declaration, header) if kind == b"INFO"]
        lists = {own.get(b"ID", b""): _LISTS.get(own.get(b"Type", b"")) for own in declared}
        self._lists = {name: list_of for name, list_of in lists.items() if list_of}

    def of(self, record: Record, columns: Sequence[bytes], width: int) -> str:
        """What is wrong with ``record`` under a header of ``width`` columns; empty if nothing."""
        if not record.has_place:
            return f"malformed ({record.alleles[0].problem})"
        if any(columns[width:]):
            return f"{len(columns)} columns where the header has {width}"
        quality, _, info, *_ = (*columns[5:8], b".", b".", b".")
        try:
            if quality not in (b".", b""):
                float(quality)
        except ValueError:
            return "QUAL is not a number"
        for item in info.split(b";"):
            name, _, value = item.partition(b"=")
            if (list_of := self._lists.get(name)) and not list_of.fullmatch(value):
                shown = printable(item[:80].decode("utf-8", "replace"))
                return f"INFO {shown} is not of the type that the header declares"
        return ""


def undeclared(vcf: VariantSource) -> list[bytes]:
    """Declarations of what the records of ``vcf`` use and its header lacks, as BCF needs them."""
    declared: set[tuple[bytes, bytes]] = {(b"FILTER", b"PASS"), (b"FILTER", b"."), (b"INFO", b".")}
    declared |= {(kind, own.get(b"ID", b"")) for kind, own in map(declaration, vcf.header)}
    lines = []

    def need(kind: bytes, name: bytes, rest: bytes) -> None:
        if name and (kind, name) not in declared:
            declared.add((kind, name))
            lines.append(b"##%b=<ID=%b%b>" % (kind, name, rest))

    flag, note = b",Number=0,Type=Flag", b',Description="not declared in the input"'
    for record in vcf.records():
        line = record.text
        columns = line.split(b"\t") if b"\t" in line else line.split()
        if not record.has_place:
            continue
        filters, info, form = (*columns[6:9], b"", b"", b"")[:3]
        need(b"contig", columns[0], b"")
        for name in filters.split(b";"):
            need(b"FILTER", name, note)
        for item in info.split(b";"):
            name, value, _ = item.partition(b"=")
            need(b"INFO", name, (b",Number=.,Type=String" if value else flag) + note)
        for name in form.split(b":"):
            one = b"1" if name == b"GT" else b"."
            need(b"FORMAT", name, b",Number=" + one + b",Type=String" + note)
    return lines
