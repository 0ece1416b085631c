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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

from seal_store.common.files import replace_synced, write_json, write_text
from seal_store.common.lock import hold
from seal_store.common.progress import Progress, silent
from seal_store.errors import DownloadError, OutputError, SealStoreError
from seal_store.fetch.transfer import MIRROR, Again, Answer, Changed, Version, check_url, get

Note = Callable[[str], None]
GIVEN_UP = (
    "check the network and run the same command again, it goes on; or give a mirror with "
    "`base_urls`; `seal-store fetch --offline` says how to do it by hand"
)
RECORD_BYTES = 4 << 20
"""Most bytes of a record that are read."""
BLOCK = 1 << 20
"""Bytes that are read at once."""


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
    patience = patience or Patience()
    urls = download.urls(base_urls)
    target = folder / download.file
    with hold(target), _disk(target):
        if target.exists():
            return _present(download, target, progress)
        if download.record is not None:
            download = _as_recorded(download, download.record, patience, note)
        part = _Part(target, download.size)
        for url, following in zip(urls, [*urls[1:], ""], strict=True):
            try:
                _download(url, part, patience, progress, note)
                found = part.verified(download, progress)
                break
            except DownloadError as error:
                if not following:
                    raise
                note(f"{error}; trying {following}")
        part.publish()
        _write_sum(found)
        return found


@contextmanager
def _disk(target: Path) -> Iterator[None]:
    """What the disk does, as :class:`OutputError`."""
    try:
        yield
    except SealStoreError:
        raise
    except OSError as error:
        raise OutputError(
            f"{error.filename or target}: {error.strerror or error}",
            "what is there is kept: make room and run the same command again, it goes on",
        ) from error


def _as_recorded(download: Download, record: str, patience: Patience, note: Note) -> Download:
    """With the size and MD5 that Zenodo's record gives, where they are not known already."""
    check_url(record)
    try:
        with get(record, None, 0, min(patience.timeout, 10.0)) as answer:
            text = answer.body.read(RECORD_BYTES)
        listed = {file["key"]: file for file in json.loads(text)["files"]}[download.file]
        size, (kind, _, value) = listed["size"], listed["checksum"].partition(":")
        if type(size) is not int or size < 0 or kind != "md5" or len(bytes.fromhex(value)) != 16:
            raise ValueError(f"size {size!r:.40}, checksum {listed['checksum']!r:.80}")
    except (Again, DownloadError) as error:
        why = str(error)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"no answer that can be read ({type(error).__name__}: {str(error)[:100]})"
    else:
        return replace(download, size=download.size or size, md5=download.md5 or value)
    note(f"{record}: {why}; going on without the size and checksum that it may give")
    return download


def _download(url: str, part: _Part, patience: Patience, progress: Progress, note: Note) -> None:
    """Make ``part`` complete from ``url``; failures with progress in between are forgiven."""
    failures, farthest = 0, part.begun(url)[1]
    while True:
        try:
            return _request(url, part, patience.timeout, progress)
        except Again as error:
            if isinstance(error, Changed):
                part.drop()
            have = part.begun(url)[1]
            failures = 1 if have > farthest else failures + 1
            farthest = max(farthest, have)
            if failures > patience.retries:
                raise DownloadError(f"{url}: {error}", GIVEN_UP) from error
            due = max(error.wait, patience.backoff * 2 ** (failures - 1))
            pause = min(due, patience.longest)
            note(f"{url}: {error}; trying again in {pause:.3g} s")
        time.sleep(pause)


def _request(url: str, part: _Part, timeout: float, progress: Progress) -> None:
    begun, have = part.begun(url)
    if begun is not None and begun.size == have > 0:
        return  # all of it was there when an earlier run ended
    unit = f"bytes of {part.target.name}"
    with get(url, begun, have, timeout) as answer:
        part.go_on(answer)
        done, size = answer.start, answer.version.size
        progress(unit, done, size)
        with part.path.open("ab") as out:
            while block := answer.body.read1(BLOCK):
                out.write(block)
                done += len(block)
                progress(unit, done, size)
    if size not in (None, done):
        raise Again(f"only {done:,} of {size:,} bytes were given")


class _Part:
    """The beginning of a file on disk, and the version that it is of."""

    def __init__(self, target: Path, expected: int | None) -> None:
        self.target, self.expected = target, expected
        self.path = target.with_name(target.name + ".part")
        self.sidecar = target.with_name(target.name + ".part.json")

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

    def go_on(self, answer: Answer) -> None:
        """Get ready for the bytes of ``answer``; afresh if it starts at 0.

        Raises :class:`OutputError` if they do not fit on the disk, :class:`DownloadError` if
        the file has another size than is known.
        """
        size, start = answer.version.size, answer.start
        if None not in (size, self.expected) and size != self.expected:
            url = answer.version.url
            raise DownloadError(f"{url}: {size:,} bytes, expected {self.expected:,}", MIRROR)
        if start == 0:
            self.drop()
        free = shutil.disk_usage(self.path.parent).free
        if size is not None and size - start > free:
            needs = f"{self.target.name} needs {size - start:,} bytes"
            hint = "make room or choose another `folder`"
            raise OutputError(f"{needs}, {self.path.parent} has {free:,} left", hint)
        if start == 0:
            write_json(self.sidecar, asdict(answer.version))

    def verified(self, download: Download, progress: Progress) -> Fetched:
        """What the complete part is; forgotten if that is not what is known of it."""
        try:
            return _verified(download, self.path, progress, new=True)
        except DownloadError:
            self.drop()
            raise

    def publish(self) -> None:
        """Sync it and give it its name."""
        replace_synced(self.path, self.target)
        self.sidecar.unlink(missing_ok=True)


def _verified(download: Download, path: Path, progress: Progress, *, new: bool) -> Fetched:
    """Read a complete file; raises :class:`DownloadError` unless it is as known."""
    kind, value = download.checksum or ("sha256", "")
    digests = {k: hashlib.new(k, usedforsecurity=False) for k in ("sha256", kind)}
    target, size, done = path.with_name(download.file), path.stat().st_size, 0
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            for digest in digests.values():
                digest.update(block)
            done += len(block)
            progress(f"bytes of {target.name} checked", done, size)
    sha256, found = digests["sha256"].hexdigest(), digests[kind].hexdigest()
    hint = "remove it if it is there, and fetch it again"
    if download.size not in (None, size):
        raise DownloadError(f"{target}: {size:,} bytes, expected {download.size:,}", hint)
    if value and found != value.lower():
        raise DownloadError(f"{target}: {kind} {found}, expected {value}", hint)
    return Fetched(target, size, sha256, kind if value else "", new=new)


def _present(download: Download, path: Path, progress: Progress) -> Fetched:
    """A file that is there: compared with what is known and with what was recorded."""
    found = _verified(download, path, progress, new=False)
    record = _sum_path(path)
    if not record.is_file():
        _write_sum(found)
        return found
    recorded = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    if recorded != found.sha256:
        raise DownloadError(
            f"{path}: sha256 {found.sha256}, but {recorded} when it was downloaded",
            f"it is damaged or another file: remove it and fetch it again, or remove "
            f"{record.name} if it is as it should be",
        )
    return found


def _sum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _write_sum(found: Fetched) -> None:
    """Write the SHA-256 beside a file, as ``sha256sum --check`` reads it."""
    write_text(_sum_path(found.path), f"{found.sha256}  {found.path.name}\n")
