"""Headers as they are found: columns in odd spacing, other assemblies, contigs of other lengths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest
from click.testing import Result

import seal_store
from seal_store.errors import VariantError
from seal_store.reference.assembly import check_variants
from seal_store.reference.contigs import UNKNOWN
from seal_store.store.store import Store
from seal_store.variants.header import COLUMNS, column_names, named_assembly
from seal_store.variants.source import VariantSource

Cli = Callable[..., Result]
FIXED = "\t".join(column.decode() for column in COLUMNS)
RECORD = "chr1\t107000\tv\tA\tC\t.\tPASS\t."


@pytest.mark.parametrize(
    ("line", "more"),
    [
        (FIXED, []),
        (f"{FIXED}\t", []),
        (f"{FIXED} ", []),
        (f"{FIXED}\tFORMAT\tMother\tChild", ["FORMAT", "Mother", "Child"]),
        (f"{FIXED}\tFORMAT\tMother\tChild\t", ["FORMAT", "Mother", "Child"]),
        (f"{FIXED}\tFORMAT\tMy mother\té ", ["FORMAT", "My mother", "é "]),
        (f"{FIXED}\tFORMAT\tMy mother", ["FORMAT", "My mother"]),
        (
            "#CHROM POS ID\tREF ALT\tQUAL FILTER INFO\tFORMAT\tMother\tChild",
            ["FORMAT", "Mother", "Child"],
        ),
        (FIXED.replace("\t", "  ") + " FORMAT\tMother\tChild", ["FORMAT", "Mother", "Child"]),
        (FIXED.replace("\t", " ") + " FORMAT Mother  Child ", ["FORMAT", "Mother", "Child"]),
    ],
)
def test_columns_have_their_names_in_any_spacing(
    cli: Cli, store: Store, tmp_path: Path, line: str, more: list[str]
) -> None:
    """What comes out is separated by tabs, so that bcftools reads it."""
    expected = [*FIXED.split("\t"), *more]
    assert [name.decode() for name in column_names(line.encode(), "x")] == expected
    path, out = tmp_path / "in.vcf", tmp_path / "o.vcf.gz"
    record = "\t".join([RECORD, *(["GT"] if more else []), *("0/1" for _ in more[1:])])
    path.write_text(
        f"##fileformat=VCFv4.1 \n##contig=<ID=chr1,length=320000>\t\n{line}\n{record}\n"
    )
    done = cli("score", "vcf", path, "--store", store.path, "--out", out, "-q")
    assert done.exit_code == 0, done.output
    with pysam.VariantFile(str(out)) as handle:
        assert list(handle.header.samples) == more[1:]
        assert [r.pos for r in handle] == [107_000]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("#CHROM\tPOS\tID\tREF\tALT\tINFO\tFORMAT\tMother", "INFO where VCF has QUAL"),
        ("#CHROM\tPOS\tREF\tALT", "REF where VCF has ID"),
        (f"{FIXED}\tS1\tS2", "S1 where VCF has FORMAT"),
    ],
)
def test_columns_of_another_order_are_refused(
    cli: Cli, store: Store, tmp_path: Path, line: str, says: str
) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(f"##fileformat=VCFv4.1\n{line}\n{RECORD}\tGT\t0/1\n")
    for name in ("o.vcf.gz", "o.tsv"):
        done = cli("score", "vcf", path, "--store", store.path, "--out", tmp_path / name, "-q")
        assert done.exit_code == 1
        assert f"{path}:2: the header has {says}" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.vcf"]


def test_fewer_columns_are_completed() -> None:
    assert column_names(b"#CHROM\tPOS", "x") == [b"#CHROM", b"POS"]
    assert column_names(b"", "x") == []
    assert column_names(FIXED.encode() + b"\tFORMAT", "x") == [*COLUMNS, b"FORMAT"]


@pytest.mark.parametrize(
    ("lines", "assembly"),
    [
        (["##reference=GRCh38"], "hg38"),
        (["##reference=file:///seq/hs37d5.fa"], "hg19"),
        (["##reference=mine.fa", "##contig=<ID=1,assembly=b37>"], "hg19"),
        (["##contig=<ID=1,assembly=GRCh38>", "##contig=<ID=2,assembly=hg38>"], "hg38"),
        (["##reference=hg19ToHg38.fa", "##contig=<ID=1>"], UNKNOWN),
        (["##source=GRCh38"], UNKNOWN),
        ([], UNKNOWN),
    ],
)
def test_an_assembly_is_named(lines: list[str], assembly: str) -> None:
    assert named_assembly([line.encode() for line in lines]) == assembly


def checked(header: dict[str, int], own: dict[str, int], named: str = UNKNOWN) -> list[str]:
    return check_variants("in.vcf", header, "hg19", own, "the store", named=named)


def test_a_contig_of_another_length_is_told_from_another_assembly() -> None:
    hg19 = {"chr1": 249_250_621, "chrM": 16_571}
    assert checked({"1": 249_250_621, "MT": 16_569}, hg19) == ["MT"]
    assert checked({"1": 249_250_621, "MT": 16_571}, hg19) == []
    assert checked({"other": 5}, hg19) == []
    assert checked({}, hg19, "hg19") == []
    for header, named, says in (
        ({"1": 248_956_422, "MT": 16_569}, UNKNOWN, "those of hg38"),
        ({"MT": 16_569}, UNKNOWN, "those of other contigs"),
        ({"chr1": 320_000}, UNKNOWN, "those of other contigs"),
        ({}, "hg38", "its header names hg38"),
    ):
        with pytest.raises(VariantError, match=says):
            checked(header, hg19, named)
    assert checked({"1": 249_250_621}, hg19, "hg38") == []  # lengths count before names


@pytest.mark.parametrize("out", ["o.tsv", "o.vcf.gz", "-"])
def test_a_contig_of_another_length_is_counted_and_the_rest_scored(
    cli: Cli, store: Store, tmp_path: Path, out: str
) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=320000>\n##contig=<ID=2,length=179998>\n"
        f"{FIXED}\n{RECORD}\n2\t34810\tm\tA\tT,<DEL>\t.\t.\t.\n"
    )
    place = "-" if out == "-" else tmp_path / out
    args = ["score", "vcf", path, "--store", store.path, "--out", place]
    done = cli(*args, "--json")
    facts = json.loads(done.stderr if out == "-" else done.stdout)
    assert facts["not_scored"] == {"contig_length": 1, "symbolic": 1}
    assert facts["rows"] == 1
    if out == "-":
        assert "\tSEAL_STATUS=contig_length,symbolic\n" in done.stdout
    if out == "o.tsv":
        assert cli(*args[:-1], tmp_path / "r.zarr", "-q").exit_code == 0
        assert cli("export", tmp_path / "r.zarr", tmp_path / "e.vcf", "-q").exit_code == 0
        assert "\tSEAL_STATUS=contig_length,symbolic\n" in (tmp_path / "e.vcf").read_text()
    anyway = cli(*args, *([] if out == "-" else ["--overwrite"]), "--no-check-assembly", "--json")
    facts = json.loads(anyway.stderr if out == "-" else anyway.stdout)
    assert facts["not_scored"] == {"symbolic": 1}


def test_an_assembly_that_only_the_name_tells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.vcf"
    path.write_text(f"##fileformat=VCFv4.2\n##reference=GRCh38\n{FIXED}\n{RECORD}\n")
    assert VariantSource(path).named_assembly == "hg38"


def test_what_is_lifted_under_an_old_header_is_told_how_to_go_on(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "in.vcf"
    contigs = "##contig=<ID=chr1,length=248956422>"
    path.write_text(f"##fileformat=VCFv4.2\n{contigs}\n{FIXED}\n{RECORD}\n")
    args = ("--store", store.path, "--out", tmp_path / "o.tsv", "-q")
    done = cli("score", "vcf", path, *args)
    assert done.exit_code == 1
    assert "; or go on with --no-check-assembly, as where they are lifted" in done.stderr
    assert cli("score", "vcf", path, *args, "--no-check-assembly").exit_code == 0
    with pytest.raises(VariantError) as caught:
        seal_store.score(store, path)
    assert "`check_assembly=False`" in caught.value.hint
