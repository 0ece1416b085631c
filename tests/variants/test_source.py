"""A variant file is one object: opened once, by whatever way it comes in."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pysam
import pytest
from click.testing import Result
from hostile import bgzf_of

from seal_store.errors import VariantError
from seal_store.store.layout import LIFTED
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele, Origin, evaluated
from seal_store.variants.bases import StoreBases
from seal_store.variants.header import contig_lengths, declaration
from seal_store.variants.source import Alleles, VariantSource, read_variants

HEADER = (
    b"##fileformat=VCFv4.2\n##contig=<ID=chr1,length=320000>\n"
    b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)
RECORDS = b"".join(b"chr1\t%d\tv%d\tA\tC\t.\t.\tX=1\n" % (i, i) for i in range(1, 20_001))


def bgzf(content: bytes) -> bytes:
    return bgzf_of(*(content[i : i + 60_000] for i in range(0, len(content), 60_000)))


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths that this process opens."""
    found: list[str] = []
    watching = True

    def hook(event: str, given: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(given[0], str | os.PathLike):
            found.append(os.fspath(given[0]))

    sys.addaudithook(hook)  # it cannot be taken away again
    yield found
    watching = False


@pytest.mark.parametrize("ending", ["tsv", "zarr", "vcf.gz", "bcf"])
def test_a_run_opens_its_input_once(
    cli: Callable[..., Result],
    store: Store,
    world: World,
    tmp_path: Path,
    opens: list[str],
    ending: str,
) -> None:
    """For the assembly, the index, the checksum, the alleles and the records to annotate."""
    vcf = tmp_path / "in.vcf.gz"
    vcf.write_bytes(bgzf(world.variants.read_bytes()))
    out = tmp_path / f"out.{ending}"
    opens.clear()
    done = cli("score", "vcf", vcf, "--store", store.path, "--out", out, "-q")
    assert done.exit_code == 0, done.output
    assert opens.count(str(vcf)) == 1


def test_every_reading_is_of_the_same_file(tmp_path: Path) -> None:
    """Even if another one takes its name meanwhile."""
    path = tmp_path / "in.vcf"
    path.write_bytes(HEADER + RECORDS)
    source = VariantSource(path)
    alleles = source.alleles()
    assert next(alleles).pos == 1
    (tmp_path / "other.vcf").write_bytes(b"chr2\t5\t.\tG\tT\n")
    (tmp_path / "other.vcf").replace(path)
    assert sum(1 for _ in alleles) == 19_999
    assert len([r for r in source.records() if r.alleles]) == 20_000
    assert source.sha256 == hashlib.sha256(HEADER + RECORDS).hexdigest()


@pytest.mark.parametrize(("pack", "kind"), [(bytes, ""), (gzip.compress, "gzip"), (bgzf, "bgzf")])
def test_what_a_source_knows_of_its_file(
    tmp_path: Path, pack: Callable[[bytes], bytes], kind: str
) -> None:
    path = tmp_path / "in.vcf"
    path.write_bytes(pack(b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + RECORDS[:100]))
    source = VariantSource(path)
    assert (source.compression, source.is_bcf, source.index) == (kind, False, None)
    assert source.header == HEADER.splitlines()
    assert source.contig_lengths == {"chr1": 320_000}
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.alleles().provenance() == {
        "variants": str(path),
        "variants_sha256": source.sha256,
        "liftover": None,
    }
    assert source.is_read_whole == bool(kind)


def pipe(path: Path, content: bytes) -> threading.Thread:
    """A named pipe that gives ``content`` once, its first bytes one by one."""
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as handle:
            for i in range(20):
                handle.write(content[i : i + 1])
                time.sleep(0.001)
            handle.write(content[20:])

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzf])
def test_the_header_of_a_pipe_is_known_before_its_records(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "pipe"
    writer = pipe(path, pack(HEADER + RECORDS))
    source = VariantSource(path)
    assert source.contig_lengths == {"chr1": 320_000}
    assert source.contig_lengths == {"chr1": 320_000}
    assert [a.pos for a in source.alleles()] == list(range(1, 20_001))
    writer.join()
    assert source.sha256 is None
    with pytest.raises(VariantError, match="pipe: can be read only once"):
        list(source.records())


def test_stdin_is_read_to_its_end_after_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(HEADER + RECORDS)))
    source = VariantSource("-")
    assert source.contig_lengths == {"chr1": 320_000}
    alleles = source.alleles()
    assert len(list(alleles)) == 20_000
    assert alleles.provenance()["variants"] == "-"
    assert alleles.provenance()["variants_sha256"] is None


