"""Finished results in other formats, by the ending of the output's name.

What is neither a results group nor Seal's own TSV is made from a results group: `export` reads a
finished one, `score` writes one aside first, which is also what makes such a run resumable.
"""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from seal_store.common.beside import Named
from seal_store.common.extras import require
from seal_store.common.output import TABLE, Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, StoreError
from seal_store.exporting.kinds import file_at
from seal_store.exporting.tsv import write_tsv
from seal_store.exporting.vcf import annotate, check_bcf, check_input
from seal_store.reference.assembly import same_lengths
from seal_store.results.attributes import ResultsAttributes
from seal_store.results.group import ATTRIBUTE, Results, ZarrWriter
from seal_store.results.heading import Heading
from seal_store.results.view import EVERYTHING, Selection, View
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.reading import Reader
from seal_store.store.place import Place, files_at, place, single_at
from seal_store.store.store import Store
from seal_store.variants.alleles import SCORABLE, Allele
from seal_store.variants.source import VariantSource

TABLES = (".tsv", ".tsv.gz", ".parquet", ".arrow", ".feather")
VCFS = (".vcf", ".vcf.gz", ".bcf")
ENDINGS = (*TABLES, *VCFS)
TOP_IN_VCF = 5
"""Contexts named in an annotated VCF, unless told."""

EXTRAS = {".parquet": "parquet", ".arrow": "parquet", ".feather": "parquet"} | dict.fromkeys(
    VCFS, "htslib"
)


@dataclass(frozen=True)
class Form:
    """How results are written: ``selection``, digits in text, and the VCF to annotate."""

    selection: Selection = EVERYTHING
    precision: int = 6
    vcf: VariantSource | None = None


PLAIN = Form()
"""Whole tables of six significant digits."""


@dataclass
class Exported:
    """What was written: ``lines`` of a table or ``records`` of a VCF, and ``notes`` for people."""

    rows: int
    notes: list[str] = field(default_factory=list)
    unit: str = "lines"


def ending(out: Named) -> str:
    """Which of :data:`ENDINGS` the name has; empty for another one."""
    return max((e for e in ENDINGS if out.name.endswith(e)), key=len, default="")


def is_vcf(out: Named) -> bool:
    """Whether the output is the input annotated."""
    return ending(out) in VCFS


def check_form(out: Named, form: Form) -> None:
    """Check that ``form`` fits the ending of ``out``.

    Raises :class:`OutputError` for an unknown ending, :class:`InputError` for options or a VCF
    that do not fit, :class:`seal_store.errors.MissingExtraError` for a package that is not there.
    """
    kind = ending(out)
    if not kind:
        raise OutputError(
            f"{out}: unknown kind of output", f"its name must end in {', '.join(ENDINGS)}"
        )
    if kind in EXTRAS:
        require(EXTRAS[kind], f"writing {kind}")
    if kind in VCFS:
        check_selection(form.selection)
        if form.vcf is None:
            raise InputError(
                f"{out}: an annotated VCF repeats its input, which must be one",
                "name the output .zarr, .tsv or .parquet",
            )
        if os.path.realpath(out) == os.path.realpath(form.vcf.path):
            raise InputError(f"{out} is the input itself", "choose another output")
        form.vcf.keep()  # it is read again
        check_input(form.vcf)
        if kind == ".bcf":
            check_bcf(form.vcf)


def check_selection(selection: Selection) -> None:
    """Raise :class:`InputError` if an annotated VCF cannot show ``selection``."""
    if selection.long or selection.min_effect:
        given = "long" if selection.long else "min_effect"
        raise InputError(
            f"`{given}`: an annotated VCF keeps every record of its input",
            "filter it with `bcftools view -i`, or write a table",
        )


