"""Haplotypes as a table: what the group says of each copy, as DuckDB reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from phased import snv, written

from seal_store.results.haplotypes import ATTRIBUTE, Haplotypes
from seal_store.run.haplotypes import score_haplotypes
from seal_store.run.haplotypes_job import HaplotypesJob, Prepared
from seal_store.scoring.carried import Rules
from seal_store.scoring.options import ScoreOptions
from seal_store.store.store import Store

Cli = Callable[..., Result]
CONTEXTS = ("childhood.DFC", "adulthood.MD")


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Haplotypes:
    """Two genes of a woman, a man with one copy and one who is left out of a gene."""
    rows = [
        snv(store, 1, 5, "0|1", "1", "0/1"),
        snv(store, 1, -200, "1|1", "0", "1|1"),
        snv(store, 2, 40, "0|0", "1", "0|1"),
    ]
    vcf = written(tmp_path / "p.vcf", rows, ["woman", "man", "unsure"])
    options, rules = ScoreOptions(device="cpu"), Rules(unphased="strict")
    genes = ("GENE02", "GENE03")
    out = tmp_path / "h.zarr"
    return score_haplotypes(
        Prepared(HaplotypesJob(store.path, out, vcf, (), genes, options, rules), store)
    )


def test_lines_are_what_copies_carry(made: Haplotypes, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "h.parquet"
    args = [word for name in CONTEXTS for word in ("--contexts", name)]
    done = cli("export", made.path, out, *args, "-q")
    assert done.exit_code == 0, done.output
    table = pd.read_parquet(out)
    place, alleles = made.column("haplotype_of"), made.column("alleles")
    names = made.column("context_name").tolist()
    expected = [
        (gene, sample, copy + 1, int(of), alleles[of] if of >= 0 else "", context)
        for g, gene in enumerate(made.column("gene_id").tolist())
        for s, sample in enumerate(made.column("sample").tolist())
        for copy, of in enumerate(place[g, s].tolist())
        if of >= -1
        for context in sorted(CONTEXTS, key=names.index)
    ]
    columns = ["gene_id", "sample", "copy", "haplotype", "alleles", "context"]
    assert list(table[columns].itertuples(index=False, name=None)) == expected
    assert {"man", "unsure", "woman"} == set(table["sample"])
    assert set(table[table["sample"] == "unsure"]["gene_id"]) == {"GENE03"}
    for name in ("effect", "interaction"):
        whole = np.vstack([made.column(name), np.zeros((1, len(names)), np.float32)])
        where = [names.index(context) for context in table["context"]]
        np.testing.assert_array_equal(table[name], whole[table["haplotype"], where])
    assert b"haplotypes_version" in pq.read_schema(out).metadata[ATTRIBUTE.encode()]
    (dosage,) = duckdb.sql(
        f"select avg(effect) from '{out}' where gene_id = 'GENE02' and sample = 'woman' "
        "and context = 'childhood.DFC'"
    ).fetchall()
    assert dosage[0] == pytest.approx(made.dosage("childhood.DFC").loc["woman", "GENE02"], rel=1e-6)


def test_parts_change_nothing(
    made: Haplotypes, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = []
    for lines in (1 << 17, 1):
        monkeypatch.setattr("seal_store.exporting.haplotypes.LINES", lines)
        out = tmp_path / f"{lines}.feather"
        assert cli("export", made.path, out, "-q").exit_code == 0
        tables.append(pd.read_feather(out))
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == 802 * int((made.column("haplotype_of") >= -1).sum())


def test_what_does_not_fit_is_refused(made: Haplotypes, cli: Cli, tmp_path: Path) -> None:
    text = cli("export", made.path, tmp_path / "h.tsv")
    assert "haplotypes are a table of Parquet" in text.stderr
    top = cli("export", made.path, tmp_path / "h.parquet", "--top", 3)
    assert "--top: is not for haplotypes" in top.stderr
    unknown = cli("export", made.path, tmp_path / "h.parquet", "--contexts", "moon")
    assert unknown.exit_code == 1
    assert not list(tmp_path.glob("h.parquet*"))
