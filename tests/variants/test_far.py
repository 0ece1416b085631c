"""Variant files and results in a bucket or on a web server: read in parts, as local ones are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

pytest.importorskip("obstore")
pytest.importorskip("moto")
pytest.importorskip("pysam")

import pysam
import pysam.bcftools
from cloud import Proxy, files_handler, put, serving, upload

import seal_store
from seal_store.check.verify import verify
from seal_store.errors import RemoteError, VariantError
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.input import Input
from seal_store.variants.regions import Region, chosen
from seal_store.variants.source import VariantSource, read_variants

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variants of the world, padded to some MiB: plain, BGZF with index, BCF with index."""
    folder = tmp_path_factory.mktemp("far")
    rows = [
        line.split("\t")[:5] for line in world.variants.read_text().splitlines() if line[0] != "#"
    ]
    rows = sorted(
        (r for r in rows if {*r[3], *r[4]} <= set("ACGT,")), key=lambda r: (r[0], int(r[1]))
    )
    lines = ["##fileformat=VCFv4.2", *(f"##padding={'x' * 900}" for _ in range(4_000))]
    lines += [f"##contig=<ID={name}>" for name in sorted({row[0] for row in rows})]
    lines += ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    lines += ["\t".join([*row, ".", ".", "."]) for row in rows]
    plain, packed = folder / "x.vcf", folder / "x.vcf.gz"
    plain.write_text("\n".join([*lines, ""]))
    pysam.tabix_compress(str(plain), str(packed))
    pysam.tabix_index(str(packed), preset="vcf")
    bcf = str(folder / "x.bcf")
    pysam.bcftools.view("-Ob", "-o", bcf, str(plain), catch_stdout=False)
    pysam.bcftools.index(bcf, catch_stdout=False)
    return folder


@pytest.mark.parametrize("name", ["x.vcf", "x.vcf.gz", "x.bcf"])
def test_a_file_in_a_bucket_gives_the_same_alleles(files: Path, bucket: str, name: str) -> None:
    upload(files, f"{bucket}/v")
    far, near = VariantSource(f"{bucket}/v/{name}"), VariantSource(files / name)
    assert far.is_file
    assert not far.is_pipe
    assert list(far.alleles()) == list(near.alleles())
    assert far.sha256 == near.sha256
    assert far.header == near.header
    assert (far.index is None) == (near.index is None)
    regions = _regions(files)
    far, near = (VariantSource(f, regions) for f in (f"{bucket}/v/{name}", files / name))
    assert list(far.alleles()) == list(near.alleles()) != []


def _regions(files: Path) -> list[Region]:
    first = next(iter(read_variants(files / "x.vcf.gz")))
    return chosen((f"{first.contig}:{first.pos}-{first.pos + 2_000}",), ())[0]


def test_a_region_fetches_little_and_has_no_sha256(
    files: Path, bucket: str, counted: Proxy
) -> None:
    upload(files, f"{bucket}/v")
    counted.sent = 0
    source = VariantSource(f"{bucket}/v/x.vcf", _regions(files))
    found = source.alleles()
    assert list(found)
    whole = (files / "x.vcf").stat().st_size
    assert found.provenance()["variants_sha256"] == VariantSource(files / "x.vcf").sha256
    assert counted.sent >= whole
    counted.sent = 0
    indexed = VariantSource(f"{bucket}/v/x.vcf.gz", _regions(files)).alleles()
    assert [a.pos for a in indexed]
    assert indexed.provenance()["variants_sha256"] is None
    assert counted.sent <= 3 << 20


@pytest.mark.slow
def test_scores_of_a_file_and_to_export_in_a_bucket(
    files: Path, bucket: str, store: Store, tmp_path: Path, cli: Cli
) -> None:
    upload(files, f"{bucket}/v")
    vcf, near = f"{bucket}/v/x.vcf.gz", tmp_path / "near.zarr"
    args = ("--store", store.path, "-q", "--device", "cpu")
    for given, out in ((vcf, "far.zarr"), (files / "x.vcf.gz", "near.zarr")):
        done = cli("score", "vcf", given, "--out", tmp_path / out, *args)
        assert done.exit_code == 0, done.output
    found, ours = (seal_store.open_results(tmp_path / n) for n in ("far.zarr", "near.zarr"))
    np.testing.assert_array_equal(found.rows().effect, ours.rows().effect)
    assert found.attributes.variants == vcf
    assert found.attributes.variants_sha256 == ours.attributes.variants_sha256
    divided = ("--workers", "2", "--slices", "2")
    done = cli("score", "vcf", vcf, "--out", tmp_path / "divided.tsv", *args, *divided)
    assert done.exit_code == 0, done.output
    cli("score", "vcf", files / "x.vcf.gz", "--out", tmp_path / "near.tsv", *args)
    assert (tmp_path / "divided.tsv").read_bytes() == (tmp_path / "near.tsv").read_bytes()
    effects = seal_store.score(store, vcf, out=tmp_path / "api.zarr")
    np.testing.assert_array_equal(effects["effect"].values, ours.rows().effect)
    upload(tmp_path / "far.zarr", f"{bucket}/scores.zarr")
    away = seal_store.open_results(f"{bucket}/scores.zarr")
    np.testing.assert_array_equal(away.rows().effect, ours.rows().effect)
    assert verify(f"{bucket}/scores.zarr").ok
    assert cli("inspect", f"{bucket}/scores.zarr").exit_code == 0
    for name in ("x.tsv", "x.bcf"):  # the VCF is found by its address
        for source, folder in ((f"{bucket}/scores.zarr", "away"), (near, "here")):
            (tmp_path / folder).mkdir(exist_ok=True)
            done = cli("export", source, tmp_path / folder / name, "-q")
            assert done.exit_code == 0, done.output
        pair = [_body(tmp_path / folder / name) for folder in ("away", "here")]
        assert pair[0] == pair[1]
        assert len(pair[0]) > 20


def _body(path: Path) -> list[str]:
    """The lines of a table, or the records of a VCF: its header says where it is from."""
    if path.suffix == ".tsv":
        return path.read_text().splitlines()
    with pysam.VariantFile(str(path)) as opened:
        return [str(record) for record in opened]


def test_a_web_server_gives_variants(files: Path) -> None:
    with serving(files_handler(files)) as server:
        far = list(read_variants(f"{server}/x.vcf.gz"))
        assert far == list(read_variants(files / "x.vcf.gz"))
        with pytest.raises(VariantError, match=f"variant file not found: {server}/y.vcf"):
            list(read_variants(f"{server}/y.vcf"))
    with serving(files_handler(files, ranges=False)) as server:
        for name in ("x.vcf", "x.bcf"):
            with pytest.raises(RemoteError, match="does not send parts of files"):
                list(read_variants(f"{server}/{name}"))


def test_a_file_that_is_replaced_while_it_is_read_is_told(files: Path, bucket: str) -> None:
    upload(files, f"{bucket}/v")
    source = Input(f"{bucket}/v/x.vcf")
    with source.opened() as reading:
        reading.read(10)
        data = bytearray((files / "x.vcf").read_bytes())
        data[-1] ^= 1
        put(f"{bucket}/v/x.vcf", bytes(data))
        with pytest.raises(RemoteError, match="x.vcf: is another version by now"):
            reading.read()
