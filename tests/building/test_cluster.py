"""Builds in parts: on many hosts, planned anew meanwhile, damaged between the parts, cut off."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from interrupted import SERVER, files

from seal_store.building import build as building
from seal_store.building.build import add_heads, add_hidden, build, finalize, run_shards
from seal_store.building.options import BuildOptions
from seal_store.building.plan import plan
from seal_store.check.repair import repair
from seal_store.check.verify import verify
from seal_store.common import lock
from seal_store.common.beside import partial_path
from seal_store.common.lock import hold, lock_path
from seal_store.common.output import JOURNAL, Output
from seal_store.common.tasks import notes
from seal_store.errors import HeadsError, OutputError, StoreError, UnfinishedError
from seal_store.run.calibrate import calibrate
from seal_store.scoring.options import ScoreOptions
from seal_store.store import shard_journal
from seal_store.store.attributes import ATTRIBUTE, StoreAttributes
from seal_store.store.store import Store
from seal_store.synthetic import DECAYS, TINY, World, write_head_set


@pytest.fixture
def two(options: BuildOptions, tmp_path: Path) -> BuildOptions:
    """A store of two genes and no heads: quick to build."""
    return replace(options, out=tmp_path / "two.zarr", gene=("GENE01", "GENE02"), heads=())


def until(path: Path, *_: object) -> None:
    path.with_suffix(".ready").touch()
    while not path.exists():
        time.sleep(0.01)


def shard_on_node_a(folder: Path, go: Path) -> None:
    socket.gethostname = lambda: "nodeA"
    lock.boot_id = lambda: "boot of nodeA"
    run_shards(folder, [0], "cpu", progress=partial(until, go))


@pytest.mark.slow
def test_shards_run_on_two_hosts_at_once(
    two: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = replace(two, genes_per_shard=1)
    folder, go = plan(two).path, tmp_path / "go"
    process = SERVER.Process(target=shard_on_node_a, args=(folder, go))
    process.start()
    while not go.with_suffix(".ready").exists():
        assert process.is_alive()
        time.sleep(0.01)
    monkeypatch.setattr(socket, "gethostname", lambda: "nodeB")
    run_shards(folder, [1], "cpu")
    for work in (
        lambda: run_shards(folder, [0], "cpu"),
        lambda: finalize(two.out),
        lambda: plan(replace(two, overwrite=True)),
        lambda: plan(replace(two, resume=True)),
    ):
        with pytest.raises(OutputError, match="is being written by process"):
            work()
    go.touch()
    process.join()
    assert process.exitcode == 0
    assert verify(finalize(two.out).path).ok


def test_the_lock_of_a_container_of_this_machine_is_taken_over(tmp_path: Path) -> None:
    out, boot = tmp_path / "out.zarr", lock.boot_id()
    if not boot:
        pytest.skip("this system has no boot ID")
    left = {"host": "3f2a9c", "pid": 7, "since": "2026-01-01T00:00:00+00:00"}
    for other in ({}, {"boot": "another"}, {"boot": ""}):
        lock_path(out).write_text(json.dumps({**left, **other}))
        with pytest.raises(OutputError, match="process 7 on 3f2a9c"), hold(out):
            pass
    lock_path(out).write_text(json.dumps({**left, "boot": boot}))
    with hold(out):
        pass
    assert not lock_path(out).exists()


@pytest.mark.parametrize("changed", [{"first_offset": -20_000}, {}])
def test_a_plan_is_not_replaced_under_a_shard(two: BuildOptions, changed: dict[str, int]) -> None:
    """Neither with the lock, nor where it is not seen; nor by one that looks the same."""
    folder = plan(two).path
    other = replace(two, overwrite=True, **changed)

    def anew(what: str, done: int, total: int | None) -> None:
        if done == 1:
            with pytest.raises(OutputError, match="is being written by process"):
                plan(other)
            plan(other, out=Output(two.out, checkpoint=JOURNAL, kind=ATTRIBUTE))

    with pytest.raises(OutputError, match="was planned anew meanwhile"):
        run_shards(folder, [0], "cpu", progress=anew)
    with pytest.raises(UnfinishedError, match="shard 0 of 1 is not done"):
        finalize(two.out)


def test_a_plan_is_not_resumed_while_it_is_made(two: BuildOptions) -> None:
    def resumed(*_: object) -> None:
        with pytest.raises(OutputError, match="is being written by process"):
            plan(replace(two, resume=True))

    assert (plan(two, resumed).path / "sequence").exists()


def test_a_damaged_shard_is_not_published(two: BuildOptions) -> None:
    before = build(two, "cpu").sha256
    folder = plan(replace(two, overwrite=True, keep_bits=9)).path
    run_shards(folder, [0], "cpu")
    file = folder / "features/c/0/0/0"
    whole = file.read_bytes()
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    for damaged in (flipped, whole[:-1], None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        with pytest.raises(UnfinishedError, match="shard 0 of 1: features/c/0/0/0 is not") as told:
            finalize(two.out, overwrite=True)
        assert "--shard 0" in told.value.hint
        assert Store(two.out).sha256 == before
    file.write_bytes(whole)
    assert finalize(two.out, overwrite=True).sha256 != before


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_shard_that_is_written_anew_is_not_done_meanwhile(
    two: BuildOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plan(two).path
    run_shards(folder, [0], "cpu")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shard_journal, "write", interrupted)
        run_shards(folder, [0], "cpu")
    with pytest.raises(UnfinishedError, match="shard 0 of 1 is not done"):
        finalize(two.out)
    shard_journal.entry_path(folder, 0).write_text("{")
    with pytest.raises(UnfinishedError, match="shard 0 of 1 is not done"):
        finalize(two.out)


def test_resume_keeps_a_foreign_folder(two: BuildOptions) -> None:
    kept = partial_path(two.out) / "precious" / "file"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(OutputError, match="is a folder with other content"):
        plan(replace(two, resume=True))
    assert kept.read_text() == "mine"


@pytest.mark.slow
def test_heads_cut_off_while_they_are_added_leave_the_store_as_it_was(
    two: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = write_head_set(tmp_path, "extra", ["c1"], DECAYS * TINY.features, 5, 9)
    store = build(two, "cpu")
    before = files(store.path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "describe_heads", interrupted)
        add_heads(store.path, heads)
    folder = partial_path(store.path)
    with pytest.raises(UnfinishedError, match="no manifest"):
        Store(folder)
    with pytest.raises(OutputError, match="its shards are done"):
        run_shards(folder, [0], "cpu")
    assert finalize(store.path).sha256 == store.sha256
    assert files(store.path) == before
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "consolidate", interrupted)
        add_heads(store.path, heads)
    assert finalize(store.path).head_sets == ["extra"]
    assert verify(store.path).ok


@pytest.mark.parametrize("name", ["set.partial", "set.tmp", "zarr.json"])
def test_head_sets_are_not_named_as_files_in_the_making(
    name: str, two: BuildOptions, tmp_path: Path
) -> None:
    heads = write_head_set(tmp_path, name, ["c1"], DECAYS * TINY.features, 5, 9)
    with pytest.raises(HeadsError, match=f"head set '{name}'"):
        plan(replace(two, heads=(heads,)))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_hidden_of_imported_features_is_repaired(
    two: BuildOptions, store: Store, tmp_path: Path
) -> None:
    for gene in two.gene:
        np.save(tmp_path / f"{gene}.npy", store.features(gene))
    path = build(replace(two, from_profiles=tmp_path), "cpu").path
    add_hidden(path, "cpu")
    before = files(path)
    flip(path / "hidden/c/0/0/0/0")
    assert repair(path, "cpu", from_profiles=tmp_path).same
    assert files(path) == before


@pytest.mark.slow
def test_a_damaged_calibration_is_told_before_anything_is_changed(
    two: BuildOptions, world: World
) -> None:
    path = build(replace(two, heads=(world.heads,)), "cpu").path
    calibrate(Store(path), world.variants, ScoreOptions(device="cpu"))
    for file in ("calibration/grid/mean/c/0", "features/c/0/0/0"):
        flip(path / file)
    before = files(path)
    with pytest.raises(StoreError, match="calibration/grid/mean") as told:
        repair(path, "cpu")
    assert "calibrate --overwrite" in told.value.hint
    assert files(path) == before


def test_tf32_is_that_of_the_shards(two: BuildOptions) -> None:
    two = replace(two, genes_per_shard=1)

    def made(tf32: bool, command: str) -> StoreAttributes:
        folder = plan(replace(two, overwrite=True, command=command)).path
        for shard in range(2):
            run_shards(folder, [shard], "cpu", tf32=tf32)
        return finalize(two.out, overwrite=True).attributes

    plain = made(False, command="build --plan --tf32")
    allowed = made(True, command="build --plan")
    assert (plain.tf32, allowed.tf32) == (False, True)
    for attributes in (plain, allowed):
        assert attributes.allowed_tf32 == attributes.tf32
        told = "--tf32" in attributes.command
        assert replace(attributes, tf32=None).allowed_tf32 == told  # a store of before
    assert build(replace(two, resume=True), "cpu").attributes.tf32  # the same plan


def test_shards_that_were_not_made_alike_are_not_joined(two: BuildOptions) -> None:
    options = replace(two, genes_per_shard=1, gene=("GENE01", "GENE02", "GENE03"))
    folder = plan(options).path
    run_shards(folder, [0, 1], "cpu")
    with pytest.raises(OutputError, match="begun with tf32 False, not True"):
        run_shards(folder, [2], "cpu", tf32=True)
    run_shards(folder, [2], "cpu")
    entry = shard_journal.entry_path(folder, 0)
    made = json.loads(entry.read_text())
    made["made"]["device"] = "cuda"  # as of another host, at the same time
    entry.write_text(json.dumps(made))
    with pytest.raises(
        OutputError, match="shard 0: made with device 'cuda', the others with 'cpu'"
    ) as told:
        finalize(options.out)
    assert "--shard 0" in told.value.hint
    run_shards(folder, [0], "cpu")
    assert verify(finalize(options.out).path).ok


def test_other_versions_than_those_of_the_plan_are_refused(two: BuildOptions) -> None:
    folder = plan(two).path
    run_shards(folder, [0], "cpu")
    for file in (folder / "zarr.json", shard_journal.entry_path(folder, 0)):
        text, found = re.subn(r'"torch": "[^"]+"', '"torch": "1.0"', file.read_text())
        assert found == 1
        file.write_text(text)
    for work in (
        lambda: run_shards(folder, [0], "cpu"),
        lambda: finalize(two.out),
        lambda: build(replace(two, resume=True), "cpu"),
    ):
        with pytest.raises(
            OutputError,
            match="with another software.torch: \"1.0\", now|begun with software.torch '1.0', not",
        ):
            work()


@pytest.mark.parametrize("out", [".", "/", ".."])
def test_an_output_needs_a_name(
    out: str, cli: Callable[..., Result], store: Store, world: World
) -> None:
    inputs = ("--genome", world.genome, "--genes", world.genes, "--cnn", world.cnn)
    for command in (
        ("build", *inputs),
        ("build", *inputs, "--plan"),
        ("build", "--shard", 0),
        ("build", "--finalize"),
        ("score", "vcf", world.variants, "--store", store.path),
    ):
        done = cli(*command, "--out", out)
        assert done.exit_code == 1, (command, done.output, done.exception)
        assert f"error: {out}: is no name" in done.stderr, (command, done.stderr)


@pytest.mark.slow
def test_a_store_behind_a_link_is_changed_where_it_is(
    make_store: Callable[..., Store], tmp_path: Path
) -> None:
    store = make_store(hidden=False)
    link = tmp_path / "link.zarr"
    link.symlink_to(store.path)
    summary = write_head_set(tmp_path, "mine", ["c1"], DECAYS * TINY.features, 5, 9)
    add_heads(link, summary)
    add_hidden(link, "cpu")
    assert link.is_symlink()
    assert Store(store.path).has_hidden
    assert "mine" in Store(store.path).head_sets
    assert verify(store.path).ok
    left = {p.name for p in store.path.parent.iterdir() if p.name.startswith(store.path.name)}
    assert left == {store.path.name}


@pytest.mark.slow
def test_a_store_behind_a_link_is_built_again_where_it_is(
    make_store: Callable[..., Store], options: BuildOptions, tmp_path: Path
) -> None:
    store = make_store()
    link = tmp_path / "link.zarr"
    link.symlink_to(store.path)
    build(replace(options, out=link, overwrite=True, first_offset=-20_000), "cpu")
    assert link.is_symlink()
    assert Store(store.path).grid.first_offset == -20_000


def test_a_plan_that_fails_leaves_nothing(two: BuildOptions) -> None:
    with pytest.raises(KeyboardInterrupt):
        plan(two, progress=interrupted)
    assert not list(two.out.parent.glob(f"{two.out.name}*"))


NODE = """hostname {name} && for shard in {shards}; do
  {python} -c 'import sys; from seal_store.cli import run; run(sys.argv[1:])' \
    build --out {out} --device cpu -q --shard $shard
