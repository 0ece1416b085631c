"""Training head sets and evaluating them, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import path as as_path
from seal_store.errors import InputError

TEST_CHROMOSOMES = ("chr8", "chr9")


def train(
    step: Literal["pretrain", "finetune"],
    expression: str | os.PathLike[str],
    *,
    name: str,
    out: str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    genes: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    groups: str | os.PathLike[str] | None = None,
    root: str | os.PathLike[str] = ".",
    latent: int | None = None,
    spec_gene_weight: float = 2.0,
    test_chromosomes: str | Sequence[str] = TEST_CHROMOSOMES,
    validation_share: float = 0.125,
    lr: float = 1e-4,
    l2: float = 1e-5,
    batch: int = 32,
    epochs: int = 200,
    patience: int = 20,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = silent,
) -> dict[str, Any]:
    """Train a head set on expression data, as ``seal-store train pretrain`` and ``finetune`` do.

    Needs the extra ``train``; see docs/training.md.

    Parameters
    ----------
    step
        ``pretrain``: hidden and output layer. ``finetune``: a new output layer on the hidden
        layer of ``base``.
    expression
        TSV: ``gene_id`` and one column a context, on the linear scale.
    name
        Name of the head set: the files begin with it.
    out
        Folder to write to.
    store
        A store: its decay sums and its genes.
    features, genes
        Instead of a store: NPY (genes, inputs), and the geneanno CSV in its order.
    base
        Fine-tuning: summary file of the pre-trained model, or its folder (``--from``).
    groups
        TSV: group, its columns.
    root
        Folder that paths in the summary are relative to.
    latent
        Pre-training: hidden units, 1000 by default.
    spec_gene_weight
        Weight of genes that vary most over a group's contexts; the least: 1 / weight.
    test_chromosomes
        Held out of training, to test on.
    validation_share
        Of the other genes.
    lr, l2, batch, epochs, patience, seed
        Learning rate, weight decay, genes a step, most epochs, epochs without a better
        validation loss before it stops, seed of first weights and batches.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    overwrite, resume
        Replace the output; go on with an interrupted run.
    progress
        Called as ``progress(what, done, total)`` from time to time.

    Returns
    -------
    dict
        What was done: ``summary`` (the file that ``seal_store.build(heads=...)`` takes),
        ``model``, losses, agreement on test genes, counts of genes.

    Raises
    ------
    InputError
        An input or option is wrong; the message says which.
    OutputError
        The output exists, or a checkpoint does not fit.
    """
    from seal_store.training import steps  # PyTorch
    from seal_store.training.fit import FitOptions
    from seal_store.training.task import TrainOptions

    if step not in ("pretrain", "finetune"):
        raise InputError(f"`step` {step!r}: not pretrain or finetune")
    for option, given, own in (("base", base, "finetune"), ("latent", latent, "pretrain")):
        if given is not None and step != own:
            raise InputError(f"`{option}` is for {own}", "leave it out")
    options = TrainOptions(
        expression=as_path("expression", expression),
        name=name,
        out=as_path("out", out),
        store=_path("store", store),
        features=_path("features", features),
        genes=_path("genes", genes),
        base=_path("base", base),
        groups=_path("groups", groups),
        root=as_path("root", root),
        latent=TrainOptions.latent if latent is None else latent,
        spec_gene_weight=spec_gene_weight,
        test_chromosomes=test_chromosomes,
        validation_share=validation_share,
        fit=FitOptions(lr, l2, epochs, patience, batch, seed),
        device=device,
        overwrite=overwrite,
        resume=resume,
        command=f"seal_store.train({step!r})",
    )
    return getattr(steps, step)(options, progress or silent)


def evaluate(
    expression: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
    features: str | os.PathLike[str] | None = None,
    genes: str | os.PathLike[str] | None = None,
    models: Mapping[str, str | os.PathLike[str]] | Sequence[str | os.PathLike[str]] = (),
    heads: str | Sequence[str] = (),
    stage: Literal["pretrain", "finetune"] | None = None,
    predictions: Mapping[str, str | os.PathLike[str]] | None = None,
    target_scale: str | Sequence[str] = (),
    test_chromosomes: str | Sequence[str] = TEST_CHROMOSOMES,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = silent,
) -> dict[str, Any]:
    """Compare head sets and other models with expression, as ``seal-store train evaluate`` does.

    ``models`` are summary files of head sets, or their folders, a mapping with names of one's
    own; ``heads`` names sets of ``store``; ``predictions`` maps names to tables of other models,
    of which ``target_scale`` names those in ln(value + pseudocount). ``stage`` says which model of
    a summary, by default the fine-tuned one if there is one. The rest is as in :func:`train`.
    Returns medians by model and where the tables are. Needs the extra ``train``.
    """
    from seal_store.training.compare import CompareOptions, compare

    if isinstance(models, Mapping):
        named = [(str(own), as_path("models", path)) for own, path in models.items()]
    else:
        several = [models] if isinstance(models, str | os.PathLike) else models
        named = [("", as_path("models", path)) for path in several]
    options = CompareOptions(
        expression=as_path("expression", expression),
        out=as_path("out", out),
        store=_path("store", store),
        features=_path("features", features),
        genes=_path("genes", genes),
        models=tuple(named),
        heads=heads,
        stage=stage or "",
        predictions={k: as_path("predictions", v) for k, v in (predictions or {}).items()},
        target_scale=target_scale,
        test_chromosomes=test_chromosomes,
        device=device,
        overwrite=overwrite,
        command="seal_store.evaluate",
    )
    return compare(options, progress or silent)


def _path(name: str, given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else as_path(name, given)
