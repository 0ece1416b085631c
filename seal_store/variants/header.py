"""A VCF's header: declarations and their fields, contigs, the assembly it names, the columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from seal_store.errors import VariantError, printable
from seal_store.reference.contigs import UNKNOWN, assembly_of_text

COLUMNS = b"#CHROM POS ID REF ALT QUAL FILTER INFO".split()
"""The fixed columns; FORMAT and samples may follow."""

_LINE = re.compile(rb"##(\w+)=<(.*)>")
_FIELD = re.compile(rb'(?:^|,)([^,=]++)=("(?:[^"\\]|\\.?)*+"?|[^,]*+)')


def declaration(line: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The kind of a line ``##KIND=<KEY=VALUE,...>`` and its fields; nothing for another line."""
    found = _LINE.match(line)
    return (found[1], dict(_FIELD.findall(found[2]))) if found else (b"", {})


def contigs(lines: Iterable[bytes]) -> list[dict[bytes, bytes]]:
    """The fields of each ``##contig`` line."""
    return [fields for kind, fields in map(declaration, lines) if kind == b"contig"]


def contig_lengths(lines: Iterable[bytes]) -> dict[str, int]:
    """Length in bp of each contig that has one."""
    lengths = {}
    for fields in contigs(lines):
        length = fields.get(b"length", b"")
        if length.isdigit() and len(length) < 12:
            lengths[fields.get(b"ID", b"").decode("utf-8", "replace")] = int(length)
    return lengths


def named_assembly(lines: Sequence[bytes]) -> str:
    """The assembly that ``##reference`` or most ``assembly=`` of contigs name, or ``unknown``."""
    for line in lines:
        if line.startswith(b"##reference=") and (found := _assembly(line[12:])) != UNKNOWN:
            return found
    votes = Counter(_assembly(fields.get(b"assembly", b"")) for fields in contigs(lines))
    return max(votes, key=lambda name: votes[name], default=UNKNOWN)


def _assembly(text: bytes) -> str:
    return assembly_of_text(text.decode("utf-8", "replace"))


def column_names(line: bytes, where: str) -> list[bytes]:
    """The columns that a line ``#CHROM...`` names: fixed ones, FORMAT, samples.

    White space of any kind separates the fixed ones, and samples too unless a tab stands before
    the first: their names may have spaces then. Raises :class:`VariantError` naming ``where`` if
    another column stands among the fixed ones; fewer of them are taken as they are.
    """
    fixed = [*COLUMNS, b"FORMAT"]
    names = line.split(None, len(fixed))
    own = names[: len(fixed)]
    if own != fixed[: len(own)]:
        odd = next(name for name, column in zip(own, fixed, strict=False) if name != column)
        raise VariantError(
            f"{where}: the header has {printable(odd.decode('utf-8', 'replace'))} where VCF has "
            f"{fixed[own.index(odd)].decode()}",
            "the eight fixed columns are CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO",
        )
    if len(names) == len(own):
        return own
    samples = names[-1]
    by_tabs = line[: len(line) - len(samples)].endswith(b"\t")
    return own + (samples.rstrip(b"\t").split(b"\t") if by_tabs else samples.split())
