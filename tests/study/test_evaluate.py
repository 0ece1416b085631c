"""Evaluation on known variants: planted truths are found, chance is chance, oddities are told."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

import seal_store
from seal_store.errors import HeadsError, InputError, OutputError
from seal_store.results.group import Results
from seal_store.study.evaluate import EvaluateOptions, evaluate_variants, summary
from seal_store.study.metrics import auprc, auroc, drawn, measured, rank_correlation, sign_agreement
from seal_store.study.tables import read_table
from seal_store.study.truth import read_truth

Make = Callable[..., Results]
Write = Callable[..., Path]
Cli = Callable[..., Result]
FEW: dict[str, Any] = {"bootstrap": 60}


def cell(frame: pd.DataFrame, metric: str, score: str = "seal-store", **more: str) -> pd.Series:
    kept = (frame["metric"] == metric) & (frame["score"] == score)
    for name, value in {"stratum": "all", **more}.items():
        kept &= frame[name] == value
    (row,) = frame[kept].to_dict("records")
    return row


def labelled(rng: np.random.Generator, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    label = (np.arange(n) % 2).astype(int)
    effect = rng.normal(size=(n, 3)) * (1 + 2 * label[:, None])
    return label, effect


def test_measures_are_those_of_scikit_learn_and_scipy(
    make: Make, table: Write, rng: np.random.Generator
) -> None:
    label, effect = labelled(rng)
    slope = effect[:, 1] + rng.normal(size=len(label))
    results = make(effect, dist_to_tss=rng.integers(-20_000, 20_001, len(label)))
    truth = table(label=label, effect=slope, locus=np.arange(len(label)) // 5)
    name = f"{results.contexts()[1][1]}:{results.contexts()[0][1]}"
    found = seal_store.evaluate_variants(results, truth, contexts=name, **FEW)
    own = effect.astype(np.float32)[:, 1]
    assert cell(found, "auroc")["value"] == pytest.approx(roc_auc_score(label, np.abs(own)))
    expected = average_precision_score(label, np.abs(own))
    assert cell(found, "auprc")["value"] == pytest.approx(expected)
    assert cell(found, "spearman")["value"] == pytest.approx(spearmanr(slope, own).statistic)
    expected = spearmanr(np.abs(slope), np.abs(own)).statistic
    assert cell(found, "spearman_size")["value"] == pytest.approx(expected)
    expected = (np.sign(slope) == np.sign(own)).mean()
    agreement = cell(found, "sign_agreement")
    assert agreement["value"] == pytest.approx(expected)
    assert agreement["low"] <= expected <= agreement["high"]
    distance = np.abs(results.rows().columns["dist_to_tss"])
    by_distance = roc_auc_score(label, -distance)
    assert cell(found, "auroc", "distance to TSS")["value"] == pytest.approx(by_distance)
    over = cell(found, "auroc")["over_distance"]
    assert over == pytest.approx(roc_auc_score(label, np.abs(own)) - by_distance)
    share = max((slope > 0).mean(), (slope < 0).mean())
    assert cell(found, "sign_agreement", "distance to TSS")["value"] == pytest.approx(share)
    assert found.attrs["contexts"] == "beforehand: the mean over 1 context"
    assert set(found["chosen"]) == {"mean", ""}


def test_a_planted_truth_is_found_and_a_shuffled_one_is_chance(
    make: Make, table: Write, rng: np.random.Generator
) -> None:
    n = 200
    size = np.concatenate([np.full(n, 0.1), np.full(n, 1.0)])
    sign = rng.choice([-1, 1], 2 * n)
    effect = (size * sign)[:, None] * np.ones(3)
    label = (size == 1).astype(int)
    results = make(effect)
    truth = table(label=label, effect=sign, locus=np.arange(2 * n) % 40 // 2 * 10 + label)
    perfect = seal_store.evaluate_variants(results, truth, **FEW)
    assert cell(perfect, "auroc")["value"] == 1
    assert cell(perfect, "auroc")["low"] == 1
    assert cell(perfect, "sign_agreement")["value"] == 1
    wrong = np.where(np.arange(2 * n) % 4 == 0, -sign, sign)
    three = seal_store.evaluate_variants(results, table(effect=wrong), **FEW)
    assert cell(three, "sign_agreement")["value"] == pytest.approx(0.75)
    locus = [f"l{i}" for i in range(2 * n)]
    shuffled = table(label=rng.permutation(label), effect=rng.permutation(sign), locus=locus)
    chance = seal_store.evaluate_variants(results, shuffled, bootstrap=400)
    for metric in ("auroc", "sign_agreement"):
        own = cell(chance, metric)
        half = (own["high"] - own["low"]) / 2
        assert abs(own["value"] - 0.5) < 2.5 * half  # 1 in a million
        random = cell(chance, metric, "random")
        assert random["value"] == pytest.approx(0.5, abs=0.01)
        assert random["low"] < 0.5 < random["high"]


def test_neighbours_do_not_narrow_the_interval(rng: np.random.Generator) -> None:
    """Twenty copies of each variant, in one locus, say as much as one."""
    truth, score = rng.normal(size=(2, 40))
    score += truth
    one = measured(
        rank_correlation, truth, score, np.ones(40), np.arange(40), draws=300, seed=1
    ).interval
    many = [np.repeat(values, 20) for values in (truth, score, np.ones(40), np.arange(40))]
    by_locus = measured(rank_correlation, *many, draws=300, seed=1).interval
    alone = measured(rank_correlation, *many[:3], np.arange(800), draws=300, seed=1).interval
    assert by_locus == pytest.approx(one)
    assert alone[1] - alone[0] < (one[1] - one[0]) / 2


def test_one_locus_has_no_interval(make: Make, table: Write, rng: np.random.Generator) -> None:
    label, effect = labelled(rng, 40)
    found = seal_store.evaluate_variants(make(effect), table(label=label), **FEW)
    own = cell(found, "auroc")
    assert 0 <= own["value"] <= 1
    assert own["loci"] == 1
    assert np.isnan([own["low"], own["high"], own["over_distance_low"]]).all()


def test_distance_is_to_the_nearest_tss_whatever_the_model_chose(
    make: Make, table: Write, rng: np.random.Generator
) -> None:
    """Each variant near a gene and far from another, which has the larger effect at random."""
    n = 60
    label = np.arange(n) % 2
    near = np.where(label, 100, 5_000)
    results = make(
        rng.normal(size=(2 * n, 3)),
        pos=np.repeat(np.arange(n) * 10 + 1_000, 2),
        gene_id=np.tile(["G1", "G2"], n),
        dist_to_tss=np.stack([near, np.full(n, -15_000)], 1).ravel(),
    )
    found = seal_store.evaluate_variants(results, table(label=label), **FEW)
    assert cell(found, "auroc", "distance to TSS")["value"] == 1
    assert set(found["stratum"]) == {"all", "0-500 bp", "5000-20000 bp"}
    far = table(label=label, gene=["G2"] * n)
    found = seal_store.evaluate_variants(results, far, **FEW)
    assert cell(found, "auroc", "distance to TSS")["value"] == 0.5


def test_an_effect_is_of_its_effect_allele(make: Make, tmp_path: Path) -> None:
    """As GWAS-SSF has it, PLINK 2, and both with rsIDs in place of a name that tells."""
    results = make(np.ones((4, 3)))
    path = tmp_path / "gwas.tsv"
    one = ["1_1000_A_C", "1_1010_A_C", "1_1020_A_C", "1_1030_A_C"]
    effect, other = "CACG", "ACAA"
    lines = [f"{n}\t{e}\t{o}\t1" for n, e, o in zip(one, effect, other, strict=True)]
    path.write_text("variant_id\teffect_allele\tother_allele\tbeta\n" + "\n".join(lines) + "\n")
    truth = read_truth(path, results, np.arange(3))
    assert truth.sign.tolist() == [1, -1, 1]
    (odd,) = truth.table.odd
    assert "1 line skipped: effect allele is none of the alleles" in odd
    lines = [
        f"rs{i}\t1\t{1_000 + 10 * i}\t{e}\t{o}\t1"
        for i, (e, o) in enumerate(zip(effect[:3], other[:3], strict=True))
    ]
    head = "variant_id\tchromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\n"
    path.write_text(head + "\n".join(lines) + "\n")
    assert read_truth(path, results, np.arange(3)).sign.tolist() == [1, -1, 1]
    path.write_text("#CHROM\tPOS\tREF\tALT\tA1\tBETA\n1\t1000\tA\tC\tA\t1\n")
    with pytest.raises(InputError, match="do not say which of them the effect is of"):
        read_truth(path, results, np.arange(3))
    path.write_text("CHROM\tPOS\tREF\tALT\teffect_allele\tBETA\n1\t1000\tA\tC\tA\t1\n")
    assert read_truth(path, results, np.arange(3)).sign.tolist() == [-1]


def test_missing_values_are_no_names_and_floats_are_numbers(make: Make, tmp_path: Path) -> None:
    """As R and pandas write them."""
    results = make(np.ones((4, 3)))
    path = tmp_path / "t.csv"
    path.write_text(
        "chrom,pos,ref,alt,label,gene,locus,group\n"
        "1,1000,A,C,1.0,NA,NA,NA\n1,1010,A,C,0.0,.,.,nan\n1,1020,A,C,1.0,,l,g\n"
    )
    truth = read_truth(path, results, np.arange(3))
    assert truth.label.tolist() == [1, 0, 1]
    assert truth.locus.tolist() == ["1:0", "1:0", "locus l"]
    assert truth.group.tolist() == ["", "", "g"]
    assert not truth.table.odd.skipped
    path.write_text("chrom,pos,ref,alt,label,fold\n1,1000,A,C,1,a\n1,1010,A,C,0,NA\n")
    with pytest.raises(InputError, match=r"t.csv:3, 1:1010:A:C: has no fold"):
        read_truth(path, results, np.arange(3))


def test_genes_that_share_a_variant_are_one_locus(make: Make, tmp_path: Path) -> None:
    results = make(
        np.ones((5, 3)), pos=[1000, 1000, 1010, 1010, 1020], gene_id=["a", "b", "b", "c", "d"]
    )
    path = tmp_path / "t.tsv"
    lines = ["1:1000:A:C\ta", "chr1:1000:A:C\tb", "1:1010:A:C\tb", "1:1010:A:C\tc", "1:1020:A:C\td"]
    path.write_text("variant\tgene\teffect\n" + "".join(f"{x}\t1\n" for x in lines))
    truth = read_truth(path, results, np.arange(3))
    assert len(set(truth.locus[:4].tolist())) == 1
    assert truth.locus[4] == "gene d"
    assert len(set(truth.fold.tolist())) == 2


def test_tissues_are_groups_with_effects_of_their_own(make: Make, table: Write) -> None:
    truth = table(pos=[1000] * 4, effect=[1, -1, 1, 1], group=["liver", "brain", "liver", "skin"])
    found = read_truth(truth, make(np.ones((1, 3))), np.arange(3))
    assert found.effect.tolist() == [1, -1, 1]
    assert [e["lines"] for e in found.table.odd.to_dict().values()] == [1]


def test_what_cannot_be_told_is_said(make: Make, table: Write, rng: np.random.Generator) -> None:
    label, effect = labelled(rng, 40)
    results = make(effect)
    study = evaluate_variants(results, table(label=[1] * 40), EvaluateOptions(bootstrap=9))
    assert "auroc: none: one label only, or nothing differs" in summary(study)
    fold = ["a" if one else "b" for one in label]
    with pytest.raises(InputError, match="outside fold a nothing tells contexts apart: one label"):
        seal_store.evaluate_variants(results, table(label=label, fold=fold), choose="nested", **FEW)


def test_the_frequent_sign_is_by_weight(make: Make, table: Write) -> None:
    truth = table(effect=[1, 1, 1, -1, -1], weight=[1, 1, 1, 10, 10])
    found = seal_store.evaluate_variants(make(np.ones((5, 3))), truth, **FEW)
    value = cell(found, "sign_agreement", "distance to TSS")["value"]
    assert value == pytest.approx(20 / 23)


def test_draws_are_of_whole_loci() -> None:
    locus = np.array(["b", "a", "b", "c", "a", "b"], object)
    (times,) = drawn(locus, 50, 4)
    assert times.shape == (50, 6)
    for own in times:
        assert own[0] == own[2] == own[5]
        assert own[1] == own[4]
        assert own[0] + own[1] + own[3] == 3
    np.testing.assert_array_equal(next(drawn(locus, 50, 4)), times)
    assert len({tuple(own) for own in times}) > 5
    long = list(drawn(np.arange(600_000), 3, 0))  # in several blocks
    assert [len(block) for block in long] == [1, 1, 1]


def test_every_draw_is_as_scikit_learn_and_scipy_measure_it(rng: np.random.Generator) -> None:
    """With ties on both sides."""
    score = rng.integers(0, 12, 60) / 4
    label, slope = rng.integers(0, 2, 60).astype(float), rng.integers(-5, 6, 60).astype(float)
    times = next(drawn(rng.integers(0, 20, 60), 40, 3))
    areas, precisions = auroc(label, score, times), auprc(label, score, times)
    ranks, signs = (f(slope, score - 1, times) for f in (rank_correlation, sign_agreement))
    for i, own in enumerate(times):
        rows = np.repeat(np.arange(60), own)
        assert areas[i] == pytest.approx(roc_auc_score(label[rows], score[rows]))
        assert precisions[i] == pytest.approx(average_precision_score(label[rows], score[rows]))
        assert ranks[i] == pytest.approx(spearmanr(slope[rows], score[rows]).statistic)
        signed = rows[slope[rows] != 0]
        right = np.sign(slope[signed]) == np.sign(score[signed] - 1)
        half = score[signed] == 1
        assert signs[i] == pytest.approx(np.where(half, 0.5, right).mean())


def test_there_is_no_measure_without_both_labels_or_any_spread() -> None:
    one, two = np.ones((1, 5)), np.arange(5.0)
    for label in (np.zeros(5), np.ones(5)):
        assert np.isnan(auroc(label, two, one)).all()
        assert np.isnan(auprc(label, two, one)).all()
    assert np.isnan(rank_correlation(np.full(5, 0.1), two, one)).all()
    assert np.isnan(rank_correlation(two, np.full(5, 0.1), one)).all()
    assert np.isnan(sign_agreement(np.zeros(5), two, one)).all()
    assert np.isnan(auroc(np.array([0, 1.0]), np.array([1, 2.0]), np.zeros((1, 2)))).all()


def test_strata_are_by_distance_and_group(make: Make, table: Write) -> None:
    n = 60
    distance = np.resize([0, -499, 500, -1_999, 2_000, 20_000], n)
    rng = np.random.default_rng(0)
    results = make(rng.normal(size=(n, 3)), dist_to_tss=distance)
    truth = table(effect=rng.normal(size=n), group=np.resize(["x", "y", ""], n))
    found = seal_store.evaluate_variants(results, truth, **FEW)
    own = found[(found["metric"] == "spearman") & (found["score"] == "seal-store")]
    counts = dict(zip(own["stratum"], own["variants"], strict=True))
    assert counts == {
        **{"all": 60, "0-500 bp": 20, "500-2000 bp": 20, "2000-5000 bp": 10},
        **{"from 20000 bp": 10, "group x": 20, "group y": 20},
    }


def test_other_scores_stand_beside_ours_on_the_same_variants(
    make: Make, table: Write, rng: np.random.Generator
) -> None:
    label, effect = labelled(rng, 80)
    other = np.where(np.arange(80) < 20, np.nan, label * 2.0 - 0.5)
    words = ["word"] * 80
    truth = table(label=label, better=[f"{v:g}" for v in other], note=words)
    found = seal_store.evaluate_variants(make(effect), truth, **FEW)
    assert cell(found, "auroc", "better")["value"] == 1
    assert cell(found, "auroc", "better")["variants"] == 60
    ours = cell(found, "auroc", "seal-store, where better is known")
    size = np.abs(effect.astype(np.float32)).max(1)[20:]
    assert ours["value"] == pytest.approx(roc_auc_score(label[20:], size))
    assert found.attrs["columns_not_used"] == ["note"]
    assert np.isnan(cell(found, "auroc", "better")["over_distance"])  # on other variants


def test_the_best_context_is_chosen_on_other_folds(make: Make, table: Write) -> None:
    """Noise looks good where it was chosen, and is chance where it was not."""
    rng = np.random.default_rng(5)
    n = 400
    effect = rng.normal(size=(n, 3))
    effect[:, 2] *= 50
    fold = np.arange(n) % 2
    slope = np.where(fold == 0, effect[:, 0], effect[:, 1])  # each fold has its own
    results = make(effect)
    truth = table(effect=slope, fold=fold)
    found = seal_store.evaluate_variants(results, truth, choose="nested", **FEW)
    assert abs(cell(found, "spearman")["value"]) < 0.25
    names = [":".join(pair) for pair in zip(*reversed(results.contexts()), strict=True)]
    assert found.attrs["folds"] == {"0": names[1], "1": names[0]}
    assert found.attrs["loci_in_several_folds"] == 1
    assert "other folds" in found.attrs["contexts"]
    value = cell(found, "spearman")["value"]
    larger = make(effect * [1, 1_024, 1])  # the scale of a context is nothing to its fold
    again = seal_store.evaluate_variants(larger, truth, choose="nested", **FEW)
    assert cell(again, "spearman")["value"] == pytest.approx(value)
    same = table(effect=effect[:, 2])
    with pytest.raises(InputError, match="one fold only"):
        seal_store.evaluate_variants(results, same, choose="nested", **FEW)
    several = table(effect=effect[:, 2], locus=[f"l{i // 4}" for i in range(n)])
    found = seal_store.evaluate_variants(results, several, choose="nested", **FEW)
    assert set(found.attrs["folds"].values()) == {names[2]}
    assert cell(found, "spearman")["value"] > 0.99
    assert found.attrs["loci_in_several_folds"] == 0


def test_contexts_each_or_together(make: Make, table: Write, rng: np.random.Generator) -> None:
    effect = rng.normal(size=(50, 3)).astype(np.float32)
    results, truth = make(effect), table(effect=rng.normal(size=50))
    slope = pd.read_csv(truth, sep="\t")["effect"]
    each = seal_store.evaluate_variants(results, truth, choose="each", **FEW)
    for i, context in enumerate(results.contexts()[0]):
        value = cell(each, "spearman", context=context)["value"]
        assert value == pytest.approx(spearmanr(slope, effect[:, i]).statistic)
    assert "no result" in each.attrs["contexts"]
    mean = seal_store.evaluate_variants(results, truth, choose="mean", **FEW)
    expected = spearmanr(slope, effect.mean(1)).statistic
    assert cell(mean, "spearman")["value"] == pytest.approx(expected, abs=1e-3)
    largest = seal_store.evaluate_variants(results, truth, **FEW)
    own = effect[np.arange(50), np.abs(effect).argmax(1)]
    assert cell(largest, "spearman")["value"] == pytest.approx(spearmanr(slope, own).statistic)


def test_of_many_contexts_the_spread_is_told(
    make: Make, table: Write, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    effect = rng.normal(size=(50, 3)).astype(np.float32)
    results, truth = make(effect), table(effect=effect[:, 1])
    options = EvaluateOptions(choose="each", bootstrap=9)
    lines = summary(evaluate_variants(results, truth, options))
    assert sum(line.startswith("spearman: seal-store (") for line in lines) == 3
    same = make(np.hstack([np.ones((50, 1)), effect[:, 1:]]))  # one of them has no measure
    told = summary(evaluate_variants(same, truth, options))
    assert not any(line.startswith("spearman: none") for line in told)
    monkeypatch.setattr("seal_store.study.evaluate.SHOWN", 1)
    lines = summary(evaluate_variants(results, truth, options))
    low, middle = sorted(spearmanr(effect[:, 1], effect[:, i]).statistic for i in (0, 2))
    (line,) = (line for line in lines if line.startswith("spearman: seal-store"))
    assert line == (
        f"spearman: seal-store, 3 contexts: median {middle:.3f}, from {low:.3f} to 1.000; "
        "--out has each"
    )


def test_a_gene_or_the_row_of_largest_effect(make: Make, table: Write) -> None:
    """Rows 0 to 9 are of one gene and 10 to 19, of the same variants, of another."""
    effect = np.vstack([np.full((10, 3), 0.1), np.full((10, 3), -0.2)])
    place = np.resize(np.arange(10) * 10 + 1_000, 20)
    genes = np.repeat(["ENSG1.5", "ENSG2.1"], 10)
    results = make(effect, pos=place, gene_id=genes, gene_symbol=np.repeat(["ONE", "TWO"], 10))
    for gene, sign in (("ENSG1", 1), ("ENSG1.5", 1), ("ENSG1.9", 1), ("ONE", 1), ("TWO", -1)):
        truth = table(effect=[1] * 10, gene=[gene] * 10)
        found = seal_store.evaluate_variants(results, truth, **FEW)
        assert cell(found, "sign_agreement")["value"] == (1 if sign > 0 else 0), gene
    found = seal_store.evaluate_variants(results, table(effect=[1] * 10), **FEW)
    assert cell(found, "sign_agreement")["value"] == 0
    with pytest.raises(InputError, match="no row of this gene"):
        seal_store.evaluate_variants(results, table(effect=[1], gene=["THREE"]), **FEW)


def test_what_has_no_row_and_odd_lines_are_counted_with_their_first(
    make: Make, tmp_path: Path
) -> None:
    path = tmp_path / "truth.csv.gz"
    lines = [
        "#CHROM,Position,REF,ALT,Label,weight",
        *(f"chr1,{1_000 + 10 * i},a,c,{i % 2}," for i in range(6)),
        "chr2,1000,A,C,1,",
        "1,1001,A,C,1,",
        "1,1000,A,G,1,",
        "1,1000,A,C,0,",  # again, under another name of the contig
        "1,here,A,C,1,",
        "1,1000,A,<DEL>,1,",
        "1,1000,A,C,maybe,",
        "1,1010,A,C,,",
        "1,1020,A,C,1,-3",
        "1,1020,A,C",
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    found = seal_store.evaluate_variants(make(np.ones((6, 3))), path, **FEW)
    assert found.attrs["matched"] == 6
    unmatched = {reason: entry["lines"] for reason, entry in found.attrs["unmatched"].items()}
    assert unmatched == {
        "no row on this contig": 1,
        "no row at this position": 1,
        "other alleles at this position": 1,
    }
    assert found.attrs["unmatched"]["no row on this contig"]["first"].startswith(f"{path}:8")
    odd = {reason: entry["lines"] for reason, entry in found.attrs["odd_lines"].items()}
    assert odd == {
        f"skipped: {reason}": 1
        for reason in (
            "the same variant and gene again",
            "no position",
            "alleles are not bases",
            "label is neither 1 nor 0",
            "neither effect nor label",
            "weight is negative",
            "another number of fields than the header",
        )
    }
    assert found.attrs["lines"] == 16


def test_alleles_are_matched_however_many_shared_bases_are_written(
    make: Make, tmp_path: Path
) -> None:
    results = make(
        np.arange(18).reshape(6, 3) + 1,
        pos=[1_000, 1_010, 1_020, 1_030, 1_040, 1_050],
        ref=["CA", "A", "AC", "ACGT", "A", "GA"],
        alt=["C", "ATT", "AT", "A", "C", "G"],
    )
    lines = [
        ("chr1:999:GCA:GC", 1),  # a deletion with a base more before it
        ("chr1:1010:AC:ATTC", 2),  # an insertion with one behind it
        ("chr1:1021:C:T", 3),  # an SNV that the results have within two bases
        ("chr1:1030:ACGTT:AT", 4),
        ("chr1:1038:TTAG:TTCG", 5),
        ("chr1:1052:AA:A", 0),  # the same one in a run of A, which only the genome tells
    ]
    path = tmp_path / "truth.tsv"
    path.write_text("variant\teffect\n" + "".join(f"{v}\t{e}\n" for v, e in lines))
    truth = read_truth(path, results, np.arange(3))
    assert truth.rows.tolist() == [0, 1, 2, 3, 4]
    assert truth.effect.tolist() == [1, 2, 3, 4, 5]
    assert {reason: e["lines"] for reason, e in truth.table.unmatched.to_dict().items()} == {
        "no row of this insertion or deletion, as it is aligned (`store` left-aligns)": 1
    }
    path.write_text(
        "chrom\tpos\tother_allele\teffect_allele\teffect\n1\t999\tGC\tGCA\t1\n"
    )  # turned
    truth = read_truth(path, results, np.arange(3))
    assert (truth.rows.tolist(), truth.sign.tolist()) == ([0], [-1])


def test_lines_that_contradict_each_other_are_refused(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("variant\tlabel\nchr1:1000:A:C\t1\n1-1000-A-C\t0\n")
    with pytest.raises(InputError, match=r"t.tsv:3, 1:1000:A:C: says otherwise than .*t.tsv:2"):
        seal_store.evaluate_variants(make(np.ones((2, 3))), path, **FEW)


def test_effects_of_swapped_alleles_are_turned(make: Make, table: Write) -> None:
    results = make(np.ones((6, 3)))
    turned = table(ref=["C"] * 6, alt=["A"] * 6, effect=[-1] * 6)
    lines = turned.read_text().replace("ref\talt", "other_allele\teffect_allele")
    turned.write_text(lines)
    found = seal_store.evaluate_variants(results, turned, **FEW)
    assert cell(found, "sign_agreement")["value"] == 1
    assert found.attrs["turned"] == 6


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("chrom\tpos\tref\talt", "no column effect or label among 'chrom', 'pos', 'ref', 'alt'"),
        ("chrom\tref\talt\tlabel", "no column pos among"),
        ("chrom\tpos\tref\tlabel", "no column ref and alt among"),
        ("variant\tlabel\tlabel", "column 'label' is there twice"),
        ("chr\tchrom\tpos\tref\talt\tlabel", "columns 'chr', 'chrom' all mean contig"),
        ("variant\tlabel", "no variant in it"),
        ("", "empty"),
    ],
)
def test_columns_that_are_missing_are_refused_in_one_line(
    cli: Cli, scored: Results, tmp_path: Path, header: str, says: str
) -> None:
    path = tmp_path / "t.tsv"
    path.write_text(header + "\n")
    done = cli("evaluate", "variants", scored.path, "--truth", path)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert f"--truth {path}" in done.stderr


def test_builds_that_variants_name_must_be_that_of_the_results(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("variant\nchr1_1000_A_C_b38\nchr1_1010_A_C_b37\nchr1:1020 A>C\n")
    found = read_table(path, "truth", {}, "hg19")
    told = [(line.contig, line.pos, line.ref, line.alt) for line in found.lines]
    assert told == [("chr1", 1010, "A", "C"), ("chr1", 1020, "A", "C")]
    assert found.odd.counts == {"skipped: of another assembly": 1}


def test_from_data_frames(make: Make, table: Write) -> None:
    polars = pytest.importorskip("polars")
    effect = np.random.default_rng(1).normal(size=(30, 3))
    results, truth = make(effect), table(effect=np.arange(30) - 14.5)
    expected = seal_store.evaluate_variants(results, truth, **FEW)
    for frame in (pd.read_csv(truth, sep="\t"), polars.read_csv(truth, separator="\t")):
        found = seal_store.evaluate_variants(results, frame, **FEW)
        pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(InputError, match="`truth`: a list"):
        seal_store.evaluate_variants(results, [1, 2], **FEW)


def test_the_command_writes_tables_and_a_page(
    cli: Cli, make: Make, table: Write, tmp_path: Path
) -> None:
    label, effect = labelled(np.random.default_rng(2), 40)
    evil = "=cmd()<script>alert(1)</script>\x1b[31m"
    results = make(effect)
    truth = table(label=label, group=[evil] * 40)
    args = ["evaluate", "variants", results.path, "--truth", truth, "--bootstrap", 20, "-q"]
    plain = cli(*args)
    assert plain.exit_code == 0, plain.output
    assert "auroc: seal-store 0." in plain.stdout
    assert "SYNTHETIC weights" in plain.stdout
    assert "contexts: beforehand: of each variant the largest" in plain.stdout
    for ending in ("tsv", "tsv.gz", "parquet", "feather", "html"):
        out = tmp_path / f"o.{ending}"
        done = cli(*args, "--out", out, "--json")
        assert done.exit_code == 0, done.output
        facts = json.loads(done.stdout)
        assert facts["out"] == str(out)
        assert facts["matched"] == 40
        again = cli(*args, "--out", out)
        assert again.exit_code == 1
        assert "exists already" in again.stderr
        assert cli(*args, "--out", out, "--overwrite").exit_code == 0
    text = (tmp_path / "o.tsv").read_text()
    assert gzip.decompress((tmp_path / "o.tsv.gz").read_bytes()).decode() == text
    assert "\tgroup =cmd()<script>alert(1)</script>\\x1b[31m\t" in text
    frame = pd.read_parquet(tmp_path / "o.parquet")
    assert len(frame) == facts["rows"] == len(text.splitlines()) - 1
    page = (tmp_path / "o.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    wrong = cli(*args, "--out", tmp_path / "o.doc")
    assert wrong.exit_code == 1
    assert "o.doc: not a table" in wrong.stderr
    truth.rename(tmp_path / "own.tsv")
    args[4] = tmp_path / "own.tsv"
    over = cli(*args, "--out", tmp_path / "own.tsv", "--overwrite")
    assert "is not a file that seal-store made" in over.stderr


def test_options_that_mean_nothing_are_refused(make: Make, table: Write) -> None:
    results, truth = make(np.ones((4, 3))), table(effect=[1, 2, 3, 4])
    for wrong in ({"choose": "best"}, {"bootstrap": 0}, {"seed": -1}):
        with pytest.raises(InputError, match=f"`{next(iter(wrong))}`"):
            seal_store.evaluate_variants(results, truth, **wrong)  # type: ignore[arg-type]
    with pytest.raises(HeadsError, match="nowhere"):
        seal_store.evaluate_variants(results, truth, contexts="nowhere")
    with pytest.raises(OutputError, match="not a table"):
        seal_store.evaluate_variants(results, truth, out="x.doc")
    assert EvaluateOptions(["a"]).how == "mean"


def test_the_sign_baseline_is_of_the_stratum(make: Make, table: Write) -> None:
    """All up in one group, all down in another: a constant is no better than the baseline."""
    group, effect = ["up"] * 30 + ["down"] * 10 + ["none"] * 5, [1] * 30 + [-1] * 10 + [0] * 5
    truth = table(effect=effect, group=group, locus=list(range(45)))
    found = seal_store.evaluate_variants(make(np.full((45, 3), -0.1)), truth, **FEW)
    down = cell(found, "sign_agreement", stratum="group down")
    assert (down["value"], down["over_distance"], down["over_distance_high"]) == (1, 0, 0)
    assert cell(found, "sign_agreement", "distance to TSS", stratum="group up")["value"] == 1
    assert cell(found, "sign_agreement")["variants"] == 40  # of 0 there is no sign


def test_folds_without_what_the_others_have_are_said(make: Make, table: Write) -> None:
    label = ["1", "0"] * 5 + [""] * 10
    truth = table(label=label, effect=[""] * 10 + ["1"] * 10, fold=["a"] * 10 + ["b"] * 10)
    with pytest.raises(InputError, match="outside fold a nothing tells contexts apart"):
        seal_store.evaluate_variants(make(np.ones((20, 3))), truth, choose="nested", **FEW)
