"""Attributions: closed forms equal to Captum, sums equal to effects, sampling."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from captum.attr import DeepLift, IntegratedGradients, KernelShap, Saliency
from click.testing import Result
from scipy.stats import spearmanr
from seldom import slow
from torch import Tensor, nn

from seal_store.cli._attribution import METHODS as CLI_METHODS
from seal_store.common.lock import hold
from seal_store.errors import HeadsError, InputError, OutputError, StoreError
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import Heads
from seal_store.results.group import Results
from seal_store.run.attributions import add_attributions, scorer_of
from seal_store.run.scores import write_scores
from seal_store.scoring import attribution as attribute_module
from seal_store.scoring.assign import Counts, Task
from seal_store.scoring.attribution import Attributor, LeastSquares, noise, slope, to_half
from seal_store.scoring.evaluate import Change
from seal_store.scoring.options import DTYPES, GROUPS, METHODS, AttributionOptions, ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import ATTRIBUTION
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles, read_variants

DECAYS, FEATURES = 10, 8
TARGETS = np.array([0, 2, 4, 6])


def random_sets(rng: np.random.Generator) -> list[HeadSet]:
    """Two head sets of three and four contexts."""
    sets = []
    for name, latent, contexts in (("one", 9, 3), ("two", 6, 4)):
        shapes = {"w1": (latent, DECAYS * FEATURES), "b1": (latent,)}
        shapes |= {"w2": (contexts, latent), "b2": (contexts,)}
        arrays = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
        sets.append(HeadSet(name, tuple(f"{name}{i}" for i in range(contexts)), **arrays))
    return sets


def module(sets: list[HeadSet], target: int) -> nn.Module:
    """The network that a user of Captum would write for one context."""
    for s in sets:
        if target < len(s.contexts):
            break
        target -= len(s.contexts)
    net = nn.Sequential(nn.Linear(s.inputs, len(s.b1)), nn.ReLU(), nn.Linear(len(s.b1), 1))
    weights = s.w1, s.b1, s.w2[[target]], s.b2[[target]]
    for parameter, value in zip(net.parameters(), weights, strict=True):
        parameter.data = torch.from_numpy(value)
    return net


def attributor(sets: list[HeadSet], method: str, **options: object) -> Attributor:
    chosen = AttributionOptions(method, ("all",), **options)  # type: ignore[arg-type]
    labels = {"feature_assay_type": np.array(["TF", "DNase", "TF", ""] * (FEATURES // 4))}
    return Attributor(Heads(sets), chosen, TARGETS, FEATURES, labels)


@pytest.fixture
def case(rng: np.random.Generator) -> tuple[list[HeadSet], Tensor, Tensor]:
    """Head sets, baselines ``(n, shifts, inputs)`` and changes large enough to flip many ReLUs."""
    sets = random_sets(rng)
    draw = rng.standard_normal((2, 5, 3, DECAYS * FEATURES)).astype(np.float32)
    return sets, torch.from_numpy(draw[0]), torch.from_numpy(draw[1])


def computed(
    sets: list[HeadSet], base: Tensor, change: Tensor, **options: object
) -> dict[str, Tensor]:
    heads = Heads(sets)
    first, delta = heads.first(base), heads.first_delta(change)
    effect = heads.effect(first, delta).sum(1)
    sums = change.unflatten(-1, (DECAYS, FEATURES))
    change = Change(sums, first, delta)
    return attributor(sets, **options)(change, effect)  # type: ignore[arg-type]


def by_captum(
    explain: Callable[..., Tensor], sets: list[HeadSet], base: Tensor, alt: Tensor
) -> Tensor:
    """Scores summed over decay rows and shifts, ``(n, targets, feature)``."""
    columns = []
    for target in TARGETS:
        scores = explain(module(sets, int(target)), alt.flatten(0, 1), base.flatten(0, 1))
        columns.append(scores.detach().view(*base.shape[:2], DECAYS, FEATURES).sum((1, 2)))
    return torch.stack(columns, 1)


@pytest.mark.parametrize(
    ("method", "explain", "tolerance"),
    [
        ("deeplift", lambda net, alt, base: DeepLift(net).attribute(alt, base), 1e-4),
        ("saliency", lambda net, alt, base: Saliency(net).attribute(alt), 1e-4),
        (
            "integratedGradients",
            lambda net, alt, base: IntegratedGradients(net).attribute(alt, base, n_steps=200),
            2e-2,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_closed_forms_equal_captum(
    method: str,
    explain: Callable[..., Tensor],
    tolerance: float,
    case: tuple[list[HeadSet], Tensor, Tensor],
) -> None:
    sets, base, change = case
    base, change = base[:3, :2], change[:3, :2]
    alt = (base + change).requires_grad_()
    expected = by_captum(explain, sets, base, alt)
    found = computed(sets, base, change, method=method)["attribution"]
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_slope_is_the_mean_gradient_of_the_path(rng: np.random.Generator) -> None:
    hidden, change = torch.from_numpy(rng.standard_normal((2, 500))).float()
    change[:5], hidden[5:10], change[10:15] = 0, 0, -hidden[10:15]
    steps = (torch.arange(20_000) + 0.5) / 20_000
    expected = ((hidden[:, None] + steps * change[:, None]) > 0).float().mean(1)
    torch.testing.assert_close(slope(hidden, change), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["deeplift", "integratedGradients", "kernelShap"])
def test_scores_add_up_to_the_effect(
    method: str, case: tuple[list[HeadSet], Tensor, Tensor]
) -> None:
    sets, base, change = case
    found = computed(sets, base[:2], change[:2], method=method)
    heads = Heads(sets)
    exact = (heads.predict(heads.first(base + change)) - heads.predict(heads.first(base))).sum(1)
    sums = found["attribution"].sum(-1)
    allowed = (1e-3 if method == "kernelShap" else 1e-5) * exact.abs().max()
    assert (sums - exact[:2, TARGETS]).abs().max() <= allowed
    assert found["completeness"].abs().max() <= allowed


def test_what_is_kept_is_of_the_whole(case: tuple[list[HeadSet], Tensor, Tensor]) -> None:
    sets, base, change = case
    full = computed(sets, base, change, method="deeplift")["attribution"]
    top = computed(sets, base, change, method="deeplift", top_features=3, by=("assay",))
    order = full.abs().argsort(-1, descending=True)[..., :3]
    assert torch.equal(top["attribution_feature"].long(), order)
    torch.testing.assert_close(top["attribution"], full.gather(-1, order))
    groups = attributor(sets, "deeplift", by=("assay",)).groups["assay"].tolist()
    assert groups == ["DNase", "TF", "unlabelled"]
    expected = torch.stack(
        [full[..., 1::4], full[..., 0::4] + full[..., 2::4], full[..., 3::4]], -1
    )
    torch.testing.assert_close(top["attribution_assay"], expected.sum(2), atol=1e-4, rtol=1e-4)
    only = computed(sets, base, change, method="deeplift", top_features=0, by=("assay",))
    assert sorted(only) == ["attribution_assay", "completeness"]


def test_half_precision_keeps_small_scores(rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.standard_normal((4, 3, 50))).float() * 1e-9
    values[1, 1], values[2] = 0, 1e30
    half, scale = to_half(values)
    back = half.float() * scale[..., None]
    assert half.isfinite().all()
    largest = values.abs().amax(-1, keepdim=True)
    assert ((back - values).abs() <= 2**-11 * largest).all()
    assert torch.equal(scale, 2.0 ** scale.log2().round())


def alleles_of(world: World, count: int) -> list[Allele]:
    return [a for a in read_variants(world.variants) if a.kind == "snv"][:count]


def demo_targets(store: Store) -> tuple[str, ...]:
    names, sets = store.contexts()
    return tuple(f"{sets[i]}:{names[i]}" for i in (0, 500))


def attributions(store: Store, alleles: list[Allele], method: str, **more: object) -> np.ndarray:
    scheme = str(more.pop("scheme", "grid"))
    batch = int(str(more.pop("batch", 128)))
    options = AttributionOptions(method, demo_targets(store), **more)  # type: ignore[arg-type]
    scorer = Scorer(
        store, ScoreOptions(scheme=scheme, device="cpu", batch=batch), attribution=options
    )
    return np.concatenate([rows.attribution["attribution"] for rows in scorer.score(alleles)])


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    pairs = zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), strict=True)
    return np.array([spearmanr(x, y).statistic for x, y in pairs if np.abs(y).max() > 0])


@pytest.mark.parametrize("scheme", ["grid", "centered"])
@pytest.mark.parametrize("method", [slow("kernelShap"), slow("lime"), "gradientShap"])
def test_sampled_methods_converge_with_their_defaults(
    method: str, scheme: str, store: Store, world: World
) -> None:
    alleles = alleles_of(world, 3)
    exact = attributions(store, alleles, "deeplift", scheme=scheme)
    found = attributions(store, alleles, method, scheme=scheme)
    assert correlations(found, exact).min() >= 0.95


def test_captums_own_defaults_on_raw_inputs_do_not(store: Store, world: World) -> None:
    alleles = alleles_of(world, 6)
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    sets = store.heads([demo_targets(store)[0].split(":")[0]])
    net = module(sets, 0)
    found = []
    for allele in alleles:
        (chunk,) = scorer.reader.chunks(Alleles([allele]))
        with torch.inference_mode():
            genes = scorer.engine.evaluator.genes(chunk)
            batch = scorer.engine.evaluator.read(chunk.stretches)
            change = scorer.engine.evaluator.change(batch, genes).sums[0, 0]
        base = genes.sums[0].clone().flatten()[None]
        scores = KernelShap(net).attribute(base + change.clone().flatten(), base)
        found.append(scores.view(change.shape).sum(0).numpy())
    exact = attributions(store, alleles, "deeplift")[:, 0]
    assert np.median(correlations(np.stack(found), exact)) < 0.95


@pytest.mark.parametrize("method", ["deeplift", "kernelShap", "lime"])
def test_batch_size_changes_nothing_and_draws_are_seeded(
    method: str, store: Store, world: World
) -> None:
    alleles = alleles_of(world, 3)
    samples = None if method == "deeplift" else 60
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    first = attributions(store, alleles, method, samples=samples)
    again = attributions(store, alleles, method, samples=samples, batch=1)
    assert np.abs(again - first).max() <= 1e-6 + 1e-3 * np.abs(first).max()
    assert np.array_equal(before[0], np.random.get_state()[1])  # type: ignore[index]
    assert torch.equal(before[1], torch.get_rng_state())
    if samples:
        other = attributions(store, alleles, method, samples=samples, seed=1)
        assert not np.array_equal(other, first)


@pytest.fixture
def scored(store: Store, world: World, tmp_path: Path) -> Path:
    out = tmp_path / "scores.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    write_scores(scorer, read_variants(world.variants), out)
    return out


def with_attribution(store: Store, world: World, out: Path, **more: object) -> Results:
    options = AttributionOptions("deeplift", demo_targets(store), **more)  # type: ignore[arg-type]
    scorer = Scorer(store, ScoreOptions(device="cpu"), attribution=options)
    write_scores(scorer, read_variants(world.variants), out)
    return Results(out)


def test_stored_attributions_are_whole_and_labelled(
    store: Store, world: World, tmp_path: Path
) -> None:
    results = with_attribution(store, world, tmp_path / "a.zarr", by=("factor", "cell_type"))
    found, effect = results.attribution(), results.rows().effect
    names, sets = results.contexts()
    labels = [f"{s}:{n}" for s, n in zip(sets, names, strict=True)]
    places = [labels.index(target) for target in demo_targets(store)]
    sums = found["attribution"].sum(-1)
    np.testing.assert_allclose(sums, effect[:, places], atol=1e-6, rtol=1e-3)
    expected = sums - effect[:, places]
    np.testing.assert_allclose(found["completeness"], expected, atol=1e-7)
    with xarray.open_zarr(results.path) as opened:
        assert opened.attribution.dims == ("variant", "target", "feature")
        assert opened.attribution_factor.dims == ("variant", "target", "factor")
        assert set(opened.attribution.coords) >= {"feature_name", "target_name", "gene_id"}
        assert opened.target_set.values.tolist() == [t.split(":")[0] for t in demo_targets(store)]


def test_attributions_added_later_are_those_of_scoring(
    store: Store, world: World, scored: Path, tmp_path: Path
) -> None:
    expected = with_attribution(store, world, tmp_path / "a.zarr").attribution()
    before = Results(scored).rows()
    options = AttributionOptions("deeplift", demo_targets(store))
    add_attributions(Results(scored), scorer_of(Results(scored), store, options, device="cpu"))
    results = Results(scored)
    for name, values in results.attribution().items():
        np.testing.assert_allclose(values, expected[name], atol=1e-8, rtol=1e-3)
    np.testing.assert_array_equal(results.rows().effect, before.effect)
    assert results.attributes.attribution.method == "deeplift"
    top = replace(options, top_features=2, dtype="float16")
    scorer = scorer_of(results, store, top, device="cpu")
    with pytest.raises(OutputError, match="has attributions already"):
        add_attributions(results, scorer)
    add_attributions(results, scorer, overwrite=True)
    found = Results(scored).attribution()
    assert found["attribution"].shape == (*expected["attribution"].shape[:2], 2)
    largest = np.abs(expected["attribution"]).max(-1)
    np.testing.assert_allclose(np.abs(found["attribution"][..., 0]), largest, rtol=1e-3, atol=1e-12)


def of(results: Results) -> dict[str, np.ndarray]:
    """All that attributions added."""
    labels = ("target_name", "target_set", "feature_name")
    return results.attribution() | {name: results.labels(name) for name in labels}


@pytest.mark.parametrize("scheme", ["grid", "centered"])
@pytest.mark.parametrize(
    "chosen",
    [
        {"genes": "all"},
        slow({"heads": ("cell_state_mid_fetal_to_adult",)}),
        {"contexts": ("childhood.DFC", "Early.Erythrocyte.233")},
        slow({"gene": True}),
    ],
)
def test_attribute_equals_score_with_attribution(
    scheme: str, chosen: dict[str, object], store: Store, world: World, tmp_path: Path
) -> None:
    """Also for duplicate alleles, subsets of contexts, all genes, one gene; top features, half."""
    attribution = AttributionOptions(
        "deeplift", ("all",), top_features=3, by=("assay",), dtype="float16"
    )
    gene = str(store.gene_id[2]) if "gene" in chosen else None
    if gene is None:
        alleles = list(read_variants(world.variants))
        alleles += alleles[3:9]
    else:
        alleles = list(saturation(store, gene, 3))
    own = {name: value for name, value in chosen.items() if name != "gene"}
    options = ScoreOptions(scheme=scheme, device="cpu", **own)  # type: ignore[arg-type]
    for name, added in (("a", attribution), ("b", None)):
        scorer = Scorer(store, options, gene, added)
        write_scores(scorer, alleles, tmp_path / f"{name}.zarr")
    expected, later = Results(tmp_path / "a.zarr"), Results(tmp_path / "b.zarr")
    add_attributions(later, scorer_of(later, store, attribution, device="cpu", batch=7))
    found, wanted = of(Results(later.path)), of(expected)
    assert found.keys() == wanted.keys()
    assert len(expected) > 10
    scale = np.abs(wanted["attribution"]).max(-1, keepdims=True)
    assert (np.abs(found["attribution"] - wanted["attribution"]) <= 2e-3 * scale + 1e-9).all()
    for name in ("target_name", "target_set", "feature_name"):
        assert found[name].tolist() == wanted[name].tolist()
    np.testing.assert_allclose(found["attribution_assay"], wanted["attribution_assay"], atol=1e-6)
    effect = expected.rows().effect
    np.testing.assert_allclose(wanted["attribution_assay"].sum(-1), effect, atol=1e-6, rtol=1e-2)


def test_rows_that_touch_no_window_have_no_attribution(
    make_store: Callable[..., Store],
) -> None:
    shifted = make_store(first_offset=-18_400)
    table = shifted.table
    row = table.row(str(shifted.gene_id[3]))
    pos = int(table.tss[row]) - 19_990 * int(table.strand[row])
    allele = Allele(1, str(table.contig[row]), pos, "", "A", "C", "snv")
    options = AttributionOptions("deeplift", ("all",), top_features=2, dtype="float16")
    scorer = Scorer(shifted, ScoreOptions(device="cpu"), str(table.gene_id[row]), options)
    (rows,) = scorer.score([allele])
    assert rows.columns["status"].tolist() == ["outside_grid"]
    assert (rows.attribution["attribution"] == 0).all()
    assert (rows.attribution["attribution_feature"] == -1).all()
    assert (rows.attribution["attribution_scale"] == 1).all()


def test_blocks_and_chunks_change_nothing(
    case: tuple[list[HeadSet], Tensor, Tensor],
    store: Store,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sets, base, change = case
    alleles = list(read_variants(world.variants))
    whole = {m: computed(sets, base, change, method=m) for m in ("deeplift", "saliency")}
    rows = attributions(store, alleles, "deeplift")
    monkeypatch.setattr("seal_store.scoring.attribution.FEW_TARGETS", 1)
    monkeypatch.setattr("seal_store.scoring.attribution.BUFFER", 200)
    monkeypatch.setattr("seal_store.scoring.attribution.VALUES", 70)
    monkeypatch.setattr("seal_store.scoring.scorer.ATTRIBUTION_BYTES", 700)
    for method, expected in whole.items():
        found = computed(sets, base, change, method=method)["attribution"]
        torch.testing.assert_close(found, expected["attribution"], atol=1e-5, rtol=1e-5)
    again = attributions(store, alleles, "deeplift")
    assert np.abs(again - rows).max() <= 1e-6 + 1e-3 * np.abs(rows).max()


@pytest.mark.parametrize(
    ("method", "given", "drawn"),
    [
        ("kernelShap", None, 2 * FEATURES + 2048),
        ("lime", None, 2 * FEATURES + 2048),
        ("gradientShap", None, 50),
        ("kernelShap", 300, 300),
        ("gradientShap", 7, 7),
    ],
)
def test_as_many_samples_are_drawn(
    method: str,
    given: int | None,
    drawn: int,
    case: tuple[list[HeadSet], Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def counting(*arguments: object) -> Callable[[Tensor], Tensor]:
        inner = presence(*arguments)  # type: ignore[arg-type]

        def forward(present: Tensor) -> Tensor:
            seen.append(len(present))
            return inner(present)

        return forward

    presence = attribute_module._presence
    monkeypatch.setattr(attribute_module, "_presence", counting)
    sets, base, change = case
    options = AttributionOptions(method, ("all",), samples=given)
    one = Attributor(Heads(sets), options, TARGETS[:1], FEATURES, {})
    heads = Heads(sets)
    first, delta = heads.first(base[:1]), heads.first_delta(change[:1])
    sums = change[:1].unflatten(-1, (DECAYS, FEATURES))
    one(Change(sums, first, delta), heads.effect(first, delta).sum(1))
    assert sum(seen) in (drawn, drawn + 1)  # Captum looks at the output's shape once


@pytest.mark.parametrize("method", ["kernelShap", "lime"])
def test_the_fewest_samples_are_enough_and_fewer_are_refused(
    method: str, store: Store, world: World
) -> None:
    least = 2 * (store.config.features + 1)
    for samples in (2, 3, store.config.features, store.config.features + 1, least - 1):
        with pytest.raises(InputError, match=f"`samples` {samples}: too few for {method}") as no:
            attributions(store, [], method, samples=samples)
        assert f"at least {least}" in no.value.hint
    alleles = alleles_of(world, 12)
    exact = attributions(store, alleles, "deeplift")
    found = attributions(store, alleles, method, samples=least)
    assert correlations(found, exact).min() >= 0.9
    assert np.abs(found - exact).max() <= 0.2 * np.abs(exact).max()


def test_samples_that_do_not_determine_a_fit_are_told(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.integers(0, 2, (40, 8))).float()
    y, weight = x.sum(1), torch.ones(40)
    fit = LeastSquares()
    fit.fit([(x, y, weight)])
    torch.testing.assert_close(fit.representation(), torch.ones(1, 8))
    scatter = torch.from_numpy(rng.standard_normal((40, 500)))
    design = torch.cat([x, torch.ones(40, 1)], 1).double()
    passed = torch.linalg.lstsq(design, scatter).solution[:-1].square().mean().sqrt()
    assert noise(design) == pytest.approx(passed.item(), rel=0.1)
    never, same = x.clone(), x.clone()
    never[:, 3] = 0
    same[:, 3] = same[:, 4]
    for alike in (never, same, x[:9].repeat(5, 1)[:40].clone().mul_(0.0)):
        with pytest.raises(InputError, match="`samples` 40: too alike to tell 8 features apart"):
            LeastSquares().fit([(alike, y, weight)])


def test_results_that_cannot_be_evaluated_again_are_left_alone(
    store: Store, scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Results(scored).rows()
    options = AttributionOptions("saliency", demo_targets(store))
    scorer = scorer_of(Results(scored), store, options, device="cpu")
    inner = scorer.reader.assign

    def losing(allele: Allele, counts: Counts) -> list[Task]:
        return [] if allele.line == 5 else inner(allele, counts)

    monkeypatch.setattr(scorer.reader, "assign", losing)
    with pytest.raises(StoreError, match="effect|rows cannot be evaluated"):
        add_attributions(Results(scored), scorer)
    np.testing.assert_array_equal(Results(scored).rows().effect, before.effect)


def test_two_runs_on_one_result(store: Store, scored: Path) -> None:
    options = AttributionOptions("saliency", demo_targets(store))
    scorer = scorer_of(Results(scored), store, options, device="cpu")
    with hold(scored), pytest.raises(OutputError, match="is being written by process"):
        add_attributions(Results(scored), scorer)
    add_attributions(Results(scored), scorer)


def test_lists_of_names_agree() -> None:
    schema = json.loads(files("seal_store.schemas").joinpath("results-1.json").read_text())
    declared = schema["properties"]["attribution"]["properties"]
    assert tuple(declared["method"]["enum"]) == METHODS == tuple(CLI_METHODS)
    assert tuple(declared["by"]["items"]["enum"]) == tuple(GROUPS)
    assert tuple(declared["dtype"]["enum"]) == DTYPES
    assert {f"attribution_{by}" for by in GROUPS} <= {e.name for e in ATTRIBUTION}


def test_results_stay_as_they_were_when_adding_fails(store: Store, scored: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(scored.rglob("*")) if p.is_file()}

    def stop(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    before = files()
    options = AttributionOptions("saliency", demo_targets(store))
    scorer = scorer_of(Results(scored), store, options, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        add_attributions(Results(scored), scorer, progress=stop)
    assert files() == before
    assert [p.name for p in scored.parent.iterdir()] == [scored.name]


@pytest.mark.slow
def test_another_store_is_refused(
    make_store: Callable[..., Store], store: Store, scored: Path, world: World
) -> None:
    options = AttributionOptions("deeplift", demo_targets(store))
    other = make_store(heads=())
    with pytest.raises(StoreError, match=r"made with head set .* has none"):
        scorer_of(Results(scored), other, options)
    shifted = make_store(first_offset=-20_000, overwrite=True)
    with pytest.raises(StoreError, match=r"another effect|grid"):
        add_attributions(Results(scored), scorer_of(Results(scored), shifted, options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "not one of saliency"),
        ({"targets": ()}, "no target"),
        ({"samples": 5}, "draws none"),
        ({"by": ("colour",)}, "`by` 'colour'"),
        ({"top_features": 0}, "keeps nothing"),
        ({"dtype": "float8"}, "`dtype` "),
        ({"seed": -1}, "`seed` -1"),
        ({"seed": 2**32}, "`seed` "),
    ],
)
def test_options_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AttributionOptions(**{"method": "deeplift", "targets": ("x",), **options})  # type: ignore[arg-type]


def test_unknown_target(store: Store) -> None:
    with pytest.raises(HeadsError, match="no context 'nowhere'"):
        Scorer(store, attribution=AttributionOptions("deeplift", ("nowhere",)))


@pytest.mark.slow
def test_commands(cli: Callable[..., Result], store: Store, world: World, tmp_path: Path) -> None:
    out, target = tmp_path / "s.zarr", demo_targets(store)[0]
    base = ("score", "vcf", world.variants, "--store", store.path)
    done = cli(*base, "--out", out, "--attribute", "deeplift", "--target", target, "--by", "assay")
    assert done.exit_code == 0, done.output
    assert "before compression" in done.stderr
    assert "their sums within" in done.stdout
    done = cli("attribute", out, "--method", "saliency", "--target", "all", "--top-features", 3)
    assert done.exit_code == 1
    assert "--overwrite" in done.stderr
    done = cli(
        "attribute", out, "--method", "saliency", "--target", "all", "--top-features", 3,
        "--overwrite", "--json", "-q",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert '"targets": 802' in done.stdout
    again, few = tmp_path / "again.zarr", tmp_path / "few.vcf"
    given = world.variants.read_text().splitlines()
    few.write_text("\n".join([*(x for x in given if x[0] == "#"), *given[-4:], ""]))
    assert cli("score", "vcf", few, *base[3:], "--out", again).exit_code == 0
    replaced: tuple[str, ...] = ()
    for method, text in (("kernelShap", "from 2080 samples\n"), ("gradientShap", "sums within")):
        rerun = ("attribute", again, "--method", method, "--target", target)
        assert text in cli(*rerun, *replaced).stdout
        replaced, rerun = ("--overwrite",), (*rerun, "--overwrite")
        forced = method == "kernelShap"
        assert (
            json.loads(cli(*rerun, "--json").stdout)["attribution"]["completeness"] is None
        ) == forced
    done = cli("attribute", again, "--method", "lime", "--target", target, "--samples", 33,
               "--overwrite")  # fmt: skip
    assert done.exit_code == 1
    assert "--samples 33: too few" in done.stderr
    shutil.rmtree(again)
    few.unlink()
    table = tmp_path / "s.tsv"
    assert cli("export", out, table, "--attributions", 2).exit_code == 0
    results = Results(out)
    names, features = results.labels("target_name"), results.labels("feature_name")
    found, columns = results.attribution(), results.rows().columns
    expected = [
        (str(columns["pos"][r]), names[t], features[f], f"{v:.6g}")
        for r, t, k in np.ndindex(len(results), 802, 2)
        if (v := found["attribution"][r, t, k]) != 0
        and (f := found["attribution_feature"][r, t, k]) >= 0
    ]
    lines = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    assert [(x[1], x[14], x[15], x[19]) for x in lines] == expected
    assert len(lines) > 802
    for arguments, message in (
        (("--out", tmp_path / "x.tsv", "--attribute", "lime", "--target", target), "no room for"),
        (
            ("--out", tmp_path / "x.zarr", "--target", target),
            "--target has no effect without --attribute",
        ),
        (("--out", tmp_path / "x.zarr", "--seed", 3), "--seed has no effect without --attribute"),
        (("--out", tmp_path / "x.zarr", "--attribute", "deeplift"), "no target"),
    ):
        done = cli(*base, *arguments)
        assert done.exit_code in (1, 2)
        assert message in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.tsv", "s.zarr"]


def test_expression_table(cli: Callable[..., Result], store: Store, tmp_path: Path) -> None:
    out, gene = tmp_path / "e.tsv", str(store.gene_id[1])
    assert cli("expression", store.path, "--out", out).exit_code == 0
    header, *lines = (line.split("\t") for line in out.read_text().splitlines())
    assert (len(header), len(lines)) == (803, len(store))
    stored = store.array("expression")[...]
    np.testing.assert_allclose([[float(x) for x in r[1:]] for r in lines], stored, rtol=1e-5)
    one = demo_targets(store)[1]
    done = cli("expression", store.path, "--out", out, "--overwrite", "--gene", gene,
               "--contexts", one, "--precision", 17)  # fmt: skip
    assert done.exit_code == 0, done.output
    header, line = (line.split("\t") for line in out.read_text().splitlines())
    assert header == ["gene_id", one.split(":")[1]]
    assert line[0] == gene
    assert np.float32(line[1]) == stored[1, 500]
    assert cli("expression", store.path, "--out", tmp_path / "x.csv").exit_code == 1
    done = cli("expression", store.path, "--out", tmp_path / "x.tsv", "--gene", "nothing")
    assert "nothing" in done.stderr
    assert done.exit_code == 1
