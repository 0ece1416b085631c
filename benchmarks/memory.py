"""How much memory does scoring take? Peak of `seal-store score vcf` for growing inputs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.common import arguments, report, world
from seal_store.store.store import Store

SCRIPT = """
import sys
import torch
torch.set_num_threads(int(sys.argv[1]))
from seal_store.cli import main
main(args=sys.argv[2:], prog_name="seal-store", standalone_mode=False)
# not getrusage: its peak begins with that of the parent process
status = open("/proc/self/status").read().split("\n")
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def write_vcf(path: Path, store: Store, count: int) -> None:
    """Random SNVs near all genes, sorted, in Seal's headerless format."""
    rng = np.random.default_rng(7)
    lines = []
    for gene in range(len(store)):
        tss = int(store.array("tss")[gene])  # type: ignore[arg-type]
        sequence = store.sequence(gene)
        for offset in np.sort(rng.integers(-19_000, 19_000, -(-count // len(store)))):
            ref = chr(sequence[22_500 + int(offset)])
            alt = str(rng.choice([b for b in "ACGT" if b != ref]))
            lines.append(f"chr1\t{tss + int(offset)}\t-\t{ref}\t{alt}\n")
    path.write_text("".join(lines[:count]), encoding="utf-8")


def main() -> None:
    args = arguments(
        __doc__ or "", ("--variants", {"type": int, "nargs": "+", "default": [1_000, 100_000]})
    )
    store = world(args, 8).store
    rows = []
    for count in args.variants:
        vcf = args.work / f"{count}.vcf"
        write_vcf(vcf, store, count)
        command = [sys.executable, "-c", SCRIPT, str(args.threads), "score", "vcf", str(vcf)]
        command += ["--store", str(store.path), "--out", str(args.work / "memory.zarr")]
        command += ["--overwrite", "--quiet", "--json", "--device", args.device]
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(
            {
                "variants": count,
                "peak, GiB": int(done.stdout.split()[-1]) / 2**20,
                "wall, s": time.perf_counter() - begin,
            }
        )
    weights = "tiny" if args.tiny else "full"
    report(f"memory-{weights}", "Peak memory of score vcf, results as Zarr", rows, args)


if __name__ == "__main__":
    main()
