"""Writing a report of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seal_store.charts.base import filled
from seal_store.charts.locus import FAINT
from seal_store.charts.page import rendered, script_json, scripts, trusted, web_file
from seal_store.common.extras import require
from seal_store.common.output import TABLE
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.errors import InputError, OutputError, printable
from seal_store.exporting.kinds import file_at
from seal_store.model.contexts import select_contexts
from seal_store.report.data import page_data
from seal_store.report.facts import commands, facts
from seal_store.report.rows import as_shown, strongest_rows
from seal_store.results.group import Results
from seal_store.scoring.assign import reasons
from seal_store.store.place import place

ENDING = ".html"


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows: the ``top`` strongest rows, judged by ``contexts`` (all by default)."""

    top: int = 5_000
    contexts: Sequence[str] = ()

    def __post_init__(self) -> None:
        conform(self)
        if self.top < 1:
            raise InputError(f"`top` {self.top}: not positive")


DEFAULT = ReportOptions()


@dataclass(frozen=True)
class Report:
    """What was written: rows that are shown, of how many, and bytes."""

    shown: int
    rows: int
    size: int


def write_report(
    results: Results | str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: ReportOptions = DEFAULT,
    *,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write the report of ``results`` to ``out``, an HTML file that needs no other and no network.

    Memory is bounded by ``options.top``, not by the results.

    Raises :class:`OutputError` if ``out`` does not end in ``.html``, or if it exists and
    ``overwrite`` is false, :class:`HeadsError` for a context that is not there, and
    :class:`MissingExtraError` without the extra ``plot``.
    """
    require("plot", "a report")
    path = place(out)
    if path.suffix != ENDING:
        raise OutputError(f"{path}: a report is a page", f"name it {path.name}{ENDING}")
    results = results if isinstance(results, Results) else Results(results)
    with file_at(path) as held:
        held.claim(overwrite=overwrite)
        text, shown, total = _page(results, options, progress)
        held.partial.mkdir()
        name = f"{TABLE}{ENDING}"
        size = (held.partial / name).write_bytes(text.encode())
        held.publish({name: path.name})
    return Report(shown, total, size)


def _page(results: Results, options: ReportOptions, progress: Progress) -> tuple[str, int, int]:
    names, sets = results.contexts()
    chosen = select_contexts(list(zip(sets, names, strict=True)), options.contexts)
    part = strongest_rows(results, chosen, options.top, progress)
    rows = as_shown(results, part, progress)
    data: dict[str, Any] = page_data(results, part, rows)
    data["specs"] = {name: filled(chart).to_dict() for name, chart in data["specs"].items()}
    counts = results.attributes.counts
    text = rendered(
        "report",
        "report.html",
        title=f"Report of {printable(results.path.name)}",
        synthetic=results.attributes.store.synthetic,
        facts=facts(results),
        not_scored=reasons(counts.not_scored, counts.examples),
        commands=commands(results),
        by=list(options.contexts),
        shown=len(rows),
        total=part.total,
        calibrated=results.is_calibrated,
        faint=FAINT,
        data=trusted(script_json(data)),
        vega=trusted(scripts()),
        draw=trusted(web_file("charts", "draw.js")),
        script=trusted(web_file("report", "report.js")),
        own_style=trusted(web_file("report", "report.css")),
    )
    return text, len(rows), part.total
