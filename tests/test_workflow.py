"""The workflow in `workflows/Snakefile`, run by Snakemake on a small world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seal_store.check.verify import verify
from seal_store.results.group import Results
from seal_store.synthetic import World

pytest.importorskip("snakemake")
SNAKEFILE = Path(__file__).parents[1] / "workflows" / "Snakefile"


def run(folder: Path) -> str:
    """What Snakemake says."""
    beside = str(Path(sys.executable).parent)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "-s", str(SNAKEFILE), "--cores", "2"),
            *("--configfile", "config.json", "--nocolor"),
        ],
        cwd=folder,
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stderr


@pytest.mark.slow
def test_it_goes_from_a_genome_to_a_report_and_then_has_nothing_to_do(
    world: World, tmp_path: Path
) -> None:
    lines = world.variants.read_text().splitlines(True)
    head = [line for line in lines if line[0] == "#"]
    own = [line for line in lines if line[0] != "#"]
    vcfs = {}
    for name, part in (("a", own[:20]), ("b", own[20:])):
        (tmp_path / f"{name}.vcf").write_text("".join(head + part))
        vcfs[name] = f"{name}.vcf"
    inputs = {name: str(getattr(world, name)) for name in ("genome", "genes", "cnn", "heads")}
    config = {**inputs, "vcfs": vcfs, "store": "store.zarr", "out": "scores", "top": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "store.zarr").mkdir()  # as a workflow engine makes it for its output
    run(tmp_path)
    merged = Results(tmp_path / "scores" / "merged.zarr")
    parts = [Results(tmp_path / "scores" / f"{name}.scores.zarr") for name in vcfs]
    assert len(merged) == sum(map(len, parts)) > 20
    for folder in (merged.path, *(part.path for part in parts), tmp_path / "store.zarr"):
        assert verify(folder, windows=1).ok, folder
    table = (tmp_path / "scores" / "report" / "strongest.tsv").read_text().splitlines()
    assert len(table) == 2 * len(merged) + 1
    facts = json.loads((tmp_path / "scores" / "report" / "results.json").read_text())
    assert facts["rows"] == len(merged)
    page = (tmp_path / "scores" / "report" / "report.html").read_text()
    assert f"All {len(merged)} rows are here" in page
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if ".snakemake" not in str(p)}
    assert "Nothing to be done" in run(tmp_path)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if ".snakemake" not in str(p)}
    assert after == before
