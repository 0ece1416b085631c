"""Where a store, results or a file is: on this machine, in a bucket, or on a web server.

The only module that knows which. :func:`place` takes a path or an address, :func:`files_at` reads
the files of a finished folder at either.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from seal_store.common.beside import is_ours, replaced_path
from seal_store.common.files import ADDRESS, sync
from seal_store.common.output import Output
from seal_store.common.plain import open_plain, read_plain
from seal_store.common.typed import path as as_path
from seal_store.errors import InputError, OutputError
from seal_store.store.address import Address, Entry

_LOOKS, _LOOK = 16, 64 << 10
"""Blocks that are looked at of a file, and their bytes."""

SCHEMES = ("s3", "gs", "az", "https", "http")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)

Place: TypeAlias = Path | Address


def place(
    path: str | os.PathLike[str], cache: Path | None = None, work: Path | None = None
) -> Place:
    """``path`` as one of this machine or, if it is an address, as that.

    ``cache`` and ``work`` are those of an :class:`Address`; what it has itself stays by default.

    Raises :class:`InputError` for an address of another kind, without a path, or that holds what
    is secret or has no place in it: a user or password, a query, a fragment.
    """
    if isinstance(path, Address):
        return Address(path.url, cache or path.cache, work or path.work)
    text = os.fspath(path)
    if not ADDRESS.match(text):
        return Path(path)
    url = text if "://" in text else text.replace(":/", "://", 1)  # as a Path writes it
    scheme, rest = url.split("://", 1)
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError:
        raise InputError(f"{scheme}://...: is no address", "check its first part") from None
    is_bucket = scheme.lower() in ("s3", "gs", "az")
    if is_bucket and (port or not BUCKET.fullmatch(found.netloc.rpartition("@")[2])):
        # not shown: a secret with a / in it looks like this
        raise InputError(
            f"{scheme}://...: is no address in a bucket",
            f"write {scheme}://BUCKET/PATH; credentials come from the environment",
        )
    server = found.netloc.rpartition("@")[2]
    shown = f"{scheme}://{server}{found.path}"
    if scheme.lower() not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"{shown}: is no address that can be read", f"there are {known}")
    if "@" in found.netloc or "?" in rest or "#" in rest:
        raise InputError(
            f"{shown}: was given with a user, a query or a fragment",
            "it would be kept in results; credentials come from the environment",
        )
    parts = found.path.strip("/").split("/")
    odd = {"", ".", ".."}.intersection(unquote(found.path).strip("/").split("/"))
    if not server or odd or not unquote(text).isprintable():
        raise InputError(f"{shown}: is no address of a file or folder", "check it")
    return Address(f"{scheme.lower()}://{server}/{'/'.join(parts)}", cache, work)


def given_place(name: str, value: Any, cache: Any = None, work: Any = None) -> Place:
    """:func:`place` of the parameter ``name``, with those of ``cache`` and ``work``.

    Raises :class:`~seal_store.errors.ParameterError` for what is no path.
    """
    kept = None if cache is None else as_path("cache", cache)
    made = None if work is None else as_path("work", work)
    if isinstance(value, str | os.PathLike):
        return place(value, kept, made)
    return as_path(name, value)


def output_at(path: str | os.PathLike[str], **how: Any) -> Output:
    """The :class:`~seal_store.common.output.Output` at ``path``, an address of a bucket or a path.

    Raises :class:`OutputError` for one on a web server, and as :func:`files_at`.
    """
    found = place(path)
    if not isinstance(found, Address):
        return Output(found, **how)
    if found.root.startswith("http"):
        raise OutputError(
            f"{found}: a web server is only read", "write to a folder, or to s3://, gs:// or az://"
        )
    from seal_store.store.sending import BucketOutput  # only with an address

    return BucketOutput(found, **how)


def local_of(path: Place) -> Path:
    """Where an output at ``path`` is on this machine, as long as it is not finished."""
    return path.local if isinstance(path, Address) else path


class File(Protocol):
    """An open file of a finished folder, ``size`` bytes."""

    @property
    def size(self) -> int:
        """Bytes."""

    def ranges(self, parts: Sequence[tuple[int, int]]) -> Iterable[bytes]:
        """The bytes of each start and length, in their order; fewer where the file ends."""

    def into(self, buffer: memoryview) -> bytes:
        """Fill ``buffer`` from the beginning of the file; what follows."""

    def sha256(self) -> str:
        """SHA-256 of all of it, as hex."""


class Files(Protocol):
    """Files of a finished folder, read only, by their names below it.

    All raise :class:`OSError` for what is not there or not a plain file, and
    :class:`~seal_store.errors.RemoteError` where the server fails.
    """

    @property
    def threads(self) -> int | None:
        """How many to read at once; None for as many as there are cores."""

    def read(self, name: str, most: int) -> bytes:
        """All of a file of at most ``most`` bytes."""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def exists(self) -> bool:
        """Whether there is a folder, or something else, at the place itself."""

    def opened(self, name: str, listed: Entry | None) -> AbstractContextManager[File]:
        """A file; of a finished folder as the manifest lists it, else :class:`ValueError`."""

    def share(self, name: str, listed: Entry, target: Path) -> None:
        """Make ``target``, a name of this machine, one more of that file, or a copy of it."""

    def misplaced(self, listed: Mapping[str, Entry]) -> dict[str, str]:
        """What is wrong with which of ``listed``, as far as it can be told without reading it."""

    def names(self) -> list[str] | None:
        """All files, and links to folders; None where they cannot be listed."""

    def left(self) -> str:
        """Name of what a killed run left beside the folder; empty if it is not there."""


def files_at(path: Place) -> Files:
    """What reads the finished folder at ``path``.

    Raises :class:`~seal_store.errors.MissingExtraError` for an address without the extra `cloud`.
    """
    if isinstance(path, Address):
        from seal_store.store.remote import Objects  # only with an address

        return Objects(path)
    return Folder(path)


class Folder:
    """Of this machine."""

    threads: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, most: int) -> bytes:
        """See :class:`Files`; no link is followed."""
        return read_plain(self.path / name, most)

    def has(self, name: str) -> bool:
        """See :class:`Files`."""
        return os.path.lexists(self.path / name)

    def exists(self) -> bool:
        """See :class:`Files`."""
        return self.path.exists()

    @contextmanager
    def opened(self, name: str, listed: Entry | None) -> Iterator[File]:
        """See :class:`Files`; a link is followed, as :meth:`misplaced` has seen where it leads."""
        with open_plain(self.path / name, follow=True) as file:
            found = _Opened(file)
            if listed and found.size != listed["size"]:
                raise ValueError("not as the manifest lists it")
            yield found

    def share(self, name: str, listed: Entry, target: Path) -> None:
        """See :class:`Files`."""
        try:
            os.link(self.path / name, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(self.path / name, target)
            sync(target)

    def misplaced(self, listed: Mapping[str, Entry]) -> dict[str, str]:
        """Files that are missing, of another size, not plain, or outside by a link."""
        root = os.path.realpath(self.path)
        folders = {name.rpartition("/")[0] for name in listed}
        outside = {f for f in folders if not _below(os.path.realpath(self.path / f), root)}
        faults = {}
        for name, entry in listed.items():
            try:
                found = os.lstat(self.path / name)
                leads_out = name.rpartition("/")[0] in outside
                if stat.S_ISLNK(found.st_mode) and not leads_out:
                    leads_out = not _below(os.path.realpath(self.path / name), root)
                    found = found if leads_out else os.stat(self.path / name)
                if leads_out:
                    faults[name] = "leads outside by a link"
                elif not stat.S_ISREG(found.st_mode):
                    faults[name] = "is not a plain file"
                elif found.st_size != entry["size"]:
                    faults[name] = f"is {found.st_size} bytes, not {entry['size']}"
            except OSError:
                faults[name] = "is missing"
        return faults

    def names(self) -> list[str]:
        """See :class:`Files`."""
        found = []
        for folder, folders, names in os.walk(self.path):
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            own = ((Path(folder) / name).relative_to(self.path) for name in (*names, *links))
            found += [path.as_posix() for path in own]
        return found

    def left(self) -> str:
        """See :class:`Files`."""
        old = replaced_path(self.path)
        return old.name if old.is_dir() and is_ours(old) else ""


class _Opened:
    """An open file of this machine."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def ranges(self, parts: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        return (os.pread(self._file.fileno(), length, start) for start, length in parts)

    def into(self, buffer: memoryview) -> bytes:
        self._file.readinto(buffer)
        return self._file.read(self.size - len(buffer))

    def sha256(self) -> str:
        return hashlib.file_digest(self._file, "sha256").hexdigest()


