"""Effects of both schemes against the reference; batches, order, reasons, edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference
import torch

from seal_store.errors import HeadsError, InputError, VariantError
from seal_store.model.delta import Delta
from seal_store.model.edits import Edit
from seal_store.model.heads import load_heads
from seal_store.reference.fasta import Genome
from seal_store.results.group import Results
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import VARIANTS_PER_CHUNK, get
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele, classify
from seal_store.variants.source import read_variants


@pytest.fixture(scope="session")
def genome(world: World) -> dict[str, str]:
    with Genome(world.genome) as fasta:
        return {n: fasta.fetch(n, 0, length).decode() for n, length in fasta.lengths.items()}


@pytest.fixture(scope="session")
def oracle(store: Store, world: World, genome: dict[str, str]) -> Callable[..., np.ndarray]:
    """Effects by the slow reference."""
    state = store.cnn().state()
    heads = [
        {"layers.0.weight": s.w1, "layers.0.bias": s.b1, "layers.2.weight": s.w2}
        | {"layers.2.bias": s.b2}
        for s in load_heads(world.heads)
    ]
    tensors = [{k: torch.from_numpy(v) for k, v in head.items()} for head in heads]
    table = store.table

    @cache
    def profile(row: int, first_offset: int) -> np.ndarray:
        contig, tss, strand = str(table.contig[row]), int(table.tss[row]), int(table.strand[row])
        return reference.gene_features(state, genome, contig, tss, strand, first_offset)

    def effect(scheme: str, allele: Allele, row: int, first_offset: int = -19_900) -> np.ndarray:
        gene = (
            str(table.contig[row]),
            int(table.tss[row]),
            int(table.strand[row]),
            str(table.gene_id[row]),
        )
        arguments = (state, tensors, genome, gene, allele.pos, allele.ref, allele.alt)
        features = profile(row, first_offset)
        if scheme == "centered":
            return reference.centered_effect(*arguments, reference_features=features)
        return reference.grid_effect(
            *arguments, first_offset=first_offset, reference_features=features
        )

    return effect


def allele(contig: str, pos: int, ref: str, alt: str, line: int = 1) -> Allele:
    return Allele(line, contig, pos, "", ref, alt, classify(ref, alt))


def random_alleles(
    genome: dict[str, str], store: Store, rng: np.random.Generator, count: int
) -> list[Allele]:
    """SNVs, MNVs, insertions, deletions and both at once, near genes, edges included."""
    alleles = []
    offsets = [0, 1, -1, 20_000, -20_000, 19_995, -19_999]
    while len(alleles) < count:
        row = int(rng.integers(len(store)))
        gene = store.table.row(str(store.gene_id[row]))
        contig, tss = str(store.table.contig[gene]), int(store.table.tss[gene])
        offset = int(rng.choice(offsets)) if rng.random() < 0.2 else int(rng.integers(-2e4, 2e4))
        pos = tss + offset
        sizes = [(1, 1), (2, 2), (5, 5), (1, 4), (1, 60), (4, 1), (60, 1), (7, 3), (3, 12)]
        length, gained = sizes[int(rng.integers(len(sizes)))]
        if pos < 1 or pos + length > len(genome[contig]):
            continue
        ref = genome[contig][pos - 1 : pos - 1 + length]
        alt = "".join(rng.choice(list("ACGT"), gained))
        if length != gained and rng.random() < 0.7:
            alt = ref[0] + alt[1:]
        if "N" not in ref and ref != alt:
            alleles.append(allele(contig, pos, ref, alt, len(alleles) + 1))
    return alleles


def score(store: Store, alleles: list[Allele], **options: object) -> tuple[Rows, Scorer]:
    scorer = Scorer(store, ScoreOptions(device="cpu", **options))  # type: ignore[arg-type]
    parts = list(scorer.score(alleles))
    columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
    return Rows(columns, np.concatenate([p.effect for p in parts])), scorer


def assert_effects(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= 1e-6 + 1e-3 * scale


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_effects_equal_the_slow_reference(
    scheme: str,
    store: Store,
    genome: dict[str, str],
    oracle: Callable[..., np.ndarray],
    rng: np.random.Generator,
) -> None:
    alleles = random_alleles(genome, store, rng, 40)
    rows, scorer = score(store, alleles, scheme=scheme)
    assert scorer.counts.rows + sum(scorer.counts.not_scored.values()) == len(alleles)
    assert len(rows) > 30
    by_key = {(a.contig, a.pos, a.ref, a.alt): a for a in alleles}
    c = rows.columns
    for i in range(len(rows)):
        own = by_key[(c["contig"][i], c["pos"][i], c["ref"][i], c["alt"][i])]
        expected = oracle(scheme, own, store.table.row(str(c["gene_id"][i])))
        assert_effects(rows.effect[i], expected)


@pytest.mark.slow
def test_grid_on_another_first_offset(
    make_store: Callable[..., Store],
    store: Store,
    genome: dict[str, str],
    oracle: Callable[..., np.ndarray],
    rng: np.random.Generator,
) -> None:
    other = make_store(first_offset=-20_000)
    alleles = random_alleles(genome, store, rng, 6)
    rows, _ = score(other, alleles)
    by_key = {(a.contig, a.pos, a.ref, a.alt): a for a in alleles}
    c = rows.columns
    for i in range(len(rows)):
        own = by_key[(c["contig"][i], c["pos"][i], c["ref"][i], c["alt"][i])]
        row = store.table.row(str(c["gene_id"][i]))
        assert_effects(rows.effect[i], oracle("grid", own, row, -20_000))


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_batch_size_and_order_change_nothing(
    scheme: str, store: Store, genome: dict[str, str], rng: np.random.Generator
) -> None:
    alleles = random_alleles(genome, store, rng, 70)
    first, _ = score(store, alleles, scheme=scheme, batch=64)
    for batch in (1, 7):
        rows, _ = score(store, alleles, scheme=scheme, batch=batch)
        np.testing.assert_allclose(rows.effect, first.effect, rtol=0, atol=1e-6)
    order = rng.permutation(len(alleles))
    shuffled, _ = score(store, [alleles[i] for i in order], scheme=scheme)

    def table(rows: Rows) -> list[tuple[object, ...]]:
        names = ("contig", "pos", "ref", "alt", "gene_id", "dist_to_tss", "ref_match", "status")
        return list(zip(*(rows.columns[n].tolist() for n in names), strict=True))

    place = {key: i for i, key in enumerate(table(first))}
    assert sorted(table(shuffled)) == sorted(table(first))
    back = [place[key] for key in table(shuffled)]
    np.testing.assert_allclose(shuffled.effect, first.effect[back], rtol=0, atol=1e-6)


def test_rounded_features_change_no_grid_effect(
    make_store: Callable[..., Store], store: Store, world: World
) -> None:
    alleles = list(read_variants(world.variants))
    exact, _ = score(store, alleles)
    rounded, _ = score(make_store(keep_bits=6), alleles)
    np.testing.assert_allclose(rounded.effect, exact.effect, rtol=0, atol=1e-7)


def test_every_allele_is_a_row_or_has_a_reason(store: Store, genome: dict[str, str]) -> None:
    gene = store.table.row(str(store.gene_id[0]))
    contig, tss = str(store.table.contig[gene]), int(store.table.tss[gene])
    base = genome[contig][tss - 1]
    other = "A" if base != "A" else "C"
    far = "ACGT"[("ACGT".index(genome["chr2"][11_000]) + 1) % 4]
    long = genome[contig][tss + 19_499 : tss + 22_000]
    cases = {
        "no_change": allele(contig, tss, base, base),
        "symbolic": allele(contig, tss, base, "<DUP>"),
        "star": allele(contig, tss, base, "*"),
        "missing": allele(contig, tss, base, "."),
        "iupac": allele(contig, tss, base, "R"),
        "malformed": allele(contig, tss, base, "?"),
        "unknown_contig": allele("chrUn", tss, base, other),
        "beyond_contig": allele(contig, len(genome[contig]) + 2, base, other),
        "telomere": allele(contig, len(genome[contig]) + 1, base, other),
        "no_gene_in_range": allele("chr2", 11_001, genome["chr2"][11_000], far),
        "gene_not_computed": allele("chr4", 50_010, base, other),
        "too_long": allele(contig, tss + 19_500, long, long[0]),
    }
    rows, scorer = score(store, [*cases.values(), allele(contig, tss, base, other)])
    assert len(rows) == 1
    assert dict(scorer.counts.not_scored) == dict.fromkeys(cases, 1)
    assert scorer.counts.alleles == len(cases) + 1
    assert scorer.counts.alleles_scored == 1


def test_a_gene_that_was_not_computed_never_hands_its_variant_on(
    make_store: Callable[..., Store], store: Store, genome: dict[str, str]
) -> None:
    keep = str(store.gene_id[0])
    other = make_store(gene=(keep,))
    left_out = store.table.row(str(store.gene_id[1]))
    contig, tss = str(store.table.contig[left_out]), int(store.table.tss[left_out])
    base = genome[contig][tss - 1]
    kept = store.table.row(keep)
    near = allele(
        str(store.table.contig[kept]),
        int(store.table.tss[kept]),
        genome[str(store.table.contig[kept])][int(store.table.tss[kept]) - 1],
        "A"
        if genome[str(store.table.contig[kept])][int(store.table.tss[kept]) - 1] != "A"
        else "C",
    )
    rows, scorer = score(other, [allele(contig, tss, base, "A" if base != "A" else "C"), near])
    assert rows.columns["gene_id"].tolist() == [keep]
    assert scorer.counts.not_scored["gene_not_computed"] == 1


def test_all_genes_within_the_distance(store: Store, genome: dict[str, str]) -> None:
    table = store.table
    pairs = [
        (i, j)
        for i in range(len(table))
        for j in range(i + 1, len(table))
        if table.contig[i] == table.contig[j] and abs(table.tss[i] - table.tss[j]) < 40_000
    ]
    assert pairs
    i, j = pairs[0]
    contig, pos = str(table.contig[i]), int((table.tss[i] + table.tss[j]) // 2)
    base = genome[contig][pos - 1]
    snv = allele(contig, pos, base, "A" if base != "A" else "C")
    both, scorer = score(store, [snv], genes="all")
    assert set(both.columns["gene_id"]) >= {str(table.gene_id[i]), str(table.gene_id[j])}
    assert scorer.counts.alleles_scored == 1
    one, _ = score(store, [snv])
    row = both.columns["gene_id"].tolist().index(one.columns["gene_id"][0])
    np.testing.assert_allclose(both.effect[row], one.effect[0], rtol=0, atol=1e-7)


def test_reference_mismatch_policies(
    store: Store, genome: dict[str, str], oracle: Callable[..., np.ndarray]
) -> None:
    row = store.table.row(str(store.gene_id[2]))
    contig, pos = str(store.table.contig[row]), int(store.table.tss[row]) + 333
    genuine = genome[contig][pos - 1]
    wrong, alt = [b for b in "ACGT" if b != genuine][:2]
    bad = allele(contig, pos, wrong, alt, line=7)
    for scheme in ("grid", "centered"):
        rows, scorer = score(store, [bad], scheme=scheme)
        assert rows.columns["ref_match"].tolist() == [False]
        assert scorer.counts.ref_mismatches == 1
        assert_effects(rows.effect[0], oracle(scheme, bad, row))
    scorer = Scorer(store, ScoreOptions(ref_mismatch="skip", device="cpu"))
    assert sum(map(len, scorer.score([bad]))) == 0
    assert dict(scorer.counts.not_scored) == {"ref_mismatch": 1}
    with pytest.raises(VariantError, match=r"my\.vcf: line 7, .*REF differs"):
        list(Scorer(store, ScoreOptions(ref_mismatch="error", device="cpu")).score([bad], "my.vcf"))


def test_duplicates_are_computed_once(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alleles = list(read_variants(world.variants))
    evaluated: list[int] = []
    whole = Delta.hidden_change

    def counting(self: Delta, frames: list[bytes], edits: list[Edit]) -> torch.Tensor:
        evaluated.append(len(edits))
        return whole(self, frames, edits)

    monkeypatch.setattr(Delta, "hidden_change", counting)
    once, _ = score(store, alleles)
    computed = sum(evaluated)
    twice, scorer = score(store, alleles + alleles)
    assert sum(evaluated) == 2 * computed
    assert scorer.counts.rows == 2 * len(once)
    np.testing.assert_allclose(twice.effect[len(once) :], once.effect, rtol=0, atol=1e-7)


def test_input_is_streamed(store: Store, world: World) -> None:
    alleles = list(read_variants(world.variants))
    taken = 0

    def endless() -> Iterator[Allele]:
        nonlocal taken
        while True:
            for one in alleles:
                taken += 1
                yield one

    rows = next(Scorer(store, ScoreOptions(device="cpu")).score(endless()))
    assert len(rows)
    assert taken < 4_000


def test_selected_contexts_are_the_same_numbers(store: Store, world: World) -> None:
    alleles = list(read_variants(world.variants))[:5]
    everything, scorer = score(store, alleles)
    wanted = ("childhood.DFC", "cell_state_early_fetal:Late.Vascular.256")
    some, few = score(store, alleles, contexts=wanted)
    assert sorted(few.context_name) == ["Late.Vascular.256", "childhood.DFC"]
    places = [scorer.context_name.index(name) for name in few.context_name]
    np.testing.assert_allclose(some.effect, everything.effect[:, places], rtol=0, atol=1e-7)
    one, single = score(store, alleles, heads=("cell_state_mid_fetal_to_adult",))
    assert one.effect.shape[1] == 82
    assert set(single.context_set) == {"cell_state_mid_fetal_to_adult"}


def test_wrong_options_are_refused(store: Store) -> None:
    for wrong in ({"scheme": "seal"}, {"genes": "some"}, {"max_distance": 20_001}, {"batch": 0}):
        with pytest.raises(InputError):
            ScoreOptions(**wrong)  # type: ignore[arg-type]
    with pytest.raises(HeadsError, match="no context 'nowhere'"):
        Scorer(store, ScoreOptions(contexts=("nowhere",)))
    with pytest.raises(HeadsError, match="no head set 'x'"):
        Scorer(store, replace(ScoreOptions(), heads=("x",)))


def test_a_variant_that_touches_no_window_has_no_effect(
    make_store: Callable[..., Store], genome: dict[str, str]
) -> None:
    store = make_store(first_offset=-18_400)
    row = store.table.row(str(store.gene_id[3]))
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    pos = tss - int(store.table.strand[row]) * 19_990
    base = genome[contig][pos - 1]
    rows, scorer = score(store, [allele(contig, pos, base, "A" if base != "A" else "C")])
    if str(rows.columns["gene_id"][0]) == str(store.gene_id[3]):
        assert rows.columns["status"].tolist() == ["outside_grid"]
        assert not rows.effect.any()
    assert scorer.counts.alleles_scored == 1


def test_results_are_written_in_large_chunks(store: Store, world: World, tmp_path: Path) -> None:
    out = tmp_path / "r.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    write_scores(scorer, read_variants(world.variants), out)
    results = Results(out)
    assert get(results.group, "effect").chunks == (VARIANTS_PER_CHUNK, 802)
    assert get(results.group, "pos").chunks == (VARIANTS_PER_CHUNK,)
    assert results.attributes.counts.rows == len(results)


@pytest.mark.slow
def test_stored_and_recomputed_hidden_agree(
    make_store: Callable[..., Store],
    store: Store,
    genome: dict[str, str],
    rng: np.random.Generator,
) -> None:
    """float16 hidden moves effects by less than 0.5 % of a variant's largest effect."""
    alleles = random_alleles(genome, store, rng, 300)
    stored, _ = score(store, alleles)
    exact, _ = score(make_store(hidden=False), alleles)
    largest = np.abs(exact.effect).max(1, keepdims=True)
    assert (np.abs(stored.effect - exact.effect) <= 5e-3 * largest + 1e-7).all()


