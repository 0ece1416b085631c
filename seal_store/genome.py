"""Sequence: FASTA access, contig names, one-hot encoding, fingerprints.

Coordinates here are 0-based and half-open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyfaidx

from seal_store.errors import GenomeError

BASES = b"AGCT"
"""Row order of the one-hot encoding: the complement is a row flip, the reverse a column flip."""

ONE_HOT = np.zeros((256, 4), np.float32)
for _row, _base in enumerate(BASES):
    ONE_HOT[_base, _row] = ONE_HOT[_base | 0x20, _row] = 1.0
"""Row of each ASCII code: float32 ``(256, 4)``."""

_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")

_CHR1_LENGTHS = {249_250_621: "hg19", 248_956_422: "hg38", 248_387_328: "T2T-CHM13"}


def one_hot(sequence: bytes | np.ndarray) -> np.ndarray:
    """Encode bases as float32 ``(4, n)``, rows A, G, C, T.

    ``sequence`` is ASCII, as bytes or as a uint8 array ``(..., n)`` (then the result is
    ``(..., 4, n)``). Case does not matter; anything else than A, C, G, T is an all-zero column.
    """
    codes = np.frombuffer(sequence, np.uint8) if isinstance(sequence, bytes) else sequence
    return np.ascontiguousarray(np.moveaxis(ONE_HOT[codes], -1, -2))


def reverse_complement(sequence: bytes) -> bytes:
    """Reverse complement of upper-case ASCII bases; letters other than A, C, G, T stay."""
    return sequence.translate(_COMPLEMENT)[::-1]


def resolve_contig(name: str, known: Iterable[str]) -> str | None:
    """The spelling in ``known`` of contig ``name``, with or without ``chr``; None if absent."""
    names = known if isinstance(known, dict | set | frozenset) else set(known)
    for candidate in (name, f"chr{name}", name.removeprefix("chr")):
        if candidate in names:
            return candidate
    return None


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class Genome:
    """A FASTA file with random access (a ``.fai`` index is written beside it if missing).

    Raises :class:`GenomeError` if the file is missing, empty or not FASTA.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise GenomeError(f"genome FASTA not found: {path}", "check --genome")
        try:
            self._fasta = pyfaidx.Faidx(str(self.path), as_raw=True, sequence_always_upper=True)
        except (
            pyfaidx.FastaIndexingError,
            pyfaidx.UnsupportedCompressionFormat,
            ValueError,
            ImportError,
        ) as error:
            raise GenomeError(
                f"{path}: cannot be indexed as FASTA: {_first_line(error)}",
                "give an uncompressed FASTA; remove a .fai that does not belong to it",
            ) from error
        except OSError as error:
            raise GenomeError(
                f"{path}: {_first_line(error)}",
                "the folder must be writable once, for the .fai index (or run samtools faidx)",
            ) from error
        self.lengths: dict[str, int] = {n: r.rlen for n, r in self._fasta.index.items()}
        if not self.lengths:
            self.close()
            raise GenomeError(f"{path}: no sequence in this FASTA", "check --genome")

    def fetch(self, contig: str, start: int, end: int) -> bytes:
        """Upper-case bases ``[start, end)`` of ``contig``; N beyond the contig's ends.

        Raises :class:`GenomeError` for a contig that is not in the file (with or without
        ``chr``).
        """
        name = self.resolve(contig)
        if name is None:
            raise GenomeError(f"{self.path}: no contig {contig!r}", "check the assembly")
        inner_start, inner_end = max(start, 0), min(end, self.lengths[name])
        if inner_start >= inner_end:
            return b"N" * (end - start)
        bases = str(self._fasta.fetch(name, inner_start + 1, inner_end))
        if len(bases) != inner_end - inner_start:
            raise GenomeError(
                f"{self.path}: {name} ends at {inner_start + len(bases)}, before its .fai says",
                "the FASTA is truncated or the .fai belongs to another file",
            )
        return b"N" * (inner_start - start) + bases.encode("ascii") + b"N" * (end - inner_end)

    def resolve(self, contig: str) -> str | None:
        """This file's spelling of ``contig``, with or without ``chr``; None if absent."""
        return resolve_contig(contig, self.lengths)

    @property
    def assembly(self) -> str:
        """``hg19``, ``hg38`` or ``T2T-CHM13``, told by the length of chr1; else ``unknown``."""
        name = self.resolve("chr1")
        return _CHR1_LENGTHS.get(self.lengths[name], "unknown") if name else "unknown"

    def close(self) -> None:
        """Close the file."""
        self._fasta.close()

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
