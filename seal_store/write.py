"""Scores written while they are computed: to a results group or a table, resumable."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from seal_store import journal, manifest
from seal_store.assign import Counts
from seal_store.errors import InputError, OutputError
from seal_store.genome import file_sha256
from seal_store.journal import Checkpoint
from seal_store.lock import hold
from seal_store.progress import Progress, silent
from seal_store.results import Writer, ZarrWriter, describe
from seal_store.scorer import Rows, Scorer
from seal_store.tables import PUBLISHED, TABLE, TsvWriter
from seal_store.variants import Allele

CHECKPOINT_SECONDS = 30.0


def write_scores(
    scorer: Scorer,
    alleles: Iterable[Allele],
    out: Path,
    *,
    source: str,
    precision: int = 6,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress = silent,
) -> Counts:
    """Score ``alleles`` into ``out`` (``.zarr`` or ``.tsv``); says where they went.

    ``out`` appears only once it is whole. Rows are written while the next ones are computed.
    ``source`` names the input in messages and in the results' attributes.

    A checkpoint is kept every ``checkpoint_seconds`` and when the run is interrupted; with
    ``resume`` a later run goes on from it and ends with the same bytes. Raises
    :class:`OutputError` if another process writes ``out``, if it exists and ``overwrite`` is
    false, or if the run to resume had other inputs or options.
    """
    if out.resolve() == scorer.store.path.resolve():
        raise OutputError(f"{out} is the store itself", "choose another --out")
    with hold(out):
        run = _Run(scorer, out, source, precision, command)
        run.begin(overwrite=overwrite, resume=resume)
        try:
            run.work(islice(alleles, scorer.counts.alleles, None), checkpoint_seconds, progress)
        except InputError:
            run.discard()
            raise
        except BaseException:
            run.keep()
            raise
    return scorer.counts


def complete_publishing(out: Path) -> None:
    """End what a run killed in the middle of publishing ``out`` had begun."""
    partial = manifest.partial_path(out)
    if (partial / manifest.MANIFEST).exists():
        manifest.remove(partial / manifest.JOURNAL)
        manifest.replace(partial, out)
    elif (partial / PUBLISHED).exists() and not (partial / TABLE).exists():
        manifest.remove(partial)


def is_finished(out: Path) -> bool:
    """Whether ``out`` is there and no run of it waits to be resumed."""
    with hold(out):
        complete_publishing(out)
        return out.exists() and not manifest.partial_path(out).exists()


class _Run:
    """One output from its first row to its publishing, or to the checkpoint it is left with."""

    def __init__(
        self, scorer: Scorer, out: Path, source: str, precision: int, command: str
    ) -> None:
        self.scorer, self.out, self.source = scorer, out, source
        self.precision, self.command = precision, command
        self.partial = manifest.partial_path(out)
        self.done: tuple[dict[str, Any], float | None] | None = None
        """Counts and completeness of the rows written, if these are whole."""

    def begin(self, *, overwrite: bool, resume: bool) -> None:
        """Open the writer, new or where an earlier run stopped."""
        self.fingerprint = self._fingerprint()
        complete_publishing(self.out)
        state = None
        if resume and journal.exists(self.partial):
            command, found = journal.load(self.partial, self.fingerprint)
            self.command, state = command, found.writer
            self.scorer.counts = Counts.from_dict(found.counts)
            self.scorer.completeness = found.completeness
        elif resume and self.partial.exists():
            overwrite = True  # it stopped before its first checkpoint
        self.writer = open_writer(
            self.out, self.scorer, precision=self.precision, overwrite=overwrite, state=state
        )

    def work(self, alleles: Iterable[Allele], seconds: float, progress: Progress) -> None:
        """Score and write, then publish."""
        scorer, last = self.scorer, time.monotonic()
        with ThreadPoolExecutor(1) as pool:
            pending: Future[None] | None = None
            for rows in scorer.score(alleles, self.source, progress):
                if pending is not None:
                    pending.result()
                    if time.monotonic() - last >= seconds:
                        self.checkpoint()
                        last = time.monotonic()
                after = scorer.counts.to_dict(), scorer.completeness
                pending = pool.submit(self._write, rows, after)
            if pending is not None:
                pending.result()
        counts = scorer.counts.to_dict()
        self.writer.publish({**describe(scorer, self.source, self.command), "counts": counts})

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
        journal.save(self.partial, self.fingerprint, self.command, found)

    def keep(self) -> None:
        """After an interruption: leave a checkpoint, or nothing where none is possible."""
        try:
            self.checkpoint()
        except OSError:  # a full disk: the last one still holds
            pass
        finally:
            self.writer.close()
        if not journal.exists(self.partial):
            manifest.remove(self.partial)

    def discard(self) -> None:
        """After an input that cannot be used: remove what was written."""
        self.writer.close()
        manifest.remove(self.partial)

    def _fingerprint(self) -> dict[str, Any]:
        """Whatever must be the same for a resumed run to end with the same bytes."""
        scorer = self.scorer
        found = describe(scorer, self.source, "")
        found.pop("command")
        names = "\n".join((*scorer.context_set, *scorer.context_name))
        targets = scorer.attributor.targets.tolist() if scorer.attributor else []
        file = Path(self.source)
        return {
            **found,
            "contexts": hashlib.sha256(names.encode()).hexdigest(),
            "targets": hashlib.sha256(str(targets).encode()).hexdigest(),
            "input": file_sha256(file) if file.is_file() else None,
            "batch": scorer.options.batch,
            "output": self.out.suffix,
            "precision": self.precision,
        }


def open_writer(
    out: Path, scorer: Scorer, *, precision: int, overwrite: bool, state: dict[str, Any] | None
) -> Writer:
    """The writer for ``out`` by its ending: ``.zarr`` or ``.tsv``."""
    if out.suffix == ".zarr":
        return ZarrWriter(out, scorer, overwrite=overwrite, state=state)
    if out.suffix == ".tsv" and scorer.attributor is not None:
        raise OutputError(
            f"{out}: a table of effects has no room for attributions",
            "name it .zarr, and use `seal-store export` afterwards",
        )
    if out.suffix == ".tsv":
        names = scorer.context_set, scorer.context_name
        return TsvWriter(out, *names, precision=precision, overwrite=overwrite, state=state)
    raise OutputError(f"{out}: unknown kind of output", "name it .zarr or .tsv")
