"""Charts show the numbers they are made of; files of all kinds; what does not fit is one line."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import seal_store
from seal_store import charts
from seal_store.charts import letters
from seal_store.charts.base import Scores
from seal_store.errors import HeadsError, InputError, OutputError
from seal_store.model.contexts import select_contexts
from seal_store.model.labels import context_labels
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("charts") / "scores.zarr"
    seal_store.score(store, world.variants, device="cpu", out=out)
    return out


@pytest.fixture(scope="module")
def scores(results: Path) -> xr.Dataset:
    return seal_store.open_results(results).to_xarray()


@pytest.fixture(scope="module")
def saturated(store: Store) -> xr.Dataset:
    return seal_store.saturate(store, 0, span=6, device="cpu")


def data(chart: Any) -> list[list[dict[str, Any]]]:
    """All inline data of a chart."""
    found: list[list[dict[str, Any]]] = []

    def look(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(v for v in node.get("datasets", {}).values() if isinstance(v, list))
            values = node.get("data", {})
            if isinstance(values, dict) and isinstance(values.get("values"), list):
                found.append(values["values"])
            for value in node.values():
                look(value)
        elif isinstance(node, list):
            for value in node:
                look(value)

    look(chart.to_dict())
    return found


def entries(chart: Any, *keys: str) -> list[dict[str, Any]]:
    """Entries of the first data set that has ``keys``."""
    return next(rows for rows in data(chart) if rows and set(keys) <= set(rows[0]))


def test_cells_of_an_effect_map_are_the_means_of_their_contexts(scores: xr.Dataset) -> None:
    chart = charts.effect_map(scores, 3)
    names = scores.context_name.values.tolist()
    effect = dict(zip(names, scores.effect.values[3].tolist(), strict=True))
    panels = {id(rows): rows for rows in data(chart) if "contexts" in rows[0]}.values()
    assert len(panels) == 3
    cells = [cell for panel in panels for cell in panel]
    assert sum(cell["contexts"] for cell in cells) == 802
    regions = {(cell["y"], cell["x"]): cell for cell in cells}
    assert len({y for y, x in regions if x == "late_fetal"}) >= 25
    one = regions["Dorsolateral prefrontal cortex", "childhood"]
    assert one["effect"] == pytest.approx(effect["childhood.DFC"])
    astro = [effect[name] for name in names if name.startswith("Childhood.Astro.")]
    assert len(astro) > 1
    assert regions["Astro", "childhood"]["effect"] == pytest.approx(np.mean(astro))
    assert regions["Astro", "neonatal"]["contexts"] >= 1
    empty = [cell for cell in cells if not cell["contexts"]]
    assert empty
    assert all(cell["effect"] is None for cell in empty)
    strongest = max(effect, key=lambda name: abs(effect[name]))
    assert f"Strongest: {strongest} {effect[strongest]:+.3g}" in chart.description


def test_a_row_is_named_as_variants_are_printed(scores: xr.Dataset) -> None:
    own = Scores(scores)
    contig, pos, ref, alt = str(own.names()[3]).split(":")
    bare = contig.removeprefix("chr")
    for text in (
        f"{contig}:{pos}:{ref}:{alt}",
        f"{bare}-{pos}-{ref}-{alt.lower()}",
        f"{contig}_{pos}_{ref}_{alt}",
        f"{bare}:{pos} {ref}>{alt}",
    ):
        assert own.row(text) == 3
    with pytest.raises(InputError, match="is not among the rows"):
        own.row("chr1")


def test_the_scale_of_colours_is_symmetric(scores: xr.Dataset) -> None:
    chart = charts.effect_map(scores, 3).to_dict()
    scales = re.findall(r'"domain": \[([^\]]*)\], "interpolate": "lab"', json.dumps(chart))
    assert scales
    most = float(np.abs(scores.effect.values[3]).max())
    for scale in scales:
        low, middle, high = map(float, scale.split(","))
        assert (low, middle, high) == pytest.approx((-most, 0, most))


def test_contexts_without_labels_are_bars(scores: xr.Dataset) -> None:
    own = scores.assign_coords(context_set=("context", ["mine"] * 802))
    bars = entries(charts.effect_map(own, 0), "y", "effect")
    assert len(bars) == 40
    assert (
        np.abs([bar["effect"] for bar in bars]).min() >= np.sort(np.abs(own.effect.values[0]))[-40]
    )


def test_letters_are_as_high_as_the_saturation_says(saturated: xr.Dataset) -> None:
    chart = charts.saturation(saturated, "childhood.DFC")
    context = saturated.context_name.values.tolist().index("childhood.DFC")
    effect = saturated.effect.values[:, context]
    heat = entries(chart, "pos", "base", "effect")
    found = {(cell["pos"], cell["base"]): cell["effect"] for cell in heat}
    pos, alts = saturated.pos.values.tolist(), saturated.alt.values.tolist()
    assert found == {
        key: float(e) for key, e in zip(zip(pos, alts, strict=True), effect, strict=True)
    }
    corners = entries(chart, "letter", "x", "y")
    refs = dict(zip(pos, saturated.ref.values.tolist(), strict=True))
    for position in sorted(set(pos)):
        own = [corner for corner in corners if corner["letter"] == f"{position:g}"]
        height = -effect[np.array(pos) == position].mean()
        ys = [corner["y"] for corner in own]
        assert {corner["base"] for corner in own} == {refs[position]}
        assert max(ys, key=abs) == pytest.approx(height, rel=1e-5)
        assert min(ys, key=abs) == pytest.approx(0, abs=1e-9)
        assert all(abs(corner["x"] - position) < 0.5 for corner in own)


def test_a_saturation_in_words(saturated: xr.Dataset) -> None:
    count = len(saturated.pos)
    one = charts.saturation(saturated, "childhood.DFC").description
    assert one.startswith(f"Effects of {count} SNVs on childhood.DFC around the TSS of ")
    several = charts.saturation(saturated, "stage=childhood kind=region").description
    assert re.match(rf"Mean effects of {count} SNVs over \d+ contexts around the TSS", several)


def test_of_several_contexts_the_mean_is_drawn(saturated: xr.Dataset) -> None:
    chart = charts.saturation(saturated, "stage=childhood kind=region")
    keep = [str(n).startswith("childhood.") for n in saturated.context_name.values.tolist()]
    heat = entries(chart, "pos", "base", "effect")
    np.testing.assert_allclose(
        [cell["effect"] for cell in heat], saturated.effect.values[:, keep].mean(1), rtol=1e-5
    )


def test_part_of_a_saturation(saturated: xr.Dataset) -> None:
    first = int(saturated.pos.values[0])
    heat = entries(charts.saturation(saturated, region=(first, first + 1)), "pos", "base", "effect")
    assert {cell["pos"] for cell in heat} == {first, first + 1}


def test_letters_fill_their_square_and_the_a_has_a_hole() -> None:
    for base, outline in letters.OUTLINES.items():
        xs, ys = np.array(outline).T
        assert (xs.min(), xs.max()) == pytest.approx((0, 1), abs=0.12), base
        assert (ys.min(), ys.max()) == pytest.approx((0, 1), abs=0.02), base
    # signed area: the hole goes round the other way
    xs, ys = np.array(letters.OUTLINES["A"]).T
    hole = np.array([(0.37, 0.42), (0.63, 0.42), (0.5, 0.78)])
    area = [_area(xs, ys), _area(*hole.T)]
    assert area[0] * area[1] < 0


def _area(x: np.ndarray, y: np.ndarray) -> float:
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def test_a_profile_shows_the_store_s_features(store: Store) -> None:
    chart = charts.profile(store, "GENE05", ["feature_3", "feature_1"], position=34_810)
    heat = entries(chart, "offset", "feature", "value")
    values = store.features("GENE05")
    offsets = store.column("window_offset").tolist()
    assert len(heat) == 400
    for cell in heat:
        column = int(cell["feature"].removeprefix("feature_"))
        assert cell["value"] == pytest.approx(values[offsets.index(cell["offset"]), column])
    row = store.position("GENE05")
    away = (34_810 - int(store.column("tss")[row])) * int(store.column("strand")[row])
    assert [mark["x"] for mark in entries(chart, "x", "text")] == [0, away]
    means = entries(charts.profile(store, "GENE05", by="assay_type"), "offset", "feature", "value")
    assert means[0]["value"] == pytest.approx(values[0].mean())


def test_attributions_are_those_of_the_results(store: Store, world: World) -> None:
    given = seal_store.score(
        store,
        world.variants,
        attributions={"method": "deeplift", "targets": ["childhood.DFC", "early_fetal.OC"]},
        device="cpu",
    )
    chart = charts.attribution(given, 2, target="childhood.DFC")
    bars = entries(chart, "label", "value")
    target = given.target_name.values.tolist().index("childhood.DFC")
    stored = given.attribution.values[2, target]
    assert [bar["value"] for bar in bars] == pytest.approx(sorted(stored, key=abs, reverse=True))
    assert bars[0]["name"] == str(given.feature_name.values[np.abs(stored).argmax()])
    names = ", ".join(given.target_name.values.tolist())
    with pytest.raises(InputError, match="no `target`: 2 contexts were attributed") as caught:
        charts.attribution(given, 2)
    assert caught.value.hint == f"name one of {names}"
    with pytest.raises(InputError, match="`target` .*: 0 of 2 fit") as caught:
        charts.attribution(given, 2, target=str(given.target_name.values[1])[:-1].upper())
    assert f"nearest: {given.target_name.values[1]}" in caught.value.hint


def test_a_locus_shows_the_strongest_of_the_contexts(scores: xr.Dataset) -> None:
    points = entries(charts.locus(scores), "x", "effect", "variant")
    values = scores.effect.values
    strongest = values[np.arange(len(values)), np.abs(values).argmax(1)]
    assert [point["effect"] for point in points] == pytest.approx(strongest.tolist())
    assert [point["x"] for point in points] == scores.dist_to_tss.values.tolist()
    own = entries(
        charts.locus(scores, "childhood.DFC", gene="GENE02", by="position"), "x", "effect"
    )
    rows = np.flatnonzero(scores.gene_id.values == "GENE02")
    assert [point["x"] for point in own] == scores.pos.values[rows].tolist()


def test_only_the_strongest_of_many_points_are_drawn(
    scores: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("seal_store.charts.locus"), "MOST", 5)
    chart = charts.locus(scores)
    sizes = np.sort(np.abs(scores.effect.values).max(1))
    drawn = sorted(abs(point["effect"]) for point in entries(chart, "x", "effect", "variant"))
    assert drawn == pytest.approx(sizes[-5:].tolist())
    assert "the 5 strongest drawn" in json.dumps(chart.to_dict())


def test_a_calibration_s_curve_is_what_effects_are_looked_up_in(
    cli: Cli, store: Store, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "store.zarr"
    shutil.copytree(store.path, path)
    seal_store.calibrate(path, world.variants, device="cpu")
    scored = seal_store.score(path, world.variants, calibrated=True, device="cpu")
    context = scored.context_name.values.tolist().index("childhood.DFC")
    effect = float(scored.effect.values[4, context])
    quantile = float(scored["quantile"].values[4, context])
    chart = charts.calibration(path, "childhood.DFC", effect)
    assert f"(quantile {quantile:+.4f})" in chart.description
    curve = entries(chart, "effect", "share")
    assert max(point["share"] for point in curve) == 0.5
    share = np.interp(effect, [p["effect"] for p in curve], [p["share"] for p in curve])
    assert share == pytest.approx((1 - abs(quantile)) / 2, abs=2e-3)
    args = ("plot", "calibration", path, "--context", "childhood.DFC", "--out", tmp_path / "c.json")
    for flag, value in (("--kind", "snv"), ("--distance", 0)):
        done = cli(*args, flag, value)
        assert done.exit_code == 1
        assert f"{flag}: calibration grid of {path} has no bins by {flag[2:]}; " in done.stderr
    assert cli(*args).exit_code == 0


KINDS = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF", ".html": b"<!DOCTYPE", ".json": b"{"}


@pytest.mark.parametrize("ending", KINDS)
def test_every_kind_of_file(scores: xr.Dataset, tmp_path: Path, ending: str) -> None:
    chart = charts.locus(scores)
    out = charts.save(chart, tmp_path / f"c{ending}")
    content = out.read_bytes()
    assert content.startswith(KINDS[ending])
    if ending == ".svg":
        text = content.decode()
        assert text.count('aria-roledescription="point"') == len(scores.pos)
        assert "SYNTHETIC weights" in text
        assert "Strongest: " in text  # the words in place of the picture
    if ending == ".html":
        assert not re.search(rb"<(script|link)[^>]+(src|href)=", content)
    with pytest.raises(OutputError, match="exists already"):
        charts.save(chart, out)
    charts.save(chart, out, overwrite=True)
    out.write_text("chapter one")
    with pytest.raises(OutputError, match="not a file that seal-store made"):
        charts.save(chart, out, overwrite=True)
    assert out.read_text() == "chapter one"


@pytest.mark.slow
def test_hostile_names_stay_text(scores: xr.Dataset, tmp_path: Path) -> None:
    name = '</script><script>alert("1")</script>\u202e&lt;' + "x" * 10_000
    own = scores.assign_coords(gene_id=("variant", [name] * len(scores.pos)))
    chart = charts.effect_map(own, 0)
    page = charts.save(chart, tmp_path / "c.html").read_text()
    assert "<script>alert" not in page
    picture = charts.save(chart, tmp_path / "c.svg").read_text()
    assert "<script" not in picture


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda d: charts.effect_map(d), "39 rows fit"),
        (lambda d: charts.effect_map(d, "chr1:1:A:C"), "is not among the rows"),
        (lambda d: charts.effect_map(d, 39), "there are 39 rows"),
        (lambda d: charts.locus(d, gene="NONE"), "no row is of it"),
        (lambda d: charts.locus(d, by="size"), "not distance or position"),
        (lambda d: charts.locus(d, by="position"), "contigs"),
        (lambda d: charts.saturation(d), "genes"),
        (lambda d: charts.attribution(d, 0), "there are no attributions"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    scores: xr.Dataset, draw: Callable[[xr.Dataset], Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        draw(scores)


@pytest.mark.slow
def test_the_commands(cli: Cli, results: Path, store: Store, tmp_path: Path) -> None:
    gene = "GENE02"
    seal_store.saturate(store, gene, span=3, device="cpu", out=tmp_path / "s.zarr")
    for number, args in enumerate(
        [
            ("effect-map", results, "--variant", "chr1:107140:ACAT:A"),
            ("saturation", tmp_path / "s.zarr", "--contexts", "stage=childhood region=DFC"),
            ("profile", store.path, "--gene", gene, "--by", "assay_type"),
            ("locus", results, "--by", "distance"),
        ]
    ):
        out = tmp_path / f"{number}.svg"
        done = cli("plot", *args, "--out", out, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["out"] == str(out)
        assert out.read_text().startswith("<svg")
    for args, says in (
        (("effect-map", results, "--variant", "1", "--out", tmp_path / "o.gif"), "unknown kind"),
        (("locus", results, "--contexts", "stage=never", "--out", tmp_path / "o.svg"), "adulthood"),
        (
            (
                "attribution",
                results,
                "--variant",
                "chr1:107140:ACAT:A",
                "--out",
                tmp_path / "o.svg",
            ),
            "there are no attributions",
        ),
        (
            (
                "calibration",
                store.path,
                "--context",
                "childhood.DFC",
                "--out",
                tmp_path / "o.svg",
            ),
            "has no calibration",
        ),
        (
            ("saturation", tmp_path / "s.zarr", "--region", "9", "--out", tmp_path / "o.svg"),
            "FROM-TO",
        ),
    ):
        found = cli("plot", *args)
        assert found.exit_code in (1, 2)
        assert says in found.stderr
        assert "Traceback" not in found.stderr


# --- contexts by their labels


def pairs(store: Store) -> list[tuple[str, str]]:
    names, sets = store.contexts()
    return list(zip(sets.tolist(), names.tolist(), strict=True))


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("stage=childhood region=DFC", lambda c: c["name"] == "childhood.DFC"),
        (
            "region=dorsolateral prefrontal cortex  STAGE=Childhood",
            lambda c: c["name"] == "childhood.DFC",
        ),
        ("cell_type=Radial glia", lambda c: c["cell_type"] == "Radial glia"),
        (
            "stage=adulthood,Adolescence kind=cell",
            lambda c: c["stage"] in ("Adult", "Adolescence") and c["kind"] == "cell",
        ),
        (
            "set=cell_state_mid_fetal_to_adult cell_type=Astro",
            lambda c: c["set"] == "cell_state_mid_fetal_to_adult" and c["cell_type"] == "Astro",
        ),
    ],
)
def test_queries(store: Store, query: str, fits: Callable[[dict[str, str]], bool]) -> None:
    found = select_contexts(pairs(store), [query])
    expected = []
    for i, (head_set, name) in enumerate(pairs(store)):
        labels = context_labels([(head_set, [name])])
        own = {k: str(labels[f"context_{k}"][0]) for k in ("kind", "stage", "region", "cell_type")}
        if fits({**own, "name": name, "set": head_set}):
            expected.append(i)
    assert expected
    assert found.tolist() == expected


def test_queries_choose_what_is_scored_and_exported(
    cli: Cli, results: Path, store: Store, tmp_path: Path
) -> None:
    query = "stage=childhood region=DFC,M1C kind=region"
    found = seal_store.score(store, [("chr1", 34_752, "A", "C")], contexts=query, device="cpu")
    assert sorted(found.context_name.values.tolist()) == ["childhood.DFC", "childhood.M1C"]
    out = tmp_path / "o.tsv"
    done = cli("export", results, out, "--contexts", query, "--contexts", "mid_fetal.DFC")
    assert done.exit_code == 0, done.output
    header = out.read_text().splitlines()[0].split("\t")
    assert [name for name in header if "." in name] == [
        "mid_fetal.DFC",
        "childhood.DFC",
        "childhood.M1C",
    ]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("stage=never", "there are adolescence, adulthood"),
        ("region=Atlantis", "there are "),
        ("stage=adulthood cell_type=Placodes", "no context fits all"),
        ("stage=adulthood cell_type=Placodes", "`seal-store heads list STORE --contexts`"),
        ("adult.DFC", "nearest: adulthood.DFC, "),
        ("Adulthood.dfc", "nearest: adulthood.DFC, "),
        ("tissue_state_early_fetal_to_adult:adult.DFC", "_to_adult:adulthood.DFC, "),
        ("stge=adulthood", "by label (set, kind, stage, "),
        ("stge=adulthood", "`seal-store heads list STORE --contexts`"),
    ],
)
def test_what_nothing_fits_names_what_there_is(store: Store, query: str, says: str) -> None:
    with pytest.raises(HeadsError) as caught:
        select_contexts(pairs(store), [query])
    assert says in f"{caught.value} {caught.value.hint}"


def test_a_context_with_the_name_of_a_query_goes_first() -> None:
    assert select_contexts([("s", "stage=1"), ("s", "b")], ["stage=1"]).tolist() == [0]


@pytest.fixture(scope="module")
def evaluated(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    data = seal_store.open_results(results).to_xarray()
    truth = data[["contig", "pos", "ref", "alt", "gene_id"]].to_dataframe()
    truth = truth[["contig", "pos", "ref", "alt"]].assign(gene=truth["gene_id"])
    truth["label"] = np.arange(len(truth)) % 2
    truth["other"] = np.arange(len(truth)) / 7
    out = tmp_path_factory.mktemp("evaluated") / "e.parquet"
    seal_store.evaluate_variants(results, truth, bootstrap=20, out=out)
    return out


def test_an_evaluation_shows_its_numbers(evaluated: Path, cli: Cli, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(evaluated).dropna(subset=["value"])
    chart = charts.evaluation(evaluated)
    shown = [row for rows in data(chart) for row in rows]
    assert {row["score"] for row in shown} >= {"seal-store", "distance to TSS", "random", "other"}
    assert sorted((r["metric"], r["stratum"], r["score"], r["value"], r["low"]) for r in shown) == [
        tuple(row)
        for row in sorted(
            table[["metric", "stratum", "score", "value", "low"]].itertuples(index=False)
        )
    ]
    assert "SYNTHETIC" in json.dumps(chart.to_dict()["title"])
    done = cli("plot", "evaluation", evaluated, "--out", tmp_path / "e.svg", "--json")
    assert json.loads(done.stdout)["description"] == chart.description


def test_what_is_no_evaluation_is_one_line(evaluated: Path, cli: Cli, tmp_path: Path) -> None:
    import pandas as pd

    other = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(other)
    done = cli("plot", "evaluation", other, "--out", tmp_path / "e.svg")
    assert done.exit_code == 1
    assert "no evaluation as Parquet" in done.stderr
    with pytest.raises(InputError, match="is no evaluation"):
        charts.evaluation(pd.DataFrame({"a": [1]}))
    table = pd.read_parquet(evaluated)
    many = pd.concat([table.assign(score=f"score {n}") for n in range(50)])
    many.attrs = {"matched": 1}
    with pytest.raises(InputError, match="more than 40 lines"):
        charts.evaluation(many)
