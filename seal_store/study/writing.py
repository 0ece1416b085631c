"""Tables of studies as files: TSV, Parquet, Arrow, or a page that asks no network."""

from __future__ import annotations

import gzip
import html
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.common.extras import require
from seal_store.common.output import Output
from seal_store.common.words import counted
from seal_store.errors import OutputError, printable
from seal_store.exporting.cells import cell
from seal_store.results.group import Results
from seal_store.store.frames import table as as_table
from seal_store.store.place import output_at
from seal_store.study.tables import Table

if TYPE_CHECKING:
    import pandas as pd

ATTRIBUTE = "seal_store_study"
"""Where a Parquet or Arrow file has what is known of the table, as JSON."""

_TABLE = rb"metric\tstratum\tscore\t|locus\tgene_id\tgene_symbol\t|head_set\tcontext\tmeasure\t"
_BEGINS = {
    ".tsv": _TABLE,
    ".tsv.gz": _TABLE,
    ".parquet": rb"PAR1",
    ".arrow": rb"ARROW1",
    ".feather": rb"ARROW1",
    ".html": rb"<!DOCTYPE html>",
}
DIGITS = 6
"""Significant digits in text."""


@dataclass(frozen=True)
class Study:
    """What a study found.

    ``columns`` are those of its table, one entry a line, NaN for what is not known; ``facts`` is
    JSON-ready: what was read, matched and not, and how it was done.
    """

    title: str
    columns: dict[str, np.ndarray]
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def to_frame(self) -> pd.DataFrame:
        """The table of pandas; ``attrs`` are the facts. Needs the extra ``xarray``."""
        require("xarray", "a study as a table of pandas")
        first = next(iter(self.columns))
        found = as_table(self.columns, first).reset_index()
        found.attrs = dict(self.facts)
        return found

    def text_rows(self) -> Iterator[list[str]]:
        """The cells of each line as text, unguarded; an empty cell is a missing number."""
        columns = [
            list(map(_number, values.tolist())) if values.dtype.kind == "f" else values.tolist()
            for values in self.columns.values()
        ]
        for row in zip(*columns, strict=True):
            yield list(map(str, row))

    def write(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the table by the ending of ``out``. Raises :class:`OutputError`."""
        with check_output(out) as held:
            held.claim(overwrite=overwrite)
            held.partial.mkdir()
            name = held.path.name
            self._write(held[name], _ending(name))
            held.publish()

    def _write(self, path: Path, ending: str) -> None:
        if ending in (".tsv", ".tsv.gz"):
            rows = ["\t".join(self.columns), *("\t".join(r) for r in self._guarded())]
            data = ("\n".join(rows) + "\n").encode()
            path.write_bytes(gzip.compress(data, mtime=0) if ending == ".tsv.gz" else data)
        elif ending == ".html":
            path.write_text(self._page(), "utf-8", newline="\n")
        else:
            from seal_store.exporting.parquet import write_lines

            write_lines(iter([self.columns]), path, ending, {ATTRIBUTE: json.dumps(self.facts)})

    def _guarded(self) -> Iterator[list[str]]:
        is_text = [values.dtype.kind in "UTO" for values in self.columns.values()]
        for row in self.text_rows():
            yield [cell(v) if own else v for v, own in zip(row, is_text, strict=True)]

    def _page(self) -> str:
        """A page without scripts: the facts in lines, then the table."""
        page = io.StringIO()
        title = _escaped(self.title)
        page.write(
            "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta http-equiv='Content-Security-Policy' "
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><dl>"
        )
        for name, value in self.facts.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            page.write(f"<dt>{_escaped(name)}</dt><dd>{_escaped(shown)}</dd>")
        heads = "".join(f"<th scope='col'>{_escaped(name)}</th>" for name in self.columns)
        page.write(f"</dl><table><thead><tr>{heads}</tr></thead><tbody>\n")
        for row in self.text_rows():
            page.write("<tr>" + "".join(f"<td>{_escaped(v)}</td>" for v in row) + "</tr>\n")
        page.write("</tbody></table></body></html>\n")
        return page.getvalue()


_STYLE = (
    "body{font:15px/1.4 system-ui,sans-serif;margin:2em;max-width:100em}"
    "dt{font-weight:600}dd{margin:0 0 .4em 1em;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2em .6em;border-bottom:1px solid #ccc;text-align:left}"
)


def as_columns(
    lines: Iterable[Mapping[str, Any]], kinds: Mapping[str, type]
) -> dict[str, np.ndarray]:
    """The columns of ``lines``: text as objects, numbers as float64 or int64, as ``kinds`` says."""
    rows = list(lines)
    return {
        name: np.array([row[name] for row in rows], object if kind is str else kind)
        for name, kind in kinds.items()
    }


def check_output(out: str | os.PathLike[str]) -> Output:
    """The output at ``out``, before any work.

    Raises :class:`OutputError` for an ending that no table has, :class:`MissingExtraError` for
    one that needs what is not installed.
    """
    name = os.path.basename(os.fspath(out))
    ending = _ending(name)
    if not ending:
        raise OutputError(f"{name}: not a table", f"let `out` end in {', '.join(_BEGINS)}")
    if ending in (".parquet", ".arrow", ".feather"):
        require("parquet", f"a table as {ending}")
    return output_at(out, begins=_BEGINS[ending])


def check_free(out: str | os.PathLike[str] | None, *, overwrite: bool) -> None:
    """Raise :class:`OutputError`, before any work, if ``out`` cannot be written."""
    if out is not None:
        with check_output(out) as held:
            held.check(overwrite=overwrite)


def facts_of(results: Results, table: Table, matched: int) -> dict[str, Any]:
    """What every study tells of its input: results, table, lines used and not, and why."""
    return {
        "seal_store": version("seal-store"),
        "results": str(results.path),
        "results_sha256": results.sha256,
        "synthetic": results.attributes.store.synthetic,
        "table": table.name,
        "table_sha256": table.sha256,
        "lines": table.count,
        "matched": matched,
        "unmatched": table.unmatched.to_dict(),
        "odd_lines": table.odd.to_dict(),
    }


def accounts(facts: Mapping[str, Any]) -> list[str]:
    """Lines for people about what :func:`facts_of` gave."""
    found = [f"{facts['table']}: {facts['matched']:,} of {counted(facts['lines'], 'line')} used"]
    for what in ("unmatched", "odd_lines"):
        for reason, entry in facts[what].items():
            found.append(f"  {entry['lines']} {reason} (first: {entry['first']})")
    if facts["synthetic"]:
        found.append("SYNTHETIC weights: no biological meaning")
    return found


def _ending(name: str) -> str:
    return max((e for e in _BEGINS if name.lower().endswith(e)), key=len, default="")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{DIGITS}g}"


def _escaped(text: str) -> str:
    return html.escape(printable(str(text)))
