"""Evaluation: how well effects agree with what is known of variants, beside what needs no model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seal_store.charts.base import CATEGORIES, SYNTHETIC, altair, inline, short, titled
from seal_store.common.extras import require
from seal_store.errors import InputError

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "spearman": "Spearman's r",
    "spearman_size": "Spearman's r of sizes",
    "sign_agreement": "share of equal signs",
}
MOST = 40
"""Lines of a panel."""
LINE = 14
"""Height of one."""
_COLUMNS = {"metric", "stratum", "score", "context", "value", "low", "high", "variants", "loci"}


def evaluation(table: pd.DataFrame | str | os.PathLike[str]) -> alt.HConcatChart:
    """A panel for each measure: its value and 95 % interval, by stratum, for each score.

    ``table`` is what :func:`seal_store.evaluate_variants` gives, or a Parquet file that it or
    ``seal-store evaluate variants --out`` wrote.

    Raises :class:`~seal_store.errors.InputError` for another table, for one without values, or
    with more than 40 lines for a measure, as one of ``choose="each"`` has.
    """
    if isinstance(table, str | os.PathLike):
        table = _read(Path(table))
    if not set(table.columns) >= _COLUMNS or "matched" not in table.attrs:
        raise InputError("`table` is no evaluation", "give what `evaluate_variants` returned")
    found = table.dropna(subset=["value"])
    panels = [name for name in METRICS if (found["metric"] == name).any()]
    if not panels:
        raise InputError("`table` has no value to draw")
    contexts = found["context"].nunique() > 2  # "" is that of what has none
    rows = [
        {
            "metric": line.metric,
            "stratum": short(line.stratum),
            "score": short(f"{line.score} ({line.context})" if contexts else line.score),
            "value": line.value,
            "low": line.low,
            "high": line.high,
            "variants": line.variants,
            "loci": line.loci,
        }
        for line in found.itertuples()
    ]
    scores = list(dict.fromkeys(row["score"] for row in rows))
    strata = list(dict.fromkeys(row["stratum"] for row in rows))
    if len(scores) * len(strata) > MOST:
        raise InputError(
            f"{len(scores)} scores in {len(strata)} strata: more than {MOST} lines",
            "evaluate fewer `contexts` or groups",
        )
    charts = [
        _panel([r for r in rows if r["metric"] == name], METRICS[name], strata, scores, not place)
        for place, name in enumerate(panels)
    ]
    facts = table.attrs
    lines = [
        f"{facts['matched']} of {facts['lines']} lines of {short(Path(facts['table']).name)}; "
        f"contexts: {facts['contexts']}",
        f"lines: {facts['intervals']}; results {short(Path(facts['results']).name)}, "
        f"sha256 {facts['results_sha256'][:12]}",
    ]
    lines += [SYNTHETIC] if facts["synthetic"] else []
    own = next((row for row in rows if row["stratum"] == "all"), rows[0])
    said = (
        f"{METRICS[own['metric']]} of {own['score']}, {own['stratum']}: {own['value']:.3g} "
        f"[{own['low']:.3g}, {own['high']:.3g}], {own['variants']} variants in {own['loci']} loci."
    )
    return titled(altair().hconcat(*charts), "Agreement with known variants", lines, said)


def _panel(
    rows: list[dict[str, Any]], title: str, strata: list[str], scores: list[str], first: bool
) -> Any:
    alt = altair()
    axis = alt.Axis() if first else None
    place: dict[str, Any] = {
        "y": alt.Y("stratum:N", sort=strata, title=None, axis=axis),
        "yOffset": alt.YOffset("score:N", sort=scores),
        "color": alt.Color(
            "score:N",
            sort=scores,
            title=None,
            scale=alt.Scale(domain=scores, range=[*CATEGORIES] * (1 + len(scores) // 8)),
            legend=alt.Legend(orient="bottom", labelLimit=300, columns=4),
        ),
        "tooltip": [
            *("score:N", "stratum:N", "variants:Q", "loci:Q"),
            *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
        ],
    }
    base = alt.Chart(inline(rows))
    x = alt.X("low:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    intervals = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", **place)
    values = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=alt.X("value:Q", title=title), **place
    )
    height = (len(scores) * LINE + 8) * len(strata)
    return (intervals + values).properties(width=240, height=height)


def _read(path: Path) -> pd.DataFrame:
    require("parquet", "an evaluation from Parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        about = (table.schema.metadata or {})[b"seal_store_study"]
    except (OSError, KeyError, pyarrow.ArrowInvalid):
        hint = "write it by `seal-store evaluate variants --out TABLE.parquet`"
        raise InputError(f"{path}: no evaluation as Parquet", hint) from None
    found: pd.DataFrame = table.to_pandas()
    found.attrs = json.loads(about)
    return found
