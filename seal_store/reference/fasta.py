"""Sequence: FASTA access, one-hot encoding, fingerprints.

Coordinates here are 0-based and half-open.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyfaidx

from seal_store.common.extras import require
from seal_store.common.files import compression
from seal_store.errors import GenomeError
from seal_store.reference.contigs import assembly_of_lengths, resolve_contig
from seal_store.reference.fai import check_fai, check_line_ends, is_index

BASES = b"AGCT"
"""Row order of the one-hot encoding: the complement is a row flip, the reverse a column flip."""

ONE_HOT = np.zeros((256, 4), np.float32)
for _row, _base in enumerate(BASES):
    ONE_HOT[_base, _row] = ONE_HOT[_base | 0x20, _row] = 1.0
"""Row of each ASCII code: float32 ``(256, 4)``."""

_COMPLEMENT = bytes.maketrans(b"ACGT", b"TGCA")


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


class Genome:
    """A FASTA file with random access: plain, or compressed with bgzip (needs the extra htslib).

    Its ``.fai`` (and ``.gzi``) are used if they are not older than the FASTA; one that does not
    fit it is an error. Otherwise they are made, and put beside it if that folder can be written
    to and nothing but an older index has the name. ``lengths`` has the length in bp of
    each contig. Raises :class:`GenomeError` if the file is missing, empty or not FASTA.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise GenomeError(f"genome FASTA not found: {path}", "check `genome`")
        self._aside: TemporaryDirectory[str] | None = None
        try:
            self._open()
        except BaseException:
            self._clean()
            raise
        if not self.lengths:
            self.close()
            raise GenomeError(f"{path}: no sequence in this FASTA", "check `genome`")

    def _open(self) -> None:
        compressed = _is_bgzf(self.path)
        suffixes = (".fai", ".gzi") if compressed else (".fai",)
        beside = [self.path.with_name(self.path.name + suffix) for suffix in suffixes]
        age = self.path.stat().st_mtime
        fresh = all(p.is_file() and p.stat().st_mtime >= age for p in beside)
        opened = _Bgzf if compressed else _Plain
        try:
            if fresh:
                check_fai(self.path, beside[0], compressed=compressed)
                self._fasta: _Plain | _Bgzf = opened(self.path, beside)
            else:
                self._aside = _writable_near(self.path)
                made = [Path(self._aside.name) / p.name for p in beside]
                if not compressed:
                    check_line_ends(self.path)
                self._fasta = opened(self.path, made)
                self._keep(made, beside)
        except (pyfaidx.FastaIndexingError, ValueError) as error:
            hint = f"remove {beside[0].name} if it belongs to another file" if fresh else ""
            raise GenomeError(
                f"{self.path}: cannot be indexed as FASTA: {_first_line(error)}",
                hint or "give a whole FASTA, plain or compressed with bgzip",
            ) from error
        except OSError as error:
            raise GenomeError(
                f"{self.path}: {_first_line(error)}",
                "check the file and its .fai index, and the space for temporary files",
            ) from error
        self.lengths: dict[str, int] = self._fasta.lengths

    def _keep(self, made: list[Path], beside: list[Path]) -> None:
        """Put a new index beside the FASTA; where that is not possible it stays a temporary one."""
        if not all(map(is_index, beside)):
            return
        try:
            for source, target in zip(made, beside, strict=True):
                source.replace(target)
        except OSError:
            return
        self._clean()

    def fetch(self, contig: str, start: int, end: int) -> bytes:
        """Upper-case bases ``[start, end)`` of ``contig``; N beyond the contig's ends.

        Raises :class:`GenomeError` for a contig that is not in the file under any of its names.
        """
        name = self.resolve(contig)
        if name is None:
            raise GenomeError(f"{self.path}: no contig {contig!r}", "check the assembly")
        inner_start, inner_end = max(start, 0), min(end, self.lengths[name])
        if inner_start >= inner_end:
            return b"N" * (end - start)
        try:
            bases = self._fasta.fetch(name, inner_start, inner_end)
        except (OSError, ValueError) as error:
            raise GenomeError(
                f"{self.path}: {name} cannot be read ({_first_line(error)})",
                "the file is damaged, or its .fai and .gzi belong to another one",
            ) from error
        if len(bases) != inner_end - inner_start:
            raise GenomeError(
                f"{self.path}: {name} ends at {inner_start + len(bases)}, before its .fai says",
                "the FASTA is truncated or the .fai belongs to another file",
            )
        return b"N" * (inner_start - start) + bases.encode("ascii") + b"N" * (end - inner_end)

    def resolve(self, contig: str) -> str | None:
        """This file's spelling of ``contig``, see :func:`resolve_contig`; None if absent."""
        return resolve_contig(contig, self.lengths)

    @property
    def assembly(self) -> str:
        """``hg19``, ``hg38`` or ``T2T-CHM13``, by the lengths of chromosomes; or ``unknown``."""
        return assembly_of_lengths(self.lengths)

    def close(self) -> None:
        """Close the file."""
        self._fasta.close()
        self._clean()

    def _clean(self) -> None:
        if self._aside is not None:
            self._aside.cleanup()

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Plain:
    """An uncompressed FASTA; the index is made if it is not there."""

    def __init__(self, path: Path, index: list[Path]) -> None:
        self._fasta = pyfaidx.Faidx(
            str(path), str(index[0]), as_raw=True, sequence_always_upper=True, rebuild=False
        )
        self.lengths = {name: record.rlen for name, record in self._fasta.index.items()}

    def fetch(self, name: str, start: int, end: int) -> str:
        return str(self._fasta.fetch(name, start + 1, end))

    def close(self) -> None:
        self._fasta.close()


