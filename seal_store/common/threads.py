"""How many threads a process computes with."""

from __future__ import annotations

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What OpenMP and BLAS read when they are loaded."""


def limit_threads(count: int) -> None:
    """Compute, and pack and unpack chunks, with ``count`` threads in this process from now on."""
    import torch
    import zarr
    from numcodecs import blosc

    torch.set_num_threads(count)
    blosc.set_nthreads(count)
    zarr.config.set({"threading.max_workers": count})
