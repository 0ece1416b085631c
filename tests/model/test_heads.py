"""Heads: files as Seal writes them, shapes that disagree, the delta form."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import torch

from seal_store.errors import HeadsError
from seal_store.model.heads import ARRAYS, Heads, HeadSet, find_summaries, load_head_set, load_heads
from seal_store.synthetic import random_head_set, write_head_set

CONTEXTS = ("early_fetal.A1C", "adult.AMY", "infant.HIP")
INPUTS, LATENT, SEED = 30, 5, 3

State = dict[str, torch.Tensor]


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    """Seal's folders below a root, as the package writes them; the summary file."""
    return write_head_set(tmp_path / "root", "demo", CONTEXTS, INPUTS, LATENT, SEED)


def edit(summary: Path, old: str, new: str) -> None:
    text = summary.read_text()
    assert old in text
    summary.write_text(text.replace(old, new))


def save(summary: Path, **changes: object) -> None:
    """Write the model file again with other tensors (`layers_2_bias` is layers.2.bias)."""
    state: dict[str, object] = dict(random_head_set(INPUTS, LATENT, len(CONTEXTS), SEED))
    for key, value in changes.items():
        name = key.replace("_", ".")
        assert name in state
        state[name] = value
    kept = {key: value for key, value in state.items() if value is not None}
    torch.save({"model_state_dict": kept, "optimizer_state_dict": {}}, model_file(summary))


def model_file(summary: Path) -> Path:
    return summary.parent / "demo_seal_ft_model.pt"


def head_set(name: str, contexts: int, latent: int, seed: int, inputs: int = INPUTS) -> HeadSet:
    state = random_head_set(inputs, latent, contexts, seed)
    arrays = {ours: state[key].numpy() for ours, key in ARRAYS.items()}
    return HeadSet(name, tuple(f"{name}{i}" for i in range(contexts)), **arrays)


def states(sets: list[HeadSet]) -> list[State]:
    """Head sets as the reference takes them."""
    return [{key: torch.from_numpy(getattr(s, a)) for a, key in ARRAYS.items()} for s in sets]


def test_a_head_set_as_seal_writes_it(summary: Path) -> None:
    loaded = load_head_set(summary)
    assert (loaded.name, loaded.contexts, loaded.inputs) == ("demo", CONTEXTS, INPUTS)
    for name, key in ARRAYS.items():
        expected = random_head_set(INPUTS, LATENT, len(CONTEXTS), SEED)[key].numpy()
        np.testing.assert_array_equal(getattr(loaded, name), expected)
        assert getattr(loaded, name).dtype == np.float32
    assert loaded.summary["Number of latent features"] == str(LATENT)


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n", " \t \n"), ("\n", "\r\n"), (": ", ":"), (",", ", "), ("\n", "\n\n"), ("Opt", "  Opt")],
    ids=["trailing blanks", "CRLF", "no blank", "blanks in names", "blank lines", "leading blanks"],
)
def test_blanks_in_a_summary_do_not_matter(summary: Path, old: str, new: str) -> None:
    expected = load_head_set(summary)
    edit(summary, old, new)
    found = load_head_set(summary)
    assert found.contexts == CONTEXTS
    assert found.sha256() == expected.sha256()


@pytest.mark.parametrize(
    "named",
    [
        "model/demo/demo_seal_ft_model.pt",
        "./model/demo/demo_seal_ft_model.pt",
        "demo_seal_ft_model.pt",
        "/home/somebody/seal/model/demo/demo_seal_ft_model.pt",
        "elsewhere/demo_seal_ft_model.pt",
    ],
    ids=["Seal's root", "dot", "beside the summary", "absolute, elsewhere", "moved"],
)
def test_where_a_summary_may_point(
    summary: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(summary, "model/demo/demo_seal_ft_model.pt", named)
    assert load_head_set(summary).contexts == CONTEXTS
    monkeypatch.chdir(summary.parent)
    assert load_head_set(Path(summary.name)).contexts == CONTEXTS


def test_an_absolute_path_is_taken_as_it_is(summary: Path, tmp_path: Path) -> None:
    moved = tmp_path / "weights.pt"
    os.replace(model_file(summary), moved)
    edit(summary, "model/demo/demo_seal_ft_model.pt", str(moved))
    assert load_head_set(summary).contexts == CONTEXTS


def test_without_a_fine_tuned_model_the_pretrained_one_counts(summary: Path) -> None:
    edit(summary, "finetune", "pretrain")
    edit(summary, "specific", "general")
    assert load_head_set(summary).contexts == CONTEXTS


def test_the_fine_tuned_model_goes_before_the_pretrained_one(summary: Path) -> None:
    text = summary.read_text()
    summary.write_text(
        "Optimal pretrain model: model/demo/absent.pt \nNumber of general contexts: 1\n"
        "Name of general contexts: Brain\n" + text
    )
    assert load_head_set(summary).contexts == CONTEXTS


def test_summaries_of_a_folder_are_found_and_sorted(summary: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    other = write_head_set(root, "another", ("x",), INPUTS, 2, 9)
    (summary.parent / "notes.txt").write_text("no summary")
    assert find_summaries(root) == [other, summary]
    assert find_summaries(summary) == [summary]
    assert [s.name for s in load_heads(root)] == ["another", "demo"]


@pytest.mark.parametrize("name", ["nowhere", "nowhere_model_summary.txt", "."])
def test_a_path_without_summaries_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HeadsError) as caught:
        load_heads(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Name of specific contexts", "Name of specific contexts"),
        ("Optimal finetune model", "contexts|model"),
    ],
)
@pytest.mark.parametrize("how", ["removed", "empty"])
def test_a_missing_line_is_named(summary: Path, line: str, named: str, how: str) -> None:
    rows = [row for row in summary.read_text().splitlines() if not row.startswith(line)]
    summary.write_text("\n".join(rows + [f"{line}: "] * (how == "empty")))
    with pytest.raises(HeadsError, match=f"no line '.*({named})") as caught:
        load_head_set(summary)
    assert str(summary) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"some prose\n", b"\xff\xfe\x00"])
