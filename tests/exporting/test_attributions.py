"""The strongest attributions as a table: the same lines as text and in columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seal_store
from seal_store.errors import HeadsError, OutputError
from seal_store.exporting.attributions import export_attributions
from seal_store.results.group import ATTRIBUTE, Results
from seal_store.store.store import Store
from seal_store.synthetic import World

TARGETS = ["early_fetal.OC", "childhood.DFC"]


def explained(store: Store, variants: Any, out: Path, **more: Any) -> Results:
    options = {"method": "deeplift", "targets": TARGETS, **more}
    seal_store.score(store, variants, attributions=options, device="cpu", out=out)
    return seal_store.open_results(out)


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return explained(store, world.variants, tmp_path_factory.mktemp("why") / "r.zarr")


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather"])
def test_columns_hold_what_the_text_holds(results: Results, tmp_path: Path, ending: str) -> None:
    pa = pytest.importorskip("pyarrow")
    text, columns = tmp_path / "x.tsv", tmp_path / f"x{ending}"
    count = export_attributions(results, text, top=4, precision=9)
    assert export_attributions(results, columns, top=4) == count > 0
    expected = pd.read_csv(text, sep="\t", keep_default_na=False)
    if ending == ".parquet":
        table = pa.parquet.read_table(columns)
    else:
        table = pa.ipc.open_file(columns).read_all()
    assert table.column_names == expected.columns.tolist()
    for name, values in zip(table.column_names, table.columns, strict=True):
        if name == "attribution":
            assert values.type == pa.float32()
            np.testing.assert_array_equal(values.to_numpy(), expected[name].to_numpy(np.float32))
        else:
            assert values.to_pylist() == expected[name].tolist(), name
    about = json.loads(table.schema.metadata[ATTRIBUTE.encode()])
    assert about["attribution"]["method"] == "deeplift"


@pytest.mark.parametrize("kept", [None, 5])
def test_lines_are_the_strongest_of_each_row_and_target(
    store: Store, world: World, tmp_path: Path, kept: int | None
) -> None:
    results = explained(store, world.variants, tmp_path / "r.zarr", top_features=kept)
    export_attributions(results, tmp_path / "x.tsv", top=3, targets=["childhood.DFC"], precision=9)
    lines = iter(pd.read_csv(tmp_path / "x.tsv", sep="\t").itertuples(index=False))
    whole = explained(store, world.variants, tmp_path / "w.zarr").attribution()["attribution"]
    names, rows = store.column("feature_name"), results.rows().columns
    target = results.labels("target_name").tolist().index("childhood.DFC")
    for row, values in enumerate(whole[:, target]):
        for place in np.argsort(-np.abs(values), kind="stable")[:3]:
            if values[place] == 0:
                continue
            line = next(lines)
            assert (line.pos, line.gene_id) == (rows["pos"][row], rows["gene_id"][row])
            assert (line.target, line.feature) == ("childhood.DFC", names[place])
            assert np.float32(line.attribution) == values[place]
    assert next(lines, None) is None


def test_no_row_gives_a_table_without_lines(store: Store, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    results = explained(store, [("chrZ", 1, "A", "C")], tmp_path / "r.zarr")
    assert export_attributions(results, tmp_path / "x.tsv") == 0
    assert export_attributions(results, tmp_path / "x.parquet") == 0
    header = (tmp_path / "x.tsv").read_text().splitlines()
    table = pa.parquet.read_table(tmp_path / "x.parquet")
    assert (len(header), table.num_rows) == (1, 0)
    assert header[0].split("\t") == table.column_names


def test_what_cannot_be_written_leaves_nothing(
    store: Store, world: World, results: Results, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="are a table"):
        export_attributions(results, tmp_path / "x.vcf")
    with pytest.raises(HeadsError, match="among its targets"):
        export_attributions(results, tmp_path / "x.parquet", targets=["nowhere"])
    seal_store.score(store, world.variants, device="cpu", out=tmp_path / "r.zarr")
    with pytest.raises(OutputError, match="no attributions of single features"):
        export_attributions(seal_store.open_results(tmp_path / "r.zarr"), tmp_path / "x.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["r.zarr"]
