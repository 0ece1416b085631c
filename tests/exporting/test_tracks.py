"""Tracks read back: effects of a saturation and profiles of a feature, base by base."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from click.testing import Result

from seal_store.errors import GeneTableError, HeadsError, InputError, OutputError
from seal_store.exporting.tracks import (
    effect_track,
    flatten,
    profile_track,
    track_lengths,
    write_track,
)
from seal_store.results.group import Results
from seal_store.run.scores import write_scores
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]
GENE, SPAN = "GENE05", 30
CONTEXTS = ("adulthood.MD", "Mid.Neuron.584")


@pytest.fixture(scope="module")
def saturated(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("saturated") / "s.zarr"
    scorer = Scorer(store, ScoreOptions(device="cpu", contexts=CONTEXTS), GENE)
    write_scores(scorer, saturation(store, GENE, SPAN), out)
    return out


def by_base(results: Results, column: int) -> dict[tuple[str, int], list[float]]:
    """Effects of each base's SNVs, by contig and 0-based position."""
    rows, found = results.rows(), defaultdict(list)
    places = zip(rows.columns["contig"].tolist(), rows.columns["pos"].tolist(), strict=True)
    for (contig, pos), effect in zip(places, rows.effect[:, column].tolist(), strict=True):
        found[contig, pos - 1].append(effect)
    return found


def intervals(path: Path) -> list[tuple[str, int, int, float]]:
    if path.suffix == ".bedgraph":
        lines = [line.split("\t") for line in path.read_text().splitlines()]
        return [(c, int(start), int(end), float(value)) for c, start, end, value in lines]
    track = pyBigWig.open(str(path))
    try:
        return [
            (contig, *entry) for contig in track.chroms() for entry in track.intervals(contig) or ()
        ]
    finally:
        track.close()


