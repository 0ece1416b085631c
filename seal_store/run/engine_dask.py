"""Work done by the workers of a Dask scheduler: a queue of task numbers, nothing else.

A task owns its shard or slice, returns a few bytes, and may be done twice. What the tasks of a run
need is loaded once in each worker process. A process does one task at a time, with as many threads
as OMP_NUM_THREADS says, else as its worker has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from seal_store.common.extras import require
from seal_store.common.tasks import reason_of
from seal_store.common.threads import limit_threads
from seal_store.errors import OutputError
from seal_store.run.work import ATTEMPTS, Done, Outcome, Work

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 20
"""Seconds in which a scheduler must answer."""

_ONE_AT_A_TIME = Lock()
"""In a worker with several threads, which would do several tasks at once."""


def run_dask(
    work: Work,
    tasks: Sequence[int],
    scheduler: str,
    device: str,
    count: int,
    threads: int,
    done: Done = bool,
) -> Outcome:
    """Do ``tasks`` on ``device`` by the workers of ``scheduler``; what fails Dask tries again.

    A ``local`` scheduler is started here, with ``count`` workers of so many ``threads``.

    Whatever ends this early cancels what is queued. Raises :class:`OutputError` if the scheduler
    cannot be reached or is lost; :class:`~seal_store.errors.MissingExtraError` without Dask.
    """
    require("dask", "work by a Dask scheduler")
    from distributed import CancelledError, as_completed

    outcome = Outcome({}, {})
    lost = OutputError(
        f"the scheduler {scheduler} was lost",
        "what is done is kept: go on with `resume=True`, with or without it",
    )
    with _client(scheduler, count, threads) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        on_gpus = device.startswith("cuda") and any(w["resources"].get("GPU") for w in workers)
        run = uuid4().hex
        futures = {
            client.submit(
                *(_do, work, task, device, run),
                key=f"seal-store-{work.unit}-{task}-{run}",
                retries=ATTEMPTS - 1,
                resources={"GPU": 1} if on_gpus else None,
                pure=False,
            ): task
            for task in tasks
        }
        try:
            for future in as_completed(list(futures)):
                task = futures.pop(future)
                if future.status == "finished":
                    try:
                        outcome.values[task] = future.result()
                    except CancelledError:  # lost since the line above
                        raise lost from None
                    done(task)
                elif future.status == "error":
                    outcome.failures[task] = reason_of(future.exception())
                else:
                    raise lost
                future.release()  # or it would be done again if its worker died
        except BaseException:
            if client.status == "running":
                client.cancel(list(futures), force=True)
            raise
    return outcome


@contextmanager
def _client(scheduler: str, count: int, threads: int) -> Iterator[Client]:
    """A connection to the scheduler, or to one of our own with its workers."""
    from distributed import Client, LocalCluster

    if scheduler != "local":
        try:
            client = _connected(scheduler)
        except (OSError, ValueError) as error:
            raise OutputError(
                f"no Dask scheduler answers at {scheduler}: {reason_of(error)}",
                "start one with `dask scheduler`, or let `scheduler='local'` do so",
            ) from error
        with client, client.as_current():
            yield client
        return
    with (
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # None would be port 8787, which may be taken
            env={"OMP_NUM_THREADS": str(threads)},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        yield client


def _connected(scheduler: str) -> Client:
    """Of an address, or of a file that `dask scheduler --scheduler-file` writes."""
    from distributed import Client

    if os.path.isfile(scheduler):
        return Client(scheduler_file=scheduler, timeout=PATIENCE, set_as_default=False)
    return Client(scheduler, timeout=PATIENCE, set_as_default=False)


def check_answers(scheduler: str) -> None:
    """Raise as :func:`run_dask` where a scheduler cannot be reached: before anything is planned."""
    require("dask", "work by a Dask scheduler")
    with _client(scheduler, 0, 1):
        pass


def _do(work: Work, task: int, device: str, run: str) -> Any:
    """Do a task of a ``run`` in a worker."""
    with _ONE_AT_A_TIME:
        return _begun(work, device, run)(task)


@lru_cache(maxsize=1)
def _begun(work: Work, device: str, run: str) -> Callable[[int], Any]:
    """What a worker loads once, of one run: before another one files may have changed."""
    from distributed import get_worker

    given = os.environ.get("OMP_NUM_THREADS", "")
    limit_threads(int(given) if given.isdigit() and int(given) else get_worker().state.nthreads)
    return work.begin(device)