class Sought(Protocol):
    """An open file of ``size`` bytes, read from any place by any thread."""

    size: int

    def read_at(self, place: int, size: int) -> bytes:
        """At most ``size`` bytes from byte ``place`` on; none at the end."""

    def close(self) -> None:
        """Let go of it."""


class Single(Protocol):
    """A file that is read as it is, such as a VCF."""

    def is_file(self) -> bool:
        """Whether it is there, a regular file."""

    def is_pipe(self) -> bool:
        """Whether it is there and something else, which can be read only once."""

    def opened(self) -> Sought:
        """The file. Raises :class:`OSError`."""

    def standing(self) -> dict[str, int]:
        """``size``, and ``mtime_ns``, when it was written. Raises :class:`OSError`."""

    def looks(self) -> dict[str, Any]:
        """What is hardly ever the same of two contents, without reading all; raises as that."""

    @property
    def comes_whole(self) -> bool:
        """Whether reading all of it costs no more than reading some."""


def single_at(path: Place) -> Single:
    """What reads the file at ``path``. Raises as :func:`files_at`."""
    if isinstance(path, Address):
        from seal_store.store.remote import Object  # only with an address

        return Object(path)
    return _Single(path)


class _Single:
    """A file of this machine; a link to one is followed."""

    comes_whole = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_file(self) -> bool:
        return self._path.is_file()

    def is_pipe(self) -> bool:
        return self._path.exists() and not (self._path.is_file() or self._path.is_dir())

    def opened(self) -> Sought:
        return _Sought(open(self._path, "rb", buffering=0))

    def standing(self) -> dict[str, int]:
        found = self._path.stat()
        return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}

    def looks(self) -> dict[str, Any]:
        """:meth:`standing`, and a SHA-256 of blocks from beginning to end: all up to 1 MiB."""
        found, digest = self.standing(), hashlib.sha256()
        with open(self._path, "rb") as file:
            for i in range(_LOOKS):
                file.seek(i * max(0, found["size"] - _LOOK) // (_LOOKS - 1))
                digest.update(file.read(_LOOK))
        return {**found, "blocks": digest.hexdigest()}


class _Sought:
    """An open file of this machine."""

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.size = os.fstat(raw.fileno()).st_size
        self.close = raw.close

    def read_at(self, place: int, size: int) -> bytes:
        return os.pread(self._raw.fileno(), size, place)


def _below(real: str, root: str) -> bool:
    return real == root or real.startswith(root.rstrip("/") + "/")
