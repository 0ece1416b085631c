"""What one step of training starts from: options, targets, weights, the pre-trained model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from seal_store.common.extras import require
from seal_store.common.typed import conform
from seal_store.errors import HeadsError, TrainingError
from seal_store.model.head_set import CNN, HeadSet
from seal_store.model.heads import check_cnn, find_summaries, load_head_set, model_file
from seal_store.training.expression import read_matrix
from seal_store.training.fit import FitOptions
from seal_store.training.inputs import Source, open_source
from seal_store.training.summary import LATENT, name_below, summary_keys, summary_name
from seal_store.training.targets import (
    Group,
    Split,
    Targets,
    gene_weights,
    make_targets,
    read_groups,
    split_genes,
)

SHORT = {"pretrain": "pt", "finetune": "ft"}


@dataclass(frozen=True)
class TrainOptions:
    """Inputs, outputs and options of one step of training.

    Features come from ``store``, or from ``features`` (NPY) with ``genes``. ``root`` is the
    folder that paths in the summary are relative to. ``latent`` is for pre-training alone,
    ``base`` (the summary, or its folder, of the pre-trained model) for fine-tuning alone.
    """

    expression: Path
    name: str
    out: Path
    store: Path | None = None
    features: Path | None = None
    genes: Path | None = None
    base: Path | None = None
    groups: Path | None = None
    root: Path = Path()
    latent: int = 1000
    spec_gene_weight: float = 2.0
    test_chromosomes: Sequence[str] = ("chr8", "chr9")
    validation_share: float = 0.125
    fit: FitOptions = field(default_factory=FitOptions)
    device: str = "auto"
    overwrite: bool = False
    resume: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        conform(self)

    def check(self) -> None:
        """Raise :class:`TrainingError` for a value that cannot be."""
        self.fit.check()
        if self.latent < 1:
            raise TrainingError(f"`latent` {self.latent}: less than 1")
        if not (self.spec_gene_weight > 0 and np.isfinite(self.spec_gene_weight)):
            raise TrainingError(f"`spec_gene_weight` {self.spec_gene_weight}: not positive")
        if not 0 < self.validation_share < 1:
            raise TrainingError(f"`validation_share` {self.validation_share}: not between 0 and 1")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise TrainingError(
                f"`name` {self.name!r}: not the beginning of a file name",
                "use letters, digits, dots, - and _",
            )


@dataclass(frozen=True)
class Base:
    """The pre-trained model that fine-tuning starts from, and its part of the summary."""

    summary_path: Path
    heads: HeadSet
    summary: dict[str, str]


@dataclass(frozen=True)
class Step:
    """One step of training, before the features are read.

    It is pre-training without a ``base``, else fine-tuning. ``weights`` float64
    ``(genes, contexts)`` are those of the genes of ``targets``, ``files`` has the SHA-256 of what
    they were made from.
    """

    options: TrainOptions
    source: Source
    targets: Targets
    groups: list[Group]
    weights: np.ndarray
    split: Split
    files: dict[str, str | None]
    base: Base | None = None

    @property
    def stage(self) -> str:
        """A key of :data:`seal_store.model.heads.STAGES`."""
        return "finetune" if self.base else "pretrain"

    @property
    def stem(self) -> str:
        """What the names of this step's own files begin with."""
        return f"{self.options.name}_seal_{SHORT[self.stage]}"

    @property
    def summary(self) -> Path:
        """The set's summary file, of both steps."""
        return self.options.out / summary_name(self.options.name)


def prepare(options: TrainOptions) -> Step:
    """Check options and inputs; targets, weights and genes of the step, without a base yet.

    Raises an :class:`InputError` for what is wrong.
    """
    options.check()
    require("train", "training")
    source = open_source(options.store, options.features, options.genes)
    expression = read_matrix(options.expression, "expression", negative=False)
    for name in expression.contexts:
        if "," in name:
            raise TrainingError(
                f"{expression.path}: context {name!r} has a comma in its name",
                "rename it: a summary lists context names separated by commas",
            )
    groups, groups_sha256 = read_groups(options.groups, expression.contexts)
    targets = make_targets(expression, source.genes)
    contigs = source.genes.contig[targets.rows]
    split = split_genes(contigs, options.test_chromosomes, options.validation_share)
    weights = gene_weights(targets.values, groups, options.spec_gene_weight, split.test)
    files = {"expression": expression.sha256, "groups": groups_sha256}
    return Step(options, source, targets, groups, weights, split, files)


def read_base(options: TrainOptions, source: Source) -> Base:
    """The pre-trained model ``options.base``, for features of ``source``.

    Raises :class:`TrainingError` or :class:`HeadsError` if there is none or it does not fit.
    """
    if options.base is None:
        raise TrainingError("no pre-trained model to start from", "give `base`")
    path, *more = find_summaries(options.base)
    if more:
        raise HeadsError(
            f"{options.base}: {len(more) + 1} summary files below this folder",
            f"give one of them, such as `base` {path}",
        )
    heads = load_head_set(path, "pretrain")
    if heads.inputs != source.inputs:
        raise TrainingError(
            f"{source.path}: {source.inputs} features a gene, the model of {path} takes "
            f"{heads.inputs}",
            "fine-tune on the features that the model was pre-trained on",
        )
    check_cnn(heads, source.cnn)
    of_base = (*summary_keys("pretrain"), CNN)
    kept = {key: value for key, value in heads.summary.items() if key in of_base}
    model = name_below(model_file(path, "pretrain"), options.root)
    own = {"Optimal pretrain model": model, LATENT: str(len(heads.w1))}
    return Base(path, heads, kept | own)
