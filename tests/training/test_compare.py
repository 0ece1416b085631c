"""Evaluation: measures by hand and against scipy; common genes and contexts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from planted import Planted, gene_ids, write_expression, write_planted
from scipy.stats import spearmanr

from seal_store.errors import HeadsError, OutputError, TrainingError
from seal_store.store.store import Store
from seal_store.training.compare import CompareOptions, compare, scores_of
from seal_store.training.fit import FitOptions
from seal_store.training.metrics import across_contexts, median, mse, spearman
from seal_store.training.steps import pretrain
from seal_store.training.task import TrainOptions

Cli = Callable[..., Result]
TEST = [i for i in range(300) if i % 10 in (7, 8)]
"""Genes of chr8 and chr9 in the planted world."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    return write_planted(folder, np.random.default_rng(4), genes=300)


@pytest.fixture(scope="module")
def model(planted: Planted) -> Path:
    out = planted.features.parent / "model"
    pretrain(
        TrainOptions(
            expression=planted.expression,
            features=planted.features,
            genes=planted.genes,
            name="demo",
            out=out,
            latent=16,
            fit=FitOptions(lr=1e-2, epochs=8),
            device="cpu",
        )
    )
    return out


@pytest.fixture
def given(planted: Planted, tmp_path: Path) -> CompareOptions:
    return CompareOptions(
        expression=planted.expression,
        out=tmp_path / "out",
        features=planted.features,
        genes=planted.genes,
        device="cpu",
    )


def contexts_table(out: Path) -> pd.DataFrame:
    return pd.read_table(out / "evaluation_contexts.tsv")


def genes_table(out: Path) -> pd.DataFrame:
    return pd.read_table(out / "evaluation_genes.tsv")


def refused(result: Result, said: str, code: int = 1) -> None:
    assert result.exit_code == code, (result.output, result.exception)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- the numbers


def test_mse_by_hand() -> None:
    predicted = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(mse(predicted, np.array([[0.0, 2], [0, 0]])), [5, 8])


