"""Regions through .tbi, .csi and by filtering find the same; damaged indexes."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pysam
import pysam.bcftools
import pytest
from click.testing import Result
from hostile import BGZF_END
from seldom import slow, soak

from seal_store.errors import InputError, OutputError, VariantError
from seal_store.results.group import Results
from seal_store.run.scores import write_scores
from seal_store.scoring import reading
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.regions import (
    LAST,
    Region,
    Regions,
    merge,
    parse_region,
    parse_regions,
    read_regions,
)
from seal_store.variants.source import VariantSource, read_variants

CONTIGS = ("chr1", "2", "chr3")


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("chr1:1000-2000", Region("chr1", 1000, 2000)),
        ("chr1:1,000-2,000", Region("chr1", 1000, 2000)),
        ("1:5", Region("1", 5, 5)),
        ("chr1:5-", Region("chr1", 5, LAST)),
        ("chrX", Region("chrX", 1, LAST)),
        ("HLA-A*01:01", Region("HLA-A*01", 1, 1)),
        ("HLA-A*01:01:5-6", Region("HLA-A*01:01", 5, 6)),
        ("HLA:A", Region("HLA:A", 1, LAST)),
    ],
)
def test_regions_as_they_are_written(text: str, region: Region) -> None:
    assert parse_region(text) == region


@pytest.mark.parametrize(
    "text",
    ["", ":1-2", "chr1:", "chr1:0-5", "chr1:6-5", "chr1:-5", "chr1:1-2-3", "chr1:9999999999"],
)
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="^`region` .*: not a region"):
        parse_region(text)


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("1:17000-17010,1:930240-930250", ["1:17000-17010", "1:930240-930250"]),
        ("chr1:1,000-2,000,chr2:5", ["chr1:1000-2000", "chr2:5-5"]),
        ("chr1:1,000,000,chr2", ["chr1:1000000-1000000", f"chr2:1-{LAST}"]),
        ("1,2,100:5-9", [f"1:1-{LAST}", f"2:1-{LAST}", "100:5-9"]),
    ],
)
def test_commas_separate_regions_and_thousands(text: str, regions: list[str]) -> None:
    assert list(map(str, parse_regions(text))) == regions


@pytest.mark.parametrize(
    ("name", "content", "regions"),
    [
        ("a.bed", "track x\nchr1\t0\t5\tname\n\n#c\nchr1 4 9\n2\t7\t8\n", ["2:8-8", "chr1:1-9"]),
        ("a.BED.gz", "chr1\t0\t5\n", ["chr1:1-5"]),
        ("a.tsv", "chr1\t5\nchr1\t7\t9\tx\n", ["chr1:5-5", "chr1:7-9"]),
    ],
)
def test_files_of_regions_are_as_bcftools_reads_them(
    tmp_path: Path, name: str, content: str, regions: list[str]
) -> None:
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(map(str, read_regions(tmp_path / name))) == regions


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.bed", "chr1\t5\n", "a.bed:1: not a region"),
        ("a.bed", "chr1\t0\t5\nchr1\t9\t9\n", "a.bed:2: not a region"),
        ("a.tsv", "chr1\t0\n", "a.tsv:1: not a region"),
        ("a.tsv", "chr1\tx\n", "a.tsv:1: not a region"),
        ("a.tsv", "chr1\n", "a.tsv:1: not a region"),
        ("a.bed", "# none\n", "a.bed: no region in it"),
    ],
)
def test_a_file_of_other_lines_is_refused(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        read_regions(tmp_path / name)


REGIONS = "chr1:1-600000,2:900000-1,300,000,chr3:5-100"


@pytest.mark.parametrize("name", ["tbi.vcf.gz", "csi.vcf.gz", "in.bcf", "in.vcf", "plain.vcf.gz"])
def test_records_of_regions_are_those_of_bcftools(folder: Path, name: str) -> None:
    """Whole, whichever way they are found."""
    source = VariantSource(folder / name, parse_regions(REGIONS))
    found = [record.text.decode() for record in source.records()]
    spans = ("chr1:1-600000", "2:900000-1300000", "chr3:5-100")
    expected = pysam.bcftools.view("-H", str(folder / "tbi.vcf.gz"), *spans).splitlines()
    assert found == expected
    assert len(found) == source.seen.records > 100


@pytest.mark.slow
@pytest.mark.parametrize("ending", [slow("bcf"), "tsv", soak("vcf.gz")])
@pytest.mark.parametrize("name", ["tbi.vcf.gz", "in.bcf", "in.vcf"])
def test_a_region_is_annotated(
    cli: Callable[..., Result],
    store: Store,
    folder: Path,
    tmp_path: Path,
    name: str,
    ending: str,
) -> None:
    """The same by options and by a file; on stdout too."""
    (tmp_path / "r.bed").write_text("chr1\t0\t600000\n2\t899999\t1300000\nchr3\t4\t100\n")
    args = ["score", "vcf", folder / name, "--store", store.path, "--no-check-assembly"]
    args += ["--contexts", "early_fetal.OC", "--out"]
    out = tmp_path / f"a.{ending}"
    done = cli(*args, out, "--region", REGIONS, "--json")
    assert done.exit_code == 0, done.output
    done_file = cli(*args, tmp_path / f"b.{ending}", "--regions-file", tmp_path / "r.bed", "-q")
    assert done_file.exit_code == 0, done_file.output
    if ending == "tsv":
        assert out.read_bytes() == (tmp_path / "b.tsv").read_bytes()
        return
    expected = [r.alleles[0].id for r in VariantSource(out).records()]
    assert expected == [
        r.alleles[0].id for r in VariantSource(folder / name, parse_regions(REGIONS)).records()
    ]
    assert json.loads(done.stdout)["records_out"] == len(expected) > 100
    both = [pysam.bcftools.view("-H", str(tmp_path / f"{x}.{ending}")) for x in "ab"]
    assert both[0] == both[1]
    piped = cli(*args, "-", "--region", REGIONS, "-q")
    lines = [line for line in piped.stdout.splitlines() if line[0] != "#"]
    assert [line.split("\t")[2] for line in lines] == expected


def test_a_contig_that_is_nowhere_is_refused(
    cli: Callable[..., Result], store: Store, folder: Path, tmp_path: Path
) -> None:
    """Not one that only the store has, or only the header, or only the index."""
    bare = tmp_path / "bare.vcf.gz"
    with pysam.BGZFile(str(bare), "wb") as handle:
        handle.write(b"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n")
        handle.write(b"odd\t5\t.\tA\tC\t.\t.\t.\n")
    pysam.tabix_index(str(bare), preset="vcf")
    for path, region, code in (
        (folder / "in.vcf", "nowhere:1-5", 1),
        (folder / "in.vcf", "chr1:1-5,nowhere", 1),
        (folder / "in.vcf", "chr2:1-5", 0),
        (bare, "odd", 0),
        (bare, "chr3", 0),
        (bare, "chr9", 1),
    ):
        args = ["--store", store.path, "--out", "-", "--no-check-assembly", "-q"]
        done = cli("score", "vcf", path, *args, "--region", region)
        assert done.exit_code == code, (path, region, done.output)
        assert ("a contig that is neither in the store nor in the header" in done.stderr) == code


def test_overlapping_regions_are_one() -> None:
    spans = [("a", 5, 9), ("b", 1, 2), ("a", 1, 4), ("a", 20, 30), ("a", 22, 25)]
    assert merge(Region(*s) for s in spans) == [
        Region("a", 1, 9),
        Region("a", 20, 30),
        Region("b", 1, 2),
    ]


def test_overlap_against_every_region_one_by_one() -> None:
    rng = Random(3)
    for _ in range(200):
        spans = []
        for _ in range(rng.randrange(1, 6)):
            first = rng.randrange(1, 60)
            spans.append(Region(rng.choice(("1", "chr1", "2")), first, first + rng.randrange(15)))
        regions = Regions(spans)
        contig, first = rng.choice(("1", "chr1", "chr2", "3")), rng.randrange(1, 80)
        last = first + rng.choice((0, 0, 3, 20))
        expected = any(
            r.contig.removeprefix("chr") == contig.removeprefix("chr")
            and r.first <= last
            and first <= r.last
            for r in spans
        )
        assert regions.overlap(contig, first, last) == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same variants as text, BGZF with .tbi and with .csi, and BCF with .csi.

    The header has the contigs in another order than the records.
    """
    folder, rng = tmp_path_factory.mktemp("indexed"), Random(1)
    contigs = [f"##contig=<ID={c},length=3000000>" for c in reversed(CONTIGS)]
    lines = ["##fileformat=VCFv4.2", *contigs]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    for contig in CONTIGS:
        for pos in sorted(rng.choices(range(1, 2_000_000), k=500)):
            ref = "".join(rng.choices("ACGT", k=rng.choice((1, 1, 1, 7, 900))))
            alt = rng.choice(("N", "A" * 9, ref[0], f"{ref[0]}T,{ref}C"))
            lines.append(f"{contig}\t{pos}\t{contig}:{pos}\t{ref}\t{alt}\t.\t.\t.")
    text = folder / "in.vcf"
    text.write_text("\n".join(lines) + "\n")
    for name, csi in (("tbi.vcf.gz", False), ("csi.vcf.gz", True)):
        pysam.tabix_compress(str(text), str(folder / name))
        pysam.tabix_index(str(folder / name), preset="vcf", csi=csi)
    pysam.bcftools.view("-Ob", "-o", str(folder / "in.bcf"), str(text), catch_stdout=False)
    pysam.bcftools.index(str(folder / "in.bcf"))
    shutil.copy(folder / "tbi.vcf.gz", folder / "plain.vcf.gz")
    return folder


