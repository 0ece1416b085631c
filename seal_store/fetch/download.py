"""Downloads of Seal's published files that can be interrupted anywhere and go on.

``FILE.part`` grows beside ``FILE.part.json``, which says which version of the file it is the
beginning of. The rest is asked for only of that version; another one is begun afresh. ``FILE``
appears when it is complete, checked and synced, then ``FILE.sha256`` with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

from seal_store.common.files import replace_synced, write_json, write_text
from seal_store.common.lock import hold
from seal_store.common.progress import Progress, silent
from seal_store.errors import DownloadError, OutputError, SealStoreError
from seal_store.fetch.transfer import MIRROR, Again, Version, check_url, get

Note = Callable[[str], None]
BLOCK, RECORD_BYTES = 1 << 20, 4 << 20
"""Bytes that are read at once, and most of a record that are."""
LARGEST_FILE = 200 << 30
"""Most bytes of a file whose size is not known."""
ROOM_LEFT = 256 << 20
"""Bytes of the disk that a file of unknown size leaves free."""
GIVEN_UP = (
    "check the network and run the same command again{}; or give a mirror with `base_urls`; "
    "`seal-store fetch --offline` says how to do it by hand"
)
ROOM = "make room and run the same command again"


@dataclass(frozen=True)
class Download:
    """A published file: an entry of ``resources/downloads.json``.

    ``folder``: what it is unpacked to. ``record``: where Zenodo says its size and MD5; None to
    ask nobody. ``size`` in bytes and the checksums are None where they are not known ahead.
    """

    name: str
    file: str
    folder: str
    url: str
    page: str
    holds: str
    licence: str
    record: str | None = None
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
    known = ((kind, getattr(download, kind)) for kind in ("size", "md5", "sha256"))
    facts = "".join(f"; {kind} {value}" for kind, value in known if value)
    return (
        f"{download.name}: {download.holds}\n"
        f"  download {download.url}\n"
        f"  (page: {download.page}{facts})\n"
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
    note: Note = lambda text: None,
) -> Fetched:
    """Download to ``folder``, from the first address that gives the whole file.

    A file that is there is not fetched again. ``note`` hears of failures that are tried again,
    and of a record that does not answer: the download then goes on without its size and MD5.
    Raises :class:`DownloadError` if no address gives the file or it has another size or
    checksum than is known, :class:`OutputError` if the folder cannot be written or has no room.
    """
    patience, target = patience or Patience(), folder / download.file
    urls = download.urls(base_urls)
    with hold(target):
        try:
            if target.exists():
                part = _Part(download, target, progress)
                found = part.checked(target)
            else:
                part = _Part(_as_recorded(download, patience, note), target, progress)
                found = part.fetched(urls, patience, note)
                part.publish()
            if found.new or not part.sums.is_file():  # as ``sha256sum --check`` reads it
                write_text(part.sums, f"{found.sha256}  {target.name}\n")
            return found
        except SealStoreError:
            raise
        except OSError as error:
            why = f"{error.filename or target}: {error.strerror or error}"
            raise OutputError(why, f"{ROOM}: what is there is kept") from error


def _as_recorded(download: Download, patience: Patience, note: Note) -> Download:
    """With the size and MD5 that Zenodo's record gives, where they are not known already."""
    if download.record is None:
        return download
    check_url(download.record)
    try:
        with get(download.record, None, 0, min(patience.timeout, 10.0)) as (_, body):
            text = body.read(RECORD_BYTES)
        listed = {file["key"]: file for file in json.loads(text)["files"]}[download.file]
        size, (kind, _, value) = listed["size"], listed["checksum"].partition(":")
        if type(size) is not int or size < 0 or kind != "md5" or len(bytes.fromhex(value)) != 16:
            raise ValueError(f"size {size!r:.40}, checksum {listed['checksum']!r:.80}")
        return replace(download, size=download.size or size, md5=download.md5 or value)
    except (Again, DownloadError) as error:
        why = str(error)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"no answer that can be read ({type(error).__name__}: {str(error)[:100]})"
    note(f"{download.record}: {why}; going on without the size and checksum that it may give")
    return download


