"""Archives from elsewhere, unpacked so that nothing lands outside one folder.

Reads tar, tar.gz and zip. Every member passes the same checks before a byte of it is written:
its name, its kind, its size, what it would replace. A tar member also passes the ``data`` filter
of ``tarfile``. The folder appears under its name only when all of the archive is in it.
"""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from seal_store.common.lock import hold
from seal_store.common.progress import Progress, silent
from seal_store.errors import ArchiveError, OutputError
from seal_store.store import manifest

CHUNK = 1 << 20
HEADERS = 256 << 10
"""Most bytes of a tar between the contents of two files: headers, long names, padding."""
PADDING = 4 << 20
"""Most bytes after a tar's end mark."""
RECORDS = 100
"""Most extended (pax) records that count for one member of a tar, the global ones with its own."""
SLACK = 64 << 20
"""Bytes that may be unpacked before the ratio counts."""
DEPTH = 32
LONGEST = 255
"""Most folders in a member's path, and most bytes of one name in it."""


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
        partial = manifest.partial_path(into)
        try:
            manifest.remove(partial)
            partial.mkdir(parents=True)
            unpacking = _Unpacking(path, partial, limits or Limits(), progress)
            _READERS[_kind(path)](unpacking)
            os.sync()  # thousands of files: one sync for all
            manifest.replace(partial, into)
        except BaseException as error:
            manifest.remove(partial)
            if isinstance(error, OSError) and not isinstance(error, OutputError):
                raise OutputError(
                    f"{path} cannot be unpacked to {into}: {error.strerror or error}",
                    "make room or choose another folder, and run the same command again",
                ) from error
            raise
    return Unpacked(into, unpacking.files, unpacking.size)


def _kind(path: Path) -> str:
    with path.open("rb") as handle:
        start = handle.read(4)
    if start[:2] == b"\x1f\x8b":
        return "tar.gz"
    if start == b"\x28\xb5\x2f\xfd":
        raise ArchiveError(f"{path}: compressed with zstd", "only tar, tar.gz and zip are read")
    return "zip" if start[:2] == b"PK" else "tar"


