"""Looked up, a variant has the row that scoring gives, or a reason; score takes from an atlas."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from atlas.conftest import CPU, GENES, SPAN
from click.testing import Result

import seal_store
from seal_store.atlas.atlas import Atlas
from seal_store.atlas.entries import Entries
from seal_store.atlas.known import Known
from seal_store.atlas.lookup import Lookup
from seal_store.check.verify import verify
from seal_store.errors import HeadsError, InputError, VariantError
from seal_store.results.group import Results
from seal_store.run.atlas import build_atlas
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.scoring.options import AttributionOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store, sequence_start
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def vcf(store: Store, scored: dict[str, Rows], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SNVs of the atlas, and what it cannot have, each kind once."""
    path = tmp_path_factory.mktemp("lookup") / "in.vcf"
    c = scored["GENE02"].columns
    contig, tss = "chr1", int(c["pos"][0]) + SPAN
    lines = [
        f"{contig}\t{pos}\tv{i}\t{ref}\t{alt}"
        for i, (pos, ref, alt) in enumerate(zip(c["pos"], c["ref"], c["alt"], strict=True))
    ]
    ref = str(c["ref"][0])
    other = next(b for b in "ACGT" if b not in (ref, str(c["alt"][0])))
    lines += [
        f"1\t{c['pos'][0]}\tshort\t{ref.lower()}\t{str(c['alt'][0]).lower()},{other}",
        f"{contig}\t{c['pos'][0]}\twrong\t{other}\t{c['alt'][0]}",
        f"{contig}\t{tss}\tindel\t{c['ref'][3 * SPAN]}\t{c['ref'][3 * SPAN]}GG",
        f"{contig}\t{tss + SPAN + 1}\tfar\tA\tC",
        "chr9\t100\tnowhere\tA\tC",
        f"{contig}\t{tss}\tsymbolic\tN\t<DEL>\t.\t.\tEND={tss + 5}",
    ]
    text = "\n".join(["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT", *lines])
    path.write_text(text + "\n")
    return path


REASONS = {"not_an_snv": 1, "not_in_atlas": 2, "ref_mismatch": 1, "symbolic": 1}


def test_rows_are_those_of_scoring(atlas: Atlas, store: Store, vcf: Path) -> None:
    lookup = Lookup(atlas)
    found = list(lookup.score(read_variants(vcf)))
    rows = {n: np.concatenate([r.columns[n] for r in found]) for n in found[0].columns}
    effect = np.concatenate([r.effect for r in found])
    count = len(effect)
    assert lookup.counts.not_scored == REASONS
    assert lookup.counts.alleles == lookup.counts.alleles_scored + sum(REASONS.values())
    assert count == 6 * SPAN + 3 + 2
    scorer = Scorer(store, replace(CPU, ref_mismatch="skip"))
    (expected,) = scorer.score(read_variants(vcf))
    same = [expected.columns["id"].tolist().index(name) for name in rows["id"][:-2].tolist()]
    same += [i for i, name in enumerate(expected.columns["id"].tolist()) if name == "short"]
    assert rows.pop("source").tolist() == ["atlas"] * count
    assert set(rows) == set(expected.columns)
    for name, values in rows.items():
        assert values.dtype.kind == expected.columns[name].dtype.kind, name
        np.testing.assert_array_equal(values, expected.columns[name][same], err_msg=name)
    largest = np.abs(expected.effect[same]).max(1)
    assert (np.abs(effect - expected.effect[same]).max(1) <= 0.0101 * largest).all()


