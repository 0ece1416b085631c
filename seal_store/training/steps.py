"""Training of a head set in Seal's two steps, and Seal's files of it.

    pre-train   decay sums -> hidden layer, ReLU -> general contexts
    fine-tune   the same hidden layer, frozen    -> specific contexts, a new output layer

Since the hidden layer is frozen when fine-tuning, its activations are computed once for all genes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seal_store.common.device import resolve_device
from seal_store.common.files import check_fingerprint, replace_synced
from seal_store.common.output import Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import OutputError
from seal_store.model.head_set import CNN, HeadSet
from seal_store.model.heads import Heads
from seal_store.store.store import software
from seal_store.training.checkpoint import CHECKPOINT, TrainingCheckpoint
from seal_store.training.fit import (
    ROWS_AT_ONCE,
    Data,
    FinetunedLayer,
    Mlp,
    State,
    fit,
    predict,
    validation_losses,
)
from seal_store.training.inputs import Features
from seal_store.training.metrics import median, mse, or_none, spearman
from seal_store.training.outputs import PNG, save_tensors, write_record, write_table
from seal_store.training.plots import loss_curves
from seal_store.training.summary import SUMMARY, name_below, summary_lines, summary_text
from seal_store.training.task import Step, TrainOptions, prepare, read_base

FILES = {
    "model.pt": rb"PK\x03\x04",
    "history.tsv": rb"epoch\ttraining_loss\t",
    "metrics.tsv": rb"context\tgroup\t",
    "loss.png": PNG,
    "training.json": rb'\{\s*"stage"',
}
"""The files of a step, and how each begins."""


def pretrain(options: TrainOptions, progress: Progress = silent) -> dict[str, Any]:
    """Train both layers; writes ``NAME_seal_pt_*`` and a summary that names this model.

    Returns what was done, JSON-ready. Raises an :class:`InputError` for an input that is wrong
    and :class:`OutputError` if the output exists or a checkpoint does not fit.
    """
    return _train(prepare(options), progress)


def finetune(options: TrainOptions, progress: Progress = silent) -> dict[str, Any]:
    """Train a new output layer; writes ``NAME_seal_ft_*`` and a summary that names both models.

    Returns what was done, JSON-ready. Raises an :class:`InputError` for an input that is wrong
    and :class:`OutputError` if the output exists or a checkpoint does not fit.
    """
    step = prepare(options)
    return _train(replace(step, base=read_base(options, step.source)), progress)


def hidden_units(features: Features, base: HeadSet, device: torch.device) -> Features:
    """Activations of the first layer after its ReLU, for all genes: ``(genes, latent)``."""
    first = Heads([base], device)
    hidden = torch.empty((len(features.rows), len(base.w1)), device=device, dtype=torch.float32)
    for part, rows in zip(
        hidden.split(ROWS_AT_ONCE), features.rows.split(ROWS_AT_ONCE), strict=True
    ):
        part.copy_(first.first(features.matrix[rows].to(device)).relu_())
    return Features(hidden, torch.arange(len(hidden), device=device), features.sha256)


def _check_base(step: Step) -> None:
    """Raise :class:`OutputError` if another run has replaced the base since it was read."""
    if step.base is None:
        return
    options = replace(step.options, base=step.base.summary_path)
    now = read_base(options, step.source)
    if (now.summary, now.heads.sha256()) != (step.base.summary, step.base.heads.sha256()):
        raise OutputError(
            f"{step.base.summary_path}: its pre-trained model was replaced meanwhile",
            "run this again",
        )


def _train(step: Step, progress: Progress) -> dict[str, Any]:
    device = resolve_device(step.options.device)
    outputs = _outputs(step)
    how = {"overwrite": step.options.overwrite, "resume": step.options.resume}
    record = outputs.path.with_name(f"{step.stem}_training.json")
    ended = how == {"overwrite": False, "resume": True} and _is_ended(outputs)
    if not ended:
        outputs.check(**how)
    features = step.source.read(step.targets.rows, progress)
    fingerprint = _fingerprint(step, features, device)
    if ended:
        return _ended(record, fingerprint)
    with outputs:
        outputs.claim(**how)
        outputs.partial.mkdir(exist_ok=True)
        _check_base(step)
        checkpoint = TrainingCheckpoint(outputs.partial, fingerprint)
        state = checkpoint.load()
        generator = torch.Generator().manual_seed(step.options.fit.seed)
        model, data = _model_and_data(step, features, generator, device)
        state = fit(
            model,
            data,
            step.split.train,
            step.split.validation,
            step.options.fit,
            generator,
            state=state,
            save=checkpoint.save,
            progress=progress,
        )
        model.load_state_dict(state.best_model)
        facts = _write(step, outputs, model, data, state, fingerprint)
        outputs.publish(retract=lambda: _retract(step, outputs))
    return facts


def _is_ended(outputs: Output) -> bool:
    """Whether there is nothing left to go on with."""
    there = all(outputs.path.with_name(name).exists() for name in outputs.names)
    return there and not outputs.partial.exists()


def _ended(record: Path, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """What an earlier run with the same inputs and options did; :class:`OutputError` for others."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        check_fingerprint(record, found["inputs_and_options"], fingerprint)
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{record}: not a record of training", "add `overwrite=True`") from error
    other = ("command", "inputs_and_options", "software")
    return {**{key: own for key, own in found.items() if key not in other}, "finished": True}


