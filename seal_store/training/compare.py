"""Head sets and other models' predictions against measured expression, on the same genes.

Compared are the test genes and the contexts that the expression table and every model have. So a
difference between two models is not one of the genes or contexts that they happen to cover.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.device import inference, resolve_device
from seal_store.common.extras import require
from seal_store.common.progress import Progress, silent
from seal_store.errors import TrainingError
from seal_store.model.heads import Heads, HeadSet, check_cnn, find_summaries, load_head_set
from seal_store.reference.gene_files import read_genes
from seal_store.reference.gene_table import GeneTable
from seal_store.store.store import Store, software
from seal_store.training.expression import Matrix, read_matrix
from seal_store.training.fit import ROWS_AT_ONCE
from seal_store.training.inputs import Features, Source, computed_genes, open_source
from seal_store.training.metrics import across_contexts, median, mse, spearman
from seal_store.training.outputs import Outputs, write_table
from seal_store.training.plots import agreement
from seal_store.training.targets import FEWEST_TEST, make_targets, test_genes

FILES = ("contexts.tsv", "genes.tsv", "agreement.png", "summary.json")


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
    heads: tuple[str, ...] = ()
    stage: str = ""
    predictions: Mapping[str, Path] = field(default_factory=dict)
    target_scale: tuple[str, ...] = ()
    test_chromosomes: tuple[str, ...] = ("chr8", "chr9")
    device: str = "auto"
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True)
class Predictor:
    """One model: the contexts it has, its values ``(genes, contexts)`` for genes by id.

    NaN is a gene or value it lacks; ``comparable`` says that values are on the targets' scale.
    """

    contexts: tuple[str, ...]
    values: Callable[[np.ndarray], np.ndarray]
    comparable: bool


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
    expression = read_matrix(options.expression, "--expression", negative=False)
    genes, predictors = _predictors(options, progress)
    targets = make_targets(expression, genes)
    test = test_genes(genes.contig[targets.rows], options.test_chromosomes)
    contexts = _common_contexts(targets.contexts, predictors)
    outputs = Outputs(
        options.out,
        "evaluation",
        [f"evaluation_{name}" for name in FILES],
        overwrite=options.overwrite,
    )
    ids = genes.gene_id[targets.rows[test]]
    values = {}
    for name, predictor in predictors.items():
        columns = [predictor.contexts.index(context) for context in contexts]
        values[name] = predictor.values(ids)[:, columns]
    kept = _common_genes(values)
    measured = targets.values[test[kept]][:, [targets.contexts.index(c) for c in contexts]]
    scores = {
        name: score(found[kept], measured, comparable=predictors[name].comparable)
        for name, found in values.items()
    }
    with outputs:
        return _write(options, outputs, scores, contexts, ids[kept], len(ids))


def score(predicted: np.ndarray, measured: np.ndarray, *, comparable: bool = True) -> Scores:
    """Agreement of predictions ``(genes, contexts)`` with targets; MSE is NaN if not comparable."""
    errors = mse(predicted, measured) if comparable else np.full(measured.shape[1], np.nan)
    return Scores(
        errors,
        spearman(predicted, measured),
        across_contexts(predicted, measured),
        across_contexts(predicted, measured, centred=True),
    )


def _predictors(
    options: CompareOptions, progress: Progress
) -> tuple[GeneTable, dict[str, Predictor]]:
    sets: list[tuple[str, HeadSet]] = []
    for name, path in options.models:
        found = [load_head_set(summary, options.stage) for summary in find_summaries(path)]
        if name and len(found) > 1:
            raise TrainingError(
                f"--model {name}={path}: {len(found)} head sets in this folder",
                "give one summary file, or leave the name away",
            )
        sets += [(name or head_set.name, head_set) for head_set in found]
    if options.heads:
        if options.store is None:
            raise TrainingError("--heads names sets of a store", "give --store, or use --model")
        sets += [(s.name, s) for s in Store(options.store).heads(list(options.heads))]
    others = {
        name: read_matrix(path, "--predictions") for name, path in options.predictions.items()
    }
    names = [name for name, _ in sets] + list(others)
    for name in names:
        if names.count(name) > 1:
            raise TrainingError(f"two models are named {name!r}", "name them: --model NAME=PATH")
    for name in options.target_scale:
        if name not in others:
            raise TrainingError(
                f"--target-scale {name!r}: no such --predictions", f"there are {', '.join(others)}"
            )
    if not names:
        raise TrainingError("nothing to evaluate", "give --model, --heads or --predictions")
    predictors = {}
    if sets:
        source = open_source(options.store, options.features, options.genes)
        genes = source.genes
        predict = _Predict(source, options.device, progress)
        for name, head_set in sets:
            predict.check(name, head_set)
            predictors[name] = Predictor(head_set.contexts, predict.by(head_set), comparable=True)
    else:
        genes = _genes_alone(options)
    for name, matrix in others.items():
        on_scale = name in options.target_scale
        predictors[name] = Predictor(matrix.contexts, _lookup(matrix), comparable=on_scale)
    return genes, predictors


def _genes_alone(options: CompareOptions) -> GeneTable:
    if options.store is not None:
        return computed_genes(Store(options.store))
    if options.genes is None:
        raise TrainingError("no gene table", "give --genes or --store")
    return read_genes(options.genes)


class _Predict:
    """Predictions of head sets; the genes' decay sums are read once for all of them."""

    def __init__(self, source: Source, device: str, progress: Progress) -> None:
        self.source, self.progress = source, progress
        self.device = resolve_device(device)
        self.read: tuple[bytes, Features] | None = None

    def check(self, name: str, head_set: HeadSet) -> None:
        if head_set.inputs != self.source.inputs:
            raise TrainingError(
                f"{self.source.path}: {self.source.inputs} features a gene, the model {name} "
                f"takes {head_set.inputs}",
                "evaluate on the features that the model was trained on",
            )
        check_cnn(head_set, self.source.cnn)

    def by(self, head_set: HeadSet) -> Callable[[np.ndarray], np.ndarray]:
        def values(gene_id: np.ndarray) -> np.ndarray:
            features = self._features(gene_id)
            heads = Heads([head_set], self.device)
            with inference():
                parts = [
                    heads.predict(heads.first(features.matrix[rows].to(self.device))).cpu().numpy()
                    for rows in features.rows.split(ROWS_AT_ONCE)
                ]
            return np.concatenate(parts)

        return values

    def _features(self, gene_id: np.ndarray) -> Features:
        key = gene_id.tobytes()
        if self.read is None or self.read[0] != key:
            rows = np.array([self.source.genes.row(str(gene)) for gene in gene_id])
            self.read = key, self.source.read(rows, self.progress)
        return self.read[1]


