"""``seal-store train``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _complete, _options, command_line
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.training.task import TrainOptions


def _chromosomes(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise click.BadParameter("names no chromosome")
    return names


inputs = _options.stack(
    click.option("--store", type=_options.PATH, help="A store: its `aggregated` and its genes."),
    click.option(
        "--features",
        type=_options.PATH,
        help="Instead of a store: NPY (genes, inputs), such as all_gene_chromatin_exp.npy.",
    ),
    click.option(
        "--genes", type=_options.PATH, help="With --features: geneanno CSV, in the NPY's order."
    ),
    click.option(
        "--expression",
        type=_options.PATH,
        required=True,
        help="TSV: gene_id and one column a context, on the linear scale.",
    ),
    click.option(
        "--test-chromosomes",
        default="chr8,chr9",
        show_default=True,
        callback=_chromosomes,
        help="Held out of training, to test on.",
    ),
)
training = _options.stack(
    inputs,
    click.option("--groups", type=_options.PATH, help="TSV: group, its columns (1,2,5)."),
    click.option("--name", required=True, help="Name of the head set: the files begin with it."),
    click.option("--out", type=_options.PATH, required=True, help="Folder to write to."),
    click.option(
        "--root",
        type=_options.PATH,
        default=Path(),
        help="Folder that paths in the summary are relative to, Seal's root. Default: this one.",
    ),
    click.option(
        "--spec-gene-weight",
        default=2.0,
        show_default=True,
        help="Weight of genes that vary most over a group's contexts; the least: 1 / weight.",
    ),
    click.option("--validation-share", default=0.125, show_default=True, help="Of other genes."),
    click.option("--lr", default=1e-4, show_default=True, help="Learning rate."),
    click.option("--l2", default=1e-5, show_default=True, help="Weight decay."),
    _options.number("--batch", 32, "Genes a step."),
    _options.number("--epochs", 200, "At most."),
    _options.number(
        "--patience", 20, "Stop after so many epochs without a better validation loss."
    ),
    _options.number("--seed", 0, "Of first weights and batches.", 0, 2**63 - 1),
    _options.device,
    _options.resume,
    _options.reporting,
)


@click.group()
def train() -> None:
    """Train head sets on your own expression data, and evaluate them.

    Needs `pip install 'seal-store[train]'`.
    """


@train.command()
@training
@_options.number("--latent", 1000, "Hidden units.")
def pretrain(**given: Any) -> None:
    """Train hidden and output layer on general contexts."""
    from seal_store.training.steps import pretrain as step

    _train(step, given)


@train.command()
@training
@click.option(
    "--from",
    "base",
    type=_options.PATH,
    required=True,
    help="Summary file of the pre-trained model, or its folder.",
)
def finetune(**given: Any) -> None:
    """Train a new output layer for specific contexts on a pre-trained hidden layer."""
    from seal_store.training.steps import finetune as step

    _train(step, given)


def _train(step: Callable[[TrainOptions, Meter], dict[str, Any]], given: dict[str, Any]) -> None:
    from seal_store.training.fit import FitOptions
    from seal_store.training.task import TrainOptions

    loop = {key: given.pop(key) for key in FitOptions.__dataclass_fields__}
    options = TrainOptions(**given, fit=FitOptions(**loop), command=command_line())
    with Meter() as progress:
        facts = step(options, progress)
    _options.say(facts, _trained)


@train.command()
@inputs
@click.option(
    "--model",
    "models",
    type=_options.NAME_OR_FILE,
    multiple=True,
    metavar="[NAME=]PATH",
    help="Summary file of a head set, or its folder. Repeatable.",
)
@click.option(
    "--heads",
    multiple=True,
    shell_complete=_complete.head_sets,
    help="A head set of the store. Repeatable.",
)
@click.option(
    "--stage",
    type=click.Choice(["pretrain", "finetune"]),
    help="Which model of a summary. Default: the fine-tuned one if there is one.",
)
@click.option(
    "--predictions",
    type=_options.NAME_OR_FILE,
    multiple=True,
    metavar="NAME=TSV",
    help="Another model's predictions, gene_id and contexts as --expression. Repeatable.",
)
@click.option(
    "--target-scale",
    multiple=True,
    metavar="NAME",
    help="These predictions are ln(value + pseudocount): give their MSE too. Repeatable.",
)
@click.option("--out", type=_options.PATH, required=True, help="Folder to write to.")
@_options.device
@_options.reporting
def evaluate(**given: Any) -> None:
    """Compare head sets and other models' predictions with expression, on held-out genes."""
    from seal_store.training.compare import CompareOptions, compare

    pairs = [_pair("--predictions", value) for value in given.pop("predictions")]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise click.UsageError("--predictions: a name is given twice")
    models = tuple(_pair("--model", m) if "=" in m else ("", Path(m)) for m in given.pop("models"))
    options = CompareOptions(
        **{**given, "stage": given["stage"] or ""},
        predictions=dict(pairs),
        models=models,
        command=command_line(),
    )
    with Meter() as progress:
        facts = compare(options, progress)
    _options.say(facts, _compared)


def _pair(option: str, value: str) -> tuple[str, Path]:
    name, equals, path = value.partition("=")
    if not (name and equals and path):
        raise click.UsageError(f"{option} {value!r}: expected NAME=PATH")
    return name, Path(path)


def _trained(facts: dict[str, Any]) -> str:
    from seal_store.common.odd_lines import described

    genes = facts["genes"]
    left_out = ", ".join(f"{reason} {count}" for reason, count in genes["left_out"].items())
    return "\n".join(
        (
            f"{facts['summary']}:{' is finished,' if facts.get('finished') else ''} "
            f"{facts['contexts']} contexts, {facts['latent']} hidden units",
            f"genes: {genes['training']} training, {genes['validation']} validation, "
            f"{genes['test']} test; left out: {left_out}; "
            f"rows of the expression table without a gene: {genes['expression_without_gene']}",
            f"epoch {facts['best_epoch']} of {facts['epochs']} kept: validation loss "
            f"{facts['validation_loss']:.4g}",
            f"test, median of contexts: MSE {_short(facts['test_mse_median'])}, "
            f"Spearman r {_short(facts['test_spearman_median'])}",
            *described(facts.get("odd_lines", {})),
        )
    )


def _compared(facts: dict[str, Any]) -> str:
    from seal_store.common.odd_lines import described

    lines = [
        f"{facts['out']}: {facts['genes']} genes of {', '.join(facts['test_chromosomes'])}, "
        f"{facts['contexts']} contexts "
        f"({facts['test_genes_not_in_every_model']} genes are not in every model)",
        "medians; r by context is over genes, r by gene is over contexts",
    ]
    width = max(5, *(len(row["model"]) for row in facts["medians"]))
    titles = ("     MSE", "r by context", " r by gene", "r by gene, centred")
    lines.append("  ".join(["model".ljust(width), *titles]))
    for row in facts["medians"]:
        keys = ("mse", "spearman", "across_contexts", "across_contexts_centred")
        cells = [
            _short(row[key]).rjust(len(title)) for key, title in zip(keys, titles, strict=True)
        ]
        lines.append("  ".join([row["model"].ljust(width), *cells]))
    return "\n".join([*lines, *described(facts["odd_lines"])])


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
