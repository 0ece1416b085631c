"""How fast is reading? Random ten windows and whole genes, zarr's own pipeline and `zarrs`."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import zarr

from benchmarks.common import arguments, report
from seal_store.store.layout import STORE, create, spec

GENES = 64


def make(path: Path) -> None:
    """One full shard of features as a CNN gives them: mostly small, with a few peaks."""
    group = zarr.create_group(str(path))
    sizes = {"gene": GENES, "window": 200, "feature": 2002, "strand_read": 2, "unit": 2003}
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((GENES, 200, 2002), np.float32) - 3
    create(group, spec(STORE, "features"), sizes)[...] = 1 / (1 + np.exp(-logits))
    hidden = rng.standard_normal((GENES, 200, 2, 2003), np.float32)
    create(group, spec(STORE, "hidden"), sizes)[...] = hidden.astype(np.float16)


def main() -> None:
    args = arguments(__doc__ or "")
    path = args.work / "reading.zarr"
    if not path.exists():
        make(path)
    pipelines = {"default": "zarr.core.codec_pipeline.BatchedCodecPipeline"}
    if importlib.util.find_spec("zarrs"):
        pipelines["zarrs"] = "zarrs.ZarrsCodecPipeline"
    rng = np.random.default_rng(2)
    genes, starts = rng.integers(0, GENES, 300), rng.integers(0, 190, 300)
    rows = []
    for name, pipeline in pipelines.items():
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            group = zarr.open_group(str(path), mode="r")
            for array_name in ("features", "hidden"):
                array = group[array_name]
                for what, length in (("10 windows", 10), ("whole gene", 200)):
                    count = 300 if length == 10 else 40
                    times = []
                    for gene, start in zip(genes[:count], starts[:count], strict=True):
                        first = int(start) if length == 10 else 0
                        begin = time.perf_counter()
                        array[int(gene), first : first + length]  # type: ignore[index]
                        times.append(time.perf_counter() - begin)
                    rows.append(
                        {
                            "array": array_name,
                            "read": what,
                            "pipeline": name,
                            "ms, median": float(np.median(times)) * 1e3,
                            "ms, 99 %": float(np.quantile(times, 0.99)) * 1e3,
                        }
                    )
    report("reading", "Reading from a shard of 64 genes (warm cache)", rows, args)


if __name__ == "__main__":
    main()
