"""The same numbers from a CUDA device as from the CPU, the same bytes from several processes.

Skipped where there is no such device.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupted import files

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.common.device import inference
from seal_store.model.beluga import Beluga
from seal_store.model.config import CnnConfig
from seal_store.model.trunk import Trunk
from seal_store.run.crew import Crew
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.scores import write_scores
from seal_store.run.shards import build_with
from seal_store.run.slices import score_in_slices
from seal_store.scoring.joint import Carried, Frame
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import read
from seal_store.store.store import Store
from seal_store.synthetic import World, random_weights
from seal_store.variants.alleles import Allele, Change
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


@pytest.mark.parametrize("rows", [3, 40])
@pytest.mark.parametrize("layer", range(1, 7))
def test_convolutions_round_as_float32_does(
    layer: int, rows: int, rng: np.random.Generator
) -> None:
    """Of the published size, against float64: no product is of lower precision."""
    config = CnnConfig()
    channels = (4, *config.channels)[layer - 1]
    trunk = Trunk(Beluga.from_state(config, random_weights(config, 5)).to("cuda"))
    x = torch.from_numpy(rng.normal(size=(rows, 1_000, channels)).astype(np.float32)).cuda()
    with inference():
        found = trunk.before_relu(layer, x).double()
        windows = x.double().unfold(1, config.kernel, 1)
        taps, bias = trunk._taps[layer - 1].double(), trunk._bias[layer - 1].double()
        expected = torch.einsum("nlck,kco->nlo", windows, taps) + bias
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 2e-6
    assert (layer in trunk._fewer) == (layer > 1 and rows == 40)


def test_attributions_on_cuda_equal_those_on_the_cpu(store: Store, world: World) -> None:
    alleles = list(read_variants(world.variants))
    by = AttributionOptions("deeplift", (store.contexts()[0][0],))
    there, here = (
        np.concatenate([rows.attribution["attribution"] for rows in scorer.score(alleles)])
        for scorer in (
            Scorer(store, ScoreOptions(device=device), attribution=by) for device in ("cuda", "cpu")
        )
    )
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-3 * float(np.abs(here).max()))


def test_haplotypes_on_cuda_equal_those_on_the_cpu(store: Store, rng: np.random.Generator) -> None:
    tss, strand = (int(store.column(name)[1]) for name in ("tss", "strand"))
    frame = Frame(store.grid, tss, strand, store.sequence(1).tobytes())
    starts = np.sort(rng.choice(np.arange(-15_000, 15_000, 40), 60, replace=False))
    changes = [
        Change(tss + int(start), *((1, "A"), (0, "ACGT"), (3, ""))[int(kind)])
        for start, kind in zip(starts, rng.integers(0, 3, len(starts)), strict=True)
    ]
    haplotypes = [frame.haplotype(part) for part in (changes[:20], changes[20:40], changes)]
    assert None not in haplotypes
    found = []
    for device in ("cuda", "cpu"):
        evaluator = Scorer(store, ScoreOptions(device=device)).engine.evaluator
        sums = torch.from_numpy(store.aggregated(1))[None].to(device)
        found.append(Carried(evaluator, 1, frame, sums).effects([h for h in haplotypes if h]))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-3 * float(np.abs(found[1]).max()))


CREWS = [Crew(workers=2, device="cuda"), Crew(device="cuda:all")]


@pytest.mark.parametrize("crew", CREWS, ids=["two on one", "all"])
def test_a_build_by_processes_on_gpus_has_the_same_bytes(
    crew: Crew, options: BuildOptions, tmp_path: Path
) -> None:
    options = replace(options, genes_per_shard=2)
    whole = build(replace(options, out=tmp_path / "whole.zarr"), "cuda")
    shared = build_with(replace(options, out=tmp_path / "shared.zarr"), crew)
    assert files(shared.path) == files(whole.path)


@pytest.mark.parametrize("crew", CREWS, ids=["two on one", "all"])
def test_scores_by_processes_on_gpus_have_the_same_bytes(
    crew: Crew, store: Store, tmp_path: Path
) -> None:
    job = ScoreJob(
        store.path,
        tmp_path / "out.zarr",
        gene=str(store.gene_id[0]),
        span=900,
        options=ScoreOptions(device="cuda"),
        command="c",
    )
    _, plan = score_in_slices(Prepared(job), crew)
    assert len(plan.slices) > 1
    one = Prepared(replace(job, out=tmp_path / "one.zarr"))
    write_scores(one.scorer, one.whole, one.job.out, command="c")
    assert files(job.out) == files(one.job.out)


def test_a_batch_that_does_not_fit_is_halved(store: Store) -> None:
    """The allocator is given half of the memory that the batch took."""
    alleles = list(saturation(store, str(store.gene_id[0]), 150))
    scorer = Scorer(store, ScoreOptions(device="cuda", batch=1024))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    expected = np.concatenate([rows.effect for rows in scorer.score(alleles)])
    taken = torch.cuda.max_memory_reserved() - before
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((before + taken / 2) / total)
    try:
        with pytest.warns(RuntimeWarning, match=r"'cuda:0': out of memory with \d+ variants"):
            found = np.concatenate([rows.effect for rows in scorer.score(alleles)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        scorer.engine.at_most = None
    scale = np.abs(expected).max(1, keepdims=True)
    assert (np.abs(found - expected) <= 1e-6 + 1e-3 * scale).all()
