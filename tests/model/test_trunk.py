"""The convolutions of the faster paths equal the library's: with fewer products and as one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seal_store.model import fewer
from seal_store.model.beluga import Beluga
from seal_store.model.fewer import FewerProducts
from seal_store.model.trunk import Trunk

pytestmark = pytest.mark.usefixtures("convolutions")


@pytest.mark.parametrize("layer", range(1, 7))
def test_a_convolution_is_that_of_the_library(
    tiny: Beluga, rng: np.random.Generator, layer: int
) -> None:
    trunk = Trunk(tiny)
    channels = (4, *tiny.config.channels)[layer - 1]
    x = torch.from_numpy(rng.normal(size=(3, 21, channels)).astype(np.float32))
    weight, bias = (tiny.get_buffer(f"conv{layer}_{part}") for part in ("weight", "bias"))
    expected = F.conv1d(x.mT, weight, bias).mT
    for way in (trunk.before_relu, trunk.product, trunk.convolution):
        torch.testing.assert_close(way(layer, x), expected)


@pytest.mark.parametrize("length", [8, 9, 15, 100, 517])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("at_once", [8, 64, 4096])
def test_fewer_products_are_the_convolution(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, length: int, count: int, at_once: int
) -> None:
    monkeypatch.setitem(fewer.ROWS_AT_ONCE, "cpu", at_once)
    x, taps, bias = (
        torch.from_numpy(rng.normal(size=shape)) for shape in ((count, length, 5), (8, 5, 3), (3,))
    )
    expected = F.conv1d(x.mT, taps.permute(2, 1, 0), bias).mT
    found = FewerProducts(taps, bias)(x)
    assert found.shape == (count, length - 7, 3)
    assert (found - expected).abs().max() <= 1e-12  # float64


def test_fewer_products_round_no_worse_than_the_convolution(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.random((3, 100, 320), np.float32))
    taps = torch.from_numpy(rng.normal(0, 0.02, (8, 320, 40)).astype(np.float32))
    bias = torch.zeros(40)
    expected = FewerProducts(taps.double(), bias.double())(x.double())
    found = FewerProducts(taps, bias)(x)
    plain = F.conv1d(x.mT, taps.permute(2, 1, 0)).mT
    errors = [(y - expected).square().mean().sqrt() for y in (found, plain)]
    assert errors[0] <= 5 * errors[1]
