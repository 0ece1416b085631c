"""Whether a finished folder is as it was written: manifest, files, metadata, chunks.

Nothing here knows what the numbers mean; that is :mod:`seal_store.check.contents`. A fault never
stops the search: all of them are listed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from seal_store.common.files import file_sha256
from seal_store.common.progress import Progress
from seal_store.errors import FormatError, StoreError
from seal_store.results.group import expected_arrays as results_arrays
from seal_store.results.group import parse_attributes
from seal_store.store import manifest
from seal_store.store import untrusted as guard
from seal_store.store.layout import RESULTS, read
from seal_store.store.manifest import MANIFEST, Entry
from seal_store.store.store import expected_arrays, store_attributes

EPS = float(np.finfo(np.float32).eps)


@dataclass
class Fault:
    """One fault: the ``check`` that found it and the ``file`` below the folder.

    ``shard`` where the file is one; ``genes`` concerned, where that can be told.
    """

    check: str
    file: str
    message: str
    shard: int | None = None
    genes: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What was found in a folder of ``kind`` ``store`` or ``results``.

    ``checked`` counts what was looked at, ``skipped`` says what could not be and why; ``listed``
    are the entries of the manifest.
    """

    path: Path
    kind: str
    faults: list[Fault] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Entry] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def add(
        self, check: str, file: str, message: str, shard: int | None = None, *genes: str
    ) -> None:
        """Note a fault; one of the same check and file only adds its genes."""
        for fault in self.faults:
            if (fault.check, fault.file) == (check, file):
                fault.genes += [gene for gene in genes if gene not in fault.genes]
                return
        self.faults.append(Fault(check, file, message, shard, list(genes)))

    def count(self, what: str, number: int = 1) -> None:
        """Add to what was checked."""
        self.checked[what] = self.checked.get(what, 0) + number

    def faulty(self, *checks: str) -> set[str]:
        """Files with a fault of one of ``checks``, of any by default."""
        return {fault.file for fault in self.faults if not checks or fault.check in checks}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``ok``, ``faults``, ``checked``, ``skipped``."""
        return {
            "path": str(self.path),
            "kind": self.kind,
            "ok": self.ok,
            "faults": [asdict(fault) for fault in self.faults],
            "checked": self.checked,
            "skipped": self.skipped,
        }


ROWS = ("gene", "variant")
"""Dimensions along which an array has rows of genes."""

Place = Callable[[str], "tuple[int | None, list[str]]"]
"""Shard and genes of a file, where they can be told."""


def check_manifest(path: Path, report: Report) -> bool:
    """Read the manifest into ``report.listed``; whether it can be used."""
    try:
        report.listed = manifest.load(path, report.kind, "")
    except StoreError as error:
        what = "is missing" if not (path / MANIFEST).exists() else _reason(error)
        report.add("manifest", MANIFEST, what)
        return False
    report.count("files", len(report.listed))
    return True


def check_files(path: Path, report: Report, place: Place, progress: Progress) -> None:
    """Every listed file is there with its size and SHA-256, and no other file is."""
    misplaced = manifest.misplaced(path, report.listed)
    for done, (name, entry) in enumerate(report.listed.items(), 1):
        shard, genes = place(name)
        if name in misplaced:
            report.add("files", name, misplaced[name], shard, *genes)
        else:
            try:
                found = file_sha256(path / name)
            except OSError as error:
                report.add("files", name, f"cannot be read: {error.strerror}", shard, *genes)
                continue
            if found != entry["sha256"]:
                message = "differs from the manifest (SHA-256)"
                report.add("sha256", name, message, shard, *genes)
        progress("files", done, len(report.listed))
    for name in strays(path, report.listed):
        report.add("stray", name, "is not in the manifest")


def strays(path: Path, listed: Mapping[str, Entry]) -> list[str]:
    """Files, and links to folders, that the manifest does not list."""
    found = []
    for folder, folders, names in os.walk(path):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*names, *links):
            file = (Path(folder) / name).relative_to(path).as_posix()
            if file != MANIFEST and file not in listed:
                found.append(file)
    return sorted(found)


def open_metadata(path: Path, report: Report) -> dict[str, Any] | None:
    """The group's metadata; None, with the fault noted, where they cannot be used."""
    own = {name: entry for name, entry in report.listed.items() if name == guard.METADATA}
    if manifest.misplaced(path, own):
        return None  # noted with the other files
    try:
        return guard.read_metadata(path, report.listed)
    except FormatError as error:
        report.add("metadata", guard.METADATA, _reason(error))
        return None