class _Unpacking:
    """Checks members and writes them; counts what was written."""

    def __init__(self, path: Path, root: Path, limits: Limits, progress: Progress) -> None:
        self.path, self.root, self.limits, self.progress = path, root, limits, progress
        self.members = self.files = self.size = 0
        self.taken: dict[PurePosixPath, str] = {}

    def refuse(self, member: str, why: str) -> ArchiveError:
        """The error for a member; its name is printed so that it cannot move the cursor."""
        return ArchiveError(
            f"{self.path}: member {member!r:.300} {why}",
            "nothing was unpacked; if you trust the archive, unpack it yourself",
        )

    def check_headers(self, size: int, read: int) -> None:
        """Check that what is no content of a tar, ``size`` bytes so far, is within the limits."""
        if size > min(self.limits.size, self.limits.ratio * read) + SLACK:
            raise self.damaged(f"its headers take {size:,} bytes")

    def damaged(self, why: object) -> ArchiveError:
        """The error for an archive that cannot be read to its end."""
        return ArchiveError(
            f"{self.path}: damaged or cut short ({why})", "remove it and fetch it again"
        )

    def admit(self, member: str, kind: str, size: int = 0) -> Path | None:
        """Where a member of ``kind`` file, folder or link goes; None for the root itself."""
        self.members += 1
        if self.members > self.limits.members:
            raise self.refuse(member, f"is one more than {self.limits.members:,} members")
        name = self._name(member)
        if not name.parts:
            if kind != "folder":
                raise self.refuse(member, "has no name")
            return None
        for above in name.parents:
            if self.taken.get(above, "folder") != "folder":
                raise self.refuse(member, f"lies below a {self.taken[above]}, not a folder")
        if name in self.taken and not kind == self.taken[name] == "folder":
            raise self.refuse(member, "is there twice")
        self.taken[name] = kind
        for above in list(name.parents)[:-1]:
            self.taken[above] = "folder"
        if size < 0:
            raise self.refuse(member, "has a negative size")
        if self.size + size > self.limits.size:
            raise self.refuse(
                member, f"goes beyond {self.limits.size:,} bytes in all, the most that is unpacked"
            )
        free = shutil.disk_usage(self.root).free
        if size > free:
            raise OutputError(
                f"{self.path}: member {member!r:.300} needs {size:,} bytes, "
                f"{self.root.parent} has {free:,} left",
                "make room or choose another folder, and run the same command again",
            )
        target = self.root / name
        (target if kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
        return target

    def _name(self, member: str) -> PurePosixPath:
        name = PurePosixPath(member)
        if name.is_absolute():
            raise self.refuse(member, "has an absolute path")
        if ".." in name.parts:
            raise self.refuse(member, "leads out of its folder with '..'")
        if "\\" in member or any(ord(c) < 0x20 or ord(c) == 0x7F for c in member):
            raise self.refuse(member, "has a backslash or a control character in its name")
        if len(name.parts) > DEPTH or any(len(os.fsencode(p)) > LONGEST for p in name.parts):
            raise self.refuse(member, "has a name that is too long")
        return name

    def write(self, member: str, size: int, source: IO[bytes], read: Callable[[], int]) -> None:
        """Write a file of ``size`` bytes; ``read``: bytes of the archive read so far."""
        target = self.admit(member, "file", size)
        assert target is not None
        left = size
        with target.open("xb") as out:
            while left:
                block = source.read(min(CHUNK, left))
                if not block:
                    raise self.damaged(f"member {member!r:.300} ends early")
                out.write(block)
                left -= len(block)
                self.size += len(block)
                if self.size > self.limits.ratio * read() + SLACK:
                    raise self.refuse(
                        member, f"unpacks to more than {self.limits.ratio} times the archive's size"
                    )
            if source.read(1):  # reads a zip member's checksum too
                raise self.damaged(f"member {member!r:.300} is longer than it says")
        self.files += 1
        self.progress("files", self.files, None)

    def declared(self, members: list[zipfile.ZipInfo], size: int) -> None:
        """Check what a zip of ``size`` bytes says it unpacks to; it cannot be more."""
        total = sum(info.file_size for info in members)
        largest = max(members, key=lambda info: info.file_size, default=None)
        if largest is not None and total > self.limits.size:
            raise self.refuse(
                largest.orig_filename,
                f"and the others unpack to {total:,} bytes; {self.limits.size:,} is the most",
            )
        if largest is not None and total > self.limits.ratio * size + SLACK:
            raise self.refuse(
                largest.orig_filename,
                f"and the others unpack to more than {self.limits.ratio} times the archive's size",
            )

    def link(self, member: str, goal: str, *, hard: bool) -> None:
        """Make a link; a symbolic one may climb and then only descend, all inside the folder.

        No member lies below a link, so climbing from its folder climbs real folders.
        """
        name, parts = self._name(member), PurePosixPath(goal).parts
        if hard:
            if self.taken.get(PurePosixPath(goal)) != "file":
                raise self.refuse(member, f"is a hard link to {goal!r:.300}, not an earlier file")
        else:
            up = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
            if goal.startswith("/") or up >= len(name.parts) or ".." in parts[up:]:
                raise self.refuse(member, f"is a link out of the folder, to {goal!r:.300}")
        target = self.admit(member, "link")
        assert target is not None
        if hard:
            os.link(self.root / goal, target)
        else:
            os.symlink(goal, target)


class _Bounded:
    """A tar's plain bytes, up to a limit that moves on from member to member."""

    def __init__(self, source: IO[bytes], unpacking: _Unpacking) -> None:
        self.source, self.unpacking = source, unpacking
        self.count = self.limit = 0
        self.end = b""

    def allow(self, size: int) -> None:
        """Let ``size`` bytes more be read."""
        self.limit = self.count + size

    def read(self, size: int) -> bytes:
        """Read; raises :class:`ArchiveError` for damage or beyond the limit."""
        try:
            block = self.source.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.unpacking.damaged(error) from error
        self.count += len(block)
        if self.count > self.limit:
            raise self.unpacking.damaged("too many bytes that are no file's content")
        if block:
            self.end = (self.end + block)[-tarfile.BLOCKSIZE :]
        return block


def _tar(unpacking: _Unpacking) -> None:
    with unpacking.path.open("rb") as raw:
        _tar_stream(unpacking, raw, raw)


def _tar_gz(unpacking: _Unpacking) -> None:
    with unpacking.path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as plain:
        _tar_stream(unpacking, plain, raw)  # type: ignore[arg-type]


def _tar_stream(unpacking: _Unpacking, source: IO[bytes], raw: IO[bytes]) -> None:
    stream = _Bounded(source, unpacking)
    stream.allow(HEADERS)
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
            while (member := tar.next()) is not None:
                tar.members.clear()  # tarfile keeps them all
                unpacking.check_headers(stream.count - unpacking.size, raw.tell())
                stream.allow(max(member.size, 0) + HEADERS)
                _tar_member(unpacking, tar, member, raw)
                stream.allow(HEADERS)
            stream.allow(PADDING)
            while stream.read(CHUNK):
                pass
    except ArchiveError:
        raise
    except RecursionError as error:
        raise unpacking.damaged("too many headers before one member") from error
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise unpacking.damaged(error or type(error).__name__) from error
    if stream.end != bytes(tarfile.BLOCKSIZE):
        raise unpacking.damaged("its end mark is missing")


def _tar_member(
    unpacking: _Unpacking, tar: tarfile.TarFile, member: tarfile.TarInfo, raw: IO[bytes]
) -> None:
    name = member.name
    unpacking._name(name)
    if len(member.pax_headers) > RECORDS:
        raise unpacking.refuse(name, f"has more than {RECORDS} extended headers")
    if member.issparse() or not (
        member.isreg() or member.isdir() or member.issym() or member.islnk()
    ):
        raise unpacking.refuse(name, "is a device, a pipe or of another special kind")
    try:
        tarfile.data_filter(member, str(unpacking.root))
    except tarfile.FilterError as error:
        raise unpacking.refuse(name, f"is not acceptable: {error}") from error
    if member.isdir():
        unpacking.admit(name, "folder")
    elif member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        unpacking.write(name, member.size, source, raw.tell)
    else:
        unpacking.link(name, member.linkname, hard=member.islnk())


def _zip(unpacking: _Unpacking) -> None:
    size = unpacking.path.stat().st_size
    try:
        with zipfile.ZipFile(unpacking.path) as archive:
            members = archive.infolist()
            if min(len(members), 0xFFFF) != _declared_members(unpacking.path):
                raise zipfile.BadZipFile("its directory does not list all members")
            unpacking.declared(members, size)
            for info in members:
                _zip_member(unpacking, archive, info, size)
    except ArchiveError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        struct.error,
        OverflowError,
    ) as error:
        raise unpacking.damaged(error or type(error).__name__) from error


def _declared_members(path: Path) -> int:
    """Members by a zip's end record (0xFFFF: that many or more), which zipfile does not compare."""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 0xFFFF - 22))
        tail = handle.read()
    start = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[start + 10 : start + 12], "little")


def _zip_member(
    unpacking: _Unpacking, archive: zipfile.ZipFile, info: zipfile.ZipInfo, size: int
) -> None:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise unpacking.refuse(name, "is a link, a device or of another special kind")
    if info.flag_bits & 1:
        raise unpacking.refuse(name, "is encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unpacking.refuse(name, f"is compressed by method {info.compress_type}")
    if name.endswith("/"):
        unpacking.admit(name, "folder")
        return
    with archive.open(info) as source:
        unpacking.write(name, info.file_size, source, lambda: size)


_READERS: dict[str, Callable[[_Unpacking], None]] = {"tar": _tar, "tar.gz": _tar_gz, "zip": _zip}
