"""Cases against controls: p-values exact by hand, uniform under the null; false discovery rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from scipy.stats import false_discovery_control, kstest, permutation_test

import seal_store
from seal_store.errors import InputError
from seal_store.results.group import Results
from seal_store.study import permute
from seal_store.study.permute import benjamini_hochberg, difference_of_means, ways

Make = Callable[..., Results]
Write = Callable[..., Path]
Cli = Callable[..., Result]


def groups(cases: int, controls: int) -> list[str]:
    return ["case"] * cases + ["control"] * controls


def test_small_sets_are_enumerated(make: Make, table: Write) -> None:
    """3 of 6: 20 ways, of which two are as extreme, the real one and its mirror."""
    effect = np.array([[3.0, 1, 0], [4, -1, 0], [5, 2, 0], [0, -2, 0], [1, 1, 0], [2, -1, 0]])
    results = make(effect)
    found = seal_store.burden(results, table(group=groups(3, 3)))
    own = found[found["context"] != ""]
    effects, sizes = (own[own["measure"] == m] for m in ("effect", "size"))
    assert effects["p"].tolist()[0] == pytest.approx(2 / 20)
    assert effects["difference"].tolist() == pytest.approx([3, 4 / 3, 0])
    assert effects["mean_case"].tolist() == pytest.approx([4, 2 / 3, 0])
    assert effects["mean_control"].tolist() == pytest.approx([1, -2 / 3, 0])
    assert effects["p"].tolist()[2] == 1
    second = effect[:, 1]
    every = [
        second[list(own)].mean() - np.delete(second, own).mean()
        for own in combinations(range(6), 3)
    ]
    expected = np.mean(np.abs(every) >= 4 / 3 - 1e-9)
    assert effects["p"].tolist()[1] == pytest.approx(expected)
    assert sizes["difference"].tolist() == pytest.approx([3, 0, 0])
    assert found.attrs["exact"] is True
    assert found.attrs["permutations"] == 20
    whole = found[found["context"] == ""]
    assert set(whole["measure"]) == {"size"}
    _, head_sets = results.contexts()
    assert whole["head_set"].tolist() == list(dict.fromkeys(head_sets))
    assert whole["difference"].tolist() == pytest.approx([1.5, 0])


def test_p_is_that_of_scipy(rng: np.random.Generator) -> None:
    values, case = rng.normal(size=(9, 4)), np.arange(9) < 4
    own = difference_of_means(values, case, np.zeros(9, int), 126, 0)
    assert own.exact
    expected = permutation_test(
        (values[case], values[~case]),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        vectorized=True,
        n_resamples=np.inf,
    )
    np.testing.assert_allclose(own.difference, expected.statistic)
    assert own.count == 126
    # scipy doubles the smaller tail; ours counts both
    both = (np.abs(expected.null_distribution) >= np.abs(expected.statistic) - 1e-12).mean(0)
    np.testing.assert_allclose(own.p, both)


def test_drawn_p_is_near_the_exact_one(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, case = rng.normal(size=(12, 3)), np.arange(12) % 2 == 0
    values[case] += 0.7
    family = np.zeros(12, int)
    exact = difference_of_means(values, case, family, 10**6, 0)
    assert exact.count == 924
    drawn = difference_of_means(values, case, family, 900, 3)
    assert (drawn.exact, drawn.count) == (False, 900)
    np.testing.assert_allclose(drawn.p, exact.p, atol=0.1)
    monkeypatch.setattr(permute, "ENTRIES", 100)  # in blocks of 8
    blocks = difference_of_means(values, case, family, 10**6, 0)
    np.testing.assert_array_equal(blocks.p, exact.p)
    np.testing.assert_allclose(
        difference_of_means(values, case, family, 900, 3).p, drawn.p, atol=0.1
    )


def test_no_p_is_zero(make: Make, table: Write) -> None:
    effect = np.concatenate([np.full(30, 5.0), np.zeros(30)])[:, None] * np.ones(3)
    found = seal_store.burden(make(effect), table(group=groups(30, 30)), permutations=99)
    assert set(found["p"]) == {0.01}
    assert found.attrs["exact"] is False


@pytest.mark.parametrize("families", [1, 40])
def test_p_is_uniform_under_the_null(families: int) -> None:
    rng = np.random.default_rng(8)
    case, family = np.arange(80) % 2 == 0, np.arange(80) // 2 % families
    base = rng.normal(size=(40, 400))[family] * 3  # what families share
    found = difference_of_means(base + rng.normal(size=(80, 400)), case, family, 400, 1)
    assert kstest(found.p, "uniform").pvalue > 0.01
    assert found.p.min() >= 1 / 401


def test_pairs_are_turned(rng: np.random.Generator) -> None:
    """A family of one case and one control: all 2^n turns of their differences' signs."""
    n = 7
    values = rng.normal(size=(2 * n, 2)) + np.repeat(rng.normal(size=n) * 10, 2)[:, None]
    case, family = np.arange(2 * n) % 2 == 0, np.repeat(np.arange(n), 2)
    values[case] += 1
    found = difference_of_means(values, case, family, 128, 0)
    assert (found.exact, found.count) == (True, 128)
    pairs = values[case] - values[~case]
    turns = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1)
    every = np.abs(turns.T @ pairs) / n
    expected = (every >= np.abs(pairs.mean(0)) - 1e-9).mean(0)
    np.testing.assert_allclose(found.p, expected)


