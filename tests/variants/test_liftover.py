"""Variants of a made-up source assembly, whose way to the store's genome is known by design."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from seal_store.errors import LiftoverError, VariantError
from seal_store.reference.fasta import Genome
from seal_store.results.group import Results
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.alleles import Allele, classify
from seal_store.variants.liftover import Lifter
from seal_store.variants.source import Alleles, read_variants

CONTIG = "chr1"
EXTRA = b"GATTACA"
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def reverse(bases: str) -> str:
    return bases.translate(COMPLEMENT)[::-1]


@dataclass(frozen=True)
class Source:
    """The source's chr1 and for each of its bases the target's 0-based place and strand."""

    bases: str
    place: np.ndarray
    forward: np.ndarray
    chain: Path
    target: str
    differs: list[int]

    def at(self, position: int) -> int:
        """Source position of a 0-based target position."""
        (found,) = np.flatnonzero(self.place == position)
        return int(found)


def write_chain(path: Path, *chains: tuple[list[int | str], list[tuple[int, ...]]]) -> Path:
    text = ""
    for number, (header, blocks) in enumerate(chains, 1):
        text += " ".join(map(str, ["chain", 1000, *header, number])) + "\n"
        text += "".join("\t".join(map(str, block)) + "\n" for block in blocks) + "\n"
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as handle:  # type: ignore[operator]
        handle.write(text)
    return path


@pytest.fixture(scope="module")
def source(world: World, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Three stretches forward with a deletion and an insertion between, one turned around.

    The breaks lie beside TSSs, so that variants around them are scored.
    """
    with Genome(world.genome) as genome:
        target = genome.fetch(CONTIG, 0, genome.lengths[CONTIG]).decode()
    tss = sorted(
        int(t) for t, c in zip(store.table.tss, store.table.contig, strict=True) if c == CONTIG
    )
    first, second = tss[0] + 400, tss[1] + 700
    turn, end = tss[2] - 6_000, tss[2] + 6_000
    size = len(target)
    # target pieces: [0, first) - 20 bases left out - [first+20, second) EXTRA [second, turn)
    # (turn, end) reversed, [end, size)
    parts = [
        (0, first, True),
        (first + 20, second, True),
        None,
        (second, turn, True),
        (turn, end, False),
        (end, size, True),
    ]
    bases, place, forward = "", [], []
    starts = []
    for part in parts:
        starts.append(len(bases))
        if part is None:
            bases += EXTRA.decode()
            place += [-1] * len(EXTRA)
            forward += [True] * len(EXTRA)
            continue
        low, high, ahead = part
        bases += target[low:high] if ahead else reverse(target[low:high])
        place += list(range(low, high)) if ahead else list(range(high - 1, low - 1, -1))
        forward += [ahead] * (high - low)
    different = [tss[0] - 300, tss[2] + 111]  # in a forward and in the reversed piece
    source = list(bases)
    differs = []
    for position in different:
        own = place.index(position)
        source[own] = {"A": "C", "C": "A", "G": "T", "T": "G"}[source[own]]
        differs.append(own)
    length = len(source)
    lead = [CONTIG, length, "+"]
    head = [*lead, 0, starts[4], CONTIG, size, "+", 0, turn]
    blocks = [(first, 0, 20), (second - first - 20, len(EXTRA), 0), (turn - second,)]
    tail = [*lead, starts[5], length, CONTIG, size, "+", end, size]
    turned = [*lead, starts[4], starts[5], CONTIG, size, "-", size - end, size - turn]
    chain = write_chain(
        tmp_path_factory.mktemp("chain") / "sourceToTarget.chain.gz",
        (head, blocks),
        (tail, [(size - end,)]),
        (turned, [(end - turn,)]),
    )
    arrays = np.array(place), np.array(forward)
    return Source("".join(source), *arrays, chain, target, differs)


@pytest.fixture
def lifter(source: Source, store: Store) -> Lifter:
    return Lifter(source.chain, store)


