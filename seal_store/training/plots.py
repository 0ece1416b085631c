"""Plots as PNG, without a display and without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150


def loss_curves(path: Path, history: Sequence[Sequence[float]], best_epoch: int, name: str) -> None:
    """Training and validation loss by epoch (from 1), the epoch that was kept marked."""
    figure = _figure(6, 4)
    axes: Axes = figure.subplots()
    epochs = np.arange(1, len(history) + 1)
    for column, label in enumerate(("training", "validation")):
        axes.plot(epochs, [row[column] for row in history], marker=".", label=label)
    axes.axvline(best_epoch, color="grey", linestyle=":", label=f"kept: epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel="weighted squared error", title=name)
    axes.locator_params("x", integer=True)
    axes.legend()
    _save(figure, path)


def agreement(
    path: Path, by_context: Mapping[str, np.ndarray], by_gene: Mapping[str, np.ndarray]
) -> None:
    """Spearman's r of each model: over genes in each context, over contexts for each gene.

    ``by_gene`` is the centred one; a panel without a value says so.
    """
    figure = _figure(6.5 + len(by_context), 4)
    panels = figure.subplots(1, 2)
    titles = ("each context, over genes", "each gene, over contexts (centred)")
    for axes, values, title in zip(panels, (by_context, by_gene), titles, strict=True):
        there = [r[~np.isnan(r)] for r in values.values()]
        if any(len(r) for r in there):
            axes.boxplot(there, tick_labels=list(values))
            axes.axhline(0, color="grey", linewidth=0.5)
        else:
            axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        axes.set_title(title, fontsize="medium")
        axes.set_ylabel("Spearman r")
        axes.tick_params("x", rotation=30)
    _save(figure, path)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI, format="png")
