"""Addresses of public browsers of genomes, for stores of an assembly that they have.

Nothing is fetched: they are links, followed by whoever wants to.
"""

from __future__ import annotations

from urllib.parse import quote

from seal_store.reference.contigs import chromosome

ENSEMBL = {"hg19": "grch37.ensembl.org", "hg38": "www.ensembl.org"}
UCSC = {"hg19": "hg19", "hg38": "hg38", "T2T-CHM13": "hs1"}
GNOMAD = {"hg19": "gnomad_r2_1", "hg38": "gnomad_r4"}
LONGEST = 200
"""Bases of an allele that gnomAD is asked for."""
BESIDE = 50
"""Bases shown to either side."""


def place_links(assembly: str, contig: str, pos: int) -> list[tuple[str, str]]:
    """Names and addresses for a 1-based position; none for another assembly or contig."""
    name = chromosome(contig)
    if assembly not in UCSC or name is None or pos < 1:
        return []
    first, last = max(1, pos - BESIDE), pos + BESIDE
    ucsc = "chrM" if name == "MT" else f"chr{name}"
    found = [
        (
            "UCSC",
            f"https://genome.ucsc.edu/cgi-bin/hgTracks?db={UCSC[assembly]}"
            f"&position={ucsc}:{first}-{last}",
        )
    ]
    if assembly in ENSEMBL:
        where = f"https://{ENSEMBL[assembly]}/Homo_sapiens/Location/View?r={name}:{first}-{last}"
        found.append(("Ensembl", where))
    return found


def variant_links(
    assembly: str, contig: str, pos: int, ref: str, alt: str
) -> list[tuple[str, str]]:
    """The same for a variant, and gnomAD's page of it."""
    found = place_links(assembly, contig, pos)
    if found and assembly in GNOMAD and max(len(ref), len(alt)) <= LONGEST:
        variant = quote("-".join((str(chromosome(contig)), str(pos), ref, alt)), safe="-")
        address = f"https://gnomad.broadinstitute.org/variant/{variant}"
        found.append(("gnomAD", f"{address}?dataset={GNOMAD[assembly]}"))
    return found
