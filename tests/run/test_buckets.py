"""Outputs in a bucket: what is built, scored and exported there is what is made here, byte by byte,
whatever fails on the way; killed at any moment nothing half there opens, and a later run ends it.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from seldom import slow

pytest.importorskip("obstore")
pytest.importorskip("moto")

import obstore
from cloud import Proxy, client, objects, put, serving

import seal_store
from seal_store.building.build import build, finalize, run_shards
from seal_store.building.options import BuildOptions
from seal_store.building.plan import plan
from seal_store.check.verify import verify
from seal_store.common.beside import partial_path
from seal_store.errors import FormatError, OutputError, UnfinishedError
from seal_store.results.group import Results
from seal_store.store.address import WORK
from seal_store.store.place import local_of, output_at, place
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unfinished work lies in the folder of the process."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hostile(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """One request in five fails, one connection in ten is cut, every PUT arrives twice."""
    proxy = Proxy(s3_port, fails=0.2, cuts=0.1, twice=True)
    with serving(proxy.handler()) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield proxy


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(bucket: str, port: int | None = None) -> set[str]:
    """Everything in a bucket."""
    own, _ = client(f"{bucket}/x", port)
    return {item["path"] for item in obstore.list(own).collect()}


def check_alike(address: str, folder: Path, port: int) -> None:
    """Results there are those here, but for what names the store and the command."""
    theirs, ours = objects(address, port), files(folder)
    assert theirs.keys() == ours.keys()
    assert {n for n in ours if ours[n] != theirs[n]} <= {"zarr.json", "manifest.json"}


@pytest.mark.slow
@pytest.mark.parametrize("server", ["counted", "hostile"])
def test_all_of_it_there_is_as_here_whatever_fails(
    server: str,
    store: Store,
    options: BuildOptions,
    world: World,
    bucket: str,
    here: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Build to a bucket, verify there, score from there, and results to there."""
    proxy: Proxy = request.getfixturevalue(server)
    address = f"{bucket}/lab/hg.zarr"
    built = build(replace(options, out=place(address)), "cpu")
    assert str(built.path) == address
    assert objects(address, proxy.port) == files(Path(str(store.path)))
    assert verify(address, contents=False).ok  # numbers: in test_remote
    scores = f"{bucket}/lab/x.zarr"
    for given, out in ((built, scores), (store, here / "x.zarr")):
        seal_store.score(given, str(world.variants), out=out, device="cpu")
    check_alike(scores, here / "x.zarr", proxy.port)
    assert verify(scores, contents=False).ok
    seal_store.export(scores, f"{bucket}/lab/x.tsv")
    seal_store.export(here / "x.zarr", here / "x.tsv")
    assert objects(f"{bucket}/lab/x.tsv", proxy.port)[""] == (here / "x.tsv").read_bytes()
    assert not (here / WORK).exists()
    assert {name.split("/")[1] for name in names(bucket, proxy.port)} == {
        *("hg.zarr", "x.zarr", "x.tsv")
    }
    assert len(proxy.requests) > 200


@pytest.mark.slow
def test_every_kind_of_output_goes_there(
    store: Store, world: World, bucket: str, here: Path, cli: Cli, s3_port: int
) -> None:
    pytest.importorskip("pysam")
    args = ("--store", store.path, "--device", "cpu", "-q")
    results = here / "x.zarr"
    assert cli("score", "vcf", world.variants, "--out", results, *args).exit_code == 0
    for form in ("tsv.gz", "parquet", "vcf.gz", "bcf"):
        seal_store.export(results, here / f"x.{form}")
        seal_store.export(results, f"{bucket}/x.{form}")
    for name in (*(path.name for path in here.glob("x.*") if path.is_file()),):
        assert objects(f"{bucket}/{name}", s3_port)[""] == (here / name).read_bytes(), name
    assert {"x.vcf.gz.tbi", "x.bcf.csi"} <= names(bucket)
    direct = (f"{bucket}/direct.vcf.gz", f"{bucket}/x.vcf.gz")
    assert cli("score", "vcf", world.variants, "--out", direct[0], *args).exit_code == 0
    bodies = [gzip.decompress(objects(one, s3_port)[""]).split(b"#CHROM")[1] for one in direct]
    assert bodies[0] == bodies[1]
    saturated = ("score", "saturate", "GENE02", "--span", 20, *args)
    for out in (f"{bucket}/s.zarr", here / "s.zarr"):
        assert cli(*saturated, "--out", out).exit_code == 0
        add = ("--attribute", "saliency", "--target", "early_fetal.OC", "--device", "cpu", "-q")
        done = cli("attribute", out, *add)
        assert done.exit_code == 0, done.output
        done = cli("merge", out, "--out", str(out).replace("s.zarr", "m.zarr"), "-q")
        assert done.exit_code == 0, done.output
        track = str(out).replace("s.zarr", "t.bedgraph")
        context = ("--contexts", "early_fetal.OC")
        assert cli("export", out, track, *context, "-q").exit_code == 0
        table = str(out).replace("s.zarr", "e.tsv")
        assert cli("expression", store.path, "--out", table).exit_code == 0
    for name in ("s.zarr", "m.zarr"):
        check_alike(f"{bucket}/{name}", here / name, s3_port)
    for name in ("t.bedgraph", "e.tsv"):
        assert objects(f"{bucket}/{name}", s3_port)[""] == (here / name).read_bytes()
    assert not (here / WORK).exists()


