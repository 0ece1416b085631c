"""Hostile VCF and BCF: a grammar of files, byte mutations, and what must hold for each of them.

Files are drawn from a ``random.Random``: Hypothesis's own in the suite, seeded ones in the soak
test, where this file is run as a program on a range of seeds.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import sys
import zlib
from pathlib import Path
from random import Random
from typing import Any

BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
CONTIGS = ("chr1", "chr2", "1", "2", "chr3", "chr4", "chrUn_gl000220", "HLA-A*01:01", "", "=1+1")
POSITIONS = ("0", "-5", "", "+7", "1e6", "2147483647", "2147483648", "99999999999", "٣", "7.0")
IDS = (".", "rs1", "rs1;rs2", "=cmd|'/c calc'!A0", "@SUM(A1)", "<script>", "\x1b[31m", "-", "é")
ALLELES = ("A", "C", "G", "T", "a", "n", "N", "R", ".", "*", "", "<DEL>", "<INS:ME>", "G]17:19]")
ALLELES += ("[1:2[A", ".A", "Q", "ACGT", "acgtacgt", "-", "A" * 300, "AT", "TTA", "<", "=A1")
ENDS = ("\n",) * 20 + ("\r\n",) * 9 + ("\r", "\n\n", "\n \t\n", "\x0b\n", "\x85\n", "")
INSERTED = (b"\0", b"\n", b"\t", b"\xff", b"\r", b" ", b"9" * 20, b",A" * 9, b"#", b"\t\t")


class Places:
    """Positions near genes, with their bases."""

    def __init__(self, places: list[tuple[str, int, str]]) -> None:
        self.places = places

    @classmethod
    def of(cls, store: Any) -> Places:
        from seal_store.store.store import sequence_start

        found = []
        for gene in range(len(store)):
            row = store.table.row(str(store.gene_id[gene]))
            tss = int(store.table.tss[row])
            bases = store.sequence(gene).tobytes().decode()
            for pos in range(tss - 900, tss + 900, 300):
                first = pos - 1 - sequence_start(tss)
                found.append((str(store.table.contig[row]), pos, bases[first : first + 30]))
        return cls(found)


def vcf(rng: Random, places: Places) -> bytes:
    """One file: mostly records that can be scored, some of everything else."""
    header = rng.choice(("", "##fileformat=VCFv4.2\n", "##fileformat=VCFv4.2\n" + "#CHROM\tPOS\n"))
    lines = [header, *(_record(rng, places) for _ in range(rng.choice((0, 1, 3, 8))))]
    data = "".join(lines).encode("utf-8", "surrogateescape")
    if rng.random() < 0.1:
        data = b"\xef\xbb\xbf" + data
    if rng.random() < 0.5:
        data = mutated(rng, data)
    packed = rng.choice((bytes, bytes, gzip.compress, bgzf))(data)
    if packed is not data and rng.random() < 0.4:
        packed = mutated(rng, packed)
    return packed


def _record(rng: Random, places: Places) -> str:
    contig, pos, bases = rng.choice(places.places)
    ref = bases[: rng.choice((1, 1, 1, 2, 9))]
    alts = rng.choice(ALLELES[:4])
    fields = [contig, str(pos), rng.choice(IDS[:3]), ref, alts]
    if rng.random() < 0.4:
        wild = rng.randrange(5)
        pool = (CONTIGS, POSITIONS, IDS, ALLELES, ALLELES)[wild]
        fields[wild] = rng.choice(pool)
    if rng.random() < 0.2:
        count = rng.choice((2, 3, 40))
        fields[4] = ",".join(rng.choice(ALLELES) for _ in range(count))
    fields += rng.choice(([], [".", "PASS", "."], [".", ".", ".", "GT", "0|1", "1/1"]))
    if rng.random() < 0.05:
        fields = fields[: rng.randrange(6)]
    return rng.choice(("\t", "\t", "\t", "\t", " ", "  ")).join(fields) + rng.choice(ENDS)


def mutated(rng: Random, data: bytes) -> bytes:
    """A few bytes flipped, deleted, inserted, cut off or copied to elsewhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place, length = rng.randrange(len(out) + 1), rng.choice((1, 1, 4, 60))
        kind = rng.randrange(5)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[place : place + length]
        elif kind == 2:
            out[place:place] = rng.choice(INSERTED)
        elif kind == 3 and rng.random() < 0.3:
            del out[place:]
        elif kind == 4:
            start = rng.randrange(len(out) + 1)
            out[place:place] = out[start : start + length]
    return bytes(out)