def export(
    results: Results,
    out: Place,
    form: Form = PLAIN,
    *,
    store: Place | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write ``results`` to ``out``, in the format of its ending.

    A VCF is annotated from ``form.vcf``, by default the input that the results name; ``store``,
    by default the one that they were made from if it is still there, says why an allele has no
    row. ``out`` appears only once it is whole.
    """
    if is_vcf(out) and results.is_lifted:
        raise OutputError(
            f"{out}: {results.path} holds lifted variants, which are not those of a VCF",
            "name the output .tsv or .parquet",
        )
    if form.vcf is None and is_vcf(out):
        form = replace(form, vcf=_recorded_input(results))
    check_form(out, form)
    view = View(results, form.selection)
    with file_at(out) as held, results.standing():
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        reason = _reasons(results, store, form.vcf) if form.vcf and is_vcf(out) else _plain_reason
        return _render(view, held, form, reason, progress)


class RenderedWriter(ZarrWriter):
    """Collects rows in a results group and publishes them in the format of ``out``."""

    def __init__(
        self,
        out: Output,
        heading: Heading,
        form: Form,
        reason: Callable[[Allele], str],
        state: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(out, heading, state)
        self.form, self.reason = form, reason
        self.done = Exported(0)

    def publish(self, attributes: dict[str, Any]) -> None:
        """Write the output from what was collected, and rename it into place."""
        self.flush()
        self.group.attrs[ATTRIBUTE] = attributes
        opened = self.group, ResultsAttributes.parse(attributes)
        view = View(Results(self.partial, opened), self.form.selection)
        try:
            self.done = _render(view, self.out, self.form, self.reason, silent)
        except InputError as error:  # scored already: what was computed must stay
            raise OutputError(str(error), error.hint) from error


def _render(
    view: View,
    out: Output,
    form: Form,
    reason: Callable[[Allele], str],
    progress: Progress,
) -> Exported:
    """Write files to ``out.partial``, and publish them."""
    kind, name = ending(out.path), out.path.name
    path = out.partial / f"{TABLE}{kind}"
    files, done = {path.name: name}, Exported(0)
    if kind in VCFS:
        assert form.vcf is not None
        top = form.selection.top or TOP_IN_VCF
        found = annotate(view, form.vcf, path, top, form.precision, reason, progress)
        if found.index:
            files[found.index.name] = name + found.index.suffix
        done = Exported(found.records, found.notes(), "records")
    elif EXTRAS.get(kind) == "parquet":
        from seal_store.exporting.parquet import write_columns

        done.rows = write_columns(view, path, progress)
    else:
        with path.open("wb") as raw:
            # no name and no time in it: equal tables are equal files
            text: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if kind == ".tsv.gz" else raw
            with io.TextIOWrapper(text, "utf-8", newline="\n") as handle:
                done.rows = write_tsv(view, handle, precision=form.precision, progress=progress)
    out.publish(files)
    return done


def _recorded_input(results: Results) -> VariantSource:
    recorded = place(results.attributes.variants)
    if not single_at(recorded).is_file():
        raise StoreError(
            f"{results.path} was made from {recorded}, which is not a file here",
            "give it as `vcf`",
        )
    return VariantSource(recorded)


def _plain_reason(allele: Allele) -> str:
    return allele.kind if allele.kind not in SCORABLE else "not_scored"


def _reasons(results: Results, path: Place | None, vcf: VariantSource) -> Callable[[Allele], str]:
    """Says why an allele has no row, as far as can be known without scoring."""
    made = results.attributes.store
    given = path or place(made.path)
    if path is None and not files_at(given).exists():
        return _plain_reason
    store = Store(given)
    if store.sha256 != made.sha256:
        if path is None:
            return _plain_reason
        raise StoreError(
            f"{path} is not the store that {results.path} was made from",
            "give the one it was made from",
        )
    names = ("scheme", "genes", "max_distance", "ref_mismatch", "normalize")
    made_with = {name: getattr(results.attributes, name) for name in names}
    if made_with["ref_mismatch"] == "error":  # of alleles outside the regions of the run
        made_with["ref_mismatch"] = "skip"
    options = ScoreOptions(**made_with)
    equal = same_lengths(vcf.contig_lengths, store.attributes.genome.contigs)
    vcf.refuse([name for name, is_equal in equal.items() if not is_equal])
    return Reader(store, options, results.attributes.gene).reason
