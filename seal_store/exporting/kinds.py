"""What files of each kind begin with: an output replaces only one of its own kind."""

from __future__ import annotations

from typing import Any

from seal_store.common.output import Output
from seal_store.store.place import Place, output_at

_TABLE, _VCF = rb"(chrom\tpos\tref\talt|gene_id)\t", rb"##fileformat=VCF"

BEGINS = {
    ".tsv": _TABLE,
    ".tsv.gz": _TABLE,
    ".parquet": rb"PAR1",
    ".arrow": rb"ARROW1",
    ".feather": rb"ARROW1",
    ".vcf": _VCF,
    ".vcf.gz": _VCF,
    ".bcf": rb"BCF",
    ".bw": rb"\x26\xfc\x8f\x88",
    ".bigwig": rb"\x26\xfc\x8f\x88",
    ".png": rb"\x89PNG",
    ".svg": rb"<svg",
    ".pdf": rb"%PDF",
    ".html": rb"<!DOCTYPE html>",
    ".json": rb'\{\s*"\$schema": "https://vega',
    ".bedgraph": rb"[^\t\n]+\t\d+\t\d+\t[^\t\n]+\n",
}
"""Regular expressions by the ending of the name, for what ``common.beside.head`` gives."""

INDEXES = {".tbi": rb"TBI\x01", ".csi": rb"CSI\x01"}


def file_at(path: Place, **more: Any) -> Output:
    """The file ``path`` as an output, with the indexes that a VCF may have beside it."""
    name = path.name.lower()
    kind = max((ending for ending in BEGINS if name.endswith(ending)), key=len, default="")
    beside = INDEXES if kind in (".vcf.gz", ".bcf") else None
    return output_at(path, begins=BEGINS.get(kind, b""), beside=beside, **more)