def test_another_file_than_a_summary_is_refused(summary: Path, content: bytes) -> None:
    summary.write_bytes(content)
    with pytest.raises(HeadsError) as caught:
        load_head_set(summary)
    assert str(summary) in str(caught.value)


def test_a_missing_model_file_is_named(summary: Path) -> None:
    model_file(summary).unlink()
    with pytest.raises(HeadsError, match=r"demo_seal_ft_model\.pt' not found") as caught:
        load_head_set(summary)
    assert str(summary) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_model_file_is_refused(summary: Path, share: float) -> None:
    content = model_file(summary).read_bytes()
    model_file(summary).write_bytes(content[: int(share * len(content))])
    with pytest.raises(HeadsError, match=r"demo_seal_ft_model\.pt: not a readable"):
        load_head_set(summary)


@pytest.mark.parametrize("content", [{}, {"model_state_dict": 3}, {"layers.0.weight": 1}])
def test_a_file_without_a_state_dict_is_refused(summary: Path, content: object) -> None:
    torch.save(content, model_file(summary))
    with pytest.raises(HeadsError, match="no model_state_dict"):
        load_head_set(summary)


@pytest.mark.parametrize("key", ARRAYS.values())
@pytest.mark.parametrize("value", [None, 1.5])
def test_a_missing_tensor_is_named(summary: Path, key: str, value: object) -> None:
    save(summary, **{key.replace(".", "_"): value})
    with pytest.raises(HeadsError, match=f"tensor {key} is missing"):
        load_head_set(summary)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("layers_0_weight", (INPUTS * LATENT,)),
        ("layers_0_weight", (LATENT + 1, INPUTS)),
        ("layers_0_weight", ()),
        ("layers_0_bias", (LATENT - 1,)),
        ("layers_0_bias", (LATENT, 1)),
        ("layers_2_weight", (3, LATENT + 1)),
        ("layers_2_weight", (4, LATENT)),
        ("layers_2_bias", (2,)),
    ],
)
def test_a_tensor_of_another_shape_is_refused(
    summary: Path, key: str, shape: tuple[int, ...]
) -> None:
    save(summary, **{key: torch.zeros(shape)})
    with pytest.raises(HeadsError, match="shape"):
        load_head_set(summary)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("specific contexts: 3", "specific contexts: 4"),
        ("specific contexts: 3", "specific contexts: three"),
        (",adult.AMY", ""),
        (",adult.AMY", ",adult.AMY,one.more"),
        ("latent features: 5", "latent features: 6"),
    ],
)
def test_counts_that_disagree_are_refused(summary: Path, old: str, new: str) -> None:
    edit(summary, old, new)
    with pytest.raises(HeadsError, match=r"demo_seal"):
        load_head_set(summary)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ARRAYS.values())
def test_weights_that_are_no_numbers_are_refused(summary: Path, key: str, value: float) -> None:
    tensor = random_head_set(INPUTS, LATENT, len(CONTEXTS), SEED)[key]
    tensor.view(-1)[-1] = value
    save(summary, **{key.replace(".", "_"): tensor})
    with pytest.raises(HeadsError, match="NaN or infinite"):
        load_head_set(summary)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.double(),
        lambda t: t.T.contiguous().T if t.ndim == 2 else t,
        torch.nn.Parameter,
    ],
    ids=["float64", "strided", "parameter"],
)
def test_however_the_tensors_were_saved(
    summary: Path, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    expected = load_head_set(summary)
    state = random_head_set(INPUTS, LATENT, len(CONTEXTS), SEED)
    save(summary, **{key.replace(".", "_"): change(tensor) for key, tensor in state.items()})
    assert load_head_set(summary).sha256() == expected.sha256()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: torch.zeros(1).expand(t.shape), "larger than what the file holds"),
        (lambda t: t.to_sparse(), "not of plain real numbers"),
        (lambda t: t.to("meta"), "not of plain real numbers"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "not of plain real numbers"),
        (lambda t: t.to(torch.complex64) * 1j, "not of plain real numbers"),
    ],
    ids=["stride 0", "sparse", "meta", "quantized", "complex"],
)
@pytest.mark.filterwarnings("ignore:torch.quantize", "ignore:TypedStorage")
def test_tensors_of_other_kinds_are_refused(
    summary: Path, change: Callable[[torch.Tensor], torch.Tensor], says: str
) -> None:
    weight = random_head_set(INPUTS, LATENT, len(CONTEXTS), SEED)["layers.0.weight"]
    save(summary, layers_0_weight=change(weight))
    with pytest.raises(HeadsError, match=rf"tensor layers\.0\.weight is {says}"):
        load_head_set(summary)


