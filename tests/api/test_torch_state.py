"""Nothing depends on torch's global state: the default dtype that a notebook may have set."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import write_planted
from seldom import slow

import seal_store
from seal_store.scoring.options import METHODS
from seal_store.store.store import Store
from seal_store.synthetic import World


@contextmanager
def doubles() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() is torch.float64  # nor is it changed
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("scheme", ["grid", "centered"])
@pytest.mark.parametrize(
    "method", [None, *(slow(m) if m in ("lime", "kernelShap") else m for m in METHODS)]
)
def test_scores_and_attributions(
    scheme: str, method: str | None, store: Store, world: World
) -> None:
    alleles = [a for a in seal_store.read_variants(world.variants) if a.kind == "snv"][:3]
    rows = [(a.contig, a.pos, a.ref, a.alt) for a in alleles]
    how: dict[str, Any] = {"scheme": scheme, "device": "cpu"}
    if method is not None:
        how["attributions"] = {"method": method, "targets": ("childhood.DFC",), "by": ("assay",)}
    expected = seal_store.score(seal_store.open(store.path), rows, **how)
    with doubles():
        found = seal_store.score(seal_store.open(store.path), rows, **how)
    for name, values in expected.data_vars.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.slow
def test_calibrations(store: Store, world: World, tmp_path: Path) -> None:
    plain, double = (shutil.copytree(store.path, tmp_path / name) for name in "ab")
    expected = seal_store.calibrate(plain, world.variants, device="cpu")
    with doubles():
        found = seal_store.calibrate(double, world.variants, device="cpu")
    for name in ("effect_quantile", "mean", "sd"):
        place = f"calibration/grid/{name}"
        np.testing.assert_array_equal(found.array(place)[...], expected.array(place)[...])


@pytest.mark.slow
def test_training(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    planted = write_planted(tmp_path, np.random.default_rng(3), genes=80)
    how: dict[str, Any] = {"features": planted.features, "genes": planted.genes}
    how |= {"name": "n", "root": tmp_path, "epochs": 2, "device": "cpu"}

    def trained(folder: str) -> list[torch.Tensor]:
        out = tmp_path / folder
        first = seal_store.train("pretrain", planted.expression, out=out, latent=8, **how)
        base = first["summary"]
        second = seal_store.train("finetune", planted.expression, out=out, base=base, **how)
        files = (first["model"], second["model"])
        states = [torch.load(file, weights_only=True)["model_state_dict"] for file in files]
        return [tensor for state in states for tensor in state.values()]

    expected = trained("a")
    with doubles():
        found = trained("b")
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