@pytest.mark.slow
def test_shards_and_slices_are_made_here_and_sent_at_the_end(
    store: Store,
    options: BuildOptions,
    world: World,
    bucket: str,
    here: Path,
    cli: Cli,
    s3_port: int,
) -> None:
    out = place(f"{bucket}/hg.zarr", work=here / "shared")
    planned = plan(replace(options, out=out, genes_per_shard=4))
    assert planned.path == partial_path(local_of(out))
    run_shards(planned.path, [2, 0, 1], "cpu")
    assert names(bucket) == set()
    with pytest.raises(FormatError, match="store not found"):
        Store(out)
    found = finalize(out)
    ours = build(replace(options, out=here / "hg.zarr", genes_per_shard=4), "cpu")
    assert objects(f"{bucket}/hg.zarr", s3_port) == files(here / "hg.zarr")
    assert found.sha256 == ours.sha256
    assert list((here / "shared").iterdir()) == []
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    assert cli(*score, "--out", here / "x.tsv").exit_code == 0
    far = ("--out", f"{bucket}/x.tsv", "--work", here / "shared")
    assert cli(*score, *far, "--plan", "--slices", 3).exit_code == 0
    status = cli("status", *far[1:], "--json")
    slices = json.loads(status.stdout)["total"]
    for index in reversed(range(slices)):
        assert cli(*score, *far, "--slice", index).exit_code == 0
    assert cli(*score, *far, "--finalize").exit_code == 0
    assert objects(f"{bucket}/x.tsv", s3_port)[""] == (here / "x.tsv").read_bytes()
    assert json.loads(cli("status", f"{bucket}/x.tsv", "--json").stdout)["finished"]


def killed(proxy: Proxy, stops: str, *command: object) -> None:
    """Run a command until the server has a request like ``stops``, which it never answers."""
    proxy.stops = stops
    code = f"from seal_store.cli import run; run({list(map(str, command))!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not proxy.stopped.wait(0.1):
        assert process.poll() is None
    process.kill()
    process.wait()
    proxy.stops = ""
    proxy.stopped.clear()


@pytest.mark.parametrize("stops", [slow(r"PUT .*/x\.zarr/pos/"), r"PUT .*/x\.zarr/manifest\.json"])
def test_killed_while_it_is_sent_nothing_opens_and_the_next_run_ends_it(
    store: Store, world: World, bucket: str, here: Path, cli: Cli, counted: Proxy, stops: str
) -> None:
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    far = (*score, "--out", f"{bucket}/x.zarr")
    killed(counted, stops, *far)
    assert "x.zarr/zarr.json" in names(bucket)
    with pytest.raises(UnfinishedError, match="no manifest"):
        Results(f"{bucket}/x.zarr")
    assert not verify(f"{bucket}/x.zarr").ok
    sent = {r for r in counted.requests if r.startswith("PUT")}
    shown = cli("inspect", f"{bucket}/x.zarr")
    assert "`seal-store score ... --resume`" in shown.stderr
    counted.requests.clear()
    done = cli(*far, "--resume")
    assert done.exit_code == 0, done.output
    again = sent & set(counted.requests)
    if "manifest" in stops:  # all else was there
        assert len(again) <= 1 + 4 + 1  # the lock, what was under way, the manifest
    assert cli(*score, "--out", here / "x.zarr").exit_code == 0
    check_alike(f"{bucket}/x.zarr", here / "x.zarr", counted.port)
    assert verify(f"{bucket}/x.zarr", contents=False).ok
    assert not (here / WORK).exists()
    assert {name.split("/")[0] for name in names(bucket)} == {"x.zarr"}


@pytest.mark.slow
def test_a_build_goes_on_with_what_was_sent(
    store: Store, options: BuildOptions, bucket: str, here: Path, counted: Proxy, cli: Cli
) -> None:
    inputs = [
        a for name in ("genome", "genes", "cnn") for a in (f"--{name}", getattr(options, name))
    ]
    command = ("build", *inputs, "--heads", options.heads[0], "--out", f"{bucket}/hg.zarr")
    killed(counted, "PUT .*/table/", *command, "--device", "cpu", "-q")
    with pytest.raises(UnfinishedError, match="no manifest"):
        Store(f"{bucket}/hg.zarr")
    assert cli(*command, "-q").exit_code == 1  # neither --resume nor --overwrite
    done = cli(*command, "--resume", "--device", "cpu", "-q")
    assert done.exit_code == 0, done.output
    assert verify(f"{bucket}/hg.zarr", contents=False).ok
    check_alike(f"{bucket}/hg.zarr", Path(str(store.path)), counted.port)


