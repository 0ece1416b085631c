"""Options that many commands share: numbers out of range, and options without an effect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result
from phased import snv, written
from planted import Planted, write_planted

import seal_store
from seal_store.building.build import add_hidden, build
from seal_store.building.options import BuildOptions
from seal_store.cli import _options, main
from seal_store.errors import InputError
from seal_store.run.scores import write_scores
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.variants.source import read_variants

Cli = Callable[..., Result]
CONTEXT = "childhood.DFC"
TARGETS = (CONTEXT, "early_fetal.OC")
EXPLAIN = ["--attribute", "deeplift", "--target", CONTEXT]
EXTREMES = (-1, 10**30)


def leaves(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that runs, with its name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        elif command is not None:
            yield (*path, name), command


INTEGERS = [
    (command, parameter.opts[0])
    for command, found in leaves(main)
    for parameter in found.params
    if isinstance(parameter.type, click.types.IntParamType)
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"), np.random.default_rng(3), genes=60)


@pytest.fixture(scope="module")
def variant(world: World) -> Path:
    """A VCF of one variant of the world."""
    rows = [line for line in world.variants.read_text().splitlines() if line[0] != "#"]
    path = world.variants.with_name("one.vcf")
    path.write_text(f"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n{rows[0]}\n")
    return path


@pytest.fixture
def commands(
    cli: Cli, store: Store, world: World, variant: Path, planted: Planted, tmp_path: Path
) -> Callable[..., list[object]]:
    """Arguments that a command runs with, writing below ``tmp_path``."""

    def results(method: str = "deeplift") -> Path:
        out = tmp_path / "results.zarr"
        explained = ["--attribute", method, "--target", CONTEXT] if method else []
        made = cli("score", "vcf", variant, *scored, *explained, "--out", out)
        assert made.exit_code == 0, made.output
        return out

    def known(columns: str, cells: object) -> Path:
        """A table of the variant with more columns."""
        out = tmp_path / "known.tsv"
        contig, pos, _, ref, alt, *_ = variant.read_text().splitlines()[-1].split("\t")
        own = f"{contig}\t{pos}\t{ref}\t{alt.split(',')[0]}\t{cells}"
        out.write_text(f"chrom\tpos\tref\talt\t{columns}\n{own}\n")
        return out

    def calibrated() -> Path:
        out = tmp_path / "calibrated.zarr"
        shutil.copytree(store.path, out)
        seal_store.calibrate(out, world.variants, by="distance", bin_least=1, device="cpu")
        return out

    def atlas() -> Path:
        out = tmp_path / "atlas.zarr"
        seal_store.build_atlas(store, out, gene="GENE02", span=0, device="cpu")
        return out

    quiet, scored = ["--device", "cpu", "-q"], ["--store", store.path, "--device", "cpu", "-q"]
    sampled = ["--contexts", CONTEXT, "--attribute", "gradientShap", "--target", CONTEXT]
    training = ["--name", "n", "--out", tmp_path / "t", "--epochs", 1, *quiet]
    paths = {"genome": world.genome, "genes": world.genes, "cnn": world.cnn, "heads": world.heads}
    inputs = [item for name, path in paths.items() for item in (f"--{name}", path)]
    made: dict[str, Callable[[], list[object]]] = {
        "fetch": lambda: ["models", "--to", tmp_path, "--base-url", "http://127.0.0.1:1", "-q"],
        "build": lambda: [*inputs, "--out", tmp_path / "b.zarr", "--plan", "-q"],
        "score vcf": lambda: [variant, *scored, *sampled, "--out", tmp_path / "o.zarr"],
        "score variant": lambda: ["chr1:107140:A:C", "--store", store.path, "--device", "cpu"],
        "score saturate": lambda: [
            *("GENE02", *scored, *sampled, "--span", 0, "--out", tmp_path / "o.zarr")
        ],
        "score haplotypes": lambda: [
            *(written(tmp_path / "p.vcf", [snv(store, 1, 9, "0|1")], ["s"]), *scored),
            *("--out", tmp_path / "h.zarr"),
        ],
        "attribute": lambda: [results(""), "--method", "gradientShap", "--target", CONTEXT, *quiet],
        "calibrate": lambda: [store.path, variant, *quiet],
        "expression": lambda: [store.path, "--out", tmp_path / "e.tsv", "--gene", "GENE02"],
        "atlas build": lambda: [
            *(store.path, "--gene", "GENE02", "--span", 0, *sampled[2:], "--top-features", 1),
            *("--out", tmp_path / "a.zarr", *quiet),
        ],
        "atlas export": lambda: [tmp_path / "a.zarr", tmp_path / "a.tsv.gz"],
        "lookup": lambda: [atlas(), "chr1:107140:A:C"],
        "export": lambda: [results(), tmp_path / "e.tsv", "-q"],
        "train pretrain": lambda: [*planted.args(), *training, "--latent", 4],
        "train finetune": lambda: [*planted.args(), *training, "--from", tmp_path / "nowhere"],
        "plot profile": lambda: [
            *(store.path, "--gene", "GENE02", "--out", tmp_path / "p.json", "-q")
        ],
        "explore": lambda: [store.path, "-q"],
        "merge": lambda: [results(""), "--out", tmp_path / "m.tsv", "-q"],
        "report": lambda: [results(), "--out", tmp_path / "r.html", "-q"],
        "evaluate variants": lambda: [results(""), "--truth", known("label", 1), "-q"],
        "loci": lambda: [
            *(results(""), "--credible-sets", known("locus\tpip", "a\t1")),
            *("--out", tmp_path / "l.tsv", "-q"),
        ],
        "burden": lambda: [
            *(results(""), "--groups", known("group", "case")),
            *("--out", tmp_path / "b.tsv", "-q"),
        ],
        "plot calibration": lambda: [
            *(calibrated(), "--context", CONTEXT, "--out", tmp_path / "c.svg", "--overwrite", "-q"),
        ],
        "verify": lambda: [store.path, "--windows", 1, "-q"],
    }
    return lambda name: made[name]()


@pytest.mark.parametrize(
    ("command", "option"), INTEGERS, ids=[f"{' '.join(c)} {o}" for c, o in INTEGERS]
)
def test_an_integer_out_of_range_is_no_traceback(
    cli: Cli, commands: Callable[..., list[object]], command: tuple[str, ...], option: str
) -> None:
    given = commands(" ".join(command))
    for value in EXTREMES:
        result = cli(*command, *given, option, value)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            value,
            repr(result.exception),
        )
        if result.exit_code:
            assert option in result.stderr or "no planned " in result.stderr, result.stderr


# --- options without an effect


@pytest.fixture(scope="module")
def explained(store: Store, variant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with attributions to two targets."""
    out = tmp_path_factory.mktemp("explained") / "r.zarr"
    options = AttributionOptions("deeplift", TARGETS)
    scorer = Scorer(store, ScoreOptions(device="cpu"), attribution=options)
    write_scores(scorer, read_variants(variant), out)
    return out


