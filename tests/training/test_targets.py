"""Expression tables, targets, gene weights and the split, by hand and by pandas."""

from __future__ import annotations

import csv
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import gene_ids, write_expression, write_genes
from sklearn.model_selection import train_test_split

from seal_store.errors import TrainingError
from seal_store.reference.gene_files import read_genes
from seal_store.training.expression import Matrix, read_matrix
from seal_store.training.targets import (
    Group,
    gene_weights,
    make_targets,
    pseudocounts,
    read_groups,
    split_genes,
)
from seal_store.training.targets import (
    test_genes as genes_to_test_on,
)

NAN = float("nan")
NO_GENE = np.array([], np.int64)


def matrix(values: object, genes: int | None = None) -> Matrix:
    array = np.array(values, float)
    ids = np.array(gene_ids(genes or len(array)))
    contexts = tuple(f"c{i}" for i in range(array.shape[1]))
    return Matrix(Path("x.tsv"), ids, contexts, array, np.arange(2, len(array) + 2))


# --- the expression table


def test_a_table_is_read_to_the_last_digit(tmp_path: Path, rng: np.random.Generator) -> None:
    values = np.exp(rng.normal(0, 9, (30, 7)))
    contexts = [f"Brain {i}" for i in range(7)]
    path = write_expression(tmp_path / "x.tsv", gene_ids(30), contexts, values)
    found = read_matrix(path, "expression")
    np.testing.assert_array_equal(found.values, values)
    assert (found.contexts, found.gene_id.tolist()) == (tuple(contexts), gene_ids(30))
    assert found.rows(np.array(["GENE00003", "other"])).tolist() == [3, -1]


@pytest.mark.parametrize("missing", ["", "NA", "NaN", "nan", " NA "])
def test_missing_values_are_nan(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"gene_id\ta\tb\nG1\t{missing}\t2\nG2\t3\t1e-3\n")
    np.testing.assert_array_equal(read_matrix(path, "").values, [[NAN, 2], [3, 0.001]])


def test_csv_and_gzip_are_read_as_tsv_is(tmp_path: Path) -> None:
    plain, comma = (
        "gene_id\ta\tb c\nG1\t1\t2\nG2\tNA\t1e-3\n",
        'gene_id,a,"b c"\nG1,1,2\nG2,,1e-3\n',
    )
    (tmp_path / "x.tsv").write_text(plain)
    (tmp_path / "x.csv").write_text(comma)
    for name, text in (("y.tsv.gz", plain), ("y.csv.gz", comma)):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    expected = read_matrix(tmp_path / "x.tsv", "")
    assert expected.sha256 == hashlib.sha256((tmp_path / "x.tsv").read_bytes()).hexdigest()
    for name in ("x.csv", "y.tsv.gz", "y.csv.gz"):
        found = read_matrix(tmp_path / name, "")
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.contexts == expected.contexts == ("a", "b c")
        assert found.gene_id.tolist() == ["G1", "G2"]


def test_versions_of_ids_do_not_matter_where_one_row_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    rows = ("ENSG00000000003.7", "ENSG00000000005.1", "ENSG00000000005.2", "ENSG00000000419")
    path.write_text("gene_id\ta\n" + "".join(f"{name}\t{i}\n" for i, name in enumerate(rows)))
    found = read_matrix(path, "")
    asked = ["ENSG00000000003", "ENSG00000000003.9", "ENSG00000000005", "ENSG00000000005.2"]
    assert found.rows(np.array([*asked, "ENSG00000000419.3"])).tolist() == [0, 0, -1, 2, 3]


