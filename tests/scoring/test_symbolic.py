"""`<DEL>`, `<DUP>` and `<INV>` score as the same events written in bases, in every output."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pysam
import pysam.bcftools
import pytest
import reference
import torch
from click.testing import Result

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.model.config import CnnConfig
from seal_store.model.heads import load_heads
from seal_store.results.group import Results
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store.layout import SEQUENCE_LENGTH
from seal_store.store.store import Store, sequence_start
from seal_store.synthetic import random_bases, random_weights, write_fasta, write_head_set
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]

FIRST, SECOND, LENGTH = 40_000, 100_000, 140_000
GENOME = random_bases(LENGTH, 11).decode()
SCHEMES = pytest.mark.parametrize("scheme", ["grid", "centered"])
HEAD = (
    f"##fileformat=VCFv4.2\n##contig=<ID=chr1,length={LENGTH}>\n"
    '##ALT=<ID=DEL,Description="d">\n##ALT=<ID=DUP,Description="d">\n'
    '##ALT=<ID=INV,Description="i">\n'
    '##INFO=<ID=END,Number=1,Type=Integer,Description="e">\n'
    '##INFO=<ID=SVLEN,Number=A,Type=Integer,Description="l">\n'
    '##INFO=<ID=IMPRECISE,Number=0,Type=Flag,Description="i">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)

Event = tuple[str, int, int]
"""ALT, POS and END."""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> BuildOptions:
    """Two genes on chr1, one a strand, whose sequences do not meet."""
    folder = tmp_path_factory.mktemp("structural")
    config = CnnConfig(channels=(4,) * 6, hidden=8, features=3)
    write_fasta(folder / "g.fa", {"chr1": GENOME.encode()})
    lines = ["id,symbol,seqnames,strand,CAGE_representative_TSS,type"]
    lines += [f"G1,ONE,chr1,+,{FIRST},t", f"G2,TWO,chr1,-,{SECOND},t"]
    (folder / "genes.csv").write_text("\n".join(lines) + "\n")
    torch.save(random_weights(config, 3), folder / "cnn.pth")
    write_head_set(folder / "heads", "h", ("one", "two"), 30, 5, 4)
    paths = (folder / name for name in ("g.fa", "genes.csv", "cnn.pth"))
    return BuildOptions(*paths, (folder / "heads",), folder / "s.zarr", command="tests")


@pytest.fixture(scope="module")
def store(options: BuildOptions) -> Store:
    return build(options, "cpu")


def symbolic(event: Event, number: int = 0, info: str = "END={end}") -> str:
    alt, pos, end = event
    size = end - pos
    told = info.format(end=end, size=size, minus=-size)
    return f"chr1\t{pos}\tv{number}\tN\t{alt}\t.\t.\t{told}\n"


def in_bases(event: Event, number: int = 0, *, after: bool = False) -> str:
    """The event as a caller that writes bases has it; the copy of a duplication may be `after`."""
    alt, pos, end = event
    before, own = GENOME[pos - 1], GENOME[pos:end]
    turned = "".join({"A": "T", "C": "G", "G": "C", "T": "A"}[base] for base in reversed(own))
    if alt == "<DEL>":
        ref, alt = before + own, before
    elif alt == "<INV>":
        ref, alt = before + own, before + turned
    elif after:
        pos, ref, alt = end, own[-1], own[-1] + own
    else:
        ref, alt = before, before + own
    return f"chr1\t{pos}\tv{number}\t{ref}\t{alt}\t.\t.\t.\n"


def written(path: Path, *lines: str) -> Path:
    path.write_text(HEAD + "".join(lines))
    return path


def score(store: Store, path: Path, **options: Any) -> tuple[Rows, Scorer]:
    scorer = Scorer(store, ScoreOptions(device="cpu", **options))
    parts = list(scorer.score(read_variants(path)))
    columns = {n: np.concatenate([p.columns[n] for p in parts]) for n in parts[0].columns}
    return Rows(columns, np.concatenate([p.effect for p in parts])), scorer


def events(rng: np.random.Generator, count: int, longest: int = 6_000) -> list[Event]:
    found = []
    for _ in range(count):
        tss = int(rng.choice([FIRST, SECOND]))
        pos = tss + int(rng.integers(-19_000, 13_000))  # END is in range too
        end = pos + int(rng.integers(2, rng.choice([20, 260, longest])))
        found.append((str(rng.choice(["<DEL>", "<DUP>", "<DUP:TANDEM>", "<INV>"])), pos, end))
    return found


def tss_of(event: Event) -> int:
    return min(FIRST, SECOND, key=lambda tss: abs(tss - event[1]))


def is_after(event: Event, scheme: str) -> bool:
    """Whether `grid` puts the second copy after the first: it lies right of the TSS."""
    return scheme == "grid" and event[1] >= tss_of(event)


@SCHEMES
@pytest.mark.parametrize("normalize", [False, True])
def test_effects_are_those_of_the_bases(
    store: Store, scheme: str, normalize: bool, rng: np.random.Generator, tmp_path: Path
) -> None:
    """Byte by byte, with the same rows and reasons."""
    own = events(rng, 40)
    told = [str(rng.choice(["END={end}", "SVLEN={minus};END={end}", "SVLEN={size}"])) for _ in own]
    lines = [symbolic(event, i, told[i]) for i, event in enumerate(own)]
    how = {"scheme": scheme, "normalize": normalize, "batch": 1}
    found, scorer = score(store, written(tmp_path / "s.vcf", *lines), **how)
    lines = [in_bases(e, i, after=is_after(e, scheme)) for i, e in enumerate(own)]
    if normalize:
        lines = [in_bases(e, i) for i, e in enumerate(own) if e[0][:4] != "<DUP"]
    expected, other = score(store, written(tmp_path / "b.vcf", *lines), **how)
    rows = np.arange(len(found))
    if normalize:  # a duplication right of the TSS has its copy at the other end
        rows = np.flatnonzero(np.isin(found.columns["alt"], ["<DEL>", "<INV>"]))
    assert found.columns["id"][rows].tolist() == expected.columns["id"].tolist()
    np.testing.assert_array_equal(found.effect[rows], expected.effect)
    assert (np.abs(expected.effect).max(1) > 0).mean() > 0.9
    for name in ("gene_id", "strand", "status", "ref_match"):
        np.testing.assert_array_equal(found.columns[name][rows], expected.columns[name])
    if not normalize:
        assert dict(scorer.counts.not_scored) == dict(other.counts.not_scored)
    by_id = {f"v{i}": event for i, event in enumerate(own)}
    for i, name in enumerate(found.columns["id"].tolist()):
        alt, pos, end = by_id[name]
        shown = [found.columns[n][i] for n in ("pos", "ref", "alt", "end", "dist_to_tss")]
        assert shown == [pos, "N", alt, end, pos - tss_of(by_id[name])]
    kind = {"<DEL>": "deletion", "<INV>": "mnv", "<DUP>": "insertion", "<DUP:TANDEM>": "insertion"}
    assert [kind[alt] for alt in found.columns["alt"].tolist()] == found.columns["kind"].tolist()


@pytest.mark.slow
def test_effects_equal_the_slow_reference(
    options: BuildOptions, store: Store, rng: np.random.Generator, tmp_path: Path
) -> None:
    alleles = ((e, in_bases(e).split("\t")) for e in events(rng, 12, 1_500) if e[2] - e[1] > 1)
    own = [e for e, line in alleles if line[3] != line[4]]  # an inverted palindrome is none
    found, _ = score(store, written(tmp_path / "s.vcf", *map(symbolic, own)))
    heads = [
        {"layers.0.weight": s.w1, "layers.0.bias": s.b1, "layers.2.weight": s.w2}
        | {"layers.2.bias": s.b2}
        for s in load_heads(options.heads[0])
    ]
    tensors = [{k: torch.from_numpy(v) for k, v in head.items()} for head in heads]
    genes = {FIRST: ("chr1", FIRST, 1, "G1"), SECOND: ("chr1", SECOND, -1, "G2")}
    state, genome = store.cnn().state(), {"chr1": GENOME}
    for event, effect in zip(own, found.effect, strict=True):
        line = in_bases(event, after=is_after(event, "grid")).split("\t")
        gene = genes[tss_of(event)]
        expected = reference.grid_effect(
            state, tensors, genome, gene, int(line[1]), line[3], line[4]
        )
        # of a long one much moves, and noise is relative to that, not to what is left of it
        assert np.abs(effect - expected).max() <= 5e-6 + 1e-3 * np.abs(expected).max()


@SCHEMES
@pytest.mark.parametrize("tss", [FIRST, SECOND])
@pytest.mark.parametrize("alt", ["<DEL>", "<DUP>", "<INV>"])
def test_an_event_fits_to_the_last_base(
    store: Store, scheme: str, tss: int, alt: str, tmp_path: Path
) -> None:
    """Of the stored sequence; one base more and it does not, at either end."""
    start = sequence_start(tss) + 1  # 1-based
    last = start + SEQUENCE_LENGTH - 1
    inner = 19_990  # within the distance of a gene
    places = [(start, tss - inner), (start - 1, tss - inner)]
    places += [(tss + inner, last), (tss + inner, last + 1)]
    near = [(alt, pos, end) for pos, end in places]
    _, scorer = score(
        store, written(tmp_path / "s.vcf", *map(symbolic, near)), scheme=scheme, max_distance=20_000
    )
    outside = scorer.counts.not_scored["sv_outside"]
    assert outside == 2
    assert scorer.counts.alleles_scored + scorer.counts.not_scored.total() == 4
    lines = [in_bases(near[0]), in_bases(near[2])]
    _, other = score(store, written(tmp_path / "b.vcf", *lines), scheme=scheme, max_distance=20_000)
    del scorer.counts.not_scored["sv_outside"]
    assert scorer.counts.not_scored == other.counts.not_scored


def test_a_duplication_is_seen_from_the_tss_alike_on_both_sides(
    options: BuildOptions, store: Store, tmp_path: Path
) -> None:
    """In a genome that is turned around every effect is the same: no side is preferred."""
    turned = GENOME[::-1].translate(str.maketrans("ACGT", "TGCA"))
    write_fasta(tmp_path / "g.fa", {"chr1": turned.encode()})
    lines = ["id,symbol,seqnames,strand,CAGE_representative_TSS,type"]
    # windows are [centre - 1000, centre + 1000): turned around they are centred one base before
    lines += [f"G1,ONE,chr1,-,{LENGTH - FIRST},t", f"G2,TWO,chr1,+,{LENGTH - SECOND},t"]
    (tmp_path / "genes.csv").write_text("\n".join(lines) + "\n")
    mirrored = build(
        replace(
            options,
            genome=tmp_path / "g.fa",
            genes=tmp_path / "genes.csv",
            out=tmp_path / "s.zarr",
        ),
        "cpu",
    )
    own = [
        ("<DUP>", tss + distance, tss + distance + size)
        for tss in (FIRST, SECOND)
        for distance in (-9_000, 500, 9_000)
        for size in (300, 5_000)
    ]
    there = [(alt, LENGTH - end, LENGTH - pos) for alt, pos, end in own]
    found, _ = score(store, written(tmp_path / "s.vcf", *map(symbolic, own)))
    other, _ = score(mirrored, written(tmp_path / "m.vcf", *map(symbolic, there)))
    scale = np.abs(found.effect).max(1, keepdims=True)
    assert (np.abs(found.effect - other.effect) <= 1e-3 * scale + 1e-7).all()


def test_a_record_base_that_is_not_the_genomes_is_flagged(store: Store, tmp_path: Path) -> None:
    pos = FIRST + 200
    wrong = "A" if GENOME[pos - 1] != "A" else "C"
    lines = [
        f"chr1\t{pos}\t.\t{ref}\t<DEL>\t.\t.\tEND={pos + 9}\n"
        for ref in (GENOME[pos - 1], wrong, "N")
    ]
    path = written(tmp_path / "s.vcf", *lines)
    found, _ = score(store, path)
    assert found.columns["ref_match"].tolist() == [True, False, True]
    _, scorer = score(store, path, ref_mismatch="skip")
    assert scorer.counts.not_scored == {"ref_mismatch": 1}


def cases(rng: np.random.Generator) -> tuple[str, ...]:
    """Records that are scored and others, some alike but for END or for what is told of it."""
    pos = FIRST + 300
    own = [symbolic(event, i) for i, event in enumerate(events(rng, 20))]
    alike = [
        symbolic(("<DEL>", pos, pos + 40), 50, "END={end};IMPRECISE"),
        symbolic(("<DEL>", pos, pos + 60_000), 50),
        symbolic(("<DEL>", pos, pos + 40), 50),
        symbolic(("<DEL>", pos, pos + 40), 50, "END={end};SVLEN=-39"),
        symbolic(("<DEL>", pos, pos + 90), 50),
        symbolic(("<DEL>", pos, pos + 90), 50, "."),
        symbolic(("<CNV>", pos, pos + 90), 50),
        f"chr1\t{pos}\tm\tN\t<DEL>,<DUP>,C\t.\t.\tSVLEN=-9,20,.;END={pos + 20}\n",
    ]
    return (*alike[:2], *own[:10], *alike[2:], *own[10:])


@pytest.mark.slow
def test_every_output(cli: Cli, store: Store, rng: np.random.Generator, tmp_path: Path) -> None:
    """ALT stays `<DEL>`; the same from Zarr, from a pipe and from BCF; each record its own row."""
    vcf = written(tmp_path / "in.vcf", *cases(rng))
    binary = tmp_path / "in.bcf"
    pysam.bcftools.view("-Ob", "-o", str(binary), str(vcf), catch_stdout=False)
    common = ("--store", store.path, "--device", "cpu", "-q", "--batch", "2")
    for source in (vcf, binary):
        for ending in ("zarr", "tsv", "parquet", "vcf"):
            out = tmp_path / f"{source.suffix[1:]}.{ending}"
            done = cli("score", "vcf", source, *common, "--out", out)
            assert done.exit_code == 0, done.output
    results = Results(tmp_path / "vcf.zarr")
    counts = results.attributes.counts
    counts.not_scored.pop("no_change", None)  # a short inversion that reads the same both ways
    assert counts.not_scored == {"iupac": 1, "sv_length": 1, "sv_outside": 1, "symbolic": 3}
    assert any("SVLEN=-39" in text for text in counts.examples["sv_length"])
    assert sum("IMPRECISE" in text for text in counts.examples["symbolic"]) == 1
    assert cli("verify", tmp_path / "vcf.zarr").exit_code == 0
    np.testing.assert_array_equal(
        results.rows().effect, Results(tmp_path / "bcf.zarr").rows().effect
    )
    for ending in ("tsv", "parquet", "vcf"):
        out = tmp_path / f"again.{ending}"
        assert cli("export", tmp_path / "vcf.zarr", out).exit_code == 0
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "vcf.tsv").read_bytes()
    assert pq.read_table(tmp_path / "again.parquet").equals(pq.read_table(tmp_path / "vcf.parquet"))
    with (tmp_path / "vcf.tsv").open() as handle:
        table = list(csv.DictReader(handle, delimiter="\t"))
    assert [row["alt"] for row in table] == results.labels("alt").tolist()
    assert [int(row["end"]) for row in table] == results.rows().columns["end"].tolist()
    assert pq.read_table(tmp_path / "vcf.parquet")["alt"].to_pylist() == [r["alt"] for r in table]
    annotated = {}
    for name in ("vcf.vcf", "again.vcf", "bcf.vcf"):
        with pysam.VariantFile(str(tmp_path / name)) as file:
            annotated[name] = [
                (r.pos, r.alts, r.stop, r.info["SEAL_STATUS"], r.info.get("SEAL_MAX")) for r in file
            ]
    assert annotated["again.vcf"] == annotated["vcf.vcf"] == annotated["bcf.vcf"]
    lines = [line.split("\t") for line in vcf.read_text().splitlines() if line[0] != "#"]
    assert len(annotated["vcf.vcf"]) == len(lines)
    # each record has the effect of its own row, by line
    largest = {}
    by_line = results.group["line"][...].tolist()
    for row, line in enumerate(by_line):
        largest.setdefault(line, []).append(results.rows().effect[row])
    first = HEAD.count("\n") + 1
    for i, (_, _, _, status, most) in enumerate(annotated["vcf.vcf"]):
        effects = largest.get(first + i, [])
        assert sum(one in ("scored", "outside_grid") for one in status) == len(effects)
        given = [value for value in most or () if value is not None]
        expected = [effect[np.abs(effect).argmax()] for effect in effects]
        np.testing.assert_allclose(given, expected, rtol=1e-4)
    done = cli("score", "vcf", vcf, *common, "--out", "-")
    body = [x for x in done.stdout.splitlines() if x[0] != "#"]
    assert body == [x for x in (tmp_path / "vcf.vcf").read_text().splitlines() if x[0] != "#"]


@pytest.mark.slow
def test_attributions_are_added_to_results(
    cli: Cli, store: Store, rng: np.random.Generator, tmp_path: Path
) -> None:
    vcf = written(tmp_path / "in.vcf", *cases(rng))
    common = ("--store", store.path, "--device", "cpu", "-q")
    how = ("--target", "all")
    assert cli("score", "vcf", vcf, *common, "--out", tmp_path / "a.zarr").exit_code == 0
    done = cli("attribute", tmp_path / "a.zarr", "--method", "deeplift", *how, *common[2:])
    assert done.exit_code == 0, done.output
    done = cli(
        "score", "vcf", vcf, *common, "--out", tmp_path / "b.zarr", "--attribute", "deeplift", *how
    )
    assert done.exit_code == 0, done.output
    added, direct = (Results(tmp_path / name).attribution() for name in ("a.zarr", "b.zarr"))
    np.testing.assert_array_equal(added["attribution"], direct["attribution"])
    assert cli("verify", tmp_path / "a.zarr").exit_code == 0


def test_normalized_as_by_bcftools(
    store: Store, rng: np.random.Generator, options: BuildOptions, tmp_path: Path
) -> None:
    """Deletions spelled out and left-aligned by bcftools have the effects of `--normalize`."""
    own = [("<DEL>", pos, end) for _, pos, end in events(rng, 20, 300)]
    plain = written(tmp_path / "b.vcf", *(in_bases(e, i) for i, e in enumerate(own)))
    normed = tmp_path / "n.vcf"
    pysam.bcftools.norm(
        *("-f", str(options.genome), "-o", str(normed), str(plain)), catch_stdout=False
    )
    found, _ = score(
        store,
        written(tmp_path / "s.vcf", *(symbolic(e, i) for i, e in enumerate(own))),
        normalize=True,
        batch=1,
    )
    expected, _ = score(store, normed, batch=1)
    order = {name: i for i, name in enumerate(expected.columns["id"].tolist())}
    assert len(order) == len(own)
    rows = [order[name] for name in found.columns["id"].tolist()]
    np.testing.assert_array_equal(found.effect, expected.effect[rows])


def test_lifted_they_keep_their_reason(cli: Cli, store: Store, tmp_path: Path) -> None:
    """Their END is of the other assembly."""
    chain = tmp_path / "same.chain"
    chain.write_text(f"chain 1 chr1 {LENGTH} + 0 {LENGTH} chr1 {LENGTH} + 0 {LENGTH} 1\n{LENGTH}\n")
    vcf = written(tmp_path / "in.vcf", symbolic(("<DEL>", FIRST, FIRST + 9)))
    done = cli(
        *("score", "vcf", vcf, "--store", store.path, "--device", "cpu", "--liftover", chain),
        *("--out", tmp_path / "x.tsv", "--json"),
    )
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["not_scored"] == {"symbolic": 1}
    assert "not lifted over" in facts["examples"]["symbolic"][0]
