"""What the benchmarks measure is what they say: mixes of variants, rounded products."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants

sys.path.append(str(Path(__file__).resolve().parents[1]))  # they are installed nowhere

from benchmarks.mixes import Mix, write_mix
from benchmarks.precision import DROPPED, RoundedProducts, doubled, effects, measure, rounded


def test_a_mix_has_its_share_of_both_kinds(store: Store, tmp_path: Path) -> None:
    write_mix(Mix("a", 0.25, 1000), store, 40, tmp_path / "a.vcf")
    alleles = list(read_variants(tmp_path / "a.vcf"))
    lengths = [len(allele.alt) - len(allele.ref) for allele in alleles]
    assert len(alleles) == 40
    assert sum(length != 0 for length in lengths) == 10
    assert max(map(abs, lengths)) <= 50


def test_rounding_is_to_nearest_and_ties_to_even(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.normal(size=10_000).astype(np.float32))
    x = torch.cat([x, torch.tensor([0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8])])
    assert torch.equal(rounded(x, DROPPED["bf16"]), x.bfloat16().float())
    halfway = torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20])
    expected = torch.tensor([1.0, 1 + 2**-9, 1 + 2**-10])
    assert torch.equal(rounded(halfway, DROPPED["tf32"]), expected)


def test_every_product_is_of_rounded_operands(rng: np.random.Generator) -> None:
    a, b, c = (torch.from_numpy(rng.normal(size=(6, 6)).astype(np.float32)) for _ in range(3))
    image, kernel = a[None, :, None], b[:, :, None, None]

    def products(a: Tensor, b: Tensor, image: Tensor, kernel: Tensor) -> list[Tensor]:
        return [
            a @ b,
            torch.mm(a, b),
            torch.addmm(c, a, b),
            c.clone().addmm_(a, b),
            F.linear(a, b, c[0]),
            F.conv2d(image, kernel, c[0]),
        ]

    dropped = DROPPED["bf16"]
    expected = products(*(rounded(x, dropped) for x in (a, b, image, kernel)))
    with RoundedProducts(dropped):
        found = products(a, b, image, kernel)
    for x, y in zip(found, expected, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_the_yardstick_is_the_engine(scheme: str, store: Store, world: World) -> None:
    scorer = Scorer(store, ScoreOptions(scheme=scheme, device="cpu"))
    alleles = list(read_variants(world.variants))
    expected = np.concatenate([rows.effect for rows in scorer.score(alleles)])
    found = effects(scorer, doubled(scorer.engine.evaluator), alleles)
    assert found.dtype == np.float64
    scale = np.abs(expected).max(1, keepdims=True)
    assert len(found) == len(expected)
    assert (np.abs(found - expected) <= 1e-3 * scale).all()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_what_changes_are_added_to_is_not_rounded(
    scheme: str, store: Store, tmp_path: Path
) -> None:
    """So errors are relative to the change: where all products are rounded, some are larger."""
    write_mix(Mix("a", 0.25, 1000), store, 32, tmp_path / "a.vcf")
    rows = measure(store, list(read_variants(tmp_path / "a.vcf")), scheme)
    print(rows)
    worst = {(row["products"], row["rounded"]): 0.0 for row in rows}
    for row in rows:
        key = row["products"], row["rounded"]
        worst[key] = max(worst[key], float(row["worst error, %"]))  # type: ignore[arg-type]
    assert worst["float32", "none"] < 0.3
    assert 0.05 < worst["tf32", "of changes"] < 0.5 < worst["tf32", "all"]
    assert worst["bf16", "of changes"] < worst["bf16", "all"]