INDEXED = ("tbi.vcf.gz", "csi.vcf.gz", "in.bcf")


def seen(path: Path, regions: list[Region]) -> list[tuple[object, ...]]:
    return [(a.contig, a.pos, a.id, a.ref, a.alt) for a in read_variants(path, regions)]


def test_every_way_of_reading_finds_what_overlaps(folder: Path) -> None:
    rng = Random(int.from_bytes(os.urandom(4), "little"))
    everything = list(read_variants(folder / "in.vcf"))
    assert [
        VariantSource(folder / name).index is not None for name in (*INDEXED, "plain.vcf.gz")
    ] == [
        True,
        True,
        True,
        False,
    ]
    for _ in range(5):
        regions = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            anchor = rng.choice(everything)
            first = max(1, anchor.pos + rng.choice((-50_000, -900, -1, 0, 1, 6, 899, 900)))
            contig = rng.choice((anchor.contig, f"chr{anchor.contig}", "chr9"))
            regions.append(Region(contig, first, first + rng.choice((0, 0, 1, 5_000, 700_000))))
        expected = [
            (a.contig, a.pos, a.id, a.ref, a.alt)
            for a in everything
            if Regions(regions).overlap(a.contig, a.pos, a.pos + len(a.ref) - 1)
        ]
        for name in ("in.vcf", "plain.vcf.gz", *INDEXED):
            assert seen(folder / name, regions) == expected, (name, regions)


