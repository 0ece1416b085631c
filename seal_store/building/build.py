"""Build a store: plan -> run_shards -> finalize.

A shard holds the genes of one Zarr shard file and is written by one process. ``finalize`` adds
the reference predictions, then the manifest, and renames ``OUT.partial`` to ``OUT``.
:func:`build` runs the same steps in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from seal_store.building.compute import Shards
from seal_store.building.head_sets import check_heads, describe_heads, write_head_set
from seal_store.building.options import BuildOptions
from seal_store.building.plan import Planned, is_finished, plan, store_at
from seal_store.common.beside import check_plain, unpartial_path
from seal_store.common.device import inference, resolve_device
from seal_store.common.files import check_fingerprint, local_path
from seal_store.common.lock import hold
from seal_store.common.output import JOURNAL, Output
from seal_store.common.progress import Progress, silent
from seal_store.common.tasks import noted
from seal_store.errors import InputError, OutputError, UnfinishedError
from seal_store.model.head_set import HeadSet
from seal_store.model.heads import Heads, load_heads
from seal_store.model.labels import context_labels
from seal_store.store import manifest, shard_journal
from seal_store.store.attributes import ATTRIBUTE, StoreAttributes, attributes_of
from seal_store.store.layout import STORE, create, get, spec
from seal_store.store.opening import consolidate
from seal_store.store.place import Place
from seal_store.store.shards import ShardFiles
from seal_store.store.store import Store, read_heads, software

EXPRESSION_BLOCK = 256


def build(
    options: BuildOptions,
    device: str = "auto",
    *,
    tf32: bool = False,
    progress: Progress = silent,
    planned: Callable[[Planned], None] = lambda plan: None,
    compute: Callable[[Path, Sequence[int]], object] | None = None,
) -> Store:
    """Build a whole store; computing and writing overlap.

    With ``resume`` a finished store is returned as it is and finished shards of an unfinished
    one are kept. ``planned`` is called with the plan before the work starts. The shards of the
    folder it names are computed here on ``device``, or by ``compute``.
    """
    if compute is None:
        resolve_device(device)
    with store_at(options.out) as out:
        work = plan(options, progress, out=out)
        if options.resume and is_finished(out) and not out.partial.exists():
            return Store(out.place)
        planned(work)
        if shards := shard_journal.missing(work.path, work.shards):
            if compute is not None:
                compute(work.path, shards)
            else:
                profiles = options.from_profiles
                ShardComputer(work.path, device, tf32=tf32, from_profiles=profiles)(
                    shards, progress
                )
        return finalize(out, overwrite=options.overwrite, progress=progress)


def run_shards(
    partial: Path,
    shards: Sequence[int],
    device: str = "auto",
    *,
    tf32: bool = False,
    from_profiles: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Compute ``shards`` of a planned store; a shard is written while the next one is computed.

    Other processes may compute other shards meanwhile; raises :class:`OutputError` if one
    computes the same, or builds the whole store.
    """
    with ExitStack() as stack:
        stack.enter_context(hold(unpartial_path(partial), shared=True))
        _open_planned(partial)
        if shard_journal.earlier(partial) is not None:
            raise OutputError(
                f"{partial}: its shards are done", "complete it with `seal-store build --finalize`"
            )
        for shard in sorted(set(shards)):
            stack.enter_context(hold(shard_journal.entry_path(partial, shard)))
        compute = ShardComputer(partial, device, tf32=tf32, from_profiles=from_profiles)
        compute(shards, progress)


