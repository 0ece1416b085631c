"""Gradients and trainings equal to autograd and plain Adam; restarts bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seal_store.errors import TrainingError
from seal_store.training.fit import (
    Data,
    FinetunedLayer,
    FitOptions,
    Mlp,
    State,
    context_losses,
    fit,
    predict,
    validation_losses,
)

INPUTS, LATENT, CONTEXTS, GENES = 30, 12, 3, 90
TRAIN, VALIDATION = np.arange(70), np.arange(70, 90)
OPTIONS = FitOptions(lr=1e-2, l2=1e-3, epochs=4, batch=16, patience=9)


@pytest.fixture
def data(rng: np.random.Generator) -> Data:
    """Genes in another order than their rows of the matrix, which has more rows."""
    matrix = rng.standard_normal((GENES + 20, INPUTS)).astype(np.float32)
    rows = rng.permutation(GENES + 20)[:GENES]
    signal = np.tanh(matrix[rows] @ rng.standard_normal((INPUTS, CONTEXTS)) / 3)
    weights = rng.choice([0.5, 1, 2], (GENES, CONTEXTS))
    tensors = (torch.from_numpy(a.astype(np.float32)) for a in (signal, weights))
    return Data(torch.from_numpy(matrix), torch.from_numpy(rows), *tensors)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(g: torch.Generator) -> Mlp:
    return Mlp(INPUTS, LATENT, CONTEXTS, g)


def train(model: Mlp | FinetunedLayer, data: Data, g: torch.Generator, **changes: object) -> State:
    options = FitOptions(**{**OPTIONS.__dict__, **changes})
    return fit(model, data, TRAIN, VALIDATION, options, g)


def plain(
    model: nn.Module, data: Data, g: torch.Generator, options: FitOptions
) -> list[list[float]]:
    """The same training as one would write it in PyTorch, by autograd and plain Adam."""
    x, history = data.matrix[data.rows], []
    trained = [p for p in model.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trained, lr=options.lr, weight_decay=options.l2, foreach=False)

    def loss(genes: Tensor) -> Tensor:
        columns = []
        for c in range(CONTEXTS):
            w = data.weights[genes, c]
            error = model(x[genes])[:, c] - data.targets[genes, c]
            columns.append((w * error**2).sum() / w.sum())
        return sum(columns) / CONTEXTS

    for _ in range(options.epochs):
        order = torch.from_numpy(TRAIN)[torch.randperm(len(TRAIN), generator=g)]
        losses = []
        for start in range(0, len(order), options.batch):
            batch = order[start : start + options.batch]
            adam.zero_grad()
            value = loss(batch)
            value.backward()
            adam.step()
            losses += [value.item()] * len(batch)
        with torch.no_grad():
            history.append([np.mean(losses), loss(torch.from_numpy(VALIDATION)).item()])
    return history


def test_the_loss_by_hand() -> None:
    predicted = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    targets = torch.tensor([[0.0, 0.0], [1.0, 5.0]])
    weights = torch.tensor([[2.0, 1.0], [1.0, 0.5]])
    # (2 * 1 + 1 * 4) / 3 and (1 * 0 + 0.5 * 9) / 1.5
    assert context_losses(predicted, targets, weights).tolist() == [2.0, 3.0]


def test_gradients_are_autograds_in_every_step(data: Data) -> None:
    model = mlp(generator())
    for genes in torch.arange(GENES).split(32):  # the last batch is smaller
        reference = copy.deepcopy(model)
        reference.zero_grad()
        x, targets, weights = data.inputs(genes), data.targets[genes], data.weights[genes]

        def loss_of(found: Tensor, t: Tensor = targets, w: Tensor = weights) -> Tensor:
            return context_losses(found, t, w).mean()

        expected = loss_of(reference(x))
        expected.backward()
        loss = model.backward(x, loss_of)
        torch.testing.assert_close(loss, expected.detach())
        for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_gradients_go_into_the_memory_of_the_last_step(data: Data) -> None:
    model = mlp(generator())
    places = set()
    for genes in torch.arange(64).split(32):
        model.backward(data.inputs(genes), lambda found: found.square().sum())
        weight = model.layers[0].weight
        assert weight.grad is not None
        places.add(weight.grad.data_ptr())
    assert len(places) == 1


def test_training_is_that_of_a_plain_loop(data: Data) -> None:
    ours, theirs = mlp(generator()), mlp(generator())
    g, h = generator(7), generator(7)
    state = train(ours, data, g)
    history = plain(theirs, data, h, OPTIONS)
    np.testing.assert_allclose(state.history, history, rtol=1e-4)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(state.model[key], value, rtol=1e-3, atol=2e-5)
    assert (state.model["layers.0.weight"] - mlp(generator()).layers[0].weight).abs().max() > 0.01


def test_the_second_layer_alone_is_training_through_a_frozen_first_one(data: Data) -> None:
    whole = mlp(generator())
    first = whole.layers[0]
    assert isinstance(first, nn.Linear)
    for parameter in first.parameters():
        parameter.requires_grad = False
    with torch.no_grad():
        hidden = first(data.matrix[data.rows]).relu()
    alone = FinetunedLayer(LATENT, CONTEXTS, generator())
    alone.layer.load_state_dict(whole.layers[2].state_dict())
    over = Data(hidden, torch.arange(GENES), data.targets, data.weights)
    state = train(alone, over, generator(7))
    history = plain(whole, data, generator(7), OPTIONS)
    np.testing.assert_allclose(state.history, history, rtol=1e-4)
    for part in ("weight", "bias"):
        torch.testing.assert_close(
            state.model[f"layer.{part}"],
            whole.state_dict()[f"layers.2.{part}"],
            rtol=1e-3,
            atol=2e-5,
        )


def test_a_seed_decides_everything(data: Data) -> None:
    def trained(seed: int) -> list[bytes]:
        g = generator(seed)
        state = train(mlp(g), data, g)
        return [tensor.numpy().tobytes() for tensor in state.best_model.values()]

    assert trained(1) == trained(1)
    assert trained(1) != trained(2)


def test_first_weights_have_torchs_distribution() -> None:
    model = Mlp(400, 300, 5, generator())
    torch_made = nn.Linear(400, 300)
    first = model.layers[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.abs().max() <= 1 / 20
    assert first.bias.abs().max() <= 1 / 20
    torch.testing.assert_close(first.weight.std(), torch_made.weight.std(), rtol=0.02, atol=0)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_going_on_from_a_saved_state_changes_no_bit(data: Data, stop: int, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    path = tmp_path / "state.pt"

    def save(state: State) -> None:
        torch.save(vars(state), path)
        if state.epoch == stop:
            raise KilledError

    g = generator()
    whole = train(mlp(g), data, g)
    g = generator()
    with pytest.raises(KilledError):
        fit(mlp(g), data, TRAIN, VALIDATION, OPTIONS, g, save=save)
    g = generator(99)  # what the state holds goes before it
    state = State(**torch.load(path, weights_only=True))
    resumed = fit(mlp(g), data, TRAIN, VALIDATION, OPTIONS, g, state=state)
    assert resumed.history == whole.history
    for key in whole.model:
        assert torch.equal(resumed.model[key], whole.model[key])
        assert torch.equal(resumed.best_model[key], whole.best_model[key])


class Scripted(FinetunedLayer):
    """Predicts, for validation, what makes the loss the next of a list."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__(INPUTS, CONTEXTS, generator())
        self.losses = iter(losses)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return super().forward(x)
        return torch.full((len(x), CONTEXTS), next(self.losses) ** 0.5)


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best", "ran"),
    [
        ([4, 3, 2, 1], 2, 4, 4, 4),
        ([4, 1, 2, 3, 0], 2, 9, 2, 4),
        ([4, 1, 1, 1, 0], 2, 9, 2, 4),
        ([4, 1, 2, 0.5, 1, 1, 0], 2, 9, 4, 6),
        ([4, 1, 2, 2, 0.5], 3, 5, 5, 5),
        ([1, 2], 1, 9, 1, 2),
    ],
)
def test_early_stopping_by_hand(
    data: Data, losses: list[float], patience: int, epochs: int, best: int, ran: int
) -> None:
    zero = Data(data.matrix, data.rows, torch.zeros_like(data.targets), data.weights)
    state = train(Scripted(losses), zero, generator(), patience=patience, epochs=epochs)
    assert (state.best_epoch, state.epoch, len(state.history)) == (best, ran, ran)
    assert state.best_loss == pytest.approx(losses[best - 1])
    np.testing.assert_allclose([row[1] for row in state.history], losses[:ran], rtol=1e-6)


