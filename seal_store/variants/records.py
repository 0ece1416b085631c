"""Records of a VCF or BCF as they stand, with their alleles."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seal_store.variants.alleles import Allele, alleles_of, begins_bcf
from seal_store.variants.bcf import bcf_text
from seal_store.variants.lines import MAX_FIELDS, opened, whole_lines


@dataclass(frozen=True, slots=True)
class Record:
    """A line as it stands, without its end; header lines (``#``) have no alleles."""

    line: int
    text: bytes
    alleles: tuple[Allele, ...]


def read_records(path: str | Path) -> Iterator[Record]:
    """The lines of a VCF or BCF that are not empty, with the alleles of ``read_variants``.

    A BCF is read as the text that htslib makes of it, in a process of its own. Raises
    :class:`seal_store.errors.VariantError` as :func:`seal_store.variants.alleles.read_variants`
    does.
    """
    where = str(path)
    with opened(path) as handle:
        lines = bcf_text(handle, where) if begins_bcf(handle, where) else _text(handle, where)
        for number, text in lines:
            if text.startswith(b"#"):
                yield Record(number, text, ())
            elif text.strip():
                seen = text[:MAX_FIELDS].decode("utf-8", "replace")
                complete = len(text) <= MAX_FIELDS
                yield Record(number, text, tuple(alleles_of(number, seen, complete)))


def _text(handle: io.BufferedReader[Any], where: str) -> Iterator[tuple[int, bytes]]:
    for number, line in whole_lines(handle, where):
        text = line.rstrip(b"\r\n")
        yield number, text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text