def refused(result: Result, flag: str, where: str) -> None:
    assert result.exit_code == 2, result.output
    assert f"Error: {flag} has no effect {where}" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("out", "flags", "given", "where"),
    [
        *(
            ("t.tsv", ["--attributions", 2], given, "with --attributions")
            for given in (["--min-effect", 0], ["--top", 3], ["--long"])
        ),
        *(
            (out, [], given, f"in {out}")
            for out in ("t.bw", "t.bedgraph")
            for given in (
                *(["--top", 3], ["--long"], ["--min-effect", 0], ["--vcf", "x.vcf"]),
                ["--attributions", 2],
            )
        ),
        ("t.bw", ["--feature", "feature_0"], ["--contexts", CONTEXT], "with --feature"),
        ("t.bw", ["--feature", "feature_0"], ["--store", "s.zarr"], "with --feature"),
        ("t.tsv", [], ["--vcf", "x.vcf"], "in t.tsv"),
        ("t.tsv", ["--attributions", 2], ["--store", "s.zarr"], "in t.tsv"),
        ("t.parquet", [], ["--per-position", "strongest"], "in t.parquet"),
        ("t.arrow", [], ["--precision", 6], "in t.arrow"),
    ],
)
def test_export_refuses_an_option_without_effect(
    cli: Cli, explained: Path, tmp_path: Path, out: str, flags: list, given: list, where: str
) -> None:
    refused(cli("export", explained, tmp_path / out, *flags, *given), given[0], where)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "given", "flag"),
    [
        ("s.zarr", ["--precision", 3], "--precision"),
        ("s.feather", ["--precision", 3], "--precision"),
        ("s.vcf", ["--calibrated"], "--calibrated/--no-calibrated"),
        ("s.zarr", [*EXPLAIN, "--seed", 0], "--seed"),
        ("s.zarr", [*EXPLAIN, "--samples", 9], "--samples"),
    ],
)
def test_score_refuses_an_option_without_effect(
    cli: Cli, store: Store, variant: Path, tmp_path: Path, out: str, given: list, flag: str
) -> None:
    args = ("score", "vcf", variant, "--store", store.path, "--out", tmp_path / out)
    where = "with deeplift" if EXPLAIN[0] in given else f"in {out}"
    refused(cli(*args, *given), flag, where)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("step", "given"),
    [
        *(
            (step, given)
            for step in (["--shard", 0], ["--finalize"], ["--add-hidden"], ["--repair"])
            for given in (
                *(["--genome", "g.fa"], ["--gene", "G"], ["--first-offset", -19_900]),
                *(["--tss", "gene"], ["--no-hidden"], ["--resume"]),
            )
        ),
        (["--shard", 0], ["--overwrite"]),
        (["--repair"], ["--overwrite"]),
        (["--finalize"], ["--tf32"]),
        (["--add-hidden"], ["--from-profiles", "p"]),
        (["--finalize"], ["--from-seal", "p"]),
        (["--from-profiles", "p"], ["--tf32"]),
    ],
)
def test_build_refuses_an_option_without_effect(
    cli: Cli, tmp_path: Path, step: list, given: list
) -> None:
    pairs = {"--no-hidden": "--hidden/--no-hidden", "--tf32": "--tf32/--no-tf32"}
    flag = pairs.get(given[0], given[0])
    result = cli("build", "--out", tmp_path / "s.zarr", *step, *given)
    refused(result, flag, f"with {step[0]}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ["--shard", 0, "--from-profiles", "p", "--device", "cpu"],
        ["--shard", 0, "--shard", 1, "--device", "cpu", "--tf32"],
        ["--finalize", "--overwrite"],
        ["--repair", "--from-profiles", "p", "--device", "cpu"],
        ["--add-hidden", "--device", "cpu"],
    ],
)
def test_build_takes_what_a_step_uses(cli: Cli, tmp_path: Path, args: list) -> None:
    result = cli("build", "--out", tmp_path / "s.zarr", *args)
    assert result.exit_code == 1, result.output
    assert "no effect" not in result.stderr


