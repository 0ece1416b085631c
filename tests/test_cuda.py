"""The same numbers from a CUDA device as from the CPU. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import read
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele
from seal_store.variants.source import read_variants

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def effects(store: Store, alleles: list[Allele], device: str, **options: object) -> np.ndarray:
    scorer = Scorer(store, ScoreOptions(device=device, **options))  # type: ignore[arg-type]
    return np.concatenate([rows.effect for rows in scorer.score(alleles)])


def test_a_store_built_on_cuda_has_the_same_numbers(
    store: Store, options: BuildOptions, tmp_path: Path
) -> None:
    other = build(replace(options, out=tmp_path / "cuda.zarr"), "cuda")
    for name, tolerance in (("features", 2e-6), ("aggregated", 1e-4), ("expression", 1e-4)):
        found, expected = read(other.array(name)), read(store.array(name))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("scheme", ["grid", "centered"])
@pytest.mark.parametrize("batch", [7, 128])
def test_effects_on_cuda_equal_those_on_the_cpu(
    scheme: str, batch: int, store: Store, world: World
) -> None:
    alleles = [*read_variants(world.variants), *saturation(store, str(store.gene_id[0]), 30)]
    expected = effects(store, alleles, "cpu", scheme=scheme)
    found = effects(store, alleles, "cuda", scheme=scheme, batch=batch)
    scale = np.abs(expected).max(1, keepdims=True)
    assert (np.abs(found - expected) <= 1e-6 + 1e-3 * scale).all()


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_errors_of_tf32_are_relative_to_the_change(scheme: str, store: Store, world: World) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this device has no TF32")
    alleles = list(read_variants(world.variants))
    expected = effects(store, alleles, "cuda", scheme=scheme)
    found = effects(store, alleles, "cuda", scheme=scheme, tf32=True)
    largest = np.abs(expected).max(1)
    assert (np.abs(found - expected).max(1) <= 1e-6 + 1e-2 * largest).all()


def test_precision_settings_are_left_as_they_were(store: Store, world: World) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    effects(store, list(read_variants(world.variants)), "cuda", tf32=True)
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
