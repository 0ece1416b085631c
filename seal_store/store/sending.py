"""An output in a bucket: made on this machine, then sent object by object, the manifest last.

Nothing is renamed in a bucket, and an object is there whole or not at all. So a store or results
are what their manifest says: it is removed before anything is replaced, and written when all else
is there. Until then nothing opens them. What is made stands in ``OUT.partial`` on this machine,
with its lock and journal, as for an output here; sending takes the place of the last rename.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seal_store.common.beside import (
    GROUP,
    HEAD_BYTES,
    METADATA_BYTES,
    WHOLE,
    names_in,
    remove,
    unpacked,
)
from seal_store.common.extras import require
from seal_store.common.lock import LOCK_BYTES, boot_id
from seal_store.common.output import Output
from seal_store.errors import OutputError, RemoteError
from seal_store.store.address import WORK, Address, Entry
from seal_store.store.remote import asked, fetched, head, key_in_bucket, listed_below

AT_ONCE = 4
"""Objects that are sent at a time, each of which is held in memory."""

WHOLE_BYTES = 512 << 20
"""Objects up to this size are sent by one request; larger ones in parts, and then joined."""


class BucketOutput(Output):
    """See :class:`~seal_store.common.output.Output`; ``place`` is an address, ``path`` is not."""

    place: Address

    def __init__(self, place: Address, **how: Any) -> None:
        """Raises as its base, and :class:`MissingExtraError` without the extra `cloud`."""
        require("cloud", str(place))
        super().__init__(place.local, **how)
        self.place = place
        self._sent = self.path.with_name(f"{self.path.name}.sent")

    def __enter__(self) -> BucketOutput:
        """Raises :class:`OutputError` if another process writes it, here or elsewhere."""
        super().__enter__()
        try:
            self._held.enter_context(_locked(self.place))
        except BaseException:
            self._held.close()
            self._tidy()
            raise
        return self

    def __exit__(self, *failure: Any) -> None:
        """See its base; folders of unfinished work that are empty go."""
        super().__exit__(*failure)
        self._tidy()

    def _tidy(self) -> None:
        with suppress(OSError):
            for folder in self.path.parents:
                folder.rmdir()
                if folder.name == WORK:
                    break

    def exists(self) -> bool:
        """Whether a finished output is there."""
        return head(self.place / WHOLE if self.kind else self.place) is not None

    def take_place(self) -> None:
        """Send the folder ``partial``, but for what an earlier try has sent; then remove it."""
        text = (self.partial / WHOLE).read_bytes()
        files: dict[str, Entry] = json.loads(text)["files"]
        there, sent = listed_below(self.place), self._noted()
        is_sent = all(sent.get(n) == [e["sha256"], there.get(n)] for n, e in files.items())
        # what is there with the same manifest need not be whole, or why is it written again?
        if not is_sent or _read(self.place / WHOLE, len(text)) != text:
            if WHOLE in there:
                _delete(self.place / WHOLE)
            self._send(files, there)
            for name in there.keys() - files.keys() - {WHOLE}:
                _delete(self.place / name)
            _put(self.place / WHOLE, text, new=True)
        remove(self.partial)
        self._sent.unlink(missing_ok=True)

    def _send(self, files: dict[str, Entry], there: dict[str, str]) -> None:
        """Send ``files``, first of all what tells whose they are.

        Beside ``partial`` is noted what is sent, and as which version: one that is ``there``
        with that version need not be sent again.
        """
        done = self._noted()
        left = [
            name
            for name, entry in files.items()
            if name not in there or done.get(name) != [entry["sha256"], there[name]]
        ]
        left.sort(key=lambda name: name != GROUP)

        def send(name: str) -> list[str]:
            return [name, files[name]["sha256"], _put(self.place / name, self.partial / name)]

        with self._sent.open("a", encoding="utf-8") as note, ThreadPoolExecutor(AT_ONCE) as pool:
            for part in (left[:1], left[1:]):
                for one in pool.map(send, part):
                    note.write(json.dumps(one) + "\n")
                    note.flush()

    def _noted(self) -> dict[str, list[str]]:
        """SHA-256 and version of what was sent by name; a line that is not whole is none."""
        found = {}
        with suppress(FileNotFoundError):
            for line in self._sent.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    name, *of = json.loads(line)
                    found[name] = of
        return found

    def _put(self, file: Path, name: str) -> None:
        _put(self.place.with_name(name), file)
        file.unlink()

    def _drop(self, name: str) -> None:
        _delete(self.place.with_name(name))

    def _stands(self, name: str) -> bool:
        place = self.place.with_name(name)
        return bool(listed_below(place)) or head(place) is not None

    def _check_kind(self, name: str) -> None:
        place, why = self.place.with_name(name), ""
        if listed_below(place):
            group = _read(place / GROUP, METADATA_BYTES)
            own = bool(self.kind) and group is not None and self.kind in names_in(group)
            why = "" if own else "is a folder with other content"
        elif self.kind and name == self.path.name:
            why = "is a file, not a folder of seal-store"
        else:
            size = head(place)["size"]
            found = fetched(place, (0, min(size, HEAD_BYTES)), HEAD_BYTES) if size else b""
            why = self._wrong(name, unpacked(found))
        if why:
            raise OutputError(f"{place} {why}", "choose another `out`")


@contextmanager
def _locked(out: Address) -> Iterator[None]:
    """Be the one writer of ``out``, among all that keep to the object ``OUT.lock`` beside it.

    It is made only if it is not there, on a server that has ``If-None-Match``; on another one,
    two that begin at the same moment do not see each other. One that a process of this host left
    behind is taken over. Raises :class:`OutputError` for any other.
    """
    path = out.with_name(f"{out.name}.lock")
    since = datetime.now(UTC).isoformat(timespec="seconds")
    here = {"host": socket.gethostname(), "boot": boot_id()}
    own = json.dumps({**here, "pid": os.getpid(), "since": since, "key": os.urandom(8).hex()})
    try:
        _put(path, own.encode(), new=True)
    except OutputError:
        _check_left(path, here)
        _put(path, own.encode())
    try:
        yield
    finally:
        if _read(path, LOCK_BYTES) == own.encode():
            _delete(path)


def _check_left(path: Address, here: dict[str, str]) -> None:
    """Raise :class:`OutputError` unless the process whose lock ``path`` is has ended, as seen."""
    try:
        found = json.loads(_read(path, LOCK_BYTES) or b"{}")
        pid = int(found.get("pid", 0))
        host, boot, since = (str(found.get(name, "")) for name in ("host", "boot", "since"))
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise OutputError(
            f"{path} is no lock of seal-store", "move it away, or choose another `out`"
        ) from None
    if not found or ({"host": host, "boot": boot} == here and not _is_alive(pid)):
        return
    raise OutputError(
        f"{path}: is being written by process {pid} on {host} since {since}",
        "wait for it; if that process has ended, remove this object and try again",
    )


def _is_alive(pid: int) -> bool:
    """Whether a process of this host lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _put(path: Address, data: bytes | Path, *, new: bool = False) -> str:
    """Write an object whole; the mark of its version.

    If it is to be ``new``, :class:`OutputError` is raised where another one is there by now, on
    a server that can tell. A request that arrives twice is one.
    """
    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    how: Any = {"use_multipart": size > WHOLE_BYTES}

    def put(client: Any, mode: str) -> str:
        try:
            return str(client.put(key_in_bucket(path), data, mode=mode, **how)["e_tag"])
        except FileNotFoundError:
            raise RemoteError(
                f"{path.root}: no such bucket", "make it first, or check the address"
            ) from None

    if not new:
        return asked(path, lambda client: put(client, "overwrite"))
    try:
        return asked(path, lambda client: put(client, "create"))
    except FileExistsError:
        found = head(path)
    except RemoteError:  # was it the answer that was lost?
        found = head(path)
        if found is None or found["size"] != size:
            raise
    if _read(path, size) == data:
        return str(found["e_tag"]) if found else ""
    raise OutputError(f"{path}: another process has written it", "choose another `out`")


def _read(path: Address, most: int) -> bytes | None:
    """All of an object; None if there is none, or a larger one."""
    try:
        return fetched(path, None, most)
    except OSError:
        return None


def _delete(path: Address) -> None:
    """Remove an object, if it is there."""
    with suppress(FileNotFoundError):
        asked(path, lambda client: client.delete(key_in_bucket(path)))