@pytest.mark.parametrize("axis", [0, 1])
def test_rank_correlations_are_scipys(axis: int, rng: np.random.Generator) -> None:
    a = rng.integers(0, 6, (40, 30)).astype(float)  # many ties
    b = a + rng.standard_normal(a.shape) * 3
    found = spearman(a, b, axis)
    pairs = zip(a, b, strict=True) if axis == 1 else zip(a.T, b.T, strict=True)
    expected = [spearmanr(x, y).statistic for x, y in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_constant_side_has_no_rank_correlation() -> None:
    a = np.array([[1.0, 5], [1, 4], [1, 3]])
    b = np.array([[1.0, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(spearman(a, b), [np.nan, -1])
    assert median(spearman(a, b)) == -1
    assert np.isnan(median(np.array([np.nan])))


def test_centring_removes_what_contexts_have_in_common() -> None:
    # in every gene context 2 is highest and 0 lowest; only the differences between genes disagree
    level = np.array([0.0, 10, 20])
    measured = level + np.array([[1.0, 0, 2], [0, 2, 1], [2, 1, 0]])
    predicted = level - np.array([[1.0, 0, 2], [0, 2, 1], [2, 1, 0]])
    np.testing.assert_allclose(across_contexts(predicted, measured), 1)
    np.testing.assert_allclose(across_contexts(predicted, measured, centred=True), -1)


@pytest.mark.parametrize("contexts", [1, 2])
def test_two_contexts_are_too_few_to_rank(contexts: int) -> None:
    values = np.random.default_rng(0).random((5, contexts))
    assert np.isnan(across_contexts(values, values)).all()


def test_scores_of_a_perfect_and_of_an_incomparable_model(rng: np.random.Generator) -> None:
    measured = rng.standard_normal((50, 6))
    perfect = scores_of(measured, measured)
    np.testing.assert_array_equal(perfect.mse, 0)
    for r in (perfect.spearman, perfect.across, perfect.centred):
        np.testing.assert_allclose(r, 1)
    other = scores_of(np.exp(3 * measured), measured, comparable=False)
    assert np.isnan(other.mse).all()
    np.testing.assert_allclose(other.spearman, 1)


# --- models beside each other


def test_a_head_set_on_the_held_out_genes(model: Path, given: CompareOptions) -> None:
    """The same as the metrics that training wrote."""
    facts = compare(replace(given, models=(("", model),)))
    trained = pd.read_table(model / "demo_seal_pt_metrics.tsv")
    found = contexts_table(given.out)
    assert found["model"].tolist() == ["demo"] * 4
    np.testing.assert_allclose(found["mse"], trained["test_mse"], rtol=1e-4)
    np.testing.assert_allclose(found["spearman"], trained["test_spearman"], rtol=1e-4)
    (row,) = facts["medians"]
    assert row["mse"] == pytest.approx(trained["test_mse"].median(), rel=1e-4)
    assert (facts["genes"], facts["contexts"]) == (60, 4)
    genes = genes_table(given.out)
    assert genes["gene_id"].tolist() == [gene_ids(300)[i] for i in TEST]
    assert row["across_contexts"] == pytest.approx(genes["across_contexts"].median(), rel=1e-4)
    assert json.loads((given.out / "evaluation_summary.json").read_text())["medians"] == [row]
    assert (given.out / "evaluation_agreement.png").read_bytes().startswith(b"\x89PNG")


def test_other_models_are_compared_on_what_all_have(
    planted: Planted, model: Path, given: CompareOptions, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Genes shuffled, some missing, some values missing, other contexts, another scale."""
    order = rng.permutation(300)
    values = planted.signal[order] + 0.1 * rng.standard_normal((300, 4))
    enformer = write_expression(
        tmp_path / "enformer.tsv",
        [gene_ids(300)[i] for i in order if i != TEST[0]],
        ["d", "other", "b", "c"],
        np.exp(values)[order != TEST[0]][:, [3, 0, 1, 2]],
    )
    second = planted.signal + rng.standard_normal((300, 4))
    second[TEST[1], 2] = np.nan
    write_expression(tmp_path / "second.tsv", gene_ids(300), ["a", "b", "c", "d"], second)
    facts = compare(
        replace(
            given,
            models=(("ours", model),),
            predictions={"enformer": enformer, "second": tmp_path / "second.tsv"},
            target_scale=("second",),
        )
    )
    kept = np.array(TEST[2:])
    assert (facts["genes"], facts["contexts"]) == (len(kept), 3)
    assert facts["test_genes_not_in_every_model"] == 2
    table = contexts_table(given.out).set_index(["model", "context"])
    assert table.index.tolist() == [
        (name, c) for name in ("ours", "enformer", "second") for c in ("b", "c", "d")
    ]
    measured = pd.read_table(planted.expression).set_index("gene_id").to_numpy()
    for c, column in (("b", 1), ("c", 2), ("d", 3)):
        place = int(np.flatnonzero(order == kept[0])[0])
        assert order[place] == kept[0]
        predicted = np.exp(values)[np.argsort(order)][kept, column]
        r = spearmanr(predicted, measured[kept, column]).statistic
        assert table.loc[("enformer", c), "spearman"] == pytest.approx(r, rel=1e-4)
        assert np.isnan(table.loc[("enformer", c), "mse"])
        offset = 10.0 ** (np.floor(np.log10(measured[:, column].min())) + 1)
        error = (second[kept, column] - np.log(measured[kept, column] + offset)) ** 2
        assert table.loc[("second", c), "mse"] == pytest.approx(error.mean(), rel=1e-4)
    rows = {row["model"]: row for row in facts["medians"]}
    assert rows["enformer"]["mse"] is None
    by_gene = pd.read_table(given.out / "evaluation_genes.tsv").groupby("model")
    means = by_gene["across_contexts_centred"].mean()  # medians over three contexts are coarse
    assert means["enformer"] > means["second"]


def test_predictions_alone_need_no_features(given: CompareOptions, planted: Planted) -> None:
    """The measured values themselves, as predictions: every correlation is 1."""
    facts = compare(replace(given, features=None, predictions={"self": planted.expression}))
    (row,) = facts["medians"]
    assert row["spearman"] == pytest.approx(1)
    assert row["mse"] is None


def test_head_sets_of_a_store(store: Store, tmp_path: Path) -> None:
    """The store's own `expression` as the measured one: the heads predict it without error."""
    names, sets = store.contexts()
    name = store.head_sets[1]
    own = np.flatnonzero(sets == name)[:5]
    values = np.exp(np.asarray(store.array("expression")[:])[:, own].astype(float))
    path = write_expression(tmp_path / "x.tsv", list(store.gene_id), list(names[own]), values)
    facts = compare(
        CompareOptions(
            expression=path,
            out=tmp_path / "out",
            store=store.path,
            heads=(name,),
            test_chromosomes=("chr1", "chr2"),
            device="cpu",
        )
    )
    assert facts["medians"][0]["spearman"] == pytest.approx(1)
    assert facts["medians"][0]["model"] == name


def test_a_chosen_stage(model: Path, given: CompareOptions) -> None:
    with pytest.raises(HeadsError, match="Name of specific contexts"):
        compare(replace(given, models=(("", model),), stage="finetune"))
    assert compare(replace(given, models=(("", model),), stage="pretrain"))["contexts"] == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "give `models`, `heads` or `predictions`"),
        ({"heads": ("x",)}, "give `store`"),
        ({"predictions": {"p": "other contexts"}}, "no context in common: p has 'z' and others"),
        ({"predictions": {"p": "other genes"}}, "0 test genes have a value .*p 0 of 60"),
        ({"predictions": {"p": "self"}, "target_scale": ("q",)}, "`target_scale` 'q'.*there are p"),
        ({"predictions": {"p": "self"}, "genes": None}, "give `genes` or `store`"),
        ({"predictions": {"p": "absent"}}, "table not found: .*; check `predictions`"),
        ({"predictions": {"p": "self"}, "test_chromosomes": ("chr30",)}, "no gene .* on chr30"),
        ({"models": "twice"}, "two models are named 'demo'"),
        ({"models": "narrow"}, "30 features a gene, the model demo takes 40"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    planted: Planted,
    model: Path,
    given: CompareOptions,
    tmp_path: Path,
    change: dict[str, Any],
    said: str,
) -> None:
    tables = {
        "self": planted.expression,
        "absent": tmp_path / "absent.tsv",
        "other contexts": write_expression(
            tmp_path / "c.tsv", gene_ids(300), ["z"], np.ones((300, 1))
        ),
        "other genes": write_expression(tmp_path / "g.tsv", ["A", "B"], ["a"], np.ones((2, 1))),
    }
    change = dict(change)
    if "predictions" in change:
        change["predictions"] = {k: tables[v] for k, v in change["predictions"].items()}
    if change.get("models") == "twice":
        change["models"] = (("", model), ("demo", model))
    if change.get("models") == "narrow":
        np.save(tmp_path / "narrow.npy", np.ascontiguousarray(planted.x[:, :30]))
        change |= {"models": (("", model),), "features": tmp_path / "narrow.npy"}
    with pytest.raises(TrainingError) as caught:
        compare(replace(given, **change))
    assert re.search(said, f"{caught.value}; {caught.value.hint}")
    assert not given.out.exists()


def test_an_evaluation_is_not_replaced_unasked(given: CompareOptions, planted: Planted) -> None:
    own = replace(given, predictions={"self": planted.expression})
    compare(own)
    with pytest.raises(OutputError, match=r"evaluation_contexts\.tsv exists already"):
        compare(own)
    compare(replace(own, overwrite=True))
    assert not (given.out / "evaluation.partial").exists()


def test_what_evaluate_did_not_write_is_never_replaced(
    given: CompareOptions, planted: Planted
) -> None:
    given.out.mkdir()
    other = given.out / "evaluation_summary.json"
    other.write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=r"evaluation_summary\.json is not a file that seal"):
        compare(replace(given, predictions={"self": planted.expression}, overwrite=True))
    assert other.read_text() == '{"mine": 1}'


def test_a_failure_leaves_nothing(
    given: CompareOptions, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seal_store.training.compare.agreement", full)
    with pytest.raises(OSError, match="No space left"):
        compare(replace(given, predictions={"self": planted.expression}))
    assert list(given.out.iterdir()) == []


# --- the command


def test_the_command_prints_a_table(
    cli: Cli, planted: Planted, model: Path, tmp_path: Path
) -> None:
    args = ["train", "evaluate", *planted.args(), "--out", tmp_path / "out", "--device", "cpu"]
    args += ["--model", f"ours={model}", "--predictions", f"self={planted.expression}"]
    result = cli(*args)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        f"{tmp_path / 'out'}: 60 genes of chr8, chr9, 4 contexts (0 genes are not in every model)"
    )
    assert lines[-2].split()[0] == "ours"
    assert lines[-1].split()[:3] == ["self", "-", "1"]
    facts = json.loads(cli(*args, "--json", "--overwrite").stdout)
    assert [row["model"] for row in facts["medians"]] == ["ours", "self"]


def test_every_option_reaches_the_library(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[CompareOptions] = []

    def run(options: CompareOptions, _: object) -> dict[str, Any]:
        seen.append(options)
        return {}

    monkeypatch.setattr("seal_store.training.compare.compare", run)
    paths = ("store", "features", "genes", "expression", "out")
    flags: list[object] = [a for n in paths for a in (f"--{n}", f"/{n}")]
    flags += ["--model", "m", "--model", "n=/a", "--heads", "h", "--heads", "i"]
    flags += ["--stage", "pretrain", "--predictions", "p=/q", "--target-scale", "p"]
    flags += ["--test-chromosomes", "chr1", "--device", "cuda:3", "--overwrite", "-q", "--json"]
    assert cli("train", "evaluate", *flags).exit_code == 0
    assert [replace(s, command="") for s in seen] == [
        CompareOptions(
            **{n: Path(f"/{n}") for n in paths},
            models=(("", Path("m")), ("n", Path("/a"))),
            heads=("h", "i"),
            stage="pretrain",
            predictions={"p": Path("/q")},
            target_scale=("p",),
            test_chromosomes=("chr1",),
            device="cuda:3",
            overwrite=True,
        )
    ]
    assert seen[0].command.startswith("seal-store train evaluate --store")


@pytest.mark.parametrize(
    "more",
    [
        ["--predictions", "x.tsv"],
        ["--predictions", "=x.tsv"],
        ["--predictions", "a=x.tsv", "--predictions", "a=y.tsv"],
        ["--model", "a="],
        ["--stage", "both"],
        ["--test-chromosomes", " , "],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(cli: Cli, more: list[str]) -> None:
    result = cli("train", "evaluate", "--expression", "x.tsv", "--out", "o", *more)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
