"""Reports: their numbers are those of the results, and what files hold stays text."""

from __future__ import annotations

import base64
import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from many import many

import seal_store
from seal_store.errors import HeadsError, InputError, OutputError
from seal_store.report import ReportOptions, write_report
from seal_store.report.rows import LEVELS
from seal_store.results.group import Results
from seal_store.scoring.options import AttributionOptions
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Calibrated, with attributions."""
    out = tmp_path_factory.mktemp("report")
    own = Path(shutil.copytree(store.path, out / "store.zarr"))
    seal_store.calibrate(own, world.variants, device="cpu")
    seal_store.score(own, world.variants, calibrated=True, device="cpu", out=out / "s.zarr")
    chosen = AttributionOptions("deeplift", ["childhood.DFC"], top_features=20)
    seal_store.attribute(out / "s.zarr", chosen, device="cpu")
    return Results(out / "s.zarr")


def page_data(path: Path) -> dict[str, Any]:
    """What the script of a page works with."""
    (found,) = re.findall(r'id="data">(.*?)</script>', path.read_text())
    return dict(json.loads(found))


def test_numbers_are_those_of_the_tsv(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "r.html")
    seal_store.export(results, tmp_path / "t.tsv", precision=9)
    with (tmp_path / "t.tsv").open() as handle:
        table = list(csv.DictReader(handle, delimiter="\t"))
    data = page_data(tmp_path / "r.html")
    assert len(data["rows"]) == len(table) == len(results)
    own = {(t["chrom"], t["pos"], t["ref"], t["alt"], t["gene_id"]): t for t in table}
    peaks = [abs(row["top"][0][1]) for row in data["rows"]]
    assert peaks == sorted(peaks, reverse=True)
    for row in data["rows"]:
        line = own[row["contig"], str(row["pos"]), row["ref"], row["alt"], row["gene"]]
        assert row["distance"] == int(line["dist_to_tss"])
        assert (row["strand"], row["id"]) == (line["gene_strand"], line["id"])
        names = [data["contexts"][place][1] for place, *_ in row["top"]]
        effects = np.array([line[name] for name in names], np.float32)
        assert [np.float32(top[1]) for top in row["top"]] == effects.tolist()
        for number, more in ((2, "quantile"), (3, "z")):
            values = np.array([line[f"{name}.{more}"] for name in names], np.float32)
            assert [np.float32(top[number]) for top in row["top"]] == values.tolist()
        every = np.array([line[name] for _, name in data["contexts"]], float)
        shown = np.frombuffer(base64.b64decode(row["map"]), "<i2") * row["peak"] / LEVELS
        assert np.abs(shown - every).max() <= 0.51 * row["peak"] / LEVELS
        assert len(row["top"]) == 10
        assert np.abs(every).max() == pytest.approx(abs(row["top"][0][1]), rel=1e-6)


def test_attributions_are_those_of_the_results(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "r.html")
    data = page_data(tmp_path / "r.html")
    dataset = results.to_xarray()
    names = dataset.feature_name.values
    where = {
        key: i
        for i, key in enumerate(
            zip(dataset.pos.values, dataset.alt.values, dataset.gene_id.values, strict=True)
        )
    }
    for row in data["rows"]:
        i = where[row["pos"], row["alt"], row["gene"]]
        own = row["attribution"]
        assert data["contexts"][own["context"]][1] == "childhood.DFC"
        assert own["completeness"] == pytest.approx(float(dataset.completeness[i, 0]), rel=1e-6)
        strength = dataset.attribution[i, 0].values
        order = np.argsort(-np.abs(strength), kind="stable")[: len(own["features"])]
        assert [np.float32(v) for _, v in own["features"]] == strength[order].tolist()
        index = dataset.attribution_feature[i, 0].values[order]
        shown = [data["features"][str(feature)]["name"] for feature, _ in own["features"]]
        assert shown == names[index].tolist()


def test_what_was_not_scored_and_how_it_was_made_are_said(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    made = results.attributes
    for reason, count in made.counts.not_scored.items():
        assert re.search(rf"<td>{reason}</td>.*<td class=\"number\">{count}</td>", text)
    assert made.counts.not_scored
    for fact in (made.variants_sha256, made.store.sha256, made.store.cnn_sha256, made.scheme):
        assert f"<dd>{fact}</dd>" in text
    assert "SYNTHETIC weights" in text
    assert made.command in text


def test_what_is_cut_is_said_and_contexts_judge(results: Results, tmp_path: Path) -> None:
    query = ["stage=childhood"]
    done = write_report(results, tmp_path / "r.html", ReportOptions(5, query))
    assert (done.shown, done.rows) == (5, len(results))
    assert done.size == (tmp_path / "r.html").stat().st_size
    text = (tmp_path / "r.html").read_text()
    assert f"the 5 strongest of {len(results)} rows" in text
    data, own = page_data(tmp_path / "r.html"), results.to_xarray()
    names = [data["contexts"][place][1] for place in data["chosen"]]
    assert names
    assert all("hildhood" in name for name in names)
    peaks = np.abs(own.effect.sel(context=own.context_name.isin(names)).values).max(1)
    shown = [abs(row["top"][0][1]) for row in data["rows"]]
    assert shown == pytest.approx(sorted(peaks.tolist(), reverse=True)[:5], rel=1e-6)


def test_hostile_text_stays_text(store: Store, world: World, tmp_path: Path) -> None:
    name = "</script><script>alert(1)</script>\"'&lt;\u202e"
    long = "ACGT" * 2_500
    line = world.variants.read_text().splitlines()[-1].split("\t")
    vcf = tmp_path / "<b>x.vcf"
    rows = [
        [line[0], line[1], name.replace(" ", ""), line[3], line[4]],
        [line[0], line[1], "long", line[3], line[3] + long],
        [line[0], line[1], "bad", line[3], "<script>"],
    ]
    body = "".join("\t".join([*row, ".", ".", "."]) + "\n" for row in rows)
    vcf.write_text("##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n" + body)
    seal_store.score(store, vcf, device="cpu", out=tmp_path / "s.zarr")
    write_report(tmp_path / "s.zarr", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text
    assert "<b>x" not in text
    assert long not in text
    shown = {row["id"]: row for row in page_data(tmp_path / "r.html")["rows"]}
    assert any("</script>" in own for own in shown)
    assert shown["long"]["alt"].endswith("(10,001 bases)")


@pytest.mark.slow
def test_a_page_is_small(results: Results, tmp_path: Path, rng: np.random.Generator) -> None:
    whole = many(results, tmp_path / "many.zarr", 1_000, rng)
    done = write_report(whole, tmp_path / "r.html")
    assert done.shown == 1_000
    assert done.size < 1.5e6 + 4e3 * done.shown
    assert write_report(whole, tmp_path / "one.html", ReportOptions(1)).size < 1.5e6


def test_what_cannot_be_written_is_one_line(results: Results, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"name it r\.pdf\.html"):
        write_report(results, tmp_path / "r.pdf")
    with pytest.raises(HeadsError):
        write_report(results, tmp_path / "r.html", ReportOptions(contexts=["stage=never"]))
    with pytest.raises(InputError, match="not positive"):
        ReportOptions(0)
    assert not list(tmp_path.iterdir())
    (tmp_path / "r.html").write_text("chapter one")
    with pytest.raises(OutputError, match="exists already"):
        write_report(results, tmp_path / "r.html")


def test_results_without_rows(store: Store, world: World, tmp_path: Path) -> None:
    vcf = tmp_path / "none.vcf"
    vcf.write_text("##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
    seal_store.score(store, vcf, device="cpu", out=tmp_path / "s.zarr")
    assert write_report(tmp_path / "s.zarr", tmp_path / "r.html").shown == 0
    assert "Every allele has a row" in (tmp_path / "r.html").read_text()


def test_the_command(cli: Cli, results: Results, tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    done = cli("report", str(results.path), "--out", str(out), "--top", "3", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts == {"out": str(out), "shown": 3, "rows": len(results), "size": out.stat().st_size}
