"""How fast does training go? The loop of `train pretrain` against the loop one writes in PyTorch.

Both train the same network on the same tensors, run by turns. The plain
side is a DataLoader over a TensorDataset, autograd and torch.optim.Adam with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import arguments, report, seconds
from seal_store.training.checkpoint import TrainingCheckpoint
from seal_store.training.fit import Data, FitOptions, Mlp, State, context_losses, fit

LATENT, CONTEXTS, BATCH = 1000, 31, 32
LR, L2 = 1e-4, 1e-5


Parts = tuple[Tensor, Tensor, Tensor]
"""Inputs, targets and weights of all genes; those for validation come last."""


def plain(model: Mlp, parts: Parts, train: int, epochs: int, **adam: Any) -> float:
    """Training as in many a tutorial; the last validation loss."""
    loader = DataLoader(TensorDataset(*(t[:train] for t in parts)), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), LR, weight_decay=L2, **adam)
    loss = torch.tensor(0.0)
    for _ in range(epochs):
        for x, targets, weights in loader:
            optimizer.zero_grad()
            loss = context_losses(model(x), targets, weights).mean()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            x, targets, weights = (t[train:] for t in parts)
            loss = context_losses(model(x), targets, weights).mean()
    return float(loss)


def ours(model: Mlp, parts: Parts, train: int, epochs: int, save: Callable[[State], None]) -> float:
    """The loop of the command; the last validation loss."""
    x, targets, weights = parts
    data = Data(x, torch.arange(len(x), device=x.device), targets, weights)
    genes = np.arange(len(x))
    options = FitOptions(lr=LR, l2=L2, batch=BATCH, epochs=epochs)
    generator = torch.Generator().manual_seed(0)
    state = fit(model, data, genes[:train], genes[train:], options, generator, save=save)
    return state.history[-1][1]


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--genes", {"type": int, "default": 2_000}),
        ("--inputs", {"type": int, "default": 20_020}),
        ("--epochs", {"type": int, "default": 2}),
        ("--repeat", {"type": int, "default": 3}),
    )
    genes, inputs = (200, 400) if args.tiny else (args.genes, args.inputs)
    train = genes - genes // 8
    torch.manual_seed(0)
    shapes = (inputs, CONTEXTS, CONTEXTS)
    x, targets, weights = (torch.rand(genes, n).to(args.device) for n in shapes)
    parts = (x, targets, weights + 0.5)
    checkpoint = TrainingCheckpoint(args.work, {})
    loops: dict[str, Callable[[Mlp], float]] = {
        "plain PyTorch": lambda m: plain(m, parts, train, args.epochs),
        "plain PyTorch, Adam(fused=True)": lambda m: plain(
            m, parts, train, args.epochs, fused=True
        ),
        "seal-store": lambda m: ours(m, parts, train, args.epochs, lambda _: None),
        "seal-store, a checkpoint each epoch": lambda m: ours(
            m, parts, train, args.epochs, checkpoint.save
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, float] = {}
    for repeat in range(args.repeat):
        for name in list(loops)[:: 1 if repeat % 2 == 0 else -1]:
            model = Mlp(inputs, LATENT, CONTEXTS, torch.Generator().manual_seed(0))
            model.to(args.device)

            def run(name: str = name, model: Mlp = model) -> None:
                losses[name] = loops[name](model)

            times[name].append(seconds(run, device=args.device))
    checkpoint.path.unlink()
    first = median(times["plain PyTorch"])
    rows = [
        {
            f"{args.epochs} epochs": name,
            "s (median)": median(found),
            "s (all)": " ".join(f"{s:.4g}" for s in found),
            "times faster": first / median(found),
            "validation loss": losses[name],
        }
        for name, found in times.items()
    ]
    title = (
        f"Training, {train} genes and {genes - train} for validation x {inputs} inputs, latent "
        f"{LATENT}, {CONTEXTS} contexts, batch {BATCH}; {args.repeat} runs of each, interleaved"
    )
    report("train" + ("-tiny" if args.tiny else ""), title, rows, args)


if __name__ == "__main__":
    main()