def test_the_best_epochs_weights_are_kept(data: Data) -> None:
    seen: list[dict[str, Tensor]] = []
    zero = Data(data.matrix, data.rows, torch.zeros_like(data.targets), data.weights)
    state = fit(
        Scripted([3.0, 1.0, 2.0, 2.0]),
        zero,
        TRAIN,
        VALIDATION,
        FitOptions(epochs=4, lr=0.1),
        generator(),
        save=lambda s: seen.append(copy.deepcopy(s.model)),
    )
    for key, value in state.best_model.items():
        assert torch.equal(value, seen[1][key])
        assert not torch.equal(value, state.model[key])
    assert state.best_optimizer["state"][0]["step"] == 2 * -(-70 // 32)


def test_the_validation_loss_is_of_all_genes_together(data: Data) -> None:
    model = mlp(generator())
    genes = torch.from_numpy(VALIDATION)
    whole = context_losses(
        model(data.matrix[data.rows[genes]]), data.targets[genes], data.weights[genes]
    )
    torch.testing.assert_close(validation_losses(model, data, genes), whole.detach())


def test_predictions_do_not_depend_on_how_many_at_once(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, genes = mlp(generator()), torch.arange(GENES).flip(0)
    expected = model(data.matrix[data.rows[genes]]).detach()
    monkeypatch.setattr("seal_store.training.fit.ROWS_AT_ONCE", 7)
    torch.testing.assert_close(predict(model, data, genes), expected)


def test_a_loss_that_is_no_number_stops_the_run(data: Data) -> None:
    broken = Data(data.matrix, data.rows, data.targets * 1e30, data.weights)
    with pytest.raises(TrainingError, match="epoch 1: the loss is not finite"):
        train(mlp(generator()), broken, generator())


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"lr": 0.0}, "`lr`"),
        ({"lr": float("nan")}, "`lr`"),
        ({"lr": float("inf")}, "`lr`"),
        ({"l2": -1.0}, "`l2`"),
        ({"l2": float("nan")}, "`l2`"),
        ({"epochs": 0}, "`epochs`"),
        ({"patience": 0}, "`patience`"),
        ({"batch": 0}, "`batch`"),
        ({"seed": -1}, "`seed`"),
        ({"seed": 2**63}, "`seed`"),
    ],
)
def test_options_that_cannot_be_are_refused(change: dict[str, float], flag: str) -> None:
    with pytest.raises(TrainingError, match=flag):
        FitOptions(**change).check()


def test_nothing_of_torchs_is_changed(data: Data) -> None:
    before = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    train(mlp(generator()), data, generator())
    after = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("make", [mlp, lambda g: FinetunedLayer(INPUTS, CONTEXTS, g)])
def test_cuda_trains_as_the_cpu_does(data: Data, make: Callable[..., Mlp | FinetunedLayer]) -> None:
    there = Data(*(getattr(data, n).cuda() for n in ("matrix", "rows", "targets", "weights")))
    g, h = generator(), generator()
    cpu, cuda = train(make(g), data, g), train(make(h).cuda(), there, h)
    np.testing.assert_allclose(cuda.history, cpu.history, rtol=1e-3)