def _lookup(matrix: Matrix) -> Callable[[np.ndarray], np.ndarray]:
    def values(gene_id: np.ndarray) -> np.ndarray:
        rows = matrix.rows(gene_id)
        return np.where((rows >= 0)[:, None], matrix.values[rows], np.nan)

    return values


def _common_contexts(
    contexts: tuple[str, ...], predictors: Mapping[str, Predictor]
) -> tuple[str, ...]:
    common = contexts
    for name, predictor in predictors.items():
        common = tuple(c for c in common if c in predictor.contexts)
        if not common:
            raise TrainingError(
                f"no context in common: {name} has {predictor.contexts[0]!r} and others, "
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
            "name genes as the gene table does, or give more --test-chromosomes",
        )
    return kept


def _write(
    options: CompareOptions,
    outputs: Outputs,
    scores: Mapping[str, Scores],
    contexts: tuple[str, ...],
    gene_id: np.ndarray,
    candidates: int,
) -> dict[str, Any]:
    by_context, by_gene, models = [], [], []
    for name, s in scores.items():
        by_context += [
            (name, context, float(error), float(r))
            for context, error, r in zip(contexts, s.mse, s.spearman, strict=True)
        ]
        by_gene += [
            (name, gene, float(r), float(c))
            for gene, r, c in zip(gene_id, s.across, s.centred, strict=True)
        ]
        medians = {
            "mse": median(s.mse),
            "spearman": median(s.spearman),
            "across_contexts": median(s.across),
            "across_contexts_centred": median(s.centred),
        }
        defined = int((~np.isnan(s.centred)).sum())
        models.append(
            {"model": name, **{k: None if np.isnan(v) else v for k, v in medians.items()}}
            | {"genes_across_contexts": defined}
        )
    write_table(
        outputs["evaluation_contexts.tsv"], ("model", "context", "mse", "spearman"), by_context
    )
    write_table(
        outputs["evaluation_genes.tsv"],
        ("model", "gene_id", "across_contexts", "across_contexts_centred"),
        by_gene,
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
        "medians": models,
    }
    record = {**facts, "command": options.command, "software": software()}
    outputs["evaluation_summary.json"].write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    outputs.publish()
    return facts