def test_both_ends_of_a_region_are_in_it(folder: Path) -> None:
    anchor = next(a for a in read_variants(folder / "in.vcf") if len(a.ref) == 900)
    for first, last, inside in [
        (anchor.pos - 1, anchor.pos - 1, False),
        (anchor.pos, anchor.pos, True),
        (anchor.pos + 899, anchor.pos + 899, True),
        (anchor.pos + 900, anchor.pos + 900, False),
    ]:
        for name in ("in.vcf", "tbi.vcf.gz", "in.bcf"):
            found = seen(folder / name, [Region(anchor.contig, first, last)])
            assert (anchor.id in {row[2] for row in found}) == inside, (name, first)


@pytest.mark.parametrize("name", INDEXED)
def test_a_record_that_spans_two_regions_comes_once(folder: Path, name: str) -> None:
    anchor = next(a for a in read_variants(folder / "in.vcf") if len(a.ref) == 900)
    ends = [Region(anchor.contig, p, p) for p in (anchor.pos + 1, anchor.pos + 899)]
    found = seen(folder / name, ends)
    assert found == seen(folder / "in.vcf", ends)
    assert anchor.id in {row[2] for row in found}


@pytest.mark.parametrize("name", INDEXED)
def test_an_index_spares_reading_the_rest(folder: Path, tmp_path: Path, name: str) -> None:
    """What lies far behind the region may be damaged; what is read may not."""
    whole = bytearray((folder / name).read_bytes())
    whole[len(whole) * 9 // 10] ^= 8
    path = tmp_path / name
    path.write_bytes(whole)
    copy_index(folder / name, path)
    near, far = [Region("chr1", 1, 90_000)], [Region("chr3", 1, LAST)]
    assert seen(path, near) == seen(folder / "in.vcf", near) != []
    with pytest.raises(VariantError, match="damaged"):
        seen(path, far)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc")
@pytest.mark.parametrize("name", INDEXED)
def test_what_an_index_spares_is_not_even_passed_over(
    folder: Path, tmp_path: Path, name: str
) -> None:
    """A gigabyte of nothing between the records and the end marker."""
    whole = (folder / name).read_bytes()
    path = tmp_path / name
    with path.open("wb") as handle:
        handle.write(whole)
        handle.seek(1 << 30)
        handle.write(BGZF_END)
    copy_index(folder / name, path)

    def read_so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before, near = read_so_far(), [Region("chr1", 1, 90_000)]
    assert seen(path, near) == seen(folder / "in.vcf", near)
    assert read_so_far() - before < 100 << 20


def copy_index(data: Path, to: Path) -> Path:
    index = VariantSource(data).index
    assert index is not None
    return Path(shutil.copyfile(index, to.with_name(to.name + index.suffix)))


@pytest.mark.parametrize("name", INDEXED)
def test_a_file_cut_short_is_refused_wherever_the_region_is(
    folder: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes()[:-5])
    copy_index(folder / name, path)
    with pytest.raises(VariantError, match="BGZF end marker"):
        seen(path, [Region("chr1", 1, 9)])


@pytest.mark.parametrize("name", INDEXED)
def test_a_damaged_index_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copyfile(folder / name, tmp_path / name))
    index = copy_index(folder / name, path)
    whole = index.read_bytes()
    for content in (b"", whole[:50], whole[:-40], b"no index at all"):
        index.write_bytes(content)
        with pytest.raises(VariantError, match="the index cannot be read") as caught:
            seen(path, [Region("chr1", 1, 9)])
        assert str(index) in str(caught.value)


