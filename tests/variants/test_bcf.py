"""BCF equal to its text; damage, and death of the reading process, are one line."""

from __future__ import annotations

import gzip
import io
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import hostile
import pysam
import pysam.bcftools
import pytest

from seal_store.errors import MissingExtraError, VariantError
from seal_store.variants.alleles import Allele
from seal_store.variants.regions import Region
from seal_store.variants.source import read_variants

HEADER = (
    "##fileformat=VCFv4.2\n"
    "##contig=<ID=chr1,length=249250621>\n##contig=<ID=2,length=243199373>\n"
    '##INFO=<ID=END,Number=1,Type=Integer,Description="End">\n'
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
)
ROWS = [
    ("chr1", 1, ".", "N", "A"),
    ("chr1", 100, "rs1", "A", "C"),
    ("chr1", 100, "rs1;rs2", "AC", "A,ACGT,<DEL>,*,GT"),
    ("chr1", 5_000, "=1+1", "G", "G]2:198982]"),
    ("2", 7, ".", "T", "."),
    ("2", 248_956, "x", "ACGTACGT", "A"),
]
Rows = list[tuple[str, int, str, str, str]]


def to_bcf(path: Path, rows: Rows) -> Path:
    """A BCF that htslib made of these rows."""
    text = path.with_suffix(".vcf")
    body = "".join("\t".join(map(str, row)) + "\t.\t.\t.\tGT\t0|1\t./.\n" for row in rows)
    text.write_text(HEADER + body)
    with (
        pysam.VariantFile(str(text)) as source,
        pysam.VariantFile(str(path), "wb", header=source.header) as sink,
    ):
        for record in source:
            sink.write(record)
    return path


def seen(alleles: Iterator[Allele]) -> list[tuple[object, ...]]:
    return [(a.line, a.contig, a.pos, a.id, a.ref, a.alt, a.kind) for a in alleles]


