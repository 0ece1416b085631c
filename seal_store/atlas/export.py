"""An atlas in genome order, for other programs: TSV and VCF in BGZF with an index, Parquet, BigWig.

An SNV has a line for each of its genes, sorted by position, alternative base and gene.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.atlas.arrays import ALTS, BASES
from seal_store.atlas.attributes import ATTRIBUTE
from seal_store.atlas.entries import Entries, Found
from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, printable
from seal_store.exporting.cells import cell, texts
from seal_store.exporting.info import PREFIX, encode, field_names
from seal_store.exporting.kinds import INDEXES
from seal_store.exporting.tracks import Part, write_track
from seal_store.exporting.vcf import TBI_END
from seal_store.model.contexts import select_contexts
from seal_store.model.labels import context_columns
from seal_store.store.outside import check_outside
from seal_store.store.place import Place, output_at
from seal_store.variants.regions import Region, inside

AT_ONCE = 2_048
"""Positions of a contig that are read at a time."""

ENDINGS = (".tsv.gz", ".vcf.gz", ".parquet", ".bw", ".bigwig")
TSV_HEAD = "##seal-store atlas"
LEADING = ("chrom", "pos", "ref", "alt", "gene_id", "gene_symbol", "gene_strand", "dist_to_tss")

MEANINGS = {
    "largest": ("Float", "Effect of the largest size over all contexts, signed"),
    "largest_set": ("String", "Head set of its context"),
    "largest_context": ("String", "Its context"),
    "rms": ("Float", "Root mean square of the effects over all contexts"),
    "quantile": ("Float", "Place of the largest among the background's effects, -1 to 1"),
}


@dataclass(frozen=True)
class Exporting:
    """What is written: of ``contexts`` the effects, or by default the summary.

    ``genes`` are ids or symbols, ``regions`` limit the positions; all by default. ``terms`` is
    what the header says of the licence of the numbers.
    """

    contexts: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    precision: int = 6
    terms: str = "as the weights that the store was made from allow"


class Lines:
    """The lines of an atlas, in parts: columns by name, one entry a line."""

    def __init__(self, atlas: Entries, chosen: Exporting) -> None:
        self.atlas, self.chosen = atlas, chosen
        keep: list[int] = []
        if chosen.contexts:
            keep = list(select_contexts(atlas.contexts, chosen.contexts))
        self.keep = np.array(keep, np.int64)
        sets, names = zip(*(atlas.contexts[i] for i in keep), strict=True) if keep else ((), ())
        self.contexts = context_columns(list(sets), list(names), LEADING)
        """Columns of effects; without any the summary is written."""
        self.sets = [] if keep else atlas.set_columns
        self._genes = self._chosen_genes()

    @property
    def columns(self) -> list[str]:
        """Names of the columns behind the leading ones."""
        if self.contexts:
            return self.contexts
        own = [name for name in MEANINGS if name != "quantile" or self.atlas.attributes.calibration]
        return [*own, *self.sets]

    def _chosen_genes(self) -> np.ndarray:
        ids, symbols = (self.atlas.of_genes(name) for name in ("gene_id", "gene_symbol"))
        kept = np.ones(len(ids), bool)
        if self.chosen.genes:
            wanted = np.array(self.chosen.genes)
            kept = np.isin(ids, wanted) | (np.isin(symbols, wanted) & (symbols != ""))
            known = set(ids[kept].tolist()) | set(symbols[kept].tolist())
            if missing := [gene for gene in self.chosen.genes if gene not in known]:
                raise InputError(f"{self.atlas.path}: no gene {missing[0]!r}", "check `gene`")
        return np.flatnonzero(kept)

    def parts(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Contig by contig in the order of the genes, each sorted; no part is empty."""
        contig, tss = self.atlas.of_genes("contig"), self.atlas.of_genes("tss")
        span = self.atlas.attributes.span
        for name in dict.fromkeys(contig[self._genes].tolist()):
            genes = self._genes[contig[self._genes] == name]
            blocks = {
                block
                for at in tss[genes].tolist()
                for block in range(max(1, at - span) // AT_ONCE, (at + span) // AT_ONCE + 1)
            }
            for block in sorted(blocks):
                pos = np.arange(max(1, block * AT_ONCE), (block + 1) * AT_ONCE)
                if self.chosen.regions:
                    pos = pos[inside(self.chosen.regions, str(name), pos)]
                near = genes[np.abs(tss[genes] - (block + 0.5) * AT_ONCE) <= span + AT_ONCE / 2]
                found, base = self._found(near, pos)
                if len(found):
                    yield str(name), self._columns(found, base)

    def _found(self, genes: np.ndarray, pos: np.ndarray) -> tuple[Found, np.ndarray]:
        """All entries at positions, sorted, and their reference bases."""
        gene, at = np.repeat(genes, len(pos)), np.tile(pos, len(genes))
        position = self.atlas.position(gene, at)
        inside = (position >= 0) & (position <= 2 * self.atlas.attributes.span)
        gene, position, at = gene[inside], position[inside], at[inside]
        base = self.atlas.gathered("base", gene, position)
        kept = base != 0
        gene, position, at, base = (v[kept] for v in (gene, position, at, base))
        alt = np.tile(np.arange(ALTS), len(gene))
        gene, position, at, base = (np.repeat(v, ALTS) for v in (gene, position, at, base))
        order = np.lexsort((gene, alt, at))
        found = Found(at[order], gene[order], position[order], alt[order], np.zeros(0, bool))
        return found, base[order]

    def _columns(self, found: Found, base: np.ndarray) -> dict[str, np.ndarray]:
        atlas, gene = self.atlas, found.gene
        codes = np.frombuffer(BASES, np.uint8)
        ref = np.searchsorted(codes, base)
        letters = np.array(list(BASES.decode("ascii")))
        strand, tss = atlas.of_genes("strand")[gene], atlas.of_genes("tss")[gene]
        columns = {
            "pos": found.row,
            "ref": letters[ref],
            "alt": letters[found.alt + (found.alt >= ref)],
            "gene_id": atlas.of_genes("gene_id")[gene],
            "gene_symbol": atlas.of_genes("gene_symbol")[gene],
            "gene_strand": np.where(strand > 0, "+", "-"),
            "dist_to_tss": found.row - tss,
        }
        if self.contexts:
            values = atlas.values(found, self.keep)
            return columns | {name: values[:, i] for i, name in enumerate(self.contexts)}
        own = atlas.summaries(found)
        by_set, place = own.pop("largest_by_set"), own["largest_context"]
        sets, names = (np.array(labels) for labels in zip(*atlas.contexts, strict=True))
        own |= {"largest_set": sets[place], "largest_context": names[place]}
        own |= {name: by_set[:, i] for i, name in enumerate(self.sets)}
        return columns | {name: own[name] for name in self.columns}


def export_atlas(
    atlas: Entries,
    out: Place,
    chosen: Exporting,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Write an atlas, or a part of it, by the ending of ``out``; the number of lines.

    ``.tsv.gz`` and ``.vcf.gz`` are in BGZF with an index, ``.parquet`` and ``.bw`` as such. A track
    has one value a base: of the SNVs there the effect of the largest size, on the one context that
    is chosen or over all.

    Raises :class:`OutputError` for another ending or if ``out`` exists, :class:`InputError` where
    a track is of several contexts, or nothing is to be written.
    """
    name = out.name.lower()
    kind = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    if not kind:
        raise OutputError(f"{out}: unknown kind of output", f"name it {' or '.join(ENDINGS)}")
    check_outside(out, atlas, what="atlas")
    lines = Lines(atlas, chosen)
    with atlas.standing():
        if kind in (".bw", ".bigwig"):
            return _write_track(lines, out, overwrite=overwrite, progress=progress)
        begins = {".tsv.gz": rb"##seal-store atlas", ".vcf.gz": rb"##fileformat=VCF"}
        beside = INDEXES if kind in begins else None
        with output_at(out, begins=begins.get(kind, b"PAR1"), beside=beside) as held:
            held.claim(overwrite=overwrite)
            held.partial.mkdir()
            path = held.partial / f"atlas{kind}"
            if kind == ".parquet":
                count = _write_parquet(lines, path, progress)
                index = {}
            else:
                require("htslib", "writing BGZF with an index")
                count = _write_bgzf(lines, path, kind, progress)
                ending = _indexed(path, kind, max(atlas.attributes.contigs.values(), default=0))
                index = {path.name + ending: held.path.name + ending}
            if not count:
                raise InputError(f"{atlas.path}: no entry is in what was chosen", "choose more")
            held.publish({path.name: held.path.name, **index})
    return count


def _write_bgzf(lines: Lines, path: Path, kind: str, progress: Progress) -> int:
    import pysam

    as_vcf, count = kind == ".vcf.gz", 0
    text, keys = f"%.{lines.chosen.precision}g", _keys(lines)
    with pysam.BGZFile(str(path), "wb", None) as handle:
        handle.write((_vcf_header(lines) if as_vcf else _tsv_header(lines)).encode())
        for contig, columns in lines.parts():
            if as_vcf:
                own = _vcf_lines(contig, columns, keys, text)
            else:
                own = _tsv_lines(contig, columns, lines.columns, text)
            handle.write(own.encode())
            count += len(columns["pos"])
            progress("lines", count, None)
    return count


def _tsv_lines(contig: str, columns: dict[str, np.ndarray], more: list[str], number: str) -> str:
    fields = [[cell(contig)] * len(columns["pos"]), list(map(str, columns["pos"].tolist()))]
    fields += [texts(columns[name], number) for name in (*LEADING[2:], *more)]
    return "".join("\t".join(line) + "\n" for line in zip(*fields, strict=True))


def _vcf_lines(
    contig: str, columns: dict[str, np.ndarray], keys: dict[str, str], number: str
) -> str:
    fields = []
    for name, own_key in keys.items():
        values, key = columns[name], f"{PREFIX}{own_key}="
        if values.dtype.kind == "f":
            fields.append([key + number % value for value in values.tolist()])
        else:
            own = (encode(str(value)) for value in values.tolist())
            fields.append([key + text if text else "" for text in own])
    info = (";".join(filter(None, line)) for line in zip(*fields, strict=True))
    first = zip(
        columns["pos"].tolist(),
        columns["ref"].tolist(),
        columns["alt"].tolist(),
        info,
        strict=True,
    )
    return "".join(f"{contig}\t{p}\t.\t{r}\t{a}\t.\t.\t{i}\n" for p, r, a, i in first)


def _keys(lines: Lines) -> dict[str, str]:
    """Columns of INFO and the keys of their fields, each only once."""
    names = ["gene_id", "gene_symbol", "dist_to_tss", *lines.columns]
    return dict(zip(names, field_names([name.upper() for name in names]), strict=True))


def _facts(lines: Lines) -> dict[str, Any]:
    made = lines.atlas.attributes
    error = "none" if made.is_full else f"{made.max_error:g} of the largest effect of the SNV"
    return {
        "scheme": made.scheme,
        "genes": f"{made.genes}, within {made.span} bp of a TSS",
        "unit": "ln(expression + pseudocount), alt minus ref",
        "error": error if lines.contexts else "none",
        "assembly": made.store.assembly,
        "store_sha256": made.store.sha256,
        "atlas_sha256": lines.atlas.sha256,
        "weights": "SYNTHETIC: no biological meaning" if made.store.synthetic else "published",
        "terms": lines.chosen.terms,
    }


def _tsv_header(lines: Lines) -> str:
    about = "".join(f"##{key}={printable(str(value))}\n" for key, value in _facts(lines).items())
    names = "\t".join(map(cell, (*LEADING, *lines.columns)))
    return f"{TSV_HEAD}, version 1; positions are 1-based\n{about}#{names}\n"


def _vcf_header(lines: Lines) -> str:
    head = ["##fileformat=VCFv4.3"]
    head += [f"##seal_store_{key}={printable(str(value))}" for key, value in _facts(lines).items()]
    for name, length in lines.atlas.attributes.contigs.items():
        head.append(f"##contig=<ID={printable(name)},length={length}>")
    own = {
        "gene_id": ("String", "Gene"),
        "gene_symbol": ("String", "Symbol of the gene"),
        "dist_to_tss": ("Integer", "POS minus TSS, bp"),
    }
    named = lines.atlas.column("head_set").tolist()
    for name, key in _keys(lines).items():
        kind, text = own.get(name) or MEANINGS.get(name) or ("Float", f"Effect on {name}")
        if name in lines.sets:
            place = lines.sets.index(name)
            text = f"Effect of the largest size over {named[place]}, signed"
        if kind == "Float" and name != "quantile":
            text += ", ln(expression + pseudocount)"
        text = printable(text).replace("\\", "\\\\").replace('"', '\\"')
        head.append(f'##INFO=<ID={PREFIX}{key},Number=1,Type={kind},Description="{text}">')
    return "\n".join((*head, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")) + "\n"


def _indexed(path: Path, kind: str, longest: int) -> str:
    """Make an index of ``path``; its ending."""
    import pysam

    csi = longest > TBI_END
    how: dict[str, Any] = {"preset": "vcf"} if kind == ".vcf.gz" else {"seq_col": 0, "start_col": 1}
    if kind == ".tsv.gz":
        how |= {"end_col": 1, "meta_char": "#", "zerobased": False}
    pysam.tabix_index(str(path), force=True, csi=csi, **how)
    return ".csi" if csi else ".tbi"


def _write_parquet(lines: Lines, path: Path, progress: Progress) -> int:
    require("parquet", "writing Parquet")
    from seal_store.exporting.parquet import write_lines

    about = {ATTRIBUTE: json.dumps(lines.atlas.attributes.to_dict())}
    about |= {f"seal_store_{key}": str(value) for key, value in _facts(lines).items()}
    parts = (
        {"chrom": np.full(len(columns["pos"]), contig), **columns}
        for contig, columns in lines.parts()
    )
    return write_lines(parts, path, ".parquet", about, progress)


def _write_track(lines: Lines, out: Place, *, overwrite: bool, progress: Progress) -> int:
    if len(lines.contexts) > 1:
        raise InputError(f"{out}: a track is of one context", "give one `contexts`, or none")
    name, done = lines.contexts[0] if lines.contexts else "largest", 0
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for contig, columns in lines.parts():
        values, pos = columns[name], columns["pos"]
        order = np.lexsort((-np.abs(values), pos))
        at, first = np.unique(pos[order], return_index=True)
        found.setdefault(contig, []).append((at, values[order][first]))
        done += len(pos)
        progress("lines", done, None)
    if not done:
        raise InputError(f"{lines.atlas.path}: no entry is in what was chosen", "choose more")
    parts = [Part(contig, *_track(own)) for contig, own in found.items()]
    return write_track(parts, out, lines.atlas.attributes.contigs, overwrite=overwrite)


def _track(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    pos, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return pos - 1, pos, value