def allele(pos: int, ref: str, alt: str, contig: str = CONTIG) -> Allele:
    """``pos`` is 1-based."""
    return Allele(1, contig, pos, f"v{pos}", ref, alt, classify(ref, alt))


def other(base: str) -> str:
    return {"A": "G", "C": "T", "G": "A", "T": "C"}[base]


def leftmost(target: str, start: int, ref: str, alt: str) -> tuple[int, str, str]:
    """A pure insertion or deletion at 0-based ``start`` in VCF form, shifted to the left."""
    while target[start - 1] == (ref or alt)[-1]:
        start -= 1
        base = target[start]
        ref, alt = (base + part[:-1] if part else "" for part in (ref, alt))
    anchor = target[start - 1]
    return start, anchor + ref, anchor + alt


def natives(source: Source, rng: np.random.Generator, count: int = 24) -> list[Allele]:
    """Variants on the target, in VCF's leftmost form, away from breaks and differences."""
    turned = source.place[~source.forward]
    around = [*range(turned.min() + 500, turned.max() - 500)]
    near = source.place[source.differs[0]]
    around += [*range(near - 6_000, near - 100)]
    found = []
    for position in map(int, rng.choice(around, count)):
        if "N" in source.target[position - 50 : position + 50]:
            continue
        if np.abs(source.place[source.differs] - position).min() < 50:
            continue
        kind = len(found) % 4
        bases = source.target[position : position + 4]
        if kind == 0:
            found.append(allele(position + 1, bases[0], other(bases[0])))
        elif kind == 1:
            found.append(allele(position + 1, bases[:2], other(bases[0]) + other(bases[1])))
        else:
            change = (bases[:3], "") if kind == 2 else ("", "GCATG"[: 1 + position % 5])
            found.append(allele(*leftmost(source.target, position, *change)))
    return found


def in_source(source: Source, native: Allele) -> Allele:
    """The same variant as a VCF of the source has it."""
    first, last = (source.at(native.pos - 1 + i) for i in (0, len(native.ref) - 1))
    if source.forward[first]:
        return allele(first + 1, native.ref, native.alt)
    if len(native.ref) == len(native.alt):
        return allele(last + 1, reverse(native.ref), reverse(native.alt))
    ref, alt = reverse(native.ref[1:]), reverse(native.alt[1:])
    start = source.at(native.pos - 1) - len(ref)
    return allele(*leftmost(source.bases, start, ref, alt))


def scored(store: Store, alleles: list[Allele], lifter: Lifter | None = None) -> Rows:
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    parts = list(scorer.score(lifter.lift(Alleles(alleles)) if lifter else alleles))
    assert scorer.counts.rows == len(alleles), scorer.counts
    names = parts[0].columns
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    return Rows(columns, np.concatenate([part.effect for part in parts]))


def test_every_base_goes_where_the_chain_takes_it(source: Source, lifter: Lifter) -> None:
    for position in (*range(0, len(source.bases), 97), len(source.bases) - 1):
        ref = source.bases[position]
        if ref == "N":
            continue
        lifted = lifter(allele(position + 1, ref, other(ref)))
        if source.place[position] < 0:
            assert lifted.kind == "liftover_unmapped"
            continue
        assert lifted.origin is not None
        assert lifted.pos == source.place[position] + 1
        assert lifted.origin.note.endswith("_reverse") == (not source.forward[position])
        assert lifted.ref == (ref if source.forward[position] else reverse(ref))