def children() -> list[int]:
    """Processes of ours that read BCF."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if (
                parent == os.getpid()
                and b"seal_store.variants.bcf" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


@pytest.fixture(scope="module")
def bcf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_bcf(tmp_path_factory.mktemp("bcf") / "in.bcf", ROWS)


@pytest.fixture(scope="module")
def long_bcf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [("chr1", i, f"rs{i}", "A", "C") for i in range(1, 40_001)]
    return to_bcf(tmp_path_factory.mktemp("long") / "long.bcf", rows)


@pytest.fixture
def expected(bcf: Path, tmp_path: Path) -> list[tuple[object, ...]]:
    """The same rows as text, lines counted without the header."""
    path = tmp_path / "rows.vcf"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in ROWS))
    return seen(read_variants(path))


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.decompress, lambda b: gzip.compress(gzip.decompress(b))],
    ids=["bgzf", "raw", "gzip"],
)
def test_bcf_is_read_as_its_text(
    bcf: Path, expected: list, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "in.vcf"  # told by content, not by name
    path.write_bytes(pack(bcf.read_bytes()))
    assert seen(read_variants(path)) == expected
    assert children() == []


def test_bcf_through_stdin(bcf: Path, expected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bcf.read_bytes())))
    assert seen(read_variants("-")) == expected


def test_truncated_and_damaged_bcf_is_refused(bcf: Path, tmp_path: Path) -> None:
    whole, path = bcf.read_bytes(), tmp_path / "cut.bcf"
    raw = gzip.decompress(whole)
    flipped = bytearray(whole)
    flipped[60] ^= 4
    for content, says in [
        (whole[:-28], "BGZF end marker"),
        (whole[:-40], "damaged after"),
        (bytes(flipped), "damaged after"),
        (raw[:-5], "cannot be read after record 5"),
        (raw[:200], "cannot be read after record 0"),
        (raw[:4], "cannot be read after record 0"),
    ]:
        path.write_bytes(content)
        with pytest.raises(VariantError, match=says) as caught:
            list(read_variants(path))
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()
    assert children() == []


def test_a_record_that_asks_for_gigabytes_is_refused(bcf: Path, tmp_path: Path) -> None:
    raw = bytearray(gzip.decompress(bcf.read_bytes()))
    first = 9 + struct.unpack("<I", raw[5:9])[0]
    raw[first : first + 8] = struct.pack("<II", 0xFFFFFF00, 0xFFFFFF00)
    path = tmp_path / "huge.bcf"
    path.write_bytes(raw)
    with pytest.raises(VariantError, match="after record 0"):
        list(read_variants(path))


def indexed_bcf(path: Path, old: str, new: str) -> Path:
    """A BCF with an index whose header has ``new`` instead of ``old``."""
    raw = gzip.decompress(to_bcf(path, ROWS).read_bytes())
    end = 9 + struct.unpack("<I", raw[5:9])[0]
    assert old.encode() in raw[:end]
    data = raw[9:end].replace(old.encode(), new.encode())
    plain = path.with_suffix(".raw")
    plain.write_bytes(raw[:5] + struct.pack("<I", len(data)) + data + raw[end:])
    pysam.bcftools.index(str(path))
    pysam.tabix_compress(str(plain), str(path), force=True)
    os.utime(f"{path}.csi")
    return path


@pytest.mark.parametrize("place", ["²", "9" * 5_000, "-1", "", "x", str(1 << 20), "999999999"])
def test_a_place_that_no_contig_has_is_a_damaged_header(tmp_path: Path, place: str) -> None:
    path = indexed_bcf(tmp_path / "in.bcf", "621,IDX=0", f"621,IDX={place}")
    with pytest.raises(VariantError, match=r"in\.bcf: BCF header is damaged"):
        list(read_variants(path, [Region("chr1")]))


def test_a_long_header_that_is_damaged_is_named(tmp_path: Path) -> None:
    noise = "".join(Random(1).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef", k=300_000))
    path = indexed_bcf(
        tmp_path / "in.bcf", "##contig=<ID=chr1", f"##noise={noise}\n##contig=<ID=chr1"
    )
    pysam.bcftools.index("-f", str(path))
    assert len(list(read_variants(path, [Region("chr1", 1, 1)]))) == 1
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)
    os.utime(f"{path}.csi")
    with pytest.raises(VariantError, match=r"in\.bcf: compressed data is damaged after record 0"):
        list(read_variants(path, [Region("chr1", 1, 1)]))


@pytest.mark.parametrize("inside", [b"\t", b"\n", b"\r"])
def test_a_name_cannot_pass_for_other_columns(tmp_path: Path, inside: bytes) -> None:
    path = to_bcf(tmp_path / "x.bcf", [("chr1", 100, "rs1Xchr1", "A", "C")])
    path.write_bytes(gzip.decompress(path.read_bytes()).replace(b"rs1X", b"rs1" + inside))
    with pytest.raises(VariantError, match="after record 0: a tab or the end of a line"):
        list(read_variants(path))


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSEGV])
def test_the_death_of_the_reading_process_is_an_error(
    long_bcf: Path, death: signal.Signals
) -> None:
    alleles = read_variants(long_bcf)
    first = next(alleles)
    (child,) = children()
    os.kill(child, death)
    found = [first]
    with pytest.raises(VariantError, match=rf"after record \d+: .*\({death.name}\)") as caught:
        found.extend(alleles)
    assert 1 <= len(found) < 40_000
    assert [a.pos for a in found] == list(range(1, len(found) + 1))
    assert f"record {len(found)}:" in str(caught.value)
    assert children() == []


def test_stopping_early_ends_the_reading_process(long_bcf: Path) -> None:
    alleles = read_variants(long_bcf)
    next(alleles)
    assert len(children()) == 1
    alleles.stream.close()  # type: ignore[attr-defined]
    assert children() == []


def test_the_parent_holds_few_records(long_bcf: Path) -> None:
    """The child waits: what is not asked for is not sent."""
    alleles = read_variants(long_bcf)
    next(alleles)
    (child,) = children()
    counts = []
    for _ in range(2):
        time.sleep(0.3)
        counts.append(Path(f"/proc/{child}/io").read_text())
    assert counts[0] == counts[1]
    alleles.stream.close()  # type: ignore[attr-defined]


def test_without_cyvcf2_the_extra_is_named(bcf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyvcf2", None)
    with pytest.raises(MissingExtraError, match="reading BCF needs cyvcf2") as caught:
        list(read_variants(bcf))
    assert "seal-store[htslib]" in caught.value.hint


def hostile_bcf(rng: Random, bcf: Path) -> bytes:
    """Damage that the checksums of BGZF do not see, mostly in the records."""
    raw = bytearray(gzip.decompress(bcf.read_bytes()))
    if rng.random() < 0.3:
        return hostile.mutated(rng, bytes(raw))
    start = 9 + struct.unpack("<I", raw[5:9])[0]
    for _ in range(rng.choice((1, 2, 8))):
        raw[rng.randrange(start, len(raw))] = rng.choice(
            (0, 1, 7, 0x17, 0x7F, 0xFF, rng.randrange(256))
        )
    return bytes(raw)


def check_hostile(path: Path, seed: int, bcf: Path) -> bool:
    path.write_bytes(hostile_bcf(Random(seed), bcf))
    try:
        alleles = list(read_variants(path))
    except VariantError as error:
        message = str(error)
        assert str(path) in message, seed
        assert message.isprintable(), seed
        return False
    assert all(a.kind in ("malformed", "telomere") or a.pos > 0 for a in alleles)
    return True


def test_hostile_bcf_is_refused_or_read(bcf: Path, tmp_path: Path) -> None:
    fine = [check_hostile(tmp_path / "h.bcf", seed, bcf) for seed in range(8)]
    assert not all(fine)
    assert children() == []


@pytest.mark.soak
def test_three_hundred_hostile_bcf(bcf: Path, tmp_path: Path) -> None:
    fine = [check_hostile(tmp_path / "h.bcf", seed, bcf) for seed in range(300)]
    assert 10 < sum(fine) < 290