def bgzf(data: bytes, end: bytes = BGZF_END, size: int = 200) -> bytes:
    """BGZF in blocks of ``size`` bytes."""
    return bgzf_of(*(data[start : start + size] for start in range(0, len(data), size)), end=end)


def bgzf_of(*blocks: bytes, end: bytes = BGZF_END) -> bytes:
    """BGZF as htslib writes it: gzip members with their own length in a BC extra field."""
    members = []
    for block in blocks:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = deflate.compress(block) + deflate.flush()
        size = struct.pack("<H", 18 + len(data) + 8 - 1)
        tail = struct.pack("<II", zlib.crc32(block), len(block))
        members.append(BGZF_END[:16] + size + data + tail)
    return b"".join(members) + end


def data_lines(content: bytes) -> list[int]:
    """1-based numbers of the lines that hold a record, counted without the package."""
    text = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    lines = text.split(b"\n")
    return [
        number for number, line in enumerate(lines, 1) if line.strip() and not line.startswith(b"#")
    ]


def check_reading(scorer: Any, path: Path, content: bytes, *, score: bool) -> str:
    """What must hold after reading, and scoring or assigning, ``content``: its problem, or none."""
    from seal_store.errors import VariantError
    from seal_store.scoring.scorer import Tally
    from seal_store.variants.source import read_variants

    path.write_bytes(content)
    start = Tally()
    counts = start.counts
    try:
        alleles = list(read_variants(path))
    except VariantError as error:
        problem = str(error)
        assert str(path) in problem
        assert problem.isprintable()
        return problem
    assert sorted({a.line for a in alleles}) == data_lines(content)
    if score:
        rows = sum(map(len, scorer.score(iter(alleles), start=start)))
        assert counts.alleles == len(alleles)
        assert counts.rows == counts.alleles_scored == rows
    else:
        rows = sum(bool(scorer.reader.assign(allele, counts)) for allele in alleles)
    assert len(alleles) == rows + sum(counts.not_scored.values())
    for examples in counts.examples.values():
        assert all(line.isprintable() and len(line) < 300 for line in examples)
    return ""


def check_command(result: Any, out: Path) -> bool:
    """What must hold after `score vcf --json -q`; whether it has scored."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(
        result.exception
    )
    if result.exit_code == 1:
        (line,) = result.stderr.splitlines()
        assert line.startswith("seal-store: error: ")
        assert line.isprintable()
        assert result.stdout == ""
        assert not out.exists()
        return False
    assert result.exit_code == 0
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["alleles"] == facts["alleles_scored"] + sum(facts["not_scored"].values())
    assert facts["alleles_scored"] == facts["rows"]
    header, *rows = out.read_bytes().decode().split("\n")[:-1]
    assert len(rows) == facts["rows"]
    for row in rows:
        assert row.count("\t") == header.count("\t")
        assert not re.search(r"(^|\t)[=@]", row)
        assert row.replace("\t", "").isprintable()
    return True


def main(store: str, folder: str, first: int, last: int) -> None:
    """Score the files of these seeds, each 25th with the command; print each seed before it."""
    import torch
    from click.testing import CliRunner

    from seal_store.cli import main as command
    from seal_store.scoring.options import ScoreOptions
    from seal_store.scoring.scorer import Scorer
    from seal_store.store.store import Store

    torch.set_num_threads(1)
    opened = Store(store)
    options = ScoreOptions(device="cpu", contexts=("early_fetal.OC",))
    places, scorer = Places.of(opened), Scorer(opened, options)
    path, out = Path(folder) / "in.vcf", Path(folder) / "out.tsv"
    scored = 0
    for seed in range(first, last):
        print(seed, flush=True)
        problem = check_reading(scorer, path, vcf(Random(seed), places), score=True)
        scored += not problem
        if seed % 25 == 0:
            args = ["score", "vcf", path, "--store", store, "--out", out, "-q", "--json"]
            args += ["--device", "cpu", "--contexts", "early_fetal.OC"]
            result = CliRunner().invoke(command, list(map(str, args)))
            assert check_command(result, out) == (not problem)
            out.unlink(missing_ok=True)
    print("scored", scored, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