class ShardComputer:
    """Computes shards of a planned store, for the one who holds them; the CNN is loaded once."""

    def __init__(
        self, partial: Path, device: str, *, tf32: bool, from_profiles: Path | None
    ) -> None:
        self.partial = partial
        self._key = shard_journal.plan_key(partial)
        self.group = _open_planned(partial)
        self.attributes = attributes_of(self.group)
        _check_software(partial, self.attributes)
        found = resolve_device(device)
        self._made = {"device": found.type, "software": software(), "tf32": tf32}
        self._shards = Shards(self.group, self.attributes, found, tf32, from_profiles)

    def __call__(self, shards: Sequence[int], progress: Progress = silent) -> None:
        """Compute ``shards``; each is written while the next one is computed."""
        attributes = self.attributes
        for shard in shards:
            if not 0 <= shard < attributes.shards:
                last = attributes.shards - 1
                raise InputError(f"`shard` {shard}: this store has shards 0 to {last}")
        shard_journal.check_alike(self.partial, attributes.shards, self._made, shards)
        size = attributes.genes_per_shard
        spans = {s: range(s * size, min(attributes.genes, (s + 1) * size)) for s in shards}
        total, counter = sum(map(len, spans.values())), count(1)
        progress("genes", 0, total)
        pending: Future[None] | None = None
        with ThreadPoolExecutor(1) as writer:
            for shard, span in spans.items():
                with ExitStack() as stack:
                    stack.enter_context(noted(self.partial, shard))
                    block = self._shards.empty(len(span))
                    self._shards.fill(span, block, lambda: progress("genes", next(counter), total))
                    note = stack.pop_all()
                if pending is not None:
                    pending.result()
                pending = writer.submit(self._write, shard, block, note)
            if pending is not None:
                pending.result()

    def _write(self, shard: int, block: dict[str, np.ndarray], note: ExitStack) -> None:
        partial, key = self.partial, self._key
        with note:
            shard_journal.check_plan(partial, key)
            shard_journal.drop(partial, shard)
            for name, values in block.items():
                place = (shard, *(0,) * (values.ndim - 1))
                ShardFiles(get(self.group, name)).write(place, values)
            shard_journal.check_plan(partial, key)
            files = [f"{name}/c/{shard}" + "/0" * (v.ndim - 1) for name, v in block.items()]
            shard_journal.write(partial, shard, files, key, self._made)


def finalize(out: Place | Output, *, overwrite: bool = False, progress: Progress = silent) -> Store:
    """Add reference predictions, labels of contexts and the manifest; rename to ``out``.

    A store that is finished already is returned as it is.

    Raises :class:`UnfinishedError` if a shard is missing or its files are not as its journal lists
    them, and :class:`OutputError` if ``out`` exists and ``overwrite`` is false, or if the shards,
    or the plan and this process, are not of the same versions of packages and kind of device.
    """
    with store_at(out) as held:
        partial = held.partial
        if manifest.stands(held) and not overwrite:
            return Store(held.place)
        if held.exists() and not overwrite:
            raise OutputError(
                f"{held.place} exists already", "choose another `out` or add `overwrite=True`"
            )
        group = _open_planned(partial)
        attributes = attributes_of(group)
        if shard_journal.earlier(partial) is None:
            _check_software(partial, attributes)
        known, tf32 = shard_journal.finished(partial, attributes.shards, progress)
        shard_journal.set_aside(partial)
        if tf32 is not None:
            attributes = replace(attributes, tf32=tf32)
            group.attrs[ATTRIBUTE] = attributes.to_dict()
        shard_journal.remove_unlisted(partial, attributes)
        _write_expression(group, progress)
        consolidate(partial)
        manifest.publish(held, known)
        return Store(held.place)


def add_heads(path: Place, heads_path: Path, progress: Progress = silent) -> list[HeadSet]:
    """Add the head sets found at ``heads_path`` to a finished store; returns them.

    While it works, the store stands under its ``.partial`` name; interrupted, it is completed
    with :func:`finalize`.
    """
    with store_at(local_path(path)) as out:
        store = Store(out.path)
        added = load_heads(heads_path)
        cnn = store.attributes.cnn.sha256
        check_heads(added, store.config, store.grid, store.head_sets, cnn)
        _reopen(out)
        group = _open_planned(out.partial)
        for head_set in added:
            write_head_set(group, store.attributes, head_set)
        heads = (*store.attributes.heads, *(describe_heads(head_set) for head_set in added))
        group.attrs[ATTRIBUTE] = replace(store.attributes, heads=heads).to_dict()
        finalize(out, progress=progress)
    return added


