"""Downloads of Seal's published files that can be interrupted anywhere and go on.

``FILE.part`` grows beside ``FILE.part.json``, which says which version of the file it is the
beginning of. The rest is asked for only of that version; another one is begun afresh. ``FILE``
appears when it is complete, checked and synced, then ``FILE.sha256`` with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from seal_store.common.files import sync, write_json
from seal_store.common.lock import hold
from seal_store.common.progress import Progress, silent
from seal_store.errors import DownloadError, OutputError
from seal_store.fetch.transfer import CHUNK, Again, Answer, Changed, Version, check_url, get


@dataclass(frozen=True)
class Download:
    """A published file: an entry of ``resources/downloads.json``.

    ``folder``: what it is unpacked to. ``size`` in bytes and the checksums are None where they
    are not known.
    """

    name: str
    file: str
    folder: str
    url: str
    page: str
    holds: str
    licence: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def checksum(self) -> tuple[str, str] | None:
        """The strongest checksum known: its kind and value."""
        known = (("sha256", self.sha256), ("md5", self.md5))
        return next(((kind, value) for kind, value in known if value), None)

    def urls(self, base_urls: Sequence[str] = ()) -> list[str]:
        """Where it is: below each of ``base_urls``, or where it was published.

        Raises :class:`InputError` for an address that is neither https nor http to this machine.
        """
        found = [f"{base.rstrip('/')}/{self.file}" for base in base_urls] or [self.url]
        for url in found:
            check_url(url)
        return found


@dataclass(frozen=True)
class Patience:
    """How failures are met.

    ``timeout``: seconds without a byte. After ``retries`` failures without progress in between
    it is given up. The pause before a retry is ``backoff`` seconds, then doubles, up to
    ``longest``; a server may ask for a longer one than due, up to the same.
    """

    timeout: float = 60.0
    retries: int = 5
    backoff: float = 1.0
    longest: float = 120.0


@dataclass(frozen=True)
class Fetched:
    """A complete file. ``checked``: the kind of checksum it agreed with, empty if none is known.

    ``new`` is false if it was there before.
    """

    path: Path
    size: int
    sha256: str
    checked: str
    new: bool


def downloads() -> dict[str, Download]:
    """The published files by name."""
    text = files("seal_store.resources").joinpath("downloads.json").read_text(encoding="utf-8")
    return {name: Download(name, **facts) for name, facts in json.loads(text).items()}


def by_hand(download: Download, folder: Path) -> str:
    """What to do where there is no network, one step a line."""
    facts = [
        f"{kind} {value}"
        for kind, value in (
            ("size", download.size),
            ("md5", download.md5),
            ("sha256", download.sha256),
        )
        if value
    ]
    return (
        f"{download.name}: {download.holds}\n"
        f"  download {download.url}\n"
        f"  (page: {download.page}{''.join(f'; {fact}' for fact in facts)})\n"
        f"  to       {folder / download.file}\n"
        f"  then     seal-store fetch {download.name} --to {folder}"
    )


def fetch(
    download: Download,
    folder: Path,
    *,
    base_urls: Sequence[str] = (),
    patience: Patience | None = None,
    progress: Progress = silent,
    note: Callable[[str], None] = lambda text: None,
) -> Fetched:
    """Download to ``folder``, from the first address that gives the whole file.

    A file that is there is not fetched again. ``note`` hears of failures that are tried again.
    Raises :class:`DownloadError` if no address gives the file or it has another size or
    checksum than is known, :class:`OutputError` if the folder cannot be written or has no room.
    """
    patience = patience or Patience()
    urls = download.urls(base_urls)
    prepare(folder)
    target = folder / download.file
    with hold(target):
        if target.exists():
            return _present(download, target, progress)
        part = _Part(target, download)
        for url, following in zip(urls, [*urls[1:], ""], strict=True):
            try:
                _download(url, part, patience, progress, note)
                _verify(download, part)
                break
            except DownloadError as error:
                if not following:
                    raise
                note(f"{error}; trying {following}")
        part.publish()
        sha256 = part.digests["sha256"].hexdigest()
        _record(target, sha256)
        checked = download.checksum[0] if download.checksum else ""
        return Fetched(target, target.stat().st_size, sha256, checked, new=True)


def prepare(folder: Path) -> None:
    """Make a folder to write to. Raises :class:`OutputError` if that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: not a folder that can be made ({error.strerror})", "check --to"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: cannot be written to", "check --to")


def _download(
    url: str,
    part: _Part,
    patience: Patience,
    progress: Progress,
    note: Callable[[str], None],
) -> None:
    """Make ``part`` complete from ``url``; failures with progress in between are forgiven."""
    failures, farthest = 0, part.have(url)
    while True:
        try:
            _request(url, part, patience.timeout, progress)
            return
        except Again as error:
            if isinstance(error, Changed):
                part.drop()
            have = part.have(url)
            failures = 1 if have > farthest else failures + 1
            farthest = max(farthest, have)
            if failures > patience.retries:
                goes_on = ", it goes on" if have else ""
                raise DownloadError(
                    f"{url}: {error}",
                    f"check the network and run the same command again{goes_on}; or give a "
                    "mirror with --base-url; --offline says how to do it by hand",
                ) from error
            pause = max(error.wait, patience.backoff * 2 ** (failures - 1))
            pause = min(pause, patience.longest)
            note(f"{url}: {error}; trying again in {pause:.3g} s")
            time.sleep(pause)


