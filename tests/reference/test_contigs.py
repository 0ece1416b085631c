"""Names of contigs, and the lengths that tell an assembly."""

from __future__ import annotations

import pytest

from seal_store.common.files import resource_table
from seal_store.reference.contigs import (
    assembly_of_lengths,
    assembly_of_name,
    assembly_of_text,
    called,
    differ,
    resolve_contig,
)

NAMES = [
    ("chr1", "1", "NC_000001.10", "CM000663.1"),
    ("chr1", "1", "NC_000001.11", "CM000663.2"),
    ("chr1", "1", "NC_060925.1", "CP068277.2"),
    ("chrX", "X", "NC_000023.11", "CM000685.2"),
    ("chrM", "MT", "NC_012920.1", "J01415.2"),
]


@pytest.mark.parametrize("names", NAMES, ids=[names[2] for names in NAMES])
def test_every_name_of_a_chromosome_finds_every_other(names: tuple[str, ...]) -> None:
    for own in names:
        for asked in names:
            assert resolve_contig(asked, {own, "chr22", "22x"}) == own


@pytest.mark.parametrize(
    ("asked", "known", "own"),
    [
        ("chrMT", ["chrM"], "chrM"),
        ("M", ["MT"], "MT"),
        ("CHR7", ["chr7"], "chr7"),
        ("chrx", ["X"], "X"),
        ("chr1_KI270706v1_random", ["chr1"], None),
        ("NC_000001.10", ["NC_000001.9"], None),
        ("chr23", ["chrX"], None),
        ("GL000192.1", ["chrGL000192.1"], "chrGL000192.1"),
        ("", ["chr"], "chr"),
        ("1", ["chr10", "chr11"], None),
    ],
)
def test_names_by_hand(asked: str, known: list[str], own: str | None) -> None:
    assert resolve_contig(asked, known) == own


def test_an_exact_name_goes_before_its_alias() -> None:
    assert resolve_contig("1", {"chr1": 0, "1": 0}) == "1"
    assert resolve_contig("chr1", ["NC_000001.10", "1"]) == "1"


@pytest.mark.parametrize(
    ("name", "assembly"),
    [
        ("NC_000001.10", "hg19"),
        ("CM000663.1", "hg19"),
        ("NC_000001.11", "hg38"),
        ("NC_060925.1", "T2T-CHM13"),
        ("CP086569.2", "T2T-CHM13"),
        ("NC_012920.1", "unknown"),
        ("chr1", "unknown"),
    ],
)
def test_the_assembly_of_an_accession(name: str, assembly: str) -> None:
    assert assembly_of_name(name) == assembly


HG19 = {"chr1": 249_250_621, "chr2": 243_199_373, "chrX": 155_270_560}


@pytest.mark.parametrize(
    ("lengths", "assembly"),
    [
        (HG19, "hg19"),
        ({"1": 248_956_422}, "hg38"),
        ({"NC_060947.1": 154_259_566}, "T2T-CHM13"),
        ({**HG19, "chrM": 16_571, "chrUn": 5}, "hg19"),
        ({**HG19, "chrY": 57_227_415}, "hg19"),
        ({"chr1": 249_250_621, "chr2": 242_193_529}, "unknown"),
        ({"chr1": 249_250_620}, "unknown"),
        ({"chr1": 249_250_621, "chr2": 5, "chr3": 6}, "unknown"),
        ({"chrM": 16_569}, "unknown"),
        ({"contig": 249_250_621}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_assembly_of_lengths(lengths: dict[str, int], assembly: str) -> None:
    assert assembly_of_lengths(lengths) == assembly


@pytest.mark.parametrize(
    ("text", "assembly"),
    [
        ("#!genome-build GRCh38.p14", "hg38"),
        ("##description: annotation of the human genome (GRCh37), version 19", "hg19"),
        ("##reference=file:///ref/hs37d5.fa", "hg19"),
        ("#!genome-build T2T-CHM13v2.0", "T2T-CHM13"),
        ("version 45 (Ensembl 111) of GRCh38 mapped to GRCh37", "unknown"),
        ("#!genome-build GRCm39", "unknown"),
    ],
)
def test_the_assembly_that_a_header_names(text: str, assembly: str) -> None:
    assert assembly_of_text(text) == assembly


def test_two_assemblies_differ_only_if_both_are_known() -> None:
    assert differ("hg19", "hg38")
    assert not differ("hg19", "hg19")
    assert not differ("hg19", "unknown")
    assert called("hg38") == "hg38 (GRCh38)"
    assert called("unknown") == "an unknown assembly"


def test_the_table_has_25_chromosomes_of_three_assemblies() -> None:
    rows = resource_table("assemblies")
    chromosomes = [*map(str, range(1, 23)), "X", "Y", "MT"]
    for assembly in ("hg19", "hg38", "T2T-CHM13"):
        own = [row for row in rows if row["assembly"] == assembly]
        assert [row["name"] for row in own] == chromosomes
        assert all(row["genbank"] for row in own)
    assert len(rows) == 75
    nuclear = [row for row in rows if row["name"] != "MT"]
    assert len({(row["name"], row["length"]) for row in nuclear}) == 72
    accessions = [row[key] for row in nuclear for key in ("refseq", "genbank")]
    assert len(set(accessions)) == 144
    sums = {
        assembly: sum(int(row["length"]) for row in nuclear if row["assembly"] == assembly)
        for assembly in ("hg19", "hg38", "T2T-CHM13")
    }
    # totals of the primary chromosomes, as published with each assembly
    assert sums == {"hg19": 3_095_677_412, "hg38": 3_088_269_832, "T2T-CHM13": 3_117_275_501}