def _model_and_data(
    step: Step, features: Features, generator: torch.Generator, device: torch.device
) -> tuple[Mlp | FinetunedLayer, Data]:
    base, contexts = step.base, len(step.targets.contexts)
    model: Mlp | FinetunedLayer
    if base is None:
        model = Mlp(step.source.inputs, step.options.latent, contexts, generator)
        features = features.to(device)
    else:
        model = FinetunedLayer(len(base.heads.w1), contexts, generator)
        features = hidden_units(features, base.heads, device)
    targets, weights = (
        torch.from_numpy(values).to(device, torch.float32)
        for values in (step.targets.values, step.weights)
    )
    return model.to(device), Data(features.matrix, features.rows, targets, weights)


def _outputs(step: Step) -> Output:
    base, options = step.base, step.options
    completes = (
        base is not None
        and step.summary.exists()
        and step.summary.samefile(base.summary_path)
        and not base.heads.summary.get("Optimal finetune model")
    )
    return Output(
        options.out / step.stem,
        checkpoint=CHECKPOINT,
        names={
            **{f"{step.stem}_{rest}": begins for rest, begins in FILES.items()},
            step.summary.name: SUMMARY,
        },
        may_exist=[step.summary.name] if completes else [],
        lock=options.out / f"{options.name}_seal",  # of both steps, which share the summary
    )


def _retract(step: Step, outputs: Output) -> None:
    """Take back what a summary says of files that are about to be replaced."""
    if step.base is None:
        step.summary.unlink(missing_ok=True)
    elif step.summary.exists():
        aside = outputs.partial / f"{step.summary.name}.tmp"
        aside.write_text(summary_text(step.base.summary), encoding="utf-8")
        replace_synced(aside, step.summary)


def _fingerprint(step: Step, features: Features, device: torch.device) -> dict[str, Any]:
    """Whatever must be the same for a restart to give the same weights."""
    options, base = step.options, step.base
    ids = "\n".join(step.source.genes.gene_id[step.targets.rows])
    return {
        **step.files,
        "features": features.sha256,
        "gene table": hashlib.sha256(ids.encode()).hexdigest(),
        **({"base": base.heads.sha256()} if base else {"latent": options.latent}),
        **asdict(options.fit),
        "spec_gene_weight": options.spec_gene_weight,
        "test_chromosomes": ",".join(options.test_chromosomes),
        "validation_share": options.validation_share,
        "device": device.type,
        "version of torch": software()["torch"],
    }


def _write(
    step: Step,
    outputs: Output,
    model: Mlp | FinetunedLayer,
    data: Data,
    state: State,
    fingerprint: dict[str, Any],
) -> dict[str, Any]:
    """Write every file of the step, for publishing; what was done, JSON-ready."""
    options, targets, split = step.options, step.targets, step.split
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
    group_of = {column: group.name for group in step.groups for column in group.columns}
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
        step.stage,
        name_below(path, options.root),
        latent,
        targets.contexts,
        median(errors),
        median(r),
    )
    if step.source.cnn:
        lines[CNN] = step.source.cnn
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
        "test_mse_median": or_none(median(errors)),
        "test_spearman_median": or_none(median(r)),
        "genes": {
            "training": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "left_out": targets.left_out,
            "expression_without_gene": targets.not_in_table,
        },
        "odd_lines": step.source.genes.odd.to_dict(),
    }
    record = {**facts, "command": options.command, "inputs_and_options": fingerprint}
    write_record(outputs[f"{step.stem}_training.json"], record)
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
