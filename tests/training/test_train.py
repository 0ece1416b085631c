"""Training end to end: planted heads recovered, Seal's files, kill -9 and resume."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import Result
from planted import Planted, gene_ids, network, write_expression, write_genes, write_planted
from scipy.stats import spearmanr

from seal_store.building.build import add_heads, build
from seal_store.building.options import BuildOptions
from seal_store.common.files import file_sha256
from seal_store.common.lock import hold
from seal_store.errors import HeadsError, OutputError, TrainingError
from seal_store.model.heads import Heads, load_head_set, load_heads, read_summary
from seal_store.reference.gene_table import GeneTable
from seal_store.store.store import Store
from seal_store.training import steps as library
from seal_store.training.compare import CompareOptions, compare
from seal_store.training.fit import FitOptions
from seal_store.training.inputs import Features, Source, open_source
from seal_store.training.steps import finetune, pretrain
from seal_store.training.task import TrainOptions

Cli = Callable[..., Result]
FAST = ["--lr", "0.01", "--latent", "16", "--epochs", "3", "--device", "cpu", "-q"]
PT = [f"demo_seal_pt_{n}" for n in ("history.tsv", "loss.png", "metrics.tsv", "model.pt")]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"), np.random.default_rng(3))


@pytest.fixture
def specific(tmp_path: Path, planted: Planted) -> Path:
    """Expression of two other contexts for the same genes."""
    values = np.exp(planted.signal[:, :2] - planted.signal[:, 2:])
    return write_expression(tmp_path / "specific.tsv", gene_ids(len(values)), ["x", "y"], values)


@pytest.fixture(scope="module")
def pretrained(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrained")
    pretrain(training(planted, out, name="base"))
    return out


def training(planted: Planted, out: Path, **changes: Any) -> TrainOptions:
    given = TrainOptions(
        expression=planted.expression,
        features=planted.features,
        genes=planted.genes,
        name="demo",
        out=out,
        latent=16,
        fit=FitOptions(lr=1e-2, epochs=3),
        device="cpu",
    )
    return replace(given, **changes)


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(result: Result, said: str, code: int = 1) -> None:
    assert result.exit_code == code, (result.output, result.exception)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model_state_dict"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --- what is written


def test_pretrain_and_finetune_write_a_set_as_seals(
    cli: Cli, planted: Planted, specific: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = Path("model/demo")
    first = succeeded(
        cli("train", "pretrain", *planted.args(), "--name", "demo", "--out", out, *FAST)
    )
    summary = out / "demo_seal_model_summary.txt"
    assert names(out) == [
        "demo_seal_model_summary.txt",
        "demo_seal_pt_history.tsv",
        "demo_seal_pt_loss.png",
        "demo_seal_pt_metrics.tsv",
        "demo_seal_pt_model.pt",
        "demo_seal_pt_training.json",
    ]
    lines = read_summary(summary)
    assert list(lines) == [
        "Optimal pretrain model",
        "Number of latent features",
        "Number of general contexts",
        "Name of general contexts",
        "Optimal testing MSE of pretrain model (median of all contexts)",
        "Optimal testing Spearman r of pretrain model (median of all contexts)",
    ]
    assert lines["Optimal pretrain model"] == "model/demo/demo_seal_pt_model.pt"
    assert (lines["Number of latent features"], lines["Name of general contexts"]) == (
        "16",
        "a,b,c,d",
    )
    alone = load_head_set(summary)
    assert (alone.name, alone.contexts, alone.inputs) == ("demo", ("a", "b", "c", "d"), 40)
    assert "demo_seal_model_summary.txt: 4 contexts, 16 hidden units" in first

    tuning = [a for a in FAST if a not in ("--latent", "16")]
    facts = json.loads(
        succeeded(
            cli(
                "train",
                "finetune",
                *planted.args(expression=specific),
                "--from",
                summary,
                "--name",
                "demo",
                "--out",
                out,
                *tuning,
                "--json",
            )
        )
    )
    assert (facts["stage"], facts["contexts"], facts["latent"]) == ("finetune", 2, 16)
    whole = read_summary(summary)
    assert dict(list(whole.items())[:6]) == lines
    assert list(whole)[6:] == [
        "Optimal finetune model",
        "Number of specific contexts",
        "Name of specific contexts",
        "Optimal testing MSE of finetune model (median of all contexts)",
        "Optimal testing Spearman r of finetune model (median of all contexts)",
    ]
    assert whole["Optimal finetune model"] == "model/demo/demo_seal_ft_model.pt"
    assert float(whole["Optimal testing MSE of finetune model (median of all contexts)"]) == (
        pytest.approx(facts["test_mse_median"], rel=1e-5)
    )
    tuned, general = load_head_set(summary), load_head_set(summary, "pretrain")
    assert tuned.contexts == ("x", "y")
    np.testing.assert_array_equal(tuned.w1, general.w1)
    np.testing.assert_array_equal(tuned.b1, general.b1)
    assert general.sha256() == alone.sha256()
    for stage in ("pt", "ft"):
        saved = torch.load(out / f"demo_seal_{stage}_model.pt", weights_only=True)
        assert list(saved) == ["model_state_dict", "optimizer_state_dict"]
        keys = ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
        assert list(saved["model_state_dict"]) == keys
        assert saved["optimizer_state_dict"]["param_groups"][0]["lr"] == 0.01


def test_the_files_of_seal_load_into_plain_torch(pretrained: Path, planted: Planted) -> None:
    """As a reader of Seal's format would: a Sequential and an Adam of its own."""
    saved = torch.load(pretrained / "base_seal_pt_model.pt", weights_only=True)
    model = torch.nn.Module()
    model.layers = torch.nn.Sequential(
        torch.nn.Linear(40, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
    )
    model.load_state_dict(saved["model_state_dict"])
    torch.optim.Adam(model.parameters()).load_state_dict(saved["optimizer_state_dict"])
    heads = Heads([load_head_set(pretrained / "base_seal_model_summary.txt")])
    x = torch.from_numpy(planted.x[:9])
    torch.testing.assert_close(model.layers(x).detach(), heads.predict(heads.first(x)))


def test_metrics_are_those_of_the_published_weights(pretrained: Path, planted: Planted) -> None:
    """Recomputed from the files alone, with pandas and scipy."""
    table = pd.read_table(pretrained / "base_seal_pt_metrics.tsv")
    heads = Heads([load_head_set(pretrained / "base_seal_model_summary.txt")])
    x = torch.from_numpy(planted.x)
    predicted = heads.predict(heads.first(x)).numpy().astype(float)
    values = pd.read_table(planted.expression, index_col="gene_id").to_numpy()
    contigs = pd.read_csv(planted.genes)["seqnames"]
    test = contigs.isin(["chr8", "chr9"]).to_numpy()
    targets = np.log(values + table["pseudocount"].to_numpy())
    assert table["context"].tolist() == ["a", "b", "c", "d"]
    assert table["group"].tolist() == ["all"] * 4
    for c in range(4):
        smallest = values[:, c].min()
        assert table["pseudocount"][c] == pytest.approx(10 ** (np.floor(np.log10(smallest)) + 1))
        error = ((predicted - targets)[test, c] ** 2).mean()
        assert table["test_mse"][c] == pytest.approx(error, rel=1e-4)
        r = spearmanr(predicted[test, c], targets[test, c]).statistic
        assert table["test_spearman"][c] == pytest.approx(r, rel=1e-4)
    record = json.loads((pretrained / "base_seal_pt_training.json").read_text())
    assert record["validation_loss"] == pytest.approx(table["validation_loss"].mean(), rel=1e-4)
    assert record["genes"]["test"] == test.sum()


def test_history_and_pictures(pretrained: Path) -> None:
    history = pd.read_table(pretrained / "base_seal_pt_history.tsv")
    record = json.loads((pretrained / "base_seal_pt_training.json").read_text())
    assert history["epoch"].tolist() == [1, 2, 3]
    best = history["validation_loss"].idxmin()
    assert history["kept"].tolist() == [int(i == best) for i in range(3)]
    assert record["best_epoch"] == best + 1
    assert record["epochs"] == 3
    content = (pretrained / "base_seal_pt_loss.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert len(content) > 10_000


def test_a_trained_set_can_be_added_to_a_store_and_trained_from_it(
    options: BuildOptions, tmp_path: Path
) -> None:
    """The store's own features: pre-trained on `aggregated`, added, predicted by finalize."""
    built = build(replace(options, heads=(), out=tmp_path / "own.zarr"), "cpu")
    count = len(built.gene_id)
    table = write_expression(
        tmp_path / "x.tsv",
        list(built.gene_id),
        ["p", "q"],
        np.random.default_rng(1).random((count, 2)) + 0.1,
    )
    chromosome = str(built.column("contig")[0])
    trained = TrainOptions(
        expression=table,
        name="mine",
        out=tmp_path / "set",
        store=tmp_path / "own.zarr",
        latent=4,
        fit=FitOptions(epochs=2, lr=1e-3),
        test_chromosomes=(chromosome,),
        device="cpu",
    )
    facts = pretrain(trained)
    assert facts["genes"]["test"] == (built.column("contig") == chromosome).sum()
    add_heads(tmp_path / "own.zarr", tmp_path / "set")
    store = Store(tmp_path / "own.zarr")
    assert store.head_sets == ["mine"]
    (head_set,) = load_heads(tmp_path / "set")
    heads = Heads([head_set])
    sums = torch.from_numpy(store.aggregated(slice(None)).reshape(count, -1))
    expected = heads.predict(heads.first(sums)).numpy()
    found = np.asarray(store.array("expression")[:])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_set_knows_the_cnn_whose_features_it_was_trained_on(
    options: BuildOptions, tmp_path: Path
) -> None:
    """The same features in another order fit every shape; only the fingerprint tells."""
    weights = torch.load(options.cnn, weights_only=True)
    last = list(weights)[-2:]  # weight and bias of the layer that gives the features
    turned = tmp_path / "turned.pth"
    torch.save(weights | {key: weights[key].roll(1, 0) for key in last}, turned)
    own = replace(options, heads=(), out=tmp_path / "one.zarr")
    one = build(own, "cpu")
    other = build(replace(own, cnn=turned, out=tmp_path / "other.zarr"), "cpu")
    ids = list(one.gene_id)
    values = np.random.default_rng(1).random((len(ids), 2)) + 0.1
    trained = TrainOptions(
        expression=write_expression(tmp_path / "x.tsv", ids, ["p", "q"], values),
        name="mine",
        out=tmp_path / "set",
        store=one.path,
        latent=4,
        fit=FitOptions(epochs=1),
        test_chromosomes=(str(one.column("contig")[0]),),
        device="cpu",
    )
    pretrain(trained)
    both = [store.attributes.cnn.sha256 for store in (one, other)]
    summary = tmp_path / "set" / "mine_seal_model_summary.txt"
    assert read_summary(summary)["CNN"] == both[0]
    tuned = replace(trained, base=summary, store=other.path, out=tmp_path / "tuned")
    planned = replace(own, cnn=turned, heads=(summary,), out=tmp_path / "planned.zarr")
    compared = CompareOptions(
        trained.expression, tmp_path / "compared", store=other.path, models=(("m", summary),)
    )
    for wrong in (
        lambda: add_heads(other.path, summary),
        lambda: build(planned, "cpu"),
        lambda: finetune(tuned),
        lambda: compare(compared),
    ):
        with pytest.raises(HeadsError, match="trained on features of the CNN") as caught:
            wrong()
        assert all(sha256 in str(caught.value) for sha256 in both)
    add_heads(one.path, summary)
    finetune(replace(tuned, store=one.path))
    assert read_summary(tmp_path / "tuned" / summary.name)["CNN"] == both[0]


def test_a_store_and_an_npy_of_it_train_the_same(store: Store, tmp_path: Path) -> None:
    count = len(store)
    np.save(tmp_path / "x.npy", store.aggregated(slice(None)).reshape(count, -1))
    table = ["id,symbol,seqnames,strand,TSS,CAGE_representative_TSS,type"]
    for gene, contig in zip(store.gene_id, store.column("contig"), strict=True):
        table.append(f"{gene},,{contig},+,1,1,")
    (tmp_path / "genes.csv").write_text("\n".join(table) + "\n")
    values = np.random.default_rng(1).random((count, 2))
    values[3, 1] = np.nan  # a gene that is left out
    write_expression(tmp_path / "x.tsv", list(store.gene_id), ["p", "q"], values)
    both = TrainOptions(
        expression=tmp_path / "x.tsv",
        name="n",
        out=tmp_path / "store",
        store=store.path,
        latent=3,
        fit=FitOptions(epochs=2),
        test_chromosomes=("chr1",),
        device="cpu",
    )
    pretrain(both)
    pretrain(
        replace(
            both,
            store=None,
            features=tmp_path / "x.npy",
            genes=tmp_path / "genes.csv",
            out=tmp_path / "npy",
        )
    )
    files = [tensors(tmp_path / n / "n_seal_pt_model.pt") for n in ("store", "npy")]
    for key, value in files[0].items():
        assert torch.equal(value, files[1][key])


def test_paths_outside_the_root_are_absolute(
    planted: Planted, pretrained: Path, specific: Path, tmp_path: Path
) -> None:
    given = training(planted, tmp_path / "a" / "set", expression=specific, base=pretrained)
    finetune(replace(given, root=tmp_path / "a"))
    lines = read_summary(tmp_path / "a" / "set" / "demo_seal_model_summary.txt")
    assert lines["Optimal finetune model"] == "set/demo_seal_ft_model.pt"
    assert lines["Optimal pretrain model"] == str(pretrained / "base_seal_pt_model.pt")
    summary = tmp_path / "a" / "set" / "demo_seal_model_summary.txt"
    assert load_head_set(summary, "pretrain").contexts == ("a", "b", "c", "d")
    assert load_head_set(summary).contexts == ("x", "y")


def test_fine_tuning_starts_from_the_pre_trained_model_of_a_whole_set(
    planted: Planted, pretrained: Path, specific: Path, tmp_path: Path
) -> None:
    one = training(planted, tmp_path / "one", expression=specific, base=pretrained)
    finetune(one)
    two = replace(one, out=tmp_path / "two", base=tmp_path / "one")
    finetune(two)
    for key, value in tensors(tmp_path / "one" / "demo_seal_ft_model.pt").items():
        assert torch.equal(value, tensors(tmp_path / "two" / "demo_seal_ft_model.pt")[key])


# --- whether it learns


def median_r(out: Path, stage: str) -> float:
    return float(pd.read_table(out / f"demo_seal_{stage}_metrics.tsv")["test_spearman"].median())


def test_planted_heads_are_recovered(tmp_path: Path, rng: np.random.Generator) -> None:
    planted = write_planted(tmp_path, rng, genes=900)
    given = training(planted, tmp_path / "out", latent=32, fit=FitOptions(lr=3e-3, epochs=60))
    pretrain(given)
    assert median_r(tmp_path / "out", "pt") > 0.8
    # what the test would say of a model that learned nothing
    shuffled = np.load(planted.features)
    np.save(tmp_path / "shuffled.npy", shuffled[rng.permutation(len(shuffled))])
    blind = replace(given, features=tmp_path / "shuffled.npy", out=tmp_path / "blind")
    pretrain(blind)
    assert median_r(tmp_path / "blind", "pt") < 0.4


@pytest.mark.slow
def test_fine_tuning_on_few_genes_beats_training_from_scratch(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    general = [f"g{i}" for i in range(12)]
    first, second = network(rng, 40, 6, 12)
    many = write_planted(
        tmp_path / "many", rng, genes=1200, layers=(first, second), contexts=general
    )
    pretrain(training(many, tmp_path / "base", latent=48, fit=FitOptions(lr=3e-3, epochs=40)))
    # other contexts of the same hidden units, measured in one gene of ten besides the test genes
    own = network(rng, 40, 6, 3)[1]
    chromosome = np.arange(1200) % 10 + 1
    few = np.flatnonzero(np.isin(chromosome, (8, 9)) | (rng.random(1200) < 0.06))
    small = write_planted(
        tmp_path / "few",
        rng,
        layers=(first, own),
        contexts=["x", "y", "z"],
        x=many.x,
        measured=few,
        noise=0.3,
    )
    fitting = FitOptions(lr=3e-3, epochs=100)
    scratch = training(small, tmp_path / "scratch", latent=48, fit=fitting)
    facts = pretrain(scratch)
    assert facts["genes"]["training"] < 100
    finetune(replace(scratch, out=tmp_path / "tuned", base=tmp_path / "base"))
    tuned, from_scratch = median_r(tmp_path / "tuned", "ft"), median_r(tmp_path / "scratch", "pt")
    assert tuned > 0.65
    assert tuned > from_scratch + 0.1


def test_hidden_units_are_those_of_the_first_layer(planted: Planted, pretrained: Path) -> None:
    (base,) = load_heads(pretrained)
    rows = np.arange(300, 9, -1)
    features = Features(torch.from_numpy(planted.x), torch.from_numpy(rows), "")
    hidden = library.hidden_units(features, base, torch.device("cpu"))
    expected = np.maximum(planted.x[rows].astype(float) @ base.w1.T + base.b1, 0)
    np.testing.assert_allclose(hidden.matrix[hidden.rows], expected, atol=1e-5)


def test_what_is_measured_of_test_genes_does_not_reach_the_weights(
    planted: Planted, tmp_path: Path
) -> None:
    """Each context is a group of its own, since gene weights are ranks among all genes."""
    (tmp_path / "groups.tsv").write_text("".join(f"g{i}\t{i}\n" for i in range(1, 5)))
    given = training(planted, tmp_path / "a", groups=tmp_path / "groups.tsv")
    table = pd.read_table(planted.expression, index_col="gene_id")
    contigs = pd.read_csv(planted.genes)["seqnames"].to_numpy()
    changed = table.copy()
    changed[np.isin(contigs, ("chr8", "chr9"))] *= 1000
    unlike = table.copy()
    unlike[contigs == "chr1"] *= 1000
    for name, values in (("b", changed), ("c", unlike)):
        values.to_csv(tmp_path / f"{name}.tsv", sep="\t")
        pretrain(replace(given, expression=tmp_path / f"{name}.tsv", out=tmp_path / name))
    pretrain(given)
    a, b, c = (tensors(tmp_path / n / "demo_seal_pt_model.pt") for n in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["layers.0.weight"], c["layers.0.weight"])


# --- restarting


def begun(planted: Planted, out: Path, *more: object, epochs: int = 60) -> list[object]:
    """A run of many short epochs."""
    return [
        "train",
        "pretrain",
        *planted.args(),
        "--name",
        "demo",
        "--out",
        out,
        "--latent",
        "16",
        "--lr",
        "0.001",
        "--epochs",
        epochs,
        "--patience",
        epochs,
        "--device",
        "cpu",
        "-q",
        *more,
    ]


@pytest.mark.slow
def test_a_run_killed_with_kill_9_ends_with_the_same_weights(
    cli: Cli, planted: Planted, tmp_path: Path
) -> None:
    succeeded(cli(*begun(planted, tmp_path / "whole")))
    out = tmp_path / "killed"
    checkpoint = out / "demo_seal_pt.partial" / "checkpoint.pt"
    process = subprocess.Popen(
        [Path(sys.executable).with_name("seal-store"), *map(str, begun(planted, out))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    )
    seen: set[int] = set()
    while process.poll() is None and len(seen) < 3:
        if checkpoint.exists():
            seen.add(checkpoint.stat().st_mtime_ns)
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "finished before it was killed"
    assert names(out) == ["demo_seal.lock", "demo_seal_pt.partial"]  # taken over later
    epoch = torch.load(checkpoint, weights_only=True)["state"]["epoch"]
    assert 1 <= epoch < 60
    (checkpoint.parent / "checkpoint.pt.tmp").write_bytes(b"half a checkpoint")
    refused(cli(*begun(planted, out)), "add --resume")
    succeeded(cli(*begun(planted, out, "--resume")))
    assert names(out) == names(tmp_path / "whole")
    for name in ("demo_seal_pt_history.tsv", "demo_seal_pt_metrics.tsv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole, resumed = (
        torch.load(p / "demo_seal_pt_model.pt", weights_only=True)
        for p in (tmp_path / "whole", out)
    )
    for key, value in whole["model_state_dict"].items():
        assert value.numpy().tobytes() == resumed["model_state_dict"][key].numpy().tobytes()
    for i, moments in whole["optimizer_state_dict"]["state"].items():
        for key, value in moments.items():
            assert torch.equal(value, resumed["optimizer_state_dict"]["state"][i][key])


class Stopped(BaseException):
    """Stands for a signal."""


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every run end after so many epochs; 0: none more."""
    save = library.TrainingCheckpoint.save

    def stop(epochs: int) -> None:
        def saving(self: object, state: Any) -> None:
            save(self, state)
            if state.epoch == epochs:
                raise Stopped

        monkeypatch.setattr(library.TrainingCheckpoint, "save", saving)

    return stop


def test_fine_tuning_is_resumed_too(
    planted: Planted,
    pretrained: Path,
    specific: Path,
    tmp_path: Path,
    stop_after: Callable[[int], None],
) -> None:
    given = training(planted, tmp_path / "a", expression=specific, base=pretrained)
    finetune(given)
    stop_after(2)
    with pytest.raises(Stopped):
        finetune(replace(given, out=tmp_path / "b"))
    stop_after(0)
    finetune(replace(given, out=tmp_path / "b", resume=True))
    for key, value in tensors(tmp_path / "a" / "demo_seal_ft_model.pt").items():
        assert torch.equal(value, tensors(tmp_path / "b" / "demo_seal_ft_model.pt")[key])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"latent": 8}, "latent 16, not 8"),
        ({"fit": FitOptions(lr=1e-2, epochs=3, seed=1)}, "seed 0, not 1"),
        ({"fit": FitOptions(lr=1e-3, epochs=3)}, "lr 0.01, not 0.001"),
        ({"fit": FitOptions(lr=1e-2, epochs=4)}, "epochs 3, not 4"),
        ({"spec_gene_weight": 3.0}, "spec_gene_weight 2.0, not 3.0"),
        ({"validation_share": 0.25}, "validation_share 0.125, not 0.25"),
        ({"test_chromosomes": ("chr8",)}, "test_chromosomes 'chr8,chr9', not 'chr8'"),
        ({"expression": "changed"}, "begun with expression"),
        ({"groups": "made"}, "begun with groups None"),
        ({"features": "changed"}, "begun with features"),
    ],
)
def test_resume_with_another_input_or_option_is_refused_and_named(
    planted: Planted,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    change: dict[str, Any],
    named: str,
) -> None:
    given = training(planted, tmp_path / "out")
    stop_after(1)
    with pytest.raises(Stopped):
        pretrain(given)
    if "expression" in change:
        change["expression"] = tmp_path / "x.tsv"
        text = planted.expression.read_text().splitlines(keepends=True)
        change["expression"].write_text("".join([*text[:-1], text[-1].replace("\t", "\t1", 1)]))
    if "groups" in change:
        change["groups"] = tmp_path / "groups.tsv"
        change["groups"].write_text("g\t1,2,3,4\n")
    if "features" in change:
        change["features"] = tmp_path / "x.npy"
        np.save(change["features"], planted.x + np.float32(1e-3))
    with pytest.raises(OutputError) as caught:
        pretrain(replace(given, resume=True, **change))
    assert named in str(caught.value)
    assert (tmp_path / "out" / "demo_seal_pt.partial" / "checkpoint.pt").exists()


def test_resume_without_a_checkpoint_starts_at_the_beginning(
    planted: Planted, tmp_path: Path
) -> None:
    (tmp_path / "out" / "demo_seal_pt.partial").mkdir(parents=True)
    pretrain(training(planted, tmp_path / "out", resume=True))
    assert "demo_seal_pt_model.pt" in names(tmp_path / "out")


def test_resume_of_an_overwriting_run_gives_the_new_model(
    planted: Planted, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    given = training(planted, tmp_path / "out")
    pretrain(given)
    before = tensors(tmp_path / "out" / "demo_seal_pt_model.pt")
    other = replace(given, latent=8, overwrite=True)
    stop_after(1)
    with pytest.raises(Stopped):
        pretrain(other)
    assert len(load_heads(tmp_path / "out")[0].w1) == 16  # in place until the new one is whole
    stop_after(0)
    pretrain(replace(other, overwrite=False, resume=True))
    assert len(load_heads(tmp_path / "out")[0].w1) == 8
    assert before["layers.0.bias"].shape == (16,)


def test_a_damaged_checkpoint_is_refused(
    planted: Planted, tmp_path: Path, stop_after: Callable[[int], None]
) -> None:
    given = training(planted, tmp_path / "out")
    stop_after(1)
    with pytest.raises(Stopped):
        pretrain(given)
    path = tmp_path / "out" / "demo_seal_pt.partial" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(OutputError, match=r"checkpoint\.pt: not a readable") as caught:
        pretrain(replace(given, resume=True))
    assert caught.value.hint == "add `overwrite=True` to start again"


# --- outputs that exist


def test_two_trainings_of_one_name_are_told_of_each_other(
    cli: Cli, planted: Planted, tmp_path: Path
) -> None:
    command = ["train", "pretrain", *planted.args(), "--name", "demo", "--out", tmp_path, *FAST]
    with hold(tmp_path / "demo_seal"):
        refused(cli(*command), "demo_seal is being written by process")
        assert names(tmp_path) == ["demo_seal.lock"]
    succeeded(cli(*command))
    assert not list(tmp_path.glob("*.lock"))


class Meanwhile:
    """Does something once while features are read: between the first look and the lock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act
        self.read = Source.read
        monkeypatch.setattr(Source, "read", lambda *args: self(*args))

    def __call__(self, *args: Any) -> Features:
        act, self.act = self.act, None
        if act is not None:
            act()
        return self.read(*args)


def test_what_another_run_finishes_while_features_are_read_is_left_alone(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = training(planted, tmp_path)
    Meanwhile(monkeypatch, lambda: pretrain(replace(given, fit=FitOptions(lr=1e-2, epochs=1))))
    with pytest.raises(OutputError, match="exists already"):
        pretrain(given)
    record = json.loads((tmp_path / "demo_seal_pt_training.json").read_text())
    assert record["epochs"] == 1
    assert not list(tmp_path.glob("*.lock"))
    assert not list(tmp_path.glob("*.partial"))


def test_fine_tuning_stops_if_its_base_is_replaced_while_features_are_read(
    planted: Planted, specific: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = training(planted, tmp_path)
    pretrain(given)
    other = replace(given, overwrite=True, fit=FitOptions(lr=1e-2, epochs=3, seed=7))
    Meanwhile(monkeypatch, lambda: pretrain(other))
    with pytest.raises(OutputError, match="pre-trained model was replaced meanwhile"):
        finetune(replace(given, expression=specific, base=tmp_path))
    (left,) = load_heads(tmp_path)
    assert left.contexts == ("a", "b", "c", "d")


def test_the_two_steps_of_one_name_take_turns(
    planted: Planted, specific: Path, tmp_path: Path
) -> None:
    given = training(planted, tmp_path)
    pretrain(given)
    refusals = []

    def pretrain_again(*_: object) -> None:
        with pytest.raises(OutputError, match="demo_seal is being written by process") as caught:
            pretrain(replace(given, overwrite=True))
        refusals.append(caught.value)

    finetune(replace(given, expression=specific, base=tmp_path), pretrain_again)
    assert refusals
    assert load_heads(tmp_path)[0].contexts == ("x", "y")


def test_an_existing_output_is_left_alone(cli: Cli, planted: Planted, tmp_path: Path) -> None:
    command = ["train", "pretrain", *planted.args(), "--name", "demo", "--out", tmp_path, *FAST]
    succeeded(cli(*command))
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    refused(cli(*command), "exists already")
    assert "is finished" in succeeded(cli(*command, "--resume"))
    refused(cli(*command, "--resume", "--seed", "1"), "seed 0, not 1")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    succeeded(cli(*command, "--overwrite", "--seed", "1"))
    assert (tmp_path / "demo_seal_pt_model.pt").read_bytes() != before["demo_seal_pt_model.pt"]


@pytest.mark.parametrize("rest", ["model.pt", "metrics.tsv", "loss.png", "training.json"])
def test_what_training_did_not_write_is_never_replaced(
    planted: Planted, tmp_path: Path, rest: str
) -> None:
    other = tmp_path / f"demo_seal_pt_{rest}"
    other.write_text("chapter\tone\n")
    with pytest.raises(OutputError, match=rf"{rest} is not a file that seal-store made"):
        pretrain(training(planted, tmp_path, overwrite=True))
    assert names(tmp_path) == [other.name]
    assert other.read_text() == "chapter\tone\n"


def test_the_record_names_the_table_that_was_read(planted: Planted, tmp_path: Path) -> None:
    """Not another one that has its name by the time the run ends."""
    table = tmp_path / "expression.tsv"
    shutil.copy(planted.expression, table)
    sha256 = file_sha256(table)
    pretrain(training(planted, tmp_path / "out", expression=table), lambda *_: table.unlink(True))
    record = json.loads((tmp_path / "out" / "demo_seal_pt_training.json").read_text())
    assert record["inputs_and_options"]["expression"] == sha256


def test_a_summary_of_another_model_is_not_replaced_unasked(
    planted: Planted, pretrained: Path, specific: Path, tmp_path: Path
) -> None:
    given = training(planted, tmp_path, expression=specific, base=pretrained)
    (tmp_path / "demo_seal_model_summary.txt").write_text("Optimal pretrain model: x.pt\n")
    with pytest.raises(OutputError, match=r"demo_seal_model_summary\.txt exists already"):
        finetune(given)
    finetune(replace(given, overwrite=True))
    assert load_head_set(tmp_path / "demo_seal_model_summary.txt").contexts == ("x", "y")


def test_a_failure_while_publishing_leaves_no_summary_of_a_wrong_model(
    planted: Planted, specific: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the new fine-tuned model is in place: the summary names no fine-tuned one."""
    given = training(planted, tmp_path)
    pretrain(given)
    tuned = replace(given, expression=specific, base=tmp_path)
    finetune(tuned)
    real = os.replace

    def dying(source: Path, target: Path) -> None:
        if Path(target).name == "demo_seal_ft_history.tsv":
            raise Stopped
        real(source, target)

    monkeypatch.setattr("seal_store.common.output.os.replace", dying)
    with pytest.raises(Stopped):
        finetune(replace(tuned, overwrite=True, fit=FitOptions(lr=1e-2, epochs=2)))
    monkeypatch.undo()
    (left,) = load_heads(tmp_path)
    assert left.contexts == ("a", "b", "c", "d")
    finetune(replace(tuned, resume=True, fit=FitOptions(lr=1e-2, epochs=2)))
    assert load_heads(tmp_path)[0].contexts == ("x", "y")


def test_another_folders_content_is_not_removed(planted: Planted, tmp_path: Path) -> None:
    folder = tmp_path / "demo_seal_pt.partial"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="other content"):
        pretrain(training(planted, tmp_path, overwrite=True))
    assert (folder / "notes.txt").exists()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_below_a_file_is_refused(
    cli: Cli, planted: Planted, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("")
    refused(
        cli("train", "pretrain", *planted.args(), "--name", "n", "--out", tmp_path / out, *FAST),
        "file",
    )


def test_a_full_disk_is_one_line_and_leaves_nothing(
    cli: Cli, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("seal_store.training.outputs.torch.save", full)
    out = tmp_path / "out"
    refused(
        cli("train", "pretrain", *planted.args(), "--name", "n", "--out", out, *FAST),
        "is the disk full?",
    )
    assert names(out) == []


# --- input that is wrong


@pytest.fixture
def bad(planted: Planted, tmp_path: Path) -> Callable[[str], dict[str, Path]]:
    """Inputs with one fault each."""

    def make(what: str) -> dict[str, Path]:
        x = planted.x.copy()
        path = tmp_path / "x.npy"
        if what == "NaN":
            x[5, 3] = np.nan
            np.save(path, x)
        elif what == "a row less":
            np.save(path, x[:-1])
        elif what == "float64":
            np.save(path, x.astype(float))
        elif what == "one dimension":
            np.save(path, x.ravel())
        elif what == "by columns":
            np.save(path, np.asfortranarray(x))
        elif what == "npz":
            np.savez(tmp_path / "x.npz", x=x)
            (tmp_path / "x.npz").rename(path)
        elif what == "truncated":
            path.write_bytes(planted.features.read_bytes()[:-100])
        elif what == "truncated header":
            path.write_bytes(planted.features.read_bytes()[:40])
        elif what == "empty":
            path.write_bytes(b"")
        elif what == "pickle":
            np.save(path, np.array([{"a": 1}]), allow_pickle=True)
        elif what == "no gene":
            np.save(path, x[:0])
        elif what == "text":
            path.write_text("0.1 0.2\n")
        return {"features": path}

    return make


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("NaN", "NaN or infinite values for gene GENE00005 (row 5"),
        ("a row less", "399 rows, but "),
        ("float64", "float64 of shape (400, 40), expected float32"),
        ("one dimension", "shape (16000,), expected"),
        ("by columns", "expected float32 (genes, inputs)"),
        ("npz", "not an NPY file"),
        ("truncated", "64028 bytes, 64128 expected for 400 genes with 40 inputs"),
        ("truncated header", "not an NPY file"),
        ("empty", "not an NPY file"),
        ("pickle", "object of shape (1,), expected float32"),
        ("text", "not an NPY file"),
        ("no gene", "expected for 0 genes"),
        ("absent", "features not found"),
    ],
)
def test_features_that_are_wrong_are_refused(
    cli: Cli,
    planted: Planted,
    tmp_path: Path,
    bad: Callable[[str], dict[str, Path]],
    what: str,
    said: str,
) -> None:
    out = tmp_path / "out"
    refused(
        cli("train", "pretrain", *planted.args(**bad(what)), "--name", "n", "--out", out, *FAST),
        said,
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--test-chromosomes", "chr77"], "no gene that can be used on chr77"),
        (["--validation-share", "1.5"], "not between 0 and 1"),
        (["--validation-share", "nan"], "not between 0 and 1"),
        (["--lr", "0"], "--lr"),
        (["--l2", "-1"], "--l2"),
        (["--spec-gene-weight", "0"], "--spec-gene-weight 0"),
        (["--name", "a/b"], "--name"),
        (["--name", "a b"], "--name"),
        (["--name", ".."], "--name"),
        (["--groups", "nowhere.tsv"], "group table not found: nowhere.tsv"),
        (["--expression", "nowhere.tsv"], "table not found: nowhere.tsv; check --expression"),
        (["--genes", "nowhere.csv"], "gene table not found"),
        (["--device", "tpu"], "unknown device"),
        (["--store", "nowhere.zarr"], "exclude each other"),
    ],
)
def test_options_that_are_wrong_are_refused(
    cli: Cli, planted: Planted, tmp_path: Path, more: list[str], said: str
) -> None:
    out = tmp_path / "out"
    refused(
        cli("train", "pretrain", *planted.args(), "--name", "n", "--out", out, *FAST, *more), said
    )
    assert not out.exists()


def test_the_library_checks_what_the_command_line_limits(planted: Planted, tmp_path: Path) -> None:
    for wrong, said in [({"latent": 0}, "`latent` 0"), ({"fit": FitOptions(batch=0)}, "`batch` 0")]:
        with pytest.raises(TrainingError, match=said):
            pretrain(training(planted, tmp_path / "out", **wrong))


@pytest.mark.parametrize("leave_out", [["features"], ["genes"], ["features", "genes"]])
def test_missing_features_are_named(
    cli: Cli, planted: Planted, tmp_path: Path, leave_out: list[str]
) -> None:
    args = planted.args(**dict.fromkeys(leave_out))
    refused(
        cli("train", "pretrain", *args, "--name", "n", "--out", tmp_path / "out", *FAST),
        "give --store, or --features and --genes",
    )


def test_a_context_with_a_comma_is_refused(cli: Cli, planted: Planted, tmp_path: Path) -> None:
    table = tmp_path / "x.tsv"
    table.write_text(planted.expression.read_text().replace("\ta\t", "\ta,b\t", 1))
    args = planted.args(expression=table)
    refused(
        cli("train", "pretrain", *args, "--name", "n", "--out", tmp_path / "out", *FAST),
        "'a,b' has a comma",
    )


def test_fine_tuning_checks_its_base(
    cli: Cli, planted: Planted, pretrained: Path, tmp_path: Path
) -> None:
    def tune(base: object, **instead: object) -> Result:
        return cli(
            "train",
            "finetune",
            *planted.args(**instead),
            "--from",
            base,
            "--name",
            "n",
            "--out",
            tmp_path / "out",
            "--device",
            "cpu",
            "-q",
        )

    refused(tune(tmp_path / "nowhere"), "not found")
    np.save(tmp_path / "narrow.npy", np.ascontiguousarray(planted.x[:, :30]))
    refused(tune(pretrained, features=tmp_path / "narrow.npy"), "30 features a gene, the model of")
    two = tmp_path / "two"
    for name in ("one", "other"):
        (two / name).mkdir(parents=True)
        (two / name / f"{name}_seal_model_summary.txt").write_text("")
    refused(tune(two), "2 summary files below this folder")
    refused(tune(two / "one"), "no line 'Name of general contexts")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["scikit-learn", "scipy", "matplotlib"])
def test_a_missing_package_is_one_line_before_any_work(
    cli: Cli, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    module = "sklearn" if package == "scikit-learn" else package
    monkeypatch.setitem(sys.modules, module, None)
    for command in (
        ["pretrain", "--name", "n"],
        ["evaluate", "--predictions", f"x={planted.expression}"],
    ):
        refused(
            cli("train", *command, *planted.args(), "--out", tmp_path / "out", "-q"),
            f"needs {package}, which is not installed; pip install 'seal-store[train]'",
        )
    assert not (tmp_path / "out").exists()


# --- options and memory


def test_every_option_reaches_the_library(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainOptions] = []

    def run(given: TrainOptions, _: object) -> dict[str, Any]:
        seen.append(given)
        return {}

    for stage in ("pretrain", "finetune"):
        monkeypatch.setattr(f"seal_store.training.steps.{stage}", run)
    paths = ("store", "features", "genes", "expression", "groups", "out", "root")
    flags: list[object] = [a for n in paths for a in (f"--{n}", f"/{n}")]
    flags += ["--name", "n", "--test-chromosomes", "chr1, chr2,", "--spec-gene-weight", "3"]
    flags += ["--validation-share", "0.2", "--lr", "0.3", "--l2", "0.4", "--batch", "5"]
    flags += ["--epochs", "6", "--patience", "7", "--seed", "8", "--device", "cuda:3"]
    flags += ["--resume", "--overwrite", "--json", "-q"]
    expected = TrainOptions(
        **{n: Path(f"/{n}") for n in paths},
        name="n",
        test_chromosomes=("chr1", "chr2"),
        spec_gene_weight=3.0,
        validation_share=0.2,
        fit=FitOptions(0.3, 0.4, 6, 7, 5, 8),
        device="cuda:3",
        resume=True,
        overwrite=True,
    )
    succeeded(cli("train", "pretrain", *flags, "--latent", "9"))
    succeeded(cli("train", "finetune", *flags, "--from", "/base"))
    assert [replace(s, command="") for s in seen] == [
        replace(expected, latent=9),
        replace(expected, base=Path("/base")),
    ]
    assert all(s.command.startswith(("seal-store train", "seal-store train")) for s in seen)


def test_an_npy_is_mapped_and_gathered_not_copied(planted: Planted) -> None:
    source = open_source(features=planted.features, genes=planted.genes)
    features = source.read(np.array([1, 5, 7]))
    assert source.mapped is not None
    assert np.shares_memory(features.matrix.numpy(), source.mapped)
    assert isinstance(source.mapped, np.memmap)
    assert features.to(torch.device("cpu")) is features
    np.testing.assert_array_equal(features.matrix[features.rows], planted.x[[1, 5, 7]])


MEASURE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from seal_store.training.fit import FitOptions
from seal_store.training.steps import pretrain
from seal_store.training.task import TrainOptions
peaks = []
for folder in map(Path, sys.argv[1:]):
    pretrain(TrainOptions(expression=folder / "x.tsv", features=folder / "x.npy",
        genes=folder / "genes.csv", name="n", out=folder / "out", latent=2,
        fit=FitOptions(epochs=1), device="cpu"))
    lines = Path("/proc/self/status").read_text().splitlines()
    peaks += [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
print(*peaks)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read in /proc")
@pytest.mark.soak
def test_features_are_in_memory_once(tmp_path: Path) -> None:
    """Peak memory of training grows by the size of the features and not by twice that."""
    sizes = []
    for inputs in (100, 30_000):
        folder = tmp_path / str(inputs)
        folder.mkdir()
        rng = np.random.default_rng(0)
        np.save(folder / "x.npy", rng.random((1000, inputs), np.float32))
        write_genes(folder / "genes.csv", [f"chr{i % 10 + 1}" for i in range(1000)])
        write_expression(folder / "x.tsv", gene_ids(1000), ["a"], rng.random((1000, 1)) + 1)
        sizes.append((folder / "x.npy").stat().st_size)
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "100", tmp_path / "30000"],
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(int, run.stdout.split())
    batches = 2 * 256 * 30_000 * 4  # what is gathered for the validation loss, and some change
    assert 0.5 * sizes[1] < large - small < sizes[1] + batches


class ManyGenes:
    """Stands for a store with more genes than one wants to build in a test."""

    path = Path("store.zarr")
    standing = nullcontext

    attributes = SimpleNamespace(genes_per_shard=64)

    def aggregated(self, genes: slice) -> np.ndarray:
        count = genes.stop - genes.start
        values = np.repeat(np.arange(genes.start, genes.stop, dtype=np.float32), 2_000)
        return values.reshape(count, 10, 200)


def test_a_store_is_read_into_one_matrix() -> None:
    rows = np.setdiff1d(np.arange(3_000), np.arange(0, 3_000, 7))
    table = GeneTable(np.array(gene_ids(3_000)), *[np.zeros(3_000)] * 5)
    source = Source(table, 2_000, store=ManyGenes())  # type: ignore[arg-type]
    tracemalloc.start()
    features = source.read(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = features.matrix.numpy().nbytes
    assert size <= peak < 1.15 * size
    np.testing.assert_array_equal(features.matrix[:, 0], rows)
    np.testing.assert_array_equal(features.matrix[:, -1], rows)


def test_of_a_store_only_the_genes_asked_for_are_read(store: Store) -> None:
    source = open_source(store=store.path)
    rows = np.array([0, 3, len(store) - 1])
    features = source.read(rows)
    assert features.matrix.shape == (3, source.inputs)
    expected = np.stack([store.aggregated(int(row)).ravel() for row in rows])
    np.testing.assert_array_equal(features.matrix[features.rows], expected)
