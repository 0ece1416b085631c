"""Runs that are killed, stopped or run out of disk, and go on to the same bytes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from interrupted import SERVER, files, finish, kill_often, scored, small_chunks
from seldom import slow

from seal_store.building import build as build_module
from seal_store.building import plan as plan_module
from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.common.beside import partial_path, remove
from seal_store.common.lock import hold, lock_path
from seal_store.common.output import Output
from seal_store.errors import FormatError, OutputError, StoreError, UnfinishedError
from seal_store.results import journal
from seal_store.results.group import Results
from seal_store.run.scores import check_finished, is_finished, write_scores
from seal_store.scoring import reading
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store import layout, manifest
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele
from seal_store.variants.regions import Region
from seal_store.variants.source import read_variants


def score_once(store: Path, vcf: Path, out: Path, attribute: bool, limit: int = 0) -> None:
    """One run, in a process of its own; ``limit`` is the largest file it may write."""
    small_chunks()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    added = AttributionOptions("deeplift", ("all",), top_features=3) if attribute else None
    scorer = Scorer(Store(store), ScoreOptions(device="cpu", batch=1), attribution=added)
    try:
        write_scores(scorer, read_variants(vcf), out, resume=True, checkpoint_seconds=0)
    except OSError as error:
        raise SystemExit(f"OSError {error.errno}") from None


def build_once(options: BuildOptions) -> None:
    import torch

    torch.set_num_threads(1)
    build(replace(options, genes_per_shard=2), "cpu")


@pytest.mark.slow
def test_a_removal_that_was_cut_off_can_be_ended(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever file it stopped, what is left is still known as our own."""
    out = tmp_path / "out.zarr"
    unlink, count = os.unlink, len(files(store.path))

    def dying(*args: Any, **more: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        unlink(*args, **more)

    for stop in {0, 1, *range(2, count, 7), count - 2, count - 1}:
        shutil.copytree(store.path, partial_path(out))
        left = stop
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(os, "unlink", dying)
            remove(partial_path(out))
        Output(out).claim(overwrite=True)
        assert not partial_path(out).exists()


@pytest.fixture
def vcf(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's variants three times over."""
    path = tmp_path_factory.mktemp("vcf") / "variants.vcf"
    path.write_text(world.variants.read_text() * 3)
    return path


SOAK = pytest.mark.soak


@pytest.mark.parametrize(
    ("name", "attribute", "kills"),
    [
        slow("out.zarr", False, 2),
        slow("out.tsv", False, 1),
        pytest.param("out.zarr", False, 25, marks=SOAK),
        pytest.param("out.zarr", True, 25, marks=SOAK),
        pytest.param("out.tsv", False, 25, marks=SOAK),
    ],
)
def test_a_killed_score_goes_on_to_the_same_bytes(
    name: str,
    attribute: bool,
    kills: int,
    store: Store,
    vcf: Path,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    work = partial(score_once, store.path, vcf, tmp_path / name, attribute)
    kill_often(work, tmp_path / name, kills, rng)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=SOAK)])
def test_a_killed_build_goes_on_to_the_same_bytes(
    kills: int, options: BuildOptions, tmp_path: Path, rng: np.random.Generator
) -> None:
    own = replace(options, out=tmp_path / "store.zarr", resume=True)
    kill_often(partial(build_once, own), own.out, kills, rng)


