"""Hostile variant files: an error in one line or counts that add up, never anything else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import hostile
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store

SOAK, CHILDREN = 10_000, 20


@pytest.fixture(scope="module")
def places(store: Store) -> hostile.Places:
    return hostile.Places.of(store)


@pytest.fixture(scope="module")
def scorer(store: Store) -> Scorer:
    return Scorer(store, ScoreOptions(device="cpu", contexts=("early_fetal.OC",)))


def test_hostile_files_are_refused_or_add_up(
    scorer: Scorer, places: hostile.Places, tmp_path: Path
) -> None:
    seen: list[bool] = []

    @settings(
        max_examples=485, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.randoms(use_true_random=False))
    def run(rng: Random) -> None:
        content = hostile.vcf(rng, places)
        score = rng.random() < 0.2
        problem = hostile.check_reading(scorer, tmp_path / "in.vcf", content, score=score)
        seen.append(not problem)

    run()
    assert 0.2 < sum(seen) / len(seen) < 0.95


@pytest.mark.slow
def test_hostile_files_at_the_command_line(
    cli: Callable[..., Result], store: Store, places: hostile.Places, tmp_path: Path
) -> None:
    path, out = tmp_path / "in.vcf", tmp_path / "out.tsv"
    seen = []

    @settings(
        max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.randoms(use_true_random=False))
    def run(rng: Random) -> None:
        path.write_bytes(hostile.vcf(rng, places))
        args = ["--device", "cpu", "-q", "--json", "--contexts", "early_fetal.OC"]
        result = cli("score", "vcf", path, "--store", store.path, "--out", out, *args)
        seen.append(hostile.check_command(result, out))
        out.unlink(missing_ok=True)

    run()
    assert any(seen)


@pytest.mark.soak
def test_ten_thousand_hostile_files(store: Store, tmp_path: Path) -> None:
    scored = 0
    step = SOAK // CHILDREN
    for first in range(0, SOAK, step):
        child = subprocess.run(
            [sys.executable, hostile.__file__, store.path, tmp_path, str(first), str(first + step)],
            capture_output=True,
            text=True,
        )
        lines = child.stdout.splitlines()
        assert child.returncode == 0, f"seed {lines[-1:]}: {child.stderr[-2000:]}"
        assert len(lines) == step + 1
        scored += int(lines[-1].split()[1])
    assert 0.2 * SOAK < scored < 0.95 * SOAK
