"""How many threads a process computes with, and how they wait for each other."""

from __future__ import annotations

from collections.abc import MutableMapping

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What OpenMP and BLAS read when they are loaded."""

SPIN = 10_000
"""Rounds that threads of GNU OpenMP wait awake for each other before they sleep.

Their own 300,000 take milliseconds at the end of each product when the one waited for has no core
to itself. Beside one other busy process, on two cores, a score with the tiny CNN took 53 s, with
10,000 rounds 10 s; with the cores to itself 5 s in both.
"""


def spin_less(environment: MutableMapping[str, str]) -> None:
    """Have threads wait awake for :data:`SPIN` rounds, unless ``environment`` says how they wait.

    It is read when PyTorch is imported, here and in processes that are begun from here.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPIN)


def limit_threads(count: int) -> None:
    """Compute, and pack and unpack chunks, with ``count`` threads in this process from now on."""
    import torch
    import zarr
    from numcodecs import blosc

    torch.set_num_threads(count)
    blosc.set_nthreads(count)
    zarr.config.set({"threading.max_workers": count})