@pytest.mark.slow
def test_ten_thousand_random_snvs_are_those_of_scoring(
    job: AtlasJob, store: Store, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Around every gene of the store, in any order, REF of the genome or not."""
    genes = tuple(store.gene_id.tolist())
    wide = replace(job, out=tmp_path / "wide.zarr", genes=genes, span=400, genes_per_shard=None)
    atlas = build_atlas(Prepared(wide, store))
    row = [store.table.row(gene) for gene in genes]
    which = rng.integers(0, len(genes), 10_000)
    tss, contig = (column[row][which] for column in (store.table.tss, store.table.contig))
    pos = tss + rng.integers(-400, 401, len(which))
    base = store.sequence
    lines = []
    for i, gene in enumerate(which.tolist()):
        place = int(pos[i]) - 1 - sequence_start(int(tss[i]))
        ref = chr(base(store.gene(genes[gene]))[place])
        alt = str(rng.choice([other for other in "ACGT" if other != ref]))
        ref = ref if ref in "ACGT" and i % 50 else "ACGT"[i % 4]
        if ref != alt:
            lines.append(f"{contig[i]}\t{pos[i]}\tv{i}\t{ref}\t{alt}\n")
    path = tmp_path / "random.vcf"
    path.write_text("".join(lines))
    lookup = Lookup(atlas)
    found = list(lookup.score(read_variants(path)))
    scorer = Scorer(store, replace(CPU, max_distance=400, ref_mismatch="skip"))
    done = list(scorer.score(read_variants(path)))
    columns = {}
    for name in ("id", "gene_id", "pos", "ref", "alt", "dist_to_tss", "status"):
        columns[name] = np.concatenate([rows.columns[name] for rows in found])
        expected = np.concatenate([rows.columns[name] for rows in done])
        np.testing.assert_array_equal(columns[name], expected, err_msg=name)
    assert len(columns["id"]) > 9_000
    effect, exact = (np.concatenate([rows.effect for rows in own]) for own in (found, done))
    largest = np.abs(exact).max(1)
    assert (np.abs(effect - exact).max(1) <= 0.0101 * largest + 1e-9).all()


@pytest.mark.parametrize("ending", [".zarr", ".tsv", ".vcf.gz", ".parquet"])
def test_every_output_of_score(
    ending: str, cli: Cli, atlas: Atlas, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"out{ending}"
    done = cli("lookup", atlas.path, vcf, "--out", out, "-q", "--json")
    assert done.exit_code == 0, done.output
    rows = 6 * SPAN + 5
    assert f'"rows": {rows}' in done.stdout
    if ending == ".zarr":
        made = Results(out)
        assert len(made) == rows
        assert made.attributes.atlas is not None
        assert made.attributes.atlas.sha256 == atlas.sha256
        assert made.attributes.counts.not_scored == REASONS
        assert cli("verify", out, "-q").exit_code == 0
        assert cli("export", out, tmp_path / "again.tsv", "-q").exit_code == 0
        assert "\tsource\t" in (tmp_path / "again.tsv").read_text().splitlines()[0]
    elif ending == ".tsv":
        assert len(out.read_text().splitlines()) == rows + 1
    elif ending == ".vcf.gz":
        import pysam

        with pysam.VariantFile(str(out)) as records:
            info = [(r.info.get("SEAL_STATUS"), r.info.get("SEAL_SOURCE")) for r in records]
        assert len(info) == rows - 1 + 5
        assert {source for _, source in info} == {("atlas",), ("atlas", "atlas"), None}
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(out).num_rows == rows


def test_variants_given_here(cli: Cli, atlas: Atlas, scored: dict[str, Rows]) -> None:
    c, effect = scored["GENE02"].columns, scored["GENE02"].effect
    text = f"1:{c['pos'][4]}:{c['ref'][4]}:{c['alt'][4]}"
    hgvs = f"chr1:g.{c['pos'][4]}{c['ref'][4]}>{c['alt'][4]}"
    done = cli("lookup", atlas.path, text, hgvs, "chr1:1:A:C", "--top", 2)
    assert done.exit_code == 0
    place = int(np.abs(effect[4]).argmax())
    assert f"  {':'.join(atlas.contexts[place])}" in done.stdout
    assert "not_in_atlas: 1" in done.stdout
    assert "alleles in: 3, scored: 2, not scored: 1" in done.stdout
    refused = cli("lookup", atlas.path, text, "--summary")
    assert refused.exit_code == 2
    nonsense = cli("lookup", atlas.path, "nonsense")
    assert (nonsense.exit_code, nonsense.stdout) == (1, "")


def test_summaries_of_a_file(
    cli: Cli, atlas: Atlas, vcf: Path, scored: dict[str, Rows], tmp_path: Path
) -> None:
    out = tmp_path / "s.tsv"
    done = cli("lookup", atlas.path, vcf, "--summary", "--out", out, "-q", "--precision", 9)
    assert done.exit_code == 0, done.output
    head, *lines = (line.split("\t") for line in out.read_text().splitlines())
    assert head[:4] == ["chrom", "pos", "ref", "alt"]
    scores = tmp_path / "scores.tsv"
    assert cli("lookup", atlas.path, vcf, "--out", scores, "-q").exit_code == 0
    of_scores, *others = (line.split("\t") for line in scores.read_text().splitlines())
    strands = [line[of_scores.index("gene_strand")] for line in others]
    assert [line[head.index("gene_strand")] for line in lines] == strands
    assert set(strands) <= {"+", "-"}
    effect = scored["GENE02"].effect
    place = np.abs(effect).argmax(1)
    found = [float(line[head.index("largest")]) for line in lines[: len(effect)]]
    np.testing.assert_allclose(found, effect[np.arange(len(effect)), place], rtol=1e-7)
    named = [line[head.index("largest_context")] for line in lines[: len(effect)]]
    assert named == [atlas.contexts[i][1] for i in place]
    piped = cli("lookup", atlas.path, vcf, "--summary", "--out", "-", "-q", "--precision", 9)
    assert piped.stdout == out.read_text()


def test_a_head_set_may_be_called_context(
    cli: Cli, atlas: Atlas, vcf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its summary stands beside the context of the largest."""
    sets, column = atlas.column("head_set").tolist(), Entries.column
    named = np.array(["context", *sets[1:]])
    monkeypatch.setattr(
        Entries, "column", lambda self, n: named if n == "head_set" else column(self, n)
    )
    plain = ["largest", "largest_set", "largest_context", "rms"]
    names = ["largest_over_context", *(f"largest_{name}" for name in sets[1:])]
    found = Atlas(atlas.path).summary(str(vcf))
    assert list(found)[9:] == [*plain, *names]
    assert set(found["largest_context"]) <= {name for _, name in atlas.contexts}
    out = tmp_path / "x.parquet"
    assert cli("atlas", "export", atlas.path, out, "-q").exit_code == 0
    assert list(pd.read_parquet(out))[8:] == [*plain, *names]


def test_from_python(atlas: Atlas, store: Store, scored: dict[str, Rows]) -> None:
    c, effect = scored["GENE03"].columns, scored["GENE03"].effect
    variants = list(zip(c["contig"], c["pos"], c["ref"], c["alt"], strict=True))
    found = seal_store.Atlas(atlas.path).effects(variants, contexts=["childhood.DFC"])
    assert found.effect.shape == (len(variants), 1)
    at = [name for _, name in atlas.contexts].index("childhood.DFC")
    assert (np.abs(found.effect[:, 0] - effect[:, at]) <= 0.0101 * np.abs(effect).max(1)).all()
    assert json.loads(found.attrs["atlas"])["sha256"] == atlas.sha256
    assert set(found["source"].values.tolist()) == {"atlas"}
    table = atlas.summary([*variants, ("chr1", 1, "A", "C")])
    assert len(table) == len(variants)
    np.testing.assert_array_equal(np.abs(table["largest"]), np.abs(effect).max(1))
    with pytest.raises(HeadsError):
        atlas.effects(variants, contexts=["no such"])


def test_another_assembly_is_refused(cli: Cli, atlas: Atlas, tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=7>\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t5\t.\tA\tC\n"
    )
    done = cli("lookup", atlas.path, path, "--out", tmp_path / "o.tsv")
    assert done.exit_code == 1
    assert "##contig lines are those of" in done.stderr


def test_most_ref_bases_are_others_is_another_assembly(
    cli: Cli, atlas: Atlas, scored: dict[str, Rows], tmp_path: Path
) -> None:
    """Told by the bases, where the header does not tell; from Python by the header."""
    c = scored["GENE02"].columns
    lines = [
        f"chr1\t{pos}\t.\t{alt}\t{ref}"
        for pos, ref, alt in zip(c["pos"], c["ref"], c["alt"], strict=True)
    ]
    text = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n"
    path = tmp_path / "x.vcf"
    path.write_text(text + "\n".join(lines * (1 + 1_024 // len(lines))) + "\n")
    for more in ((), ("--summary",)):
        args = ["lookup", atlas.path, path, *more, "--out", tmp_path / "o.tsv", "-q"]
        refused = cli(*args)
        assert refused.exit_code == 1, more
        assert "another assembly?" in refused.stderr
        assert not (tmp_path / "o.tsv").exists()
    assert cli(*args, "--no-check-assembly").exit_code == 0
    path.write_text(text.replace("\n", "\n##contig=<ID=chr1,length=77>\n", 1) + lines[0] + "\n")
    with pytest.raises(VariantError, match="##contig lines are those of"):
        atlas.effects(str(path))


def test_outputs_never_replace_what_is_read(
    cli: Cli, atlas: Atlas, store: Store, vcf: Path, tmp_path: Path
) -> None:
    own = tmp_path / "in.vcf"
    own.write_bytes(vcf.read_bytes())
    look = ["lookup", atlas.path, own, "--summary", "-q", "--overwrite", "--out"]
    assert "summaries are a TSV" in cli(*look, own).stderr
    assert own.read_bytes() == vcf.read_bytes()
    score = ["score", "vcf", own, "--store", store.path, "--atlas", atlas.path, "--device", "cpu"]
    for command in (
        [*look, atlas.path / "s.tsv"],
        ["lookup", atlas.path, own, "-q", "--out", atlas.path / "s.zarr"],
        [*score, "-q", "--out", atlas.path / "s.zarr"],
        ["atlas", "export", atlas.path, atlas.path / "x.tsv.gz"],
    ):
        done = cli(*command)
        assert done.exit_code == 1
        assert "lies in the atlas" in done.stderr
    assert verify(atlas.path).ok


def test_effects_from_an_atlas_are_not_attributed(
    cli: Cli, atlas: Atlas, store: Store, vcf: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.zarr"
    assert cli("lookup", atlas.path, vcf, "--out", out, "-q").exit_code == 0
    refused = cli(
        *("attribute", out, "--store", store.path, "--method", "deeplift"),
        *("--target", "childhood.DFC", "--device", "cpu", "-q"),
    )
    assert refused.exit_code == 1
    assert "has effects from an atlas" in refused.stderr


def test_what_is_no_file_is_said(cli: Cli, atlas: Atlas, tmp_path: Path) -> None:
    done = cli("lookup", atlas.path, "missing.vcf", "--out", tmp_path / "x.tsv")
    assert "missing.vcf: no such file" in done.stderr
    long = cli("lookup", atlas.path, "chr1:30001:A:" + "C" * 60_000)
    assert long.exit_code == 0, long.output
    assert "not_an_snv: 1" in long.stdout


@pytest.mark.parametrize(
    "given", [{"span": True}, {"span": 5.5}, {"span": "5"}, {"genes_per_shard": 2.5}]
)
def test_options_of_another_type_are_refused(
    store: Store, tmp_path: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(given))}`"):
        AtlasJob(store.path, tmp_path / "a.zarr", **given)


def test_no_torch_is_loaded(atlas: Atlas) -> None:
    code = (
        "import sys; from seal_store.cli import main; "
        f"main(['lookup', {str(atlas.path)!r}, 'chr1:1:A:C'], standalone_mode=False); "
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_snvs_written_with_more_bases(
    cli: Cli, atlas: Atlas, store: Store, scored: dict[str, Rows], tmp_path: Path
) -> None:
    """As beside an indel: the base that changes is looked up, and disturbs no other."""
    c = scored["GENE02"].columns
    pos = int(c["pos"][6])
    first, second, third = (str(c["ref"][i]) for i in (6, 9, 12))
    alt = str(c["alt"][9])
    wrong = next(b for b in "ACGT" if b != first)
    variants = [
        ("chr1", pos, first + second + third, first + alt + third),
        ("chr1", pos, first + second, first + alt),
        ("chr1", pos, wrong + second, wrong + alt),
        ("chr1", pos + 1, second, alt),
    ]
    found = atlas.effects(variants)
    assert found["row"].values.tolist() == [0, 1, 3]
    assert found["pos"].values.tolist() == [pos, pos, pos + 1]
    np.testing.assert_array_equal(found.effect[0], found.effect[2])
    np.testing.assert_array_equal(found.effect[1], found.effect[2])
    assert (np.abs(found.effect[0] - scored["GENE02"].effect[9]).max() > 0) == (
        atlas.attributes.max_error is not None
    )
    assert json.loads(found.attrs["counts"])["not_scored"] == {"ref_mismatch": 1}
    mixed = seal_store.score(store, variants, atlas=atlas, device="cpu")
    assert mixed["source"].values.tolist() == ["atlas", "atlas", "computed", "atlas"]
    plain = seal_store.score(store, variants, device="cpu")
    largest = np.abs(plain.effect).max("context")
    assert (np.abs(mixed.effect - plain.effect).max("context") <= 0.0101 * largest).all()
    np.testing.assert_array_equal(mixed["dist_to_tss"], plain["dist_to_tss"])


# From the atlas, else computed


@pytest.mark.parametrize("genes", ["nearest", "all"])
def test_score_takes_what_the_atlas_has(genes: str, atlas: Atlas, store: Store, vcf: Path) -> None:
    options = replace(CPU, genes=genes)
    known = Known(atlas, store, options)
    (mixed,) = Scorer(store, options, known=known).score(read_variants(vcf))
    (plain,) = Scorer(store, options).score(read_variants(vcf))
    source = mixed.columns.pop("source")
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(mixed.columns[name], values, err_msg=name)
    ids = mixed.columns["id"]
    ours = np.isin(mixed.columns["gene_id"], GENES)
    of_atlas = (source == "atlas") & ours
    assert (source[~ours] == "computed").all()
    assert of_atlas.sum() == 6 * SPAN + 5
    assert set(ids[source == "computed"].tolist()) >= {"wrong", "indel", "far", "symbolic"}
    largest = np.abs(plain.effect).max(1)
    off = np.abs(mixed.effect - plain.effect).max(1)
    assert (off[of_atlas] <= 0.0101 * largest[of_atlas]).all()
    np.testing.assert_allclose(
        mixed.effect[~of_atlas], plain.effect[~of_atlas], rtol=1e-3, atol=1e-3 * largest.max()
    )


def test_exchanged_alleles_are_computed(
    atlas: Atlas, store: Store, scored: dict[str, Rows]
) -> None:
    """The genome has ALT: the atlas has the opposite change, which is another number."""
    c = scored["GENE02"].columns
    variants = [("chr1", int(c["pos"][0]), str(c["alt"][0]), str(c["ref"][0]))]
    found = seal_store.score(store, variants, ref_mismatch="swap", atlas=atlas, device="cpu")
    assert found["status"].values.tolist() == ["swapped"]
    assert found["source"].values.tolist() == ["computed"]
    plain = seal_store.score(store, variants, ref_mismatch="swap", device="cpu")
    np.testing.assert_array_equal(found.effect, plain.effect)


def test_the_command(cli: Cli, atlas: Atlas, store: Store, vcf: Path, tmp_path: Path) -> None:
    args = ["score", "vcf", vcf, "--store", store.path, "--device", "cpu", "-q"]
    out = tmp_path / "m.zarr"
    assert cli(*args, "--atlas", atlas.path, "--out", out).exit_code == 0
    made = Results(out)
    assert made.attributes.atlas is not None
    assert made.attributes.atlas.max_error == 0.01
    assert sorted(set(made.rows().columns["source"].tolist())) == ["atlas", "computed"]
    assert cli("verify", out, "-q").exit_code == 0
    tsv = tmp_path / "m.tsv"
    assert cli(*args, "--atlas", atlas.path, "--out", tsv).exit_code == 0
    assert cli("export", out, tmp_path / "e.tsv", "-q").exit_code == 0
    assert (tmp_path / "e.tsv").read_text() == tsv.read_text()
    assert cli(*args, "--atlas", atlas.path, "--out", tmp_path / "m.vcf").exit_code == 0
    sources = re.findall(r"SEAL_SOURCE=([^;]+)", (tmp_path / "m.vcf").read_text())
    each = Counter(source for value in sources for source in value.split(",") if source != ".")
    assert each == Counter(made.rows().columns["source"].tolist())
    other = cli(*args, "--atlas", atlas.path, "--out", tmp_path / "n.zarr", "--scheme", "centered")
    assert other.exit_code == 1
    assert "its scheme is not that of what is scored" in other.stderr
    with pytest.raises(InputError, match="has no attributions"):
        Scorer(
            store,
            CPU,
            attribution=AttributionOptions("deeplift", ("childhood.DFC",)),
            known=Known(atlas, store, CPU),
        )


def test_an_atlas_of_other_heads_is_refused(
    job: AtlasJob, atlas: Atlas, make_store: Any, tmp_path: Path, world: Any
) -> None:
    from seal_store.synthetic import TINY, TINY_LATENT, write_models

    _, heads = write_models(tmp_path / "other", TINY, TINY_LATENT, 99)
    other = make_store(heads=(heads,))
    with pytest.raises(InputError, match="head set .* is not that"):
        Known(atlas, other, CPU)
    assert Known(Entries(atlas.path), Store(job.store), CPU)


# Elsewhere


def test_on_a_web_server(atlas: Atlas, scored: dict[str, Rows]) -> None:
    pytest.importorskip("obstore")
    from cloud import files_handler, serving

    c = scored["GENE02"].columns
    variant = ("chr1", int(c["pos"][0]), str(c["ref"][0]), str(c["alt"][0]))
    with serving(files_handler(Path(atlas.path).parent)) as server:
        far = Atlas(f"{server}/{atlas.path.name}")
        found = far.effects([variant])
    np.testing.assert_array_equal(found.effect, atlas.effects([variant]).effect)


def test_in_a_bucket_little_is_read(
    counted: Any, bucket: str, atlas: Atlas, scored: dict[str, Rows], cli: Cli
) -> None:
    from cloud import upload

    upload(Path(atlas.path), f"{bucket}/a.zarr")
    c = scored["GENE02"].columns
    variants = [f"chr1:{c['pos'][i]}:{c['ref'][i]}:{c['alt'][i]}" for i in range(10)]
    here = cli("lookup", atlas.path, *variants)
    before = counted.sent
    there = cli("lookup", f"{bucket}/a.zarr", *variants)
    assert there.exit_code == 0, there.output
    assert there.stdout == here.stdout
    moved = counted.sent - before
    one = sum(e["size"] for n, e in atlas.listed.items() if n.endswith("/c/1/0/0/0"))
    print({"bytes moved": moved, "of": atlas.total_bytes, "of the other shard": one})
    assert moved < atlas.total_bytes - one
    assert verify(f"{bucket}/a.zarr").ok
