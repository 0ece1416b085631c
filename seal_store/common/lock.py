"""Lock files: one writer at a time for an output, by ``flock`` while its process lives.

``OUT.lock`` names the host, process and start time of the writer. The kernel lets go of it when
the process ends, however it ends, so a lock left behind by a process of this host, or of a
container on it (its boot ID is the same), is recognised and taken over. One that another host left
behind cannot be judged from here: the message says which file to remove. A file of that name that
is no lock, and a link, is somebody else's: it is neither written to nor removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seal_store.errors import OutputError

LOCK_BYTES = 4096
"""A lock is smaller."""


def lock_path(out: Path) -> Path:
    """The lock file of an output. Raises :class:`OutputError` for a path without a name."""
    return check_named(out).with_name(out.name + ".lock")


def check_named(out: Path) -> Path:
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
        if (not shared or _alone(descriptor)) and _is_at(path, descriptor):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, *, shared: bool) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            if path.is_symlink():
                raise _foreign(path) from None
            raise OutputError(
                f"{path}: cannot be written: {error.strerror}", "check `out`"
            ) from error
        if not _is_lock(descriptor):
            os.close(descriptor)
            raise _foreign(path)
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
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its last holder removed it meanwhile: there may be a new one
    host, boot, earlier = socket.gethostname(), boot_id(), _read(descriptor)
    here = earlier.get("host", host) == host or (boot and earlier.get("boot") == boot)
    if not (shared or here):
        holder = _holder(descriptor)
        os.close(descriptor)
        raise OutputError(
            f"{path} was left by {holder}, which cannot be seen from {host}",
            "if that process has ended, remove this file and try again",
        )
    since = datetime.now(UTC).isoformat(timespec="seconds")
    own = {"host": host, "boot": boot, "pid": os.getpid(), "since": since}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(own).encode(), 0)
    except OSError:  # as on a full disk; left open, it would be held
        os.close(descriptor)
        raise
    return descriptor


def _is_lock(descriptor: int) -> bool:
    """Whether it is a file of one name that holds what :func:`_acquire` writes, or nothing yet."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        return False
    return not found.st_size or _read(descriptor).keys() >= {"host", "pid", "since"}


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether ``path`` still names the file that is open."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError:
        return False


def _foreign(path: Path) -> OutputError:
    return OutputError(f"{path} is no lock of seal-store", "move it away, or choose another `out`")


def boot_id() -> str:
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
        found = json.loads(os.pread(descriptor, LOCK_BYTES, 0))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder(descriptor: int) -> str:
    found = _read(descriptor)
    if not found:
        return "another process"
    return f"process {found.get('pid')} on {found.get('host')} since {found.get('since')}"
