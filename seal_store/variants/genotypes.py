"""Phased genotypes of a VCF or BCF with an index: which alleles each copy carries.

cyvcf2 ends a region at a damaged block as if it were the end of the file, so the whole file is to
be read once before, by :func:`whole_sha256`: whatever is cut off or damaged is an error.
"""

from __future__ import annotations

import gzip
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.files import file_sha256
from seal_store.errors import VariantError
from seal_store.reference.contigs import resolve_contig
from seal_store.variants.index import find_index

MISSING, NO_COPY = -1, -2
"""In place of an allele: not called, and no such copy, as of X in a man."""

REFERENCE, LEFT_OUT, ABSENT = -1, -2, -3
"""In place of a haplotype: the genome's own bases, a gene left out, a copy that is not there."""

_NO_SET = -2_147_483_648
READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Call:
    """A record: ``pos`` is 1-based, ``ref`` and ``alts`` are upper case.

    ``allele`` int16 ``(samples, 2)`` has 0 for REF, ``k`` for the ``k``-th ALT, :data:`MISSING` or
    :data:`NO_COPY`; ``phased`` bool ``(samples,)``; ``phase_set`` int64 ``(samples,)``, 0 for none.
    """

    pos: int
    ref: str
    alts: tuple[str, ...]
    allele: np.ndarray
    phased: np.ndarray
    phase_set: np.ndarray


class Genotypes:
    """Genotypes of ``samples``, by default of all, in the order of the file."""

    def __init__(self, path: Path, samples: Sequence[str] = ()) -> None:
        """Raises :class:`VariantError` for a file without index or a sample, or that is none."""
        if not path.is_file():
            raise VariantError(f"{path}: not found", "check the path")
        if find_index(path) is None:
            raise VariantError(
                f"{path}: has no index (.csi, .tbi) as new as it",
                f"make one with `bcftools index {path}`",
            )
        from cyvcf2 import VCF

        self.path = path
        try:
            self._file = VCF(str(path))
        except Exception as error:  # what cyvcf2 raises for a header that is cut off
            raise VariantError(f"{path}: cannot be read ({error})", "copy it again") from None
        known = list(self._file.samples)
        if not known:
            raise VariantError(f"{path}: has no samples", "give a file with genotypes")
        if missing := [name for name in samples if name not in known]:
            raise VariantError(f"{path}: no sample {missing[0]!r}", "its header names them")
        wanted = set(samples or known)
        self.samples = [name for name in known if name in wanted]
        self._file.set_samples(self.samples)
        self._contigs = dict.fromkeys(self._file.seqnames)

    def within(self, contig: str, first: int, last: int) -> Iterator[Call]:
        """Records that touch 1-based ``[first, last]``, in the order of the file."""
        name = resolve_contig(contig, self._contigs)
        if name is None:
            return
        records = self._file(f"{name}:{max(1, first)}-{last}")
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a region without records
                record = next(records, None)
            if record is None:
                return
            if record.genotype is not None:
                yield _call(record)


def _call(record: Any) -> Call:
    called = record.genotype.array()
    sets = record.format("PS") if "PS" in record.FORMAT else None  # cyvcf2 fails on what is not
    allele = np.full((len(called), 2), NO_COPY, np.int16)
    copies = min(2, called.shape[1] - 1)
    allele[:, :copies] = called[:, :copies]
    own = np.zeros(len(called), np.int64)
    if sets is not None and sets.dtype.kind == "i":
        own = np.where(sets[:, 0] == _NO_SET, 0, sets[:, 0]).astype(np.int64)
    alts = tuple(alt.upper() for alt in record.ALT)
    ref = (record.REF or "").upper()
    return Call(record.POS, ref, alts, allele, called[:, -1].astype(bool), own)


def whole_sha256(path: Path) -> str:
    """Read a whole file; its SHA-256. Raises :class:`VariantError` if it is damaged."""
    try:
        with gzip.open(path, "rb") as handle:
            while handle.read(READ_AT_ONCE):
                pass
        return file_sha256(path)
    except (OSError, EOFError, zlib.error) as error:
        raise VariantError(f"{path}: cannot be read ({error})", "copy it again") from None