def _reopen(out: Output) -> None:
    """Put a finished store under its ``.partial`` name, where nothing takes it for whole."""
    if out.partial.exists():
        raise OutputError(f"{out.partial} exists", "another run is writing; remove it if none is")
    out.path.replace(out.partial)
    shard_journal.set_aside(out.partial)


def add_hidden(path: Place, device: str = "auto", progress: Progress = silent) -> Store:
    """Add ``hidden`` to a store that was built without it; scoring is faster with it.

    While it works, the store stands under its ``.partial`` name. Interrupted, the call is
    repeated; or :func:`finalize` publishes the store without ``hidden``, as it was.
    """
    with store_at(local_path(path)) as out:
        if out.path.exists():
            store = Store(out.path)
            if store.has_hidden:
                return store
            _reopen(out)
        group = _open_planned(out.partial)
        if shard_journal.earlier(out.partial) is None:
            raise UnfinishedError(
                f"{out.path}: unfinished store", "finish it with `resume=True` first"
            )
        shard_journal.set_aside(out.partial)
        _write_hidden(group, device, progress)
        return finalize(out, progress=progress)


def _write_hidden(group: zarr.Group, device: str, progress: Progress) -> None:
    attributes = attributes_of(group)
    as_cnn = replace(attributes, source="cnn")
    work = Shards(group, as_cnn, resolve_device(device), attributes.allowed_tf32, None)
    if "hidden" in group:
        del group["hidden"]
    genes, size = attributes.genes, attributes.genes_per_shard
    array = ShardFiles(create(group, spec(STORE, "hidden"), attributes.sizes(), size))
    for first in range(0, genes, size):
        span = range(first, min(first + size, genes))
        rows = np.concatenate([work.sweep(part)[1].cpu().numpy() for part in work.parts(span)])
        array.write((first // size, 0, 0, 0), rows)
        progress("genes", first + len(rows), genes)
    group.attrs[ATTRIBUTE] = replace(attributes, hidden=True).to_dict()


def _write_expression(group: zarr.Group, progress: Progress) -> None:
    attributes = attributes_of(group)
    sets = read_heads(group, [entry.name for entry in attributes.heads])
    labels = context_labels([(s.name, s.contexts) for s in sets])
    for name in ("expression", *labels):
        if name in group:
            del group[name]
    if sets:
        for name, values in labels.items():
            create(group, spec(STORE, name), attributes.sizes())[...] = values
        expression = create(group, spec(STORE, "expression"), attributes.sizes())
        write_predictions(sets, get(group, "aggregated"), expression, progress)


def write_predictions(
    sets: list[HeadSet],
    aggregated: zarr.Array[Any],
    expression: zarr.Array[Any],
    progress: Progress = silent,
) -> None:
    """Fill ``expression`` ``(gene, context)`` with the heads on ``aggregated``."""
    heads, genes = Heads(sets), aggregated.shape[0]
    with inference():
        for first in range(0, genes, EXPRESSION_BLOCK):
            block = np.asarray(aggregated[first : first + EXPRESSION_BLOCK])
            rows = torch.from_numpy(block).flatten(1)
            expression[first : first + len(rows)] = heads.predict(heads.first(rows)).numpy()
            progress("predictions", first + len(rows), genes)


def _check_software(partial: Path, planned: StoreAttributes) -> None:
    """Raise :class:`OutputError` if the plan was made with other versions: bytes would differ."""
    check_fingerprint(partial, {"software": planned.software}, {"software": software()})


def _open_planned(partial: Path) -> zarr.Group:
    if not (partial / JOURNAL).exists() and not (partial / manifest.MANIFEST).exists():
        raise UnfinishedError(f"{partial}: no planned store here", "run `seal-store build --plan`")
    check_plain(partial)
    return zarr.open_group(str(partial), mode="r+", use_consolidated=False)