def test_families_of_one_label_decide_nothing(rng: np.random.Generator) -> None:
    pairs = rng.normal(size=(20, 5))
    case, family = np.arange(20) % 2 == 0, np.arange(20) // 2
    alone = difference_of_means(pairs, case, family, 1_024, 0)
    more = np.concatenate([pairs, rng.normal(10, 1, (15, 5))])
    labels = np.concatenate([case, np.arange(15) < 9])
    families = np.concatenate([family, 100 + np.arange(15)])
    both = difference_of_means(more, labels, families, 1_024, 0)
    assert (both.exact, both.count) == (True, 1_024)
    np.testing.assert_allclose(both.difference, alone.difference)
    np.testing.assert_array_equal(both.p, alone.p)


def test_differences_are_within_families(rng: np.random.Generator) -> None:
    """Families of 3:1 and 1:3, the cases 2 below their controls, whatever families share."""
    case = np.tile([True, True, True, False, True, False, False, False], 6)
    family = np.arange(48) // 4
    level = rng.normal(size=12)[family] * 30 + 20 * np.array([0, 1] * 6)[family]
    found = difference_of_means((level - 2 * case)[:, None], case, family, 5_000, 0)
    assert found.difference == pytest.approx(-2)
    assert found.p == pytest.approx(1 / 5_001)
    turned = difference_of_means((level + 2 * case)[:, None], case, family, 5_000, 0)
    assert turned.difference == pytest.approx(2)
    assert turned.p == pytest.approx(1 / 5_001)


def test_without_a_family_of_both_groups_there_is_nothing_to_permute(
    make: Make, table: Write
) -> None:
    given = table(group=groups(3, 3), family=list("abcdef"))
    with pytest.raises(InputError, match="no family has variants of both groups"):
        seal_store.burden(make(np.ones((6, 3))), given)


def test_families_keep_their_numbers() -> None:
    case = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)
    family = np.array([5, 5, 5, 2, 2, 2, 9, 9])
    for labels in permute._drawn(case, family, 1_200, 600, 0):
        for code in (5, 2, 9):
            assert (labels[:, family == code].sum(1) == case[family == code].sum()).all()
        assert len(np.unique(labels, axis=0)) == 18  # all there are
    assert ways(case, family, 100) == 18
    assert sum(map(len, permute._every(case, family, 5))) == 18
    big = np.arange(2_000_000) % 2 == 0
    assert ways(big, np.zeros(len(big), int), 10_000) > 10_000


def test_false_discovery_rates() -> None:
    assert benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])).tolist() == pytest.approx(
        [0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5]
    )
    p = np.random.default_rng(0).random(50) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))


def test_genes_of_a_set_only(make: Make, table: Write, tmp_path: Path) -> None:
    """Each variant has rows of two genes, the stronger of G2."""
    effect = np.concatenate([np.arange(6.0), np.arange(6.0)[::-1] * 10])[:, None] * np.ones(3)
    place = np.resize(np.arange(6) * 10 + 1_000, 12)
    genes = [*["ENSG1.1"] * 5, "G3", *["ENSG2.4"] * 6]
    symbols = [*["ONE"] * 6, *["TWO"] * 6]
    results = make(effect, pos=place, gene_id=genes, gene_symbol=symbols)
    cases = table(group=groups(3, 3))
    lines, gmt = tmp_path / "genes.txt", tmp_path / "sets.gmt"
    lines.write_text("# mine\nENSG1\n")
    gmt.write_text("A\thttp://x\tENSG1.7\tG9\nB\thttp://x\tG9\n")
    for files in (lines, gmt, [str(gmt), lines]):
        found = seal_store.burden(results, cases, gene_set=files)
        own = found[found["measure"] == "effect"]
        assert own["mean_case"].tolist() == pytest.approx([1] * 3)
        assert own["mean_control"].tolist() == pytest.approx([3.5] * 3)
        assert found.attrs["unmatched"]["no row of a gene of the gene set"]["lines"] == 1
    lines.write_text("TWO\n")
    by_symbol = seal_store.burden(results, cases, gene_set=lines)
    assert by_symbol["mean_case"].tolist() == pytest.approx([40] * 8)
    found = seal_store.burden(results, cases)
    assert found["mean_case"].tolist() == pytest.approx([40] * 8)
    for text, says in (("\n#\n", "names nothing"), (None, "gene set not found")):
        path = tmp_path / "wrong"
        if text is not None:
            path.write_text(text)
        else:
            path.unlink()
        with pytest.raises(InputError, match=says):
            seal_store.burden(results, cases, gene_set=path)