def _request(url: str, part: _Part, timeout: float, progress: Progress) -> None:
    begun, have = part.version(url), part.have(url)
    if begun is not None and begun.size == have > 0:
        part.hash_to(have, progress)
        return  # all of it was there when an earlier run ended
    with get(url, begun, have, timeout) as answer:
        part.go_on(answer, progress)
        done = answer.start
        unit = f"bytes of {part.target.name}"
        progress(unit, done, answer.version.size)
        for block in answer.blocks():
            part.append(block)
            done += len(block)
            progress(unit, done, answer.version.size)
    if answer.version.size not in (None, done):
        raise Again(f"only {done:,} of {answer.version.size:,} bytes were given")


class _Part:
    """The beginning of a file on disk, the version that it is of, and its digests so far."""

    def __init__(self, target: Path, download: Download) -> None:
        self.target, self.expected = target, download.size
        self.path = target.with_name(target.name + ".part")
        self.sidecar = target.with_name(target.name + ".part.json")
        self.kinds = ["sha256", *(["md5"] if download.md5 else [])]
        self._reset()

    def _reset(self) -> None:
        self.hashed = 0
        self.digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in self.kinds}

    def version(self, url: str) -> Version | None:
        """What the part is the beginning of, if it came from ``url``."""
        try:
            found = Version(**json.loads(self.sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.url == url else None

    def have(self, url: str) -> int:
        """Bytes there from ``url``."""
        if self.version(url) is None or not self.path.is_file():
            return 0
        return self.path.stat().st_size

    def drop(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)
        self._reset()

    def go_on(self, answer: Answer, progress: Progress) -> None:
        """Get ready for the bytes of ``answer``; afresh if it starts at 0.

        Raises :class:`OutputError` if they do not fit on the disk, :class:`DownloadError` if
        the file has another size than is known.
        """
        size = answer.version.size
        if size is not None and self.expected is not None and size != self.expected:
            raise DownloadError(
                f"{answer.version.url}: {size:,} bytes, expected {self.expected:,}",
                "it is another file; try another mirror with --base-url",
            )
        if answer.start == 0:
            self.drop()
        free = shutil.disk_usage(self.path.parent).free
        if size is not None and size - answer.start > free:
            raise OutputError(
                f"{self.target.name} needs {size - answer.start:,} bytes, {self.path.parent} has "
                f"{free:,} left",
                "make room or choose another folder with --to",
            )
        with self._disk():
            if answer.start == 0:
                write_json(self.sidecar, asdict(answer.version))
                self.path.touch()
        self.hash_to(answer.start, progress)

    def hash_to(self, size: int, progress: Progress) -> None:
        """Bring the digests to the first ``size`` bytes, reading what an earlier run wrote."""
        if self.hashed == size:
            return
        self._reset()
        with self._disk(), self.path.open("rb") as handle:
            while self.hashed < size and (block := handle.read(min(CHUNK, size - self.hashed))):
                self._hash(block)
                progress(f"bytes of {self.target.name} checked", self.hashed, size)

    def _hash(self, block: bytes) -> None:
        self.hashed += len(block)
        for digest in self.digests.values():
            digest.update(block)

    def append(self, block: bytes) -> None:
        """Write the next bytes. Raises :class:`OutputError` if the disk is full."""
        with self._disk(), self.path.open("ab", buffering=0) as out:
            left = memoryview(block)
            while left:
                left = left[out.write(left) :]
        self._hash(block)

    def publish(self) -> None:
        """Sync it and give it its name."""
        with self._disk():
            sync(self.path)
            os.replace(self.path, self.target)
            sync(self.target.parent)
            self.sidecar.unlink(missing_ok=True)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self.path}: {error.strerror or error}",
                "what is there is kept: make room and run the same command again, it goes on",
            ) from error


def _verify(download: Download, part: _Part) -> None:
    """Compare size and checksum with what is known; a part that differs is forgotten."""
    found = {kind: digest.hexdigest() for kind, digest in part.digests.items()}
    try:
        _compare(download, part.hashed, found, part.target)
    except DownloadError:
        part.drop()
        raise


def _compare(download: Download, size: int, found: dict[str, str], path: Path) -> None:
    if download.size is not None and size != download.size:
        raise DownloadError(
            f"{path}: {size:,} bytes, expected {download.size:,}",
            "remove it if it is there, and fetch it again",
        )
    if download.checksum is not None:
        kind, value = download.checksum
        if found[kind] != value.lower():
            raise DownloadError(
                f"{path}: {kind} {found[kind]}, expected {value}",
                "remove it if it is there, and fetch it again",
            )


def _present(download: Download, path: Path, progress: Progress) -> Fetched:
    """A file that is there: read and compared with what is known and with what was recorded."""
    part = _Part(path, download)
    part.path = path
    size = path.stat().st_size
    part.hash_to(size, progress)
    found = {kind: digest.hexdigest() for kind, digest in part.digests.items()}
    _compare(download, size, found, path)
    record = _record_path(path)
    if record.is_file():
        recorded = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
        if recorded != found["sha256"]:
            raise DownloadError(
                f"{path}: sha256 {found['sha256']}, but {recorded} when it was downloaded",
                f"it is damaged or another file: remove it and fetch it again, or remove "
                f"{record.name} if it is as it should be",
            )
    else:
        _record(path, found["sha256"])
    checked = download.checksum[0] if download.checksum else ""
    return Fetched(path, size, found["sha256"], checked, new=False)


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _record(path: Path, sha256: str) -> None:
    """Write the SHA-256 beside a file, as ``sha256sum --check`` reads it."""
    aside = _record_path(path).with_suffix(".tmp")
    aside.write_text(f"{sha256}  {path.name}\n", encoding="utf-8")
    os.replace(aside, _record_path(path))