def test_blank_lines_crlf_and_a_bom_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(b"\xef\xbb\xbfgene_id\ta \r\n\r\nG1\t1\r\nG2\t2\r\n\r\n")
    found = read_matrix(path, "")
    assert (found.contexts, found.gene_id.tolist(), found.lines.tolist()) == (
        ("a",),
        ["G1", "G2"],
        [3, 4],
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty file"),
        (b"\n\n", "empty file"),
        (b"gene_id\ta\tb\n", "no gene in this table"),
        (b"gene_id\nG1\n", ":1: one column only"),
        (b"gene_id\ta\t\nG1\t1\t2\n", ":1: column 3 has no name"),
        (b"gene_id\ta\tb\ta\nG1\t1\t2\t3\n", ":1: column 4 is named 'a', as is column 2"),
        (b"gene_id\ta\nG1\t1\nG2\t2\nG1\t3\n", ":4: gene 'G1' stands on line 2 too"),
        (b"gene_id\ta\nG1\t1\n\t2\n", ":3: empty gene id"),
        (b"gene_id\ta\tb\nG1\t1\t2\nG2\t1\n", ":3: 2 columns, the header has 3"),
        (b"a\tb\nG1\t1\t2\n", ":2: 3 columns, the header has 2"),
        (b"gene_id\ta\tb\nG1\t1\tx2\n", ":2: column 3 (b): 'x2' is not a number"),
        (b"gene_id\ta\tb\nG1\t1\t1_000\n", ":2: column 3 (b): '1_000' is not a number"),
        (b"gene_id\ta\tb\nG1\t1,5\t2\n", ":2: column 2 (a): '1,5' is not a number"),
        (b"gene_id\ta\tb\nG1\tNA\tinf\n", ":2: column 3 (b): 'inf' is infinite"),
        (b"gene_id\ta\tb\nG1\t0\t1\nG2\t1\t-0.5\n", ":3: column 3 (b): -0.5 is negative"),
        (b"gene_id\ta\nG\xff\t1\n", "not UTF-8"),
        (b"\x1f\x8b\x08\x00binary", "damaged gzip"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        read_matrix(path, "expression", negative=False)
    assert f"{path}" in str(caught.value)
    assert said in str(caught.value)


def test_predictions_may_be_negative(tmp_path: Path) -> None:
    path = write_expression(tmp_path / "x.tsv", ["G1"], ["a"], np.array([[-1.5]]))
    assert read_matrix(path, "predictions").values.item() == -1.5


# --- targets


@pytest.mark.parametrize(
    ("smallest", "expected"),
    [(0.003, 0.01), (0.01, 0.1), (0.0999, 0.1), (1, 10), (7.5, 10), (0.5, 1), (123, 1000)],
)
def test_a_pseudocount_is_the_power_of_ten_above_the_smallest(
    smallest: float, expected: float
) -> None:
    found = pseudocounts(np.array([[0.0], [smallest], [5000.0], [NAN]]), matrix([[1.0]]))
    assert found.tolist() == [expected]


def test_pseudocounts_of_every_power_of_ten() -> None:
    powers = np.array([[float(f"1e{e}") for e in range(-15, 12)]])
    expected = [float(f"1e{e + 1}") for e in range(-15, 12)]
    np.testing.assert_allclose(pseudocounts(powers, matrix(powers)), expected, rtol=1e-15)


def test_targets_by_hand(tmp_path: Path) -> None:
    contigs = ["chr1", "chrX", "chr2", "chrY", "chr8", "chr3", "X", "chr4"]
    types = ["protein_coding"] * 5 + ["rRNA", "lincRNA", "rRNA"]
    genes = read_genes(write_genes(tmp_path / "genes.csv", contigs, types))
    values = np.array(
        [[0, 2.0], [1, 1], [NAN, 1], [0.02, 1], [3, 40], [5, 5], [6, 6], [NAN, 7], [9, 0.001]]
    )
    targets = make_targets(matrix(values), genes)
    assert targets.rows.tolist() == [0, 4]
    # GENE00008 is in no table row, so its 0.001 decides nothing; chrY's 0.02 does
    assert targets.pseudocounts.tolist() == [0.1, 10]
    expected = [[np.log(0.1), np.log(12)], [np.log(3.1), np.log(50)]]
    np.testing.assert_allclose(targets.values, expected, rtol=1e-15)
    assert targets.left_out == {
        "not_in_expression": 0,
        "missing_value": 2,
        "rRNA": 1,
        "sex_chromosome": 3,
    }
    assert targets.not_in_table == 1


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("chrX", "chrY"),
        ("X", "Y"),
        ("NC_000023.10", "NC_000024.9"),
        ("NC_000023.11", "NC_000024.10"),
        ("CM000685.1", "CM000686.1"),
    ],
)
def test_sex_chromosomes_under_any_name_are_left_out(tmp_path: Path, x: str, y: str) -> None:
    contigs = ["chr1", x, "chr2", y, "scaffold_X"]
    genes = read_genes(write_genes(tmp_path / "genes.csv", contigs))
    targets = make_targets(matrix(np.ones((5, 1))), genes)
    assert targets.rows.tolist() == [0, 2, 4]
    assert targets.left_out["sex_chromosome"] == 2


def test_genes_that_the_expression_lacks_are_counted_as_such(tmp_path: Path) -> None:
    genes = read_genes(write_genes(tmp_path / "genes.csv", ["chr1"] * 5))
    targets = make_targets(matrix([[1.0], [2.0]]), genes)
    assert (targets.rows.tolist(), targets.left_out["not_in_expression"]) == ([0, 1], 3)


