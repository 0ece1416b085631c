"""Contig names and assemblies: one chromosome under its several names, and whose lengths these are.

The table is ``resources/assemblies.tsv``: chromosomes 1-22, X, Y and MT of hg19 (GRCh37), hg38
(GRCh38) and T2T-CHM13 (v2.0) with their lengths and their RefSeq and GenBank accessions, as in
NCBI's assembly reports.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from seal_store.common.files import resource_table

UNKNOWN = "unknown"

_NAMED = (
    ("hg19", re.compile(r"\b(GRCh37|hg19|hs37\w*|b37)\b", re.I)),
    ("hg38", re.compile(r"\b(GRCh38|hg38|hs38\w*)\b", re.I)),
    ("T2T-CHM13", re.compile(r"\b(T2T-CHM13\w*|CHM13v2\w*|hs1)\b", re.I)),
)
_ALSO = {"hg19": "GRCh37", "hg38": "GRCh38", "T2T-CHM13": "CHM13v2.0"}


def resolve_contig(name: str, known: Iterable[str]) -> str | None:
    """The spelling in ``known`` of contig ``name``; None if absent.

    An exact name goes before ``chr1`` for ``1``, ``chrM`` for ``MT`` and the RefSeq and GenBank
    accessions of chromosomes. Accessions of all known assemblies count: whether they are those
    of the right one is asked with :func:`assembly_of_name`.
    """
    names = known if isinstance(known, dict | set | frozenset) else set(known)
    if name in names:
        return name
    return next((other for other in _spellings(name) if other in names), None)


@lru_cache(maxsize=4096)
def chromosome(name: str) -> str | None:
    """``1`` ... ``22``, ``X``, ``Y`` or ``MT`` for any name of a chromosome; else None."""
    if name in _accessions():
        return _accessions()[name][0][1]
    bare = name[3:] if name[:3].lower() == "chr" else name
    bare = {"M": "MT"}.get(bare.upper(), bare.upper())
    return bare if bare in _names() else None


@lru_cache(maxsize=1024)
def assembly_of_name(name: str) -> str:
    """The assembly that an accession belongs to; ``unknown`` for other names, or for several."""
    owners = {assembly for assembly, _ in _accessions().get(name, ())}
    return owners.pop() if len(owners) == 1 else UNKNOWN


def assembly_of_lengths(lengths: Mapping[str, int]) -> str:
    """``hg19``, ``hg38`` or ``T2T-CHM13``, told by the lengths in bp of contigs, or ``unknown``.

    Asked are chromosomes 1-22, X and Y, under any of their names. More of them must have the
    length of that assembly than have another one.
    """
    table = _lengths()
    votes: Counter[str] = Counter()
    for name, length in lengths.items():
        found = chromosome(name)
        if found is not None and found != "MT":
            votes[table.get((found, length), UNKNOWN)] += 1
    best = max(votes, key=lambda assembly: votes[assembly], default=UNKNOWN)
    return best if votes[best] * 2 > votes.total() else UNKNOWN


def assemblies_that_hold(positions: Mapping[str, int]) -> list[str]:
    """Assemblies whose chromosomes all reach the largest 1-based position given for them."""
    table = {(assembly, name): length for (name, length), assembly in _lengths().items()}
    largest = {chromosome(name): position for name, position in positions.items()}
    return [
        assembly
        for assembly in _ALSO
        if all(n is None or p <= table[assembly, n] for n, p in largest.items())
    ]


def assembly_of_text(text: str) -> str:
    """The one assembly that a header line names (``GRCh38.p14``, ``hg38``), or ``unknown``."""
    found = {assembly for assembly, pattern in _NAMED if pattern.search(text)}
    return found.pop() if len(found) == 1 else UNKNOWN


def called(assembly: str) -> str:
    """An assembly with its other name, for messages."""
    other = _ALSO.get(assembly)
    return f"{assembly} ({other})" if other else "an unknown assembly"


def differ(one: str, other: str) -> bool:
    """Whether two assemblies are both known and not the same."""
    return UNKNOWN not in (one, other) and one != other


@lru_cache
def _accessions() -> dict[str, list[tuple[str, str]]]:
    """(assembly, chromosome) of each accession; that of the mitochondrion is shared."""
    found: dict[str, list[tuple[str, str]]] = {}
    for row in resource_table("assemblies"):
        for accession in filter(None, (row["refseq"], row["genbank"])):
            found.setdefault(accession, []).append((row["assembly"], row["name"]))
    return found


@lru_cache
def _lengths() -> dict[tuple[str, int], str]:
    """Assembly by chromosome and length; no two have a chromosome of the same length but MT."""
    rows = resource_table("assemblies")
    return {(row["name"], int(row["length"])): row["assembly"] for row in rows}


@lru_cache
def _names() -> dict[str, list[str]]:
    """Accessions by chromosome."""
    found: dict[str, list[str]] = {}
    for accession, owners in _accessions().items():
        found.setdefault(owners[0][1], []).append(accession)
    return found


@lru_cache(maxsize=4096)
def _spellings(name: str) -> tuple[str, ...]:
    """Other names that ``name`` may go by, the likely ones first."""
    bare = name[3:] if name[:3].lower() == "chr" else name
    found = [f"chr{bare}", bare]
    common = chromosome(name)
    if common is not None:
        found += [f"chr{common}", common]
        found += ["chrM", "M"] if common == "MT" else []
        found += _names()[common]
    return tuple(dict.fromkeys(found))
