"""Are effects right where the truth is known? Against baselines, with contexts chosen beforehand.

A context that is chosen because it fits the truth best fits it by chance too. So a score is of
contexts that were named, of each variant's strongest context, or of a context chosen on other
folds; and distance to the TSS, chance and other models' scores always stand beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.common.words import counted
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.results.group import Results
from seal_store.study.matching import effects_of
from seal_store.study.metrics import (
    FEWEST,
    METRICS,
    Measured,
    Metric,
    auroc,
    interval,
    measured,
    rank_correlation,
)
from seal_store.study.truth import FOLDS, Truth, read_truth
from seal_store.study.writing import Study, as_columns, facts_of
from seal_store.variants.bases import Reference

CHOICES = {
    "mean": "beforehand: the mean over {count}",
    "each": "each of {count} by itself: the best of them is no result",
    "largest": "beforehand: of each variant the largest of {count} in size",
    "nested": "by nested folds: the best of {count} on the other folds of the truth",
}
"""How contexts are chosen, and what is said of it."""
DISTANCES = (0, 500, 2_000, 5_000, 20_000)
"""Edges of the strata by distance to the TSS, bp: from one on, up to the next."""
FEW_LOCI = 20
"""Below this many, draws of loci say too little."""
SHOWN = 5
"""So many contexts at most are told to people one by one; the table has all."""
MODEL, DISTANCE, RANDOM = "seal-store", "distance to TSS", "random"
SIGNS = "sign_agreement"


@dataclass(frozen=True)
class EvaluateOptions:
    """How effects are evaluated.

    ``contexts`` are names as in :func:`seal_store.model.contexts.select_contexts`, all by
    default. ``choose`` is one of :data:`CHOICES`, by default ``mean`` where contexts are named,
    else ``largest``. ``bootstrap`` draws of loci make the intervals; ``seed`` is theirs.
    """

    contexts: Sequence[str] = ()
    choose: str = ""
    bootstrap: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        conform(self)
        if self.choose and self.choose not in CHOICES:
            raise InputError(f"`choose` {self.choose!r}: not one of {', '.join(CHOICES)}")
        if self.bootstrap < 1:
            raise InputError(f"`bootstrap` {self.bootstrap}: not positive")
        if self.seed < 0:
            raise InputError(f"`seed` {self.seed}: negative")

    @property
    def how(self) -> str:
        """How contexts are chosen."""
        return self.choose or ("mean" if self.contexts else "largest")


@dataclass(frozen=True)
class Score:
    """A prediction: float64 ``(variants,)``, signed and by size; ``known`` where there is one."""

    name: str
    signed: np.ndarray
    size: np.ndarray
    context_set: str = ""
    context: str = ""
    only: tuple[str, ...] = ()
    """Names of the measures that it has; all by default."""

    @property
    def known(self) -> np.ndarray:
        """Where there is a prediction."""
        return ~(np.isnan(self.signed) | np.isnan(self.size))


def evaluate_variants(
    results: Results,
    truth: Any,
    options: EvaluateOptions | None = None,
    progress: Progress = silent,
    bases: Reference | None = None,
) -> Study:
    """Compare effects of ``results`` with ``truth``, the path of a table or a data frame.

    The study's table has a line for each measure, stratum and score. Effects of the contexts
    chosen are held for all variants of the truth: 4 bytes each. ``bases`` left-align insertions
    and deletions, see :func:`~seal_store.study.matching.match`. Raises :class:`InputError` for a
    truth that cannot be used and :class:`HeadsError` for a context that is not there; needs the
    extra ``study``.
    """
    require("study", "an evaluation")
    options = options or EvaluateOptions()
    names, sets = results.contexts()
    contexts = select_contexts(list(zip(sets, names, strict=True)), options.contexts)
    own = read_truth(truth, results, contexts, progress, bases)
    effects = effects_of(results, own.rows, contexts, progress) * own.sign[:, None]
    labels = [(sets[i], names[i]) for i in contexts.tolist()]
    scores, folds = _predicted(own, effects, labels, options.how)
    scores += _others(own, scores)
    chance = replace(scores[0], name=RANDOM, context="", context_set="")  # permuted below
    scores += [_distance(own), chance]
    lines = _lines(own, scores, options, progress)
    facts = {
        **facts_of(results, own.table, len(own)),
        "contexts": CHOICES[options.how].format(count=counted(len(contexts), "context")),
        "choose": options.how,
        **({"folds": folds} if folds else {}),
        "contexts_asked": list(options.contexts),
        "loci": len(set(own.locus.tolist())),
        "turned": int((own.sign < 0).sum()),
        "intervals": f"95 %, {options.bootstrap} draws of loci, seed {options.seed}",
        "other_scores": list(own.scores),
        "columns_not_used": list(own.unused),
    }
    if options.how == "nested":
        facts["loci_in_several_folds"] = _split_loci(own)
    columns = as_columns(lines, COLUMNS)
    return Study("Evaluation of effects on known variants", columns, facts)


COLUMNS: dict[str, type] = {
    **dict.fromkeys(("metric", "stratum", "score", "context_set", "context"), str),
    **dict.fromkeys(("value", "low", "high"), float),
    **dict.fromkeys(("over_distance", "over_distance_low", "over_distance_high"), float),
    **dict.fromkeys(("variants", "positive", "loci"), int),
    "chosen": str,
}
"""Columns of the study's table."""


