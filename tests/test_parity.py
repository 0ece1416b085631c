"""Full size against the numbers that Seal's own commands printed. Runs with `make parity`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.results.group import Results
from seal_store.run.scores import write_scores
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import read_variants

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def parity(shared: Path) -> Path:
    if not (shared / "parity").is_dir():
        pytest.skip("no parity world beside this repository")
    return shared / "parity"


@pytest.fixture(scope="module")
def full(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world of expected.npz; SEAL_STORE_PARITY_WORLD names one that was made before."""
    if ready := os.environ.get("SEAL_STORE_PARITY_WORLD"):
        return Path(ready)
    root = tmp_path_factory.mktemp("parity") / "world"
    data = parity.parent / "data"
    command = [sys.executable, str(parity / "make_world.py"), "--out", str(root)]
    command += ["--genes", str(data / "hg19_geneanno.pc.sorted.bed")]
    command += ["--vcf", str(data / "seal_test_var.vcf"), "--contexts", str(data / "contexts.tsv")]
    subprocess.run([*command, "--seed", "11", "--n-snv", "8"], check=True)
    return root


@pytest.fixture(scope="module")
def expected(parity: Path) -> dict[str, np.ndarray]:
    with np.load(parity / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def full_store(
    full: Path, expected: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """Default settings, only the genes that the variants need."""
    options = BuildOptions(
        genome=full / "resource" / "hg19.fa",
        genes=full / "resource" / "geneanno.pc.sorted.bed",
        cnn=full / "resource" / "deepsea.beluga.pth",
        heads=(full / "model",),
        out=tmp_path_factory.mktemp("full") / "store.zarr",
        gene=tuple(dict.fromkeys(expected["gene_id"].tolist())),
    )
    return build(options, "cpu")


def test_features_equal_seals_profiles(full_store: Store, full: Path) -> None:
    """At this size float32 alone puts any evaluation 1e-6 from a float64 one."""
    for gene, name in enumerate(full_store.gene_id):
        profile = np.load(full / "resource" / "chromatin_tss" / f"{name}.npy")
        assert np.abs(full_store.features(gene) - profile).max() <= 3e-6


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_effects_equal_seals_own(
    scheme: str,
    full_store: Store,
    full: Path,
    expected: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    out = tmp_path / "scores.zarr"
    scorer = Scorer(full_store, ScoreOptions(scheme=scheme))
    write_scores(scorer, read_variants(full / "variants.vcf"), out)
    results = Results(out)
    rows, (names, _) = results.rows(), results.contexts()
    for column, own in (("pos", "pos"), ("ref", "ref"), ("alt", "alt"), ("gene_id", "gene_id")):
        assert rows.columns[column].tolist() == expected[own].tolist()
    assert rows.columns["dist_to_tss"].tolist() == expected["dist_to_tss"].tolist()
    assert rows.columns["ref_match"].all()
    places = [names.index(name) for name in expected["contexts"]]
    wanted = expected[scheme]
    error = np.abs(rows.effect[:, places] - wanted).max(1)
    share = error / np.abs(wanted).max(1)
    print(f"{scheme}: largest error {error.max():.2g}, {share.max():.2%} of the largest effect")
    assert wanted.shape == (24, 802)
    assert error.max() < 2e-5
    assert share.max() < (0.001 if scheme == "grid" else 0.02)


@pytest.mark.parametrize(
    ("method", "column"),
    [("deeplift", "deeplift"), ("integratedGradients", "integrated_gradients")],
)
def test_attributions_equal_seals_own(
    method: str, column: str, full_store: Store, full: Path, expected: dict[str, np.ndarray]
) -> None:
    target = str(expected["attribution_context"])
    options = AttributionOptions(method, (target,))
    scorer = Scorer(full_store, ScoreOptions(scheme="centered"), attribution=options)
    alleles = read_variants(full / "variants.vcf")
    found = [rows.attribution["attribution"][:, 0] for rows in scorer.score(alleles)]
    wanted = expected[column]
    error = np.abs(np.concatenate(found) - wanted).max(1) / np.abs(wanted).max(1)
    print(f"{method}: largest error {error.max():.2%} of the largest attribution")
    assert wanted.shape == (24, 2002)
    assert error.max() < 0.02
    assert scorer.completeness is not None
    assert scorer.completeness < 1e-6
