"""Real hg19 gene tables and variants, on a synthetic chr1 of hg19's length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.synthetic import TINY, TINY_LATENT, write_models
from seal_store.variants.source import read_variants

HG19_CHR1 = 249_250_621


@pytest.fixture(scope="module")
def chr1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random bases in one line, so that indexing is quick."""
    path = tmp_path_factory.mktemp("hg19") / "hg19.fa"
    rng = np.random.default_rng(5)
    bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, HG19_CHR1, np.uint8)]
    bases[:10_000] = ord("N")
    with path.open("wb") as handle:
        handle.write(b">chr1\n")
        bases.tofile(handle)
        handle.write(b"\n")
    return path


@pytest.mark.slow
def test_the_500_real_variants_give_206_rows(shared: Path, chr1: Path, tmp_path: Path) -> None:
    variants = shared / "data" / "seal_test_var.vcf"
    cnn, heads = write_models(tmp_path, TINY, TINY_LATENT, seed=3)
    store = build(
        BuildOptions(
            genome=chr1,
            genes=shared / "data" / "hg19_geneanno.pc.sorted.bed",
            cnn=cnn,
            heads=(heads,),
            out=tmp_path / "store.zarr",
            near=[(a.contig, a.pos) for a in read_variants(variants)],
        ),
        "cpu",
    )
    assert store.attributes.assembly == "hg19"
    assert store.attributes.genome.contigs == {"chr1": HG19_CHR1}
    assert store.attributes.gene_table.status["contig_not_in_fasta"] > 16_000
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    rows = list(scorer.score(read_variants(variants)))
    assert sum(map(len, rows)) == 206
    assert scorer.counts.alleles == 500
    assert dict(scorer.counts.not_scored) == {"no_gene_in_range": 294}
    assert scorer.counts.genes_not_computed == 0
    for part in rows:
        assert np.isfinite(part.effect).all()
        assert (part.effect.any(1) | ~part.columns["ref_match"]).all()
