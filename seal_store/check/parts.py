"""The checks of a folder, by one process or divided: each part has every so many-th file.

Files come first, as what is missing is not read again among the numbers. What the parts found is
put together into the report that a single process would have made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from seal_store.check.atlas import Genes as Entries
from seal_store.check.integrity import Fault, Folder, Report, Share
from seal_store.check.rows import Numbers, Rows
from seal_store.common.progress import Progress, silent
from seal_store.run.crew import ALONE, Crew
from seal_store.store.place import Place

EACH = 4
"""Parts for each worker, so that none waits long for the last."""


@dataclass(frozen=True)
class Checks:
    """What to check of ``path``, of a kind as of a :class:`Report`; see ``verify``."""

    path: Place
    kind: str
    full: bool
    windows: int
    seed: int
    crew: Crew = ALONE

    def files(self, folder: Folder, progress: Progress) -> None:
        """Check that files are as the manifest lists them; faults go to the folder's report."""
        if self.crew.is_one:
            folder.check_files(progress)
        else:
            self._divide(folder, "files", progress)

    def numbers(self, folder: Folder, progress: Progress) -> None:
        """Check contents and what follows from what; faults go to the folder's report."""
        if self.crew.is_one:
            self.of(folder).check(progress)
        else:
            self._divide(folder, "numbers", progress)

    def of(self, folder: Folder) -> Any:
        """What checks the contents of an opened folder."""
        if self.kind == "results":
            return Rows(folder)
        if self.kind == "atlas":
            return Entries(folder)
        if self.kind == "haplotypes":
            return Numbers(folder)
        from seal_store.check.contents import Genes  # computes with PyTorch

        return Genes(folder, full=self.full, windows=self.windows, seed=self.seed)

    def _divide(self, folder: Folder, stage: str, progress: Progress) -> None:
        known = tuple((f.check, f.file, f.message) for f in folder.report.faults)
        parts = EACH * len(self.crew.devices())
        work = Parts(replace(self, crew=ALONE), stage, parts, known)
        done = 0

        def one_more(_: int) -> None:
            nonlocal done
            done += 1
            progress(f"parts of the {stage}", done, parts)

        progress(f"parts of the {stage}", 0, parts)
        found = self.crew.do(work, range(parts), one_more)
        for _, report in sorted(found.items()):
            folder.report.merge(report)


@dataclass(frozen=True)
class Parts:
    """A stage of the checks as work for others; see :mod:`seal_store.run.work`.

    ``known`` are check, file and message of faults that were found before.
    """

    checks: Checks
    stage: str
    parts: int
    known: tuple[tuple[str, str, str], ...]
    unit = "part"
    partial = None

    def begin(self, device: str) -> Callable[[int], Report]:
        """Open the folder; what is returned checks a part of it."""
        checks = self.checks
        folder = Folder(Report(checks.path, checks.kind))
        folder.check_manifest()
        folder.open()
        listed = folder.report.listed
        contents = checks.of(folder) if self.stage == "numbers" else None

        def check(part: int) -> Report:
            folder.share = Share(part, self.parts)
            folder.report = Report(checks.path, checks.kind, listed=listed)
            folder.report.faults = [Fault(*fault) for fault in self.known]
            if contents is None:
                folder.check_files(silent)
            else:
                contents.check(silent)
            return replace(folder.report, faults=folder.report.faults[len(self.known) :], listed={})

        return check
