"""The demo's planted world: what it is made of, and the whole tool against what is known of it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seldom import slow

from seal_store.building import plan
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.exporting.render import export
from seal_store.invented import check
from seal_store.invented.motifs import (
    FACTORS,
    LENGTH,
    NOTE,
    mismatches,
    reverse_complement,
    strength,
)
from seal_store.invented.network import ACTS, CONFIG, RATE, cnn_state
from seal_store.invented.world import Planted, Truth, write_planted_world
from seal_store.model import sweep
from seal_store.model.beluga import Beluga
from seal_store.model.contexts import matching
from seal_store.model.grid import Grid
from seal_store.model.heads import Heads
from seal_store.reference.fasta import Genome, one_hot
from seal_store.report import write_report
from seal_store.results.group import Results
from seal_store.run.calibrate import calibrate
from seal_store.run.scores import write_scores
from seal_store.scoring import evaluate, haplotype
from seal_store.scoring.options import SCHEMES, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import random_bases
from seal_store.variants.source import read_variants

SEEN = 140, 1_836
"""Starts of sites, from that of a window, that the network sees in either reading direction."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted_world(tmp_path_factory.mktemp("planted"))


def built(planted: Planted, out: Path) -> Store:
    inputs = planted.genome, planted.genes, planted.cnn, (planted.heads,), out
    return build(BuildOptions(*inputs, features=planted.features), "cpu")


