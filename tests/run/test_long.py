"""Long runs: file handles and memory do not pile up."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from seal_store.store.store import Store
from seal_store.synthetic import World

PROC = Path("/proc/self/fd")
needs_proc = pytest.mark.skipif(not PROC.exists(), reason="no /proc")

# Scores a VCF and prints the resident memory, in MiB, after every 50,000 alleles.
CHILD = """
import json, sys
from pathlib import Path
import torch
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.source import read_variants
from seal_store.run.scores import write_scores

torch.set_num_threads(1)
store, vcf, out, contexts = sys.argv[1:]
seen = []

def progress(what, done, total):
    if done >= 50_000 * (len(seen) + 1):
        status = Path("/proc/self/status").read_text()
        seen.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)

options = ScoreOptions(device="cpu", contexts=tuple(contexts.split(",")))
scorer = Scorer(Store(Path(store)), options)
counts = write_scores(scorer, read_variants(vcf), Path(out), progress=progress)
print(json.dumps({"memory": seen, **counts.to_dict()}))
"""


@pytest.mark.slow
@needs_proc
def test_no_file_handle_is_left(
    cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    def once(i: int) -> int:
        out = tmp_path / f"{i}.zarr"
        args = ["--store", store.path, "--device", "cpu", "-q"]
        assert cli("score", "vcf", world.variants, *args, "--out", out).exit_code == 0
        assert cli("score", "vcf", tmp_path / "none.vcf", *args, "--out", "x.zarr").exit_code == 1
        for ending in ("tsv", "parquet", "vcf.gz"):
            assert cli("export", out, tmp_path / f"{i}.{ending}", "-q").exit_code == 0
        assert cli("inspect", out).exit_code == 0
        gc.collect()
        return len(os.listdir(PROC))

    # What tests before this one left open may be closed meanwhile; what is left open here adds up.
    first = once(0)
    assert max(once(1), once(2)) <= first


@needs_proc
@pytest.mark.soak
def test_memory_is_flat_over_a_million_variants(
    store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    vcf = tmp_path / "million.vcf"
    genes = [store.gene(str(gene)) for gene in store.gene_id]
    table = store.table
    with vcf.open("w") as handle:
        for _ in range(1000):
            gene = int(rng.choice(genes))
            row = table.row(str(store.gene_id[gene]))
            bases, tss = store.sequence(gene).tobytes().decode(), int(table.tss[row])
            for offset in np.sort(rng.integers(-15_000, 15_000, 1000)).tolist():
                ref = bases[22_500 + offset]
                alt = "ACGT"[("ACGT".find(ref) + int(offset) % 3 + 1) % 4]
                handle.write(f"{table.contig[row]}\t{tss + offset}\t.\t{ref}\t{alt}\n")
    names = ",".join(str(name) for name in store.contexts()[0][:3])
    child = [
        sys.executable,
        "-c",
        CHILD,
        str(store.path),
        str(vcf),
        str(tmp_path / "x.zarr"),
        names,
    ]
    done = subprocess.run(child, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print({"memory, MiB": found["memory"], "rows": found["rows"]})
    assert found["alleles"] == 1_000_000
    assert found["alleles_scored"] + sum(found["not_scored"].values()) == 1_000_000
    early, late = max(found["memory"][:5]), max(found["memory"])
    assert late < early + 64
