"""How fast does the explorer answer? A typed SNV, from request to page, at full size.

The server is a process of its own, as a user starts it; each answer is of a variant that it has
not seen. The effects are in the page, so that what is left is the browser's drawing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import requests

from benchmarks.common import arguments, report, world
from benchmarks.score import sparse

COUNT = 12


def main() -> None:
    args = arguments(__doc__ or "")
    store = world(args, 2).store
    command = [sys.executable, "-c", "from seal_store.cli import main; main()", "explore"]
    command += [str(store.path), "--json", "--quiet", "--device", args.device]
    begun = time.perf_counter()
    child = subprocess.Popen(
        [*command, "--threads", str(args.threads)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        address = json.loads(child.stdout.readline())["address"]
        ready = time.perf_counter() - begun
        rows: list[dict[str, Any]] = [{"what": "start, with weights and a first SNV", "s": ready}]
        base = address.partition("/?")[0]
        with requests.Session() as session:
            session.get(address)
            pages = []
            for allele in sparse(store, COUNT):
                typed = f"{allele.contig}:{allele.pos}:{allele.ref}:{allele.alt}"
                start = time.perf_counter()
                answer = session.get(f"{base}/variant", params={"v": typed, "top": "all"})
                pages.append(time.perf_counter() - start)
                assert answer.status_code == 200
                assert answer.text.count("<tr>") > 800
            rows.append({"what": "the first typed SNV, all 802 effects", "s": pages[0]})
            rows.append({"what": f"the median of {COUNT}", "s": float(np.median(pages))})
            rows.append({"what": "the slowest of them", "s": max(pages)})
    finally:
        child.terminate()
        child.wait()
    report("explore", "Explorer: from request to page", rows, args)


if __name__ == "__main__":
    main()
