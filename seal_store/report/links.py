"""Where a variant is shown in public browsers: addresses only, nothing is asked of them."""

from __future__ import annotations

from urllib.parse import quote

_ENSEMBL = {"hg19": "grch37.ensembl.org", "hg38": "www.ensembl.org"}
_GNOMAD = {"hg19": "gnomad_r2_1", "hg38": "gnomad_r4"}
SPAN = 500
"""Bases on either side of a variant that UCSC and Ensembl show."""
_LONGEST = 200
"""Alleles longer than this have no page in gnomAD."""


def browsers(assembly: str) -> bool:
    """Whether public browsers have this assembly."""
    return assembly in _ENSEMBL


def links(assembly: str, contig: str, pos: int, ref: str, alt: str) -> list[tuple[str, str]]:
    """Names and addresses of pages that show a variant; ``pos`` is 1-based.

    None for other assemblies than hg19 and hg38, and gnomAD only for alleles of A, C, G, T.
    """
    if not browsers(assembly):
        return []
    bare = quote(contig.removeprefix("chr"), safe="")
    first, last = max(1, pos - SPAN), pos + len(ref) - 1 + SPAN
    found = [
        (
            "UCSC",
            f"https://genome.ucsc.edu/cgi-bin/hgTracks?db={assembly}"
            f"&position=chr{bare}%3A{first}-{last}",
        ),
        (
            "Ensembl",
            f"https://{_ENSEMBL[assembly]}/Homo_sapiens/Location/View?r={bare}%3A{first}-{last}",
        ),
    ]
    if set(ref + alt) <= set("ACGT") and len(ref) + len(alt) <= _LONGEST:
        where = f"{bare}-{pos}-{ref}-{alt}?dataset={_GNOMAD[assembly]}"
        found.append(("gnomAD", f"https://gnomad.broadinstitute.org/variant/{where}"))
    return found