@pytest.mark.parametrize("ending", [".bw", ".bigwig", ".bedgraph"])
@pytest.mark.parametrize("how", ["strongest", "mean"])
def test_a_saturation_is_read_back(
    cli: Cli, saturated: Path, tmp_path: Path, ending: str, how: str
) -> None:
    out = tmp_path / f"x{ending}"
    args = ["export", saturated, out, "--contexts", CONTEXTS[0], "--precision", 9]
    assert cli(*args, "--per-position", how).exit_code == 0
    results = Results(saturated)
    effects = by_base(results, results.contexts()[0].index(CONTEXTS[0]))
    found = intervals(out)
    assert len(found) == len(effects) == 2 * SPAN + 1
    assert {len(values) for values in effects.values()} == {3}
    for (contig, start, end, value), place in zip(found, sorted(effects), strict=True):
        assert ((contig, start), end) == (place, start + 1)
        of_base = effects[place]
        expected = max(of_base, key=abs) if how == "strongest" else sum(of_base) / 3
        assert value == pytest.approx(expected, rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_the_tss_is_where_it_should_be(store: Store, saturated: Path, tmp_path: Path) -> None:
    """The middle base of a saturation is the TSS: 1-based in the table, 0-based in the track."""
    parts = effect_track(Results(saturated), CONTEXTS[1])
    row = store.table.row(GENE)
    assert [part.contig for part in parts] == [store.table.contig[row]]
    assert parts[0].start[SPAN] == store.table.tss[row] - 1


def test_contigs_have_the_lengths_of_the_store(
    cli: Cli, store: Store, saturated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.bw"
    assert cli("export", saturated, out, "--contexts", CONTEXTS[0]).exit_code == 0
    track = pyBigWig.open(str(out))
    assert dict(track.chroms()) == store.attributes.genome.contigs == track_lengths(store)
    assert track.header()["nBasesCovered"] == 2 * SPAN + 1
    track.close()


def test_an_snv_written_beside_an_indel_is_at_its_own_base(store: Store, tmp_path: Path) -> None:
    row = store.table.row(GENE)
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    three = store.sequence(GENE)[22_500:22_503].tobytes().decode()
    last = "ACGT".replace(three[2], "")[0]
    padded = Allele(1, contig, tss, ".", three, three[:2] + last, "snv")
    plain = Allele(2, contig, tss + 2, ".", three[2], last, "snv")
    parts = []
    for name, allele in (("padded", padded), ("plain", plain)):
        out = tmp_path / f"{name}.zarr"
        scorer = Scorer(store, ScoreOptions(device="cpu", contexts=CONTEXTS), GENE)
        write_scores(scorer, [allele], out)
        parts += effect_track(Results(out), CONTEXTS[0])
    assert [part.start.tolist() for part in parts] == [[tss + 1]] * 2
    np.testing.assert_allclose(parts[0].value, parts[1].value, rtol=1e-5)


def test_one_gene_has_to_be_chosen(store: Store, tmp_path: Path) -> None:
    """Two genes at the same bases; indels are not shown."""
    out = tmp_path / "r.zarr"
    row = store.table.row("GENE09")
    contig, tss = str(store.table.contig[row]), int(store.table.tss[row])
    alleles = [
        Allele(i, contig, tss + i // 2, ".", "A", alt, kind)
        for i, (alt, kind) in enumerate([("C", "snv"), ("AT", "insertion"), ("G", "snv")])
    ]
    scorer = Scorer(store, ScoreOptions(device="cpu", genes="all", contexts=CONTEXTS[:1]))
    write_scores(scorer, alleles, out)
    results = Results(out)
    with pytest.raises(InputError, match="several genes"):
        effect_track(results, CONTEXTS[0])
    rows = results.rows()
    (part,) = effect_track(results, CONTEXTS[0], "GENE09")
    kept = (rows.columns["gene_id"] == "GENE09") & (rows.columns["kind"] == "snv")
    assert part.start.tolist() == [tss - 1, tss]
    np.testing.assert_array_equal(part.value, rows.effect[kept, 0])
    with pytest.raises(InputError, match="no SNV was scored against GENE01"):
        effect_track(results, CONTEXTS[0], "GENE01")
    with pytest.raises(HeadsError, match="no context"):
        effect_track(results, "nowhere")


@pytest.mark.parametrize("ending", [".bw", ".bedgraph"])
def test_a_profile_is_read_back(cli: Cli, store: Store, tmp_path: Path, ending: str) -> None:
    """One value a window, on the 200 bases around its centre, on either strand."""
    strands = set()
    for gene in ("GENE02", "GENE03"):
        out = tmp_path / f"{gene}{ending}"
        args = ["--feature", "feature_3", "--gene", gene, "--precision", 9]
        found = cli("export", store.path, "--out", out, *args)
        assert found.exit_code == 0, found.output
        place = store.gene(gene)
        tss, strand = int(store.column("tss")[place]), int(store.column("strand")[place])
        strands.add(strand)
        expected = {}
        for window, value in enumerate(store.features(place)[:, 3].tolist()):
            centre = tss + strand * (-19_900 + 200 * window)  # 1-based
            expected[centre - 100] = value  # 0-based start of [c - 100, c + 100)
        got = intervals(out)
        assert len(got) == 200
        assert {end - start for _, start, end, _ in got} == {200}
        assert {contig for contig, *_ in got} == {str(store.column("contig")[place])}
        assert {start: value for _, start, _, value in got} == {
            start: pytest.approx(value, rel=1e-7) for start, value in expected.items()
        }
    assert strands == {1, -1}


def test_all_genes_share_a_track(store: Store, tmp_path: Path) -> None:
    """Where windows of several genes lie on a base it is their mean; none beyond the contig."""
    out = tmp_path / "x.bw"
    lengths = track_lengths(store)
    count = write_track(profile_track(store, "feature_0"), out, lengths)
    sums = {contig: np.zeros(length) for contig, length in lengths.items()}
    times = {contig: np.zeros(length, int) for contig, length in lengths.items()}
    columns = (store.column(name).tolist() for name in ("contig", "tss", "strand"))
    for gene, (contig, tss, strand) in enumerate(zip(*columns, strict=True)):
        for window, value in enumerate(store.features(gene)[:, 0].tolist()):
            centre = tss + strand * (-19_900 + 200 * window)
            part = slice(max(0, centre - 100), max(0, centre + 100))
            sums[contig][part] += value
            times[contig][part] += 1
    assert max(int(t.max()) for t in times.values()) > 1
    track = pyBigWig.open(str(out))
    for contig, length in lengths.items():
        values = np.array(track.values(contig, 0, length))
        covered = times[contig] > 0
        np.testing.assert_array_equal(~np.isnan(values), covered)
        expected = (sums[contig][covered] / times[contig][covered]).astype(np.float32)
        np.testing.assert_allclose(values[covered], expected, rtol=1e-6)
    assert count == sum(len(track.intervals(contig)) for contig in lengths)
    track.close()


def test_overlapping_intervals_are_cut(rng: np.random.Generator) -> None:
    length = 60
    start = rng.integers(-10, 70, 12)
    end = start + rng.integers(1, 15, 12)
    value = rng.random(12).astype(np.float32)
    part = flatten("c", start, end, value, length)
    for base in range(length):
        here = (start <= base) & (base < end)
        at = np.flatnonzero((part.start <= base) & (base < part.end))
        assert len(at) == here.any()
        if here.any():
            assert part.value[at[0]] == pytest.approx(value[here].mean(), rel=1e-6)
    assert (part.start[1:] >= part.end[:-1]).all()
    assert (part.start < part.end).all()
    assert part.start.min(initial=0) >= 0
    assert part.end.max(initial=0) <= length


def test_more_entries_than_one_call_takes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seal_store.exporting.tracks.ENTRIES_AT_ONCE", 7)
    for name in ("a.bw", "b.bedgraph"):
        parts = profile_track(store, "feature_1", ["GENE01", "GENE06"])
        write_track(parts, tmp_path / name, track_lengths(store), precision=9)
    one, other = intervals(tmp_path / "a.bw"), intervals(tmp_path / "b.bedgraph")
    assert [entry[:3] for entry in one] == [entry[:3] for entry in other]
    assert all(math.isclose(a[3], b[3], rel_tol=1e-6) for a, b in zip(one, other, strict=True))


def test_refusals_say_what_to_do(cli: Cli, store: Store, saturated: Path, tmp_path: Path) -> None:
    bw, one = tmp_path / "x.bw", ["--contexts", CONTEXTS[0]]
    for args, says in (
        ([saturated, bw], "give one --contexts"),
        ([saturated, bw, *one, "--contexts", CONTEXTS[1]], "one context and one gene"),
        ([saturated, bw, *one, "--gene", "GENE01"], "check --gene"),
        ([saturated, bw, *one, "--store", tmp_path / "nowhere"], "store not found"),
        ([saturated, bw, "--contexts", "nowhere"], "no context"),
        ([store.path, bw, "--feature", "nowhere"], "no feature 'nowhere'"),
        ([store.path, bw, "--feature", "feature_0", "--gene", "GENE12"], "was not computed"),
        ([saturated, bw, "--feature", "feature_0"], "seal-store"),
        ([store.path, bw, *one], "seal-store"),
    ):
        found = cli("export", *args)
        assert found.exit_code == 1, found.output
        assert says in found.stderr
        assert found.stderr.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GeneTableError):
        list(profile_track(store, "feature_0", ["nowhere"]))
    with pytest.raises(InputError, match="^`per_position` 'x': not one of strongest, mean"):
        effect_track(Results(saturated), CONTEXTS[0], per_position="x")


def test_a_failing_track_leaves_nothing(store: Store, saturated: Path, tmp_path: Path) -> None:
    parts = effect_track(Results(saturated), CONTEXTS[0])
    for name in ("x.bw", "x.bedgraph"):
        out = tmp_path / name

        def broken() -> object:
            yield parts[0]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_track(broken(), out, track_lengths(store))  # type: ignore[arg-type]
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="length of chr2 is not known"):
        write_track(parts, tmp_path / "x.bw", {"chr1": 9})
    write_track(parts, tmp_path / "x.bedgraph")
    with pytest.raises(OutputError, match="exists already"):
        write_track(parts, tmp_path / "x.bedgraph")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bedgraph"]


def test_results_of_a_vcf_make_a_track_too(cli: Cli, store: Store, tmp_path: Path) -> None:
    """Rows need not be sorted, and may come twice."""
    vcf, zarr = tmp_path / "in.vcf", tmp_path / "r.zarr"
    row = store.table.row("GENE01")
    tss = int(store.table.tss[row])
    vcf.write_text("".join(f"chr1\t{tss + i}\t-\tA\tC\n" for i in (3, 1, 2, 2)))
    scorer = Scorer(store, ScoreOptions(device="cpu", contexts=CONTEXTS))
    write_scores(scorer, read_variants(vcf), zarr)
    found = cli("export", zarr, tmp_path / "x.bedgraph", "--contexts", CONTEXTS[1])
    assert found.exit_code == 0, found.output
    assert [e[1] for e in intervals(tmp_path / "x.bedgraph")] == [tss, tss + 1, tss + 2]


def test_help_lists_the_endings_line_by_line(cli: Cli) -> None:
    from seal_store.exporting.render import ENDINGS
    from seal_store.exporting.tracks import ENDINGS as TRACKS

    text = cli("export", "--help").stdout
    lines = [line for line in text.splitlines() if line.startswith("  .")]
    listed = {word.strip(",") for line in lines for word in line.split() if word[0] == "."}
    assert listed == {*ENDINGS, *TRACKS}
