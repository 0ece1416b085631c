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

from seal_store.common.files import compression, file_sha256
from seal_store.common.words import listed, nearest
from seal_store.errors import VariantError
from seal_store.reference.contigs import resolve_contig
from seal_store.variants.index import find_index
from seal_store.variants.input import HEAD

MISSING, NO_COPY = -1, -2
"""In place of an allele: not called, and no such copy, as of X in a man."""

REFERENCE, LEFT_OUT, ABSENT = -1, -2, -3
"""In place of a haplotype: the genome's own bases, a gene left out, a copy that is not there."""

_NO_SET = -2_147_483_648
READ_AT_ONCE = 1 << 20
NAMED = 8
"""Samples that a message names."""


@dataclass(frozen=True)
class Call:
    """A record: ``pos`` is 1-based, ``ref`` and ``alts`` are upper case.

    ``allele`` int16 ``(samples, 2)`` has 0 for REF, ``k`` for the ``k``-th ALT, :data:`MISSING` or
    :data:`NO_COPY`; ``phased`` bool ``(samples,)``; ``phase_set`` int64 ``(samples,)``, a number
    for each set of the file, 0 for none. A record without genotypes, a sample with more than two
    copies and an allele that is none of the record's are not called.
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
        _check_bgzf(path)
        if find_index(path) is None:
            raise VariantError(
                f"{path}: has no index (.csi, .tbi) as new as it",
                f"make one with `bcftools index {path}`, or of a VCF `tabix -p vcf {path}`",
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
            raise VariantError(f"{path}: no sample {missing[0]!r}", _samples(missing[0], known))
        wanted = set(samples or known)
        self.samples = [name for name in known if name in wanted]
        self._file.set_samples(self.samples)
        self._contigs = dict.fromkeys(self._file.seqnames)
        self._sets: dict[str, int] = {}

    def has_records(self, contig: str) -> bool:
        """Whether there is any record on a contig, under any of its names."""
        name = resolve_contig(contig, self._contigs)
        return name is not None and self._next(self._file(name)) is not None

    def within(self, contig: str, first: int, last: int) -> Iterator[Call]:
        """Records that touch 1-based ``[first, last]``, in the order of the file."""
        name = resolve_contig(contig, self._contigs)
        if name is None:
            return
        records = self._file(f"{name}:{max(1, first)}-{last}")
        while (record := self._next(records)) is not None:
            yield self._call(record)

    @staticmethod
    def _next(records: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a region without records
            return next(records, None)

    def _call(self, record: Any) -> Call:
        alts = tuple(alt.upper() for alt in record.ALT)
        ref = (record.REF or "").upper()
        count = len(self.samples)
        allele, own = np.full((count, 2), NO_COPY, np.int16), np.zeros(count, np.int64)
        if "GT" not in record.FORMAT:  # cyvcf2 fails on what is not there
            return Call(record.POS, ref, alts, np.full_like(allele, MISSING), own > 0, own)
        called = record.genotype.array()
        copies = min(2, called.shape[1] - 1)
        allele[:, :copies] = called[:, :copies]
        # a bare "." says nothing of how many copies there are
        allele[(allele[:, 0] == MISSING) & (allele[:, 1] == NO_COPY), 1] = MISSING
        allele[(called[:, 2:-1] != NO_COPY).any(1)] = MISSING
        allele[allele > len(alts)] = MISSING
        if "PS" in record.FORMAT:
            own = self._phase_sets(record.format("PS"))
        return Call(record.POS, ref, alts, allele, called[:, -1].astype(bool), own)

    def _phase_sets(self, values: Any) -> np.ndarray:
        """A number for each sample's set, which is a number or, as its header may have it, text."""
        if values is None:
            return np.zeros(len(self.samples), np.int64)
        names = values[:, 0] if values.dtype.kind == "i" else values
        none = {str(_NO_SET), "", "."}
        return np.array(
            [
                0 if name in none else self._sets.setdefault(name, len(self._sets) + 1)
                for name in map(str, names.tolist())
            ],
            np.int64,
        )


def _check_bgzf(path: Path) -> None:
    """Raise :class:`VariantError` for a file that is not in blocks, so that none can be found."""
    with path.open("rb") as file:
        kind = compression(file.read(HEAD))
    if kind == "bgzf":
        return
    if kind == "gzip":
        what, how = "gzip but not BGZF", f"`gunzip -c {path} | bgzip > NEW.vcf.gz`"
    else:
        what, how = "not in BGZF", f"`bgzip -c {path} > NEW.vcf.gz`"
    raise VariantError(
        f"{path}: {what}, which alone can have an index",
        f"make one that is: {how}, then `tabix -p vcf NEW.vcf.gz`",
    )


def _samples(name: str, known: Sequence[str]) -> str:
    """What to give instead of a sample that is not there."""
    if set(filter(None, name.split(","))) <= set(known):
        return "give `samples` for each of several, or a file with one a line"
    return f"{nearest(name, known)}the file has {listed(known, NAMED)}"


def whole_sha256(path: Path) -> str:
    """Read a whole file; its SHA-256. Raises :class:`VariantError` if it is damaged."""
    try:
        with gzip.open(path, "rb") as handle:
            while handle.read(READ_AT_ONCE):
                pass
        return file_sha256(path)
    except (OSError, EOFError, zlib.error) as error:
        raise VariantError(f"{path}: cannot be read ({error})", "copy it again") from None