def test_stdin_of_another_assembly_is_refused(
    cli: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    """As a file of it is."""
    hg38 = HEADER.replace(b"320000", b"248956422") + RECORDS[:40]
    out = tmp_path / "out.tsv"
    done = cli("score", "vcf", "-", "--store", store.path, "--out", out, stdin=hg38)
    assert done.exit_code == 1
    assert "stdin: its ##contig lines are those of hg38" in done.stderr


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzf])
def test_a_pipe_that_is_kept_can_be_read_again(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a temporary file beyond some size."""
    monkeypatch.setattr("seal_store.variants.input._IN_MEMORY", 1_000)
    path = tmp_path / "pipe"
    writer = pipe(path, pack(HEADER + RECORDS))
    source = VariantSource(path)
    assert source.header == HEADER.splitlines()
    source.keep()
    for _ in range(2):
        assert [a.pos for a in source.alleles()] == list(range(1, 20_001))
        assert b"\n".join(r.text for r in source.records()) + b"\n" == RECORDS
        assert (source.seen.records, source.seen.malformed) == (20_000, 0)
    writer.join()


@pytest.mark.parametrize(
    ("line", "kind", "fields"),
    [
        (b"##contig=<ID=1,length=5>", b"contig", {b"ID": b"1", b"length": b"5"}),
        (b"##contig=<ID=HLA-A*01:01:01:01>", b"contig", {b"ID": b"HLA-A*01:01:01:01"}),
        (b"##contig=<ID=a=b,IDX=3>\r", b"contig", {b"ID": b"a=b", b"IDX": b"3"}),
        (
            b'##INFO=<Description="a,ID=no,\\",ID=neither",ID=X>',
            b"INFO",
            {b"Description": b'"a,ID=no,\\",ID=neither"', b"ID": b"X"},
        ),
        (b'##INFO=<ID=X,Description="open,ID=Y>', b"INFO", None),
        (b"##contig=ID=1", b"", {}),
        (b"#CHROM\tPOS", b"", {}),
        (b"", b"", {}),
    ],
)
def test_what_a_line_of_a_header_declares(
    line: bytes, kind: bytes, fields: dict[bytes, bytes] | None
) -> None:
    found = declaration(line)
    assert found[0] == kind
    assert found[1].get(b"ID") == b"X" if fields is None else found[1] == fields


@pytest.mark.parametrize("part", [b"a", b'a="\\",', b'="', b",", b'\\"', b"<ID="])
def test_a_hostile_line_of_a_header_takes_no_square_of_time(part: bytes) -> None:
    line = b"##contig=<ID=1,length=5," + part * (1 << 18) + b">"
    assert contig_lengths([line] * 2) in ({"1": 5}, {})


def test_bases_are_those_of_the_nearest_computed_gene(store: Store) -> None:
    bases = StoreBases(store)
    row = store.table.row(str(store.gene_id[0]))
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    ten = bases(contig, tss, tss + 9)
    assert ten is not None
    assert "".join(bases(contig, tss + i, tss + i) or "?" for i in range(10)) == ten
    assert bases(contig, tss, tss - 1) == ""
    assert bases(contig, tss - 50_000, tss) is None
    assert bases("chr99", 5, 6) is None


def test_an_allele_that_is_scored_as_another_one_says_so() -> None:
    shown = Allele(3, "chr1", 7, ".", "G", "A", "snv")
    assert evaluated(shown, "") is shown
    assert evaluated(shown, "lifted_reverse") is shown
    turned = evaluated(shown, "swapped")
    assert (turned.ref, turned.alt, turned.swapped) == ("A", "G", True)
    assert not shown.swapped
    lifted = Allele(3, "chr2", 9, ".", "C", "T", "snv", origin=Origin(shown, "x", lifted=True))
    assert str(lifted) == "line 3, chr1:7 G>A, lifted to chr2:9"
    assert (lifted.shown, lifted.read) == (lifted, shown)
    assert turned.shown == replace(shown, origin=turned.origin)


def test_a_stream_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "in.vcf"
    path.write_bytes(RECORDS)
    alleles = Alleles(read_variants(path), "name", columns=LIFTED, regions=("chr1",))
    assert next(alleles).pos == 1
    rest = alleles.after(5)
    assert [a.pos for a in rest][:2] == [7, 8]
    assert (rest.name, rest.columns, rest.regions) == ("name", LIFTED, ("chr1",))


def test_bcf_names_its_contigs_by_index(tmp_path: Path) -> None:
    path = tmp_path / "in.bcf"
    header = pysam.VariantHeader()
    for name in ("chr2", "chr1"):
        header.contigs.add(name, length=1_000)
    with pysam.VariantFile(str(path), "wb", header=header):
        pass
    source = VariantSource(path)
    assert source.is_bcf
    assert source.contig_lengths == {"chr2": 1_000, "chr1": 1_000}
    assert source.header[0].startswith(b"##fileformat=VCF")