def test_contexts_choose_among_the_targets(cli: Cli, explained: Path, tmp_path: Path) -> None:
    both, one = tmp_path / "both.tsv", tmp_path / "one.tsv"
    args = ("export", explained, "--attributions", 3, "--out")
    assert cli(*args, both).exit_code == 0
    assert cli(*args, one, "--contexts", CONTEXT).exit_code == 0
    lines = both.read_text().splitlines()
    assert {line.split("\t")[14] for line in lines[1:]} == set(TARGETS)
    own = [line for line in lines[1:] if line.split("\t")[14] == CONTEXT]
    assert one.read_text().splitlines() == [lines[0], *own]
    wrong = cli(*args, tmp_path / "x.tsv", "--contexts", "nowhere")
    assert wrong.exit_code == 1
    assert "'nowhere'" in wrong.stderr
    assert not (tmp_path / "x.tsv").exists()


# --- genes


def test_gene_takes_a_file_of_ids_everywhere(
    cli: Cli, store: Store, options: BuildOptions, tmp_path: Path
) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("GENE02\nGENE03\n")
    names = ("genome", "genes", "cnn")
    inputs = [a for name in names for a in (f"--{name}", getattr(options, name))]
    built = cli("build", *inputs, "--out", tmp_path / "s.zarr", "--plan", "--gene", ids, "--json")
    assert json.loads(built.stdout)["genes"] == 2, built.output
    table, track = tmp_path / "e.tsv", tmp_path / "p.bedgraph"
    assert cli("expression", store.path, "--out", table, "--gene", ids).exit_code == 0
    genes = [line.split("\t")[0] for line in table.read_text().splitlines()]
    assert genes == ["gene_id", "GENE02", "GENE03"]
    args = ("export", store.path, "--feature", "feature_0", "--out")
    assert cli(*args, track, "--gene", ids).exit_code == 0
    both = ("--gene", "GENE02", "--gene", "GENE03")
    assert cli(*args, tmp_path / "q.bedgraph", *both).exit_code == 0
    assert track.read_bytes() == (tmp_path / "q.bedgraph").read_bytes()


