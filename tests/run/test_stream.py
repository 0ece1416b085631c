"""`score vcf` among pipes: input from anywhere, output on stdout while it is computed."""

from __future__ import annotations

import gzip
import io
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pysam
import pytest
from click.testing import Result
from seldom import slow, soak

from seal_store.errors import InputError, VariantError
from seal_store.exporting import vcf as annotated
from seal_store.exporting.render import Form
from seal_store.run.stream import stream_scores
from seal_store.run.watch import LOOKED_AT, UNWATCHED, Watch
from seal_store.scoring.assign import Counts
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import VariantSource

Cli = Callable[..., Result]
CONTEXTS = ("early_fetal.OC",)
TELLS_COMMAND = re.compile(rb"##SEAL_command=.*\n")
HEAD = (
    "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=320000>\n"
    '##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


def plain(data: bytes) -> bytes:
    """Text of a VCF, packed or not, without the command that made it."""
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    return TELLS_COMMAND.sub(b"", text)


def as_vcf(path: Path) -> str:
    return str(pysam.bcftools.view("--no-version", "-H", str(path)))


def arguments(store: Store, source: object, *more: object) -> list[str]:
    args = ["score", "vcf", source, "--store", store.path, "--device", "cpu"]
    return [str(a) for a in (*args, "--contexts", *CONTEXTS, *more)]


def command(store: Store, source: object, *more: object) -> list[str]:
    program = "import sys; from seal_store.cli import run; run(sys.argv[1:])"
    return [sys.executable, "-c", program, *arguments(store, source, *more)]


@pytest.fixture(scope="module")
def made(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes of the variants as a file: ``out`` with each ending."""
    from click.testing import CliRunner

    from seal_store.cli import main

    folder = tmp_path_factory.mktemp("made")
    for ending in ("vcf.gz", "bcf", "tsv"):
        args = arguments(store, world.variants, "--out", folder / f"out.{ending}", "-q")
        assert CliRunner().invoke(main, args).exit_code == 0
    return folder


def fed(path: Path, content: bytes) -> threading.Thread:
    """A named pipe into which a thread writes ``content``."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(content,))
    thread.start()
    return thread


@pytest.mark.parametrize("ending", [slow("vcf.gz"), slow("bcf"), "tsv"])
@pytest.mark.parametrize("way", ["stdin", soak("fifo"), soak("descriptor")])
def test_a_pipe_gives_what_the_file_gives(
    store: Store, world: World, made: Path, tmp_path: Path, ending: str, way: str
) -> None:
    """A named FIFO, ``-``, and /dev/fd/N as ``<(...)`` makes it."""
    out, content = tmp_path / f"out.{ending}", world.variants.read_bytes()
    source, given, descriptors = "-", content, ()
    if way == "fifo":
        source, given = str(tmp_path / "pipe"), b""
        fed(tmp_path / "pipe", content)
    elif way == "descriptor":
        read, write = os.pipe()
        threading.Thread(target=lambda: (os.write(write, content), os.close(write))).start()
        source, given, descriptors = f"/dev/fd/{read}", b"", (read,)
    done = subprocess.run(
        command(store, source, "--out", out, "-q"),
        input=given,
        capture_output=True,
        pass_fds=descriptors,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    expected = made / f"out.{ending}"
    if ending == "bcf":
        assert as_vcf(out) == as_vcf(expected)
    else:
        assert plain(out.read_bytes()) == plain(expected.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vcf", slow("tsv"), slow("bcf")])
def test_stdout_gets_what_a_file_gets(
    store: Store, world: World, made: Path, tmp_path: Path, kind: str
) -> None:
    args = ["--out", "-", "--format", kind] if kind != "vcf" else ["--out", "-"]
    content = world.variants.read_bytes()
    done = subprocess.run(command(store, "-", *args), input=content, capture_output=True)
    assert done.returncode == 0
    assert done.stderr.startswith(b"stdout: 39 rows (scheme grid)\nalleles in: 41, scored: 39")
    (tmp_path / "out").write_bytes(done.stdout)
    if kind == "bcf":
        assert as_vcf(tmp_path / "out") == as_vcf(made / "out.bcf")
    else:
        expected = made / ("out.tsv" if kind == "tsv" else "out.vcf.gz")
        assert plain(done.stdout) == plain(expected.read_bytes())
    quiet = subprocess.run(command(store, "-", *args, "-q"), input=content, capture_output=True)
    assert quiet.stderr == b""
    assert plain(quiet.stdout) == plain(done.stdout) or kind == "bcf"
    told = subprocess.run(command(store, "-", *args, "--json"), input=content, capture_output=True)
    unit = b"lines" if kind == "tsv" else b"records"
    counts = b'"records_in": 39, "records_malformed": 0, "%b_out": 39' % unit
    assert counts in told.stderr
    assert plain(told.stdout) == plain(done.stdout) or kind == "bcf"


@pytest.mark.skipif(not shutil.which("bcftools"), reason="no bcftools on this machine")
def test_between_bcftools_and_bgzip(store: Store, world: World, made: Path, tmp_path: Path) -> None:
    score = subprocess.list2cmdline(command(store, "-", "--out", "-", "-q"))
    out = tmp_path / "out.vcf.gz"
    pipe = f"bcftools view --no-version {world.variants} | {score} | bgzip > {out}; tabix {out}"
    subprocess.run(["bash", "-o", "pipefail", "-ec", pipe], check=True)
    assert as_vcf(out) == as_vcf(made / "out.vcf.gz")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vcf", soak("tsv"), soak("bcf")])
def test_a_reader_that_stops_ends_it_quietly(store: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(HEAD + "".join(f"chr1\t{p}\t.\tA\tC\t.\t.\tDP=1\n" for p in range(1, 30_000)))
    child = subprocess.Popen(
        command(store, path, "--out", "-", "--format", kind, "--no-check-assembly", "-q"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert len(child.stdout.read(10)) == 10
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 1
    child.stderr.close()


@pytest.mark.slow
def test_lines_come_out_before_the_input_ends(store: Store) -> None:
    """A filter: what has been read is scored and written while more is awaited."""
    child = subprocess.Popen(
        command(store, "-", "--out", "-", "-q"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    records = "".join(f"chr1\t{p}\tv{p}\tA\tC\t.\t.\tDP=1\n" for p in range(1, 5_000))
    child.stdin.write((HEAD + records).encode())
    child.stdin.flush()
    lines = iter(child.stdout.readline, b"")
    first = next(line for line in lines if line[:1] != b"#")
    assert first.startswith(b"chr1\t1\tv1\tA\tC\t.\t.\tDP=1;SEAL_STATUS=")
    child.stdin.close()
    assert sum(1 for _ in lines) == 4_998
    assert child.wait() == 0
    child.stdout.close()


@pytest.mark.slow
def test_bcf_on_stdout_names_the_line_it_cannot_hold(store: Store) -> None:
    """What a stream does not declare cannot be declared any more."""
    good = "chr1\t5\t.\tA\tC\t.\t.\tDP=1\n"
    for line, says in (
        ("chr1\t6\t.\tA\tC\t.\t.\tXX=1\n", b"htslib does not take it as BCF (it has a FILTER"),
        ("chr9\t6\t.\tA\tC\t.\t.\tDP=1\n", b"contig chr9 is not declared"),
        ("chr1\tsix\t.\tA\tC\t.\t.\tDP=1\n", b"malformed"),
    ):
        content = (HEAD + good + "\n" + line + good).encode()
        args = command(store, "-", "--out", "-", "--format", "bcf", "-q")
        done = subprocess.run(args, input=content, capture_output=True)
        assert done.returncode == 1
        assert done.stderr.startswith(b"seal-store: error: stdin:7: ")
        assert says in done.stderr
        assert done.stderr.count(b"\n") == 1


def test_options_that_do_nothing_on_stdout_are_refused(
    cli: Cli, store: Store, world: World, tmp_path: Path
) -> None:
    base = ["score", "vcf", world.variants, "--store", store.path, "--out"]
    for args, code, says in (
        ([*base, "-", "--overwrite"], 2, "--overwrite has no effect with --out -"),
        ([*base, "-", "--resume"], 2, "--resume has no effect with --out -"),
        ([*base, tmp_path / "o.tsv", "--format", "tsv"], 2, "its ending says it"),
        ([*base, "-", "--min-effect", "1"], 1, "keeps every record"),
        ([*base, "-", "--calibrated"], 2, "--calibrated/--no-calibrated has no effect"),
        ([*base, "-", "--attribute", "deeplift", "--target", "all"], 1, "no room for attributions"),
        (
            ["score", "saturate", "GENE02", "--store", store.path, "--out", "-"],
            1,
            "name the output",
        ),
    ):
        found = cli(*args)
        assert (found.exit_code, found.stdout) == (code, ""), found.output
        assert says in found.stderr
    long = cli(*base, "-", "--format", "tsv", "--top", 2, "-q")
    run = cli(*base, tmp_path / "o.tsv", "--top", 2, "-q")
    assert (long.exit_code, run.exit_code) == (0, 0)
    assert long.stdout == (tmp_path / "o.tsv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("held", [2_000, soak(1), soak(32 << 20)])
def test_how_many_lines_wait_changes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(annotated, "HELD", held)
    monkeypatch.setattr(annotated, "ALLELES_PER_CHUNK", 7)
    monkeypatch.setattr("seal_store.scoring.reading.ALLELES_PER_CHUNK", 7)
    path, out = tmp_path / "in.vcf", io.BytesIO()
    alts = ("C", "C,G,T", "C,CA,CAA,CAAA,CAAAA,CAAAAA,CAAAAAA,CT,CTT,CTTT")
    records = [f"chr1\t{106_000 + i // 2}\t{i}\tA\t{alts[i % 3]}\t.\t.\tDP=1" for i in range(60)]
    path.write_text(HEAD + "\n".join(records) + "\n")
    source = VariantSource(path)
    scorer = Scorer(store, ScoreOptions(device="cpu", contexts=CONTEXTS, batch=1))
    stream_scores(scorer, source.alleles(), out, form=Form(vcf=source), watch=UNWATCHED)
    lines = [line for line in out.getvalue().decode().splitlines() if line[0] != "#"]
    assert [line.partition(";")[0] for line in lines] == records
    assert all("SEAL_GENE" in line for line in lines)
    assert scorer.counts.alleles == 20 * 14


def counted(rows: int, mismatches: int, skipped: int = 0) -> Counts:
    counts = Counts(rows=rows, ref_mismatches=mismatches)
    counts.not_scored["ref_mismatch"] = skipped
    return counts


def test_most_ref_bases_of_another_assembly_stop_a_run() -> None:
    for few in (counted(LOOKED_AT - 1, LOOKED_AT - 1), counted(LOOKED_AT, LOOKED_AT // 2)):
        Watch()(few)  # too few; or half of them are exchanged
    for many in (counted(LOOKED_AT, LOOKED_AT * 3 // 4), counted(100, 0, LOOKED_AT)):
        with pytest.raises(VariantError, match=r"in\.vcf: REF differs .* another assembly\?"):
            Watch("in.vcf")(many)
        UNWATCHED(many)


@pytest.mark.parametrize("out", ["o.tsv", "o.vcf.gz", "-"])
def test_variants_of_another_assembly_are_found_by_their_bases(
    cli: Cli, store: Store, tmp_path: Path, out: str
) -> None:
    """Where the header has no lengths, and unless asked not to."""
    path = tmp_path / "in.vcf"
    bases = store.sequence("GENE02").tobytes().decode()
    tss = int(store.table.tss[store.table.row("GENE02")])
    rows = []
    for i in range(LOOKED_AT + 100):
        ref = bases[22_500 - 1_000 + i + 7]  # seven off
        rows.append(f"chr1\t{tss - 1_000 + i}\t.\t{ref}\t{'C' if ref == 'A' else 'A'}\t.\t.\t.\n")
    bare = re.sub("##contig.*\n", "", HEAD)
    path.write_text(bare + "".join(rows))
    place = "-" if out == "-" else tmp_path / out
    args = ["score", "vcf", path, "--store", store.path, "--contexts", *CONTEXTS, "--out", place]
    found = cli(*args)
    assert found.exit_code == 1
    assert "variants: another assembly?; lift them" in found.stderr
    assert "or go on with --no-check-assembly" in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.vcf"]
    assert cli(*args, "--no-check-assembly").exit_code == 0
    path.write_text(HEAD + "".join(rows))
    assert cli(*args, *([] if out == "-" else ["--overwrite"])).exit_code == 0


def test_a_stream_needs_something_to_annotate(store: Store, world: World) -> None:
    scorer = Scorer(store, ScoreOptions(device="cpu", contexts=CONTEXTS))
    source = VariantSource(world.variants)
    with pytest.raises(InputError, match="repeats its input"):
        stream_scores(scorer, source.alleles(), io.BytesIO(), form=Form(), watch=UNWATCHED)


def millions(count: int) -> Iterator[bytes]:
    yield HEAD.encode()
    for i in range(count):
        contig, pos = ("chr1", 106_000 + i // 1_000) if i % 1_000 == 0 else ("chr9", i + 1)
        yield b"%s\t%d\tv%d\tA\tC\t.\tPASS\tDP=3\n" % (contig.encode(), pos, i)


@pytest.mark.soak
def test_a_million_records_in_flat_memory(store: Store) -> None:
    """In order, all of them; the memory of the process is that of a small input."""
    child = subprocess.Popen(
        command(store, "-", "--out", "-", "-q", "--no-check-assembly"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    source, sink = child.stdout, child.stdin
    assert source is not None
    assert sink is not None

    def feed() -> None:
        with sink:
            sink.writelines(millions(1_000_000))

    threading.Thread(target=feed).start()
    records = (line for line in source if line[:1] != b"#")
    for i, line in enumerate(records):
        assert line.split(b"\t", 3)[2] == b"v%d" % i
    assert i == 999_999
    source.close()
    assert child.wait() == 0
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 600_000  # kB; 270,000 it was
