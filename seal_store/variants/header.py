"""Declarations in a VCF's header: their fields, and the lengths of contigs."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
