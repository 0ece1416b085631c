"""Genes and windows as people give them; what a store tells of itself."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seal_store
from seal_store.errors import (
    FormatError,
    GeneTableError,
    HeadsError,
    InputError,
    ParameterError,
)
from seal_store.model.labels import harmonised_stage
from seal_store.reference.gene_table import GeneTable
from seal_store.store import summary
from seal_store.store.places import places
from seal_store.store.store import Store
from seal_store.synthetic import World

METHODS = ("features", "aggregated", "expression", "sequence")
NAMES = ["GENE03", "GENE01"]


@pytest.fixture(scope="module")
def symbols(world: World, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store whose genes have Ensembl ids and symbols; two of them share one."""
    folder = tmp_path_factory.mktemp("symbols")
    lines = []
    for line in world.genes.read_text().splitlines()[:4]:
        contig, _, tss, strand, gene = line.split("\t")
        number = int(gene.removeprefix("GENE"))
        symbol = "TWICE" if number < 3 else f"SYM{number}"
        lines.append(f"ENSG{number:011d},{symbol},{contig},{strand},{tss},protein_coding")
    table = folder / "genes.csv"
    head = "id,symbol,seqnames,strand,CAGE_representative_TSS,type"
    table.write_text("\n".join([head, *lines]) + "\n")
    return seal_store.build(
        folder / "s.zarr",
        genome=world.genome,
        genes=table,
        cnn=world.cnn,
        heads=world.heads,
        device="cpu",
    )


def test_a_gene_by_id_version_and_symbol(symbols: Store) -> None:
    for name in ("ENSG00000000003", "ENSG00000000003.12", "SYM3"):
        assert name in symbols
        assert symbols.gene(name) == symbols.position(name) == 2
        for method in METHODS:
            np.testing.assert_array_equal(
                getattr(symbols, method)(name), getattr(symbols, method)(2)
            )
    with pytest.raises(GeneTableError, match="several genes are called 'TWICE'"):
        symbols.features("TWICE")
    assert "TWICE" not in symbols
    found = seal_store.saturate(symbols, "SYM3", span=0, device="cpu")
    assert set(found.gene_id.values.tolist()) == {"ENSG00000000003"}


def test_an_exact_id_looks_no_further() -> None:
    ids = np.array(["ENSG00000000001.2", "ENSG00000000002", "B"])
    number = np.array([1, 2, 3])
    table = GeneTable(ids, np.array(["A", "B", ""]), ids, number, number, ids)
    assert [table.row(gene) for gene in ids.tolist()] == [0, 1, 2]
    assert "_rows_of_name" not in vars(table)
    assert table.row("ENSG00000000002.7") == 1
    assert "_rows_of_name" not in vars(table)
    assert (table.row("A"), table.row("ENSG00000000001"), table.row("ENSG00000000001.9")) == (
        0,
    ) * 3
    assert table.row("B") == 2  # the id, not the symbol


SEVERAL: list[Callable[[], Any]] = [
    lambda: NAMES,
    lambda: tuple(NAMES),
    lambda: iter(NAMES),
    lambda: [2, 0],
    lambda: ["GENE03", 0],
    lambda: np.array(NAMES),
    lambda: np.array([2, 0], np.uint8),
    lambda: pd.Series(NAMES),
    lambda: pd.Index(NAMES, dtype=object),
    lambda: slice(2, None, -2),
]


@pytest.mark.parametrize("several", SEVERAL)
def test_several_genes_are_read_in_their_order(several: Callable[[], Any], store: Store) -> None:
    for method in METHODS:
        one = getattr(store, method)
        np.testing.assert_array_equal(one(several()), np.stack([one("GENE03"), one("GENE01")]))


def test_slices_masks_and_windows(store: Store) -> None:
    whole = store.array("features")[...]
    frame = store.gene_frame()
    mask = frame["strand"] > 0
    assert 0 < mask.sum() < len(store)
    for given in (mask, mask.to_numpy(), mask.tolist()):
        np.testing.assert_array_equal(store.features(given), whole[mask])
    np.testing.assert_array_equal(store.features(slice(1, 4), slice(0, 9)), whole[1:4, :9])
    np.testing.assert_array_equal(store.features(slice(None), 7), whole[:, 7])
    np.testing.assert_array_equal(store.features(["GENE02"], [5, 3]), whole[[1]][:, [5, 3]])
    np.testing.assert_array_equal(store.features("GENE02", [5, 3]), whole[1, [5, 3]])
    np.testing.assert_array_equal(store.features(slice(3, 1)), whole[3:1])
    assert store.features([]).shape == (0, *whole.shape[1:])
    labelled = store.to_xarray()
    np.testing.assert_array_equal(store.features(labelled.gene_id[2:4]), whole[2:4])
    np.testing.assert_array_equal(store.features(labelled.gene_id[2]), whole[2])


