"""What is loaded when a process starts: only what it uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from seldom import slow

from seal_store.store.store import Store
from seal_store.synthetic import World

HEAVY = {"torch", "pandas", "xarray", "pyarrow", "scipy", "captum", "anndata", "pysam", "sklearn"}
HEAVY |= {"obstore", "distributed"}


@pytest.fixture(scope="module")
def results(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from seal_store.cli import main

    out = tmp_path_factory.mktemp("start") / "scores.zarr"
    args = ["score", "vcf", world.variants, "--store", store.path, "--out", out, "-q"]
    main([*map(str, args), "--device", "cpu"], standalone_mode=False)
    return out


def loaded(code: str) -> set[str]:
    """Modules that a new process has loaded after ``code``."""
    code = f"import atexit, sys\natexit.register(lambda: print(*sys.modules))\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "line",
    [
        "inspect STORE",
        slow("inspect RESULTS"),
        slow("heads list STORE --contexts"),
        slow("expression STORE --out OUT.tsv"),
        slow("verify RESULTS -q"),
        "verify STORE --no-contents -q",
        slow("export RESULTS OUT.tsv -q"),
        slow("export RESULTS OUT.tsv.gz -q --top 2"),
        "export RESULTS OUT.bedgraph --gene GENE01 --contexts early_fetal.OC -q",
    ],
)
def test_commands_that_compute_nothing(
    line: str, store: Store, results: Path, tmp_path: Path
) -> None:
    places = {"STORE": store.path, "RESULTS": results, "OUT": tmp_path / "out"}
    for name, path in places.items():
        line = line.replace(name, str(path))
    modules = loaded(f"from seal_store.cli import run; run({line.split()!r})")
    assert "zarr" in modules
    assert not modules & HEAVY


def test_opening(store: Store, results: Path) -> None:
    code = f"""
import seal_store
store = seal_store.open({str(store.path)!r})
store.sequence(0), store.heads(), store.weights(), store.contexts(), store.table
seal_store.open_results({str(results)!r}).rows()
seal_store.Scorer, seal_store.ScoreOptions()
"""
    assert not loaded(code) & HEAVY


def test_why_alleles_have_no_row_needs_no_weights(
    store: Store, world: World, results: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pysam")
    args = ["export", results, tmp_path / "out.vcf", "--vcf", world.variants, "-q"]
    code = f"from seal_store.cli import run; run({[*map(str, args)]!r})"
    assert "torch" not in loaded(code)


@pytest.mark.slow
def test_a_score_loads_no_more_than_pytorch(store: Store) -> None:
    args = ["score", "variant", "chr1:107140:A:C", "--store", str(store.path), "--device", "cpu"]
    modules = loaded(f"from seal_store.cli import run; run({args!r})")
    assert "torch" in modules
    assert not modules & {*HEAVY - {"torch"}, "sympy", "torch._dynamo", "torch._inductor"}
