"""Finished results in other formats, by the ending of the output's name.

What is neither a results group nor Seal's own TSV is made from a results group: `export` reads a
finished one, `score` writes one aside first, which is also what makes such a run resumable.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seal_store.common.extras import require
from seal_store.common.output import TABLE, Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError, StoreError
from seal_store.exporting.tsv import write_tsv
from seal_store.exporting.vcf import annotate, check_input
from seal_store.results.attributes import ResultsAttributes
from seal_store.results.group import ATTRIBUTE, Results, ZarrWriter
from seal_store.results.view import EVERYTHING, Selection, View
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.reading import Reader
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import ArraySpec
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
    """What was written: lines of a table or records of a VCF, and ``notes`` for people."""

    rows: int
    notes: list[str] = field(default_factory=list)


def ending(out: Path) -> str:
    """Which of :data:`ENDINGS` the name has; empty for another one."""
    return max((e for e in ENDINGS if out.name.endswith(e)), key=len, default="")


def is_vcf(out: Path) -> bool:
    """Whether the output is the input annotated."""
    return ending(out) in VCFS


def check_form(out: Path, form: Form) -> None:
    """Check that ``form`` fits the ending of ``out``.

    Raises :class:`OutputError` for an unknown ending, :class:`InputError` for options or a VCF
    that do not fit, :class:`seal_store.errors.MissingExtraError` for a package that is not there.
    """
    kind, selection = ending(out), form.selection
    if not kind:
        raise OutputError(
            f"{out}: unknown kind of output", f"its name must end in {', '.join(ENDINGS)}"
        )
    if kind in EXTRAS:
        require(EXTRAS[kind], f"writing {kind}")
    if kind in VCFS:
        if selection.long or selection.min_effect:
            given = "long" if selection.long else "min_effect"
            raise InputError(
                f"`{given}`: an annotated VCF keeps every record of its input",
                "filter it with `bcftools view -i`, or write a table",
            )
        if form.vcf is None or form.vcf.is_pipe:
            raise InputError(
                f"{out}: an annotated VCF repeats its input, which must be a file",
                "write stdin to a file first, or name the output .zarr, .tsv or .parquet",
            )
        if out.resolve() == form.vcf.path.resolve():
            raise InputError(f"{out} is the input itself", "choose another output")
        check_input(form.vcf)


def export(
    results: Results,
    out: Path,
    form: Form = PLAIN,
    *,
    store: Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write ``results`` to ``out``, in the format of its ending.

    A VCF is annotated from ``form.vcf``, by default the input that the results name; ``store``,
    by default the one that they were made from if it is still there, says why an allele has no
    row. ``out`` appears only once it is whole.
    """
    if is_vcf(out) and results.origin_columns:
        raise OutputError(
            f"{out}: {results.path} holds lifted variants, which are not those of a VCF",
            "name the output .tsv or .parquet",
        )
    if form.vcf is None and is_vcf(out):
        form = replace(form, vcf=_recorded_input(results))
    check_form(out, form)
    view = View(results, form.selection)
    with Output(out) as held:
        held.complete()
        held.claim(overwrite=overwrite)
        held.partial.mkdir()
        reason = _reasons(results, store) if is_vcf(out) else _plain_reason
        return _render(view, held, form, reason, progress)


class RenderedWriter(ZarrWriter):
    """Collects rows in a results group and publishes them in the format of ``out``."""

    def __init__(
        self,
        out: Output,
        scorer: Scorer,
        columns: Sequence[ArraySpec],
        form: Form,
        state: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(out, scorer, columns, state)
        self.form, self.reason = form, scorer.reader.reason
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
    files, notes = {path.name: name}, []
    if kind in VCFS:
        assert form.vcf is not None
        top = form.selection.top or TOP_IN_VCF
        found = annotate(view, form.vcf, path, top, form.precision, reason, progress)
        if found.index:
            files[found.index.name] = name + found.index.suffix
        rows, notes = found.records, found.notes()
    elif EXTRAS.get(kind) == "parquet":
        from seal_store.exporting.parquet import write_columns

        rows = write_columns(view, path, progress)
    else:
        with path.open("wb") as raw:
            # no name and no time in it: equal tables are equal files
            text: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if kind == ".tsv.gz" else raw
            with io.TextIOWrapper(text, "utf-8", newline="\n") as handle:
                rows = write_tsv(view, handle, precision=form.precision, progress=progress)
    out.publish_files(files, lambda: out.remove_beside(".tbi", ".csi"))
    return Exported(rows, notes)


def _recorded_input(results: Results) -> VariantSource:
    recorded = Path(results.attributes.variants)
    if not recorded.is_file():
        raise StoreError(
            f"{results.path} was made from {recorded}, which is not a file here",
            "give it as `vcf`",
        )
    return VariantSource(recorded)


def _plain_reason(allele: Allele) -> str:
    return allele.kind if allele.kind not in SCORABLE else "not_scored"


def _reasons(results: Results, path: Path | None) -> Callable[[Allele], str]:
    """Says why an allele has no row, as far as can be known without scoring."""
    made = results.attributes.store
    given = path or Path(made.path)
    if path is None and not given.exists():
        return _plain_reason
    store = Store(given)
    if store.sha256 != made.sha256:
        if path is None:
            return _plain_reason
        raise StoreError(
            f"{path} is not the store that {results.path} was made from",
            "give the one it was made from",
        )
    names = ("scheme", "genes", "max_distance", "ref_mismatch")
    made_with = {name: getattr(results.attributes, name) for name in names}
    if made_with["ref_mismatch"] == "error":  # of alleles outside the regions of the run
        made_with["ref_mismatch"] = "skip"
    options = ScoreOptions(**made_with)
    return Reader(store, options, results.attributes.gene).reason
