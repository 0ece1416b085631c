"""Whether scores of the demo's world are what was planted: the answer, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.invented.motifs import FACTORS
from seal_store.invented.world import Truth
from seal_store.model.contexts import Context, matching
from seal_store.results.group import Results
from seal_store.scoring.options import AttributionOptions
from seal_store.store.store import Store

AGREEMENT = 0.9
"""Least Spearman's r of the two schemes."""

ACTS_FROM = 0.5
"""A context counts as one of an effect from this share of its largest on."""


@dataclass(frozen=True)
class Finding:
    """A line of the answer: whether it is as planted, and what was found."""

    right: bool
    text: str


@dataclass(frozen=True)
class _Scored:
    """Results with what is needed of them, by row.

    ``peak`` is the largest ``|effect|``, ``first`` the strongest feature by target; ``planted``
    has the row of each truth, ``acts`` the positions of the contexts it names.
    """

    scheme: str
    contexts: list[Context]
    effect: np.ndarray
    peak: np.ndarray
    genes: np.ndarray
    ids: list[str]
    first: list[dict[Context, str]]
    planted: np.ndarray
    acts: list[list[int]]


def one_context_each(store: Store) -> AttributionOptions:
    """DeepLift for one context of each factor."""
    contexts = pairs(*store.contexts())
    places = [min(matching(contexts, factor.contexts)) for factor in FACTORS]
    targets = tuple(":".join(contexts[place]) for place in dict.fromkeys(places))
    return AttributionOptions("deeplift", targets)


def pairs(names: Iterable[str], sets: Iterable[str]) -> list[Context]:
    """Contexts as head set and name."""
    return [(str(head_set), str(name)) for name, head_set in zip(names, sets, strict=True)]


def findings(truth: Sequence[Truth], schemes: Sequence[Results]) -> list[Finding]:
    """What of ``truth`` the two ``schemes`` show, line by line.

    They are results of the same variants, with the attributions of :func:`one_context_each`.
    """
    found = [_all_there(truth, results) for results in schemes]
    if not all(finding.right for finding in found):
        return found
    scored = [_read(truth, results) for results in schemes]
    for one in scored:
        found += [
            _strongest(one),
            _genes(truth, one),
            _signs(truth, one),
            _contexts(one),
            _factors(truth, one),
        ]
    found.append(_agreement(*scored))
    return found


def _all_there(truth: Sequence[Truth], results: Results) -> Finding:
    scheme, ids = results.attributes.scheme, results.labels("id").tolist()
    times = [ids.count(entry.id) for entry in truth]
    return Finding(
        times == [1] * len(truth), f"{scheme}: {times.count(1)} of {len(times)} have a row"
    )


def _read(truth: Sequence[Truth], results: Results) -> _Scored:
    rows, contexts = results.rows(), pairs(*results.contexts())
    ids = [str(name) for name in rows.columns["id"]]
    attribution = results.attribution()["attribution"]
    features = results.labels("feature_name")
    targets = pairs(results.labels("target_name"), results.labels("target_set"))
    best = np.abs(attribution).argmax(2)
    acts = {q: sorted(matching(contexts, q)) for q in {entry.contexts for entry in truth}}
    return _Scored(
        results.attributes.scheme,
        contexts,
        rows.effect,
        np.abs(rows.effect).max(1),
        rows.columns["gene_id"],
        ids,
        [dict(zip(targets, map(str, features[row]), strict=True)) for row in best],
        np.array([ids.index(entry.id) for entry in truth]),
        [acts[entry.contexts] for entry in truth],
    )


def _strongest(one: _Scored) -> Finding:
    others = np.delete(one.peak, one.planted)
    weakest, strongest = one.peak[one.planted].min(), others.max()
    return Finding(
        bool(weakest > strongest),
        f"{one.scheme}: the {len(one.planted)} planted variants are the strongest of "
        f"{len(one.peak)} (weakest of them {weakest:.2g}, strongest other {strongest:.2g})",
    )


def _genes(truth: Sequence[Truth], one: _Scored) -> Finding:
    right = [one.genes[row] == e.gene_id for e, row in zip(truth, one.planted, strict=True)]
    return _count(one, right, "on the planted gene")


def _signs(truth: Sequence[Truth], one: _Scored) -> Finding:
    right = [
        bool((np.sign(one.effect[row, acts]) == entry.sign).all())
        for entry, row, acts in zip(truth, one.planted, one.acts, strict=True)
    ]
    return _count(one, right, "with the planted sign")


def _contexts(one: _Scored) -> Finding:
    strong = np.abs(one.effect) >= ACTS_FROM * one.peak[:, None]
    right = [
        np.flatnonzero(strong[row]).tolist() == acts
        for row, acts in zip(one.planted, one.acts, strict=True)
    ]
    return _count(one, right, "in the planted contexts and no others")


def _factors(truth: Sequence[Truth], one: _Scored) -> Finding:
    right = [
        one.first[row][one.contexts[acts[0]]] == entry.factor
        for entry, row, acts in zip(truth, one.planted, one.acts, strict=True)
    ]
    return _count(one, right, "with the planted factor first in DeepLift")


def _count(one: _Scored, right: Sequence[bool], what: str) -> Finding:
    return Finding(all(right), f"{one.scheme}: {sum(map(bool, right))} of {len(right)} {what}")


def _agreement(first: _Scored, second: _Scored) -> Finding:
    """Spearman's r of each variant's effect in the context in which ``first`` is strongest."""
    if first.ids != second.ids:
        return Finding(False, f"{first.scheme} and {second.scheme} scored different variants")
    rows = np.arange(len(first.ids))
    strongest = np.abs(first.effect).argmax(1)
    a, b = first.effect[rows, strongest], second.effect[rows, strongest]
    others = np.delete(rows, first.planted)
    r = {
        name: spearman(a[part], b[part])
        for name, part in (("all", rows), ("planted", first.planted), ("others", others))
    }
    return Finding(
        r["all"] >= AGREEMENT,
        f"Spearman r of {first.scheme} and {second.scheme}: {r['all']:.3f} over all "
        f"{len(rows)} rows (planted {r['planted']:.3f}, others {r['others']:.3f})",
    )


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's r of two vectors, with mean ranks for ties; NaN where a side is constant."""
    x, y = (_ranks(side) - (len(side) + 1) / 2 for side in (a, b))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(size) - (size - 1) / 2)[group]
    return ranks
