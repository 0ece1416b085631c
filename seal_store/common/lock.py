"""One writer at a time: a lock file beside an output, held by the kernel while its writer lives.

``OUT.lock`` names the host, process and start time of the writer. The kernel lets go of it when
the process ends, however it ends, so a lock left behind by a process of this host, or of a
container on it (its boot ID is the same), is recognised and taken over. One that another host left
behind cannot be judged from here: the message says which file to remove.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seal_store.errors import OutputError


def lock_path(out: Path) -> Path:
    """The lock file of an output. Raises :class:`OutputError` for a path without a name."""
    return named(out).with_name(out.name + ".lock")


def named(out: Path) -> Path:
    """``out``. Raises :class:`OutputError` if it has no name, as ``.`` and ``/``."""
    if out.name in ("", ".."):
        raise OutputError(f"{out}: is no name for an output", "give `out` a name")
    return out


@contextmanager
def hold(out: Path, *, shared: bool = False) -> Iterator[None]:
    """Be the one writer of ``out`` while the block runs.

    ``shared`` holders, such as jobs that write different shards, exclude only the others, and may
    be on many hosts. Raises :class:`OutputError` if another process writes ``out``, or, unless
    ``shared``, another host left a lock there.
    """
    path = lock_path(out)
    descriptor = _acquire(path, shared=shared)
    try:
        yield
    finally:
        if not shared or _alone(descriptor):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, *, shared: bool) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written: {error.strerror}", "check `out`"
            ) from error
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise OutputError(
                f"{path.name.removesuffix('.lock')} is being written by {holder}",
                "wait for it, or choose another `out`",
            ) from None
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its last holder removed it meanwhile: there may be a new one
    earlier = _read(descriptor)
    boot = _boot_id()
    here = earlier.get("host", socket.gethostname()) == socket.gethostname()
    if not (shared or here or (boot and earlier.get("boot") == boot)):
        holder = _holder(descriptor)
        os.close(descriptor)
        raise OutputError(
            f"{path} was left by {holder}, which cannot be seen from {socket.gethostname()}",
            "if that process has ended, remove this file and try again",
        )
    text = json.dumps(
        {
            "host": socket.gethostname(),
            "boot": boot,
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    return descriptor


def _boot_id() -> str:
    """What tells one run of one machine from all others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _alone(descriptor: int) -> bool:
    """Whether no other process shares the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _holder(descriptor: int) -> str:
    found = _read(descriptor)
    if not found:
        return "another process"
    return f"process {found.get('pid')} on {found.get('host')} since {found.get('since')}"
