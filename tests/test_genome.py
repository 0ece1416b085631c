from __future__ import annotations

import gzip
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference

from seal_store.errors import GenomeError
from seal_store.genome import BASES, Genome, file_sha256, one_hot, resolve_contig
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
        (gzip.compress(b">chr1\nACGT\n"), "genome.fa"),
        (gzip.compress(b">chr1\nACGT\n"), "genome.fa.gz"),
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


def test_an_index_that_cannot_be_made_is_refused(write: Write) -> None:
    path = write(b">chr1\nACGT\n")
    path.with_name("genome.fa.fai").mkdir()
    with pytest.raises(GenomeError, match=r"genome\.fa") as caught:
        Genome(path)
    assert "index" in caught.value.hint


def test_a_fasta_shorter_than_its_index_is_refused(write: Write) -> None:
    path = write(b">chr1\nACGTACGT\nAC\n")
    write_index(path, "chr1\t1000\t6\t8\t9\n")
    with Genome(path) as genome, pytest.raises(GenomeError):
        genome.fetch("chr1", 0, 500)


@pytest.mark.parametrize("name", ["chr1", "1"])
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
    path = write(f">{name}\nACGT\n".encode())
    write_index(path, f"chrM\t16571\t6\t50\t51\n{name}\t{length}\t6\t50\t51\n")
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