def check_unknown(
    metadata: Mapping[str, Any], expected: Mapping[str, guard.Expected], report: Report
) -> None:
    """No array but the expected ones."""
    for name, declared in metadata["consolidated_metadata"]["metadata"].items():
        if declared.get("node_type") != "group" and name not in expected:
            report.add("unknown", f"{name}/{guard.METADATA}", "is no array of this format")


def blocks(
    array: zarr.Array[Any], report: Report, place: Place
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Every chunk of an array: its file, first row and values, if they can be read.

    A chunk that cannot be decoded is noted as a fault, with the shard and genes of its file.
    Files that are missing are left out: they are noted already.
    """
    absent = report.faulty("files")
    lengths = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
    for position in itertools.product(*map(range, lengths)):
        file = "/".join([array.path, "c", *map(str, position)])
        if file in absent:
            continue
        key = tuple(slice(p * c, (p + 1) * c) for p, c in zip(position, array.chunks, strict=True))
        values = try_read(array, key, file, report, place)
        if values is not None:
            yield file, position[0] * array.chunks[0], values


def try_read(
    array: zarr.Array[Any],
    key: Any,
    file: str,
    report: Report,
    place: Place,
    *genes: str,
    chunks: int = 1,
) -> np.ndarray | None:
    """Values of a part of ``array``, ``chunks`` of ``file``; None, with the fault noted."""
    try:
        values = read(array, key)
    except StoreError as error:
        shard, all_genes = place(file)
        message = "cannot be decoded: " + _reason(error)
        report.add("chunk", file, message, shard, *(genes or all_genes))
        return None
    report.count("chunks", chunks)
    return values


def _reason(error: Exception) -> str:
    """The message without the path that leads it."""
    text = str(error)
    return text.split(": ", 1)[-1] if ": " in text else text


class Opened:
    """The group of a report's folder, as far as its metadata allow."""

    def __init__(self, report: Report) -> None:
        self.report, self.path = report, report.path
        self.group: Any = None
        self.store: Any = None
        self.results: Any = None
        self.genes: list[str] = []

    def open(self) -> None:
        """Check the metadata; without fault, ``group`` is set."""
        report, results = self.report, self.report.kind == "results"
        metadata = open_metadata(self.path, report)
        if metadata is None:
            return
        try:
            if results:
                self.results = parse_attributes(metadata["attributes"], self.path)
                expected = results_arrays(self.results, metadata)
            else:
                self.store = store_attributes(metadata["attributes"], self.path)
                expected = expected_arrays(self.store)
        except FormatError as error:
            check = "version" if "format version" in str(error) else "schema"
            report.add(check, guard.METADATA, str(error).removeprefix(f"{self.path}: "))
            return
        check_unknown(metadata, expected, report)
        there = metadata["consolidated_metadata"]["metadata"]
        needed = {entry.name for entry in RESULTS} if results else set(expected)
        for name in sorted(needed - set(there)):
            report.add("metadata", f"{name}/{guard.METADATA}", "the array is missing")
        try:
            self.group = guard.open_group(self.path, metadata, expected, report.listed)
        except FormatError as error:
            report.add("metadata", guard.METADATA, str(error).removeprefix(f"{self.path}: "))
            return
        try:
            self.genes = [str(gene) for gene in read(self.group["gene_id"])]
        except (StoreError, KeyError, TypeError):  # its own fault is noted
            rows = expected["gene_id"].shape[0]
            self.genes = [f"row {row}" for row in range(rows)]

    def place(self, file: str) -> tuple[int | None, list[str]]:
        """Shard of a store's file, and the genes whose rows it holds."""
        name, found, rest = file.rpartition("/c/")
        array = self.group.get(name) if found and self.group is not None else None
        first = rest.split("/")[0]
        if not isinstance(array, zarr.Array) or not (first.isascii() and first.isdigit()):
            return None, []
        if (getattr(array.metadata, "dimension_names", None) or ("",))[0] not in ROWS:
            return None, []
        rows = (array.shards or array.chunks)[0]
        index = int(first[:18])
        genes = self.genes[index * rows : (index + 1) * rows]
        return index if array.shards else None, list(dict.fromkeys(genes))
