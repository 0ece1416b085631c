"""Inputs of different assemblies are refused: what headers and names say, against what is there."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from seal_store.errors import VariantError
from seal_store.reference.contigs import (
    UNKNOWN,
    assembly_of_lengths,
    assembly_of_name,
    called,
    differ,
    resolve_contig,
)

HEADER_BYTES = 64 << 20
"""Most bytes of a header that are read."""

LIFT = "lift them: seal-store score vcf --liftover CHAIN"

_CONTIG = re.compile(rb"##contig=<(.*)>")
_FIELD = re.compile(rb"(?:^|,)(ID|length)=([^,]*)")


def header_lengths(path: str | Path) -> dict[str, int]:
    """Length in bp of each contig that the header of a VCF (plain, compressed) or BCF names.

    Empty for a file without such lines, for stdin (``-``), and for a file that cannot be read:
    reading its variants says what is wrong with it.
    """
    if str(path) == "-" or not Path(path).is_file():
        return {}
    found: dict[str, int] = {}
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            for line in _header(gzip.GzipFile(fileobj=raw) if compressed else raw):
                match = _CONTIG.match(line)
                fields = dict(_FIELD.findall(match[1])) if match else {}
                length = fields.get(b"length", b"")
                if length.isdigit() and len(length) < 12:
                    found[fields.get(b"ID", b"").decode("utf-8", "replace")] = int(length)
    except (OSError, EOFError, zlib.error):
        return {}
    return found


def _header(handle: BinaryIO | gzip.GzipFile) -> list[bytes]:
    """The lines of a header that start with ``##``."""
    if handle.read(5) in (b"BCF\x02\x01", b"BCF\x02\x02"):
        size = int.from_bytes(handle.read(4), "little")
        text = handle.read(min(size, HEADER_BYTES))
        return [line for line in text.split(b"\n") if line.startswith(b"##")]
    handle.seek(0)
    lines: list[bytes] = []
    left = HEADER_BYTES
    while left > 0:
        line = handle.readline(left)
        left -= len(line)
        if not line.startswith(b"##") and not (not lines and line.startswith(b"\xef\xbb\xbf##")):
            break
        lines.append(line)
    return lines


def check_variants(
    where: str | Path,
    header: Mapping[str, int],
    assembly: str,
    lengths: Mapping[str, int],
    what: str,
    hint: str = LIFT,
) -> None:
    """Refuse variants whose header has another assembly's lengths than ``what`` has.

    ``assembly`` and ``lengths`` are those of ``what``. Raises :class:`VariantError` if both
    assemblies are known and differ, or if the header's is known and a length contradicts it.
    """
    found = assembly_of_lengths(header)
    if found in (UNKNOWN, assembly):
        return
    contradicts = any(
        (own := resolve_contig(name, lengths)) is not None and lengths[own] != length
        for name, length in header.items()
    )
    if differ(found, assembly) or contradicts:
        raise VariantError(
            f"{where}: its ##contig lines are those of {called(found)}, {what} is of "
            f"{called(assembly)}",
            hint,
        )


def check_name(contig: str, assembly: str, what: str = "the store is of") -> None:
    """Refuse an accession of another assembly than ``assembly``."""
    found = assembly_of_name(contig)
    if differ(found, assembly):
        raise VariantError(
            f"contig {contig} belongs to {called(found)}, {what} {called(assembly)}", LIFT
        )
