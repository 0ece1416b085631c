"""Variants of one assembly brought to the assembly of a store, by a chain file.

Positions on chains are 0-based here. "Source" is the assembly of the variants, "target" that of
the store. (The chain format calls the former target and the latter query.)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from seal_store.common.extras import require
from seal_store.common.files import file_sha256
from seal_store.errors import LiftoverError, VariantError
from seal_store.reference.assembly import check_name, check_variants
from seal_store.reference.contigs import (
    UNKNOWN,
    assembly_of_lengths,
    called,
    differ,
    resolve_contig,
)
from seal_store.reference.fasta import reverse_complement
from seal_store.store.layout import LIFTED
from seal_store.store.store import Store
from seal_store.variants.alleles import SCORABLE, SWAPPED, Allele, Origin, classify, trim
from seal_store.variants.bases import StoreBases
from seal_store.variants.input import Input
from seal_store.variants.source import Alleles

LINE_BYTES = 4_096
HINT = "give a .chain or .chain.gz file in UCSC's format"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a base of the source stands on the target."""

    contig: str
    start: int
    forward: bool


class Lifter:
    """Lifts alleles by a chain file onto the genome of ``store``, one by one or a stream of them.

    If the target has an allele's ALT, it is swapped (:class:`seal_store.variants.alleles.Origin`).

    The target's bases are those that the store has: the 45 kb around each computed gene. An
    allele elsewhere is lifted without being compared to them; it gets no score anyway. Raises
    :class:`LiftoverError` if the file is missing, damaged or of other assemblies.
    """

    def __init__(self, chain: str | Path, store: Store) -> None:
        require("liftover", "lifting variants over")
        self.path = Path(chain)
        self.sources, targets = _sizes(self.path)
        _check_target(self.path, targets, store)
        self._chain = _open(self.path)
        self._assembly = assembly_of_lengths(self.sources)
        self._store_bases = StoreBases(store)

    def lift(self, alleles: Alleles) -> Alleles:
        """The same alleles on the target, with their origin; results name the chain file."""
        facts = {"chain": self.path.name, "sha256": file_sha256(self.path)}
        return replace(alleles, stream=map(self, alleles), columns=LIFTED, liftover=facts)

    def check_variants(self, where: str | Path, header: Mapping[str, int]) -> None:
        """Refuse variants whose ``##contig`` lines are of another assembly than the chain's."""
        check_variants(
            where,
            header,
            self._assembly,
            self.sources,
            f"what {self.path} lifts from",
            "give a chain file from their assembly to the store's",
        )

    def __call__(self, allele: Allele) -> Allele:
        """The allele on the target; one that cannot be lifted has a ``kind`` that says why.

        These kinds are ``liftover_unmapped``, ``liftover_ambiguous``, ``liftover_split`` and
        ``liftover_gap``.
        """
        if allele.end:
            return replace(allele, end=0, problem="structural variants are not lifted over")
        if allele.kind not in SCORABLE:
            return allele
        check_name(allele.contig, self._assembly, f"{self.path} lifts from")
        contig = resolve_contig(allele.contig, self.sources)
        if contig is None:
            return replace(allele, kind="liftover_unmapped", problem="no chain from this contig")
        if len(allele.ref) == len(allele.alt):
            return self._same_length(allele, contig)
        return self._indel(allele, contig)

    def _same_length(self, allele: Allele, contig: str) -> Allele:
        """SNVs and MNVs: every base of REF has its place, one beside the other."""
        start = allele.pos - 1
        place = self._stretch(contig, start, start + len(allele.ref))
        if isinstance(place, str):
            return replace(allele, kind=place)
        ref, alt = allele.ref, allele.alt
        if not place.forward:
            ref, alt = _reverse(ref), _reverse(alt)
        own = self._bases(place.contig, place.start, place.start + len(ref))
        swapped = own == alt
        return _lifted(allele, place, place.start + 1, ref, alt, swapped=swapped)

    def _indel(self, allele: Allele, contig: str) -> Allele:
        """Indels: between the places of the bases beside the change stands REF, or ALT.

        Aligned bases on both sides are asked for as far as the indel could be shifted: within a
        repeat the chain may have its gap at another end than the variant.
        """
        change = trim(allele.pos, allele.ref, allele.alt)
        prefix = change.start - allele.pos + 1
        ref, alt = allele.ref[prefix : prefix + change.length], change.alt
        before = self._stretch(contig, change.start - max(prefix, 1), change.start)
        after = self._base(contig, change.end)
        if isinstance(before, str) or isinstance(after, str):
            reason = before if isinstance(before, str) else str(after)
            return replace(allele, kind="liftover_gap" if "unmapped" in reason else reason)
        if (before.contig, before.forward) != (after.contig, after.forward):
            return replace(allele, kind="liftover_split")
        if before.forward:
            start, end = before.start + max(prefix, 1), after.start
        else:
            start, end = after.start + 1, before.start
            ref, alt = _reverse(ref), _reverse(alt)
        if not start <= end <= start + max(len(ref), len(alt)):
            return replace(allele, kind="liftover_gap")
        own = self._bases(before.contig, start, end)
        swapped = own == alt if own is not None else end - start == len(alt)
        if not swapped and end - start != len(ref):
            return replace(allele, kind="liftover_gap")
        back, on = 0, 0
        if own in (ref, alt) and not (ref and alt):  # bases that are not there have one place
            back, on = self._shifts(before.contig, start, end, ref or alt)
        if not swapped:
            ahead, behind = (back, on) if before.forward else (on, back)
            around = change.start - 1 - ahead, change.end + 1 + behind
            if isinstance(self._stretch(contig, *around), str):
                return replace(allele, kind="liftover_gap")
        if before.forward:
            pos = start - prefix + 1
            return _lifted(allele, before, pos, allele.ref, allele.alt, swapped=swapped)
        if ref and alt:
            return _lifted(allele, before, start + 1, ref, alt, swapped=swapped)
        start -= back  # leftmost, and after its anchor, as VCF has it
        anchor = (self._bases(before.contig, start - 1, start + back) or "N").ljust(back + 1, "N")
        ref, alt = ((anchor[1:] + part)[: len(part)] for part in (ref, alt))
        ref, alt = anchor[0] + ref, anchor[0] + alt
        return _lifted(allele, before, start, ref, alt, swapped=swapped)

    def _shifts(self, contig: str, start: int, end: int, unit: str) -> tuple[int, int]:
        """How far to the left and to the right ``unit`` could stand just as well."""
        size = 2 * len(unit) + 200
        left = self._bases(contig, start - size, start)
        right = self._bases(contig, end, end + size)
        if left is None or right is None:
            return 0, 0
        return _shift(left[::-1], unit[::-1]), _shift(right, unit)

    def _bases(self, contig: str, start: int, end: int) -> str | None:
        """The target's bases ``[start, end)``, None where the store has not all of them."""
        return self._store_bases(contig, start + 1, end)

    def _stretch(self, contig: str, start: int, end: int) -> _Place | str:
        """Where ``[start, end)`` stands if it does so in one piece, else why not."""
        first = self._base(contig, start)
        if isinstance(first, str):
            return first
        step = 1 if first.forward else -1
        for i in range(1, end - start):
            place = self._base(contig, start + i)
            if isinstance(place, str):
                return place
            expected = _Place(first.contig, first.start + i * step, first.forward)
            if place != expected:
                return "liftover_split"
        if first.forward:
            return first
        return _Place(first.contig, first.start - (end - start) + 1, forward=False)

    def _base(self, contig: str, position: int) -> _Place | str:
        """Where a base stands; why not, if it does so nowhere or in several places."""
        if position < 0:
            return "liftover_unmapped"
        found = set(self._chain.query(contig, position))
        if not found:
            return "liftover_unmapped"
        if len(found) > 1:
            return "liftover_ambiguous"
        name, start, strand = found.pop()
        return _Place(name, start, strand == "+") if start >= 0 else "liftover_unmapped"