def summary(study: Study) -> list[str]:
    """Lines for people: the measures over all variants; of many contexts their spread alone.

    The best of many, which says nothing, is not named.
    """
    c = study.columns
    found = [f"contexts: {study.facts['contexts']}"]
    if study.facts["loci"] < FEW_LOCI:
        found.append(
            f"only {counted(study.facts['loci'], 'locus', 'loci')}: intervals of fewer than "
            f"{FEW_LOCI} are too narrow"
        )
    whole = (c["stratum"] == "all") & ~np.isnan(c["value"])
    for metric in dict.fromkeys(c["metric"][whole].tolist()):
        own = whole & (c["metric"] == metric)
        ours = np.flatnonzero(own & (c["score"] == MODEL))
        if len(ours) > SHOWN:
            low, middle, high = np.quantile(c["value"][ours], (0, 0.5, 1))
            found.append(
                f"{metric}: {MODEL}, {len(ours)} contexts: median {middle:.3f}, from {low:.3f} to "
                f"{high:.3f}; --out has each"
            )
        else:
            found += [_said(c, i) for i in ours.tolist()]
        found += [_said(c, i) for i in np.flatnonzero(own & (c["score"] != MODEL)).tolist()]
    ours = (c["stratum"] == "all") & (c["score"] == MODEL)
    known = set(c["metric"][ours & whole].tolist())
    for metric in dict.fromkeys(c["metric"][ours].tolist()):
        if metric not in known:
            found.append(f"{metric}: none: one label only, or nothing differs")
    return found


def _said(columns: dict[str, np.ndarray], i: int) -> str:
    """A line of the table for people."""
    own = {name: values[i] for name, values in columns.items()}
    context = f" ({own['context']})" if own["context"] else ""
    return (
        f"{own['metric']}: {own['score']}{context} {own['value']:.3f} "
        f"[{own['low']:.3f}, {own['high']:.3f}], {counted(own['variants'], 'variant')} in "
        f"{counted(own['loci'], 'locus', 'loci')}"
    )


