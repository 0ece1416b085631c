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
GO_ON = f"{LIFT}; or go on with `check_assembly=False`"
ONLY_HEADER = f"{GO_ON}, as where they are lifted and the header is the old one"


def check_variants(
    where: str | Path,
    header: Mapping[str, int],
    assembly: str,
    lengths: Mapping[str, int],
    what: str,
    hint: str = LIFT,
    named: str = UNKNOWN,
) -> list[str]:
    """Refuse variants whose header is of another assembly than ``what``.

    ``header`` has the lengths in bp of its contigs, ``named`` is the assembly that it names;
    ``assembly`` and ``lengths`` are those of ``what``. Returns the contigs of another length than
    in ``what``, where others have the same: as b37's MT beside hg19's chrM.

    Raises :class:`VariantError` if the assemblies, told by lengths or else by name, are known and
    differ, or if no length is that of ``what`` and one contradicts it.
    """
    found = assembly_of_lengths(header)
    equal = same_lengths(header, lengths)
    others = [name for name, is_equal in equal.items() if not is_equal]
    is_sure = found in (UNKNOWN, assembly)
    if differ(found, assembly) or (others and not (is_sure and any(equal.values()))):
        name = "other contigs" if found == UNKNOWN else called(found)
        raise VariantError(
            f"{where}: its ##contig lines are those of {name}, {what} is of {called(assembly)}",
            hint,
        )
    if found == UNKNOWN and differ(named, assembly):
        raise VariantError(
            f"{where}: its header names {called(named)}, {what} is of {called(assembly)}", hint
        )
    return others


def same_lengths(header: Mapping[str, int], lengths: Mapping[str, int]) -> dict[str, bool]:
    """Whether a contig of ``header`` has the length in ``lengths``, for each that is there too."""
    own = {name: resolve_contig(name, lengths) for name in header}
    return {name: lengths[o] == header[name] for name, o in own.items() if o is not None}


def check_name(contig: str, assembly: str, what: str = "the store is of") -> None:
    """Refuse an accession of another assembly than ``assembly``."""
    found = assembly_of_name(contig)
    if differ(found, assembly):
        raise VariantError(
            f"contig {contig} belongs to {called(found)}, {what} {called(assembly)}", LIFT
        )
