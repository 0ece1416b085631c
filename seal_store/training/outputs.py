"""Outputs of several files beside others: written to STEM.partial/, synced, renamed one by one.

The folder that they are renamed into may hold other outputs, of another step or name. The file
that names the others comes last, so whoever reads it finds them whole.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from seal_store.common.files import sync
from seal_store.common.lock import hold
from seal_store.errors import OutputError
from seal_store.store.manifest import partial_path

CHECKPOINT = "checkpoint.pt"
NEW = ".new"


class Outputs:
    """The files ``names`` in ``folder``; ``partial`` is where they are written.

    Made, it has only looked; used as a context manager, it holds the lock ``lock`` (by default
    that of ``stem``), looks again, and writes. ``may_exist`` of them are there to be completed.
    ``resume`` keeps what an earlier run left in ``partial``, if that got as far as a checkpoint.
    Both looks raise :class:`OutputError` if one of the files exists and ``overwrite`` is false,
    if an earlier run left its folder and neither is true, or if that folder holds something else.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        names: Sequence[str],
        *,
        lock: str = "",
        may_exist: Sequence[str] = (),
        overwrite: bool = False,
        resume: bool = False,
        hint: str = "add --overwrite to start again",
    ) -> None:
        self.folder, self.names = folder, tuple(names)
        self.partial = partial_path(folder / stem)
        self._locked, self._lock = folder / (lock or stem), ExitStack()
        self._new = [name for name in names if name not in may_exist]
        self._overwrite, self._resume, self._hint = overwrite, resume, hint
        self._look()

    def _look(self) -> bool:
        """Whether to go on with what ``partial`` holds. Raises :class:`OutputError`."""
        begun = (self.partial / CHECKPOINT).exists()
        resuming = self._resume and begun
        existing = [self.folder / name for name in self._new if (self.folder / name).exists()]
        if existing and not self._overwrite and not resuming:
            raise OutputError(
                f"{existing[0]} exists already", "choose another --out or add --overwrite"
            )
        if begun and not self._overwrite and not resuming:
            raise OutputError(
                f"{self.partial} exists: an earlier run did not finish, or is still running",
                self._hint,
            )
        try:
            foreign = {p.name for p in self.partial.iterdir()} - {
                *(name + NEW for name in self.names),
                *(name + NEW + ".tmp" for name in self.names),
                CHECKPOINT,
                CHECKPOINT + ".tmp",
            }
        except FileNotFoundError:
            foreign = set()
        except OSError as error:
            raise OutputError(
                f"{self.partial}: cannot be read: {error.strerror}", "check --out"
            ) from error
        if foreign:
            raise OutputError(
                f"{self.partial} is a folder with other content", "choose another --out"
            )
        return resuming

    def __enter__(self) -> Outputs:
        """Make ``partial``, empty unless a run is resumed.

        Raises :class:`OutputError`, also if another process writes the same outputs or has
        written them since the first look.
        """
        with ExitStack() as lock:
            lock.enter_context(hold(self._locked))
            keep = self._look()
            try:
                if not keep:
                    shutil.rmtree(self.partial, ignore_errors=True)
                self.partial.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{self.partial}: cannot be written: {error.strerror}", "check --out"
                ) from error
            self._lock = lock.pop_all()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """After a failure keep ``partial`` only if a run can go on from it."""
        if failure is not None and not (self.partial / CHECKPOINT).exists():
            shutil.rmtree(self.partial, ignore_errors=True)
        self._lock.close()

    def __getitem__(self, name: str) -> Path:
        """Where to write one of the files: not under its name, by which it might be found."""
        assert name in self.names
        return self.partial / (name + NEW)

    def publish(self, retract: Callable[[], None] | None = None) -> None:
        """Rename every file into the folder, in the order of ``names``.

        ``retract`` is called before the first one: to take back what still names older files.
        """
        for name in self.names:
            sync(self[name])
        if retract is not None:
            retract()
        for name in self.names:
            os.replace(self[name], self.folder / name)
        sync(self.folder)
        shutil.rmtree(self.partial)


def save_tensors(value: dict[str, Any], path: Path) -> None:
    """``torch.save`` aside, synced and renamed. Raises :class:`OutputError`."""
    aside = path.with_name(path.name + ".tmp")
    try:
        torch.save(value, aside)
    except RuntimeError as error:  # torch's word for a full disk
        raise OutputError(
            f"{aside}: cannot be written ({str(error).splitlines()[0][:120]})",
            "is the disk full?",
        ) from error
    replace_synced(aside, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file aside, synced and renamed."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text, encoding="utf-8", newline="\n")
    replace_synced(aside, path)


def replace_synced(aside: Path, path: Path) -> None:
    """Rename a finished file to ``path`` once its bytes are on the disk."""
    sync(aside)
    os.replace(aside, path)
    sync(path.parent)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a TSV; numbers with 6 significant digits, NaN as an empty cell."""
    lines = ["\t".join(header), *("\t".join(map(_cell, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