def test_the_index_of_another_file_is_refused(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "in.vcf").read_text().splitlines(keepends=True)
    header = [line for line in lines if line.startswith("#")]
    text = tmp_path / "turned.vcf"
    text.write_text("".join(header) + "".join(x for x in lines if x.startswith(("2", "chr3"))))
    path = tmp_path / "turned.vcf.gz"
    pysam.tabix_compress(str(text), str(path))
    copy_index(folder / "tbi.vcf.gz", path)
    with pytest.raises(VariantError, match="index|damaged"):
        seen(path, [Region("chr1", 1, LAST)])


def test_an_index_older_than_its_file_is_not_used(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copyfile(folder / "tbi.vcf.gz", tmp_path / "in.vcf.gz"))
    index = copy_index(folder / "tbi.vcf.gz", path)
    assert not VariantSource(path).is_read_whole
    os.utime(index, (1, 1))
    assert VariantSource(path).index is None
    assert VariantSource(path).is_read_whole
    region = [Region("2", 500, 200_000)]
    assert seen(path, region) == seen(folder / "in.vcf", region) != []


def test_a_line_without_a_position_is_in_no_region(tmp_path: Path) -> None:
    path = tmp_path / "in.vcf"
    path.write_text("chr1\t5\t.\tA\tC\nchr1\tx\t.\tA\tC\nchr1\nchr1\t6\t.\tA\tQ\n")
    assert [a.pos for a in read_variants(path, [Region("1", 1, 9)])] == [5, 6]


def test_regions_at_the_command_line(
    cli: Callable[..., Result], store: Store, world: World, tmp_path: Path
) -> None:
    packed = tmp_path / "in.vcf.gz"
    pysam.tabix_compress(str(world.variants), str(packed))
    args = ["--store", store.path, "--device", "cpu", "--contexts", "early_fetal.OC", "--json"]
    args += ["--region", "2:1-80000", "--region", "chr1:100,000-110,000"]
    outs = {}
    for name, source in (("text", world.variants), ("all", packed), ("index", packed)):
        if name == "index":
            pysam.tabix_index(str(packed), preset="vcf")
        out = tmp_path / f"{name}.zarr"
        result = cli("score", "vcf", source, "--out", out, *args)
        assert result.exit_code == 0, result.output
        assert ("no index" in result.stderr) == (name == "all")
        outs[name] = (json.loads(result.stdout), Results(out).rows())
        assert Results(out).attributes.regions == ("2:1-80000", "chr1:100000-110000")
    first = outs["text"]
    assert 5 < len(first[1]) < 30
    assert set(first[1].columns["contig"].tolist()) == {"chr1", "chr2"}
    for facts, rows in outs.values():
        assert facts["alleles"] == first[0]["alleles"]
        assert (rows.effect == first[1].effect).all()
        assert rows.columns["pos"].tolist() == first[1].columns["pos"].tolist()
    refused = cli("score", "vcf", packed, "--out", tmp_path / "x.tsv", *args, "--region", "chr1:0")
    assert refused.exit_code == 1
    assert "--region 'chr1:0': not a region" in refused.stderr


def test_a_run_of_one_region_is_not_gone_on_with_in_another(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)

    def scored(region: str, stop_after: int = 0) -> None:
        def progress(what: str, done: int, total: int | None) -> None:
            if stop_after and done >= stop_after:
                raise KeyboardInterrupt

        scorer = Scorer(store, ScoreOptions(device="cpu", batch=1, contexts=("early_fetal.OC",)))
        alleles = read_variants(world.variants, [parse_region(region)])
        write_scores(scorer, alleles, tmp_path / "o.tsv", resume=True, progress=progress)

    with pytest.raises(KeyboardInterrupt):
        scored("chr1", stop_after=12)
    with pytest.raises(OutputError, match="begun with regions"):
        scored("chr2")
    scored("chr1")
    chosen = [a for a in read_variants(world.variants) if a.contig == "chr1" and a.kind == "snv"]
    rows = (tmp_path / "o.tsv").read_text().splitlines()[1:]
    assert {int(row.split("\t")[1]) for row in rows} >= {a.pos for a in chosen}
    assert {row.split("\t")[0] for row in rows} == {"chr1"}