done; true"""
ISOLATED = ("unshare", "--uts", "--net", "--map-root-user")


def can_isolate() -> bool:
    try:
        tried = subprocess.run([*ISOLATED, "hostname", "node"], capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.soak
@pytest.mark.skipif(not can_isolate(), reason="no namespaces for hosts of their own")
def test_two_hosts_share_a_build(options: BuildOptions, tmp_path: Path) -> None:
    """Each in namespaces of its own; both want all shards, from either end."""
    options = replace(options, heads=(), genes_per_shard=3)
    whole = build(replace(options, out=tmp_path / "whole.zarr"), "cpu")
    out, count = tmp_path / "shared.zarr", whole.attributes.shards
    assert count >= 3
    plan(replace(options, out=out))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen(
            [
                *ISOLATED,
                "sh",
                "-c",
                NODE.format(
                    name=name, shards=" ".join(map(str, shards)), python=sys.executable, out=out
                ),
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        for name, shards in (("nodea", range(count)), ("nodeb", range(count)[::-1]))
    ]
    for node in nodes:
        said = node.communicate()[1].decode()
        assert node.returncode == 0
        for line in said.splitlines():
            assert re.search(r"shard-\d+\.json is being written by process \d+ on node[ab]", line)
    assert {note.host for note in notes(partial_path(out)).values()} <= {"nodea", "nodeb"}
    assert files(finalize(out).path) == files(whole.path)
