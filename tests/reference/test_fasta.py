"""FASTA: fetching beyond ends, indexes that lie, case, bgzip, one-hot encoding."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pysam
import pytest
import reference

from seal_store.common.files import file_sha256
from seal_store.errors import GenomeError
from seal_store.reference.contigs import resolve_contig
from seal_store.reference.fai import is_index
from seal_store.reference.fasta import BASES, Genome, one_hot
from seal_store.synthetic import random_bases, write_fasta

SEQUENCE = b"ACGTNACGTTGCA"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A file with these bytes."""

    def run(content: bytes, name: str = "genome.fa") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return run


def write_index(fasta: Path, text: str) -> None:
    """A .fai that is not older than its FASTA."""
    index = fasta.with_name(fasta.name + ".fai")
    index.write_text(text)
    later = time.time() + 5
    os.utime(index, (later, later))


def bgzip(fasta: Path, name: str = "genome.fa.gz") -> Path:
    """The same FASTA compressed with bgzip, in a folder of its own."""
    folder = fasta.parent / "bgzip"
    folder.mkdir()
    pysam.tabix_compress(str(fasta), str(folder / name))
    return folder / name


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write to ``folder``; root is no exception, it becomes another user."""
    user = os.geteuid()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | 1)
    if user == 0:
        os.seteuid(65_534)
    try:
        with pytest.raises(PermissionError):
            (folder / "written").touch()
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach, which pytest's own cannot."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("start", "end", "bases"),
    [
        (0, 13, SEQUENCE),
        (2, 6, b"GTNA"),
        (-3, 4, b"NNNACGT"),
        (10, 16, b"GCANNN"),
        (-2, 15, b"NN" + SEQUENCE + b"NN"),
        (-9, -4, b"NNNNN"),
        (13, 16, b"NNN"),
        (500, 503, b"NNN"),
        (-2, 0, b"NN"),
        (12, 13, b"A"),
        (5, 5, b""),
    ],
)
@pytest.mark.parametrize("width", [4, 60])
def test_fetch_is_n_beyond_both_ends(
    tmp_path: Path, start: int, end: int, bases: bytes, width: int
) -> None:
    write_fasta(tmp_path / "genome.fa", {"chr1": SEQUENCE, "chr2": b"TTTT"}, width)
    with Genome(tmp_path / "genome.fa") as genome:
        assert genome.fetch("chr1", start, end) == bases


def test_every_slice_of_a_random_contig(tmp_path: Path, rng: np.random.Generator) -> None:
    contigs = {name: random_bases(500, seed).decode() for seed, name in enumerate(("chr1", "chr2"))}
    write_fasta(tmp_path / "genome.fa", {n: s.encode() for n, s in contigs.items()}, 37)
    with Genome(tmp_path / "genome.fa") as genome:
        assert genome.lengths == {"chr1": 500, "chr2": 500}
        for _ in range(200):
            start, length = int(rng.integers(-100, 600)), int(rng.integers(0, 200))
            expected = reference.fetch(contigs, "chr2", start, start + length)
            assert genome.fetch("chr2", start, start + length).decode() == expected


@pytest.mark.parametrize(
    "content",
    [
        b">chr1 a description\nacgtn\nacgtt\ngca\n",
        b">chr1\nACGTNACGTTGCA",
        b">chr1\r\nACGTN\r\nACGTT\r\nGCA\r\n",
    ],
    ids=["lower case", "no last newline", "CRLF"],
)
def test_bases_are_upper_case_however_they_are_written(write: Write, content: bytes) -> None:
    with Genome(write(content)) as genome:
        assert genome.fetch("chr1", -1, 14) == b"N" + SEQUENCE + b"N"


@pytest.mark.parametrize(("own", "asked"), [("chr1", "1"), ("1", "chr1"), ("chr1", "chr1")])
def test_a_contig_is_found_with_or_without_chr(write: Write, own: str, asked: str) -> None:
    with Genome(write(f">{own}\nACGT\n>{own}0\nTTTT\n".encode())) as genome:
        assert genome.resolve(asked) == own
        assert genome.fetch(asked, 0, 4) == b"ACGT"


def test_an_exact_name_goes_before_its_alias() -> None:
    assert resolve_contig("1", {"chr1": 0, "1": 0}) == "1"
    assert resolve_contig("chr1", ["1", "chr1"]) == "chr1"
    assert resolve_contig("2", ["1", "chr1"]) is None


def test_an_absent_contig_is_refused(write: Write) -> None:
    with (
        Genome(write(b">chr1\nACGT\n")) as genome,
        pytest.raises(GenomeError, match=r"genome\.fa: no contig 'chr2'"),
    ):
        genome.fetch("chr2", 0, 4)


@pytest.mark.parametrize("name", ["nowhere.fa", "."])
def test_a_missing_fasta_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(GenomeError, match="not found") as caught:
        Genome(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "genome.fa"),
        (b"hello\nworld\n", "genome.fa"),
        (b"##fileformat=VCFv4.2\n", "genome.fa"),
        (b">chr1\nACGT\nAC\nACGT\n", "genome.fa"),
        (b">chr1\nACGT\n>chr1\nACGT\n", "genome.fa"),
        (bytes(range(256)) * 8, "genome.fa"),
        (b">chr1\n" + bytes(range(128, 256)), "genome.fa"),
        (gzip.compress(b">chr1\nACGT\n", mtime=0), "genome.fa"),
        (gzip.compress(b">chr1\nACGT\n", mtime=0), "genome.fa.gz"),
    ],
    ids=[
        "empty",
        "prose",
        "VCF",
        "ragged lines",
        "a contig twice",
        "binary",
        "binary sequence",
        "gzip without its suffix",
        "gzip",
    ],
)
def test_what_is_not_a_usable_fasta_is_refused(write: Write, content: bytes, name: str) -> None:
    path = write(content, name)
    with pytest.raises(GenomeError) as caught:
        Genome(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", ["", "garbage\n", "chr1\t4\n", "chr1\tx\t6\t4\t5\n"])
def test_a_damaged_index_is_refused(write: Write, index: str) -> None:
    path = write(b">chr1\nACGT\n")
    write_index(path, index)
    with pytest.raises(GenomeError, match=r"genome\.fa"):
        Genome(path)


def test_a_fasta_shorter_than_its_index_is_refused(write: Write) -> None:
    path = write(b">chr1\nACGTACGT\nAC\n")
    write_index(path, "chr1\t1000\t6\t8\t9\n")
    with pytest.raises(GenomeError, match="its index"), Genome(path) as genome:
        genome.fetch("chr1", 0, 500)


LIES = {
    "negative length": "a\t-5\t7\t4\t5\nb\t5\t23\t4\t5",
    "length": "a\t9\t7\t4\t5\nb\t5\t23\t4\t5",
    "last length": "a\t10\t7\t4\t5\nb\t4\t23\t4\t5",
    "offset": "a\t10\t9\t4\t5\nb\t5\t23\t4\t5",
    "negative offset": "a\t10\t-7\t4\t5\nb\t5\t23\t4\t5",
    "offset beyond": "a\t10\t7\t4\t5\nb\t5\t999\t4\t5",
    "bases a line": "a\t10\t7\t3\t5\nb\t5\t23\t4\t5",
    "bytes a line": "a\t10\t7\t4\t4\nb\t5\t23\t4\t5",
    "no line": "a\t10\t7\t0\t0\nb\t5\t23\t4\t5",
    "a name": "a\t10\t7\t4\t5\nc\t5\t23\t4\t5",
    "a contig left out": "b\t5\t23\t4\t5",
    "digits": f"a\t{'9' * 5_000}\t7\t4\t5\nb\t5\t23\t4\t5",
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_index_that_lies_is_refused(write: Write, lie: str) -> None:
    path = write(b">a text\nACGT\nACGT\nAC\n>b\nACGT\nA\n")
    write_index(path, lie.replace("\t7\t", "\t8\t").replace("\t23\t", "\t24\t") + "\n")
    with pytest.raises(GenomeError, match=r"genome\.fa: .*its index") as caught:
        Genome(path)
    assert "remove genome.fa.fai" in caught.value.hint


@pytest.mark.parametrize("name", ["pyfaidx", "samtools"])
@pytest.mark.parametrize(
    "content",
    [
        b">a text\nACGT\nACGT\nAC\n>b\nACGT\nA\n",
        b">a\r\nACGT\r\nA\r\n>b\r\nACGT",
        b">a\nACGT\n\n>b\nACGT\nACGT\n\n",
        b">a\n>b\nACGT\n",
    ],
    ids=["plain", "CRLF", "blank lines", "empty contig"],
)
def test_an_index_as_others_make_it_is_used(write: Write, content: bytes, name: str) -> None:
    path = write(content)
    if name == "samtools":
        pysam.faidx(str(path))
    for _ in range(2):
        with Genome(path) as genome:
            assert genome.fetch("b", 0, 4) == b"ACGT"


def test_a_bgzipped_fasta_reads_as_the_plain_one(tmp_path: Path, rng: np.random.Generator) -> None:
    contigs = {f"chr{i}": random_bases(200_000, i) for i in (1, 2)}
    masked = {
        name: bases[:50_000] + bases[50_000:90_000].lower() + bases[90_000:]
        for name, bases in contigs.items()
    }
    write_fasta(tmp_path / "genome.fa", masked)
    path = bgzip(tmp_path / "genome.fa")
    for _ in ("without an index", "with it"):
        with Genome(tmp_path / "genome.fa") as plain, Genome(path) as compressed:
            assert compressed.lengths == plain.lengths == {"chr1": 200_000, "chr2": 200_000}
            for name, bases in contigs.items():
                assert compressed.fetch(name, 0, 200_000) == bases
                for start in rng.integers(-500, 200_000, 50).tolist():
                    end = start + int(rng.integers(0, 100_000))
                    assert compressed.fetch(name, start, end) == plain.fetch(name, start, end)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "genome.fa.gz",
        "genome.fa.gz.fai",
        "genome.fa.gz.gzi",
    ]


def test_bgzip_is_told_by_content_and_gzip_is_refused_with_the_way_out(
    tmp_path: Path, write: Write
) -> None:
    plain = write(b">chr1\nACGT\n")
    with Genome(bgzip(plain, "genome.fa")) as genome:
        assert genome.fetch("chr1", 0, 4) == b"ACGT"
    with pytest.raises(GenomeError, match="gzip, which has no random access") as caught:
        Genome(write(gzip.compress(b">chr1\nACGT\n"), "genome.fa.gz"))
    assert "bgzip" in caught.value.hint
    assert not list(tmp_path.glob("*.fai"))


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "bgzip"])
@pytest.mark.parametrize("stale", [False, True], ids=["no index", "stale index"])
def test_a_read_only_folder_needs_no_index(
    open_folder: Path, compressed: bool, stale: bool
) -> None:
    path = open_folder / "genome.fa"
    path.write_bytes(b">chr1\nACGT\n")
    if compressed:
        path = bgzip(path)
    if stale:
        write_index(path, "chr1\t2\t6\t2\t3\n")
        os.utime(path.with_name(path.name + ".fai"), (1, 1))
    before = sorted(p.name for p in path.parent.iterdir())
    with read_only(path.parent), Genome(path) as genome:
        assert genome.fetch("chr1", -1, 4) == b"NACGT"
        aside = Path(str(genome._aside and genome._aside.name))
        assert aside.is_dir()
    assert not aside.exists()
    assert sorted(p.name for p in path.parent.iterdir()) == before


def test_an_index_older_than_its_fasta_is_made_again(write: Write) -> None:
    path = write(b">chr1\nACGTACGT\n")
    with Genome(path):
        pass
    path.write_bytes(b">chr1\nTT\n>chr2\nGGGG\n")
    index = path.with_name("genome.fa.fai")
    os.utime(index, (1, 1))
    with Genome(path) as genome:
        assert genome.lengths == {"chr1": 2, "chr2": 4}
        assert genome.fetch("chr2", 0, 4) == b"GGGG"
    assert index.read_text() == "chr1\t2\t6\t2\t3\nchr2\t4\t15\t4\t5\n"
    assert sorted(p.name for p in path.parent.iterdir()) == ["genome.fa", "genome.fa.fai"]


@pytest.mark.parametrize("keep", [60, 0.5, 0.99])
def test_a_damaged_bgzip_is_refused(tmp_path: Path, keep: float) -> None:
    write_fasta(tmp_path / "genome.fa", {"chr1": random_bases(300_000, 3)})
    path = bgzip(tmp_path / "genome.fa")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else len(data) * keep)])
    with pytest.raises(GenomeError, match=r"genome\.fa\.gz") as caught, Genome(path) as genome:
        genome.fetch("chr1", 0, 300_000)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["chr1", "1", "NC_000001.11"])
@pytest.mark.parametrize(
    ("length", "assembly"),
    [
        (249_250_621, "hg19"),
        (248_956_422, "hg38"),
        (248_387_328, "T2T-CHM13"),
        (249_250_620, "unknown"),
    ],
)
def test_the_assembly_is_told_by_chr1(write: Write, name: str, length: int, assembly: str) -> None:
    path = write(b"")
    with path.open("r+b") as out:  # most of it holes
        out.write(f">chrM\n{'A' * 16_571}\n>{name}\n".encode())
        first = out.tell()
        out.seek(length, 1)
        out.write(b"\n")
    index = f"chrM\t16571\t6\t16571\t16572\n{name}\t{length}\t{first}\t{length}\t{length + 1}\n"
    write_index(path, index)
    with Genome(path) as genome:
        assert genome.assembly == assembly


def test_without_chr1_the_assembly_is_unknown(write: Write) -> None:
    with Genome(write(b">chr2\nACGT\n")) as genome:
        assert genome.assembly == "unknown"


def test_one_hot_rows_are_a_g_c_t() -> None:
    assert BASES == b"AGCT"
    assert one_hot(b"AGCT").tolist() == np.eye(4).tolist()
    assert one_hot(b"agct").tolist() == np.eye(4).tolist()
    assert one_hot(b"AAT").tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert one_hot(b"ACGT").dtype == np.float32


def test_every_other_byte_is_a_zero_column() -> None:
    columns = one_hot(bytes(range(256)))
    assert np.flatnonzero(columns.any(0)).tolist() == sorted(b"ACGTacgt")
    ascii_only = reference.one_hot(bytes(range(128)).decode("ascii"))
    np.testing.assert_array_equal(columns[:, :128], ascii_only)


def test_complement_is_a_row_flip_and_reverse_a_column_flip() -> None:
    bases = random_bases(300, 5) + b"NNacgtR"
    complement = bases.translate(bytes.maketrans(b"ACGTacgt", b"TGCAtgca"))
    np.testing.assert_array_equal(one_hot(complement), one_hot(bases)[::-1])
    np.testing.assert_array_equal(one_hot(complement[::-1]), one_hot(bases)[::-1, ::-1])


def test_one_hot_of_a_batch_is_that_of_each_sequence() -> None:
    codes = np.frombuffer(random_bases(60, 6), np.uint8).reshape(3, 20)
    batch = one_hot(codes)
    assert batch.shape == (3, 4, 20)
    assert batch.flags.c_contiguous
    for row, encoded in zip(codes, batch, strict=True):
        np.testing.assert_array_equal(encoded, one_hot(row.tobytes()))


def test_file_sha256(write: Write, rng: np.random.Generator) -> None:
    content = rng.bytes(3_000_000)
    assert file_sha256(write(content)) == hashlib.sha256(content).hexdigest()
    assert file_sha256(write(b"")) == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("end", [" \n", "\t\r\n"])
@pytest.mark.parametrize("index", ["", "chr1\t{bases}\t12\t61\t62\n", "chr1\t200\t12\t60\t62\n"])
def test_blanks_at_the_ends_of_lines_are_no_bases(tmp_path: Path, end: str, index: str) -> None:
    """Some tools count them, some leave them out: every base after them would be another one."""
    path = tmp_path / "x.fa"
    lines = ["ACGT" * 15, "ACGT" * 15, "ACGT" * 15, "ACGT" * 5]
    path.write_text(">chr1 desc \n" + "".join(line + end for line in lines), newline="")
    if index:
        Path(f"{path}.fai").write_text(index.format(bases=203))
    with pytest.raises(GenomeError, match=r"line 2 ends in a blank|its index is wrong"):
        Genome(path)


@pytest.mark.parametrize("kind", ["text", "link", "pipe", "folder", "older"])
def test_only_an_older_index_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "genome.fa"
    path.write_text(">chr1\nACGT\n")
    index, other = tmp_path / "genome.fa.fai", tmp_path / "other"
    other.write_text("chr1\t9\t6\t9\t10\n")
    make: dict[str, Callable[[], object]] = {
        "text": lambda: index.write_text("Dear reader\n"),
        "link": lambda: index.symlink_to(other),
        "pipe": lambda: os.mkfifo(index),
        "folder": index.mkdir,
        "older": lambda: shutil.copy(other, index),
    }
    make[kind]()
    before = index.lstat()
    os.utime(other, (1, 1))
    if kind != "link":
        os.utime(index, (1, 1))
    with Genome(path) as genome:
        assert genome.lengths == {"chr1": 4}
        assert genome.fetch("chr1", 0, 4) == b"ACGT"
    assert (index.lstat().st_ino == before.st_ino) == (kind != "older")
    assert other.read_text() == "chr1\t9\t6\t9\t10\n"


def test_a_gzi_is_known_by_its_length(tmp_path: Path) -> None:
    index = tmp_path / "genome.fa.gz.gzi"
    for content, ours in ((b"\0" * 8, True), (b"\2" + b"\0" * 39, True), (b"\2" * 24, False)):
        index.write_bytes(content)
        assert is_index(index) == ours