@pytest.mark.parametrize(
    "odd", [1.999, True, np.True_, np.float64(1), 2.7, None, b"GENE01", object()]
)
def test_what_is_no_gene_is_a_type_error(odd: Any, store: Store) -> None:
    for method in METHODS:
        for given in (odd, ["GENE01", odd]):
            with pytest.raises(TypeError, match="^`gene` .*: not an id, a symbol or") as caught:
                getattr(store, method)(given)
            assert isinstance(caught.value, ParameterError)
    with pytest.raises(ParameterError, match="^`windows` .*: not a position from 0"):
        store.features(0, odd)


def test_places_that_are_not_there(store: Store) -> None:
    for given in (-1, len(store), [0, 99]):
        with pytest.raises(IndexError, match="there are 0 to"):
            store.features(given)
    with pytest.raises(IndexError, match="3 truth values for 11 places"):
        store.features([True, False, True])
    with pytest.raises(ParameterError, match="`gene` slice"):
        store.features(slice("GENE01", "GENE03"))
    with pytest.raises(ParameterError, match="not one gene"):
        store.position(["GENE01"])  # type: ignore[arg-type]
    with pytest.raises(GeneTableError, match="'NOPE'"):
        store.features(["GENE01", "NOPE"])
    assert places("gene", slice(None), 0) == slice(0, 0)


# Tables


def test_expression_as_a_table(store: Store) -> None:
    values = store.array("expression")[...]
    whole = store.expression_frame()
    assert whole.index.tolist() == store.gene_id.tolist()
    assert whole.columns.tolist() == store.context_frame().index.tolist()
    np.testing.assert_array_equal(whole.to_numpy(), values)
    part = store.expression_frame(NAMES, ["childhood.DFC", "early_fetal.OC"])
    assert part.index.tolist() == NAMES
    assert part.dtypes.unique().tolist() == [np.dtype("float32")]
    for gene in NAMES:
        for context in part.columns:
            assert part.loc[gene, context] == whole.loc[gene, context]
            assert store.expression(gene, context).tolist() == [whole.loc[gene, context]]
    assert store.expression_frame("GENE02").shape == (1, values.shape[1])
    with pytest.raises(HeadsError, match="no context 'x'"):
        store.expression_frame(contexts="x")
    with pytest.raises(ParameterError, match="`contexts` 3"):
        store.expression(0, 3)  # type: ignore[arg-type]


def test_contexts_by_label_and_by_stage(store: Store) -> None:
    frame = store.context_frame()
    names, sets = store.contexts()
    assert frame["context_name"].tolist() == names.tolist()
    assert frame["context_set"].tolist() == sets.tolist()
    assert frame.index.is_unique
    young = frame[frame["context_stage_harmonised"] == "childhood"]
    assert set(young["context_stage"]) == {"childhood", "Childhood"}
    found = seal_store.score(store, "chr2:34810:A:T", contexts=young.index, device="cpu")
    assert found.context_stage.values.tolist() == young["context_stage"].tolist()
    assert set(found.context_stage_harmonised.values.tolist()) == {"childhood"}
    reference = store.to_xarray()
    assert reference.context_stage_harmonised.values.tolist() == (
        frame["context_stage_harmonised"].tolist()
    )


def test_published_stages_have_one_spelling() -> None:
    from seal_store.common.files import resource_table

    stages = {row["stage"] for row in resource_table("contexts")}
    found = {stage: harmonised_stage(stage) for stage in stages}
    assert found == {
        "early_fetal/Early": "early_fetal",
        "early_fetal/Mid": "early_fetal",
        "early_fetal/Late": "early_fetal",
        "early_fetal": "early_fetal",
        "mid_fetal": "mid_fetal",
        "late_fetal": "late_fetal",
        "Fetal": "fetal",
        "Neonatal": "neonatal",
        "infancy": "infancy",
        "Infancy": "infancy",
        "childhood": "childhood",
        "Childhood": "childhood",
        "adolescence": "adolescence",
        "Adolescence": "adolescence",
        "adulthood": "adulthood",
        "Adult": "adulthood",
    }
    assert harmonised_stage("") == ""