@pytest.fixture(scope="module")
def truthful(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the planted world."""
    return Path(built(planted, tmp_path_factory.mktemp("truthful") / "store.zarr").path)


def scored(planted: Planted, store: Store, folder: Path) -> list[Results]:
    """Results in both schemes, with attributions."""
    paths = []
    for scheme in SCHEMES:
        options = ScoreOptions(scheme, device="cpu")
        scorer = Scorer(store, options, attribution=check.one_context_each(store))
        paths.append(folder / f"{scheme}.zarr")
        write_scores(scorer, read_variants(planted.variants), paths[-1])
    return [Results(path) for path in paths]


@pytest.fixture(scope="module")
def results(
    planted: Planted, truthful: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Results]:
    return scored(planted, Store(truthful), tmp_path_factory.mktemp("scored"))


def wrong(found: Sequence[check.Finding]) -> list[str]:
    return [finding.text for finding in found if not finding.right]


# --- What it is made of


def naive(bases: bytes, motif: bytes) -> np.ndarray:
    """Mismatches of each 12-mer with ``motif`` as it stands."""
    letters, wanted = (np.frombuffer(part, np.uint8) for part in (bases, motif))
    return (np.lib.stride_tricks.sliding_window_view(letters, LENGTH) != wanted).sum(-1)


def test_no_motif_is_close_to_another() -> None:
    motifs = [f.motif for f in FACTORS]
    assert {len(motif) for motif in motifs} == {LENGTH}
    for i, motif in enumerate(motifs):
        others = motifs[:i] + motifs[i + 1 :] + [reverse_complement(m) for m in motifs]
        padded = b"N" * (LENGTH - 1) + motif + b"N" * (LENGTH - 1)
        for other in others:
            assert min(naive(padded, other)) >= 6
        assert sorted(naive(padded, motif))[1] >= 6


def test_mismatches_are_counted_on_the_better_strand(rng: np.random.Generator) -> None:
    bases = random_bases(300, int(rng.integers(2**32))) + FACTORS[2].motif + b"NACG"
    counted = mismatches(bases)
    for factor, row in zip(FACTORS, counted, strict=True):
        both = naive(bases, factor.motif), naive(bases, reverse_complement(factor.motif))
        assert row.tolist() == np.minimum(*both).tolist()
    assert strength(bases)[2] >= 2
    assert mismatches(b"ACGT").shape == (len(FACTORS), 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def expected_features(window: bytes) -> np.ndarray:
    """Each factor's feature, from the motifs alone: no network."""
    sums = np.zeros((2, len(FACTORS)))
    for strand, bases in enumerate((window, reverse_complement(window))):
        for i, factor in enumerate(FACTORS):
            sites = np.maximum(2 - naive(bases, factor.motif), 0)
            sums[strand, i] = sites[slice(*SEEN)].sum()
    return sigmoid(sums - 3).mean(0)


def test_features_count_sites_on_both_strands(rng: np.random.Generator) -> None:
    model = Beluga.from_state(CONFIG, cnn_state())
    for _ in range(4):
        window = bytearray(random_bases(2_000, int(rng.integers(2**32))))
        for start in range(5 + int(rng.integers(16)), 1_980, 50):  # never two in one pool
            motif = bytearray(FACTORS[rng.integers(len(FACTORS))].motif)
            for k in rng.permutation(LENGTH)[: rng.integers(3)]:
                motif[k] = b"ACGTN"[rng.integers(5)]
            site = bytes(motif) if rng.integers(2) else reverse_complement(bytes(motif))
            window[start : start + LENGTH] = site
        with torch.inference_mode():
            found = model(torch.from_numpy(one_hot(bytes(window)))[None])[0].numpy()
        np.testing.assert_allclose(found[: len(FACTORS)], expected_features(window), atol=2e-6)


def test_the_genome_has_the_planted_sites_and_no_others(planted: Planted) -> None:
    with Genome(planted.genome) as genome:
        near = {
            contig: np.flatnonzero((mismatches(genome.fetch(contig, 0, length)) <= 2).any(0))
            for contig, length in genome.lengths.items()
        }
    with_site = [entry for entry in planted.truth if entry.event != "insert"]
    assert sum(map(len, near.values())) == len(with_site) == 55
    for entry in with_site:
        distance = near[entry.contig] - (entry.pos - 1)
        beside = 80 if entry.event == "move" else 6  # what moves a site is inserted beside it
        assert ((distance > -LENGTH - beside) & (distance < beside)).sum() == 1
    kinds = {(entry.event, entry.sign) for entry in planted.truth}
    assert len(kinds) == 12  # each event up and down
    assert {entry.factor for entry in planted.truth} == {factor.name for factor in FACTORS}


@pytest.mark.slow
def test_the_same_seed_makes_the_same_world(planted: Planted, tmp_path: Path) -> None:
    again, other = write_planted_world(tmp_path / "a"), write_planted_world(tmp_path / "b", 2)
    assert again.truth == planted.truth
    for one, two in ((again.genome, planted.genome), (again.variants, planted.variants)):
        assert one.read_bytes() == two.read_bytes()
    assert other.truth != planted.truth


def test_every_file_says_that_it_is_invented(planted: Planted, truthful: Path) -> None:
    assert NOTE == "synthetic, invented motifs"
    assert NOTE in planted.variants.read_text().splitlines()[1]
    assert NOTE in (planted.genome.parent / "README.md").read_text()
    store = Store(truthful)
    assert store.synthetic
    assert {head.summary["Weights"] for head in store.attributes.heads} == {NOTE}
    assert store.column("feature_name").tolist() == [*(f.name for f in FACTORS), "GC"]


def test_the_table_is_the_truth(planted: Planted) -> None:
    with planted.table.open() as handle:
        rows = list(csv.DictReader(handle, delimiter="\t"))
    numbers = [{**row, "pos": int(row["pos"]), "sign": int(row["sign"])} for row in rows]
    assert tuple(Truth(**row) for row in numbers) == planted.truth


# --- The whole tool


def test_the_tool_finds_what_was_planted(planted: Planted, results: list[Results]) -> None:
    found = check.findings(planted.truth, results)
    assert wrong(found) == []
    assert len(found) == (1 + 5) * len(SCHEMES) + 1
    assert [r.attributes.scheme for r in results] == list(SCHEMES)


def snvs(planted: Planted) -> list[Truth]:
    return [entry for entry in planted.truth if len(entry.ref) == len(entry.alt) == 1]


def windows_of(scheme: str, entry: Truth, tss: int, strand: int) -> list[tuple[int, float]]:
    """Centre (1-based) of each window that the scheme evaluates, and its decay weight."""
    if scheme == "grid":
        offsets = [-19_900 + 200 * i for i in range(200)]
        centres = [tss + strand * offset for offset in offsets]
    else:
        centres = [entry.pos + shift for shift in range(-800, 801, 200)]
        offsets = [(centre - tss) * strand for centre in centres]
    weights = [np.exp(-0.1 * abs(offset) / 200) for offset in offsets]
    factor = next(f for f in FACTORS if f.name == entry.factor)
    sides = [factor.upstream * (o <= 0) + factor.downstream * (o >= 0) for o in offsets]
    return [(c, w * side) for c, w, side in zip(centres, weights, sides, strict=True)]


@pytest.mark.parametrize("place", range(len(SCHEMES)))
def test_effects_of_snvs_are_those_of_the_motifs(
    planted: Planted, truthful: Path, results: list[Results], place: int
) -> None:
    """No network, no one-hot, no delta: sites counted in windows, with the decay weights."""
    rows, store = results[place].rows(), Store(truthful)
    ids = rows.columns["id"].tolist()
    assert Grid().rates[RATE] == 0.1
    with Genome(planted.genome) as genome:
        for entry in snvs(planted)[:: 3 - 2 * place]:
            gene = store.table.row(entry.gene_id)
            tss, strand = int(store.table.tss[gene]), int(store.table.strand[gene])
            which = next(i for i, f in enumerate(FACTORS) if f.name == entry.factor)
            effect = 0.0
            for centre, weight in windows_of(SCHEMES[place], entry, tss, strand):
                low = centre - 1_000
                if low <= entry.pos - 1 < low + 2_000:
                    ref = bytearray(genome.fetch(entry.contig, low, low + 2_000))
                    alt = ref[:]
                    alt[entry.pos - 1 - low] = ord(entry.alt)
                    change = expected_features(bytes(alt)) - expected_features(bytes(ref))
                    effect += ACTS * weight * change[which]
            found = rows.effect[ids.index(entry.id)]
            strongest = found[np.abs(found).argmax()]
            assert strongest == pytest.approx(effect, rel=2e-3, abs=6e-5), entry.id


def test_calibration_and_export_say_the_same(
    planted: Planted, results: list[Results], tmp_path: Path
) -> None:
    store = built(planted, tmp_path / "store.zarr")
    background = tmp_path / "background.vcf"
    lines = planted.variants.read_text().splitlines()
    kept = [line for line in lines if line[0] == "#" or "_other" in line]
    background.write_text("\n".join([*kept, ""]))
    for scheme in SCHEMES:
        store = Store(store.path)
        calibrate(store, background, ScoreOptions(scheme, device="cpu"))
    store, planted_ids = Store(store.path), {entry.id for entry in planted.truth}
    for scheme, plain in zip(SCHEMES, results, strict=True):
        options = ScoreOptions(scheme, device="cpu", calibrated=True)
        out = tmp_path / f"{scheme}.zarr"
        write_scores(Scorer(store, options), read_variants(planted.variants), out)
        rows, table = Results(out).rows(), tmp_path / f"{scheme}.tsv"
        np.testing.assert_array_equal(rows.effect, plain.rows().effect)
        best = np.abs(rows.effect).argmax(1)
        quantile = rows.calibrated["quantile"][np.arange(len(rows)), best]
        is_planted = np.array([name in planted_ids for name in rows.columns["id"]])
        assert (np.abs(quantile[is_planted]) == 1).all()  # beyond all of the background
        assert np.abs(quantile[~is_planted]).max() <= 1
        export(Results(out), table)
        with table.open() as handle:
            exported = {row["id"]: row for row in csv.DictReader(handle, delimiter="\t")}
        names = Results(out).contexts()[0]
        for entry in planted.truth:
            row = rows.columns["id"].tolist().index(entry.id)
            text = exported[entry.id]
            assert text["gene_id"] == entry.gene_id
            value = float(text[names[best[row]]])
            assert value == pytest.approx(rows.effect[row, best[row]], abs=1e-5)
            assert np.sign(value) == entry.sign


@pytest.mark.slow
def test_a_report_says_the_same(planted: Planted, results: list[Results], tmp_path: Path) -> None:
    for own in results:
        page = tmp_path / f"{own.attributes.scheme}.html"
        write_report(own, page)
        (text,) = re.findall(r'id="data">(.*?)</script>', page.read_text())
        data = json.loads(text)
        shown = {row["id"]: row for row in data["rows"]}
        assert {row["id"] for row in data["rows"][: len(planted.truth)]} == {
            entry.id for entry in planted.truth
        }
        contexts = [(head_set, name) for head_set, name in data["contexts"]]
        for entry in planted.truth:
            row, acts = shown[entry.id], matching(contexts, entry.contexts)
            assert row["gene"] == entry.gene_id
            strongest = row["top"][: len(acts)]
            assert {top[0] for top in strongest} <= set(acts)
            assert {np.sign(top[1]) for top in strongest} == {entry.sign}
            features = row["attribution"]["features"]
            assert data["features"][str(features[0][0])]["name"] == entry.factor


# --- What is wrong is found


def edited(path: Path, folder: Path, change: Callable[[list[str]], str]) -> Path:
    """A changed copy of a tab-separated file, line by line, its ``#`` lines as they are."""
    lines = path.read_text().splitlines()
    copy = folder / path.name
    changed = [line if line[0] == "#" else change(line.split("\t")) for line in lines]
    copy.write_text("\n".join([*changed, ""]))
    return copy


def turned_strand(row: list[str]) -> str:
    return "\t".join([*row[:3], "-" if row[3] == "+" else "+", row[4]])


def one_base_on(row: list[str]) -> str:
    return "\t".join([row[0], str(int(row[1]) + 1), *row[2:]])


def swapped_alleles(row: list[str]) -> str:
    """Of substitutions; of an insertion it would be too long a deletion for one scheme."""
    ref, alt = row[3:5] if len(row[3]) != len(row[4]) else row[4:2:-1]
    return "\t".join([*row[:3], ref, alt, *row[5:]])


def next_gene(row: list[str]) -> str:
    return "\t".join([*row[:4], f"GENE{int(row[4][4:]) % 11 + 1:02d}"])


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        slow("genes", turned_strand, "with the planted sign"),
        slow("genes", next_gene, "on the planted gene"),
        ("variants", one_base_on, "are the strongest"),
        slow("variants", swapped_alleles, "with the planted sign"),
    ],
)
def test_a_wrong_input_is_found(
    planted: Planted,
    truthful: Path,
    tmp_path: Path,
    file: str,
    change: Callable[[list[str]], str],
    told: str,
) -> None:
    other = replace(planted, **{file: edited(getattr(planted, file), tmp_path, change)})
    store = Store(truthful) if file == "variants" else built(other, tmp_path / "store.zarr")
    assert told in " ".join(wrong(check.findings(planted.truth, scored(other, store, tmp_path))))


