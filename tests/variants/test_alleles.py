"""Reading variants: every kind of allele, damage, line numbers, memory, trimming."""

from __future__ import annotations

import gzip
import os
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
import pytest
import reference
from hostile import bgzf_of
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_store.errors import VariantError
from seal_store.variants import lines
from seal_store.variants.alleles import (
    MAX_ID,
    MAX_NAME,
    SCORABLE,
    Allele,
    Change,
    classify,
    trim,
)
from seal_store.variants.regions import Region
from seal_store.variants.source import VariantSource, read_variants

HEADER = (
    b"##fileformat=VCFv4.2\n##contig=<ID=chr1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)
ROW = b"chr1\t100\trs1\tA\tC\t.\tPASS\t.\n"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

Read = Callable[..., list[Allele]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Alleles of a file with these bytes."""

    def run(content: bytes | str, name: str = "in.vcf") -> list[Allele]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_variants(path))

    return run


def fields(alleles: list[Allele]) -> list[tuple[str, int, str, str, str]]:
    return [(a.contig, a.pos, a.id, a.ref, a.alt) for a in alleles]


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROW,
        ROW,
        b"chr1\t100\trs1\tA\tC\n",
        b"chr1\t100\trs1\tA\tC",
        b"chr1\t100\trs1\ta\tc\n",
        (HEADER + ROW).replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + HEADER + ROW,
        b"\xef\xbb\xbf" + ROW,
        b"\n\n" + HEADER + b"  \n" + ROW + b"\n\t\n",
        b"chr1 100 rs1 A C\n",
        b"chr1   100 rs1  A C  . PASS .\n",
    ],
    ids=[
        "vcf",
        "no header",
        "five columns",
        "no last newline",
        "lower case",
        "CRLF",
        "BOM",
        "BOM without header",
        "blank lines",
        "spaces",
        "runs of spaces",
    ],
)
def test_one_record_however_it_is_written(read: Read, content: bytes) -> None:
    (allele,) = read(content)
    assert fields([allele]) == [("chr1", 100, "rs1", "A", "C")]
    assert (allele.kind, allele.problem) == ("snv", "")


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lambda b: gzip.compress(b[:70]) + gzip.compress(b[70:]), bgzf_of],
    ids=["gzip", "two members", "bgzf"],
)
@pytest.mark.parametrize("name", ["in.vcf.gz", "in.vcf"])
def test_compression_is_told_by_content(
    read: Read, pack: Callable[[bytes], bytes], name: str
) -> None:
    plain = HEADER + ROW + b"2\t7\t-\tG\tT\n"
    assert read(pack(plain), name) == read(plain, "plain.vcf")


def test_bgzf_of_many_blocks(read: Read) -> None:
    rows = [f"chr{i % 22 + 1}\t{i + 1}\t-\tA\tG\n".encode() for i in range(300)]
    text = b"".join(rows)
    cut = [text[i : i + 501] for i in range(0, len(text), 501)]
    assert [a.pos for a in read(bgzf_of(*cut))] == list(range(1, 301))


@pytest.mark.parametrize("contig", ["1", "chr1", "X", "chrUn_gl000220", "HLA-A*01:01:01:01"])
def test_contig_stays_as_written(read: Read, contig: str) -> None:
    assert [a.contig for a in read(f"{contig}\t5\t-\tA\tC\n")] == [contig]


def test_multiallelic_record_is_split(read: Read) -> None:
    alleles = read(HEADER + b"chr1\t100\trs1\tac\tA,acgt,<DEL>,*,GT\t.\t.\t.\n")
    assert [a.alt for a in alleles] == ["A", "ACGT", "<DEL>", "*", "GT"]
    assert [a.kind for a in alleles] == ["deletion", "insertion", "symbolic", "star", "mnv"]
    assert {(a.line, a.pos, a.id, a.ref) for a in alleles} == {(4, 100, "rs1", "AC")}


@pytest.mark.parametrize(
    ("ref", "alt", "kind"),
    [
        ("A", "C", "snv"),
        ("AC", "AT", "snv"),
        ("ACG", "ATG", "snv"),
        ("AC", "GT", "mnv"),
        ("ACGT", "CCGA", "mnv"),
        ("A", "AT", "insertion"),
        ("CAG", "CAGAG", "insertion"),
        ("AT", "A", "deletion"),
        ("CAGAG", "CAG", "deletion"),
        ("AT", "GCC", "complex"),
        ("ATG", "C", "complex"),
        ("A", "TA", "complex"),
        ("TA", "A", "complex"),
        ("A", "A", "no_change"),
        ("ACG", "ACG", "no_change"),
        ("A", "<DEL>", "symbolic"),
        ("A", "<INS:ME:ALU>", "symbolic"),
        ("G", "G]17:198982]", "symbolic"),
        ("G", "]13:123456]T", "symbolic"),
        ("G", "G[17:198983[", "symbolic"),
        ("G", "[17:198983[G", "symbolic"),
        ("G", "G.", "symbolic"),
        ("G", ".G", "symbolic"),
        ("A", "*", "star"),
        ("A", ".", "missing"),
        ("A", "", "missing"),
        (".", "A", "missing"),
        ("A", "N", "iupac"),
        ("A", "R", "iupac"),
        ("N", "A", "iupac"),
        ("ACN", "A", "iupac"),
        ("A", "U", "iupac"),
        ("A", "Q", "malformed"),
        ("A", "A-C", "malformed"),
        ("*", "A", "malformed"),
        ("1", "A", "malformed"),
    ],
)
def test_every_kind_of_allele(read: Read, ref: str, alt: str, kind: str) -> None:
    assert classify(ref, alt) == kind
    allele, _ = read(f"chr1\t100\t-\t{ref.lower()}\t{alt.lower()}\t.\t.\t.\n" + ROW.decode())
    assert (allele.kind, allele.ref, allele.alt) == (kind, ref, alt)
    assert bool(allele.problem) == (kind == "malformed")


def test_a_trailing_comma_is_a_missing_allele(read: Read) -> None:
    assert [a.kind for a in read("chr1\t5\t-\tA\tC,\n")] == ["snv", "missing"]


@pytest.mark.parametrize(
    "position",
    ["-0", "-5", "", "+5", "ten", "1e5", "5.0", "0x10", "٣", "2147483648", "9" * 40, "9" * 5000],
)
def test_a_position_that_is_none(read: Read, position: str) -> None:
    bad, good = read(f"chr1\t{position}\trs\tA\tC\nchr1\t6\t-\tA\tC\n")
    assert (bad.kind, bad.pos, bad.line) == ("malformed", 0, 1)
    assert "POS" in bad.problem
    assert (good.kind, good.pos, good.line) == ("snv", 6, 2)


@pytest.mark.parametrize("position", ["0", "00"])
def test_position_0_is_a_telomere(read: Read, position: str) -> None:
    """VCF 4.1 to 4.5: a breakend may be there. It has no bases, whatever its REF."""
    alleles = read(f"chr1\t{position}\tx\tN\t.[13:123457[,A\n")
    assert [(a.kind, a.pos, a.id, a.alt) for a in alleles] == [
        ("telomere", 0, "x", ".[13:123457["),
        ("telomere", 0, "x", "A"),
    ]


@pytest.mark.parametrize("position", [1, 2**31 - 1])
def test_the_outermost_positions(read: Read, position: int) -> None:
    (allele,) = read(f"chr1\t{position}\t-\tA\tC\n")
    assert (allele.kind, allele.pos) == ("snv", position)


@pytest.mark.parametrize("line", ["chr1", "chr1\t5", "chr1\t5\t-\tA", "chr1 5 - A", "some prose"])
def test_missing_columns_name_what_was_found(read: Read, line: str) -> None:
    bad, good = read(f"{line}\nchr1\t6\t-\tA\tC\n")
    assert (bad.kind, bad.contig, bad.pos) == ("malformed", line.split()[0], 0)
    assert f"{len(line.split())} columns" in bad.problem
    assert good.kind == "snv"


def test_lines_are_counted_from_1_with_header_and_blanks(read: Read) -> None:
    alleles = read(HEADER + b"\n" + ROW + b"bad\n" + ROW)
    assert [a.line for a in alleles] == [5, 6, 7]
    assert str(alleles[0]) == "line 5, chr1:100 A>C"


def test_a_long_allele_is_short_in_messages(read: Read) -> None:
    (allele,) = read(f"chr1\t5\t-\tA\t{'ACGT' * 500}\n")
    assert len(allele.alt) == 2000
    assert str(allele) == f"line 1, chr1:5 A>{'ACGT' * 5}...(2000 bases)"


@pytest.mark.parametrize("content", [b"", HEADER, HEADER.rstrip(b"\n"), b"\n\n", BGZF_END])
def test_no_record_is_no_allele(read: Read, content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["text", "gzip"])
def test_megabytes_of_genotypes_stay_out_of_memory(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "wide.vcf"
    genotypes = b"\t0|1:35:99" * 1_600_000
    row = b"chr1\t%d\trs\tA\tC\t.\tPASS\t.\tGT:DP:GQ" + genotypes + b"\n"
    path.write_bytes(pack(b"".join(row % pos for pos in (5, 6)) + ROW))
    assert path.stat().st_size > 30e6 or pack is gzip.compress
    tracemalloc.start()
    try:
        alleles = list(read_variants(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [(a.line, a.pos, a.kind) for a in alleles] == [
        (1, 5, "snv"),
        (2, 6, "snv"),
        (3, 100, "snv"),
    ]
    assert peak < 8e6


@pytest.mark.parametrize(
    "column", [b".\t%s\tC", b".\tA\t%s", b"%s\tA\tC"], ids=["REF", "ALT", "ID"]
)
@pytest.mark.parametrize("length", [lines.MAX_FIELDS - 9, 1_100_000, 3 * lines.MAX_FIELDS])
@pytest.mark.parametrize("rest", [b"\n", b"\r\n", b"\t.\t.\t" + b"x" * 2_000_000 + b"\n"])
def test_a_column_beyond_the_look_ahead_is_read(
    read: Read, tmp_path: Path, column: bytes, length: int, rest: bytes
) -> None:
    """By both ways of reading."""
    long = b"AC" * (length // 2) + b"A" * (length % 2)
    first, second = read(b"chr1\t5\t" + column % long + rest + ROW)
    whole = [a for r in VariantSource(tmp_path / "in.vcf").records() for a in r.alleles]
    assert whole == [first, second]
    assert first.kind in ("snv", "insertion", "deletion", "complex")
    assert {len(first.ref), len(first.alt)} == {1, length} or len(first.id) == min(length, MAX_ID)
    assert len(str(first)) < 200
    assert fields([second]) == [("chr1", 100, "rs1", "A", "C")]


@pytest.mark.parametrize("rest", [b"", b"\tPASS", b"\tPASS" + b"x" * 100])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_no_allele_is_cut_at_the_look_ahead(
    read: Read, monkeypatch: pytest.MonkeyPatch, rest: bytes, newline: bytes
) -> None:
    monkeypatch.setattr(lines, "MAX_FIELDS", 64)
    for length in range(35, 70):
        alt = "ACGT" * 20
        columns = b"chr1\t5\t-\tT\t" + alt[:length].encode()
        first, second = read(columns + rest + newline + ROW)
        assert first.alt == alt[:length]
        assert fields([second]) == [("chr1", 100, "rs1", "A", "C")]
        assert second.line == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"chr1,17000,rs1,A,G\n" * 3, "1 columns where"),
        (b">seq\nACGT\n", "1 columns where"),
        (b"chr1\t16999\t17000\tpeak1\t0\t+\n", "REF or ALT is not made of bases"),
        (b"##fileformat=VCFv4.2\n\nprose of several words\n", "line 3: 4 columns where"),
    ],
    ids=["csv", "fasta", "bed", "prose"],
)
def test_a_file_without_any_variant_is_none(read: Read, content: bytes, says: str) -> None:
    with pytest.raises(VariantError, match=r"in\.vcf: no line of it is a variant") as caught:
        read(content)
    assert says in str(caught.value)
    assert len(read(content + ROW)) == content.count(b"\n") + 1 - 2 * content.startswith(b"##")


def test_a_long_file_without_any_variant_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seal_store.variants.source.ODD_LINES", 5)
    (tmp_path / "in.vcf").write_bytes(b"oops\n" * 6 + ROW)
    alleles = read_variants(tmp_path / "in.vcf")
    assert [next(alleles).line for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(VariantError, match="no line of it"):
        next(alleles)


@pytest.mark.parametrize("where", [b"chr1\t5\t-\tA\0\tC\n", b"chr1\t5\t-\tA\tC\t.\0\n"])
def test_a_nul_byte_is_named_with_its_line(read: Read, where: bytes) -> None:
    with pytest.raises(VariantError, match=r"in\.vcf:5: NUL"):
        read(HEADER + ROW + where)


@pytest.mark.parametrize(
    "content",
    [
        ROW.replace(b"\n", b"\r") * 3,
        (HEADER + ROW).replace(b"\n", b"\r"),
        b"chr1\t5\t-\tA\tC\r\t.\n",
    ],
    ids=["old Mac lines", "with a header", "within a line"],
)
def test_a_lone_carriage_return_hides_no_record(read: Read, content: bytes) -> None:
    with pytest.raises(VariantError, match=r"in\.vcf:1: carriage return") as caught:
        read(content)
    assert "tr" in caught.value.hint


ODD_NAMES = ["a\x1b[31m", "a\x0bb", "a\u202eb", "a\xa0b", "a\u2028b", "\x7f"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_contig_with_control_characters_is_malformed(read: Read, name: str) -> None:
    bad, _ = read(f"{name}\t5\trs1\tA\tC\nchr1\t5\t.\tA\tC\n")
    assert (bad.kind, bad.pos) == ("malformed", 0)
    assert bad.problem == "CHROM has a control or invisible character"
    assert str(bad).isprintable()


def test_an_id_matters_to_nothing(read: Read) -> None:
    """Invisible characters and any length: only so much of it is kept."""
    names = [*ODD_NAMES, "α\u200bβ", "x" * 85_000, "y" * (MAX_ID + 5)]
    alleles = read("".join(f"chr1\t5\t{name}\tA\tC\n" for name in names))
    assert [(a.id, a.kind, a.pos) for a in alleles] == [(n[:MAX_ID], "snv", 5) for n in names]


def test_names_of_other_scripts_and_formulas_stay(read: Read) -> None:
    names = ["=1+1", "@SUM(A1)", "-5", "été", "变异", "<b>"]
    assert [a.id for a in read("".join(f"chr1\t5\t{n}\tA\tC\n" for n in names))] == names


def test_a_contig_beyond_any_reason_is_malformed(read: Read) -> None:
    for length, kind in ((5_000, "snv"), (MAX_NAME, "snv"), (MAX_NAME + 1, "malformed")):
        allele, _ = read(f"{'x' * length}\t5\t.\tA\tC\nchr1\t5\t.\tA\tC\n")
        assert allele.kind == kind
        assert len(str(allele)) < 100


def test_ten_thousand_alternatives(read: Read) -> None:
    alleles = read("chr1\t5\t.\tA\t" + ",".join(["C", "AT", "<DEL>", "*"] * 2500) + "\t.\n")
    kinds = [a.kind for a in alleles]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
        ("snv", "insertion", "symbolic", "star"), 2500
    )
    assert {(a.line, a.pos) for a in alleles} == {(1, 5)}


def test_a_long_reference_with_many_alternatives_takes_no_square_of_time(read: Read) -> None:
    start = time.process_time()
    alleles = read("chr1\t5\t.\t" + "ACGT" * 100_000 + "\t" + "T,N," * 50_000 + "G\n")
    assert len(alleles) == 100_001
    assert time.process_time() - start < 10  # minutes, were REF looked through each time


@pytest.mark.parametrize(
    "start", [b"", b"#", b"chr1\t", b"chr1\t5\t.\tA\tC\t"], ids=["data", "header", "POS", "QUAL"]
)
def test_a_line_of_100_mb_takes_no_memory(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "long.vcf.gz"
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(start)
        for _ in range(100):
            handle.write(b"A" * 1_000_000)
        handle.write(b"\n" + ROW)
    tracemalloc.start()
    try:
        *bad, good = read_variants(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    kind = "snv" if start.count(b"\t") > 2 else "malformed"
    assert [(a.line, a.kind) for a in bad] == ([] if start == b"#" else [(1, kind)])
    assert (good.line, good.kind) == (2, "snv")
    assert peak < 12e6


def test_unsorted_duplicate_and_mixed_names_stay_as_they_come(read: Read) -> None:
    rows = [("chr2", 9), ("1", 5), ("chr1", 5), ("1", 5), ("chrX", 2), ("chr1", 4)]
    alleles = read("".join(f"{contig}\t{pos}\t.\tA\tC\n" for contig, pos in rows))
    assert [(a.contig, a.pos) for a in alleles] == rows


def test_utf16_is_refused(read: Read) -> None:
    with pytest.raises(VariantError, match="not a text file"):
        read(ROW.decode().encode("utf-16"))


def test_other_bytes_than_utf8_are_no_crash(read: Read) -> None:
    (allele,) = read(b"chr1\t5\t\xe9\xff\tA\tC\n")
    assert (allele.pos, allele.kind) == (5, "snv")


@pytest.mark.parametrize("pack", [gzip.compress, bgzf_of], ids=["gzip", "bgzf"])
def test_compressed_data_cut_anywhere_is_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    whole = pack(HEADER + ROW * 50)
    path = tmp_path / "cut.vcf.gz"
    for length in range(2, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(VariantError, match=r"cut\.vcf\.gz.*(damaged|truncated)"):
            list(read_variants(path))


def test_bgzf_without_end_marker_is_refused(read: Read) -> None:
    with pytest.raises(VariantError, match="BGZF end marker"):
        read(bgzf_of(HEADER + ROW, end=b""), "in.vcf.gz")


def test_flipped_bits_of_gzip_never_change_an_allele(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    rows = b"".join(
        b"chr1\t%d\t-\t%c\t%c\n" % (i + 1, *rng.permutation(list(b"ACGT"))[:2].tolist())
        for i in range(60)
    )
    whole = gzip.compress(rows)
    path = tmp_path / "flipped.gz"
    path.write_bytes(whole)
    expected = list(read_variants(path))
    refusals = []
    for position in range(2, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = list(read_variants(path))
        except VariantError as error:
            refusals.append(str(error))
        else:
            assert found == expected
    assert len(refusals) > 0.9 * len(whole)
    assert all("damaged" in message for message in refusals)


def test_damage_says_how_far_the_file_was_read(read: Read) -> None:
    rows = b"".join(b"chr1\t%d\t-\tA\tC\n" % i for i in range(1, 20_001))
    with pytest.raises(VariantError, match="after line") as caught:
        read(gzip.compress(rows)[:-9])
    assert 10_000 < int(str(caught.value).split("after line ")[1].split()[0]) <= 20_000
    with pytest.raises(VariantError, match="damaged after line 0 "):
        read(gzip.compress(rows)[:12])


def test_what_follows_gzip_is_not_ignored(read: Read) -> None:
    with pytest.raises(VariantError, match="damaged"):
        read(gzip.compress(ROW) + ROW)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzf_of], ids=["text", "gzip", "bgzf"])
def test_a_named_pipe_is_read_as_a_file(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[pack(HEADER + ROW)])
    writer.start()
    assert [a.pos for a in read_variants(path)] == [100]
    writer.join()


@pytest.mark.parametrize("name", ["nowhere.vcf", "."])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(VariantError, match="not found") as caught:
        list(read_variants(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("pos", "ref", "alt", "change"),
    [
        (100, "A", "C", Change(99, 1, "C")),
        (100, "AC", "AG", Change(100, 1, "G")),
        (100, "CA", "GA", Change(99, 1, "G")),
        (100, "A", "AT", Change(100, 0, "T")),
        (100, "AT", "A", Change(100, 1, "")),
        (100, "TA", "A", Change(99, 2, "A")),
        (100, "A", "TA", Change(99, 1, "TA")),
        (100, "CAAA", "CAA", Change(100, 1, "")),
        (100, "CAGAG", "CAG", Change(100, 2, "")),
        (100, "AAA", "AAAAA", Change(100, 0, "AA")),
        (100, "ACG", "ACG", Change(100, 0, "")),
        (1, "A", "A", Change(1, 0, "")),
        (100, "GATTC", "GC", Change(100, 3, "")),
        (100, "ACGT", "TGCA", Change(99, 4, "TGCA")),
    ],
)
def test_trimming_by_hand(pos: int, ref: str, alt: str, change: Change) -> None:
    assert trim(pos, ref, alt) == change


def test_end_and_net_of_a_change() -> None:
    change = trim(100, "AGG", "ATTTT")
    assert (change.start, change.end, change.net) == (100, 102, 2)


bases = st.text("ACGT", min_size=1, max_size=12)
few_bases = st.text("AC", min_size=1, max_size=8)


@given(before=bases, ref=bases | few_bases, alt=bases | few_bases, after=bases)
@settings(max_examples=400, deadline=None, database=None)
def test_a_trimmed_change_does_the_same_and_shares_nothing(
    before: str, ref: str, alt: str, after: str
) -> None:
    sequence = before + ref + after
    pos = len(before) + 1
    change = trim(pos, ref, alt)
    changed = sequence[: change.start] + change.alt + sequence[change.end :]
    assert changed == before + alt + after
    replaced = sequence[change.start : change.end]
    assert not replaced or not change.alt or replaced[0] != change.alt[0]
    assert min(len(replaced), len(change.alt)) < 2 or replaced[-1] != change.alt[-1]
    assert reference.trim(pos, ref, alt) == (
        change.start,
        change.length,
        len(change.alt),
        change.alt,
    )


@given(st.text("ACGTNRacgt<>[].*,-:1"), st.text("ACGTNRacgt<>[].*,-:1"))
@settings(max_examples=400, deadline=None, database=None)
def test_any_two_texts_have_a_kind(ref: str, alt: str) -> None:
    kind = classify(ref.upper(), alt.upper())
    made_of_bases = all(a and set(a.upper()) <= set("ACGT") for a in (ref, alt))
    assert (kind in SCORABLE) == (made_of_bases and ref.upper() != alt.upper())


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """Three contigs, two records each, in BGZF with an index."""
    text = tmp_path / "in.vcf"
    rows = [f"{c}\t{p}\t.\tA\tC\t.\t.\t.\n" for c in ("1", "3", "2") for p in (10, 20)]
    text.write_bytes(HEADER + "".join(rows).encode())
    pysam.tabix_compress(str(text), str(tmp_path / "in.vcf.gz"))
    pysam.tabix_index(str(tmp_path / "in.vcf.gz"), preset="vcf")
    return tmp_path / "in.vcf.gz"


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([Region("1")], [("1", 10), ("1", 20)]),
        ([Region("2")], [("2", 10), ("2", 20)]),
        ([Region("1", 500_000), Region("2", 20)], [("2", 20)]),
        ([Region("1", 1, 9), Region("3", 11, 19), Region("3", 20, 20)], [("3", 20)]),
        ([Region("1", 10, 10), Region("1", 20, 20)], [("1", 10), ("1", 20)]),
        ([Region("4"), Region("2", 10, 10)], [("2", 10)]),
        ([Region("2", 10, 10), Region("3", 15, 30)], [("3", 20), ("2", 10)]),
    ],
)
def test_regions_through_an_index(
    indexed: Path, regions: list[Region], expected: list[tuple[str, int]]
) -> None:
    alleles = list(read_variants(indexed, regions))
    assert [(a.contig, a.pos) for a in alleles] == expected
    assert {a.line for a in alleles} <= {0}
    assert str(alleles[0]) == f"{expected[0][0]}:{expected[0][1]} A>C"


def test_a_contig_of_the_header_without_records_is_passed_over(indexed: Path) -> None:
    path = indexed.with_name("in.bcf")
    contigs = "".join(f"##contig=<ID={c},length=1000>\n" for c in ("1", "2"))
    text = HEADER.decode().replace("##contig=<ID=chr1>\n", contigs) + "2\t10\t.\tA\tC\t.\t.\t.\n"
    indexed.with_name("one.vcf").write_text(text)
    source = str(indexed.with_name("one.vcf"))
    pysam.bcftools.view("-Ob", "-o", str(path), source, catch_stdout=False)
    pysam.bcftools.index(str(path))
    alleles = list(read_variants(path, [Region("1"), Region("2")]))
    assert [(a.line, a.contig, a.pos) for a in alleles] == [(0, "2", 10)]


def test_a_file_cut_after_its_index_was_made_is_refused(indexed: Path) -> None:
    indexed.write_bytes(indexed.read_bytes().removesuffix(BGZF_END))
    os.utime(f"{indexed}.tbi")
    with pytest.raises(VariantError, match="BGZF end marker"):
        list(read_variants(indexed, [Region("1")]))


def test_an_index_of_another_file_is_refused(indexed: Path) -> None:
    text = indexed.with_name("other.vcf")
    text.write_bytes(HEADER + b"7\t10\t.\tA\tC\t.\t.\t.\n")
    pysam.tabix_compress(str(text), str(indexed), force=True)
    os.utime(f"{indexed}.tbi")  # an index older than its file is not used
    with pytest.raises(VariantError, match=r"in\.vcf\.gz\.tbi: does not belong to .*in\.vcf\.gz"):
        list(read_variants(indexed, [Region("1")]))


def places(offset: int) -> bytes:
    """The .tbi of ``indexed``, plain, with ``offset`` as that of every contig."""
    names = b"1\0003\0002\0"
    head = struct.pack("<4s8i", b"TBI\1", 3, 2, 1, 2, 0, 35, 0, len(names))
    return head + names + 3 * struct.pack("<iiQ", 0, 1, offset)


@pytest.mark.parametrize("within", [0, 5, 0xFFFF])
@pytest.mark.parametrize("where", ["end marker", "end", "beyond", "no block", "largest"])
def test_an_index_that_points_where_no_record_is_is_refused(
    indexed: Path, where: str, within: int
) -> None:
    size = indexed.stat().st_size
    at = {"end marker": size - len(BGZF_END), "end": size, "beyond": 1 << 40, "no block": 9}
    offset = at.get(where, (1 << 48) - 1) << 16 | within
    Path(f"{indexed}.tbi").write_bytes(gzip.compress(places(offset)))
    with pytest.raises(VariantError, match=r"in\.vcf\.gz.*: (does not belong|shorter than)"):
        list(read_variants(indexed, [Region("1")]))


def test_a_region_behind_the_last_record_has_none(indexed: Path) -> None:
    for csi in (False, True):
        pysam.tabix_index(str(indexed), preset="vcf", csi=csi, force=True)
        for contig in ("1", "2", "3"):
            assert list(read_variants(indexed, [Region(contig, 21, 10**9)])) == []
        indexed.with_name("in.vcf.gz.tbi").unlink(missing_ok=True)


def test_an_index_that_unpacks_to_more_than_any_has_is_refused(
    indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = places(0)
    index = Path(f"{indexed}.tbi")
    monkeypatch.setattr("seal_store.variants.index.LONGEST", len(plain) - 4)
    index.write_bytes(gzip.compress(plain))
    assert list(read_variants(indexed, [Region("1")])) == []
    index.write_bytes(gzip.compress(plain + b"\0"))
    with pytest.raises(VariantError, match=r"tbi: the index cannot be read \(more than"):
        list(read_variants(indexed, [Region("1")]))


@pytest.mark.parametrize(
    ("ref", "first", "last", "inside"),
    [
        ("A", 5, 5, True),
        ("A", 4, 4, False),
        ("A", 6, 6, False),
        ("AC", 6, 6, True),
        ("AC", 7, 9, False),
        ("", 5, 5, True),
        ("", 6, 6, False),
    ],
)
def test_a_region_holds_what_ref_covers(
    tmp_path: Path, ref: str, first: int, last: int, inside: bool
) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(f"1\t5\t.\t{ref}\tG\t.\n")
    assert bool(list(read_variants(path, [Region("1", first, last)]))) == inside
