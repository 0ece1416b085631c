"""The training loop: weighted loss, Adam, early stopping, a state that a restart goes on from.

Everything that decides the result is in the :class:`State` after each epoch, the random numbers of
the coming epochs too. So a run that was interrupted ends with the weights of one that was not, bit
for bit, on the same machine with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.errors import TrainingError

ROWS_AT_ONCE = 256
"""Genes predicted at once outside training: 20 MB of decay sums."""


@dataclass(frozen=True)
class FitOptions:
    """Options of the loop.

    ``lr`` is the learning rate, ``l2`` Adam's weight decay, ``epochs`` the most, ``patience`` the
    epochs without a better validation loss before it stops, ``batch`` the genes of a step,
    ``seed`` decides first weights and batches.
    """

    lr: float = 1e-4
    l2: float = 1e-5
    epochs: int = 200
    patience: int = 20
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        conform(self)

    def check(self) -> None:
        """Raise :class:`TrainingError` for a value that cannot be."""
        for name, least in {"epochs": 1, "patience": 1, "batch": 1, "seed": 0, "l2": 0}.items():
            if not getattr(self, name) >= least:
                raise TrainingError(f"`{name}` {getattr(self, name)}: less than {least}")
        if self.seed >= 2**63:
            raise TrainingError(f"`seed` {self.seed}: not a 64-bit number")
        if not (self.lr > 0 and math.isfinite(self.lr) and math.isfinite(self.l2)):
            raise TrainingError(f"`lr` {self.lr}, `l2` {self.l2}: `lr` must be positive")


@dataclass(frozen=True)
class Data:
    """Genes on one device.

    Inputs of gene ``i`` are ``matrix[rows[i]]``, float32 ``(inputs,)``; ``targets`` and
    ``weights`` are float32 ``(genes, contexts)``.
    """

    matrix: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor

    def inputs(self, genes: Tensor) -> Tensor:
        """Inputs of some genes, gathered: ``(genes, inputs)``."""
        return self.matrix.index_select(0, self.rows[genes])


class Mlp(nn.Module):
    """Linear, ReLU, linear, with Seal's names of parameters; weights as torch initializes them."""

    def __init__(self, inputs: int, latent: int, contexts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _linear(inputs, latent, generator), nn.ReLU(), _linear(latent, contexts, generator)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Predictions ``(genes, contexts)`` of ``(genes, inputs)``."""
        out: Tensor = self.layers(x)
        return out

    def backward(self, x: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        """Write the gradients of ``loss_of(self(x))``; the loss, detached.

        The first layer's are computed here, into the memory of the last step's: 80 MB from the
        system in every step would cost more time than the product itself.
        """
        first, second = cast(nn.Linear, self.layers[0]), cast(nn.Linear, self.layers[2])
        before = F.linear(x, first.weight.detach(), first.bias.detach()).requires_grad_()
        second.zero_grad()
        loss = loss_of(second(before.relu()))
        loss.backward()
        slope = before.grad
        assert slope is not None
        for parameter in (first.weight, first.bias):
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
        torch.mm(slope.T, x, out=first.weight.grad)
        torch.sum(slope, 0, out=first.bias.grad)
        return loss.detach()


class FinetunedLayer(nn.Module):
    """The second layer alone, on the hidden units of a frozen first one."""

    def __init__(self, latent: int, contexts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = _linear(latent, contexts, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Predictions ``(genes, contexts)`` of hidden units ``(genes, latent)``."""
        out: Tensor = self.layer(x)
        return out

    def backward(self, x: Tensor, loss_of: Callable[[Tensor], Tensor]) -> Tensor:
        """Write the gradients of ``loss_of(self(x))``; the loss, detached."""
        self.zero_grad()
        loss = loss_of(self(x))
        loss.backward()
        return loss.detach()


@dataclass
class State:
    """Where a run stands after ``epoch`` epochs; tensors and numbers only.

    ``history`` has a row an epoch: training loss (mean over the epoch's genes of their batch's
    loss) and validation loss. ``best_*`` belong to the epoch with the smallest validation loss.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    generator: Tensor
    epoch: int = 0
    history: list[list[float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    best_model: dict[str, Tensor] = field(default_factory=dict)
    best_optimizer: dict[str, Any] = field(default_factory=dict)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float32)
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            parameter.uniform_(-bound, bound, generator=generator)
    return layer


def context_losses(predicted: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Per column, the sum of weight x squared error over the sum of weights: ``(contexts,)``.

    All arguments are ``(genes, contexts)``; the loss of training is the mean over columns.
    """
    return (weights * (predicted - targets).square()).sum(0) / weights.sum(0)


def fit(
    model: Mlp | FinetunedLayer,
    data: Data,
    train: np.ndarray,
    validation: np.ndarray,
    options: FitOptions,
    generator: torch.Generator,
    *,
    state: State | None = None,
    save: Callable[[State], None] = lambda _: None,
    progress: Progress = silent,
) -> State:
    """Train until the validation loss has not fallen for ``patience`` epochs; the last state.

    ``train`` and ``validation`` are positions of genes in ``data``. Each epoch visits every
    training gene once, in an order drawn from ``generator`` (on the CPU, whatever the device);
    the last batch may be smaller. The validation loss is that of all validation genes together.
    An equal loss is no better one. ``save`` is called after every epoch, ``state`` continues.
    Raises :class:`TrainingError` if the loss is no longer finite.
    """
    device = data.matrix.device
    optimizer = torch.optim.Adam(
        model.parameters(), lr=options.lr, weight_decay=options.l2, fused=True
    )
    if state is None:
        state = State(model.state_dict(), optimizer.state_dict(), generator.get_state())
    else:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        generator.set_state(state.generator)
    held_out = torch.from_numpy(validation).to(device)
    while state.epoch < options.epochs and state.epoch - state.best_epoch < options.patience:
        progress("epochs", state.epoch, options.epochs)
        order = torch.from_numpy(train)[torch.randperm(len(train), generator=generator)]
        total = torch.zeros((), dtype=torch.float64, device=device)
        for genes in order.to(device).split(options.batch):
            total += len(genes) * _step(model, data, genes, optimizer)
        losses = validation_losses(model, data, held_out)
        training, validating = (total / len(train)).item(), losses.mean().item()
        state.epoch += 1
        if not (math.isfinite(training) and math.isfinite(validating)):
            raise TrainingError(
                f"epoch {state.epoch}: the loss is not finite (training {training}, validation "
                f"{validating})",
                "start again with a smaller `lr` and `overwrite=True`",
            )
        state.history.append([training, validating])
        state.model, state.optimizer = model.state_dict(), optimizer.state_dict()
        state.generator = generator.get_state()
        if validating < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, validating
            state.best_model = deepcopy(state.model)
            state.best_optimizer = deepcopy(state.optimizer)
        save(state)
    progress("epochs", state.epoch, state.epoch)
    return state


def _step(
    model: Mlp | FinetunedLayer, data: Data, genes: Tensor, optimizer: torch.optim.Optimizer
) -> Tensor:
    targets, weights = data.targets[genes], data.weights[genes]
    loss = model.backward(
        data.inputs(genes), lambda found: context_losses(found, targets, weights).mean()
    )
    optimizer.step()
    return loss


def predict(model: nn.Module, data: Data, genes: Tensor) -> Tensor:
    """Predictions ``(genes, contexts)``, a few genes at a time, without gradients."""
    with torch.no_grad():
        return torch.cat([model(data.inputs(part)) for part in genes.split(ROWS_AT_ONCE)])


def validation_losses(model: nn.Module, data: Data, genes: Tensor) -> Tensor:
    """:func:`context_losses` of some genes, all together."""
    return context_losses(predict(model, data, genes), data.targets[genes], data.weights[genes])