@pytest.mark.parametrize(
    ("labels", "told"),
    [("contexts", "in the planted contexts"), slow("features", "first in DeepLift")],
)
def test_labels_that_are_one_off_are_found(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str, told: str
) -> None:
    if labels == "features":
        own = plan.feature_labels

        def rolled(*given: Any) -> dict[str, np.ndarray]:
            return {name: np.roll(column, 1) for name, column in own(*given).items()}

        monkeypatch.setattr(plan, "feature_labels", rolled)
        store = built(planted, tmp_path / "store.zarr")
    else:
        heads = plan.load_heads
        monkeypatch.setattr(
            plan,
            "load_heads",
            lambda path: [
                replace(one, contexts=(one.contexts[-1], *one.contexts[:-1])) for one in heads(path)
            ],
        )
        store = built(planted, tmp_path / "store.zarr")
    assert told in " ".join(wrong(check.findings(planted.truth, scored(planted, store, tmp_path))))


def alt_and_ref_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    effect = Heads.effect
    monkeypatch.setattr(Heads, "effect", lambda *given: -effect(*given))


def sequence_one_off(monkeypatch: pytest.MonkeyPatch) -> None:
    start = haplotype.sequence_start
    monkeypatch.setattr(haplotype, "sequence_start", lambda tss: start(tss) + 1)


def strand_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    touched, offsets = Grid.touched, evaluate._offsets
    monkeypatch.setattr(Grid, "touched", lambda self, tss, _, *span: touched(self, tss, 1, *span))
    monkeypatch.setattr(evaluate, "_offsets", lambda task: offsets(task) * task.strand)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        slow(alt_and_ref_swapped, "with the planted sign"),
        (sequence_one_off, "are the strongest"),
        slow(strand_ignored, "with the planted sign"),
    ],
)
def test_a_fault_in_scoring_is_found_in_both_schemes(
    planted: Planted,
    truthful: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
    told: str,
) -> None:
    fault(monkeypatch)
    found = wrong(check.findings(planted.truth, scored(planted, Store(truthful), tmp_path)))
    for scheme in SCHEMES:
        assert any(text.startswith(f"{scheme}: ") and told in text for text in found), found


@pytest.mark.slow
def test_a_reverse_strand_without_complement_is_found(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "flip", lambda x: x.flip(-1))
    store = built(planted, tmp_path / "store.zarr")
    assert wrong(check.findings(planted.truth, scored(planted, store, tmp_path)))
