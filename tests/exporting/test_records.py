"""An annotated VCF is its input and SEAL_* fields, record by record: drawn files, every way out."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import Result
from hostile import Places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import Drawn, check, drawn

from seal_store.exporting.render import Form
from seal_store.run.stream import stream_scores
from seal_store.run.watch import UNWATCHED
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import VariantSource

CONTEXTS = ("early_fetal.OC",)
SOAK = 10_000


class Checker:
    """Draws files and checks what becomes of them."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.places = Places.of(store)
        self.options = ScoreOptions(device="cpu", contexts=CONTEXTS)

    def drawn(self, rng: Random) -> Drawn:
        """A file, also at ``in.vcf``."""
        found = drawn(rng, self.places, self.store.attributes.genome.contigs)
        (self.folder / "in.vcf").write_bytes(found.content)
        return found

    def __call__(self, rng: Random) -> int:
        """Check a file as a stream; the number of rows."""
        found = self.drawn(rng)
        scorer = Scorer(self.store, self.options)
        source = VariantSource(self.folder / "in.vcf")
        out = io.BytesIO()
        form = Form(vcf=source)
        stream_scores(scorer, source.alleles(), out, form=form, watch=UNWATCHED)
        check(found, out.getvalue(), self.folder / "out.vcf")
        assert source.seen.records == len(found.records)
        return scorer.counts.rows


@pytest.fixture
def checker(store: Store, tmp_path: Path) -> Checker:
    return Checker(store, tmp_path)


@pytest.mark.slow
def test_every_record_stays_as_it_was(checker: Checker) -> None:
    """Seeds are drawn, not each choice: a tenth of the time."""
    rows: list[int] = []

    @settings(
        max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**64))
    def run(seed: int) -> None:
        rows.append(checker(Random(seed)))

    run()
    assert sum(rows) > 200


@pytest.mark.soak
def test_ten_thousand_files(checker: Checker) -> None:
    for seed in range(SOAK):
        print(f"seed {seed}")
        checker(Random(seed))


def test_a_file_is_annotated_as_a_stream_is(
    checker: Checker, cli: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    """By way of the results group, packed."""
    for seed in range(12):
        found = checker.drawn(Random(seed))
        out = tmp_path / "out.vcf.gz"
        args = ["--store", store.path, "--contexts", *CONTEXTS, "--out", out, "--overwrite", "-q"]
        done = cli("score", "vcf", tmp_path / "in.vcf", *args)
        assert done.exit_code == 0, (seed, done.output)
        check(found, gzip.decompress(out.read_bytes()), tmp_path / "plain.vcf")