def _lifted(
    allele: Allele, place: _Place, pos: int, ref: str, alt: str, *, swapped: bool
) -> Allele:
    """``allele`` on the target, where ``ref`` and ``alt`` are its own or, if swapped, exchanged."""
    kind = classify(ref, alt) if "N" not in ref else allele.kind
    if swapped:
        ref, alt = alt, ref
    note = (SWAPPED if swapped else "lifted") + ("" if place.forward else "_reverse")
    origin = Origin(allele, note, swapped, lifted=True)
    return Allele(allele.line, place.contig, pos, allele.id, ref, alt, kind, origin=origin)


def _shift(bases: str, unit: str) -> int:
    """How many bases a change by ``unit`` can be shifted along ``bases`` without a difference."""
    differs = (i for i, base in enumerate(bases) if base != unit[i % len(unit)])
    return next(differs, len(bases))


def _reverse(bases: str) -> str:
    return reverse_complement(bases.encode("ascii")).decode("ascii")


def _open(path: Path) -> Any:
    from liftover import ChainFile

    try:
        return ChainFile(str(path))
    except (ValueError, RuntimeError, OSError) as error:
        problem = (str(error).splitlines() or ["damaged"])[0][:120]
        raise LiftoverError(f"{path}: not a chain file ({problem})", HINT) from error