@pytest.mark.slow
@pytest.mark.parametrize("limits", [1, pytest.param(10, marks=SOAK)])
def test_a_full_disk_loses_nothing(
    limits: int, store: Store, vcf: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    out = tmp_path / "out.zarr"
    work = partial(score_once, store.path, vcf, out, False)
    assert finish(work)[1] == 0
    expected = files(out)
    largest = max(map(len, expected.values()))
    remove(out)
    stopped = 0
    for limit in sorted(rng.integers(500, largest, limits).tolist()):
        code = finish(partial(work, limit=limit))[1]
        stopped += code != 0
        assert code == (0 if out.exists() else 1)
        assert finish(work)[1] == 0
        assert files(out) == expected
        remove(out)
    assert stopped >= limits // 2


@pytest.mark.parametrize(
    ("name", "inside"),
    [("out.tsv", "table"), ("out.tsv", "published"), ("out.zarr", "zarr.0f.partial")],
)
def test_a_run_killed_before_its_first_checkpoint_is_begun_again(
    name: str, inside: str, store: Store, vcf: Path, tmp_path: Path
) -> None:
    left = partial_path(tmp_path / name)
    left.mkdir()
    (left / inside).touch()
    scored(store, vcf, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_ctrl_c_keeps_what_was_done(
    store: Store, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    out = tmp_path / "out.zarr"
    with pytest.raises(KeyboardInterrupt):
        scored(store, vcf, out, stop_after=60)
    left = partial_path(out)
    kept = json.loads((left / "journal" / journal.PROGRESS).read_text())["checkpoint"]["counts"]
    assert 50 <= kept["alleles"] < 60
    scored(store, vcf, out)
    scored(store, vcf, tmp_path / "whole.zarr")
    found, whole = Results(out), Results(tmp_path / "whole.zarr")
    assert found.attributes.counts == whole.attributes.counts
    assert files(out) == files(tmp_path / "whole.zarr")


def test_a_run_with_other_inputs_or_options_is_not_gone_on_with(
    store: Store, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    out = tmp_path / "out.tsv"
    with pytest.raises(KeyboardInterrupt):
        scored(store, vcf, out, stop_after=60)
    before = files(partial_path(out))
    with pytest.raises(OutputError, match="begun with scheme 'grid', not 'centered'"):
        scored(store, vcf, out, scheme="centered")
    with vcf.open("a") as handle:
        handle.write("chr1\t20000\t.\tA\tC\n")
    with pytest.raises(OutputError, match="begun with variants_sha256 '[0-9a-f]{64}', not"):
        scored(store, vcf, out)
    assert files(partial_path(out)) == before


@pytest.mark.slow
def test_what_the_journal_does_not_list_is_not_trusted(
    store: Store, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    monkeypatch.setattr(layout, "VARIANTS_PER_CHUNK", 8)
    for name, inside in (("out.zarr", "effect/c/0/0"), ("out.tsv", "table")):
        out = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            scored(store, vcf, out, stop_after=60)
        damaged = partial_path(out) / inside
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(OutputError, match="not as the journal lists it"):
            scored(store, vcf, out)
        assert not out.exists()


def test_a_shard_that_differs_from_the_journal_is_computed_again(
    options: BuildOptions, store: Store, tmp_path: Path
) -> None:
    own = replace(options, out=tmp_path / "store.zarr")
    planned = plan_module.plan(own)
    build_module.run_shards(planned.path, [0], "cpu")
    shard = planned.path / "aggregated" / "c" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    finished = build(replace(own, resume=True), "cpu")
    assert np.array_equal(finished.array("aggregated")[...], store.array("aggregated")[...])


def hold_forever(out: Path, ready: Path) -> None:
    with hold(out):
        ready.touch()
        time.sleep(60)


@pytest.mark.slow
def test_one_writer_wins_and_the_other_is_told(
    cli: Callable[..., Result], store: Store, vcf: Path, tmp_path: Path, world: World
) -> None:
    out, ready = tmp_path / "out.zarr", tmp_path / "ready"
    process = SERVER.Process(target=hold_forever, args=(out, ready))
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    scoring = ("score", "vcf", vcf, "--store", store.path, "--out", out)
    building = ("build", "--genome", world.genome, "--genes", world.genes, "--cnn", world.cnn)
    for command in (scoring, (*building, "--out", out), ("build", "--finalize", "--out", out)):
        done = cli(*command)
        assert done.exit_code == 1, done.output
        assert f"is being written by process {process.pid} on {socket.gethostname()}" in done.stderr
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert lock_path(out).exists()
    assert cli(*scoring).exit_code == 0
    assert not lock_path(out).exists()


def test_the_lock_of_another_host_says_how_to_clear_it(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    lock_path(out).write_text('{"host": "node7", "pid": 12, "since": "2026-01-01T00:00:00+00:00"}')
    with pytest.raises(OutputError, match="process 12 on node7 since 2026") as caught, hold(out):
        pass
    assert "remove this file" in caught.value.hint


def test_resume_at_the_command_line(
    cli: Callable[..., Result], store: Store, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    command = ("score", "vcf", vcf, "--store", store.path, "--out", out)
    assert cli(*command, "--resume").exit_code == 0
    before = files(out)
    done = cli(*command, "--resume")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"{out}: is finished")
    assert files(out) == before
    done = cli("score", "vcf", "-", "--store", store.path, "--out", out, "--resume")
    assert done.exit_code == 1
    assert "cannot be read again" in done.stderr


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_table_killed_before_its_first_checkpoint_is_begun_again(
    store: Store, vcf: Path, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out.tsv"
    left = partial_path(out)
    left.mkdir()
    (left / "table").write_text("chrom\tpos")
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    alleles = read_variants(vcf)
    write_scores(scorer, alleles, out, resume=not overwrite, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tsv"]
    assert len(out.read_text().splitlines()) == scorer.counts.rows + 1


def test_a_manifest_that_was_being_written_is_not_listed(
    store: Store, vcf: Path, tmp_path: Path
) -> None:
    """Killed in the middle of writing the manifest, then gone on with."""
    out = tmp_path / "out.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu"))

    def progress(what: str, done: int, total: int | None) -> None:
        (partial_path(out) / f"{manifest.MANIFEST}.tmp").write_text("{")

    write_scores(scorer, read_variants(vcf), out, progress=progress)
    assert len(Results(out)) == scorer.counts.rows


def test_a_store_that_is_replaced_while_it_is_scored_from_is_told(
    make_store: Callable[..., Store], vcf: Path, tmp_path: Path
) -> None:
    """Effects of both would stand side by side; here the new one even has the same files."""
    first = make_store()
    scorer_ = Scorer(first, ScoreOptions(device="cpu"))

    def alleles() -> Iterator[Allele]:
        yield from read_variants(vcf)
        listed = first.path / manifest.MANIFEST
        listed.write_text(json.dumps({"files": json.loads(listed.read_text())["files"]}))

    with pytest.raises(StoreError, match="was replaced since it was opened"):
        write_scores(scorer_, alleles(), tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"scheme": "centered"}, "with scheme 'grid', not 'centered'"),
        ({"contexts": ("adulthood.MD",)}, "with contexts"),
        ({"max_distance": 10}, "with max_distance 20000, not 10"),
    ],
)
def test_finished_results_of_another_run_are_not_taken_for_those_asked_for(
    store: Store, vcf: Path, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    out = tmp_path / "out.zarr"
    scored(store, vcf, out)
    same = Scorer(store, ScoreOptions(device="cpu"))
    counts = Results(out).attributes.counts
    assert check_finished(same, read_variants(vcf), out).to_dict() == counts.to_dict()
    other = Scorer(store, ScoreOptions(device="cpu", **more))
    with pytest.raises(OutputError, match=f"out.zarr is finished, {says}"):
        check_finished(other, read_variants(vcf), out)
    with pytest.raises(OutputError, match="with regions"):
        check_finished(same, read_variants(vcf, [Region("chr1", 5, 6)]), out)
    vcf.write_text(vcf.read_text() + "chr1\t20000\t.\tA\tC\n")
    with pytest.raises(OutputError, match="with variants_sha256"):
        check_finished(same, read_variants(vcf), out)
    with pytest.raises(FormatError, match="not a seal-store results"):
        check_finished(same, read_variants(vcf), tmp_path)


def test_overwrite_scores_again_what_is_finished(
    cli: Callable[..., Result], store: Store, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    args = ["score", "vcf", vcf, "--store", store.path, "--device", "cpu", "-q", "--out", out]
    assert cli(*args).exit_code == 0
    again = cli(*args, "--resume", "--json")
    assert json.loads(again.stdout)["rows"] == len(Results(out))
    assert cli(*args, "--resume", "--scheme", "centered").exit_code == 1
    assert cli(*args, "--resume", "--overwrite", "--scheme", "centered").exit_code == 0
    assert Results(out).attributes.scheme == "centered"


def test_what_comes_through_a_pipe_is_not_resumed(
    cli: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    """A later run would get what follows, of whatever is piped into it then."""
    os.mkfifo(tmp_path / "in.vcf")
    args = ["score", "vcf", tmp_path / "in.vcf", "--store", store.path, "--resume"]
    found = cli(*args, "--out", tmp_path / "out.zarr")
    assert found.exit_code == 1
    assert "is not a file, and cannot be read again" in found.stderr


def test_an_output_is_not_its_own_input_nor_within_the_store(
    store: Store, vcf: Path, tmp_path: Path
) -> None:
    table = Path(shutil.copy(vcf, tmp_path / "in.tsv"))
    before = table.read_bytes()
    scorer_ = Scorer(store, ScoreOptions(device="cpu"))
    with pytest.raises(OutputError, match="is the input itself"):
        write_scores(scorer_, read_variants(table), table, overwrite=True)
    assert table.read_bytes() == before
    with pytest.raises(OutputError, match="lies in the store"):
        write_scores(scorer_, [], store.path / "inner.zarr")


@pytest.mark.parametrize("name", ["out.zarr", "out.tsv"])
def test_a_link_stays_and_what_it_names_is_replaced(
    store: Store, vcf: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / name, tmp_path / name
    scored(store, vcf, real)
    link.symlink_to(real)
    before = files(real)
    scorer_ = Scorer(store, ScoreOptions(device="cpu", scheme="centered"))
    write_scores(scorer_, read_variants(vcf), link, overwrite=True)
    assert link.is_symlink()
    assert files(real) != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", name]
    assert [p.name for p in real.parent.iterdir()] == [name]


def test_results_cut_off_between_two_renames_say_where_they_are(
    store: Store, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    scored(store, vcf, out)
    out.rename(partial_path(out))
    with pytest.raises(UnfinishedError) as caught:
        Results(out)
    assert caught.value.hint == "all of it is there: rename out.zarr.partial to out.zarr"
    assert is_finished(out)
    assert len(Results(out))


@pytest.mark.slow
def test_an_earlier_store_that_somebody_kept_is_not_removed(
    make_store: Callable[..., Store], options: BuildOptions
) -> None:
    store = make_store()
    kept = store.path.with_name(store.path.name + ".old")
    kept.mkdir()
    (kept / "note").touch()
    build(replace(options, out=store.path, overwrite=True), "cpu")
    assert [p.name for p in kept.iterdir()] == ["note"]


@pytest.mark.parametrize("name", ["out.zarr", "out.tsv"])
def test_ctrl_c_while_it_is_published_loses_nothing(
    store: Store, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whole and not yet under its name: the next run gives it that."""
    out, real = tmp_path / name, os.replace

    def dying(source: Path, target: Path) -> None:
        if Path(target) == out:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", dying)
        scored(store, vcf, out)
    assert is_finished(out)
    scored(store, vcf, tmp_path / f"whole{out.suffix}")
    assert files(out) == files(tmp_path / f"whole{out.suffix}")
