"""Unpacking of untrusted archives (tar, tar.gz, zip), so that nothing lands outside one folder.

Every member passes the same checks before a byte of it is written: its name, its kind, its size,
what it would replace. A tar member also passes the ``data`` filter of ``tarfile``. The folder
appears under its name only when all of the archive is in it.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from seal_store.common.beside import MOVE, is_ours, partial_path, remove, replace
from seal_store.common.lock import hold
from seal_store.common.output import NEW
from seal_store.common.progress import Progress, silent
from seal_store.errors import ArchiveError, OutputError, SealStoreError

HEADERS, PADDING = 256 << 10, 4 << 20
"""Most bytes of a tar between the contents of two files, and after its end mark."""
RECORDS = 100
"""Most extended (pax) records that count for one member of a tar, the global ones with its own."""
SLACK = 64 << 20
"""Bytes that may be unpacked before the ratio counts."""
DEPTH, LONGEST = 32, 255
"""Most folders in a member's path, and most bytes of one name in it."""
ROOM = "make room or choose another folder, and run the same command again"
_DAMAGE: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile)
_DAMAGE += (zlib.error, struct.error, EOFError, RuntimeError, OverflowError, ValueError)


@dataclass(frozen=True)
class Limits:
    """Most bytes of all files, files, folders and links, and bytes for each byte of the archive."""

    size: int = 200 << 30
    members: int = 200_000
    ratio: int = 100


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked where: ``files`` with ``size`` bytes in all."""

    folder: Path
    files: int
    size: int


def extract(
    path: Path, into: Path, limits: Limits | None = None, progress: Progress = silent
) -> Unpacked:
    """Unpack ``path`` to the new folder ``into``.

    It is unpacked in ``into.partial``, from where it is renamed when all is there; that is
    removed. Links are kept if they stay inside the folder. Raises :class:`ArchiveError` naming
    the first member that is not acceptable, or if the archive is damaged, cut short or beyond
    ``limits``; :class:`OutputError` if ``into`` exists, the disk has no room, or ``into.partial``
    is not what an earlier run left.
    """
    if not path.is_file():
        raise ArchiveError(f"archive not found: {path}", "check the path")
    with hold(into):
        if into.exists():
            raise OutputError(f"{into} exists already", "remove it to unpack again")
        partial = partial_path(into)
        if not is_ours(partial, {into.name}, plain=False):
            raise OutputError(f"{partial} is in the way: it was not made by seal-store", MOVE)
        inner = partial / (into.name + NEW)
        try:
            remove(partial)
            inner.mkdir(parents=True)
            unpacking = _Unpacking(path, inner, limits or Limits(), progress)
            unpacking.read()
            os.sync()  # thousands of files: one sync for all
            replace(inner, into)
        except SealStoreError:
            raise
        except _DAMAGE as error:
            deep = isinstance(error, RecursionError)
            why = "too many headers before one member" if deep else error or type(error).__name__
            text = f"{path}: damaged or cut short ({why})"
            raise ArchiveError(text, "remove it and fetch it again") from error
        except OSError as error:
            why = f"{path} cannot be unpacked to {into}: {error.strerror or error}"
            raise OutputError(why, ROOM) from error
        finally:
            remove(partial)
    return Unpacked(into, len(unpacking.files), unpacking.size)


class _Unpacking:
    """Checks the members of an archive and writes them below ``root``, a new folder."""

    def __init__(self, path: Path, root: Path, limits: Limits, progress: Progress) -> None:
        self.path, self.root, self.limits, self.progress = path, root, limits, progress
        self.most = limits.ratio * path.stat().st_size + SLACK
        self.files: set[str] = set()
        self.members = self.size = 0

    def read(self) -> None:
        """Unpack all of it."""
        with self.path.open("rb") as handle:
            start = handle.read(4)
            handle.seek(0)
            if start == b"\x28\xb5\x2f\xfd":
                raise tarfile.ReadError("compressed with zstd; only tar, tar.gz and zip are read")
            if start[:2] == b"PK":
                self._zip(handle)
            else:
                gzipped = start[:2] == b"\x1f\x8b"
                self._tar(_Bounded(gzip.GzipFile(fileobj=handle) if gzipped else handle))

    def _tar(self, stream: _Bounded) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # tarfile keeps them all
                headers = stream.count - self.size
                if headers > min(self.limits.size + SLACK, self.most):
                    raise tarfile.ReadError(f"its headers take {headers:,} bytes")
                stream.allow(HEADERS + (member.size if member.isreg() else 0))
                self._admit_tar(member)
                tar.extract(member, self.root, filter="data")
            stream.allow(PADDING)
            while stream.read(1 << 20):
                pass
        if stream.end != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its end mark is missing")

    def _admit_tar(self, member: tarfile.TarInfo) -> None:
        name, goal = PurePosixPath(member.name), PurePosixPath(member.linkname)
        file, link = member.isreg() and not member.issparse(), member.issym() or member.islnk()
        # a link climbs, then only descends; no member lies below a link
        climbs = len(list(takewhile("..".__eq__, goal.parts)))
        out = climbs >= len(name.parts) or ".." in goal.parts[climbs:] or goal.is_absolute()
        late = member.islnk() and str(goal) not in self.files
        shown = f"{member.linkname!r:.300}"
        self.admit(
            member.name,
            member.size if file else 0,
            "file" if file else "link" if link else "folder",
            (len(member.pax_headers) > RECORDS, f"has more than {RECORDS} extended headers"),
            (not (file or link or member.isdir()), "is a device or a pipe"),
            (late, f"is a hard link to {shown}, not an earlier file"),
            (member.issym() and out, f"is a link out of the folder, to {shown}"),
        )

    def _zip(self, handle: io.BufferedReader) -> None:
        with zipfile.ZipFile(handle) as archive:
            for info in archive.infolist():
                odd = stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)
                known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                self.admit(
                    info.orig_filename,
                    info.file_size,
                    "folder" if info.orig_filename.endswith("/") else "file",
                    (odd, "is a link, a device or of another special kind"),
                    (bool(info.flag_bits & 1), "is encrypted"),
                    (not known, f"is compressed by method {info.compress_type}"),
                )
                if b"PK\x01\x02" in info.comment + info.extra:  # the entry of another member
                    raise zipfile.BadZipFile("its directory does not list all members")
                archive.extract(info, self.root)  # to the end, where it checks the CRC

    def admit(self, member: str, size: int, kind: str, *rules: tuple[bool, str]) -> None:
        """Count a member of ``size`` bytes, which the library then writes.

        Raises :class:`ArchiveError` for the first rule that refuses it.
        """
        name, limits, free = PurePosixPath(member), self.limits, shutil.disk_usage(self.root).free
        self.members, self.size, target = self.members + 1, self.size + size, self.root / name
        odd = re.search(r"[\\\x00-\x1f\x7f]", member)
        long = len(name.parts) > DEPTH or any(len(os.fsencode(p)) > LONGEST for p in name.parts)
        above = [self.root / parent for parent in name.parents]
        below = any(os.path.islink(path) or os.path.isfile(path) for path in above)
        again = kind == "folder" and os.path.isdir(target) and not os.path.islink(target)
        others = "and the others unpack to"
        most = f"{limits.size:,} bytes, the most that is unpacked"
        for refused, why in (
            *rules,
            (name.is_absolute(), "has an absolute path"),
            (".." in name.parts, "leads out of its folder with '..'"),
            (odd, "has a backslash or a control character in its name"),
            (long, "has a name that is too long"),
            (below, "lies below a file or a link, not a folder"),
            (self.members > limits.members, f"is one more than {limits.members:,} members"),
            (target == self.root and kind != "folder", "has no name"),
            (os.path.lexists(target) and not again, "is there twice"),
            (size < 0, "has a negative size"),
            (self.size > limits.size, f"{others} {self.size:,} bytes, which goes beyond {most}"),
            (self.size > self.most, f"{others} more than {limits.ratio} times the archive's size"),
        ):
            if refused:
                hint = "nothing was unpacked; if you trust the archive, unpack it yourself"
                raise ArchiveError(f"{self.path}: member {member!r:.300} {why}", hint)
        if size > free:
            needs = f"{self.path}: member {member!r:.300} needs {size:,} bytes"
            raise OutputError(f"{needs}, {self.root.parent} has {free:,} left", ROOM)
        if kind == "file":
            self.files.add(str(name))
            self.progress("files", len(self.files), None)


class _Bounded:
    """A tar's plain bytes, up to a limit that moves on from member to member."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self.source, self.count, self.limit, self.end = source, 0, HEADERS, b""

    def allow(self, size: int) -> None:
        """Let ``size`` bytes more be read."""
        self.limit = self.count + size

    def read(self, size: int) -> bytes:
        """Read; raises :class:`tarfile.ReadError` for too much."""
        block = self.source.read(size)
        self.count += len(block)
        if self.count > self.limit:
            raise tarfile.ReadError("too many bytes that are no file's content")
        self.end = (self.end + block)[-tarfile.BLOCKSIZE :]
        return block