class _Part:
    """The beginning of a file on disk, and the version that it is of."""

    def __init__(self, download: Download, target: Path, progress: Progress) -> None:
        self.download, self.target, self.progress = download, target, progress
        self.path, self.sidecar, self.sums = (
            target.with_name(target.name + ending) for ending in (".part", ".part.json", ".sha256")
        )

    def begun(self, url: str) -> tuple[Version | None, int]:
        """Which version the part is of, if it came from ``url``, and the bytes there are of it."""
        try:
            found = Version(**json.loads(self.sidecar.read_text(encoding="utf-8")))
            if found.url == url:
                return found, self.path.stat().st_size
        except (OSError, ValueError, TypeError):
            pass
        return None, 0

    def drop(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def publish(self) -> None:
        """Sync it and give it its name."""
        replace_synced(self.path, self.target)
        self.sidecar.unlink(missing_ok=True)

    def fetched(self, urls: list[str], patience: Patience, note: Note) -> Fetched:
        """Make it complete from the first of ``urls`` that gives all of the file, and check it."""
        try:
            self._complete(urls[0], patience, note)
            return self.checked(self.path)
        except DownloadError as error:
            if len(urls) == 1:
                raise
            note(f"{error}; trying {urls[1]}")
        return self.fetched(urls[1:], patience, note)

    def _complete(self, url: str, patience: Patience, note: Note) -> None:
        """Fetch the rest; failures with progress in between are forgiven."""
        failures, farthest = 0, self.begun(url)[1]
        while True:
            try:
                return self._request(url, patience.timeout)
            except Again as error:
                version, have = self.begun(url)
                failures = 1 if have > farthest else failures + 1
                farthest = max(farthest, have)
                if failures > patience.retries:
                    goes_on = ", it goes on" * bool(version and version.validator and have)
                    raise DownloadError(f"{url}: {error}", GIVEN_UP.format(goes_on)) from error
                due = max(error.wait, patience.backoff * 2 ** (failures - 1))
                pause = min(due, patience.longest)
                note(f"{url}: {error}; trying again in {pause:.3g} s")
            time.sleep(pause)

    def _request(self, url: str, timeout: float) -> None:
        begun, have = self.begun(url)
        if begun is not None and begun.size == have > 0:
            return  # all of it was there when an earlier run ended
        with get(url, begun, have, timeout) as (version, body):
            size, expected = version.size, self.download.size
            done = have if version is begun else 0
            if None not in (size, expected) and size != expected:
                raise DownloadError(f"{url}: {size:,} bytes, expected {expected:,}", MIRROR)
            if done == 0:
                self.drop()
            self._check_room(version, done)
            if done == 0:
                write_json(self.sidecar, asdict(version))
            with self.path.open("ab") as out:
                self.progress(f"bytes of {self.target.name}", done, size)
                while block := body.read1(BLOCK):
                    done += len(block)
                    if size is None:
                        self._check_room(version, done)
                    out.write(block)
                    self.progress(f"bytes of {self.target.name}", done, size)
        if size not in (None, done):
            raise Again(f"only {done:,} of {size:,} bytes were given")

    def _check_room(self, version: Version, done: int) -> None:
        """Raise :class:`OutputError` if what comes after ``done`` bytes does not fit on the disk.

        What has no end is forgotten then, and for a :class:`DownloadError` when it goes too far.
        """
        size, free = version.size, shutil.disk_usage(self.path.parent).free
        most, need = self.download.size or LARGEST_FILE, ROOM_LEFT if size is None else size - done
        if size is None and (done > most or need > free):
            self.drop()
        if size is None and done > most:
            why = f"{version.url}: gives more than {most:,} bytes, and no end"
            raise DownloadError(why, MIRROR)
        if need > free:
            text = f"{self.target.name} fills the disk: it needs {need:,} bytes"
            raise OutputError(f"{text}, {self.path.parent} has {free:,} left", ROOM)

    def checked(self, path: Path) -> Fetched:
        """Read a complete file, the part or the target.

        Raises :class:`DownloadError` unless it is as known; the part is then forgotten.
        """
        kind, value = self.download.checksum or ("sha256", "")
        digests = {k: hashlib.new(k, usedforsecurity=False) for k in ("sha256", kind)}
        size, done, wrong = path.stat().st_size, 0, ""
        with path.open("rb") as handle:
            while block := handle.read(BLOCK):
                for digest in digests.values():
                    digest.update(block)
                done += len(block)
                self.progress(f"bytes of {self.target.name} checked", done, size)
        sha256, found = digests["sha256"].hexdigest(), digests[kind].hexdigest()
        hint, recorded = "remove it if it is there, and fetch it again", sha256
        if path == self.target and self.sums.is_file():
            recorded = self.sums.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
        if self.download.size not in (None, size):
            wrong = f"{size:,} bytes, expected {self.download.size:,}"
        elif value and found != value.lower():
            wrong = f"{kind} {found}, expected {value}"
        elif recorded != sha256:
            wrong = f"sha256 {sha256}, but {recorded} when it was downloaded"
            hint += f"; or remove {self.sums.name} if it is as it should be"
        if wrong:
            if path == self.path:
                self.drop()
            raise DownloadError(f"{self.target}: {wrong}", hint)
        return Fetched(self.target, size, sha256, kind if value else "", new=path == self.path)
