"""Variants given in Python, in every form that people have them in."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import seal_store
from seal_store.errors import MissingExtraError, ParameterError, VariantError
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.bases import StoreBases
from seal_store.variants.given import given_alleles, position
from seal_store.variants.source import read_variants

TABLE = pd.DataFrame(
    {
        "contig": ["chr1", "chr2", "chrZ"],
        "pos": [107140, 34810, 7],
        "ref": ["ACAT", "A", "A"],
        "alt": ["A", "T", "C"],
        "id": ["a", "b", "c"],
    }
)
ROWS = list(TABLE.itertuples(index=False, name=None))
EXPECTED = [(row, *fields) for row, fields in enumerate(ROWS)]
Named = namedtuple("Named", ["alt", "ref", "POS", "chrom", "note"])


def columns(variants: Any, store: Store) -> list[tuple[Any, ...]]:
    found = given_alleles(variants, StoreBases(store))
    assert found.place == "row"
    return [(a.line, a.contig, a.pos, a.ref, a.alt, a.id) for a in found]


def arrow() -> Any:
    return pytest.importorskip("pyarrow").table(TABLE)


def duck() -> Any:
    connection = pytest.importorskip("duckdb").connect()
    connection.register("given", TABLE)
    return connection.sql("select * from given")


def polars(lazy: bool) -> Any:
    frame = pytest.importorskip("polars").DataFrame(TABLE.to_dict("list"))
    return frame.lazy() if lazy else frame


FORMS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: TABLE,
    "pandas with more": lambda: TABLE.assign(note=1)[["note", *TABLE.columns[::-1]]],
    "mapping": lambda: TABLE.to_dict("list"),
    "xarray": lambda: TABLE.to_xarray().set_coords(["contig", "id"]),
    "pyarrow": arrow,
    "record batch": lambda: arrow().to_batches()[0],
    "record batch reader": lambda: arrow().to_reader(),
    "polars": lambda: polars(False),
    "lazy polars": lambda: polars(True),
    "duckdb": duck,
    "structured": lambda: TABLE.to_records(index=False),
    "structured bytes": lambda: np.array(ROWS, "S9,i8,S9,S9,S9").astype(
        [("CHROM", "S9"), ("POS", "i8"), ("REF", "S9"), ("ALT", "S9"), ("ID", "S9")]
    ),
    "tuples": lambda: ROWS,
    "arrays": TABLE.to_numpy,
    "texts in arrays": lambda: TABLE.to_numpy().astype(str),
    "generator": lambda: iter(ROWS),
    "dicts": lambda: TABLE.to_dict("records"),
    "named tuples": TABLE.itertuples,
    "decimals": lambda: TABLE.assign(pos=[Decimal(pos) for pos in TABLE["pos"]]),
    "texts": lambda: TABLE.assign(pos=[" 107140", "34810\t", "7"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_gives_the_same(form: str, store: Store) -> None:
    assert columns(FORMS[form](), store) == EXPECTED


def test_columns_of_a_lazy_table_that_are_not_needed_are_not_read(store: Store) -> None:
    pl = pytest.importorskip("polars")
    never = pl.col("pos").map_elements(lambda _: 1 / 0, return_dtype=pl.Float64).alias("never")
    lazy = polars(True).with_columns(never)
    assert columns(lazy, store) == EXPECTED
    with pytest.raises(VariantError, match="no column 'ref' among"):
        given_alleles(lazy.drop("ref"), StoreBases(store))


def test_named_tuples_go_by_name_where_they_have_the_names(store: Store) -> None:
    assert columns([Named("A", "ACAT", 107140, "chr1", "x")], store) == [
        (0, "chr1", 107140, "ACAT", "A", "")
    ]
    unnamed = TABLE.rename(columns={"contig": "#CHROM"}).itertuples(index=False)
    assert columns(unnamed, store) == EXPECTED  # pandas cannot name the first


WRITTEN = [
    *("chr1:107140:ACAT:A", "2-34810-A-T", "chr2:g.34810A>T"),
    *("chr2:34810 A>T", "chr2_34810_A_T"),
]


@pytest.mark.parametrize(
    "several",
    [list, tuple, iter, pd.Series, np.array, pd.Index],
    ids=["list", "tuple", "iterator", "series", "array", "index"],
)
def test_texts(several: Callable[[list[str]], Any], store: Store) -> None:
    assert columns(several(WRITTEN), store) == [
        (0, "chr1", 107140, "ACAT", "A", WRITTEN[0]),
        (1, "2", 34810, "A", "T", WRITTEN[1]),
        *((row, "chr2", 34810, "A", "T", WRITTEN[row]) for row in (2, 3, 4)),
    ]
    assert [columns(text, store)[0][1:] for text in WRITTEN] == [
        row[1:] for row in columns(WRITTEN, store)
    ]


def test_texts_in_arrow_and_polars(store: Store) -> None:
    expected = columns(WRITTEN, store)
    pa = pytest.importorskip("pyarrow")
    assert columns(pa.chunked_array([WRITTEN[:1], WRITTEN[1:]]), store) == expected
    pl = pytest.importorskip("polars")
    assert columns(pl.Series(WRITTEN), store) == expected


def test_a_text_that_is_none_is_counted_with_its_problem(store: Store) -> None:
    found = seal_store.score(store, [*WRITTEN, "rubbish", "chr1:x:A:C"], device="cpu")
    assert found.row.values.tolist() == list(range(len(WRITTEN)))
    counts = json.loads(found.attrs["counts"])
    assert counts["not_scored"] == {"malformed": 2}
    first = counts["examples"]["malformed"][0]
    assert first.startswith(f"row {len(WRITTEN)}: ")
    assert "'rubbish'" in first


def test_a_file_goes_before_a_variant_of_its_name(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chr1:1:A:C").write_bytes(world.variants.read_bytes())
    found = given_alleles("chr1:1:A:C", StoreBases(store))
    assert (found.place, len(list(found))) == ("line", 41)
    assert len(list(given_alleles(Path("chr1:1:A:C"), StoreBases(store)))) == 41
    assert len(list(given_alleles(seal_store.read_variants("chr1:1:A:C"), StoreBases(store)))) == 41


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("rs123", "`variants` 'rs123': no such file, nor a variant"),
        ("", "`variants` '': no such file"),
        ("chr1:1:A", "no such file, nor a variant"),
        (["rubbish"], "list: none of 1 is a variant, first row 0: .*'rubbish'"),
        ([("chr1", "x", "A", "C")] * 3, "list: none of 3 is a variant, first row 0, chr1:0 A>C"),
        (TABLE.assign(ref="NO!"), "table: none of 3 is a variant"),
        ([("chr1", 5, "rs1", "A", "C")], "row 0: 'rs1' is not bases, 'C' are"),
        ([("chr1", 5, ".", "A", "C,T")], "row 0: '.' is not bases, 'C,T' are"),
        ([("chr1", 5, "A", "C", "a", "b")], "row 0 has 6 values, not 4 or 5"),
        ([{"contig": "chr1"}], "no column 'pos' among 'contig'"),
        (pd.concat([TABLE, TABLE], axis=1), "unique column names"),
        (b"chr1:1:A:C", "`variants`: a bytes"),
        ([b"chr1:1:A:C"], "row 0 is b'chr1:1:A:C', not a variant"),
        (None, "`variants`: a NoneType"),
        (len, "`variants`: a builtin_function_or_method"),
        (pd.Series([1.5]), "row 0 is 1.5, not a variant"),
    ],
)
def test_other_things_are_one_line(given: Any, says: str, store: Store) -> None:
    with pytest.raises(VariantError, match=says) as caught:
        list(given_alleles(given, StoreBases(store)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.hint


def test_a_file_without_any_variant_is_an_error(
    store: Store, tmp_path: Path, cli: Callable[..., Any], world: World
) -> None:
    table = tmp_path / "scores.tsv"
    args = ["score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q"]
    assert cli(*args, "--out", table).exit_code == 0
    for out in (None, tmp_path / "x.zarr"):
        with pytest.raises(VariantError, match="is a variant"):
            seal_store.score(store, table, device="cpu", out=out)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith("x.zarr")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" 107140", 107140),
        ("7\t", 7),
        (Decimal(7), 7),
        (Decimal("7.0"), 7),
        (b"7", 7),
        *(
            (bad, 0)
            for bad in (
                *map(Decimal, ("7.5", "NaN", "sNaN", "Infinity", "1E+999999", "-1")),
                *("7 7", "\u20077", "7.0", "+7", "1,000", b"\xff", b""),
            )
        ),
    ],
    ids=repr,
)
def test_positions_as_they_are_written(value: object, expected: int) -> None:
    assert position(value) == expected


def test_what_a_lazy_table_needs_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    given = duck()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="needs pyarrow"):
        given_alleles(given, StoreBases(store))


def test_a_stream_that_was_read_is_no_empty_input(store: Store, world: World) -> None:
    stream = read_variants(world.variants)
    once = list(given_alleles(stream, StoreBases(store)))
    assert len(once) > 20
    with pytest.raises(VariantError, match="were read already"):
        given_alleles(stream, StoreBases(store))
    with pytest.raises(ParameterError, match="`path` 5: not a path"):
        read_variants(5)  # type: ignore[arg-type]