def test_lifted_variants_have_the_effects_of_the_native_ones(
    store: Store, source: Source, lifter: Lifter, rng: np.random.Generator
) -> None:
    own = natives(source, rng)
    sources = [in_source(source, native) for native in own]
    expected, found = scored(store, own), scored(store, sources, lifter)
    assert len(own) > 12
    for name in ("contig", "pos", "ref", "alt", "kind", "gene_id", "dist_to_tss", "ref_match"):
        assert found.columns[name].tolist() == expected.columns[name].tolist(), name
    np.testing.assert_allclose(found.effect, expected.effect, rtol=1e-5, atol=1e-7)
    assert np.abs(expected.effect).max() > 1e-4
    assert found.columns["source_pos"].tolist() == [a.pos for a in sources]
    assert found.columns["source_contig"].tolist() == [CONTIG] * len(own)
    assert found.columns["source_ref"].tolist() == [a.ref for a in sources]
    assert found.columns["source_alt"].tolist() == [a.alt for a in sources]
    turned = ["lifted" if source.forward[a.pos - 1] else "lifted_reverse" for a in sources]
    assert found.columns["liftover"].tolist() == turned
    assert len(set(turned)) == 2


def test_where_the_target_has_alt_the_sign_is_turned(
    store: Store, source: Source, lifter: Lifter
) -> None:
    own, sources = [], []
    for position in source.differs:
        place = int(source.place[position])
        here = source.target[place]
        there = source.bases[position]
        if not source.forward[position]:
            there = reverse(there)
        own.append(allele(place + 1, here, there))
        alt = here if source.forward[position] else reverse(here)
        sources.append(allele(position + 1, source.bases[position], alt))
    extra = source.bases.index(EXTRA.decode(), int(np.flatnonzero(source.place < 0)[0]) - 1)
    sources.append(allele(extra, source.bases[extra - 1 : extra + 7], source.bases[extra - 1]))
    at = int(source.place[extra - 1])
    own.append(allele(at + 1, source.target[at], source.target[at] + EXTRA.decode()))
    (jump,) = np.flatnonzero(np.diff(source.place) == 21)
    lost = source.target[source.place[jump] : source.place[jump] + 21]
    sources.append(allele(int(jump) + 1, lost[0], lost))
    own.append(allele(int(source.place[jump]) + 1, lost, lost[0]))
    expected, found = scored(store, own), scored(store, sources, lifter)
    assert found.columns["liftover"].tolist() == ["swapped", "swapped_reverse", *["swapped"] * 2]
    np.testing.assert_allclose(found.effect, -expected.effect, rtol=1e-5, atol=1e-7)
    assert (np.abs(expected.effect).max(1) > 1e-5).all()
    assert found.columns["pos"].tolist() == expected.columns["pos"].tolist()
    assert found.columns["ref"].tolist() == expected.columns["alt"].tolist()
    assert found.columns["alt"].tolist() == expected.columns["ref"].tolist()
    assert found.columns["source_ref"].tolist() == [a.ref for a in sources]
    assert found.columns["kind"].tolist() == ["snv", "snv", "deletion", "insertion"]
    assert found.columns["ref_match"].all()


def test_a_deletion_of_bases_that_the_target_lacks_is_not_moved_to_where_it_has_them(
    source: Source, store: Store, lifter: Lifter
) -> None:
    """On the reversed piece: the bases are flagged as not those of the genome."""
    inside = np.flatnonzero(~source.forward)
    for own in map(int, inside[6_000:6_400]):  # 0-based in the source; the place of the deletion
        t = int(source.place[own])
        left, here, right = source.target[t - 1 : t + 2]
        if len({left, here}) == 2 and left != right:
            break
    native = allele(own, source.bases[own - 1] + reverse(left), source.bases[own - 1])
    lifted = lifter(native)
    assert (lifted.pos, lifted.ref, lifted.alt) == (t, left + left, left)
    rows = scored(store, [native], lifter)
    assert rows.columns["ref_match"].tolist() == [False]


