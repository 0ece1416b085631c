"""Training of a head set in Seal's two steps, and Seal's files of it.

    pre-train   decay sums -> hidden layer, ReLU -> general contexts
    fine-tune   the same hidden layer, frozen    -> specific contexts, a new output layer

Since the hidden layer is frozen when fine-tuning, its activations are computed once for all genes.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_store.common.device import resolve_device
from seal_store.common.extras import require
from seal_store.common.files import file_sha256
from seal_store.common.progress import Progress, silent
from seal_store.errors import HeadsError, OutputError, TrainingError
from seal_store.model.heads import (
    CNN,
    Heads,
    HeadSet,
    check_cnn,
    find_summaries,
    load_head_set,
    model_file,
)
from seal_store.store.store import software
from seal_store.training.checkpoint import Checkpoint
from seal_store.training.expression import read_matrix
from seal_store.training.fit import (
    ROWS_AT_ONCE,
    Data,
    FitOptions,
    Mlp,
    Output,
    State,
    describe,
    fit,
    predict,
    validation_losses,
)
from seal_store.training.inputs import Features, Source, open_source
from seal_store.training.metrics import median, mse, spearman
from seal_store.training.outputs import Outputs, save_tensors, write_table, write_text
from seal_store.training.plots import loss_curves
from seal_store.training.summary import (
    LATENT,
    named,
    summary_keys,
    summary_lines,
    summary_name,
    summary_text,
)
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
FILES = ("model.pt", "history.tsv", "metrics.tsv", "loss.png", "training.json")


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
    test_chromosomes: tuple[str, ...] = ("chr8", "chr9")
    validation_share: float = 0.125
    fit: FitOptions = field(default_factory=FitOptions)
    device: str = "auto"
    overwrite: bool = False
    resume: bool = False
    command: str = ""

    def check(self) -> None:
        """Raise :class:`TrainingError` for a value that cannot be."""
        self.fit.check()
        if self.latent < 1:
            raise TrainingError(f"--latent {self.latent}: less than 1")
        if not (self.spec_gene_weight > 0 and np.isfinite(self.spec_gene_weight)):
            raise TrainingError(f"--spec-gene-weight {self.spec_gene_weight}: not positive")
        if not 0 < self.validation_share < 1:
            raise TrainingError(f"--validation-share {self.validation_share}: not between 0 and 1")
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise TrainingError(
                f"--name {self.name!r}: not the beginning of a file name",
                "use letters, digits, dots, - and _",
            )


@dataclass(frozen=True)
class Task:
    """All that is known before the features are read."""

    source: Source
    targets: Targets
    groups: list[Group]
    weights: np.ndarray
    split: Split


@dataclass(frozen=True)
class Base:
    """The pre-trained model that fine-tuning starts from, and its part of the summary."""

    summary_path: Path
    heads: HeadSet
    summary: dict[str, str]


@dataclass(frozen=True)
class Step:
    """One step of training: pre-training without a ``base``, else fine-tuning."""

    options: TrainOptions
    task: Task
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


def pretrain(options: TrainOptions, progress: Progress = silent) -> dict[str, Any]:
    """Train both layers; writes ``NAME_seal_pt_*`` and a summary that names this model.

    Returns what was done, JSON-ready. Raises an :class:`InputError` for an input that is wrong
    and :class:`OutputError` if the output exists or a checkpoint does not fit.
    """
    return _train(Step(options, _prepare(options)), progress)


def finetune(options: TrainOptions, progress: Progress = silent) -> dict[str, Any]:
    """Train a new output layer; writes ``NAME_seal_ft_*`` and a summary that names both models.

    Returns what was done, JSON-ready. Raises an :class:`InputError` for an input that is wrong
    and :class:`OutputError` if the output exists or a checkpoint does not fit.
    """
    task = _prepare(options)
    return _train(Step(options, task, _read_base(options, task.source)), progress)


def hidden_units(features: Features, base: HeadSet, device: torch.device) -> Features:
    """Activations of the first layer after its ReLU, for all genes: ``(genes, latent)``."""
    first = Heads([base], device)
    hidden = torch.empty((len(features.rows), len(base.w1)), device=device)
    for part, rows in zip(
        hidden.split(ROWS_AT_ONCE), features.rows.split(ROWS_AT_ONCE), strict=True
    ):
        part.copy_(first.first(features.matrix[rows].to(device)).relu_())
    return Features(hidden, torch.arange(len(hidden), device=device), features.sha256)


def _prepare(options: TrainOptions) -> Task:
    options.check()
    require("train", "training")
    source = open_source(options.store, options.features, options.genes)
    expression = read_matrix(options.expression, "--expression", negative=False)
    for name in expression.contexts:
        if "," in name:
            raise TrainingError(
                f"{expression.path}: context {name!r} has a comma in its name",
                "rename it: a summary lists context names separated by commas",
            )
    groups = read_groups(options.groups, expression.contexts)
    targets = make_targets(expression, source.genes)
    contigs = source.genes.contig[targets.rows]
    split = split_genes(contigs, options.test_chromosomes, options.validation_share)
    weights = gene_weights(targets.values, groups, options.spec_gene_weight, split.test)
    return Task(source, targets, groups, weights, split)


def _read_base(options: TrainOptions, source: Source) -> Base:
    if options.base is None:
        raise TrainingError("no pre-trained model to start from", "give --from")
    path, *more = find_summaries(options.base)
    if more:
        raise HeadsError(
            f"{options.base}: {len(more) + 1} summary files below this folder",
            f"give one of them, such as --from {path}",
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
    model = named(model_file(path, "pretrain"), options.root)
    own = {"Optimal pretrain model": model, LATENT: str(len(heads.w1))}
    return Base(path, heads, kept | own)


def _check_base(step: Step) -> None:
    """Raise :class:`OutputError` if another run has replaced the base since it was read."""
    if step.base is None:
        return
    options = replace(step.options, base=step.base.summary_path)
    now = _read_base(options, step.task.source)
    if (now.summary, now.heads.sha256()) != (step.base.summary, step.base.heads.sha256()):
        raise OutputError(
            f"{step.base.summary_path}: its pre-trained model was replaced meanwhile",
            "run this again",
        )


def _train(step: Step, progress: Progress) -> dict[str, Any]:
    device = resolve_device(step.options.device)
    outputs = _outputs(step)
    features = step.task.source.read(step.task.targets.rows, progress)
    fingerprint = _fingerprint(step, features, device)
    with outputs:
        _check_base(step)
        checkpoint = Checkpoint(outputs.partial, fingerprint)
        state = checkpoint.load()
        generator = torch.Generator().manual_seed(step.options.fit.seed)
        model, data = _model_and_data(step, features, generator, device)
        state = fit(
            model,
            data,
            step.task.split.train,
            step.task.split.validation,
            step.options.fit,
            generator,
            state=state,
            save=checkpoint.save,
            progress=progress,
        )
        model.load_state_dict(state.best_model)
        facts = _write(step, outputs, model, data, state, fingerprint)
        outputs.publish(retract=lambda: _retract(step))
    return facts


def _model_and_data(
    step: Step, features: Features, generator: torch.Generator, device: torch.device
) -> tuple[Mlp | Output, Data]:
    task, base = step.task, step.base
    contexts = len(task.targets.contexts)
    model: Mlp | Output
    if base is None:
        model = Mlp(task.source.inputs, step.options.latent, contexts, generator)
        features = features.to(device)
    else:
        model = Output(len(base.heads.w1), contexts, generator)
        features = hidden_units(features, base.heads, device)
    targets, weights = (
        torch.from_numpy(values).to(device, torch.float32)
        for values in (task.targets.values, task.weights)
    )
    return model.to(device), Data(features.matrix, features.rows, targets, weights)


def _outputs(step: Step) -> Outputs:
    base, options = step.base, step.options
    completes = (
        base is not None
        and step.summary.exists()
        and step.summary.samefile(base.summary_path)
        and not base.heads.summary.get("Optimal finetune model")
    )
    return Outputs(
        options.out,
        step.stem,
        [*(f"{step.stem}_{rest}" for rest in FILES), step.summary.name],
        lock=f"{options.name}_seal",  # of both steps, which share the summary
        may_exist=[step.summary.name] if completes else [],
        overwrite=options.overwrite,
        resume=options.resume,
        hint="add --resume to go on with it, or --overwrite to start again",
    )


def _retract(step: Step) -> None:
    """Take back what a summary says of files that are about to be replaced."""
    if step.base is None:
        step.summary.unlink(missing_ok=True)
    elif step.summary.exists():
        write_text(step.summary, summary_text(step.base.summary))


def _fingerprint(step: Step, features: Features, device: torch.device) -> dict[str, Any]:
    """Whatever must be the same for a restart to give the same weights."""
    options, base = step.options, step.base
    ids = "\n".join(step.task.source.genes.gene_id[step.task.targets.rows])
    return {
        "--expression": file_sha256(options.expression),
        "--groups": file_sha256(options.groups) if options.groups else None,
        "features": features.sha256,
        "gene table": hashlib.sha256(ids.encode()).hexdigest(),
        **({"--from": base.heads.sha256()} if base else {"--latent": options.latent}),
        **describe(options.fit),
        "--spec-gene-weight": options.spec_gene_weight,
        "--test-chromosomes": ",".join(options.test_chromosomes),
        "--validation-share": options.validation_share,
        "--device": device.type,
        "version of torch": software()["torch"],
    }


def _write(
    step: Step,
    outputs: Outputs,
    model: Mlp | Output,
    data: Data,
    state: State,
    fingerprint: dict[str, Any],
) -> dict[str, Any]:
    """Write every file of the step, for publishing; what was done, JSON-ready."""
    options, targets, split = step.options, step.task.targets, step.task.split
    device = data.matrix.device
    losses = validation_losses(model, data, torch.from_numpy(split.validation).to(device))
    predicted = predict(model, data, torch.from_numpy(split.test).to(device)).cpu().numpy()
    errors = mse(predicted, targets.values[split.test])
    r = spearman(predicted, targets.values[split.test])
    tensors = _state_dict(step, state)
    save_tensors(
        {"model_state_dict": tensors, "optimizer_state_dict": _on_cpu(state.best_optimizer)},
        outputs[f"{step.stem}_model.pt"],
    )
    write_table(
        outputs[f"{step.stem}_history.tsv"],
        ("epoch", "training_loss", "validation_loss", "kept"),
        [[i, *losses, int(i == state.best_epoch)] for i, losses in enumerate(state.history, 1)],
    )
    group_of = {column: group.name for group in step.task.groups for column in group.columns}
    write_table(
        outputs[f"{step.stem}_metrics.tsv"],
        ("context", "group", "pseudocount", "validation_loss", "test_mse", "test_spearman"),
        zip(
            targets.contexts,
            (group_of[column] for column in range(len(targets.contexts))),
            targets.pseudocounts.tolist(),
            losses.tolist(),
            errors.tolist(),
            r.tolist(),
            strict=True,
        ),
    )
    loss_curves(outputs[f"{step.stem}_loss.png"], state.history, state.best_epoch, step.stem)
    latent = len(tensors["layers.0.bias"])
    path = options.out / f"{step.stem}_model.pt"
    lines = (step.base.summary if step.base else {}) | summary_lines(
        step.stage, named(path, options.root), latent, targets.contexts, median(errors), median(r)
    )
    if step.task.source.cnn:
        lines[CNN] = step.task.source.cnn
    outputs[step.summary.name].write_text(summary_text(lines), encoding="utf-8")
    facts = {
        "stage": step.stage,
        "summary": str(step.summary),
        "model": str(path),
        "contexts": len(targets.contexts),
        "latent": latent,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "validation_loss": state.best_loss,
        "test_mse_median": _number(median(errors)),
        "test_spearman_median": _number(median(r)),
        "genes": {
            "training": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "left_out": targets.left_out,
            "expression_without_gene": targets.not_in_table,
        },
    }
    record = {**facts, "command": options.command, "inputs_and_options": fingerprint}
    outputs[f"{step.stem}_training.json"].write_text(
        json.dumps({**record, "software": software()}, indent=1) + "\n", encoding="utf-8"
    )
    return facts


def _state_dict(step: Step, state: State) -> dict[str, Tensor]:
    """The best epoch's tensors under Seal's names, on the CPU."""
    own = {key: value.cpu() for key, value in state.best_model.items()}
    if step.base is None:
        return own
    return {
        "layers.0.weight": torch.from_numpy(step.base.heads.w1),
        "layers.0.bias": torch.from_numpy(step.base.heads.b1),
        "layers.2.weight": own["layer.weight"],
        "layers.2.bias": own["layer.bias"],
    }


def _on_cpu(value: Any) -> Any:
    """An optimizer's state with its tensors on the CPU, where any machine can load them."""
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return value.cpu() if isinstance(value, Tensor) else value


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