def test_no_gene_in_common_is_refused_with_an_example(tmp_path: Path) -> None:
    genes = read_genes(write_genes(tmp_path / "genes.csv", ["chr1"]))
    table = Matrix(Path("x.tsv"), np.array(["GENE00000.7"]), ("a",), np.ones((1, 1)), np.array([2]))
    with pytest.raises(TrainingError, match=r"no gene in common .*'GENE00000\.7'.*'GENE00000'"):
        make_targets(table, genes)


def test_a_context_without_a_positive_value_is_named(tmp_path: Path) -> None:
    genes = read_genes(write_genes(tmp_path / "genes.csv", ["chr1"] * 2))
    with pytest.raises(TrainingError, match=r"positive value in column 3 \(c1\)"):
        make_targets(matrix([[1.0, 0.0], [2.0, 0.0], [1.0, 5.0]]), genes)


# --- groups and weights


def test_without_a_file_all_contexts_are_one_group() -> None:
    assert read_groups(None, ["a", "b", "c"]) == ([Group("all", (0, 1, 2))], None)


@pytest.mark.parametrize("header", ["", "group\tcolumns\n"])
def test_groups_count_contexts_from_one(tmp_path: Path, header: str) -> None:
    path = tmp_path / "groups.tsv"
    path.write_text(f"{header}cortex\t3, 1\n\nrest\t2\r\n")
    groups, sha256 = read_groups(path, ["a", "b", "c"])
    assert groups == [Group("cortex", (0, 2)), Group("rest", (1,))]
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"g\t1,2,4\n", ":1: column 4 of 3 contexts"),
        (b"g\t0,1,2\n", ":1: column 0 of 3 contexts"),
        (b"g\t1,2\nh\t2,3\n", ":2: column 2 (b) is in group 'g' already"),
        (b"g\t1,1,2,3\n", ":1: column 1 (a) is in group 'g' already"),
        (b"g\t1\nh\t3\n", "column 2 (b) is in no group"),
        (b"", "column 1 (a) is in no group"),
        (b"g\t1,2\ng\t3\n", ":2: group 'g' stands on an earlier line too"),
        (b"g\t1,b,3\n", ":1: 'b' is not a column number"),
        (b"g\t1-3\n", ":1: '1-3' is not a column number"),
        (b"g\t1,2\nh\tx\n", ":2: 'x' is not a column number"),
        (b"g 1,2,3\n", ":1: no group name and columns"),
        (b"g\t1,2\nh\t\n", ":2: no group name and columns"),
        (b"\xff\t1\n", "not UTF-8"),
    ],
)
def test_malformed_groups_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "groups.tsv"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        read_groups(path, ["a", "b", "c"])
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_weights_by_hand() -> None:
    # spreads of the first group: sd of (0, s) with n - 1 is s / sqrt(2), s = 0 ... 10
    targets = np.zeros((11, 4))
    targets[:, 2] = np.arange(11)
    targets[:, 1] = np.arange(11)[::-1] * 7  # a group of its own: weight 1 whatever it does
    groups = [Group("pair", (0, 2)), Group("alone", (1,)), Group("other", (3,))]
    weights = gene_weights(targets, groups, 4.0, NO_GENE)
    # the 0.1 and 0.7 quantiles of 0 ... 10 are 1 and 7, and are not beyond themselves
    expected = [0.25] + [1] * 7 + [4] * 3
    np.testing.assert_array_equal(weights[:, 0], expected)
    np.testing.assert_array_equal(weights[:, 2], expected)
    np.testing.assert_array_equal(weights[:, [1, 3]], 1)


def test_weights_are_those_of_pandas(rng: np.random.Generator) -> None:
    targets = rng.standard_normal((200, 6)) * rng.random((200, 1))
    groups = [Group("x", (0, 3, 4)), Group("y", (1, 2, 5))]
    found = gene_weights(targets, groups, 2.0, NO_GENE)
    frame = pd.DataFrame(targets)
    for group in groups:
        spread = frame[list(group.columns)].std(axis=1)
        expected = pd.Series(1.0, frame.index)
        expected[spread > spread.quantile(0.7)] = 2.0
        expected[spread < spread.quantile(0.1)] = 0.5
        for column in group.columns:
            np.testing.assert_array_equal(found[:, column], expected)
    assert (found[:, 0] == 2).sum() == 60
    assert (found[:, 0] == 0.5).sum() == 20


