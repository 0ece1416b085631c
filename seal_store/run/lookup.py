"""Looking a variant file up in an atlas, to any output that scores go to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from seal_store.atlas.entries import Entries
from seal_store.atlas.lookup import Lookup
from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError
from seal_store.exporting.cells import cell, texts
from seal_store.exporting.kinds import file_at
from seal_store.exporting.render import Exported, Form
from seal_store.reference.assembly import same_lengths
from seal_store.results.view import as_shown
from seal_store.run.scores import write_scores
from seal_store.run.stream import stream_scores
from seal_store.run.watch import UNWATCHED, Watch, check_header
from seal_store.store.address import Address
from seal_store.store.outside import check_outside
from seal_store.store.place import Place
from seal_store.variants.source import Alleles, VariantSource


def alleles_of(
    atlas: Entries, source: VariantSource, *, check_assembly: bool = True
) -> tuple[Alleles, Watch]:
    """The alleles of a file, and a watch over them for what its header does not tell.

    Raises :class:`VariantError` if the header is of another assembly.
    """
    made = atlas.attributes
    source.check_regions({*made.contigs})
    if check_assembly:
        check_header(source, made.store.assembly, made.contigs, f"the atlas {atlas.path}")
    told = any(same_lengths(source.contig_lengths, made.contigs).values())
    return source.alleles(), Watch(source.name, active=check_assembly and not told)


def write_lookup(
    lookup: Lookup,
    alleles: Alleles,
    out: Place | IO[bytes],
    form: Form,
    *,
    kind: str = "vcf",
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
    watch: Watch = UNWATCHED,
) -> list[Exported]:
    """Write what is found of ``alleles`` to an output, or as ``kind`` to a stream.

    Raises as :func:`~seal_store.run.scores.write_scores`.
    """
    how: dict[str, Any] = {"form": form, "command": command, "progress": progress, "watch": watch}
    if not isinstance(out, Path | Address):
        return [stream_scores(lookup, alleles, out, kind, **how)]
    check_outside(out, lookup.atlas, what="atlas")
    done: list[Exported] = []
    write_scores(lookup, alleles, out, overwrite=overwrite, tell=done.append, **how)
    return done


def write_summaries(
    lookup: Lookup,
    alleles: Alleles,
    out: Place | IO[bytes],
    *,
    precision: int = 6,
    overwrite: bool = False,
    progress: Progress = silent,
    watch: Watch = UNWATCHED,
) -> None:
    """Write the summaries of ``alleles`` as a TSV; see :meth:`Lookup.summarized`.

    Raises :class:`OutputError` for an ``out`` that is not named so, is the input or in the atlas.
    """
    if not isinstance(out, Path | Address):
        _summaries(lookup, alleles, out, precision, progress, watch)
        return
    if out.suffix != ".tsv":
        raise OutputError(f"{out}: summaries are a TSV", "name it .tsv")
    check_outside(out, lookup.atlas, alleles.source.path if alleles.source else None, "atlas")
    with file_at(out) as held:
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        with held[held.path.name].open("wb") as handle:
            _summaries(lookup, alleles, handle, precision, progress, watch)
        held.publish()


def _summaries(
    lookup: Lookup,
    alleles: Alleles,
    handle: IO[bytes],
    precision: int,
    progress: Progress,
    watch: Watch,
) -> None:
    number, begun = f"%.{precision}g", False
    for columns in lookup.summarized(alleles):
        watch(lookup.counts)
        named = as_shown(columns)
        if not begun:
            handle.write(("\t".join(map(cell, _order(list(named)))) + "\n").encode())
            begun = True
        fields = [texts(named[name], number) for name in _order(list(named))]
        lines = ("\t".join(line) + "\n" for line in zip(*fields, strict=True))
        handle.write("".join(lines).encode())
        progress("alleles", lookup.counts.alleles, None)


def _order(names: Sequence[str]) -> list[str]:
    """Columns with those first by which a table of ours is known, as Seal's."""
    first = ("chrom", "pos", "ref", "alt")
    return [*first, *(name for name in names if name not in first)]
