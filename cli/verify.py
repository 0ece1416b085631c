"""``seal-store verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seal_store.common.words import counted

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.check.integrity import Fault, Report
    from seal_store.store.place import Place

SHOWN = 5
"""Genes of a fault that are printed; --json has all."""


@click.command()
@click.argument("path", type=_options.PLACE)
@click.option("--full", is_flag=True, help="Sums and predictions of all genes, not of 64.")
@_options.number(
    "--windows", 16, "Windows of a store to compute again from sequence and weights.", 0, 2**31
)
@_options.number("--seed", 0, "Which genes and windows are chosen.", 0, 2**63 - 1)
@click.option(
    "--contents/--no-contents",
    default=True,
    help="Read the numbers too; without, only metadata and the SHA-256 of files.",
)
@_options.crewed
@_options.cache
@_options.quiet
@_options.as_json
def verify(path: Place, workers: int | None, scheduler: str, contents: bool, **chosen: Any) -> None:
    """Check every file and number of what seal-store wrote. Exit code 1 if there is a fault.

    That is a store, results, an atlas or haplotypes.

    Checked are the attributes, the manifest, the SHA-256 of every file, the checksum of every
    chunk, that numbers are finite and in range, and that features, sums and predictions follow
    from each other. What `build --repair` can compute again, it does. --no-contents still finds
    all that changed since the files were written, and computes nothing.
    """
    from seal_store.check import verify as library
    from seal_store.run.crew import Crew

    if not contents:
        _options.refuse_unused(("full", "windows", "seed"), "with --no-contents")
    with Meter() as progress:
        crew = Crew(workers, scheduler, "cpu")
        report = library.verify(path, contents=contents, crew=crew, progress=progress, **chosen)
    _options.say(report.to_dict(), _lines(report))
    if not report.ok:
        click.get_current_context().exit(1)


def _lines(report: Report) -> list[str]:
    lines = [_fault(fault) for fault in report.faults]
    checked = ", ".join(f"{count} {what}" for what, count in report.checked.items())
    lines += [f"checked: {checked or 'nothing'}"]
    lines += [f"not checked: {what}: {why}" for what, why in report.skipped.items()]
    faults = len(report.faults)
    verdict = counted(faults, "fault") if faults else "no fault"
    return [*lines, f"{report.path}: {report.kind}, {verdict}"]


def _fault(fault: Fault) -> str:
    shard = f" (shard {fault.shard})" if fault.shard is not None else ""
    genes = ", ".join(fault.genes[:SHOWN])
    more = f" and {len(fault.genes) - SHOWN} more" if len(fault.genes) > SHOWN else ""
    concerned = f"; genes {genes}{more}" if genes else ""
    return f"{fault.check}: {fault.file}{shard}: {fault.message}{concerned}"
