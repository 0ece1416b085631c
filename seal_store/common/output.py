"""Outputs by atomic rename: a file or folder is locked, written aside, renamed into place.

``OUT`` is written to ``OUT.partial`` by the one process that holds its lock, and renamed once all
of it is on the disk; what stood there before stays until then. A link is followed: what it names
is replaced. What is left of ``OUT.partial`` when the writer stops:

- published: nothing;
- an exception: whatever a later run can go on from (a checkpoint) or has to end (renames that
  were begun), else nothing of what this run wrote;
- killed: all of it. The next run goes on, ends it, or replaces it, as its user says.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from seal_store.common.files import local_path, sync, write_json
from seal_store.common.lock import check_named, hold
from seal_store.errors import OutputError

GROUP = "zarr.json"
METADATA_BYTES = 4 << 20
"""Largest ``zarr.json`` of a group that is read."""

JOURNAL = "journal"
PUBLISHED = "published.json"
TABLE = "table"
"""What an output other than a Zarr group is called in its ``.partial``."""
NEW = ".new"


class Output:
    """An output at ``path``; as a context manager, the right to write it.

    ``kind`` is the attribute by which a Zarr group of this kind is known. ``checkpoint`` names
    what is in ``partial`` once a later run can go on with it. ``names`` are the files that are
    published beside each other, by default ``path`` alone; ``may_exist`` of them are there to be
    completed. ``lock`` is the output whose lock is taken, by default ``path``.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        kind: str = "",
        checkpoint: str = "",
        names: Sequence[str] = (),
        may_exist: Collection[str] = (),
        lock: Path | None = None,
    ) -> None:
        """Raises :class:`InputError` for an address, :class:`OutputError` without a name."""
        place = check_named(local_path(path))
        self.path = place.resolve() if place.is_symlink() else place
        self.partial = partial_path(self.path)
        self.kind, self.checkpoint = kind, checkpoint
        self.names = tuple(names) or (self.path.name,)
        self._new = [name for name in self.names if name not in may_exist]
        self._lock, self._held = lock or self.path, ExitStack()
        self._discard = False

    def __enter__(self) -> Output:
        """Raises :class:`OutputError` if another process writes it."""
        self._held.enter_context(hold(self._lock))
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        """See the head of this module."""
        with self._held:
            if failure is not None and self._discard and not self.begun:
                remove(self.partial)

    @property
    def begun(self) -> bool:
        """Whether an earlier run left what a later one can go on with."""
        return bool(self.checkpoint) and (self.partial / self.checkpoint).exists()

    def check(self, *, overwrite: bool = False, resume: bool = False) -> None:
        """Raise :class:`OutputError` if it exists and ``overwrite`` is false, or is not ours.

        ``resume`` allows what an unfinished run, which was allowed it, had begun.
        """
        left = self.partial.exists()
        allowed = overwrite or (resume and left)
        existing = [self.path.with_name(n) for n in self._new if self.path.with_name(n).exists()]
        if existing and not allowed:
            raise OutputError(
                f"{existing[0]} exists already", "choose another `out` or add `overwrite=True`"
            )
        full = self.path.is_dir() and any(self.path.iterdir())
        foreign = full and self.kind not in attribute_names(self.path)
        if foreign or (self.partial.is_dir() and not self._is_ours()):
            raise OutputError(
                f"{self.path if foreign else self.partial} is a folder with other content",
                "choose another `out`",
            )
        if left and not allowed:
            go_on = "add `resume=True` to go on with it, or " if self.checkpoint else "add "
            raise OutputError(
                f"{self.partial} exists: an earlier run did not finish, or is still running",
                f"{go_on}`overwrite=True` to start again",
            )

    def claim(self, *, overwrite: bool = False, resume: bool = False) -> bool:
        """Make way for a new ``partial``, unless an earlier run is gone on with: whether it is.

        Raises as :meth:`check` does. The finished output stays until the new one is published.
        """
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

    def _is_ours(self) -> bool:
        """Whether a folder has nothing but what a run of ours left in it, killed however early."""
        own = {TABLE, JOURNAL, PUBLISHED.split(".")[0], self.checkpoint, *self.names} - {""}
        others = [
            file.name
            for file in self.partial.iterdir()
            if not file.name.endswith(".partial")
            and not any(file.name == name or file.name.startswith(f"{name}.") for name in own)
        ]
        is_group = bool(attribute_names(self.partial))
        return not others or is_group or (bool(self.kind) and _is_debris(self.partial))

    def __getitem__(self, name: str) -> Path:
        """Where to write one of ``names``: not under its name, by which it might be found."""
        assert name in self.names
        return self.partial / (name + NEW)

    def publish(self, retract: Callable[[], None] | None = None) -> None:
        """Rename what is in ``partial``: the file that it is, or the files that are ``names``.

        ``retract`` is called before the first is: to take back what still names older files.
        """
        if self.partial.is_dir():
            self.publish_files({name + NEW: name for name in self.names}, retract)
        else:
            sync(self.partial)
            replace(self.partial, self.path)

    def publish_files(
        self, files: Mapping[str, str], retract: Callable[[], None] | None = None
    ) -> None:
        """Rename files of the folder ``partial`` to names beside it, in their order; remove it.

        ``files`` gives each one's new name. They are on the disk before the first is renamed; a
        process killed after that leaves a list of them, by which :meth:`complete` ends it.
        """
        for name in files:
            sync(self.partial / name)
        if retract is not None:
            retract()
        write_json(self.partial / PUBLISHED, list(files.items()))
        self.keep()
        self.complete()

    def complete(self) -> None:
        """End a :meth:`publish_files` that was killed, if there is one."""
        try:
            files = json.loads((self.partial / PUBLISHED).read_text(encoding="utf-8"))
        except OSError:
            return
        for name, target in dict(files).items():
            if (self.partial / name).exists():
                replace(self.partial / name, self.path.with_name(target))
        remove(self.partial)

    def remove_beside(self, *suffixes: str) -> None:
        """Remove files that belonged to what stood at ``path``, as an index."""
        for suffix in suffixes:
            remove(self.path.with_name(self.path.name + suffix))

    @contextmanager
    def scratch(self, suffix: str) -> Iterator[Path]:
        """An empty folder beside the output while the block runs."""
        folder = self.path.with_name(self.path.name + suffix)
        remove(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            remove(folder)


def partial_path(path: Path) -> Path:
    """Where ``path`` is written before it is published."""
    return path.with_name(path.name + ".partial")


def unpartial_path(partial: Path) -> Path:
    """The name that ``partial`` will be published under."""
    return partial.with_name(partial.name.removesuffix(".partial"))


def attribute_names(folder: Path) -> set[str]:
    """Names of a Zarr group's attributes and of its metadata; empty if it is none."""
    try:
        file = folder / GROUP
        if file.stat().st_size > METADATA_BYTES:
            return set()
        metadata = json.loads(file.read_text(encoding="utf-8"))
        return {*metadata, *metadata["attributes"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def _is_debris(folder: Path) -> bool:
    """Whether nothing is in a folder but pieces of Zarr arrays.

    Zarr writes in a thread: what it was writing when Ctrl-C came may appear after the removal.
    """
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    return all(
        file.name == GROUP
        or file.suffix == ".partial"
        or ("c" in file.parts and file.stem.isdigit())
        for file in files
    )


def replace(partial: Path, path: Path) -> None:
    """Rename ``partial`` to ``path``; what stood there is removed only afterwards."""
    if path.is_dir() and not path.is_symlink():
        old = path.with_name(f".{path.name}.replaced")
        remove(old)
        os.replace(path, old)
        os.replace(partial, path)
        sync(path.parent)
        remove(old)
    else:
        os.replace(partial, path)
        sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there; of a group last what tells that it is ours."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            if inner.name != GROUP:
                remove(inner)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