def _predicted(
    truth: Truth, effects: np.ndarray, labels: Sequence[tuple[str, str]], how: str
) -> tuple[list[Score], dict[str, str]]:
    """Scores of the results, and of nested folds the context of each."""
    if how == "each":
        return [
            _score(effects[:, i], head_set, context) for i, (head_set, context) in enumerate(labels)
        ], {}
    if how == "nested":
        score, chosen = _nested(truth, effects)
        folds = {fold: ":".join(labels[i]) for fold, i in chosen.items()}
        return [replace(score, context=", ".join(sorted(set(folds.values()))))], folds
    if how == "largest":
        place = np.abs(effects).argmax(1)
        return [_score(effects[np.arange(len(effects)), place])], {}
    head_set, context = labels[0] if len(labels) == 1 else ("", "")
    size = np.abs(effects).mean(1, dtype=np.float64)
    signed = effects.mean(1, dtype=np.float64)
    return [Score(MODEL, signed, size, head_set, context)], {}


def _score(effect: np.ndarray, head_set: str = "", context: str = "") -> Score:
    signed = effect.astype(np.float64)
    return Score(MODEL, signed, np.abs(signed), head_set, context)


def _nested(truth: Truth, effects: np.ndarray) -> tuple[Score, dict[str, int]]:
    """Each fold scored on the context that is best on the others, and which that is.

    Best by AUROC where there are labels, else by Spearman's r; the first of equals. Effects are
    divided by their root mean square on the other folds, as contexts differ in scale.
    """
    folds = sorted(set(truth.fold.tolist()))
    if len(folds) < 2:
        raise InputError(
            f"`truth` {truth.table.name}: one fold only, `choose='nested'` needs several",
            f"give a column fold, or variants of more loci ({FOLDS} folds are made of loci)",
        )
    is_labelled = bool((~np.isnan(truth.label)).any())
    target = truth.label if is_labelled else truth.effect
    signed, chosen = np.zeros(len(truth)), {}
    for fold in folds:
        held = truth.fold == fold
        rest = ~held & ~np.isnan(target)
        best, most = 0, -np.inf
        for i in range(effects.shape[1] if rest.any() else 0):
            own = effects[rest, i].astype(np.float64)
            measure = auroc if is_labelled else rank_correlation
            score = np.abs(own) if is_labelled else own
            value = float(measure(target[rest], score, truth.weight[rest][None])[0])
            if value > most:
                best, most = i, value
        if most == -np.inf:
            raise InputError(
                f"`truth` {truth.table.name}: outside fold {fold} nothing tells contexts apart: "
                + ("one label only" if is_labelled else "effects do not differ"),
                "give folds that leave more, or `choose='largest'`",
            )
        scale = np.sqrt(np.square(effects[~held, best], dtype=np.float64).mean())
        signed[held] = effects[held, best] / (scale or 1)
        chosen[str(fold)] = best
    return Score(MODEL, signed, np.abs(signed)), chosen


def _split_loci(truth: Truth) -> int:
    """Loci whose variants lie in several folds: what is learned of one is known of the other."""
    pairs = set(zip(truth.locus.tolist(), truth.fold.tolist(), strict=True))
    folds = Counter(locus for locus, _ in pairs)
    return sum(count > 1 for count in folds.values())


def _others(truth: Truth, scores: Sequence[Score]) -> list[Score]:
    """Other models' scores; where one lacks variants, ours on the same variants beside it."""
    found = []
    for name, values in truth.scores.items():
        found.append(Score(name, values, np.abs(values)))
        missing = np.isnan(values)
        if missing.any():
            own = scores[0]
            found.append(
                replace(
                    own,
                    name=f"{MODEL}, where {name} is known",
                    signed=np.where(missing, np.nan, own.signed),
                )
            )
    return found


def _distance(truth: Truth) -> Score:
    """The nearer, the larger; its signs are those of :func:`_majority`."""
    return Score(
        DISTANCE,
        np.ones(len(truth)),
        -truth.distance.astype(float),
        only=("auroc", "auprc", "spearman_size", SIGNS),
    )


def _majority(truth: Truth, distance: Score, own: np.ndarray) -> Score:
    """The sign that most of ``own`` variants have, by weight, for each of them."""
    most = np.nansum(np.sign(truth.effect[own]) * truth.weight[own])
    return replace(distance, signed=np.full(len(truth), 1.0 if most >= 0 else -1.0))