def test_what_cannot_be_lifted_says_why(source: Source, lifter: Lifter, store: Store) -> None:
    extra = int(np.flatnonzero(source.place < 0)[0])
    (jump,) = map(int, np.flatnonzero(np.diff(source.place) == 21))
    turn = int(np.flatnonzero(~source.forward)[0])

    def at(position: int, length: int, alt: str) -> Allele:
        return allele(position + 1, source.bases[position : position + length], alt)

    cases = [
        (at(extra + 2, 1, other(source.bases[extra + 2])), "liftover_unmapped"),
        (at(extra - 2, 4, "ACGT"), "liftover_unmapped"),
        (at(turn - 2, 4, reverse(source.bases[turn - 2 : turn + 2])[::-1]), "liftover_split"),
        (at(jump, 2, other(source.bases[jump]) * 2), "liftover_split"),
        (at(extra + 1, 1, source.bases[extra + 1] + "TT"), "liftover_gap"),
        (at(extra - 3, 5, source.bases[extra - 3]), "liftover_gap"),
        (at(turn - 1, 1, source.bases[turn - 1] + "CCGG"), "liftover_split"),
        (allele(50, "A", "C", "chr9"), "liftover_unmapped"),
    ]
    for case, reason in cases:
        lifted = lifter(case)
        assert lifted.kind == reason, (case, lifted)
        assert (lifted.pos, lifted.ref, lifted.alt) == (case.pos, case.ref, case.alt)
    scorer = Scorer(store, ScoreOptions(device="cpu"))
    assert sum(map(len, scorer.score(lifter.lift(Alleles([case for case, _ in cases]))))) == 0
    reasons = [reason for _, reason in cases]
    assert dict(scorer.counts.not_scored) == {r: reasons.count(r) for r in set(reasons)}
    symbolic = Allele(3, CONTIG, 5, ".", "A", "<DEL>", "symbolic")
    assert lifter(symbolic) is symbolic


def test_an_indel_in_a_repeat_with_a_gap_elsewhere_is_not_guessed(
    store: Store, source: Source, tmp_path: Path
) -> None:
    """The source has one more base in a run than the target; the chain has its gap at the end."""
    target = source.target
    middle = int(store.table.tss[0])
    run = next(
        i
        for i in range(middle + 50, middle + 9_000)
        if len(set(target[i : i + 4])) == 1 and target[i - 1] != target[i] != target[i + 4]
    )
    size = len(target)
    longer = target[: run + 4] + target[run] + target[run + 4 :]
    header = [CONTIG, size + 1, "+", 0, size + 1, CONTIG, size, "+", 0, size]
    for gap, kind in ((run + 4, "liftover_gap"), (run, "deletion")):
        blocks = [(gap, 1, 0), (size - gap,)]
        lifter = Lifter(write_chain(tmp_path / "run.chain", (header, blocks)), store)
        deleted = allele(run, longer[run - 1 : run + 1], longer[run - 1])
        lifted = lifter(deleted)
        assert lifted.kind == kind
    assert lifted.swapped
    assert (lifted.pos, lifted.ref, lifted.alt) == (run, deleted.alt, deleted.ref)


def test_a_base_on_two_chains_is_ambiguous(store: Store, source: Source, tmp_path: Path) -> None:
    size = len(source.target)
    header = [CONTIG, size, "+", 0, size, CONTIG, size, "+", 0, size]
    short = [CONTIG, size, "+", 100_000, 100_500, "chr2", 180_000, "+", 0, 500]
    chain = write_chain(tmp_path / "a.chain", (header, [(size,)]), (short, [(500,)]))
    lifter = Lifter(chain, store)
    for position, kind in ((99_999, "snv"), (100_000, "liftover_ambiguous"), (100_500, "snv")):
        ref = source.target[position]
        assert lifter(allele(position + 1, ref, other(ref))).kind == kind


def test_the_same_place_is_found_under_other_names(source: Source, lifter: Lifter) -> None:
    ref = source.bases[30_000]
    lifted = lifter(allele(30_001, ref, other(ref), "1"))
    assert (lifted.contig, lifted.pos) == (CONTIG, source.place[30_000] + 1)