@pytest.mark.parametrize("name", ["a" * 5_000, "a\0b"])
def test_a_model_name_that_no_file_can_have_is_not_found(summary: Path, name: str) -> None:
    edit(summary, "demo_seal_ft_model.pt", name)
    with pytest.raises(HeadsError, match="model file .* not found") as caught:
        load_head_set(summary)
    assert len(str(caught.value)) < 1_000


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_inside_a_model_file_does_not_run(summary: Path, tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    torch.save({"model_state_dict": {}, "extra": Malicious(executed)}, model_file(summary))
    with pytest.raises(HeadsError, match="not a readable PyTorch weights file"):
        load_head_set(summary)
    assert not executed.exists()
    torch.load(model_file(summary), weights_only=False)
    assert executed.exists()


def test_the_fingerprint_covers_names_and_every_array() -> None:
    plain = head_set("a", 3, 4, 1)
    others = [replace(plain, contexts=("x", "y", "z"))]
    for name in ARRAYS:
        array = getattr(plain, name).copy()
        array.flat[-1] += 1e-6
        others.append(replace(plain, **{name: array}))
    assert len({s.sha256() for s in (plain, *others)}) == 6
    assert replace(plain, name="b").sha256() == plain.sha256()


@pytest.mark.parametrize("shapes", [[(3, 4)], [(3, 4), (1, 7), (5, 2)]])
def test_predictions_are_those_of_every_set_in_order(
    shapes: list[tuple[int, int]], rng: np.random.Generator
) -> None:
    sets = [head_set(f"s{i}", c, n, i) for i, (c, n) in enumerate(shapes)]
    heads = Heads(sets)
    rows = rng.standard_normal((6, INPUTS)).astype(np.float32)
    found = heads.predict(heads.first(torch.from_numpy(rows))).numpy()
    expected = np.stack([reference.heads_out(states(sets), row) for row in rows])
    assert heads.contexts == sum(c for c, _ in shapes)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(("size", "tolerance"), [(1e-4, 2e-3), (1.0, 3e-6)])
def test_an_effect_is_the_difference_without_its_cancellation(
    size: float, tolerance: float, rng: np.random.Generator
) -> None:
    inputs = 2_000
    sets = [head_set(f"s{i}", 40, 60, i, inputs) for i in range(2)]
    heads = Heads(sets)
    rows = rng.standard_normal((8, inputs)).astype(np.float32)
    change = (size * rng.standard_normal((8, inputs))).astype(np.float32)
    hidden = heads.first(torch.from_numpy(rows))
    found = heads.effect(hidden, heads.first_delta(torch.from_numpy(change))).numpy()
    expected = np.stack(
        [
            reference.heads_out(states(sets), row.astype(np.float64) + delta)
            - reference.heads_out(states(sets), row)
            for row, delta in zip(rows, change, strict=True)
        ]
    )
    largest = np.abs(expected).max(1, keepdims=True)
    assert (np.abs(found - expected) / largest).max() < tolerance


def test_effect_leaves_its_arguments_as_they_were(rng: np.random.Generator) -> None:
    heads = Heads([head_set("s", 3, 4, 1)])
    hidden, change = (torch.from_numpy(rng.standard_normal((2, 4), np.float32)) for _ in range(2))
    before = hidden.clone(), change.clone()
    heads.effect(hidden, change)
    heads.predict(hidden)
    assert torch.equal(hidden, before[0])
    assert torch.equal(change, before[1])


@pytest.mark.parametrize(
    "select", [[0], [8], [0, 1, 2], [3], [2, 3, 4], [0, 3, 8], [], list(range(9))]
)
def test_selected_contexts_are_columns_of_all(select: list[int], rng: np.random.Generator) -> None:
    sets = [head_set(f"s{i}", c, n, i) for i, (c, n) in enumerate([(3, 4), (1, 7), (5, 2)])]
    whole, part = Heads(sets), Heads(sets, select=np.array(select, np.int64))
    x, change = (torch.from_numpy(rng.standard_normal((4, INPUTS), np.float32)) for _ in range(2))
    hidden, delta = whole.first(x), whole.first_delta(change)
    assert part.contexts == len(select)
    for found, expected in (
        (part.predict(part.first(x)), whole.predict(hidden)),
        (part.effect(part.first(x), part.first_delta(change)), whole.effect(hidden, delta)),
    ):
        assert found.shape == (4, len(select))
        np.testing.assert_allclose(found, expected[:, select], atol=1e-6)


def test_no_head_set_is_refused() -> None:
    with pytest.raises(HeadsError, match="no head set"):
        Heads([])
