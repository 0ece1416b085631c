"""Haplotypes of samples as a table for data frames: a line for each copy of a gene and context."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import FormatError, OutputError
from seal_store.exporting.kinds import file_at
from seal_store.model.contexts import select_contexts
from seal_store.results.haplotypes import ATTRIBUTE, Haplotypes
from seal_store.store.layout import get, read
from seal_store.store.place import Place
from seal_store.variants.genotypes import REFERENCE

ENDINGS = (".parquet", ".arrow", ".feather")
LINES = 1 << 17
"""Lines of a part, about."""


def export_haplotypes(
    found: Haplotypes,
    out: Place,
    *,
    contexts: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = silent,
) -> int:
    """Write a line for each gene, sample, copy and context; their number.

    ``out`` ends in one of :data:`ENDINGS`. ``contexts`` are names as in
    :func:`seal_store.model.contexts.select_contexts`; all by default. Copies of genes that were
    left out, and those that are not there, have no line. Raises :class:`OutputError` for another
    ending, :class:`~seal_store.errors.HeadsError` for a name that is no context.
    """
    if out.suffix not in ENDINGS:
        raise OutputError(
            f"{out}: haplotypes are a table of Parquet", f"name it {', '.join(ENDINGS)}"
        )
    require("parquet", f"writing {out.suffix}")
    from seal_store.exporting.parquet import write_lines

    chosen = select_contexts(found.contexts(), contexts)
    about = {ATTRIBUTE: json.dumps(found.attributes.to_dict())}
    with file_at(out) as held:
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        with found.standing():
            path = held[held.path.name]
            count = write_lines(_parts(found, chosen), path, out.suffix, about, progress)
        held.publish()
    return count


def _parts(found: Haplotypes, chosen: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Columns of the lines, a bounded part at a time, at least one.

    ``copy`` is 1 or 2, ``haplotype`` as in ``haplotype_of``; the genome's own bases have no
    ``alleles`` and an effect of 0.
    """
    labels = {name: found.column(name) for name in ("gene_id", "gene_symbol")}
    samples = found.column("sample")
    context_set, context = (found.column(f"context_{n}")[chosen] for n in ("set", "name"))
    genes = len(labels["gene_id"])
    begins = np.searchsorted(found.column("haplotype_gene"), np.arange(genes + 1))
    step = max(1, LINES // len(chosen))
    for gene in range(genes):
        own = slice(int(begins[gene]), int(begins[gene + 1]))
        place = read(get(found.group, "haplotype_of"), gene)
        if place.max() >= own.stop or ((place >= 0) & (place < own.start)).any():
            raise FormatError(f"{found.path}: haplotype_of has haplotypes of other genes")
        alleles = np.array(["", *read(get(found.group, "alleles"), own).tolist()])
        values = {
            name: np.pad(read(get(found.group, name), own)[:, chosen], ((1, 0), (0, 0)))
            for name in ("effect", "interaction")
        }
        sample, copy = np.nonzero(place >= REFERENCE)
        for start in range(0, max(len(sample), gene == 0), step):
            part = slice(start, start + step)
            of = place[sample[part], copy[part]]
            row = np.where(of >= 0, of - own.start + 1, 0)
            of_copy = {
                **{name: np.repeat(label[gene], len(row)) for name, label in labels.items()},
                "sample": samples[sample[part]],
                "copy": (copy[part] + 1).astype(np.int8),
                "haplotype": of,
                "alleles": alleles[row],
            }
            yield {
                **{name: np.repeat(column, len(chosen)) for name, column in of_copy.items()},
                "context_set": np.tile(context_set, len(row)),
                "context": np.tile(context, len(row)),
                **{name: value[row].ravel() for name, value in values.items()},
            }
