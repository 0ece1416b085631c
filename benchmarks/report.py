"""What does a report of 2,000 variants in 802 contexts take: time, memory and bytes.

Effects are those of a tiny CNN: a report reads them and does not care. The command runs as a
process of its own, from start to end.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks.common import arguments, report, world
from seal_store.common.beside import remove
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.variants.alleles import Allele

COUNT = 2_000


def main() -> None:
    args = arguments(__doc__ or "")
    args.tiny = True
    store = world(args, 2).store
    rng = np.random.default_rng(0)
    contig, tss = str(store.column("contig")[0]), int(store.column("tss")[0])
    low = tss - 15_000
    bases = store.sequence(0).tobytes().decode()[22_500 - 15_000 :]
    places = np.sort(rng.choice(30_000, COUNT, replace=False)).tolist()
    alleles = [
        Allele(
            i,
            contig,
            low + place,
            f"v{i}",
            bases[place],
            "ACGT"["ACGT".index(bases[place]) - 1],
            "snv",
        )
        for i, place in enumerate(places)
    ]
    out = args.work / "report.zarr"
    remove(out)
    write_scores(Scorer(store, ScoreOptions(device="cpu")), alleles, out)
    page = args.work / "report.html"
    command = [sys.executable, "-c", "from seal_store.cli import main; main()", "report", str(out)]
    begun = time.perf_counter()
    subprocess.run([*command, "--out", str(page), "--overwrite", "--quiet"], check=True)
    rows = [
        {
            "variants": COUNT,
            "contexts": len(store.contexts()[0]),
            "s": time.perf_counter() - begun,
            "GiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
            "MB": page.stat().st_size / 1e6,
            "MB allowed": 1.5 + 0.004 * COUNT,
        }
    ]
    report("report", "A report, from the command to the page", rows, args)


if __name__ == "__main__":
    main()