NO_PATHS = {
    *("--base-url", "--bin-edges", "--calibration", "--device", "--feature", "--gene-type"),
    *("--host", "--name", "--region"),
    *("--scheduler", "--terms"),
    *("--target-scale", "--test-chromosomes", "gene", "variants"),
}
"""Options and arguments of text that name no file."""

HEADS_BY_NAME = {
    ("score", "saturate"),
    ("score", "variant"),
    ("score", "vcf"),
    ("train", "evaluate"),
}


def takes_a_path(command: tuple[str, ...], parameter: click.Parameter) -> bool:
    name = parameter.opts[0]
    by_name = name == "--heads" and command in HEADS_BY_NAME
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return False
    text = isinstance(parameter.type, click.Path | _options.NameOrFile) or (
        parameter.type is click.STRING
    )
    text = text and not isinstance(parameter.type, _options.PlacePath)
    by_name |= command[0] == "plot" and parameter.type is click.STRING
    return text and name not in NO_PATHS and not by_name


PATHS = [
    (command, parameter)
    for command, found in leaves(main)
    for parameter in found.params
    if takes_a_path(command, parameter)
]


@pytest.mark.parametrize(
    ("command", "parameter"), PATHS, ids=[f"{' '.join(c)} {p.opts[0]}" for c, p in PATHS]
)
def test_an_address_is_refused_for_every_path(
    cli: Cli,
    command: tuple[str, ...],
    parameter: click.Parameter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing else need be given, and nothing is written, as a folder ``s3:`` was."""
    monkeypatch.chdir(tmp_path)
    address = "s3://bucket/a.zarr"
    if isinstance(parameter, click.Option):
        done = cli(*command, parameter.opts[0], address)
    else:
        before = [p for p in leaf(command).params if isinstance(p, click.Argument)]
        done = cli(*command, *["x"] * before.index(parameter), address)
    assert done.exit_code == 1, done.output
    assert f"{address}: is an address" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def leaf(command: tuple[str, ...]) -> click.Command:
    return dict(leaves(main))[command]


@pytest.mark.parametrize("address", ["gs://b/x", "az://b/x", "https://host/x.vcf", "file:///x"])
def test_an_address_of_any_kind_is_refused(cli: Cli, address: str, tmp_path: Path) -> None:
    for given in (
        ["inspect", "x", "--cache", address],
        ["train", "evaluate", "--model", f"a={address}"],
    ):
        done = cli(*given)
        assert done.exit_code == 1
        assert f"{address}: is an address" in done.stderr


def test_an_address_is_refused_from_python(
    options: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = Path("s3://bucket/x.zarr")
    for work in (
        lambda: build(replace(options, genome=address), "cpu"),
        lambda: add_hidden(address),
    ):
        with pytest.raises(InputError, match=r"^s3://bucket/x\.zarr: is an address"):
            work()
    assert list(tmp_path.iterdir()) == []
