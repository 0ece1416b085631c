"""Unpacking of untrusted archives (tar, tar.gz, zip), so that nothing lands outside one folder.

Every member passes the same checks before a byte of it is written: its name, its kind, its size,
what it would replace. A tar member also passes the ``data`` filter of ``tarfile``. The folder
appears under its name only when all of the archive is in it.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from seal_store.common.lock import hold
from seal_store.common.output import partial_path, remove, replace
from seal_store.common.progress import Progress, silent
from seal_store.errors import ArchiveError, OutputError, SealStoreError

HEADERS = 256 << 10
"""Most bytes of a tar between the contents of two files: headers, long names, padding."""
PADDING = 4 << 20
"""Most bytes after a tar's end mark."""
RECORDS = 100
"""Most extended (pax) records that count for one member of a tar, the global ones with its own."""
SLACK = 64 << 20
"""Bytes that may be unpacked before the ratio counts."""
DEPTH, LONGEST = 32, 255
"""Most folders in a member's path, and most bytes of one name in it."""
ROOM = "make room or choose another folder, and run the same command again"
_DAMAGE: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile)
_DAMAGE += (zlib.error, struct.error, EOFError, NotImplementedError, OverflowError, ValueError)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    ``size``: bytes of all files together; ``members``: files, folders and links; ``ratio``:
    bytes unpacked for each byte of the archive.
    """

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

    It is unpacked to ``into.partial``, which is renamed when all is there and removed when not.
    Links are kept if they stay inside the folder. Raises :class:`ArchiveError` naming the first
    member that is not acceptable, or if the archive is damaged, cut short or beyond ``limits``;
    :class:`OutputError` if ``into`` exists or the disk has no room.
    """
    if not path.is_file():
        raise ArchiveError(f"archive not found: {path}", "check the path")
    with hold(into):
        if into.exists():
            raise OutputError(f"{into} exists already", "remove it to unpack again")
        partial = partial_path(into)
        try:
            remove(partial)
            partial.mkdir(parents=True)
            unpacking = _Unpacking(path, partial, limits or Limits(), progress)
            unpacking.read()
            os.sync()  # thousands of files: one sync for all
            replace(partial, into)
        except SealStoreError:
            raise
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
        if start == b"\x28\xb5\x2f\xfd":
            raise self.damaged("compressed with zstd; only tar, tar.gz and zip are read")
        try:
            if start[:2] == b"PK":
                self._zip()
            else:
                self._tar(gzip.open if start[:2] == b"\x1f\x8b" else open)
        except SealStoreError:
            raise
        except RecursionError as error:
            raise self.damaged("too many headers before one member") from error
        except _DAMAGE as error:
            raise self.damaged(error or type(error).__name__) from error

    def damaged(self, why: object) -> ArchiveError:
        """The error for an archive that cannot be read to its end."""
        return ArchiveError(
            f"{self.path}: damaged or cut short ({why})", "remove it and fetch it again"
        )

    def require(self, holds: bool, member: str, otherwise: str) -> None:
        """Raise :class:`ArchiveError` unless ``holds``; a name cannot move the cursor."""
        if not holds:
            raise ArchiveError(
                f"{self.path}: member {member!r:.300} {otherwise}",
                "nothing was unpacked; if you trust the archive, unpack it yourself",
            )

    def _tar(self, opener: Any) -> None:
        with opener(self.path, "rb") as plain:
            stream = _Bounded(plain, self)
            with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
                while (member := tar.next()) is not None:
                    tar.members.clear()  # tarfile keeps them all
                    headers = stream.count - self.size
                    if headers > min(self.limits.size + SLACK, self.most):
                        raise self.damaged(f"its headers take {headers:,} bytes")
                    stream.allow(max(member.size, 0) + HEADERS)
                    self._tar_member(tar, member)
                    stream.allow(HEADERS)
                stream.allow(PADDING)
                while stream.read(1 << 20):
                    pass
        if stream.end != bytes(tarfile.BLOCKSIZE):
            raise self.damaged("its end mark is missing")

    def _tar_member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name, goal, records = member.name, member.linkname, len(member.pax_headers)
        file, link = member.isreg() and not member.issparse(), member.issym() or member.islnk()
        self.require(records <= RECORDS, name, f"has more than {RECORDS} extended headers")
        self.require(file or link or member.isdir(), name, "is a device or a pipe")
        self.admit(name, member.size if file else 0, folder=member.isdir(), file=file)
        if member.islnk():
            earlier = str(PurePosixPath(goal)) in self.files
            self.require(earlier, name, f"is a hard link to {goal!r:.300}, not an earlier file")
        elif member.issym():  # climbs, then only descends; no member lies below a link
            parts = PurePosixPath(goal).parts
            climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
            inside = climbs < len(PurePosixPath(name).parts) and ".." not in parts[climbs:]
            self.require(inside, name, f"is a link out of the folder, to {goal!r:.300}")
        try:
            tar.extract(member, self.root, filter="data")
        except tarfile.FilterError as error:
            self.require(False, name, f"is not acceptable: {error}")

    def _zip(self) -> None:
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
                method, folder = info.compress_type, info.orig_filename.endswith("/")
                plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
                known = method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
                self.require(plain, name, "is a link, a device or of another special kind")
                self.require(not info.flag_bits & 1, name, "is encrypted")
                self.require(known, name, f"is compressed by method {method}")
                if b"PK\x01\x02" in info.comment + info.extra:  # the entry of another member
                    raise zipfile.BadZipFile("its directory does not list all members")
                self.admit(name, info.file_size, folder=folder, file=not folder)
                archive.extract(info, self.root)  # to the end, where it checks the CRC

    def admit(self, member: str, size: int, *, folder: bool, file: bool) -> None:
        """Check and count a member of ``size`` bytes, which the library then writes."""
        target, limits, total = self.place(member), self.limits, self.size + size
        self.members += 1
        again = folder and target.is_dir() and not target.is_symlink()
        many = f"is one more than {limits.members:,} members"
        sizes = f"and the others unpack to {total:,} bytes, which goes beyond {limits.size:,} bytes"
        ratio = f"and the others unpack to more than {limits.ratio} times the archive's size"
        self.require(self.members <= limits.members, member, many)
        self.require(folder or target != self.root, member, "has no name")
        self.require(again or not os.path.lexists(target), member, "is there twice")
        self.require(size >= 0, member, "has a negative size")
        self.require(total <= limits.size, member, f"{sizes}, the most that is unpacked")
        self.require(total <= self.most, member, ratio)
        if size > (free := shutil.disk_usage(self.root).free):
            needs = f"{self.path}: member {member!r:.300} needs {size:,} bytes"
            raise OutputError(f"{needs}, {self.root.parent} has {free:,} left", ROOM)
        self.size = total
        if file:
            self.files.add(str(PurePosixPath(member)))
            self.progress("files", len(self.files), None)

    def place(self, member: str) -> Path:
        """Where a member goes by its name, below real folders only."""
        name = PurePosixPath(member)
        odd = re.search(r"[\\\x00-\x1f\x7f]", member)
        long = len(name.parts) > DEPTH or any(len(os.fsencode(p)) > LONGEST for p in name.parts)
        self.require(not name.is_absolute(), member, "has an absolute path")
        self.require(".." not in name.parts, member, "leads out of its folder with '..'")
        self.require(not odd, member, "has a backslash or a control character in its name")
        self.require(not long, member, "has a name that is too long")
        above = [self.root / parent for parent in name.parents[:-1]]
        blocked = any(path.is_symlink() or path.is_file() for path in above)
        self.require(not blocked, member, "lies below a file or a link, not a folder")
        return self.root / name


class _Bounded:
    """A tar's plain bytes, up to a limit that moves on from member to member."""

    def __init__(self, source: IO[bytes], unpacking: _Unpacking) -> None:
        self.source, self.unpacking = source, unpacking
        self.count, self.limit, self.end = 0, HEADERS, b""

    def allow(self, size: int) -> None:
        """Let ``size`` bytes more be read."""
        self.limit = self.count + size

    def read(self, size: int) -> bytes:
        """Read; raises :class:`ArchiveError` for damage, which ``tarfile`` hides, or too much."""
        try:
            block = self.source.read(size)
        except _DAMAGE as error:
            raise self.unpacking.damaged(error) from error
        self.count += len(block)
        if self.count > self.limit:
            raise self.unpacking.damaged("too many bytes that are no file's content")
        if block:
            self.end = (self.end + block)[-tarfile.BLOCKSIZE :]
        return block
