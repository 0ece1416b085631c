"""What earlier code wrote is opened, verified and scored from, with the same numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from seal_store.building.build import add_heads
from seal_store.check.verify import verify
from seal_store.results.group import COLUMNS, Results
from seal_store.store.store import Store
from seal_store.synthetic import write_head_set

GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("*.tar.xz"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.unpack_archive(request.param, tmp_path, filter="data")
    return tmp_path


def test_golden_data_are_there_and_small() -> None:
    assert [path.name for path in GOLDEN[:2]] == ["0.tar.xz", "1.tar.xz"]
    assert sum(path.stat().st_size for path in GOLDEN) < 50_000 * len(GOLDEN)


def test_they_verify(golden: Path, cli: Callable[..., Result]) -> None:
    for name in ("store.zarr", "results.zarr"):
        done = cli("verify", golden / name, "--full")
        assert done.exit_code == 0, done.output


def test_they_give_the_same_numbers(golden: Path, cli: Callable[..., Result]) -> None:
    out = golden / "again.zarr"
    score = ("score", "vcf", golden / "variants.vcf", "--store", golden / "store.zarr")
    done = cli(*score, "--genes", "all", "--device", "cpu", "--out", out)
    assert done.exit_code == 0, done.output
    found, kept = Results(out), Results(golden / "results.zarr")
    counts = replace(
        found.attributes.counts, alt_is_reference=kept.attributes.counts.alt_is_reference
    )
    assert counts == kept.attributes.counts
    assert found.attributes.store.sha256 == kept.attributes.store.sha256
    ours, theirs = found.rows(), kept.rows()
    if not kept.attributes.counts.alt_is_reference:  # written before these had a status
        status = ours.columns["status"]
        status[status == "alt_is_reference"] = "scored"
    for name in COLUMNS:
        np.testing.assert_array_equal(ours.columns[name], theirs.columns[name])
    largest = np.abs(theirs.effect).max()
    assert largest > 0
    changes = np.abs(ours.effect - theirs.effect).max(1)
    is_snv = [
        len(r) == len(a) == 1 for r, a in zip(ours.columns["ref"], ours.columns["alt"], strict=True)
    ]
    # an insertion moves all behind it, so its noise is relative to activations, not to the change:
    # plain float32 windows are 5e-5 of the largest effect off float64 here
    assert (changes <= np.where(is_snv, 1e-6, 1e-4) * largest).all()


def test_calibrations_of_before_have_no_bins_and_give_the_same_quantiles(
    golden: Path, cli: Callable[..., Result]
) -> None:
    kept = golden / "calibrated.zarr"
    assert kept.is_dir() == bool(Store(golden / "store.zarr").attributes.calibration)
    if not kept.is_dir():
        pytest.skip("of before calibrations")
    (made,) = Store(golden / "store.zarr").attributes.calibration.values()
    assert (made.by, made.bins) == (None, None)
    score = ("score", "vcf", golden / "variants.vcf", "--store", golden / "store.zarr")
    out = golden / "again.zarr"
    done = cli(*score, "--genes", "all", "--device", "cpu", "--calibrated", "--out", out)
    assert done.exit_code == 0, done.output
    ours, theirs = Results(out).rows().calibrated, Results(kept).rows().calibrated
    for name in ("quantile", "z"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=2e-3)


def test_their_results_are_exported(golden: Path, cli: Callable[..., Result]) -> None:
    """Older ones without what newer ones have."""
    results = Results(golden / "results.zarr")
    ids = results.rows().columns["id"].tolist()
    is_new = "gene_symbol" in results.group
    more = ["input_chrom", "gene_symbol"] if is_new else []
    for name in ("x.tsv", "x.parquet", "x.vcf"):
        args = ("--vcf", golden / "variants.vcf") if name == "x.vcf" else ()
        done = cli("export", results.path, golden / name, *args)
        assert done.exit_code == 0, done.output
    header, *lines = (line.split("\t") for line in (golden / "x.tsv").read_text().splitlines())
    assert header[8:] == ["id", "status", *more, "one", "two"]
    assert [line[8] for line in lines] == ids
    assert pq.read_schema(golden / "x.parquet").names == header
    assert "SEAL_SYMBOL=.|." in (golden / "x.vcf").read_text()


def test_head_sets_are_added_to_them(golden: Path, tmp_path: Path) -> None:
    """Weights as they were written then beside such as are written now."""
    path = golden / "store.zarr"
    summary = write_head_set(tmp_path / "new", "new", ["c1"], 30, 5, 9)
    add_heads(path, summary)
    assert Store(path).head_sets == ["golden", "new"]
    assert verify(path, full=True).ok


def test_the_first_is_of_before(tmp_path: Path) -> None:
    for number, codecs in ((0, ["bytes", "blosc", "crc32c"]), (1, ["bytes", "crc32c"])):
        folder = tmp_path / str(number)
        shutil.unpack_archive(GOLDEN[number], folder, filter="data")
        found = json.loads((folder / "store.zarr" / "zarr.json").read_text())
        weight = found["consolidated_metadata"]["metadata"]["cnn/linear1_weight"]
        assert [codec["name"] for codec in weight["codecs"]] == codecs
        assert ("genes_per_shard" in found["attributes"]["seal_store"]) == bool(number)
        assert Store(folder / "store.zarr").attributes.genes_per_shard == 64
