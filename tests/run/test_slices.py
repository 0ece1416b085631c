"""Scores in slices end with the bytes of one process, whoever did them, in whatever order."""

from __future__ import annotations

import gzip
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pysam
import pytest
from click.testing import Result
from interrupted import files
from seldom import slow, soak

from seal_store.common.beside import partial_path
from seal_store.common.files import file_sha256
from seal_store.common.tasks import Note, notes
from seal_store.errors import InputError, OutputError, UnfinishedError, VariantError
from seal_store.results import journal
from seal_store.results.group import Results, ZarrWriter
from seal_store.run.calibrate import calibrate
from seal_store.run.job import Prepared, ScoreJob
from seal_store.run.scores import write_scores
from seal_store.run.slices import finalize_scores, run_slices
from seal_store.run.slices_plan import plan_scores, planned_at, read_plan
from seal_store.run.status import Status
from seal_store.scoring import reading
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.store import layout
from seal_store.store.store import Store
from seal_store.variants.regions import Region
from seal_store.variants.source import VariantSource

Cli = Callable[..., Result]
HEAD = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length={length}>\n"
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 8)
    monkeypatch.setattr(layout, "VARIANTS_PER_CHUNK", 16)


@pytest.fixture(scope="module")
def vcf(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of one, two and no ALT around a TSS, and lines that are none."""
    rng = np.random.default_rng(5)
    contig, tss = str(store.table.contig[0]), int(store.table.tss[0])
    lines = []
    for i, pos in enumerate(sorted(rng.integers(max(tss - 3_000, 1), tss + 3_000, 120).tolist())):
        alts = [rng.choice(list("ACGT"))] + ["ACGTT"] * (i % 5 == 0) + ["<DEL>"] * (i % 7 == 0)
        size = ",".join(str(-i - 1) if alt == "<DEL>" else "." for alt in alts)
        info = f"DP={i}" + f";SVLEN={size}" * (i % 14 == 0)
        lines.append(f"{contig}\t{pos}\tv{i}\tA\t{','.join(alts)}\t.\t.\t{info}\n")
        if i % 40 == 20:
            lines.append(f"{contig}\tsix\t.\tA\tC\t.\t.\t.\n\n")
    path = tmp_path_factory.mktemp("slices") / "in.vcf"
    length = store.attributes.genome.contigs[contig]
    path.write_text(HEAD.format(length=length).replace("chr1", contig) + "".join(lines))
    return path


@pytest.fixture
def job(store: Store, vcf: Path, tmp_path: Path) -> ScoreJob:
    options = ScoreOptions(device="cpu", batch=2, genes="all")
    return ScoreJob(store.path, tmp_path / "out.zarr", str(vcf), options=options, command="score")


def whole(job: ScoreJob) -> dict[str, bytes]:
    """The files of one process."""
    out = job.out.with_name(f"whole{''.join(job.out.suffixes)}")
    prepared = Prepared(replace(job, out=out))
    write_scores(prepared.scorer, prepared.whole, out, form=prepared.form, command=job.command)
    return files(out)


def in_slices(job: ScoreJob, slices: int = 7) -> dict[str, bytes]:
    """The files of slices done in random order, two of them twice."""
    plan = plan_scores(Prepared(job), slices)
    order = random.Random(1).sample(range(len(plan.slices)), len(plan.slices))
    assert len(order) > 1
    for index in (*order, *order[:2]):
        run_slices(Prepared(job), [index])
    finalize_scores(Prepared(job))
    assert not partial_path(job.out).exists()
    return files(job.out)


@pytest.mark.parametrize(
    "ending",
    [".zarr", slow(".vcf.gz"), *(soak(name) for name in (".tsv", ".tsv.gz", ".parquet", ".vcf"))],
)
def test_every_output_is_that_of_one_process(job: ScoreJob, ending: str) -> None:
    job = replace(job, out=job.out.with_suffix("").with_suffix(ending))
    assert in_slices(job) == whole(job)


@pytest.mark.slow
def test_attributions_come_out_as_they_were_written(job: ScoreJob) -> None:
    """In float16 with a scale, of which twice rounded values would differ."""
    added = AttributionOptions("deeplift", ("all",), top_features=3, by=("assay",), dtype="float16")
    job = replace(job, attribution=added)
    assert in_slices(job) == whole(job)


@pytest.mark.slow
def test_calibrated_effects_too(job: ScoreJob, vcf: Path, tmp_path: Path) -> None:
    store = tmp_path / "calibrated.zarr"
    shutil.copytree(job.store, store)
    calibrate(Store(store), vcf, replace(job.options, contexts=()))
    job = replace(job, store=store, options=replace(job.options, calibrated=True))
    for ending in (".zarr", ".tsv"):
        own = replace(job, out=tmp_path / f"out{ending}")
        assert in_slices(own) == whole(own)


@pytest.mark.soak
def test_lifted_variants_too(job: ScoreJob, store: Store, tmp_path: Path) -> None:
    """Through a chain that turns the contig round and leaves 600 bp of it out."""
    contig, tss = str(store.table.contig[0]), int(store.table.tss[0])
    size = store.attributes.genome.contigs[contig]
    chain, end = tmp_path / "turned.chain", size - tss - 600
    chain.write_text(
        f"chain 1 {contig} {size} + 0 {size} {contig} {size} - 0 {size} 1\n"
        f"{tss}\t600\t600\n{end}\n\n"
    )
    job = replace(job, liftover=chain)
    for ending in (".zarr", ".tsv"):
        own = replace(job, out=tmp_path / f"out{ending}")
        assert in_slices(own) == whole(own)
    counts = Results(tmp_path / "out.zarr").attributes.counts
    assert counts.alleles_scored > 20
    assert counts.not_scored["liftover_unmapped"] > 5


@pytest.mark.soak
def test_saturation_has_slices_too(job: ScoreJob, store: Store) -> None:
    job = replace(job, variants="", gene=str(store.gene_id[0]), span=15)
    job = replace(job, options=replace(job.options, genes="nearest"))
    assert in_slices(job) == whole(job)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["bgzf", slow("bcf"), *(soak(name) for name in ("gz", "regions", "crlf", "headerless"))]
)
def test_every_input_is_entered_where_a_slice_begins(
    job: ScoreJob, vcf: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.vcf"
    text = vcf.read_text()
    if kind == "gz":
        path = tmp_path / "in.vcf.gz"
        path.write_bytes(gzip.compress(text.encode()))
    elif kind == "bgzf":  # several blocks
        path = tmp_path / "in.vcf.gz"
        parts = [text[i : i + 700].encode() for i in range(0, len(text), 700)]
        path.write_bytes(b"".join(map(block, [*parts, b""])))
    elif kind == "bcf":
        path = tmp_path / "in.bcf"
        sound = tmp_path / "sound.vcf"
        records = "".join(x for x in text.splitlines(True) if x.strip() and "six" not in x)
        sound.write_text(re.sub(r",<DEL>|;SVLEN=[-.,\d]*", "", records))
        write_bcf(sound, path)
    elif kind == "regions":
        path.write_text(text)
        contig = text.splitlines()[5].split("\t")[0]
        places = [int(x.split("\t")[1]) for x in text.splitlines()[4:] if x and "six" not in x]
        job = replace(job, regions=(Region(contig, places[10], places[-10]),), named=("some",))
    elif kind == "crlf":
        path.write_bytes(text.replace("\n", "\r\n").encode())
    else:
        lines = [x.split("\t")[:5] for x in text.splitlines() if x[:1] not in ("#", "")]
        path.write_text("".join("\t".join(x) + "\n" for x in lines))
    job = replace(job, variants=str(path))
    read: list[int] = []
    real = VariantSource._from

    def counted(self: VariantSource, start: int, *args: int, **more: int) -> Iterator[object]:
        read.append(start)
        return real(self, start, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(VariantSource, "_from", counted)
    assert in_slices(job) == whole(job)
    assert bool(read) == (kind not in ("gz", "regions"))


def block(data: bytes) -> bytes:
    """A block of BGZF (SAM specification, 4.1)."""
    import struct
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25)
    return head + body + struct.pack("<II", zlib.crc32(data), len(data))


def write_bcf(source: Path, path: Path) -> None:
    with (
        pysam.VariantFile(str(source)) as given,
        pysam.VariantFile(str(path), "wb", header=given.header) as out,
    ):
        for record in given:
            out.write(record)


def test_what_is_missing_is_named(job: ScoreJob) -> None:
    plan = plan_scores(Prepared(job), 8)
    count = len(plan.slices)
    order = random.Random(2).sample(range(count), count)
    for index in (*order[1:], *order[1:3]):
        run_slices(Prepared(job), [index])
    with pytest.raises(UnfinishedError, match=f"slice {order[0]} of {count} is not done"):
        finalize_scores(Prepared(job))
    assert plan.missing(partial_path(job.out)) == [order[0]]
    assert {i for i, note in notes(partial_path(job.out)).items() if note.state == "done"} == {
        *order[1:]
    }
    run_slices(Prepared(job), [order[0]])
    finalize_scores(Prepared(job))
    assert files(job.out) == whole(job)


def test_slices_are_of_like_cost(job: ScoreJob) -> None:
    plan = plan_scores(Prepared(job), 4)
    costs = [piece.cost for piece in plan.slices]
    chunk = max(piece.cost for piece in plan_scores(Prepared(job), 10**6, overwrite=True).slices)
    assert max(costs) - min(costs) <= 2 * chunk
    assert [p.first for p in plan.slices[1:]] == list(
        np.cumsum([p.alleles for p in plan.slices])[:-1]
    )


@pytest.mark.slow
def test_a_damaged_slice_is_done_again(job: ScoreJob) -> None:
    plan = plan_scores(Prepared(job), 5)
    run_slices(Prepared(job), range(len(plan.slices)))
    chunk = next(plan.path(partial_path(job.out), 2).glob("effect/c/*/*"))
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(UnfinishedError, match="slice 2 was damaged"):
        finalize_scores(Prepared(job))
    run_slices(Prepared(job), [2])
    finalize_scores(Prepared(job))
    assert files(job.out) == whole(job)


def test_slices_belong_to_one_plan(job: ScoreJob, vcf: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfinishedError, match="no planned scores"):
        run_slices(Prepared(job), [0])
    plan = plan_scores(Prepared(job), 5)
    with pytest.raises(OutputError, match="exists: an earlier run did not finish"):
        plan_scores(Prepared(job), 5)
    with pytest.raises(InputError, match=f"this plan has slices 0 to {len(plan.slices) - 1}"):
        run_slices(Prepared(job), [len(plan.slices)])
    with pytest.raises(OutputError, match="genes 'all', not 'nearest'"):
        run_slices(Prepared(replace(job, options=replace(job.options, genes="nearest"))), [0])
    run_slices(Prepared(job), [1])
    assert plan_scores(Prepared(job), 3, resume=True).key == plan.key
    other = plan_scores(Prepared(job), 3, overwrite=True)
    assert other.key != plan.key
    assert other.missing(partial_path(job.out)) == list(range(len(other.slices)))
    prepared = Prepared(job)
    with pytest.raises(OutputError, match="is planned in slices"):
        write_scores(prepared.scorer, prepared.whole, job.out, resume=True)


def test_the_input_is_the_one_planned(job: ScoreJob, vcf: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.vcf"
    own.write_bytes(vcf.read_bytes())
    job = replace(job, variants=str(own))
    plan = plan_scores(Prepared(job), 5)
    os.utime(own)  # of another time, but the same bytes
    run_slices(Prepared(job), [0])
    own.write_text(vcf.read_text().replace("\tA\t", "\tC\t"))
    with pytest.raises(OutputError, match="variants_sha256"):
        run_slices(Prepared(job), [1])
    assert plan.missing(partial_path(job.out))[0] == 1


def test_an_input_that_changed_is_told_though_size_and_time_are_the_same(
    job: ScoreJob, vcf: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.vcf"
    text = vcf.read_text()
    own.write_text(text)
    then = own.stat().st_mtime_ns

    def change(record: str) -> None:
        own.write_text(text.replace(f"{record}\tA\t", f"{record}\tC\t"))
        os.utime(own, ns=(then, then))

    def while_planned(what: str, done: int, total: int | None) -> None:
        if done >= 20:
            change("v3")

    job = replace(job, variants=str(own))
    for record in ("v3", "v60", "v119"):
        plan_scores(Prepared(job), 5, overwrite=True)
        run_slices(Prepared(job), [0])
        change(record)
        with pytest.raises(OutputError, match="variants_sha256"):
            run_slices(Prepared(job), [1])
        change("no record")
        run_slices(Prepared(job), [1])
    with pytest.raises(InputError, match="own.vcf: was changed while it was read"):
        plan_scores(Prepared(job), 5, overwrite=True, progress=while_planned)
    assert not partial_path(job.out).exists()


def test_a_pipe_and_another_assembly_are_refused_by_the_plan(
    job: ScoreJob, vcf: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a file"):
        plan_scores(Prepared(replace(job, variants=str(pipe))))
    wrong = tmp_path / "wrong.vcf"
    lines = [x for x in vcf.read_text().splitlines(True) if x[:1] != "#" and "six" not in x]
    wrong.write_text("".join(x for x in lines if x.strip()) * 20)
    with pytest.raises(VariantError, match="another assembly"):
        plan_scores(Prepared(replace(job, variants=str(wrong))))
    assert not partial_path(job.out).exists()


@pytest.mark.slow
def test_a_finalize_that_was_killed_is_repeated(
    job: ScoreJob, monkeypatch: pytest.MonkeyPatch, make_fail: Callable[[int], None]
) -> None:
    plan = plan_scores(Prepared(job), 5)
    run_slices(Prepared(job), range(len(plan.slices)))
    make_fail(20)
    with pytest.raises(MemoryError):
        finalize_scores(Prepared(job))
    monkeypatch.undo()
    monkeypatch.setattr(layout, "VARIANTS_PER_CHUNK", 16)
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 8)
    assert (partial_path(job.out) / "effect").exists()
    assert read_plan(planned_at(job.out).partial).key == plan.key
    finalize_scores(Prepared(job))
    assert files(job.out) == whole(job)


@pytest.fixture
def make_fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Fail in the middle of writing."""
    from seal_store.results.group import Appender

    real = Appender.append

    def after(rows: int) -> None:
        def append(self: Appender, values: dict[str, np.ndarray]) -> None:
            real(self, values)
            if self._arrays["pos"].shape[0] >= rows:
                raise MemoryError

        monkeypatch.setattr(Appender, "append", append)

    return after


def test_a_slice_that_was_killed_leaves_nothing_in_the_way(job: ScoreJob) -> None:
    prepared = Prepared(job)
    plan = plan_scores(prepared, 3)

    def begun() -> None:
        ZarrWriter.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore
        run_slices(Prepared(job), [0])

    child = os.fork()
    if not child:
        begun()
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = list(plan.path(partial_path(job.out), 0).parent.glob("*.zarr.partial"))
    assert len(left) == 1
    run_slices(prepared, range(len(plan.slices)))
    finalize_scores(prepared)
    assert files(job.out) == whole(job)


def test_time_in_which_nothing_was_done_does_not_count() -> None:
    """Two tasks of a minute a day apart, two at once."""
    ends = [("01T10:00", "01T10:01"), ("02T10:00", "02T10:02"), ("02T10:01", "02T10:02")]
    notes_ = {
        i: Note("done", "h", 1, f"2026-01-{a}:00+00:00", f"2026-01-{b}:00+00:00")
        for i, (a, b) in enumerate(ends)
    }
    found = Status(Path("x"), False, "slice", 4, (0, 1, 2), [1.0] * 4, notes_)
    assert found.per_hour == pytest.approx(60)
    assert found.seconds_left == pytest.approx(60)


def test_what_is_finished_is_not_finalized_again(job: ScoreJob, cli: Cli) -> None:
    prepared = Prepared(job)
    plan_scores(prepared, 2)
    run_slices(prepared, [0, 1])
    assert finalize_scores(prepared) is not None
    before = files(job.out)
    assert finalize_scores(prepared) is None
    args = ["score", "vcf", job.variants, "--store", job.store, "--out", job.out, "--genes", "all"]
    done = cli(*args, "--batch", 2, "--device", "cpu", "--finalize", "-q")
    assert done.exit_code == 0, done.output
    assert files(job.out) == before


@pytest.mark.parametrize("slices", [0, 3])
def test_of_another_input_with_overwrite_it_starts_again(
    job: ScoreJob, vcf: Path, tmp_path: Path, slices: int, cli: Cli
) -> None:
    """As workflow engines ask for: what was interrupted is kept, what is of old inputs is not."""
    other = tmp_path / "other.vcf"
    shutil.copy(vcf, other)
    prepared = Prepared(replace(job, variants=str(other)))
    if slices:
        plan_scores(prepared, slices)
        run_slices(prepared, [0])
    else:
        run = partial(
            write_scores, prepared.scorer, prepared.whole, job.out, checkpoint_seconds=0.0
        )
        with pytest.raises(KeyboardInterrupt):
            run(progress=interrupted_at(24))
        assert (partial_path(job.out) / journal.CHECKPOINT).exists()
    other.write_text(vcf.read_text().replace("DP=3\n", "DP=33\n"))
    args = ["score", "vcf", other, "--store", job.store, "--out", job.out, "--genes", "all"]
    args += ["--device", "cpu", "-q", "--resume", *(["--workers", 2] if slices else [])]
    refused = cli(*args)
    assert refused.exit_code == 1
    assert "start again with --overwrite" in refused.stderr
    done = cli(*args, "--overwrite")
    assert done.exit_code == 0, done.output
    assert Results(job.out).attributes.variants_sha256 == file_sha256(other)


def interrupted_at(alleles: int) -> Callable[..., None]:
    def progress(_: str, done: int, total: int | None) -> None:
        if done >= alleles:
            raise KeyboardInterrupt

    return progress


def test_one_process_does_not_go_on_in_slices(
    job: ScoreJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = partial_path(job.out)
    (partial / "journal").mkdir(parents=True)
    (partial / journal.CHECKPOINT).write_text("{}")
    with pytest.raises(OutputError, match="was begun by one process"):
        plan_scores(Prepared(job), resume=True)