def test_a_variant_is_the_same_under_any_name(make: Make, table: Write) -> None:
    given = table(
        chrom=["1", "chr1", "1", "1"],
        pos=[1000, 1000, 1010, 1010],
        other_allele=["A", "C", "A", "A"],
        effect_allele=["C", "A", "C", "C"],
        group=groups(2, 2),
    )
    lines = [line.split("\t") for line in given.read_text().splitlines()]
    given.write_text("".join("\t".join([*row[:2], *row[4:]]) + "\n" for row in lines))
    found = seal_store.burden(make(np.ones((2, 3))), given)
    assert (found.attrs["cases"], found.attrs["controls"]) == (1, 1)
    again = found.attrs["odd_lines"]["skipped: the same variant, group and family again"]
    assert again["lines"] == 2


def test_lines_are_counted_and_both_groups_needed(make: Make, table: Write) -> None:
    results = make(np.ones((6, 3)))
    cases = table(
        group=["proband", "sibling", "Case", "control", "other", "case", "case", "case"],
        family=["f", "f", "g", "g", "g", "f", "f", ""],
        pos=[1_000, 1_000, 1_010, 1_020, 1_030, 1_000, 7, 1_000],
    )
    found = seal_store.burden(results, cases)
    facts = found.attrs
    assert (facts["cases"], facts["controls"], facts["families"]) == (3, 2, 2)
    assert facts["without_family"] == 1
    assert facts["in_both_groups"] == 1
    assert {k: v["lines"] for k, v in facts["odd_lines"].items()} == {
        "skipped: group is neither case nor control": 1,
        "skipped: the same variant, group and family again": 1,
    }
    assert facts["unmatched"]["no row at this position"]["lines"] == 1
    with pytest.raises(InputError, match="no variant of group control has a row: there is none"):
        seal_store.burden(results, table(group=["case"] * 3))
    with pytest.raises(InputError, match="no column group among"):
        seal_store.burden(results, table(sex=["m"]))
    for wrong in ({"permutations": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
            seal_store.burden(results, cases, **wrong)


def test_the_command(cli: Cli, make: Make, table: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    effect = rng.normal(size=(40, 3))
    effect[:20, 0] += 3
    results, out = make(effect), tmp_path / "o.tsv"
    cases = table(group=groups(20, 20))
    args = ["burden", results.path, "--groups", cases, "--out", out, "--permutations", 500, "-q"]
    done = cli(*args, "--json", "--seed", 4)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["permutations"], facts["seed"], facts["rows"]) == (500, 4, 8)
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    first = next(row for row in rows if row[1] == results.contexts()[0][0] and row[2] == "effect")
    assert float(first[6]) == pytest.approx(1 / 501, rel=1e-4)
    frame = seal_store.burden(results, cases, permutations=500, seed=4)
    again = cli(*args, "--overwrite")
    assert "20 case and 20 control variants" in again.stdout
    assert [float(row[6]) for row in rows[1:]] == pytest.approx(frame["p"].tolist(), rel=1e-5)
    wrong = cli(*args, "--overwrite", "--groups", tmp_path / "nowhere")
    assert wrong.exit_code == 1
    assert wrong.stderr.count("\n") == 1
    assert "check --groups" in wrong.stderr


def test_a_row_counts_once_however_it_is_written(make: Make, table: Write) -> None:
    results = make(np.ones((3, 3)), ref=["CA", "A", "A"], alt=["C", "C", "C"], gene_id=["g"] * 3)
    lines = {
        "pos": [1_000, 999, 1_010, 1_010, 1_020],
        "ref": ["CA", "GCA", "A", "A", "A"],
        "alt": ["C", "GC", "C", "C", "C"],
        "gene": ["", "", "", "g", ""],
        "group": ["case"] * 4 + ["control"],
    }
    facts = seal_store.burden(results, table(**lines)).attrs
    assert (facts["cases"], facts["controls"]) == (2, 1)
    (again,) = facts["odd_lines"].values()
    assert again["lines"] == 2


def test_alleles_without_an_order_are_not_turned(make: Make, tmp_path: Path) -> None:
    """A1 and A2 do not say which allele is carried; effect_allele does, and is counted."""
    results = make(np.arange(1.0, 13).reshape(4, 3))
    found = {}
    for first, second in (("A1", "A2"), ("effect_allele", "other_allele"), ("alt", "ref")):
        path = tmp_path / f"{first}.tsv"
        rows = [f"1\t{1_000 + 10 * i}\tA\tC\t{'case control'.split()[i % 2]}" for i in range(4)]
        if first == "alt":
            rows = [row.replace("A\tC", "C\tA") for row in rows]
        path.write_text(f"chrom\tpos\t{first}\t{second}\tgroup\n" + "\n".join(rows) + "\n")
        own = seal_store.burden(results, path)
        found[first] = own[own["measure"] == "effect"]["difference"].tolist(), own.attrs["turned"]
    assert found["A1"] == found["alt"]
    assert found["alt"][1] == 0
    assert found["effect_allele"] == ([-x for x in found["alt"][0]], 4)