def _sizes(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Lengths in bp of the source's and of the target's contigs, from the chains' headers.

    Raises :class:`LiftoverError` with file and line for a header that is not as it should be.
    """
    sources: dict[str, int] = {}
    targets: dict[str, int] = {}
    if not path.is_file():
        raise LiftoverError(f"chain file not found: {path}", "check the path")
    try:
        with Input(path).opened(0) as handle:
            for number, line in enumerate(iter(partial(handle.readline, LINE_BYTES), b""), 1):
                if len(line) == LINE_BYTES:
                    raise LiftoverError(f"{path}:{number}: too long a line", HINT)
                if line.startswith(b"chain"):
                    _header(f"{path}:{number}", line, sources, targets)
    except (VariantError, OSError, EOFError, zlib.error) as error:
        raise LiftoverError(f"{path}: cannot be read ({error})", "copy it again") from error
    if not sources:
        raise LiftoverError(f"{path}: no chain in it", HINT)
    return sources, targets


def _header(where: str, line: bytes, sources: dict[str, int], targets: dict[str, int]) -> None:
    """Take a chain's header: ``chain score``, five fields of each side, ``id``."""
    fields = line.decode("utf-8", "replace").split()
    if len(fields) != 13 or fields[4] != "+" or fields[9] not in ("+", "-"):
        raise LiftoverError(f"{where}: not a chain's header", HINT)
    for sizes, (name, *numbers) in ((sources, fields[2:7]), (targets, fields[7:12])):
        size, start, end = (_integer(numbers[i], where) for i in (0, 2, 3))
        if sizes.setdefault(name, size) != size or not 0 <= start <= end <= size:
            raise LiftoverError(f"{where}: {name[:40]} {start}-{end} does not fit its length", HINT)


def _integer(text: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise LiftoverError(f"{where}: {text[:40]!r} is not a position", HINT)
    return int(text)


def _check_target(path: Path, targets: Mapping[str, int], store: Store) -> None:
    """Refuse a chain to another genome than the store's."""
    lengths = store.attributes.genome.contigs
    own, found = store.attributes.assembly, assembly_of_lengths(targets)
    hint = "give a chain file to the store's assembly; its name ends in To and that assembly"
    if differ(own, found):
        raise LiftoverError(f"{path} lifts to {called(found)}, the store is {called(own)}", hint)
    for name, length in lengths.items():
        other = resolve_contig(name, targets)
        if other is not None and targets[other] != length and UNKNOWN in (own, found):
            raise LiftoverError(
                f"{path} lifts to {other} of {targets[other]} bp, the store's {name} has "
                f"{length} bp",
                hint,
            )
