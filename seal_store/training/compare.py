"""Evaluate head sets and other models' predictions against measured expression.

Compared are the test genes and the contexts that the expression table and every model have. So a
difference between two models is not one of the genes or contexts that they happen to cover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seal_store.common.device import inference, resolve_device
from seal_store.common.extras import require
from seal_store.common.output import Output
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.errors import TrainingError
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import Heads, check_cnn, find_summaries, load_head_set
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.store.store import Store
from seal_store.training.expression import Matrix, read_matrix
from seal_store.training.fit import ROWS_AT_ONCE
from seal_store.training.inputs import Features, Source, computed_genes, open_source
from seal_store.training.metrics import across_contexts, median, mse, or_none, spearman
from seal_store.training.outputs import PNG, write_record, write_table
from seal_store.training.plots import agreement
from seal_store.training.targets import FEWEST_TEST, make_targets, test_genes

FILES = {
    "contexts.tsv": rb"model\tcontext\t",
    "genes.tsv": rb"model\tgene_id\t",
    "agreement.png": PNG,
    "summary.json": rb'\{\s*"out"',
}
"""What is written, and how each file begins."""


@dataclass(frozen=True)
class CompareOptions:
    """Measured ``expression``, what to set against it, and where to write.

    ``models`` maps a name to a summary file or its folder, an empty name stands for the set's
    own; ``heads`` names sets of the store; ``predictions`` maps a name to a table of another
    model. Of these, ``target_scale`` names those whose values are ln(value + pseudocount), so
    that a squared error means something. ``stage`` is ``pretrain``, ``finetune`` or empty: the
    fine-tuned model where there is one.
    """

    expression: Path
    out: Path
    store: Path | None = None
    features: Path | None = None
    genes: Path | None = None
    models: tuple[tuple[str, Path], ...] = ()
    heads: Sequence[str] = ()
    stage: str = ""
    predictions: Mapping[str, Path] = field(default_factory=dict)
    target_scale: Sequence[str] = ()
    test_chromosomes: Sequence[str] = ("chr8", "chr9")
    device: str = "auto"
    overwrite: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        conform(self)


@dataclass(frozen=True)
class Scores:
    """Agreement of one model: arrays over contexts, and over genes."""

    mse: np.ndarray
    spearman: np.ndarray
    across: np.ndarray
    centred: np.ndarray


def compare(options: CompareOptions, progress: Progress = silent) -> dict[str, Any]:
    """Evaluate every model on the genes of ``test_chromosomes``; writes ``evaluation_*``.

    Returns medians by model, JSON-ready. Raises an :class:`InputError` for an input that is
    wrong or if nothing is left to compare, and :class:`OutputError` if the output exists.
    """
    require("train", "evaluation")
    expression = read_matrix(options.expression, "expression", negative=False)
    sets, tables = _models(options)
    source = _source(options, sets) if sets else None
    genes = source.genes if source else _genes_alone(options)
    targets = make_targets(expression, genes)
    test = test_genes(genes.contig[targets.rows], options.test_chromosomes)
    models: dict[str, HeadSet | Matrix] = {**sets, **tables}
    contexts = _common_contexts(targets.contexts, models)
    names = {f"evaluation_{name}": begins for name, begins in FILES.items()}
    outputs = Output(options.out / "evaluation", names=names)
    outputs.check(overwrite=options.overwrite)
    device, rows = resolve_device(options.device), targets.rows[test]
    values = {}
    if source:
        features = source.read(rows, progress)
        values = {name: _predictions(head_set, features, device) for name, head_set in sets.items()}
    values |= {name: table.of(genes.gene_id[rows]) for name, table in tables.items()}
    for name, model in models.items():
        values[name] = values[name][:, [model.contexts.index(context) for context in contexts]]
    kept = _common_genes(values)
    measured = targets.values[test[kept]][:, [targets.contexts.index(c) for c in contexts]]
    scores = {
        name: scores_of(
            found[kept], measured, comparable=name in sets or name in options.target_scale
        )
        for name, found in values.items()
    }
    with outputs:
        outputs.claim(overwrite=options.overwrite)
        outputs.partial.mkdir()
        kept_genes = genes.gene_id[rows[kept]]
        odd = genes.odd.to_dict()
        return _write(options, outputs, scores, contexts, kept_genes, len(rows), odd)


def scores_of(predicted: np.ndarray, measured: np.ndarray, *, comparable: bool = True) -> Scores:
    """Agreement of predictions ``(genes, contexts)`` with targets; MSE is NaN if not comparable."""
    errors = mse(predicted, measured) if comparable else np.full(measured.shape[1], np.nan)
    return Scores(
        errors,
        spearman(predicted, measured),
        across_contexts(predicted, measured),
        across_contexts(predicted, measured, centred=True),
    )


def _models(options: CompareOptions) -> tuple[dict[str, HeadSet], dict[str, Matrix]]:
    """Head sets and tables of predictions by name, at least one of them."""
    sets: list[tuple[str, HeadSet]] = []
    for name, path in options.models:
        found = [load_head_set(summary, options.stage) for summary in find_summaries(path)]
        if name and len(found) > 1:
            raise TrainingError(
                f"`models` {name}={path}: {len(found)} head sets in this folder",
                "give one summary file, or leave the name away",
            )
        sets += [(name or head_set.name, head_set) for head_set in found]
    if options.heads:
        if options.store is None:
            raise TrainingError("`heads` names sets of a store", "give `store`, or use `models`")
        sets += [(s.name, s) for s in Store(options.store).heads(list(options.heads))]
    tables = {name: read_matrix(path, "predictions") for name, path in options.predictions.items()}
    names = [name for name, _ in sets] + list(tables)
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f"two models are named {name!r}", "name them: `models` NAME=PATH")
    for name in options.target_scale:
        if name not in tables:
            raise TrainingError(
                f"`target_scale` {name!r}: no such `predictions`", f"there are {', '.join(tables)}"
            )
    if not names:
        raise TrainingError("nothing to evaluate", "give `models`, `heads` or `predictions`")
    return dict(sets), tables


def _genes_alone(options: CompareOptions) -> GeneTable:
    if options.store is not None:
        return computed_genes(Store(options.store))
    if options.genes is None:
        raise TrainingError("no gene table", "give `genes` or `store`")
    return read_genes(options.genes)


def _source(options: CompareOptions, sets: Mapping[str, HeadSet]) -> Source:
    """The features that ``sets`` are evaluated on, which must fit all of them."""
    source = open_source(options.store, options.features, options.genes)
    for name, head_set in sets.items():
        if head_set.inputs != source.inputs:
            raise TrainingError(
                f"{source.path}: {source.inputs} features a gene, the model {name} takes "
                f"{head_set.inputs}",
                "evaluate on the features that the model was trained on",
            )
        check_cnn(head_set, source.cnn)
    return source


def _predictions(head_set: HeadSet, features: Features, device: torch.device) -> np.ndarray:
    """Predictions ``(genes, contexts)`` of a head set, a few genes at a time."""
    heads = Heads([head_set], device)
    with inference():
        parts = [
            heads.predict(heads.first(features.matrix[rows].to(device))).cpu().numpy()
            for rows in features.rows.split(ROWS_AT_ONCE)
        ]
    return np.concatenate(parts)


def _common_contexts(
    contexts: tuple[str, ...], models: Mapping[str, HeadSet | Matrix]
) -> tuple[str, ...]:
    common = contexts
    for name, model in models.items():
        common = tuple(c for c in common if c in model.contexts)
        if not common:
            raise TrainingError(
                f"no context in common: {name} has {model.contexts[0]!r} and others, "
                f"the expression table {contexts[0]!r} and others",
                "name contexts alike, and evaluate sets of different contexts one by one",
            )
    return common


def _common_genes(values: Mapping[str, np.ndarray]) -> np.ndarray:
    present = {name: ~np.isnan(found).any(1) for name, found in values.items()}
    kept = np.flatnonzero(np.logical_and.reduce(list(present.values())))
    if len(kept) < FEWEST_TEST:
        counts = ", ".join(f"{name} {int(p.sum())} of {len(p)}" for name, p in present.items())
        raise TrainingError(
            f"{len(kept)} test genes have a value in every context compared ({counts})",
            "name genes as the gene table does, or give more `test_chromosomes`",
        )
    return kept


def _write(
    options: CompareOptions,
    outputs: Output,
    scores: Mapping[str, Scores],
    contexts: tuple[str, ...],
    gene_id: np.ndarray,
    candidates: int,
    odd_lines: dict[str, Any],
) -> dict[str, Any]:
    write_table(
        outputs["evaluation_contexts.tsv"],
        ("model", "context", "mse", "spearman"),
        [
            (name, *row)
            for name, s in scores.items()
            for row in zip(contexts, s.mse.tolist(), s.spearman.tolist(), strict=True)
        ],
    )
    write_table(
        outputs["evaluation_genes.tsv"],
        ("model", "gene_id", "across_contexts", "across_contexts_centred"),
        [
            (name, *row)
            for name, s in scores.items()
            for row in zip(gene_id, s.across.tolist(), s.centred.tolist(), strict=True)
        ],
    )
    agreement(
        outputs["evaluation_agreement.png"],
        {name: s.spearman for name, s in scores.items()},
        {name: s.centred for name, s in scores.items()},
    )
    facts = {
        "out": str(options.out),
        "test_chromosomes": list(options.test_chromosomes),
        "contexts": len(contexts),
        "genes": len(gene_id),
        "test_genes_not_in_every_model": candidates - len(gene_id),
        "medians": [
            {
                "model": name,
                "mse": or_none(median(s.mse)),
                "spearman": or_none(median(s.spearman)),
                "across_contexts": or_none(median(s.across)),
                "across_contexts_centred": or_none(median(s.centred)),
                "genes_across_contexts": int((~np.isnan(s.centred)).sum()),
            }
            for name, s in scores.items()
        ],
        "odd_lines": odd_lines,
    }
    write_record(outputs["evaluation_summary.json"], {**facts, "command": options.command})
    outputs.publish()
    return facts
