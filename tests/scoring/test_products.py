"""Products in TF32: how they are asked for, and that a device without them refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from seal_store.errors import InputError
from seal_store.results.group import Results
from seal_store.run.attributions import scorer_of
from seal_store.run.scores import write_scores
from seal_store.scoring import engine
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants


def effects(scorer: Scorer, world: World) -> np.ndarray:
    return np.concatenate([rows.effect for rows in scorer.score(read_variants(world.variants))])


@pytest.mark.parametrize("asked", [["--products", "tf32"], ["--tf32"]])
def test_a_device_without_tf32_refuses_it(
    asked: list[str], cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    scorer = Scorer(store, ScoreOptions(device="cpu", tf32=True))
    with pytest.raises(InputError, match="`tf32`: device 'cpu' computes products in float32"):
        effects(scorer, world)
    out, common = tmp_path / "a.tsv", ["--store", store.path, "--device", "cpu"]
    result = cli("score", "vcf", world.variants, *common, "--out", out, *asked)
    assert result.exit_code == 1
    assert "--products: device 'cpu' computes products in float32; leave it out" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_last_of_the_spellings_counts(
    cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    common = ["--store", store.path, "--device", "cpu", "--overwrite", "--out", tmp_path / "a.zarr"]
    for asked in ("--products float32", "--no-tf32", "--tf32 --products float32"):
        result = cli("score", "vcf", world.variants, *common, *asked.split())
        assert result.exit_code == 0, result.output
        assert Results(tmp_path / "a.zarr").attributes.tf32 is False
    for asked in ("--no-tf32 --tf32", "--products float32 --tf32"):
        assert cli("score", "vcf", world.variants, *common, *asked.split()).exit_code == 1
    assert cli("score", "vcf", world.variants, *common, "--products", "bf16").exit_code == 2


def test_results_made_with_tf32_take_attributions_without_it(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that has none: products are as they are asked for now."""
    monkeypatch.setattr(engine, "check_tf32", lambda device: None)
    scorer = Scorer(store, ScoreOptions(device="cpu", tf32=True))
    write_scores(scorer, read_variants(world.variants), tmp_path / "a.zarr")
    made = Results(tmp_path / "a.zarr")
    assert made.attributes.tf32
    by = AttributionOptions("deeplift", (store.contexts()[0][0],))
    assert not scorer_of(made, store, by, device="cpu").options.tf32
