"""Repair a finished store: compute again what :mod:`seal_store.check.verify` finds damaged.

Everything that follows from the sequences, the weights and the gene table can be computed again;
these themselves cannot. New files are written to ``STORE.repair`` and take their places one by
one, the manifest last, so a repair that is cut off leaves a store with fewer faults, or with ones
that the next repair finds.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import zarr

from seal_store.building.build import write_predictions
from seal_store.building.compute import Shards
from seal_store.check.contents import expected_labels
from seal_store.check.integrity import Fault, Report
from seal_store.check.verify import verify
from seal_store.common.beside import GROUP, remove
from seal_store.common.device import resolve_device
from seal_store.common.files import sync, write_text
from seal_store.common.output import Output
from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError, StoreError
from seal_store.model.labels import context_labels, feature_labels
from seal_store.store import manifest
from seal_store.store import untrusted as guard
from seal_store.store.address import Entry
from seal_store.store.layout import SHARD_ARRAYS, get
from seal_store.store.opening import open_listed
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store

GIVEN = ("sequence", "cnn", "heads", "table", "calibration", GROUP, manifest.MANIFEST)
"""What cannot be computed again: arrays and groups, by the first part of their names."""


@dataclass(frozen=True)
class Repaired:
    """``files`` written again; ``same``: all of them as the manifest had them.

    ``sha256`` is that of the manifest now, ``report`` what
    :func:`~seal_store.check.verify.verify` found before.
    """

    sha256: str
    files: list[str]
    same: bool
    report: Report


def repair(
    path: Path,
    device: str = "auto",
    *,
    from_profiles: Path | None = None,
    progress: Progress = silent,
) -> Repaired:
    """Verify all of a store and compute again what is faulty.

    ``from_profiles`` is the folder that features were imported from, for a store made from
    profiles. With the same software, device and threads the store is the same again, byte by
    byte. Else its manifest, and so its SHA-256, changes. Raises :class:`StoreError`, before
    anything is changed, if what is damaged cannot be computed, and if faults are left.
    """
    with Output(path) as out, out.scratch(".repair") as folder:
        path = out.path
        report = verify(path, full=True, progress=progress)
        if report.kind == "atlas":
            raise InputError(f"{path} is an atlas", "`seal-store atlas build --repair` mends it")
        if report.kind != "store":
            raise InputError(f"{path} holds {report.kind}: not repaired", "score again")
        if report.ok:
            return Repaired(manifest.fingerprint(path), [], True, report)
        work = _Repair(path, report)
        work.refuse(from_profiles)
        work.begin(folder)
        work.labels()
        work.shards(device, from_profiles, progress)
        work.predictions(progress)
        same = work.publish()
        left = verify(path, full=True, progress=progress)
        if not left.ok:
            fault = left.faults[0]
            raise StoreError(
                f"{path}: still damaged after the repair: {fault.file}: {fault.message}",
                "copy it again or build it again",
            )
        return Repaired(manifest.fingerprint(path), sorted(work.written), same, report)


class _Repair:
    def __init__(self, path: Path, report: Report) -> None:
        self.path, self.report = path, report
        self.written: list[str] = []
        self.changed: dict[str, Entry] = {}
        self.faulty = report.faulty()

    def refuse(self, profiles: Path | None) -> None:
        """Raise :class:`StoreError` if something cannot be computed again."""
        for fault in self.report.faults:
            top, last = fault.file.split("/")[0], fault.file.rpartition("/")[2]
            metadata = last == GROUP and "/" in fault.file
            if metadata and fault.check in ("sha256", "files"):
                continue  # the group's own metadata have them too
            if fault.check == "stray" and fault.file.endswith(".partial"):
                continue
            if fault.check in ("stray", "unknown"):
                self._stop(fault, "it is not part of the store: move it away first")
            given = top.startswith("feature_") and self._store().attributes.cnn.features is not None
            if top in GIVEN or metadata or given:
                again = (
                    "`seal-store calibrate --overwrite`" if top == "calibration" else "build anew"
                )
                self._stop(fault, f"it cannot be computed again: copy the store again or {again}")
        computed = self._shards() and profiles is None
        if computed and self._store().attributes.source == "profiles":
            raise StoreError(
                f"{self.path}: its features were imported, there are no others to compute",
                "give `from_profiles`, the folder that it was built from",
            )

    def _stop(self, fault: Fault, hint: str) -> None:
        raise StoreError(f"{self.path}: {fault.file} {fault.message}", hint)

    def _store(self) -> Store:
        """The store with the files that were changed so far."""
        self.report.listed = {**self.report.listed, **self.changed}
        return Store(self.path, open_listed(self.path, self.report.listed))

    def begin(self, folder: Path) -> None:
        """Restore the arrays' own metadata and set up a group to write to, without chunks."""
        self.folder = folder
        metadata = guard.read_metadata(self.path, self.report.listed)
        listed = self.report.listed
        whole = {GROUP: metadata} | {
            f"{name}/{GROUP}": declared
            for name, declared in metadata["consolidated_metadata"]["metadata"].items()
        }
        for name, declared in whole.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            own = {k: v for k, v in declared.items() if k != "consolidated_metadata"}
            write_text(file, json.dumps(own, indent=2))
            if name in self.faulty:
                if manifest.entry(file) != listed.get(name):
                    raise StoreError(
                        f"{self.path}: {name} cannot be written again as it was",
                        "copy the store again or build anew",
                    )
                self._place(name)
                write_text(file, json.dumps(own, indent=2))
        for name in self.faulty:
            if name.endswith(".partial"):
                remove(self.path / name)
        self.group = zarr.open_group(str(folder), mode="r+", use_consolidated=False)

    def labels(self) -> None:
        """Labels that follow from the gene table, the grid and the heads."""
        store = self._store()
        values = expected_labels(store)
        if store.attributes.cnn.features is None:
            values |= feature_labels(store.config.features)
        if store.head_sets:
            values |= context_labels([(s.name, s.contexts) for s in store.heads()])
        for name, column in values.items():
            if any(file.startswith(f"{name}/") for file in self.faulty):
                get(self.group, name)[...] = column
                self._take(name, every=True)

    def _shards(self) -> dict[int, set[str]]:
        """Faulty files of each shard; all of it where its numbers, not its bytes, are faulty."""
        found: dict[int, set[str]] = {}
        for fault in self.report.faults:
            name = fault.file.partition("/c/")[0]
            if name in SHARD_ARRAYS and fault.shard is not None:
                own = found.setdefault(fault.shard, set())
                bytes_only = fault.check in ("files", "sha256", "chunk")
                own |= {name} if bytes_only else set(SHARD_ARRAYS)
        return found

    def shards(self, device: str, profiles: Path | None, progress: Progress) -> None:
        """Compute shards again from sequence and weights, or take them from profiles.

        Where the numbers are not exactly those of the other arrays any more, because software or
        device are others, all arrays of the shard are taken: they follow from each other.
        """
        todo = self._shards()
        if not todo:
            return
        store = self._store()
        attributes, size = store.attributes, store.attributes.genes_per_shard
        tf32 = attributes.allowed_tf32
        work = Shards(store.group, attributes, resolve_device(device), tf32, profiles)
        spans = {s: range(s * size, min(len(store), (s + 1) * size)) for s in todo}
        total, counter = sum(map(len, spans.values())), count(1)
        for shard, names in sorted(todo.items()):
            block = work.empty(len(spans[shard]))
            work.fill(spans[shard], block, lambda: progress("genes", next(counter), total))
            for name, values in block.items():
                target = ShardFiles(get(self.group, name))
                target.write((shard, *(0,) * (values.ndim - 1)), values)
            every = names >= set(block) or not self._as_listed(shard, names)
            for name in sorted(block if every else names & set(block)):
                self._take(name, every=every)

    def _as_listed(self, shard: int, names: set[str]) -> bool:
        """Whether new files of a shard are those of the manifest: made as the others were."""
        for name in names:
            for file in (self.folder / name / "c" / str(shard)).rglob("*"):
                key = file.relative_to(self.folder).as_posix()
                if file.is_file() and manifest.entry(file) != self.report.listed.get(key):
                    return False
        return True

    def predictions(self, progress: Progress) -> None:
        """Compute the faulty chunks of ``expression`` again, from what ``aggregated`` is now."""
        moved = any(name.startswith("aggregated/") for name in self.changed)
        if not moved and not any(name.startswith("expression/") for name in self.faulty):
            return
        store, expression = self._store(), get(self.group, "expression")
        write_predictions(store.heads(), store.array("aggregated"), expression, progress)
        wrong = bool(self.report.faulty("expression"))
        self._take("expression", every=moved or wrong)

    def _take(self, name: str, *, every: bool) -> None:
        """Move the new chunks of an array into place: faulty ones, or ``every`` that differs."""
        listed = self.report.listed
        for file in sorted((self.folder / name / "c").rglob("*")):
            key = file.relative_to(self.folder).as_posix()
            if not file.is_file():
                continue
            found = manifest.entry(file)
            if key in self.faulty or (every and found != listed.get(key)):
                sync(file)
                if found != listed.get(key):
                    self.changed[key] = found
                self._place(key)
            else:
                file.unlink()
        remove(self.folder / name / "c")

    def _place(self, name: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            remove(target)
        sync(self.folder / name)
        os.replace(self.folder / name, target)
        sync(target.parent)
        self.written.append(name)

    def publish(self) -> bool:
        """Write the manifest if a file is another one now; whether none is."""
        if self.changed:
            manifest.write(self.path, {**self.report.listed, **self.changed})
        return not self.changed
