"""The CNN equal to the reference, the sweep to windows one by one; weights files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference
import torch

from seal_store.errors import WeightsError
from seal_store.model.beluga import Beluga, load_cnn
from seal_store.model.config import LAYERS, CnnConfig
from seal_store.model.sweep import sweep
from seal_store.reference.fasta import one_hot
from seal_store.synthetic import TINY, random_weights

pytestmark = pytest.mark.usefixtures("convolutions")


def random_sequence(rng: np.random.Generator, length: int, n_runs: int = 3) -> str:
    bases = rng.choice(np.frombuffer(b"ACGT", np.uint8), length)
    for _ in range(n_runs):
        start = int(rng.integers(length))
        bases[start : start + int(rng.integers(1, 700))] = ord("N")
    return bases.tobytes().decode()


def encode(*sequences: str) -> torch.Tensor:
    codes = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    return torch.from_numpy(one_hot(codes))


def test_published_sizes() -> None:
    config = CnnConfig()
    shapes = config.shapes()
    assert config.positions == 106
    assert shapes["model.1.2.1.weight"] == (2003, 67_840)
    assert shapes["model.1.4.1.weight"] == (2002, 2003)
    assert shapes["model.0.12.weight"] == (640, 480, 1, 8)
    assert sum(int(np.prod(s)) for s in shapes.values()) == 149_536_251


def test_forward_and_hidden_equal_the_slow_reference(
    tiny: Beluga, rng: np.random.Generator
) -> None:
    windows = [random_sequence(rng, 2000) for _ in range(5)]
    with torch.inference_mode():
        found = tiny(encode(*windows)).numpy()
        hidden = tiny.hidden(encode(*windows)).numpy()
    np.testing.assert_allclose(found, reference.cnn(tiny.state(), windows), atol=1e-6)
    np.testing.assert_allclose(hidden, reference.hidden(tiny.state(), windows)[:, 0], atol=1e-5)


def test_reverse_complement_gives_the_same_features(tiny: Beluga, rng: np.random.Generator) -> None:
    window = random_sequence(rng, 2000)
    reverse = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    with torch.inference_mode():
        both = tiny(encode(window, reverse))
    torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 40])
def test_sweep_equals_windows_one_by_one(
    tiny: Beluga, rng: np.random.Generator, count: int
) -> None:
    length = 2000 + 200 * (count - 1)
    sequences = [random_sequence(rng, length), random_sequence(rng, length, 0)]
    with torch.inference_mode():
        swept = sweep(tiny, encode(*sequences))
        for row, sequence in enumerate(sequences):
            x = torch.cat([encode(sequence[200 * i : 200 * i + 2000]) for i in range(count)])
            assert (tiny.output(swept[row]).mean(1) - tiny(x)).abs().max() <= 1e-6
            assert (swept[row, :, 0] - tiny.hidden(x)).abs().max() <= 1e-5
            assert (swept[row, :, 1] - tiny.hidden(x.flip((1, 2)))).abs().max() <= 1e-5


@pytest.mark.parametrize("step", [4, 100, 104, 200, 400])
def test_sweep_at_other_steps(tiny: Beluga, rng: np.random.Generator, step: int) -> None:
    sequence = random_sequence(rng, 2000 + 4 * step)
    with torch.inference_mode():
        found = tiny.output(sweep(tiny, encode(sequence), step)[0]).mean(1)
        x = torch.cat([encode(sequence[step * i : step * i + 2000]) for i in range(5)])
        assert (found - tiny(x)).abs().max() <= 1e-6


def test_sweep_refuses_lengths_that_are_no_windows(tiny: Beluga) -> None:
    with pytest.raises(ValueError, match="2100 bases"):
        sweep(tiny, torch.zeros(1, 4, 2100))
    with pytest.raises(ValueError, match="every 6"):
        sweep(tiny, torch.zeros(1, 4, 2006), step=6)


def test_weights_file_round_trip(tiny: Beluga, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(tiny.state(), path)
    again = load_cnn(path)
    assert again.config == TINY
    assert again.sha256() == tiny.sha256()
    changed = tiny.state()
    changed["model.0.0.bias"] = changed["model.0.0.bias"] + 1
    assert Beluga.from_state(TINY, changed).sha256() != tiny.sha256()


@pytest.mark.parametrize("key", [f"{k}.{p}" for k in LAYERS.values() for p in ("weight", "bias")])
def test_the_first_tensor_that_is_off_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "w.pth"
    for change in ("missing", "shape", "dtype", "nan"):
        state = random_weights(TINY, 1)
        if change == "missing":
            del state[key]
        elif change == "shape":
            state[key] = state[key].unsqueeze(0)
        elif change == "dtype":
            state[key] = state[key].double()
        else:
            state[key].view(-1)[-1] = torch.nan
        torch.save(state, path)
        with pytest.raises(WeightsError, match=key.replace(".", r"\.")):
            load_cnn(path)


def test_truncated_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(random_weights(TINY, 1), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match="not a readable PyTorch weights file"):
        load_cnn(path)


class Bomb:
    """Unpickling this would write a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_code_in_a_weights_file_never_runs(tmp_path: Path) -> None:
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    torch.save({"model.0.0.weight": Bomb(str(trace))}, path)
    with pytest.raises(WeightsError):
        load_cnn(path)
    assert not trace.exists()


def resaved(path: Path, method: int, copies: int = 1) -> None:
    """A weights file with its members packed by ``method`` and listed ``copies`` times."""
    with zipfile.ZipFile(path) as found:
        members = {name: found.read(name) for name in found.namelist()}
    with zipfile.ZipFile(path, "w", method) as out:
        for name, content in members.items():
            out.writestr(name, content)
        out.filelist *= copies
        out._didModify = True


@pytest.mark.parametrize(
    ("method", "copies", "says"),
    [(zipfile.ZIP_DEFLATED, 1, "are compressed"), (zipfile.ZIP_STORED, 2, "larger than the file")],
)
def test_weights_that_unpack_to_more_than_their_file_are_refused(
    tmp_path: Path, method: int, copies: int, says: str
) -> None:
    path = tmp_path / "w.pth"
    torch.save(random_weights(TINY, 1), path)
    resaved(path, zipfile.ZIP_STORED)
    load_cnn(path)
    resaved(path, method, copies)
    with pytest.raises(WeightsError, match=rf"w\.pth: not a readable .*{says}"):
        load_cnn(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: torch.zeros(1).expand(t.shape), "larger than what the file holds"),
        (lambda t: t.to_sparse(), "not of plain real numbers"),
        (lambda t: t.to_sparse_csr(), "not of plain real numbers"),
        (lambda t: t.to("meta"), "not of plain real numbers"),
        (lambda t: t.to(torch.complex64), "not of plain real numbers"),
        (lambda t: t.int(), "not of plain real numbers"),
    ],
    ids=["stride 0", "sparse", "CSR", "meta", "complex", "int"],
)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_tensors_of_other_kinds_are_refused(
    tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], says: str
) -> None:
    path, key = tmp_path / "w.pth", "model.1.4.1.weight"
    state = random_weights(TINY, 1)
    torch.save(state | {key: change(state[key])}, path)
    with pytest.raises(WeightsError, match=rf"tensor model\.1\.4\.1\.weight is {says}"):
        load_cnn(path)


def test_parameters_are_tensors(tiny: Beluga, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({key: torch.nn.Parameter(t) for key, t in tiny.state().items()}, path)
    assert load_cnn(path).sha256() == tiny.sha256()