GOOD = "chain 1 chr1 320000 + 0 320000 chr1 320000 + 0 320000 1\n320000\n\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no chain in it"),
        (b"hello\n", "no chain in it"),
        (bytes(range(256)) * 40, "too long|no chain"),
        (b"chain 1 chr1 320000 +\n5\n", ":1: not a chain's header"),
        (GOOD.replace("+ 0 320000 chr1", "- 0 320000 chr1").encode(), ":1: not a chain's header"),
        (GOOD.replace("320000 1", "x 1").encode(), ":1: 'x' is not a position"),
        (GOOD.replace("+ 0 320000 1", "+ 0 320001 1").encode(), ":1: chr1 0-320001 does not fit"),
        (GOOD.replace("\n320000", "\n319999").encode(), "not a chain file"),
        (GOOD.replace("\n320000", "\n-5").encode(), "not a chain file"),
        (GOOD.replace("\n320000", "\nabc\xff").encode("latin-1"), "not a chain file"),
        (b"12\t3\t4\n" + GOOD.encode(), "not a chain file"),
        (gzip.compress(GOOD.encode() * 99, mtime=0)[:-12], "cannot be read"),
        (b"chain" + b"x" * 9_000, ":1: too long a line"),
    ],
)
def test_a_bad_chain_file_is_one_line(
    store: Store, tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "bad.chain"
    path.write_bytes(content)
    with pytest.raises(LiftoverError, match=rf"bad\.chain.*({problem})") as caught:
        Lifter(path, store)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_missing_chain_file_is_named(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.chain", tmp_path):
        with pytest.raises(LiftoverError, match="chain file not found"):
            Lifter(path, store)


def test_a_chain_to_another_genome_is_refused(store: Store, tmp_path: Path) -> None:
    header = [CONTIG, 320_000, "+", 0, 100, CONTIG, 249_250_621, "+", 0, 100]
    chain = write_chain(tmp_path / "wrong.chain", (header, [(100,)]))
    with pytest.raises(LiftoverError, match="lifts to chr1 of 249250621 bp"):
        Lifter(chain, store)


def test_variants_of_another_assembly_than_the_chains_are_refused(
    store: Store, tmp_path: Path
) -> None:
    header = [CONTIG, 248_956_422, "+", 0, 100, CONTIG, 320_000, "+", 0, 100]
    lifter = Lifter(write_chain(tmp_path / "38.chain", (header, [(100,)])), store)
    lifter.check_variants("a.vcf", {"chr1": 248_956_422})
    lifter.check_variants("a.vcf", {})
    with pytest.raises(VariantError, match=r"a\.vcf: .* hg19 \(GRCh37\), what .* hg38"):
        lifter.check_variants("a.vcf", {"1": 249_250_621})
    assert lifter(allele(50, "A", "C", "NC_000001.11")).pos == 50
    with pytest.raises(VariantError, match=r"NC_000001\.10 belongs to hg19"):
        lifter(allele(50, "A", "C", "NC_000001.10"))


def write_vcf(path: Path, alleles: list[Allele]) -> Path:
    lines = "".join(f"{a.contig}\t{a.pos}\t{a.id}\t{a.ref}\t{a.alt}\n" for a in alleles)
    path.write_text(lines)
    return path


@pytest.mark.slow
def test_score_vcf_with_a_chain(
    cli: Callable[..., Result], store: Store, source: Source, tmp_path: Path
) -> None:
    position = source.differs[1]
    alt = reverse(source.target[int(source.place[position])])
    swapped = allele(position + 1, source.bases[position], alt)
    lifted = allele(position - 20, source.bases[position - 21], other(source.bases[position - 21]))
    lost = allele(9, "A", "C", "chr9")
    vcf = write_vcf(tmp_path / "in.vcf", [lifted, swapped, lost])
    common = ["score", "vcf", vcf, "--store", store.path, "--liftover", source.chain, "-q"]
    for name in ("a.zarr", "a.tsv"):
        result = cli(*common, "--out", tmp_path / name, "--json")
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        assert (facts["rows"], facts["swapped"]) == (2, 1)
        assert facts["not_scored"] == {"liftover_unmapped": 1}
    results = Results(tmp_path / "a.zarr")
    assert results.attributes.liftover.chain == source.chain.name
    assert cli("verify", tmp_path / "a.zarr", "-q").exit_code == 0
    columns = results.rows().columns
    assert columns["liftover"].tolist() == ["lifted_reverse", "swapped_reverse"]
    assert columns["source_pos"].tolist() == [lifted.pos, swapped.pos]
    with (tmp_path / "a.tsv").open() as handle:
        header, *lines = csv.reader(handle, delimiter="\t")
    names = ["source_contig", "source_pos", "source_ref", "source_alt", "liftover"]
    assert header[13:18] == names
    assert [line[13:18] for line in lines] == [
        [CONTIG, str(a.pos), a.ref, a.alt, status]
        for a, status in ((lifted, "lifted_reverse"), (swapped, "swapped_reverse"))
    ]
    assert cli("export", tmp_path / "a.zarr", tmp_path / "b.tsv").exit_code == 0
    assert (tmp_path / "b.tsv").read_bytes() == (tmp_path / "a.tsv").read_bytes()
    assert cli("export", tmp_path / "a.zarr", tmp_path / "b.parquet").exit_code == 0
    table = pq.read_table(tmp_path / "b.parquet").select(names).to_pylist()
    assert [[str(value) for value in row.values()] for row in table] == [
        line[13:18] for line in lines
    ]
    for more in (["--out", tmp_path / "x.vcf.gz"], ["--out", "-"]):
        refused = cli(*common, *more)
        assert refused.exit_code == 1
        assert "an annotated VCF has every record of its input" in refused.stderr
    added = cli(
        *("attribute", tmp_path / "a.zarr", "--store", store.path),
        *("--method", "deeplift", "--target", "all"),
    )
    assert added.exit_code == 0, added.output
    results = Results(tmp_path / "a.zarr")
    sums = results.attribution()["attribution"].sum(-1)
    np.testing.assert_allclose(sums, results.rows().effect, atol=1e-5)
    exported = cli("export", tmp_path / "a.zarr", tmp_path / "t.tsv", "--attributions", 2)
    assert exported.exit_code == 0, exported.output
    with (tmp_path / "t.tsv").open() as handle:
        header, *lines = csv.reader(handle, delimiter="\t")
    assert header[13:18] == names
    assert {len(line) for line in lines} == {len(header)}
    text = cli(*common, "--out", tmp_path / "c.tsv").stdout
    assert "the store's genome has ALT in 1 row (swapped" in text
    assert "liftover_unmapped: 1" in text


def test_a_bad_chain_leaves_nothing(
    cli: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    (tmp_path / "bad.chain").write_text("chain x\n")
    vcf = write_vcf(tmp_path / "in.vcf", [allele(9, "A", "C")])
    result = cli(
        *("score", "vcf", vcf, "--store", store.path, "--out", tmp_path / "o.tsv"),
        *("--liftover", tmp_path / "bad.chain"),
    )
    assert result.exit_code == 1
    assert "bad.chain:1: not a chain's header" in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.chain", "in.vcf"]


def test_an_hg38_vcf_on_its_own_genome_scores_the_same_after_an_identity_lift(
    store: Store, world: World, source: Source, tmp_path: Path
) -> None:
    lengths = store.attributes.genome.contigs
    chains = [([name, n, "+", 0, n, name, n, "+", 0, n], [(n,)]) for name, n in lengths.items()]
    lifter = Lifter(write_chain(tmp_path / "same.chain", *chains), store)
    one, other = (Scorer(store, ScoreOptions(device="cpu")) for _ in range(2))
    own = list(one.score(read_variants(world.variants)))
    lifted = list(other.score(lifter.lift(read_variants(world.variants))))
    assert len(own) == len(lifted) == 1
    np.testing.assert_array_equal(own[0].effect, lifted[0].effect)
    for name, values in own[0].columns.items():
        assert values.tolist() == lifted[0].columns[name].tolist(), name
    assert one.counts.to_dict()["not_scored"] == other.counts.to_dict()["not_scored"]
