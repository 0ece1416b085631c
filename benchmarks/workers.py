"""One process of all threads, or a process for each core? `score vcf` both ways, alternating.

Both are commands from start to end, so that the start-up of workers counts; of the tiny CNN the
shortest of three.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import arguments, report, world
from benchmarks.memory import write_vcf


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "help": "default: 2,048, or 16,384 with --tiny"}),
    )
    count = args.variants or (16_384 if args.tiny else 2_048)
    store = world(args, 8).store
    vcf = args.work / f"workers-{count}.vcf"
    write_vcf(vcf, store, count)
    ways: dict[str, list[str]] = {
        "one process": [],
        f"--workers {args.threads}": ["--workers", str(args.threads)],
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(3 if args.tiny else 1):
        for way, options in ways.items():
            out = args.work / "workers.tsv"
            command = [str(Path(sys.executable).with_name("seal-store")), "score", "vcf", str(vcf)]
            command += ["--store", str(store.path), "--out", str(out), "--overwrite", "--quiet"]
            begin = time.perf_counter()
            subprocess.run(
                [*command, "--device", args.device, *options],
                env={**os.environ, "OMP_NUM_THREADS": str(args.threads)},
                check=True,
            )
            took[way].append(time.perf_counter() - begin)
    best = {way: min(times) for way, times in took.items()}
    alone = best["one process"]
    rows = [
        {
            "way": way,
            "variants": count,
            "wall, s": seconds,
            "variants/s": count / seconds,
            "of one process": alone / seconds,
        }
        for way, seconds in best.items()
    ]
    weights = "tiny" if args.tiny else "full"
    report(f"workers-{weights}", "score vcf by one process or several, as TSV", rows, args)


if __name__ == "__main__":
    main()
