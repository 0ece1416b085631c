"""A device without enough memory for a batch: parts of it, the same numbers, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from seal_store.errors import InputError
from seal_store.results.group import Results
from seal_store.scoring.evaluate import Batch, Change, Evaluator, Genes
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer, loaded
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants

Limit = Callable[[int], list[int]]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Devices with memory for so many variants; gives the sizes of the batches that fitted."""
    whole = Evaluator.change

    def to(most: int) -> list[int]:
        fitted: list[int] = []

        def change(self: Evaluator, batch: Batch, genes: Genes) -> Change:
            if len(batch.stretches) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            fitted.append(len(batch.stretches))
            return whole(self, batch, genes)

        monkeypatch.setattr(Evaluator, "change", change)
        return fitted

    return to


@pytest.mark.parametrize("scheme", ["grid", "centered"])
def test_parts_of_batches_have_the_same_numbers(
    scheme: str, limit: Limit, store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ScoreOptions(scheme=scheme, device="cpu")
    alleles = list(read_variants(world.variants))
    by = AttributionOptions("deeplift", (store.contexts()[0][0],))
    expected = list(Scorer(store, options, attribution=by).score(alleles))
    fitted = limit(5)
    monkeypatch.setattr(loaded(store, options), "at_most", None)  # as it was, afterwards
    with pytest.warns(RuntimeWarning, match=r"'cpu': out of memory with \d+ variants") as said:
        found = list(Scorer(store, options, attribution=by).score(alleles))
    assert 2 < max(fitted) <= 5
    assert len(fitted) > 2 * len(said)  # one for each halving, not one for each batch
    for rows, others in zip(expected, found, strict=True):
        name = "attribution"
        pairs = [(rows.effect, others.effect), (rows.attribution[name], others.attribution[name])]
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(a).max()))


def test_too_little_for_one_variant_is_one_line(
    limit: Limit, cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    limit(0)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        result = cli(
            "score", "vcf", world.variants, "--store", store.path, "--out", tmp_path / "a.tsv"
        )
    assert result.exit_code == 1
    assert "device 'cpu': out of memory, even with one variant at a time" in result.output
    assert not (tmp_path / "a.tsv").exists()


def test_the_summary_says_what_was_enough(
    limit: Limit, cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    command = ("score", "vcf", world.variants, "--store", store.path, "--out")
    assert "variants at a time" not in cli(*command, paths[0]).output
    limit(5)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        result = cli(*command, paths[1])
    assert result.exit_code == 0
    assert "was enough for 4 variants at a time: --batch 4" in result.output
    a, b = (Results(path).rows().effect for path in paths)
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(a).max()))


def test_errors_of_another_kind_are_not_met_with_less(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(self: Evaluator, batch: Batch, genes: Genes) -> Change:
        raise RuntimeError("a fault of the device")

    monkeypatch.setattr(Evaluator, "change", change)
    with pytest.raises(RuntimeError, match="a fault") as raised:
        list(Scorer(store, ScoreOptions(device="cpu")).score(read_variants(world.variants)))
    assert not isinstance(raised.value, InputError)