def test_a_repeated_command_says_that_it_ended_what_was_cut_off(
    store: Store, world: World, bucket: str, cli: Cli, counted: Proxy
) -> None:
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    far = (*score, "--out", f"{bucket}/x.zarr")
    killed(counted, r"PUT .*/x\.zarr/manifest\.json", *far)
    done = cli(*far)
    assert done.exit_code == 1
    assert "x.zarr is finished now: an earlier run was cut off while it published" in done.stderr
    assert verify(f"{bucket}/x.zarr").ok
    assert "exists already" in cli(*far).stderr


def test_a_bucket_that_is_not_there_is_named(
    store: Store, world: World, bucket: str, cli: Cli
) -> None:
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    done = cli(*score, "--out", "s3://no-such-bucket/x.zarr")
    assert done.exit_code == 1
    assert "s3://no-such-bucket: no such bucket; make it first" in done.stderr


def test_overwriting_removes_the_manifest_first_and_leaves_nothing_old(
    store: Store, world: World, bucket: str, cli: Cli, counted: Proxy
) -> None:
    out = f"{bucket}/x.zarr"
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    assert cli(*score, "--out", out).exit_code == 0
    before = names(bucket)
    put(f"{out}/old/c/0", b"of an earlier one")
    done = cli(*score, "--out", out)
    assert done.exit_code == 1
    assert f"{out} exists already; choose another --out or add --overwrite" in done.stderr
    counted.requests.clear()
    assert cli(*score, "--out", out, "--contexts", "early_fetal.OC", "--overwrite").exit_code == 0
    changes = [r for r in counted.requests if r[:3] in ("PUT", "POS") and ".lock" not in r]
    first, second, *_, late, last = changes
    assert first.endswith("?delete x.zarr/manifest.json")
    assert second.endswith("/x.zarr/zarr.json")
    assert late.endswith("?delete x.zarr/old/c/0")
    assert last.endswith("/x.zarr/manifest.json")
    assert names(bucket) == before
    assert Results(out).contexts()[0] == ["early_fetal.OC"]


def test_overwriting_with_the_same_mends_what_was_damaged_there(
    store: Store, world: World, bucket: str, cli: Cli
) -> None:
    out = f"{bucket}/x.zarr"
    score = ("score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q")
    assert cli(*score, "--out", out).exit_code == 0
    put(f"{out}/effect/c/0/0", b"damaged")
    assert cli("verify", out, "-q").exit_code == 1
    assert cli(*score, "--out", out, "--overwrite").exit_code == 0
    assert cli("verify", out, "-q").exit_code == 0


def test_what_is_not_ours_stays(store: Store, world: World, bucket: str, cli: Cli) -> None:
    put(f"{bucket}/photos.zarr/zarr.json", b"{}")
    put(f"{bucket}/notes.tsv", b"mine")
    put(f"{bucket}/file.zarr", b"mine")
    before = names(bucket)
    score = ("score", "vcf", world.variants, "--store", store.path, "--overwrite", "-q", "--out")
    for name, why in (
        ("photos.zarr", "is a folder with other content"),
        ("notes.tsv", "is not a file that seal-store made"),
        ("file.zarr", "is a file, not a folder of seal-store"),
    ):
        done = cli(*score, f"{bucket}/{name}")
        assert done.exit_code == 1
        assert f"{bucket}/{name} {why}" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert names(bucket) == before
    done = cli(*score, "https://host/x.tsv")
    assert done.exit_code == 1
    assert "https://host/x.tsv: a web server is only read; write to a folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_of_two_writers_one_is_told(bucket: str, here: Path, s3_port: int) -> None:
    address = f"{bucket}/x.zarr"
    other = place(address, work=here / "elsewhere")
    with output_at(place(address), kind="k"):
        assert names(bucket) == {"x.zarr.lock"}
        one = json.loads(objects(f"{address}.lock", s3_port)[""])
        for theirs in ({"host": "nodeB"}, {"pid": os.getppid()}):
            put(f"{address}.lock", json.dumps({**one, **theirs}).encode())
            with pytest.raises(OutputError, match="is being written by process") as caught:
                output_at(other, kind="k").__enter__()
            assert "remove this object" in caught.value.hint
    assert names(bucket) == {"x.zarr.lock"}  # that of the other one stays
    put(f"{address}.lock", json.dumps({**one, "pid": 2**22 - 1}).encode())
    with output_at(other, kind="k"):
        pass
    assert names(bucket) == set()
    put(f"{address}.lock", b"a list of shopping")
    with pytest.raises(OutputError, match="is no lock"):
        output_at(other, kind="k").__enter__()
    assert not (here / WORK).exists()
    assert list((here / "elsewhere").iterdir()) == []


def test_two_at_one_moment_make_one_output(
    store: Store, world: World, bucket: str, here: Path
) -> None:
    """Whoever is second at the lock is told; what is there is of the first, and whole."""
    told = []

    def run(work: str) -> None:
        out = place(f"{bucket}/x.zarr", work=here / work)
        try:
            seal_store.score(store, str(world.variants), out=out, device="cpu")
        except OutputError as error:
            told.append(str(error))

    both = [threading.Thread(target=run, args=(work,)) for work in ("a", "b")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(told) == 1
    assert verify(f"{bucket}/x.zarr").ok
