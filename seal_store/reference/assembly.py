"""Inputs of different assemblies are refused: what headers and names say, against what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seal_store.errors import VariantError
from seal_store.reference.contigs import (
    UNKNOWN,
    assembly_of_lengths,
    assembly_of_name,
    called,
    differ,
    resolve_contig,
)

LIFT = "lift them: seal-store score vcf --liftover CHAIN"


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