def test_equal_spreads_weigh_one() -> None:
    targets = np.tile([0.0, 1.0], (9, 1))
    groups, _ = read_groups(None, "ab")
    np.testing.assert_array_equal(gene_weights(targets, groups, 3.0, NO_GENE), 1)


def test_quantiles_of_weights_are_over_the_genes_that_are_not_tested(
    rng: np.random.Generator,
) -> None:
    targets = rng.standard_normal((200, 5))
    test = np.sort(rng.choice(200, 60, replace=False))
    targets[test] *= 30  # these spreads would move both quantiles
    others = np.setdiff1d(np.arange(200), test)
    groups = [Group("x", (0, 1, 4)), Group("y", (2, 3))]
    found = gene_weights(targets, groups, 2.0, test)
    for group in groups:
        spread = pd.DataFrame(targets[others][:, group.columns]).std(axis=1)
        low, high = spread.quantile(0.1), spread.quantile(0.7)
        expected = np.where(spread > high, 2.0, np.where(spread < low, 0.5, 1.0))
        for column in group.columns:
            np.testing.assert_array_equal(found[others, column], expected)
    np.testing.assert_array_equal(found[others], gene_weights(targets[others], groups, 2, NO_GENE))


# --- the split


def test_the_split_is_scikit_learns_on_the_other_genes(rng: np.random.Generator) -> None:
    contigs = rng.choice(["chr1", "chr2", "chr8", "9", "chr10"], 200)
    split = split_genes(contigs, ("chr8", "chr9"), 0.125)
    assert split.test.tolist() == [i for i, c in enumerate(contigs) if c in ("chr8", "9")]
    others = [i for i, c in enumerate(contigs) if c not in ("chr8", "9")]
    train, validation = train_test_split(others, test_size=0.125, random_state=0)
    assert (split.train.tolist(), split.validation.tolist()) == (train, validation)
    assert len(validation) == -(-len(others) // 8)


@pytest.mark.parametrize(
    ("chromosomes", "share", "said"),
    [
        (("chr8", "chr5"), 0.5, "no gene that can be used on chr5"),
        (("chr9",), 0.5, "2 genes to test on, 3 are needed"),
        (("chr1", "chr8"), 0.5, "2 genes are left for training|leaves a part empty"),
    ],
)
def test_parts_that_are_too_small_are_refused(
    chromosomes: tuple[str, ...], share: float, said: str
) -> None:
    contigs = np.array(["chr1"] * 5 + ["chr8"] * 5 + ["chr9"] * 2)
    if chromosomes == ("chr1", "chr8"):
        contigs = contigs[:11]  # one gene left
    with pytest.raises(TrainingError, match=said):
        split_genes(contigs, chromosomes, share)


def test_chromosomes_with_and_without_chr() -> None:
    contigs = np.array(["8", "chr8", "9", "8", "18"])
    assert genes_to_test_on(contigs, ("chr8",)).tolist() == [0, 1, 3]
    assert genes_to_test_on(contigs, ("8", "chr9")).tolist() == [0, 1, 2, 3]


def test_test_chromosomes_under_any_name() -> None:
    contigs = np.array(["NC_000008.11", "chr8", "CM000671.2", "8", "NC_000018.10", "scaffold_8"])
    assert genes_to_test_on(contigs, ("chr8",)).tolist() == [0, 1, 3]
    assert genes_to_test_on(contigs, ("NC_000008.10", "chr9")).tolist() == [0, 1, 2, 3]
    with pytest.raises(TrainingError, match="no gene that can be used on chr7"):
        genes_to_test_on(contigs, ("NC_000007.14",))


def test_the_real_gene_table(shared: Path) -> None:
    """Every gene of hg19_geneanno.csv with a value: counted here with the csv module alone."""
    path = shared / "data" / "hg19_geneanno.csv"
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    kept = [r for r in rows if r["type"] != "rRNA" and r["seqnames"] not in ("chrX", "chrY")]
    contexts = tuple((shared / "data" / "general_contexts.txt").read_text().split())
    genes = read_genes(path)
    values = np.random.default_rng(0).random((len(rows), len(contexts)))
    lines = np.arange(2, len(rows) + 2)
    targets = make_targets(Matrix(path, genes.gene_id, contexts, values, lines), genes)
    split = split_genes(genes.contig[targets.rows], ("chr8", "chr9"), 0.125)
    assert (len(rows), len(contexts)) == (24_339, 31)
    assert len(targets.rows) == len(kept)
    assert len(split.test) == sum(r["seqnames"] in ("chr8", "chr9") for r in kept)
    assert sum(map(len, (split.train, split.validation, split.test))) == len(kept)
