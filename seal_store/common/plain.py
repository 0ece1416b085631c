"""Plain files only: opened without following a link or waiting for a pipe, read with a bound.

For files that lie in a folder which may come from elsewhere: a link there may lead to any file of
the user, a pipe never ends, and nor does ``/dev/zero``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

PIECE = 1 << 20
"""Bytes read at a time."""


def open_plain(path: Path, *, write: bool = False, follow: bool = False) -> io.FileIO:
    """A regular file, opened to read or also to ``write`` into; ``follow``: a link to one too.

    Raises :class:`OSError` that says what it is instead.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "is a link", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is not a plain file", str(path))
    return io.FileIO(descriptor, "r+" if write else "r")


def read_plain(path: Path, most: int) -> bytes:
    """The bytes of a regular file, not more than ``most``. Raises as :func:`open_plain`."""
    found = beginning(path, most + 1)
    if len(found) > most:
        raise OSError(errno.EFBIG, f"more than {most >> 20} MiB", str(path))
    return found


def beginning(path: Path, most: int, *, follow: bool = False) -> bytes:
    """The first bytes of a regular file. Raises as :func:`open_plain`.

    Memory is taken for what is there, not for ``most``.
    """
    found = bytearray()
    with open_plain(path, follow=follow) as file:
        while block := file.read(min(PIECE, most - len(found))):
            found += block
    return bytes(found)


def odd_entry(folder: Path) -> str | None:
    """The first thing below ``folder`` that is neither a plain file nor a folder; None if none."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if inner := odd_entry(Path(entry.path)):
                    return inner
            elif not entry.is_file(follow_symlinks=False):
                return entry.path
    return None
