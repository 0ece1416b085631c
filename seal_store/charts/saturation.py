"""Saturation: what every SNV of a stretch does, base by base, and what the sequence is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.charts.base import BASES, UNIT, Scores, altair, inline, signed, titled
from seal_store.charts.letters import vertices
from seal_store.common.words import counted
from seal_store.errors import InputError

if TYPE_CHECKING:
    import altair as alt

    from seal_store.charts.base import Effects

MOST_LETTERS = 400
"""Positions over which letters can be told apart; more are bars."""
PIXELS = 900


def saturation(
    effects: Effects,
    contexts: str | Sequence[str] = (),
    gene: str | None = None,
    region: tuple[int, int] | None = None,
) -> alt.VConcatChart:
    """A heat map of positions by bases, and the sequence as a logo above it.

    ``effects`` are those of SNVs around one TSS, as :func:`seal_store.saturate` gives them.
    Shown is the effect on a context, or its mean over several ``contexts`` (names or a query).
    A letter of the logo is minus the mean effect of the other three bases: what the base adds.
    ``region`` is the first and last position to show, 1-based.

    Raises :class:`~seal_store.errors.InputError` if there is no SNV, or several genes.
    """
    alt, scores = altair(), Scores.of(effects)
    keep = scores.contexts(contexts)
    rows = np.array([kind == "snv" for kind in scores.texts("kind")])
    if gene is not None:
        rows &= scores.of_gene(gene)
    pos = scores.data.pos.values
    if region is not None:
        rows &= (pos >= region[0]) & (pos <= region[1])
    chosen = np.flatnonzero(rows)
    genes = {scores.texts("gene_id")[row] for row in chosen}
    if len(genes) != 1:
        why = f"rows are of {len(genes)} genes" if genes else "there is no SNV"
        raise InputError(f"a saturation of one gene is drawn: {why}", "choose one with `gene`")
    effect = scores.data.effect.values[np.ix_(chosen, keep)].astype(float).mean(1)
    refs, alts = (np.array(scores.texts(name))[chosen] for name in ("ref", "alt"))
    at = pos[chosen]
    table = [
        {"pos": int(p), "base": a, "ref": r, "effect": float(e)}
        for p, r, a, e in zip(at, refs, alts, effect, strict=True)
    ]
    reference = dict(zip(at.tolist(), refs.tolist(), strict=True))
    worth = {p: -float(effect[at == p].mean()) for p in reference}
    strand = int(scores.data.strand.values[chosen[0]])
    tss = int(at[0] - scores.data.dist_to_tss.values[chosen[0]])
    where = alt.Scale(domain=[min(reference) - 0.5, max(reference) + 0.5], nice=False, zero=False)
    width = int(min(PIXELS, 60 + 14 * (max(reference) - min(reference) + 1)))
    logo = _logo(alt, reference, worth, where).properties(width=width, height=110)
    contig = scores.texts("contig")[chosen[0]]
    x = alt.X("pos:Q", scale=where, title=f"position on {contig}, 1-based", axis=_whole(alt))
    y = alt.Y("base:N", sort=list(BASES), title="base")
    half = [{**entry, "from": entry["pos"] - 0.5, "to": entry["pos"] + 0.5} for entry in table]
    heat = (
        alt.Chart(inline(half))
        .mark_rect()
        .encode(
            alt.X("from:Q", scale=where, title=f"position on {contig}, 1-based", axis=_whole(alt)),
            alt.X2("to:Q"),
            y,
            signed(float(np.abs(effect).max()), _what(scores, keep)),
            tooltip=["pos:Q", "ref:N", "base:N", alt.Tooltip("effect:Q", format="+.4g")],
        )
    )
    same = [{"pos": p, "base": base} for p, base in reference.items()]
    dots = alt.Chart(inline(same)).mark_point(size=8, filled=True, color="#999").encode(x, y)
    marked = [heat, dots]
    name, first, last = next(iter(genes)), min(reference), max(reference)
    stretch = f"around the TSS of {name}"
    if not first <= tss <= last:
        stretch = f"of {contig}:{first:,}-{last:,}, against {name}"
    else:
        marked.append(_tss(alt, tss, strand, where))
    body = alt.layer(*marked).properties(width=width, height=alt.Step(20))
    best = int(np.abs(effect).argmax())
    description = (
        f"{_effects(scores, keep, counted(len(table), 'SNV'))} {stretch}, in {UNIT}. "
        f"Strongest: {at[best]} {refs[best]}>{alts[best]} {effect[best]:+.3g}."
    )
    side = "+" if strand > 0 else "-"
    lines = [
        f"{name}, {side} strand, TSS {contig}:{tss:,}; dots: the genome's base",
        *scores.about(),
    ]
    chart = alt.vconcat(logo, body, spacing=6).resolve_scale(x="shared")
    return titled(chart, f"Every SNV {stretch}", lines, description)


def _logo(alt: Any, reference: dict[int, str], worth: dict[int, float], where: Any) -> Any:
    y = alt.Y("y:Q", title=["what the base adds", "(minus mean effect)"])
    x = alt.X("x:Q", scale=where, axis=None)
    bases = alt.Scale(domain=list(BASES), range=list(BASES.values()))
    if len(reference) > MOST_LETTERS:
        bars = [{"x": p, "y": worth[p], "base": base} for p, base in reference.items()]
        return (
            alt.Chart(inline(bars))
            .mark_bar(size=1)
            .encode(x, y, alt.Color("base:N", scale=bases, legend=None))
        )
    corners = [v for p, base in reference.items() for v in vertices(base, p, worth[p])]
    return (
        alt.Chart(inline(corners))
        .mark_line(filled=True, strokeWidth=0, interpolate="linear")
        .encode(
            x,
            y,
            fill=alt.Fill("base:N", scale=bases, legend=None),
            detail="letter:N",
            order="order:Q",
        )
    )


def _tss(alt: Any, tss: int, strand: int, where: Any) -> Any:
    """A line at the TSS, and an arrow in the direction of transcription."""
    arrow = "TSS →" if strand > 0 else "← TSS"
    mark = alt.Chart(inline([{"pos": tss, "text": arrow}]))
    x = alt.X("pos:Q", scale=where, axis=_whole(alt))
    align = "left" if strand > 0 else "right"
    rule = mark.mark_rule(color="#000", strokeDash=[3, 2]).encode(x)
    text = mark.mark_text(align=align, dx=4 * strand, y=-6, fontSize=11).encode(x, text="text:N")
    return rule + text


def _what(scores: Scores, keep: np.ndarray) -> str:
    if len(keep) == 1:
        return f"effect on {scores.pairs()[keep[0]][1]}, {UNIT}"
    return f"mean effect over {len(keep)} contexts, {UNIT}"


def _effects(scores: Scores, keep: np.ndarray, variants: str) -> str:
    if len(keep) == 1:
        return f"Effects of {variants} on {scores.pairs()[keep[0]][1]}"
    return f"Mean effects of {variants} over {len(keep)} contexts"


def _whole(alt: Any) -> Any:
    return alt.Axis(format=",d", tickMinStep=1, grid=False)