def test_saturation_scores_every_snv_against_its_gene(
    store: Store, oracle: Callable[..., np.ndarray]
) -> None:
    gene = "GENE04"
    alleles = list(saturation(store, gene, 20))
    assert len(alleles) == 3 * 41
    scorer = Scorer(store, ScoreOptions(device="cpu"), gene=gene)
    rows = list(scorer.score(alleles))
    assert sum(map(len, rows)) == len(alleles)
    assert set(rows[0].columns["gene_id"]) == {gene}
    assert rows[0].columns["ref_match"].all()
    assert scorer.engine.evaluator.delta.shared > 0
    for i in (0, 61, 122):
        expected = oracle("grid", alleles[i], store.table.row(gene))
        assert_effects(rows[0].effect[i], expected)


@pytest.mark.slow
def test_alone_and_crowded_mnvs_in_one_batch(
    store: Store, genome: dict[str, str], rng: np.random.Generator
) -> None:
    """One strand's changes cross a 16 bp block and the other's do not: shapes are mixed."""
    row = store.table.row("GENE02")
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    swap = str.maketrans("ACGT", "CGTA")
    for lone in (-9_000, 9_000):
        for phase in range(16):
            alleles = []
            for offset in (lone, 1_000, 1_048, 1_096, 1_144):
                pos = tss + offset + phase
                ref = genome[contig][pos - 1 : pos + 1]
                alleles.append(allele(contig, pos, ref, ref.translate(swap)))
            together, _ = score(store, alleles, contexts=("childhood.DFC",))
            apart, _ = score(store, alleles, batch=1, contexts=("childhood.DFC",))
            np.testing.assert_allclose(together.effect, apart.effect, rtol=0, atol=1e-6)