def test_genes_as_a_table(symbols: Store) -> None:
    frame = symbols.gene_frame()
    assert frame.index.tolist() == symbols.gene_id.tolist()
    assert frame["gene_symbol"].tolist() == ["TWICE", "TWICE", "SYM3", "SYM4"]
    assert frame["tss"].tolist() == symbols.column("tss").tolist()


# What it tells of itself


class Tags(HTMLParser):
    """The tags and the text of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_store_shows_what_it_is(store: Store, make_store: Callable[..., Store]) -> None:
    text = repr(store)
    for part in (str(store.path), "11 of 12", "598", "SYNTHETIC", store.sha256[:16], "stored"):
        assert part in text
    page = Tags()
    page.feed(store._repr_html_())
    assert "598" in page.text
    bare = make_store(heads=(), hidden=False)
    assert "contexts    none" in repr(bare)
    assert "SYNTHETIC" not in repr(bare)


def test_names_from_anywhere_are_escaped(store: Store, tmp_path: Path) -> None:
    odd = "<script>alert(1)</script>\x1b[31m&"
    heads = (replace(store.attributes.heads[0], name=odd), *store.attributes.heads[1:])
    hostile = Store(tmp_path / odd, (store.group, replace(store.attributes, heads=heads)))
    page = Tags()
    page.feed(hostile._repr_html_())
    assert "script" not in page.tags
    assert "<script>alert(1)</script>\\x1b[31m&" in page.text
    assert "\x1b" not in repr(hostile) + hostile._repr_html_()
    assert len(summary.as_text("x", {"a": "b" * 10_000})) < 400


def test_results_show_what_they_are(store: Store, world: World, tmp_path: Path) -> None:
    path = tmp_path / "r.zarr"
    found = seal_store.score(store, world.variants, device="cpu", out=path)
    results = seal_store.open_results(path)
    assert len(results) == sum(len(rows) for rows in results) == found.sizes["variant"]
    pd.testing.assert_frame_equal(results.to_frame(), seal_store.to_frame(found))
    assert "GENE02" in results
    assert not any(other in results for other in ("x", 3, None))
    for part in ("39 in 802", "variants.vcf", "1 symbolic", "SYNTHETIC", store.sha256[:16]):
        assert part in repr(results)
        assert part in results._repr_html_()


def test_a_store_as_a_collection(store: Store) -> None:
    assert list(store) == store.gene_id.tolist()
    assert all(gene in store for gene in store)
    assert not any(other in store for other in ("x", 0, None, True))


def test_what_a_store_keeps_is_read_only(store: Store) -> None:
    opened = seal_store.open(store.path)
    arrays = [opened.gene_id, opened.table_status]
    arrays += [getattr(opened.table, n) for n in ("gene_id", "symbol", "contig", "strand", "tss")]
    for values in arrays:
        with pytest.raises(ValueError, match="read-only"):
            values[0] = values[1]
    with pytest.raises(TypeError):
        opened.gene_position["x"] = 1  # type: ignore[index]
    assert opened.gene("GENE01") == 0
    again = pickle.loads(pickle.dumps(opened))
    assert again.gene_position == opened.gene_position


def test_the_other_opener_is_named(store: Store, world: World, tmp_path: Path) -> None:
    path = tmp_path / "r.zarr"
    seal_store.score(store, world.variants, device="cpu", out=path)
    with pytest.raises(FormatError, match="is a results group, not a store") as caught:
        seal_store.open(path)
    assert "`seal-store export`" in caught.value.hint
    assert "`seal_store.open_results`" in caught.value.hint
    with pytest.raises(FormatError, match="is a store, not a results group") as caught:
        seal_store.open_results(store.path)
    assert "`seal-store score`" in caught.value.hint
    assert "`seal_store.open`" in caught.value.hint
    with pytest.raises(ParameterError, match="`path` None: not a path"):
        seal_store.open(None)  # type: ignore[arg-type]


def test_a_typo_is_answered_with_the_names_there_are(store: Store) -> None:
    for name in ("featurs", "cnn", 3, ""):
        with pytest.raises(InputError, match="no array") as caught:
            store.array(name)  # type: ignore[arg-type]
        assert "features, hidden, aggregated" in caught.value.hint
    assert store.array("cnn/conv1_bias").ndim == 1
