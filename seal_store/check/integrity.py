"""Checks that a finished folder's manifest, files, metadata and chunks are as written.

Nothing here knows what the numbers mean; that is :mod:`seal_store.check.contents`. A fault never
stops the search: all of them are listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import zarr

from seal_store.atlas import attributes as atlas
from seal_store.common.beside import GROUP
from seal_store.common.progress import Progress
from seal_store.errors import FormatError, StoreError
from seal_store.results import haplotypes
from seal_store.results.group import expected_arrays as results_arrays
from seal_store.results.group import parse_attributes
from seal_store.store import manifest
from seal_store.store import untrusted as guard
from seal_store.store.address import Entry
from seal_store.store.layout import RESULTS, read
from seal_store.store.manifest import MANIFEST
from seal_store.store.opening import expected_arrays, store_attributes
from seal_store.store.place import Place, files_at

_ALWAYS = {entry.name for entry in RESULTS}

KINDS: dict[str, tuple[Callable[..., Any], Callable[..., dict[str, Any]], Callable[[str], bool]]]
KINDS = {
    "store": (store_attributes, lambda own, _: expected_arrays(own), lambda _: False),
    "results": (parse_attributes, results_arrays, lambda name: name not in _ALWAYS),
    "atlas": (atlas.parse_attributes, lambda own, _: atlas.expected_arrays(own), lambda _: False),
    "haplotypes": (
        haplotypes.parse_attributes,
        lambda own, _: haplotypes.expected_arrays(own),
        lambda _: False,
    ),
}
"""Of each kind of folder how its attributes are parsed, the arrays these tell, and which of them
it may lack."""

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


@dataclass(frozen=True)
class Share:
    """Which files, in their order, a process checks: every ``parts``-th from ``part`` on."""

    part: int = 0
    parts: int = 1

    def has(self, index: int) -> bool:
        """Whether the ``index``-th is one of them."""
        return index % self.parts == self.part

    @property
    def is_first(self) -> bool:
        """Whether what is checked only once is checked here."""
        return self.part == 0


@dataclass
class Report:
    """What was found in a folder of a ``kind`` of :data:`KINDS`.

    ``checked`` counts what was looked at, ``skipped`` says what could not be and why; ``listed``
    are the entries of the manifest.
    """

    path: Place
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

    def merge(self, other: Report) -> None:
        """Add what another part of the same checks found."""
        for fault in other.faults:
            self.add(fault.check, fault.file, fault.message, fault.shard, *fault.genes)
        for what, number in other.checked.items():
            self.count(what, number)
        self.skipped = other.skipped | self.skipped

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


class Folder(manifest.Finished):
    """A finished folder that is checked: what is wrong goes to its ``report``.

    ``group``, ``attributes`` and ``genes`` (of each gene or variant) are those of :meth:`open`.
    ``share`` says which of its files are checked.
    """

    def __init__(self, report: Report) -> None:
        self.report, self.path, self.share = report, report.path, Share()
        self.files = files_at(self.path)
        self.group: Any = None
        self.attributes: Any = None
        self.genes: list[str] = []

    def check_manifest(self) -> bool:
        """Read the manifest into ``report.listed``; whether it can be used."""
        try:
            self.report.listed = self._loaded(self.report.kind, "")
        except StoreError as error:
            there = self.files.has(MANIFEST)
            self.report.add("manifest", MANIFEST, _reason(error) if there else "is missing")
            return False
        self.report.count("files", len(self.report.listed))
        return True

    def open(self) -> None:
        """Check the metadata; without fault, ``group`` is set."""
        report, kind, file = self.report, self.report.kind, GROUP
        own = {name: entry for name, entry in report.listed.items() if name == file}
        if self.files.misplaced(own):
            return  # noted with the other files
        check = "metadata"
        try:
            metadata = guard.read_metadata(self.path, report.listed)
            check = "schema"
            parse, arrays, may_lack = KINDS[kind]
            self.attributes = parse(metadata["attributes"], self.path)
            expected = arrays(self.attributes, metadata)
            check = "metadata"
            there = metadata["consolidated_metadata"]["metadata"]
            for name, declared in there.items():
                if declared.get("node_type") != "group" and name not in expected:
                    report.add("unknown", f"{name}/{file}", "is no array of this format")
            for name in sorted(set(expected) - set(there)):
                if may_lack(name):
                    continue
                report.add("metadata", f"{name}/{file}", "the array is missing")
            self.group = guard.open_group(self.path, metadata, expected, report.listed)
        except FormatError as error:
            if check == "schema" and "format version" in str(error):
                check = "version"
            message = (
                str(error).removeprefix(f"{self.path}: ").removeprefix(f"{self.path / file}: ")
            )
            report.add(check, file, message)
            return
        try:
            self.genes = [str(gene) for gene in read(self.group["gene_id"])]
        except (StoreError, KeyError, TypeError):  # its own fault is noted
            self.genes = [f"row {row}" for row in range(expected["gene_id"].shape[0])]

    def check_files(self, progress: Progress) -> None:
        """Every listed file is there with its size and SHA-256, and no other file is."""
        listed = self.report.listed
        misplaced = self.files.misplaced(listed)
        for done, (name, entry) in enumerate(listed.items(), 1):
            if not self.share.has(done):
                continue
            check, message = "files", misplaced.get(name, "")
            if not message:
                try:
                    with self.files.opened(name, entry) as file:
                        found = file.sha256()
                    if found != entry["sha256"]:
                        check, message = "sha256", "differs from the manifest (SHA-256)"
                except FileNotFoundError:
                    message = "is missing"
                except (OSError, ValueError) as error:
                    why = error.strerror if isinstance(error, OSError) else error
                    message = f"cannot be read: {why}"
            if message:
                shard, genes = self.place(name)
                self.report.add(check, name, message, shard, *genes)
            progress("files", done, len(listed))
        if not self.share.is_first:
            return
        there = self.files.names()
        if there is None:
            self.report.skipped["other files"] = "a web server does not list them"
        for name in sorted(set(there or ()) - {MANIFEST, *listed}):
            self.report.add("stray", name, "is not in the manifest")

    def blocks(
        self, array: zarr.Array[Any], *, again: bool = False
    ) -> Iterator[tuple[str, int, np.ndarray]]:
        """Every chunk of an array: its file, first row and values, if they can be read.

        Files that are missing are left out: they are noted already. Read ``again``, chunks are
        not counted.
        """
        absent = self.report.faulty("files")
        lengths = [-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]
        for index, position in enumerate(np.ndindex(*lengths)):
            if not self.share.has(index):
                continue
            file = "/".join([array.path, "c", *map(str, position)])
            corner = zip(position, array.chunks, strict=True)
            key = tuple(slice(p * c, (p + 1) * c) for p, c in corner)
            if file in absent:
                continue
            values = self.read(array, key, file, chunks=0 if again else 1)
            if values is not None:
                yield file, key[0].start, values

    def read(
        self, array: zarr.Array[Any], key: Any, file: str, *genes: str, chunks: int = 1
    ) -> np.ndarray | None:
        """Values of a part of ``array``, ``chunks`` of ``file``.

        None where they cannot be decoded; noted as a fault, with the shard and genes of the file.
        """
        try:
            values = read(array, key)
        except StoreError as error:
            shard, all_genes = self.place(file)
            message = "cannot be decoded: " + _reason(error)
            self.report.add("chunk", file, message, shard, *(genes or all_genes))
            return None
        self.report.count("chunks", chunks)
        return values

    def place(self, file: str) -> tuple[int | None, list[str]]:
        """Shard of a store's file, and the genes whose rows it holds, where they can be told."""
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


ROWS = ("gene", "variant")
"""Dimensions along which an array has rows of genes."""


def _reason(error: Exception) -> str:
    """The message without the path that leads it."""
    return str(error).split(": ", 1)[-1]