class _Bgzf:
    """A FASTA compressed with bgzip; the index is made if it is not there."""

    def __init__(self, path: Path, index: list[Path]) -> None:
        require("htslib", f"{path}: a compressed FASTA")
        import pysam
        from pysam.utils import SamtoolsError

        before = pysam.set_verbosity(0)  # htslib would print a second message
        try:
            fai, gzi = map(str, index)
            if not index[0].exists() or not index[1].exists():
                pysam.faidx(str(path), "--fai-idx", fai, "--gzi-idx", gzi)
            self._fasta = pysam.FastaFile(
                str(path), filepath_index=fai, filepath_index_compressed=gzi
            )
        except SamtoolsError as error:
            raise ValueError(
                "not FASTA with lines of equal length, or the file is damaged"
            ) from error
        finally:
            pysam.set_verbosity(before)
        names, lengths = self._fasta.references, self._fasta.lengths
        if len(set(names)) < len(names):
            raise ValueError("a contig stands in it twice")
        self.lengths: dict[str, int] = dict(zip(names, lengths, strict=True))

    def fetch(self, name: str, start: int, end: int) -> str:
        return str(self._fasta.fetch(name, start, end)).upper()

    def close(self) -> None:
        self._fasta.close()


def _is_bgzf(path: Path) -> bool:
    """Whether a file is compressed with bgzip. Raises for gzip, which has no random access."""
    try:
        with path.open("rb") as handle:
            kind = compression(handle.read(18))
    except OSError as error:
        raise GenomeError(f"{path}: cannot be read: {error.strerror}", "check `genome`") from error
    if kind == "gzip":
        raise GenomeError(
            f"{path}: compressed with gzip, which has no random access",
            f"recompress it with bgzip: gunzip -c {path.name} | bgzip > NEW.fa.gz",
        )
    return kind == "bgzf"


def _writable_near(path: Path) -> TemporaryDirectory[str]:
    """A temporary folder beside ``path``, so that a rename ends there, or anywhere else."""
    try:
        return TemporaryDirectory(dir=path.parent, prefix=".seal-store-index-")
    except OSError:
        return TemporaryDirectory(prefix="seal-store-index-")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
