"""Tables for data frames: Parquet and Arrow hold what the TSV holds; nothing half-written."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from interrupted import kill_often, small_chunks

from seal_store.common.files import resource_table
from seal_store.common.output import Output
from seal_store.errors import HeadsError, InputError, MissingExtraError, OutputError
from seal_store.exporting import parquet
from seal_store.exporting.render import PLAIN, Form, export
from seal_store.model.labels import context_columns
from seal_store.results.group import Results
from seal_store.results.view import EVERYTHING, TSV_COLUMNS, Selection, View, strongest
from seal_store.run.scores import write_scores
from seal_store.scoring import reading
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store import layout
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]
CHOSEN = ("Mid.Neuron.584", "adulthood.MD", "Early.Neuron.383")
CONTEXTS = tuple(sorted({*CHOSEN, *(row["name"] for row in resource_table("contexts")[::20])}))


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Several genes for each allele."""
    out = tmp_path_factory.mktemp("results") / "r.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu", genes="all", contexts=CONTEXTS))
    write_scores(scorer, read_variants(world.variants), out)
    return Results(out)


def tsv(results: Results, folder: Path, selection: Selection = EVERYTHING) -> pd.DataFrame:
    """The table as text says it, with digits enough for float32."""
    out = folder / "text.tsv"
    export(results, out, Form(selection, precision=9), overwrite=True)
    text = dict.fromkeys(("chrom", "ref", "alt", "gene_strand", "gene_id", "context"), str)
    return pd.read_csv(out, sep="\t", dtype=text, keep_default_na=False)