def _strata(truth: Truth) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks ``(variants,)``: all, by distance, by group."""
    yield "all", np.ones(len(truth), bool)
    for low, high in zip(DISTANCES, (*DISTANCES[1:], None), strict=True):
        inside = truth.distance >= low
        if high is not None:
            inside &= truth.distance < high
        if inside.any():
            yield f"{low}-{high} bp" if high is not None else f"from {low} bp", inside
    for group in dict.fromkeys(truth.group.tolist()):
        if group:
            yield f"group {group}", truth.group == group


def _lines(
    truth: Truth, scores: Sequence[Score], options: EvaluateOptions, progress: Progress
) -> Iterator[dict[str, Any]]:
    strata = list(_strata(truth))
    metrics = [m for m in METRICS if not np.isnan(_target(truth, m)).all()]
    done, total = 0, len(strata) * len(metrics) * len(scores)
    for stratum, inside in strata:
        for metric in metrics:
            target = _target(truth, metric)
            own = inside & ~np.isnan(target)
            if metric.name == SIGNS:
                own &= target != 0  # they have no sign to agree with
            if own.sum() < FEWEST:
                done += len(scores)
                continue
            distance = scores[-2]
            baseline = _majority(truth, distance, own) if metric.name == SIGNS else distance
            by_distance = _measured(truth, metric, baseline, own, options)
            for score in scores:
                done += 1
                progress("measures", done, total)
                if score.only and metric.name not in score.only:
                    continue
                kept = own & score.known
                chance = score.name == RANDOM
                found = (
                    by_distance
                    if score is distance
                    else _by_chance(truth, metric, score, kept, options)
                    if chance
                    else _measured(truth, metric, score, kept, options)
                )
                same = not chance and score is not distance and metric.name in distance.only
                over = _over(found, by_distance) if same and (kept == own).all() else _NOTHING
                low, high = found.interval
                yield {
                    **{"metric": metric.name, "stratum": stratum, "score": score.name},
                    **{"context_set": score.context_set, "context": score.context},
                    **{"value": found.value, "low": low, "high": high},
                    **dict(zip(_OVER, over, strict=True)),
                    "variants": int(kept.sum()),
                    "positive": int((target[kept] > 0).sum()),
                    "loci": len(set(truth.locus[kept].tolist())),
                    "chosen": options.how if score.name.startswith(MODEL) else "",
                }


_OVER = ("over_distance", "over_distance_low", "over_distance_high")
_NOTHING = (np.nan, np.nan, np.nan)


def _over(found: Measured, other: Measured) -> tuple[float, float, float]:
    """How much more than another measure on the same draws, with its interval."""
    return (found.value - other.value, *interval(found.draws - other.draws))


def _target(truth: Truth, metric: Metric) -> np.ndarray:
    return truth.label if metric.labels else truth.effect


def _measured(
    truth: Truth, metric: Metric, score: Score, own: np.ndarray, options: EvaluateOptions
) -> Measured:
    values = score.size if metric.size else score.signed
    return measured(
        metric.measure,
        _target(truth, metric)[own],
        values[own],
        truth.weight[own],
        truth.locus[own],
        draws=options.bootstrap,
        seed=options.seed,
    )


def _by_chance(
    truth: Truth, metric: Metric, score: Score, own: np.ndarray, options: EvaluateOptions
) -> Measured:
    """The measure with the score permuted among the variants; its value is the mean."""
    rng = np.random.default_rng(options.seed)
    target, weight = _target(truth, metric)[own], truth.weight[own]
    values = (score.size if metric.size else score.signed)[own]
    found = np.array(
        [
            metric.measure(target, rng.permutation(values), weight[None])[0]
            for _ in range(options.bootstrap if len(values) else 0)
        ]
    )
    there = found[~np.isnan(found)]
    return Measured(float(there.mean()) if len(there) else np.nan, found)
