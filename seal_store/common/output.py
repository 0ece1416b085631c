"""Outputs by atomic rename: a file or folder is locked, written aside, renamed into place.

``OUT`` is written to the folder ``OUT.partial`` by the one process that holds its lock, and
renamed once all of it is on the disk; what stood there before stays until then. A link is
followed: what it names is replaced. What is left of ``OUT.partial`` when the writer stops:

- published: nothing;
- an exception: whatever a later run can go on from (a checkpoint) or has to end (renames that
  were begun), else nothing of what this run wrote;
- killed: all of it. The next run goes on, ends it, or replaces it, as its user says.

Whatever has the name of what stands beside an output and was not made here is never removed:
:mod:`seal_store.common.beside`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from seal_store.common.beside import (
    METADATA_BYTES,
    MOVE,
    OURS,
    PUBLISHED,
    Named,
    attribute_names,
    head,
    is_ours,
    partial_path,
    remove,
    replace,
    replaced_path,
)
from seal_store.common.files import local_path, sync, write_json
from seal_store.common.lock import check_named, hold
from seal_store.common.plain import read_plain
from seal_store.common.settle import settle
from seal_store.errors import OutputError

T = TypeVar("T")

JOURNAL = "journal"
TABLE = "table"
"""What an output other than a Zarr group is called in its ``.partial``."""
NEW = ".new"


class Output:
    """An output at ``path``; as a context manager, the right to write it.

    ``kind`` is the attribute by which a Zarr group of this kind is known, ``begins`` how a file
    of this kind does: a regular expression for :func:`head`. ``checkpoint`` names what is in
    ``partial`` once a later run can go on with it. ``names`` are the files that are published
    beside each other and how they begin, by default ``path`` alone; ``may_exist`` of them are
    there to be completed. ``beside`` has the endings of files that go with it, as an index, and
    how these begin. ``lock`` is the output whose lock is taken, by default ``path``.

    ``place`` is where the finished output is found, here ``path`` itself; one of another kind, as
    in a bucket, is written beside a ``path`` of this machine and differs in what is done below
    ``# How it takes its place``.
    """

    place: Named

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str = "",
        begins: bytes = b"",
        checkpoint: str = "",
        names: Mapping[str, bytes] | None = None,
        may_exist: Collection[str] = (),
        beside: Mapping[str, bytes] | None = None,
        lock: Path | None = None,
    ) -> None:
        """Raises :class:`InputError` for an address.

        :class:`OutputError` is raised without a name, or for one too long for what stands beside
        it, and for a link that leads nowhere but to itself.
        """
        self.path = self.place = check_named(resolved(local_path(path)))
        self.partial = partial_path(self.path)
        self.kind, self.checkpoint = kind, checkpoint
        names = names or {self.path.name: begins}
        self.names = tuple(names)
        self._new = [name for name in self.names if name not in may_exist]
        indexes = {self.path.name + ending: like for ending, like in (beside or {}).items()}
        self._beside, self._begins = tuple(indexes), {**names, **indexes}
        self._lock, self._held = lock or self.path, ExitStack()
        self._discard = False
        self.ended = False
        """Whether an earlier run, cut off while it published, was ended by this one."""
        for name in (replaced_path(self.path).name, *(f"{n}{NEW}.tmp" for n in self.names)):
            _check_length(self.path, name)

    def __enter__(self) -> Output:
        """Raises :class:`OutputError` if another process writes it.

        What a run that was killed had replaced and not yet removed is removed.
        """
        self._held.enter_context(hold(self._lock))
        old = replaced_path(self.path)
        if self.path.is_dir() and old.is_dir() and is_ours(old):
            remove(old)
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        """See the head of this module."""
        with self._held:
            if failure is not None:
                settle()
                if self._discard and not self.begun:
                    remove(self.partial)

    @property
    def begun(self) -> bool:
        """Whether an earlier run left what a later one can go on with."""
        return bool(self.checkpoint) and (self.partial / self.checkpoint).exists()

    def planned(self, read: Callable[[], T], *, overwrite: bool, resume: bool) -> T | None:
        """What ``read`` gives of a plan that is gone on with; None if one is to be made.

        ``read`` raises :class:`OutputError` for another plan, which ``overwrite`` lets go.
        """
        if not (self.begun and resume):
            return None
        try:
            return read()
        except OutputError:
            if not overwrite:
                raise
        return None

    def check(self, *, overwrite: bool = False, resume: bool = False) -> None:
        """Raise :class:`OutputError` if it exists and ``overwrite`` is false, or is not ours.

        ``resume`` allows what an unfinished run, which was allowed it, had begun.
        """
        left = os.path.lexists(self.partial)
        allowed = overwrite or (resume and left)
        existing = [name for name in (*self._new, *self._beside) if self._stands(name)]
        if existing and not allowed:
            if self.ended:
                raise OutputError(
                    f"{self.place} is finished now: an earlier run was cut off while it published",
                    "nothing is left to do; `overwrite=True` makes it anew",
                )
            raise OutputError(
                f"{self.place.with_name(existing[0])} exists already",
                "choose another `out` or add `overwrite=True`",
            )
        for name in existing:
            self._check_kind(name)
        if not self._is_ours():
            is_folder = self.partial.is_dir() and not self.partial.is_symlink()
            what = "is a folder with other content" if is_folder else "is no folder of seal-store"
            raise OutputError(f"{self.partial} {what}", "choose another `out`")
        if left and not allowed:
            go_on = "add `resume=True` to go on with it, or " if self.checkpoint else "add "
            raise OutputError(
                f"{self.partial} exists: an earlier run did not finish, or is still running",
                f"{go_on}`overwrite=True` to start again",
            )

    def _is_ours(self) -> bool:
        named = attribute_names(self.partial) if self.kind else set()
        if self.kind not in named and any(name.startswith(OURS) for name in named):
            return False  # a group of ours, of another kind
        names = {TABLE, JOURNAL, PUBLISHED, self.checkpoint, *self.names}
        return is_ours(self.partial, names)

    def claim(self, *, overwrite: bool = False, resume: bool = False) -> bool:
        """Make way for a new ``partial``, unless an earlier run is gone on with: whether it is.

        Raises as :meth:`check` does. The finished output stays until the new one is published.
        """
        if not (resume and self.begun):
            self.complete()
        self.check(overwrite=overwrite, resume=resume)
        if resume and self.begun:
            return True
        self._discard = True
        try:
            remove(self.partial)
            self.partial.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be written: {error.strerror}", "check `out`"
            ) from error
        return False

    def keep(self) -> None:
        """Say that ``partial`` is whole: whatever happens now, it stays until it is renamed."""
        self._discard = False

    def __getitem__(self, name: str) -> Path:
        """Where to write one of ``names``: not under its name, by which it might be found."""
        assert name in self.names
        return self.partial / (name + NEW)

    def publish(
        self,
        files: Mapping[str, str] | None = None,
        retract: Callable[[], None] | None = None,
    ) -> None:
        """Rename files of the folder ``partial`` to names beside it, in their order; remove it.

        ``files`` gives each one's new name, by default those of ``names``. They are on the disk
        before the first is renamed; a process killed after that leaves a list of them, by which
        :meth:`complete` ends it. ``retract`` is called before the first is: to take back what
        still names older files. Indexes that belonged to what stood at ``path`` are removed.
        """
        files = {name + NEW: name for name in self.names} if files is None else files
        for name in files:
            sync(self.partial / name)
        for name in self._beside:
            self._drop(name)
        if retract is not None:
            retract()
        write_json(self.partial / PUBLISHED, list(files.items()))
        self.keep()
        self._rename(files)

    def complete(self) -> None:
        """End a :meth:`publish` that was killed, if there is one."""
        try:
            files = dict(json.loads(read_plain(self.partial / PUBLISHED, METADATA_BYTES)))
        except (OSError, ValueError, TypeError, RecursionError):
            return
        known = {*self.names, *self._beside}
        if self._is_ours() and known.issuperset(map(str, files.values())):
            self.ended = True
            self._rename({name: to for name, to in files.items() if "/" not in name})

    def _rename(self, files: Mapping[str, str]) -> None:
        for name, target in files.items():
            if (self.partial / name).is_file():
                self._put(self.partial / name, target)
        remove(self.partial)

    # How it takes its place

    def exists(self) -> bool:
        """Whether a finished output is there."""
        return self.path.exists()

    def take_place(self) -> None:
        """Let the folder ``partial``, which is whole, take the place of what is there."""
        replace(self.partial, self.path)

    def _put(self, file: Path, name: str) -> None:
        replace(file, self.path.with_name(name))

    def _drop(self, name: str) -> None:
        remove(self.path.with_name(name))

    def _stands(self, name: str) -> bool:
        return os.path.lexists(self.path.with_name(name))

    def _check_kind(self, name: str) -> None:
        """Raise :class:`OutputError` unless what has that name is what would replace it."""
        place, why = self.path.with_name(name), ""
        if place.is_dir() and not place.is_symlink():
            own = place == self.path and (not any(place.iterdir()) or self._is_group(place))
            why = "" if own else "is a folder with other content"
            old = replaced_path(place)
            if own and not is_ours(old):
                place, why = old, "is in the way: it was not made by seal-store"
        elif self.kind and place == self.path:
            why = "is a file, not a folder of seal-store"
        else:
            try:
                why = self._wrong(name, head(place))
            except OSError as error:
                why = str(error.strerror)
        if why:
            raise OutputError(f"{place} {why}", "choose another `out`")

    def _is_group(self, folder: Path) -> bool:
        return bool(self.kind) and self.kind in attribute_names(folder)

    def _wrong(self, name: str, beginning: bytes) -> str:
        """Why a file of that ``beginning`` is none that would be replaced; empty if it is one."""
        own = not beginning or re.match(self._begins[name], beginning) is not None
        return "" if own else "is not a file that seal-store made"

    @contextmanager
    def scratch(self, suffix: str) -> Iterator[Path]:
        """An empty folder beside the output while the block runs.

        Raises :class:`OutputError` if something of that name is not what a run of ours left.
        """
        folder = self.path.with_name(self.path.name + suffix)
        if not is_ours(folder):
            raise OutputError(f"{folder} is in the way: it was not made by seal-store", MOVE)
        remove(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            settle()
            remove(folder)


def resolved(path: Path) -> Path:
    """``path``, or what it names as a link. Raises :class:`OutputError` for one to itself."""
    if not path.is_symlink():
        return path
    place = Path(os.path.realpath(path))
    if place.is_symlink():
        raise OutputError(f"{path} is a link that leads to itself", "choose another `out`")
    return place


def _check_length(path: Path, name: str) -> None:
    """Raise :class:`OutputError` if ``name``, made from that of ``path``, is too long for it."""
    most = 255
    with suppress(OSError, ValueError):
        most = os.pathconf(path.parent, "PC_NAME_MAX")
    if (over := len(os.fsencode(name)) - most) > 0:
        raise OutputError(
            f"{path.name}: the name is too long for what is written beside it",
            f"shorten it by {over} bytes",
        )