def frame_of(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pandas()
    return pyarrow.feather.read_table(path).to_pandas()


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    for name in expected.columns:
        values = found[name].to_numpy()
        if values.dtype == np.float32:
            np.testing.assert_array_equal(values, expected[name].to_numpy().astype(np.float32))
        else:
            assert values.tolist() == expected[name].tolist(), name


SELECTIONS = {
    "whole": Selection(),
    "chosen": Selection(CHOSEN),
    "strong": Selection(CHOSEN, min_effect=1e-3),
    "long": Selection(CHOSEN, long=True),
    "top": Selection(top=3),
    "all": Selection(CHOSEN, min_effect=5e-4, top=2, long=True),
}


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_a_data_frame_is_the_tsv(
    results: Results, tmp_path: Path, selection: Selection, ending: str
) -> None:
    out = tmp_path / f"x{ending}"
    done = export(results, out, Form(selection))
    expected = tsv(results, tmp_path, selection)
    assert done.rows == len(expected) > 0
    same(frame_of(out), expected)


def test_selections_are_what_they_say(results: Results, tmp_path: Path) -> None:
    rows = results.rows()
    names, sets = results.contexts()
    at = [names.index(name) for name in CHOSEN]
    chosen = tsv(results, tmp_path, SELECTIONS["chosen"])
    assert list(chosen.columns[13:]) == [names[i] for i in sorted(at)]
    strong = tsv(results, tmp_path, SELECTIONS["strong"])
    kept = (np.abs(rows.effect[:, at]) >= 1e-3).any(1)
    assert 0 < kept.sum() < len(kept)
    assert strong["pos"].tolist() == rows.columns["pos"][kept].tolist()
    top = tsv(results, tmp_path, SELECTIONS["top"])
    assert len(top) == 3 * len(rows)
    for i, lines in enumerate(np.split(np.arange(len(top)), len(rows))):
        sizes = np.abs(rows.effect[i])
        part = top.iloc[lines]
        assert part["effect"].abs().tolist() == pytest.approx(np.sort(sizes)[::-1][:3].tolist())
        for head_set, name, value in part[["context_set", "context", "effect"]].to_numpy():
            place = list(zip(sets, names, strict=True)).index((head_set, name))
            assert value == pytest.approx(rows.effect[i, place], rel=1e-7)
    long = tsv(results, tmp_path, SELECTIONS["long"])
    pivot = long["effect"].to_numpy().reshape(len(rows), len(CHOSEN))
    np.testing.assert_array_equal(pivot, chosen.iloc[:, 13:].to_numpy())


def test_ties_stay_in_the_order_of_the_contexts() -> None:
    effect = np.array([[0, -2, 1, 2], [0, 0, 0, 0]], np.float32)
    assert strongest(effect, 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    assert strongest(effect, 9).shape == (2, 4)
    assert strongest(effect, None).tolist() == [[0, 1, 2, 3]] * 2


def test_a_context_named_like_a_column_keeps_its_own() -> None:
    assert context_columns(["s", "s"], ["pos", "x"], TSV_COLUMNS) == ["s:pos", "x"]


def test_parquet_opens_in_pandas_and_duckdb(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    export(results, out, Form(Selection(CHOSEN, long=True)))
    expected = tsv(results, tmp_path, Selection(CHOSEN, long=True))
    same(pd.read_parquet(out), expected)
    asked = duckdb.sql(
        f"select gene_id, count(*), max(abs(effect)) from '{out}' group by gene_id order by gene_id"
    ).fetchall()
    groups = expected.groupby("gene_id")["effect"]
    assert [(gene, count) for gene, count, _ in asked] == list(groups.count().items())
    assert [largest for *_, largest in asked] == pytest.approx(
        groups.apply(lambda values: values.abs().max()).tolist()
    )


def test_schema_types_and_metadata(results: Results, tmp_path: Path) -> None:
    leading = {"chrom", "gene_strand", "gene_id", "input_chrom", "gene_symbol", "status"}
    for selection, repeated in (
        (Selection(), leading),
        (Selection(top=2), {*leading, "context_set", "context"}),
    ):
        out = tmp_path / "x.parquet"
        export(results, out, Form(selection), overwrite=True)
        schema = pq.read_schema(out)
        found = {field.name for field in schema if pa.types.is_dictionary(field.type)}
        assert found == repeated
        assert schema.field("pos").type == schema.field("dist_to_tss").type == pa.int64()
        assert schema.field("reference_genome_match").type == pa.bool_()
        metadata = json.loads(schema.metadata[b"seal_store_results"])
        assert metadata == results.attributes.to_dict()
        assert metadata["store"]["sha256"]
        assert metadata["counts"]["rows"] == len(results)
        group = pq.ParquetFile(out).metadata.row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        assert {column.compression for column in columns} == {"ZSTD"}
    names, sets = results.contexts()
    export(results, out, overwrite=True)
    field = pq.read_schema(out).field(len(TSV_COLUMNS) + 5 + 7)
    assert field.metadata[b"context"].decode() == names[7]
    assert field.metadata[b"context_set"].decode() == sets[7]
    assert field.metadata[b"unit"] == b"ln(expression + pseudocount)"


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("selection", [Selection(CHOSEN), Selection(CHOSEN, long=True)])
def test_row_groups_are_bounded(
    results: Results,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    selection: Selection,
) -> None:
    monkeypatch.setattr(parquet, "GROUP_LINES", 7)
    monkeypatch.setattr("seal_store.results.view.LONG_LINES", 10)
    monkeypatch.setattr("seal_store.results.group.VARIANTS_PER_CHUNK", 5)
    out = tmp_path / f"x{ending}"
    export(results, out, Form(selection))
    expected = tsv(results, tmp_path, selection)
    same(frame_of(out), expected)
    if ending == ".parquet":
        metadata = pq.ParquetFile(out).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    else:
        with pa.ipc.open_file(out) as file:
            sizes = [file.get_batch(i).num_rows for i in range(file.num_record_batches)]
    assert sum(sizes) == len(expected)
    assert max(sizes) == 7
    assert len(sizes) >= math.ceil(len(expected) / 7)


def test_a_long_allele_is_not_repeated_for_each_context(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = results.rows()
    bases = "ACGT" * 25_000
    columns = {**rows.columns, "ref": np.array([bases, *rows.columns["ref"][1:]])}
    monkeypatch.setattr(Results, "batches", lambda self: iter([Rows(columns, rows.effect)]))
    monkeypatch.setattr("seal_store.results.view.LONG_LINES", len(results.contexts()[0]) * 10)
    blocks = list(View(results, Selection(long=True)).blocks())
    assert max(map(len, blocks)) == len(results.contexts()[0]) * 10
    assert max(len(block.columns["ref"]) for block in blocks) == 10
    out = tmp_path / "x.parquet"
    export(results, out, Form(Selection(long=True)))
    assert out.stat().st_size < 2_000_000
    found = pq.read_table(out, columns=["ref"]).column("ref")
    assert found[0].as_py() == bases


def test_gzipped_table_is_the_table(results: Results, tmp_path: Path) -> None:
    export(results, tmp_path / "x.tsv")
    export(results, tmp_path / "x.tsv.gz")
    packed = (tmp_path / "x.tsv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "x.tsv").read_bytes()
    export(results, tmp_path / "x.tsv.gz", overwrite=True)
    assert (tmp_path / "x.tsv.gz").read_bytes() == packed


@pytest.mark.parametrize(
    ("ending", "more"),
    [
        (".parquet", ()),
        (".arrow", ("--top", 2)),
        (".tsv.gz", ("--min-effect", 1e-3, "--long")),
        (".tsv", ("--top", 2)),
    ],
)
def test_score_writes_what_export_writes(
    cli: Cli,
    store: Store,
    world: World,
    results: Results,
    tmp_path: Path,
    ending: str,
    more: tuple[object, ...],
) -> None:
    a, b = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CONTEXTS))
    scoring = ["score", "vcf", world.variants, "--store", store.path, "--genes", "all"]
    scoring += ["--contexts", names]
    found = cli(*scoring, "--out", a, *more)
    assert found.exit_code == 0, found.output
    found = cli("export", results.path, "--out", b, *more, "--json")
    rows = json.loads(found.stdout)["rows"]
    if "tsv" in ending:
        one, other = (p.read_bytes() for p in (a, b))
        assert one == other
        text = gzip.decompress(one) if ending == ".tsv.gz" else one
        assert rows == text.count(b"\n") - 1 > 0
    else:
        assert frame_of(a).equals(frame_of(b))
        assert rows == len(frame_of(a)) > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [a.name, b.name, "names.txt"]


def test_an_empty_table_has_its_columns(cli: Cli, store: Store, tmp_path: Path) -> None:
    vcf = tmp_path / "in.vcf"
    vcf.write_text("chr1\t5\t-\tA\tC\n")
    for name in ("x.parquet", "x.arrow"):
        out = tmp_path / name
        assert cli("score", "vcf", vcf, "--store", store.path, "--out", out).exit_code == 0
        frame = frame_of(out)
        assert (len(frame), len(frame.columns)) == (0, 13 + 802)
        long = tmp_path / f"long.{name}"
        assert (
            cli("score", "vcf", vcf, "--store", store.path, "--out", long, "--long").exit_code == 0
        )
        assert list(frame_of(long).columns[13:]) == ["context_set", "context", "effect"]


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "x.tsv.gz", "x.tsv"])
def test_a_failing_export_leaves_nothing_and_keeps_what_was_there(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    out = tmp_path / name

    def stop(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    earlier = {".parquet": b"PAR1", ".arrow": b"ARROW1"}.get(out.suffix, b"gene_id\t")
    for before in (None, earlier):
        if before:
            out.write_bytes(before)
        with pytest.raises(KeyboardInterrupt):
            export(results, out, overwrite=bool(before), progress=stop)
        found = [path.name for path in tmp_path.iterdir()]
        assert found == ([name] if before else [])
    assert out.read_bytes() == earlier
    with pytest.raises(OutputError, match="exists already"):
        export(results, out)
    export(results, out, overwrite=True)
    assert out.stat().st_size > 1_000


def test_what_a_killed_export_left_is_replaced_when_asked(results: Results, tmp_path: Path) -> None:
    left = tmp_path / "x.parquet.partial"
    left.mkdir()
    (left / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match="did not finish"):
        export(results, tmp_path / "x.parquet")
    export(results, tmp_path / "x.parquet", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
    (left / "other").mkdir(parents=True)
    with pytest.raises(OutputError, match="other content"):
        export(results, tmp_path / "x.parquet", overwrite=True)


def test_a_killed_publishing_is_ended_by_the_next_run(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Output, "_rename", lambda self, files: None)
    out = tmp_path / "x.parquet"
    export(results, out)
    assert not out.exists()
    monkeypatch.undo()
    with pytest.raises(OutputError, match="is finished now: an earlier run was cut off"):
        export(results, out)
    with pytest.raises(OutputError, match="exists already"):
        export(results, out)
    assert len(pq.read_table(out)) == len(results)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def scored(store: Path, vcf: Path, out: Path) -> None:
    """One resumable run into Parquet, in a process of its own."""
    small_chunks()
    scorer = Scorer(Store(store), ScoreOptions(device="cpu", batch=1))
    form = Form(Selection(top=4))
    write_scores(
        scorer,
        read_variants(vcf),
        out,
        form=form,
        resume=True,
        checkpoint_seconds=0,
    )


@pytest.mark.soak
def test_a_killed_score_into_parquet_goes_on_to_the_same_bytes(
    store: Store, world: World, tmp_path: Path, rng: np.random.Generator
) -> None:
    out = tmp_path / "x.parquet"
    kill_often(partial(scored, store.path, world.variants, out), out, 25, rng)


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_scored(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 8)
    monkeypatch.setattr(layout, "VARIANTS_PER_CHUNK", 8)
    out, begun = tmp_path / "x.parquet", []

    def run(stop_after: int = 0, form: Form = PLAIN) -> None:
        def progress(what: str, done: int, total: int | None) -> None:
            begun.append(done)
            if stop_after and done >= stop_after:
                raise KeyboardInterrupt

        scorer = Scorer(store, ScoreOptions(device="cpu", batch=2, contexts=CONTEXTS))
        write_scores(
            scorer,
            read_variants(world.variants),
            out,
            form=form,
            resume=True,
            progress=progress,
        )

    with pytest.raises(KeyboardInterrupt):
        run(24)
    assert not out.exists()
    with pytest.raises(OutputError, match="begun with selection None"):
        run(form=Form(Selection(top=1)))
    begun.clear()
    run()
    assert min(begun) > 16
    whole = tmp_path / "whole.zarr"
    write_scores(
        Scorer(store, ScoreOptions(device="cpu", batch=2, contexts=CONTEXTS)),
        read_variants(world.variants),
        whole,
    )
    same(frame_of(out), tsv(Results(whole), tmp_path))


def test_what_does_not_fit_is_said_before_anything_is_computed(
    cli: Cli, store: Store, world: World, results: Results, tmp_path: Path
) -> None:
    base = ["score", "vcf", world.variants, "--store", store.path, "--out"]
    for args, says in (
        ([*base, tmp_path / "x.zarr", "--top", 3], "a results group holds every row"),
        ([*base, tmp_path / "x.zarr", "--long"], "seal-store export"),
        (
            [*base, tmp_path / "x.parquet", "--attribute", "deeplift", "--target", "all", "-q"],
            "no room",
        ),
        (["export", results.path, tmp_path / "x.csv"], "its name must end in .tsv"),
        (["export", results.path, tmp_path / "x.parquet", "--contexts", "nowhere"], "no context"),
        (["export", results.path, tmp_path / "x.parquet", "--min-effect", "nan"], "zero or more"),
        (["export", results.path, tmp_path / "x.parquet", "--gene", "GENE01"], "is for tracks"),
        (["export", results.path, tmp_path / "x.vcf", "--attributions", 3], "name it .tsv"),
    ):
        found = cli(*args)
        assert found.exit_code == 1, found.output
        assert says in found.stderr
        assert found.stderr.strip().count("\n") == 0
    assert cli("export", results.path).exit_code == 2
    assert (
        cli("export", results.path, tmp_path / "a.tsv", "--out", tmp_path / "b.tsv").exit_code == 2
    )
    assert list(tmp_path.iterdir()) == []
    for wrong in ({"min_effect": -1.0}, {"top": 0}):
        with pytest.raises(InputError):
            Selection(**wrong)  # type: ignore[arg-type]
    with pytest.raises(HeadsError, match="nowhere"):
        View(results, replace(Selection(), contexts=("nowhere",)))


def test_a_missing_package_is_named(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow") as error:
        export(results, tmp_path / "x.parquet")
    assert "seal-store[parquet]" in error.value.hint
    assert list(tmp_path.iterdir()) == []
