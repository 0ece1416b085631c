"""Score variants to a results group or a table, with checkpoints to resume from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from seal_store.common.beside import Named, remove
from seal_store.common.files import difference
from seal_store.common.output import Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, OutputError
from seal_store.exporting.kinds import file_at
from seal_store.exporting.render import (
    ENDINGS,
    PLAIN,
    Exported,
    Form,
    RenderedWriter,
    check_form,
    ending,
)
from seal_store.exporting.tsv import TsvWriter
from seal_store.results import journal
from seal_store.results.group import ATTRIBUTE, Results, ZarrWriter, result_attributes
from seal_store.results.heading import Heading, heading_of
from seal_store.results.journal import Checkpoint
from seal_store.results.view import EVERYTHING
from seal_store.run.watch import UNWATCHED, Watch
from seal_store.scoring.assign import Counts
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Tally
from seal_store.scoring.source import RowSource
from seal_store.store import manifest
from seal_store.store.layout import PLACES, ArraySpec
from seal_store.store.outside import check_outside
from seal_store.store.place import Place, output_at
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles

CHECKPOINT_SECONDS = 30.0


def write_scores(
    scorer: RowSource,
    alleles: Iterable[Allele],
    out: Place,
    *,
    form: Form = PLAIN,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress = silent,
    tell: Callable[[Exported], object] = bool,
    watch: Watch = UNWATCHED,
) -> Counts:
    """Score ``alleles`` into ``out``, ``.zarr`` or as in :func:`open_writer`; where they went.

    ``out`` appears only once it is whole. Rows are written while the next ones are computed.
    :class:`~seal_store.variants.source.Alleles` say in the results' attributes where they come
    from. ``form`` says what of the results is written, and how; ``tell`` gets what was written,
    other than a results group or Seal's own table, with notes on it, such as a missing index.
    ``watch`` is asked after each chunk whether to go on.

    A checkpoint is kept every ``checkpoint_seconds`` and when the run is interrupted; with
    ``resume`` a later run goes on from it and ends with the same bytes. Raises
    :class:`OutputError` if another process writes ``out``, if it exists and ``overwrite`` is
    false, or if the run to resume had other inputs or options.
    """
    held = scores_at(out)
    stream = Alleles.of(alleles, "input")
    check_outside(out, scorer.store, stream.source.path if stream.source else None)
    with held:
        run = _Run(scorer, stream, held, form, command)
        run.begin(overwrite=overwrite, resume=resume)
        try:
            run.work(checkpoint_seconds, progress, watch)
        except InputError:  # no later run can use that input either
            run.writer.close()
            remove(held.partial)
            raise
        except BaseException:
            run.keep()
            raise
        if isinstance(run.writer, RenderedWriter):
            tell(run.writer.done)
    return scorer.counts


def scores_at(out: Place, checkpoint: str = journal.CHECKPOINT) -> Output:
    """The results group or table ``out`` as an output."""
    if out.suffix == ".zarr":
        return output_at(out, kind=ATTRIBUTE, checkpoint=checkpoint)
    return file_at(out, checkpoint=checkpoint)


def is_finished(out: Place) -> bool:
    """Whether ``out`` is there and no run of it waits to be resumed."""
    with scores_at(out) as held:
        return manifest.stands(held)


def check_finished(scorer: RowSource, alleles: Alleles, out: Place) -> Counts:
    """The counts of a finished results group, of the same inputs and options as a run now.

    Raises :class:`OutputError` naming the difference, and :class:`FormatError` if ``out`` is
    something else.
    """
    results = Results(out)
    made = results.attributes.to_dict()
    made_now = result_attributes(scorer.provenance(), alleles, "")
    now = {**made_now, "regions": list(alleles.regions)}
    names = set(now) - {"command", "device", "software"}
    if made["attribution"] and not now["attribution"]:
        names.discard("attribution")  # added later
    facts = json.loads(json.dumps(now))
    own = {"regions": [], **made}
    then, asked = ({name: x[name] for name in sorted(names)} for x in (own, facts))
    if results.contexts() != (scorer.context_name, scorer.context_set):
        then["contexts"], asked["contexts"] = "others", "these"
    if then != asked:
        name, was, would = difference(then, asked)
        raise OutputError(
            f"{out} is finished, with {name} {was!r}, not {would!r}",
            "choose another `out`, or `overwrite=True` without `resume=True`",
        )
    return Counts.from_dict(made["counts"])


class _Run:
    """One output from its first row to its publishing, or to the checkpoint it is left with."""

    def __init__(
        self, scorer: RowSource, alleles: Alleles, out: Output, form: Form, command: str
    ) -> None:
        self.scorer, self.alleles, self.out = scorer, alleles, out
        self.form, self.command = form, command
        self.start = Tally()
        self.done: tuple[dict[str, Any], float | None] | None = None
        """Counts and completeness of the rows written, if these are whole."""

    def begin(self, *, overwrite: bool, resume: bool) -> None:
        """Open the writer, new or where an earlier run stopped."""
        self.facts = result_attributes(self.scorer.provenance(), self.alleles, self.command)
        self.fingerprint = fingerprint(
            self.scorer, self.alleles, self.form, self.out.path, self.facts
        )
        manifest.complete(self.out)
        state = None
        if resume and self.out.begun:
            try:
                command, found = journal.load(self.out.partial, self.fingerprint)
                self.command, state = command, found.writer
                self.start = Tally(Counts.from_dict(found.counts), found.completeness)
            except OutputError:
                if not overwrite:
                    raise
                resume = False
        attributed = self.scorer.attributor is not None
        check_kind(self.out.place, self.form, attributed=attributed)
        if resume and (self.out.partial / journal.PLAN).exists():
            raise OutputError(
                f"{self.out.partial}: is planned in slices",
                "go on with them, or start again with `overwrite=True`",
            )
        self.out.claim(overwrite=overwrite, resume=resume)
        heading = heading_of(self.scorer, columns_of(self.alleles))
        reason = self.scorer.reader.reason
        self.writer = open_writer(self.out, heading, self.form, reason, state)

    def work(self, seconds: float, progress: Progress, watch: Watch) -> None:
        """Score and write what is not done yet, then publish."""
        scorer, last = self.scorer, time.monotonic()
        alleles = self.alleles.after(self.start.counts.alleles)
        with ThreadPoolExecutor(1) as pool:
            pending: Future[None] | None = None
            for rows in scorer.score(alleles, progress=progress, start=self.start):
                if pending is not None:
                    pending.result()
                    if time.monotonic() - last >= seconds:
                        self.checkpoint()
                        last = time.monotonic()
                watch(scorer.counts)
                after = scorer.counts.to_dict(), scorer.completeness
                pending = pool.submit(self._write, rows, after)
            if pending is not None:
                pending.result()
        facts = {**self.facts, "command": self.command}
        self.writer.publish(finished_attributes(facts, self.alleles, scorer.counts))

    def _write(self, rows: Rows, after: tuple[dict[str, Any], float | None]) -> None:
        self.done = None  # until all arrays have these rows
        self.writer.write(rows)
        self.done = after

    def checkpoint(self) -> None:
        """Keep what is written so far."""
        if self.done is None:
            return
        counts, completeness = self.done
        found = Checkpoint(counts, completeness, self.writer.state())
        journal.save(self.out.partial, self.fingerprint, self.command, found)

    def keep(self) -> None:
        """After an interruption: leave a checkpoint, where one is possible."""
        try:
            self.checkpoint()
        except OSError:  # a full disk: the last one still holds
            pass
        finally:
            self.writer.close()


def finished_attributes(facts: dict[str, Any], alleles: Alleles, counts: Counts) -> dict[str, Any]:
    """The attributes of results: ``facts``, the regions read, if not all, and the counts."""
    regions = {"regions": list(alleles.regions)} if alleles.regions else {}
    return {**facts, **regions, "counts": counts.to_dict()}


def columns_of(alleles: Alleles) -> tuple[ArraySpec, ...]:
    """Columns of rows of ``alleles`` that those of others may lack."""
    return (*alleles.columns, *(entry for entry in PLACES if entry.name == alleles.place))


def fingerprint(
    scorer: RowSource, alleles: Alleles, form: Form, out: Named, facts: dict[str, Any]
) -> dict[str, Any]:
    """Whatever must be the same for runs to end with the same bytes, JSON-ready.

    ``facts`` are the attributes of the results but their counts.
    """
    found = {name: value for name, value in facts.items() if name != "command"}
    names = "\n".join((*scorer.context_set, *scorer.context_name))
    targets = scorer.attributor.targets.tolist() if scorer.attributor else []
    selection = form.selection
    return {
        **found,
        "contexts": hashlib.sha256(names.encode()).hexdigest(),
        "targets": hashlib.sha256(str(targets).encode()).hexdigest(),
        "batch": scorer.options.batch,
        "regions": list(alleles.regions),
        "output": out.suffix,
        "precision": form.precision,
        "selection": None if selection == EVERYTHING else asdict(selection),
    }


def check_kind(out: Named, form: Form, *, attributed: bool) -> None:
    """Raise :class:`OutputError` or :class:`InputError` if ``out`` cannot hold what is asked for.

    It ends in ``.zarr``, or in one of ``render.ENDINGS``. Rows are ``attributed`` if they have
    attributions.
    """
    if out.suffix == ".zarr":
        if _is_chosen(form):
            raise OutputError(
                f"{out}: a results group holds every row and context",
                "`long`, `top` and `min_effect` are for `seal-store export`, or other outputs",
            )
        return
    if not ending(out):
        raise OutputError(
            f"{out}: unknown kind of output", f"name it .zarr or {' or '.join(ENDINGS)}"
        )
    check_form(out, form)
    if attributed:
        raise OutputError(
            f"{out}: a table of effects has no room for attributions",
            "name it .zarr, and use `seal-store export` afterwards",
        )


def open_writer(
    out: Output,
    heading: Heading,
    form: Form,
    reason: Callable[[Allele], str],
    state: dict[str, Any] | None = None,
) -> ZarrWriter | TsvWriter:
    """The writer for an ``out`` that is claimed, by its ending; ``state`` of an earlier one.

    Seal's own table is written row by row; all others are made of a results group at the end.
    ``reason`` says of an annotated VCF why an allele has no row.
    """
    if out.path.suffix == ".zarr":
        return ZarrWriter(out, heading, state)
    if ending(out.path) == ".tsv" and not _is_chosen(form):
        return TsvWriter(out, heading, form.precision, state)
    return RenderedWriter(out, heading, form, reason, state)


def _is_chosen(form: Form) -> bool:
    """Whether only some rows or contexts are written."""
    return form.selection.is_long or bool(form.selection.min_effect)
