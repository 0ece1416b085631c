"""Haplotypes of samples: their sequences by bcftools, their effects, what is left out."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
import zarr
from click.testing import Result
from interrupted import files
from phased import Row, bases_of, random_rows, snv, written
from seldom import slow

from seal_store.check.verify import verify
from seal_store.errors import InputError, VariantError
from seal_store.reference.fasta import Genome
from seal_store.results.haplotypes import Haplotypes, _fill
from seal_store.run.haplotypes import score_haplotypes
from seal_store.run.haplotypes_job import HaplotypesJob, Prepared
from seal_store.run.haplotypes_values import frame_of
from seal_store.scoring.carried import Rules, copies_of
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.bases import StoreBases
from seal_store.variants.genotypes import Call, Genotypes, whole_sha256
from seal_store.variants.given import given_alleles

Cli = Callable[..., Result]
CPU = ScoreOptions(device="cpu")


def scored(store: Store, vcf: Path, out: Path, **given: Any) -> Haplotypes:
    """The haplotypes of a file, scored in this process."""
    return score_haplotypes(Prepared(HaplotypesJob(store.path, out, vcf, **given), store))


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="no bcftools")
@pytest.mark.parametrize("files", [8, slow(200)])
def test_sequences_are_those_of_bcftools(
    files: int, store: Store, world: World, tmp_path: Path, rng: np.random.Generator
) -> None:
    fasta = tmp_path / "chr1.fa"
    with Genome(world.genome) as genome:
        fasta.write_text(f">chr1\n{genome.fetch('chr1', 0, 320_000).decode()}\n")
    for i in range(files):
        gene = int(rng.integers(1, 4))  # on both strands of chr1
        rows = random_rows(store, gene, rng, int(rng.integers(1, 60)), 1)
        vcf = written(tmp_path / f"{i}.vcf", rows, ["s"])
        frame = frame_of(store, gene)
        copies = copies_of(frame, partial(Genotypes(vcf).within, "chr1"), 1, Rules())
        assert not copies.counts
        for copy in (0, 1):
            out = subprocess.run(
                ["bcftools", "consensus", "-H", str(copy + 1), "-f", str(fasta), str(vcf)],
                capture_output=True,
                check=True,
                text=True,
            )
            sequence = "".join(out.stdout.splitlines()[1:])
            place = int(copies.place[0, copy])
            changes = copies.changes[place] if place >= 0 else ()
            haplotype = frame.haplotype(changes)
            assert haplotype is not None
            left = [c for c in changes if c.start <= frame.tss - 1]
            middle = max([frame.tss, *(c.end for c in left)])
            start = middle + sum(c.net for c in left) - (middle - frame.first)
            assert haplotype.alt.decode() == sequence[start : start + frame.length], (i, copy)


@pytest.fixture
def people(store: Store, tmp_path: Path, rng: np.random.Generator) -> Path:
    rows = random_rows(store, 1, rng, 12, 6)
    return written(tmp_path / "people.vcf", rows, [f"s{i}" for i in range(6)])


def test_copies_share_what_they_have_in_common(store: Store, people: Path, tmp_path: Path) -> None:
    made = scored(store, people, tmp_path / "h.zarr", genes=("GENE02", "GENE03"), options=CPU)
    place, effect = made.column("haplotype_of"), made.column("effect")
    assert place.shape == (2, 6, 2)
    assert len(made) == len(effect) == len(set(place[place >= 0].tolist()))
    copies = made.column("copies")
    np.testing.assert_array_equal(np.bincount(place[place >= 0], minlength=len(made)), copies)
    # one sample alone gives the same
    one = scored(
        store, people, tmp_path / "one.zarr", samples=("s3",), genes=("GENE02",), options=CPU
    )
    for copy in (0, 1):
        mine, theirs = one.column("haplotype_of")[0, 0, copy], place[0, 3, copy]
        assert (mine >= 0) == (theirs >= 0)
        if mine >= 0:
            assert one.column("alleles")[mine] == made.column("alleles")[theirs]
            np.testing.assert_allclose(
                one.column("effect")[mine], effect[theirs], rtol=1e-4, atol=1e-8
            )
    assert verify(made.path).ok
    table = made.dosage("childhood.DFC")
    assert table.shape == (6, 2)
    at = made.column("context_name").tolist().index("childhood.DFC")
    own = [effect[p, at] if p >= 0 else 0 for p in place[0, 3]]
    assert table.loc["s3", "GENE02"] == pytest.approx(np.mean(own), rel=1e-6)
    data = made.to_anndata(("childhood.DFC",))
    np.testing.assert_array_equal(data.layers["childhood.DFC"], table.to_numpy())
    assert list(made.to_anndata("childhood.DFC").layers) == ["childhood.DFC"]


def test_interactions_are_what_alleles_alone_do_not_explain(store: Store, tmp_path: Path) -> None:
    tss, at = bases_of(store, 1)
    rows: list[Row] = []
    for offset in (100, 112, -9_000):
        ref = at(tss + offset)
        rows.append((tss + offset, ref, "CGTA"["ACGT".index(ref)], ["1|0"]))
    vcf = written(tmp_path / "x.vcf", rows, ["s"])
    made = scored(store, vcf, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    (effect,), (interaction,) = made.column("effect"), made.column("interaction")
    variants = [("chr1", pos, ref, alt) for pos, ref, alt, _ in rows]
    scorer = Scorer(store, CPU, "GENE02")
    (alone,) = scorer.score(given_alleles(variants, StoreBases(store)))
    expected = effect - alone.effect.sum(0)
    np.testing.assert_allclose(interaction, expected, atol=2e-4 * np.abs(effect).max())
    assert np.abs(interaction).max() > 0.01 * np.abs(effect).max()  # 12 bp apart they meet
    # far apart, in windows of their own, only the heads can make them meet
    far = written(tmp_path / "far.vcf", [rows[0], rows[2]], ["s"])
    other = scored(store, far, tmp_path / "f.zarr", genes=("GENE02",), options=CPU)
    assert np.abs(other.column("interaction")).max() < np.abs(interaction).max()


def test_what_cannot_be_decided_is_counted(store: Store, tmp_path: Path) -> None:
    tss, at = bases_of(store, 1)

    deletion = at(tss + 500, 6)
    wrong = next(b for b in "ACGT" if b not in at(tss + 900))
    rows = [
        snv(store, 1, 5, "0|0", "0|0", "0|0", "./1", "0"),
        snv(store, 1, 10, "0|1", "0/1", "1/1", ".|1", "1"),
        snv(store, 1, 300, "1|1", "0|1", "0|0", "0|0", "0"),
        (tss + 500, deletion, deletion[0], ["1|0", "0|0", "0|0", "0|0", "0"]),
        snv(store, 1, 503, "1|0", "0|1", "0|0", "0|0", "0"),
        (tss + 700, at(tss + 700), "<DEL>", ["0|1", "0|0", "0|0", "0|0", "0"]),
        (tss + 900, wrong, at(tss + 900), ["1|1", "0|0", "0|0", "0|0", "0"]),
    ]
    names = ["a", "b", "c", "d", "man"]
    vcf = written(tmp_path / "x.vcf", rows, names)
    made = scored(store, vcf, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    assert made.attributes.counts == {
        "missing_genotype": 2,
        "overlapping": 1,
        "ref_mismatch": 2,
        "symbolic": 1,
        "unphased": 2,
    }
    place, alleles = made.column("haplotype_of")[0], made.column("alleles")

    def carried(sample: str, copy: int) -> int:
        found = place[names.index(sample), copy]
        return len(alleles[found].split(";")) if found >= 0 else int(found)

    assert [carried("a", 0), carried("a", 1)] == [2, 2]
    assert [carried("b", 0), carried("b", 1)] == [-1, 2]
    assert [carried("c", 0), carried("c", 1)] == [1, 1]
    assert [carried("d", 0), carried("d", 1)] == [-1, 1]
    assert [carried("man", 0), carried("man", 1)] == [1, -3]
    strict = scored(
        store,
        vcf,
        tmp_path / "s.zarr",
        genes=("GENE02",),
        options=CPU,
        rules=Rules(unphased="strict"),
    )
    assert strict.column("haplotype_of")[0, [1, 3]].tolist() == [[-2, -2], [-2, -2]]
    assert strict.attributes.counts["genes_left_out"] == 2
    assert np.isnan(strict.dosage("childhood.DFC").loc["b", "GENE02"])


def test_a_copy_of_a_part_of_the_windows_is_none(store: Store, tmp_path: Path) -> None:
    """A man's genotypes around the end of a PAR, and a woman's."""
    rows = [
        snv(store, 1, -3_000, "0|1", "0|1"),
        snv(store, 1, -2_000, "1|0", "1|0"),
        snv(store, 1, 2_000, "1", "1|1"),
        snv(store, 1, 3_000, "0", "0|1"),
    ]
    vcf = written(tmp_path / "x.vcf", rows, ["man", "woman"])
    made = scored(store, vcf, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    place, alleles = made.column("haplotype_of")[0].tolist(), made.column("alleles").tolist()
    carried = [[alleles[p].count(">") if p >= 0 else p for p in copies] for copies in place]
    assert carried == [[2, -3], [2, 3]]
    assert made.attributes.counts == {"partial_copy": 1}


def test_phase_sets_that_break(store: Store, tmp_path: Path) -> None:
    tss, at = bases_of(store, 1)
    rows = []
    for offset, sets in ((10, ("7", "7")), (900, ("7", "8"))):
        ref = at(tss + offset)
        calls = [f"0|1:{s}" for s in sets]
        rows.append((tss + offset, ref, "CGTA"["ACGT".index(ref)], calls))
    vcf = written(tmp_path / "x.vcf", rows, ["whole", "broken"], "GT:PS")
    found = {}
    for rule in ("strict", "ignore"):
        made = scored(
            store,
            vcf,
            tmp_path / f"{rule}.zarr",
            genes=("GENE02",),
            options=CPU,
            rules=Rules(phase_sets=rule),
        )
        found[rule] = made.column("haplotype_of")[0].tolist()
    assert found == {"strict": [[-1, 0], [-2, -2]], "ignore": [[-1, 0], [-1, 0]]}


def test_what_is_not_called_is_never_guessed(store: Store, tmp_path: Path) -> None:
    """A bare dot, three copies, an allele that the record has not, a record without genotypes."""
    rows = [
        snv(store, 1, 10, "1|1", "1|1", "0|1", "0|1"),
        snv(store, 1, 300, ".", "0|0|1", "0|5", "0|1"),
    ]
    vcf = written(tmp_path / "x.vcf", rows, list("abcd"))
    bare = [line for line in gzip.decompress(vcf.read_bytes()).decode().splitlines() if line]
    ref = bases_of(store, 1)[1](int(store.column("tss")[1]) + 500)
    fields = ["chr1", str(store.column("tss")[1] + 500), ".", ref, "CGTA"["ACGT".index(ref)]]
    bare.append("\t".join([*fields, ".", ".", ".", "DP", *"7777"]))
    bare.insert(1, '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="depth">')
    path = tmp_path / "y.vcf"
    path.write_text("\n".join(bare) + "\n")
    vcf = Path(pysam.tabix_index(str(path), preset="vcf"))
    how: dict[str, Any] = {"genes": ("GENE02",), "options": CPU}
    made = scored(store, vcf, tmp_path / "h.zarr", **how)
    assert made.column("haplotype_of")[0].tolist() == [[0, 0], [0, 0], [-1, 0], [-1, 1]]
    assert made.attributes.counts == {"missing_genotype": 2 + 2 + 1 + 8}
    strict = scored(store, vcf, tmp_path / "s.zarr", rules=Rules(missing="strict"), **how)
    assert strict.column("haplotype_of")[0].tolist() == [[-2, -2]] * 4
    assert len(strict) == 0  # what nobody has is not scored
    assert strict.attributes.counts["genes_left_out"] == 4


@pytest.mark.parametrize("kind", ["Integer", "String", ""])
def test_phase_sets_are_text_or_missing_too(store: Store, tmp_path: Path, kind: str) -> None:
    """As their header has it, or has it not; alleles without a set are one."""
    rows = [
        snv(store, 1, 10, "0|1:7", "0|1:7", "0|1:.", "0|1:."),
        snv(store, 1, 900, "0|1:7", "0|1:8", "0|1:8", "0|1:."),
    ]
    vcf = written(tmp_path / "x.vcf", rows, list("abcd"), "GT:PS")
    text = gzip.decompress(vcf.read_bytes()).decode()
    lines = text.replace(
        'Number=1,Type=Integer,Description="Phase', f'Number=1,Type={kind},Description="Phase'
    )
    kept = [line for line in lines.splitlines() if kind or "ID=PS" not in line]
    path = tmp_path / "y.vcf"
    path.write_text("\n".join(kept) + "\n")
    vcf = Path(pysam.tabix_index(str(path), preset="vcf"))
    made = scored(store, vcf, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    assert made.column("haplotype_of")[0].tolist() == [[-1, 0], [-2, -2], [-2, -2], [-1, 0]]


def test_a_file_of_another_assembly_is_refused(cli: Cli, store: Store, tmp_path: Path) -> None:
    vcf = written(tmp_path / "x.vcf", [snv(store, 1, 10, "0|1")], ["s"])
    text = gzip.decompress(vcf.read_bytes()).decode()
    path = tmp_path / "y.vcf"
    path.write_text(text.replace("length=320000", "length=249250621"))
    other = pysam.tabix_index(str(path), preset="vcf")
    args = ["score", "haplotypes", other, "--store", store.path, "--out", tmp_path / "h.zarr"]
    refused = cli(*args, "--device", "cpu", "-q")
    assert refused.exit_code == 1
    assert "##contig lines are those of" in refused.stderr
    assert "--no-check-assembly" in refused.stderr
    done = cli(*args, "--device", "cpu", "-q", "--no-check-assembly", "--gene", "GENE02")
    assert done.exit_code == 0, done.output


def test_contigs_that_the_file_has_not_are_left_out(store: Store, tmp_path: Path) -> None:
    """Without a record, or of another length beside one that has the same."""
    contigs = store.column("contig")
    other = next(g for g in range(len(store)) if contigs[g] != "chr1")
    genes = ("GENE02", str(store.gene_id[other]))
    vcf = written(tmp_path / "x.vcf", [snv(store, 1, 10, "0|1", "0|0")], list("ab"))
    made = scored(store, vcf, tmp_path / "h.zarr", genes=genes, options=CPU)
    assert made.column("haplotype_of").tolist() == [[[-1, 0], [-1, -1]], [[-2, -2], [-2, -2]]]
    assert made.attributes.counts == {"no_records": 2}
    assert np.isnan(made.dosage("childhood.DFC").to_numpy()[:, 1]).all()
    lines = gzip.decompress(vcf.read_bytes()).decode().splitlines()
    lines.insert(1, f"##contig=<ID={contigs[other]},length=77>")
    path = tmp_path / "y.vcf"
    path.write_text("\n".join(lines) + "\n")
    vcf = Path(pysam.tabix_index(str(path), preset="vcf"))
    made = scored(store, vcf, tmp_path / "o.zarr", genes=genes, options=CPU)
    assert made.attributes.counts == {"contig_length": 2}


@pytest.mark.parametrize("gene", [1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_deletion_brings_in_alleles_from_beyond_the_windows(
    store: Store, tmp_path: Path, gene: int, side: int
) -> None:
    """20 bases near the TSS; an SNV 9 bases beyond the windows, another beyond reach."""
    tss, at = bases_of(store, gene)
    frame = frame_of(store, gene)
    edge = frame.first if side < 0 else frame.first + frame.length - 1  # 0-based
    deleted = at(tss + side * 500, 21)
    rows: list[Row] = [(tss + side * 500, deleted, deleted[0], ["1|0", "1|0"])]
    for beyond in (9, 25):
        pos = edge + 1 + side * beyond
        rows.append((pos, at(pos), "CGTA"["ACGT".index(at(pos))], ["1|0", "0|1"]))
    vcf = written(tmp_path / "x.vcf", rows, list("ab"))
    copies = copies_of(frame, partial(Genotypes(vcf).within, "chr1"), 2, Rules())
    assert [len(changes) for changes in copies.changes] == [1, 2] or [
        len(changes) for changes in copies.changes
    ] == [2, 1]
    place = copies.place.tolist()
    assert (place[0][1], place[1][1]) == (-1, -1)  # beyond the windows of a copy as long as REF
    longest = max(copies.changes, key=len)
    assert place[0][0] == copies.changes.index(longest)
    haplotype = frame.haplotype(longest)
    assert haplotype is not None
    start = tss + side * 500  # the base that is kept, 1-based
    bases = at(frame.first - 30, frame.length + 62)  # from 0-based first - 31 on
    cut = start + 1 - (frame.first - 30)
    bases = bases[:cut] + bases[cut + 20 :]
    found = haplotype.alt.decode()
    begin = 31 if side > 0 else 11
    differs = [i for i, (x, y) in enumerate(zip(found, bases[begin:], strict=False)) if x != y]
    assert differs == [frame.length - 1 - 11 if side > 0 else 11]


@pytest.mark.parametrize("rules", [Rules(), Rules("strict", "strict", "strict")])
def test_what_is_told_of_a_sample_does_not_depend_on_others(
    store: Store, tmp_path: Path, rng: np.random.Generator, rules: Rules
) -> None:
    """Deletions of some, and beyond the windows genotypes of every kind."""
    gene, names = 2, [f"s{i}" for i in range(8)]
    tss, at = bases_of(store, gene)
    frame = frame_of(store, gene)
    edges = frame.first + 1, frame.first + frame.length
    calls = [*(["0|0"] * 4), "0|1", "1|0", "1|1", "0/1", "1/1", ".|.", ".|1", "0|.", "1", "0"]

    def called(pos: int) -> list[str]:
        sets = rng.integers(1, 3, len(names)).tolist()
        return [f"{rng.choice(calls)}:{own}" for own in sets]

    rows: list[Row] = []
    for side, edge in zip((-1, 1), edges, strict=True):
        for pos in (tss + side * 3_000 + rng.integers(0, 90, 4) * 30).tolist():
            ref = at(pos, int(rng.integers(2, 30)))
            carried = [f"{rng.choice(['0|0', '0|1', '1|0'])}:1" for _ in names]
            rows.append((pos, ref, ref[0], carried))
        for beyond in rng.permutation(np.arange(-40, 140, 5))[:16].tolist():
            pos = edge + side * beyond
            length = int(rng.choice([1, 1, 4]))
            ref = at(pos, length)
            alt = ref[0] if length > 1 else "CGTA"["ACGT".index(ref)]
            rows.append((pos, ref, alt, called(pos)))
    rows.append((edges[0] - 60, at(edges[0] - 60), "<DEL>", called(0)))
    vcf = written(tmp_path / "x.vcf", rows, names, form="GT:PS")

    def carried(*samples: str) -> tuple[list[object], Counter[str]]:
        within = partial(Genotypes(vcf, samples).within, "chr1")
        found = copies_of(frame, within, len(samples), rules)
        own = [[found.changes[p] if p >= 0 else p for p in two] for two in found.place.tolist()]
        return own, found.counts

    together, counts = carried(*names)
    alone = [carried(name) for name in names]
    assert together == [own for (own,), _ in alone]
    assert counts == sum((found for _, found in alone), Counter())
    assert counts["missing_genotype"]
    assert counts["partial_copy"]


def test_a_record_that_reaches_into_the_windows_by_its_end_is_read_once(store: Store) -> None:
    """An index finds it by END, once for the windows and once beyond them."""
    tss, at = bases_of(store, 2)
    frame = frame_of(store, 2)
    one, set_ = np.array([[1, 0]], np.int16), np.zeros(1, np.int64)
    phased = np.ones(1, bool)
    reaching = Call(frame.first - 20, at(frame.first - 20), ("<DEL>",), one, phased, set_)
    ref = at(tss - 500, 90)
    deletion = Call(tss - 500, ref, (ref[0],), one, phased, set_)

    def within(first: int, last: int) -> list[Call]:
        return [reaching, *([deletion] if last > tss - 500 else [])]

    copies = copies_of(frame, within, 1, Rules())
    assert copies.counts == {"symbolic": 1}
    assert copies.place.tolist() == [[0, -1]]


def test_the_command(cli: Cli, store: Store, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "h.zarr"
    args = ["score", "haplotypes", people, "--store", store.path, "--out", out, "--gene", "GENE02"]
    done = cli(*args, "--samples", "s1", "--device", "cpu", "-q")
    assert done.exit_code == 0, done.output
    assert "of 1 gene, 1 sample\n" in done.stdout
    assert Haplotypes(out).column("sample").tolist() == ["s1"]
    assert repr(Haplotypes(out)).startswith(f"<seal_store Haplotypes {out}>\n  haplotypes  ")
    assert "of 1 gene" in Haplotypes(out)._repr_html_()
    again = cli(*args, "--device", "cpu", "-q")
    assert "exists already" in again.stderr
    unknown = cli(*args, "--overwrite", "--samples", "nobody", "--device", "cpu", "-q")
    assert "no sample 'nobody'; the file has " in unknown.stderr
    both = cli(*args, "--overwrite", "--samples", "s0,s1", "--device", "cpu", "-q")
    assert "no sample 's0,s1'; give --samples for each of several" in both.stderr
    near = cli(*args, "--overwrite", "--samples", "S1", "--device", "cpu", "-q")
    assert "no sample 'S1'; nearest: s1" in near.stderr


def test_inspect_says_what_is_there_and_what_was_left_out(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    rows = [snv(store, 1, 5, "0|1", "0/1"), snv(store, 1, 40, "1|1", "0|0")]
    vcf = written(tmp_path / "p.vcf", rows, ["known", "unsure"])
    out = tmp_path / "h.zarr"
    scored(store, vcf, out, genes=("GENE02",), options=CPU)
    facts = json.loads(cli("inspect", out, "--json").stdout)
    assert (facts["kind"], facts["scheme"]) == ("haplotypes", "grid")
    assert (facts["genes"], facts["samples"], facts["haplotypes"]) == (1, 2, 2)
    assert facts["copies_with_alleles"] == 2
    assert facts["store"]["sha256"] == store.sha256
    assert [(own["reason"], own["count"]) for own in facts["left_out"]] == [("unphased", 1)]
    assert {own["name"] for own in facts["arrays"]} >= {"effect", "interaction", "sample"}
    text = cli("inspect", out).stdout
    assert "\n  unphased  1  heterozygous and not phased: its copy is not known\n" in text


@pytest.mark.parametrize("step", [(), ("--plan",), ("--finalize",), ("--shard", "0")])
def test_an_output_in_the_store_is_refused(
    step: tuple[str, ...], cli: Cli, store: Store, people: Path
) -> None:
    before = files(store.path)  # type: ignore[arg-type]
    args = ["score", "haplotypes", people, "--store", store.path, "--device", "cpu", *step]
    inside = cli(*args, "--out", store.path / "h.zarr")
    own = cli(*args, "--out", store.path)
    said = f"{store.path / 'h.zarr'} lies in the store {store.path}; choose another --out"
    assert inside.stderr == f"seal-store: error: {said}\n"
    assert "is the store itself" in own.stderr
    assert (inside.exit_code, own.exit_code) == (1, 1)
    assert files(store.path) == before  # type: ignore[arg-type]


def test_samples_that_carry_nothing(store: Store, tmp_path: Path) -> None:
    tss, at = bases_of(store, 1)
    ref = at(tss)
    vcf = written(tmp_path / "x.vcf", [(tss, ref, "CGTA"["ACGT".index(ref)], ["0|0"])], ["s"])
    made = scored(store, vcf, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    assert len(made) == 0
    assert made.column("haplotype_of").tolist() == [[[-1, -1]]]
    assert made.dosage("childhood.DFC").to_numpy().tolist() == [[0]]


def test_a_damaged_file_is_named(store: Store, people: Path, tmp_path: Path) -> None:
    made = scored(store, people, tmp_path / "h.zarr", genes=("GENE02",), options=CPU)
    path = Path(made.path) / "haplotype_of/c/0/0/0"  # type: ignore[arg-type]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = verify(made.path)
    assert found.kind == "haplotypes"
    assert {fault.file for fault in found.faults} == {"haplotype_of/c/0/0/0"}


def test_a_file_that_does_not_serve(store: Store, people: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "d.vcf.gz"
    content = people.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    shutil.copy(f"{people}.tbi", f"{damaged}.tbi")
    with pytest.raises(VariantError, match="cannot be read"):
        whole_sha256(damaged)
    with pytest.raises(VariantError, match="cannot be read"):
        scored(store, damaged, tmp_path / "o.zarr", options=CPU)
    assert not (tmp_path / "o.zarr.partial").exists()
    bare = tmp_path / "b.vcf.gz"
    bare.write_bytes(content)
    with pytest.raises(VariantError, match="has no index"):
        Genotypes(bare)
    text = gzip.decompress(content)
    for name, written_as, says in (
        ("p.vcf", text, f"`bgzip -c {tmp_path}/p.vcf > NEW.vcf.gz`, then `tabix -p vcf NEW"),
        ("g.vcf.gz", gzip.compress(text), f"`gunzip -c {tmp_path}/g.vcf.gz | bgzip > NEW.vcf.gz`"),
    ):
        (tmp_path / name).write_bytes(written_as)
        with pytest.raises(VariantError, match="not .*BGZF, which alone can have") as caught:
            Genotypes(tmp_path / name)
        assert says in caught.value.hint
    with pytest.raises(VariantError, match="not found"):
        Genotypes(tmp_path / "none.vcf.gz")
    with pytest.raises(InputError, match="anchored at the TSS"):
        scored(store, people, tmp_path / "o.zarr", options=ScoreOptions(scheme="centered"))


@pytest.mark.parametrize("lengths", [(3, 3, 3), (9,), (0, 8, 1), (1,) * 9, (4, 4, 1), (9, 0)])
def test_parts_of_any_length_fill_an_array(lengths: Sequence[int], tmp_path: Path) -> None:
    values = np.arange(18).reshape(9, 2)
    array = zarr.create_array(tmp_path, shape=values.shape, chunks=(4, 2), dtype=values.dtype)
    _fill(array, np.split(values, np.cumsum(lengths)[:-1]))
    np.testing.assert_array_equal(np.asarray(array[:]), values)
