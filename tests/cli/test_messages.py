"""Messages of the library name parameters; the command line names its flags."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import Result

import seal_store
import seal_store.cli as cli_package
from seal_store.building.options import BuildOptions
from seal_store.cli import NAMED_OTHERWISE, as_typed, main
from seal_store.cli._text import plan_text, tell
from seal_store.common.words import counted
from seal_store.errors import InputError
from seal_store.model.heads import load_heads
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.store.store import Store
from seal_store.synthetic import World, write_head_set

Cli = Callable[..., Result]


def command(*names: str) -> click.Command:
    found: click.Command = main
    for name in names:
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None
        found = inner
    return found


@pytest.mark.parametrize(
    ("text", "names", "typed"),
    [
        ("add `overwrite=True` to it", ("score", "vcf"), "add --overwrite to it"),
        ("`hidden=False` leaves it out", ("build",), "--no-hidden leaves it out"),
        ("`ref_mismatch='skip'` goes on", ("score", "vcf"), "--ref-mismatch skip goes on"),
        ("`max_distance` -1: negative", ("score", "variant"), "--max-distance -1: negative"),
        ("name contexts with `targets`", ("attribute",), "name contexts with --target"),
        (
            "`context` x: several head sets have it",
            ("export",),
            "--contexts x: several head sets have it",
        ),
        ("name one: `calibration`", ("score", "variant"), "name one: --calibration"),
        ("name one: `calibration`", ("plot", "calibration"), "name one: --name"),
        ("choose another `out`", ("score", "vcf"), "choose another --out"),
        ("choose another `out`", ("fetch",), "choose another --to"),
        ("`results` were made", ("export",), "RESULTS were made"),
        ("`dtype` 'x'", ("attribute",), "--attribution-dtype 'x'"),
        ("`contexts=['a']`", ("heads", "add"), "`contexts=['a']`"),
        ("see `seal-store heads add`", ("score", "vcf"), "see `seal-store heads add`"),
        ("filter with `bcftools view -i`", ("score", "vcf"), "filter with `bcftools view -i`"),
    ],
)
def test_parameters_become_flags(text: str, names: tuple[str, ...], typed: str) -> None:
    assert as_typed(text, command(*names)) == typed


@pytest.mark.parametrize(
    ("options", "names", "unset"),
    [
        (ScoreOptions, ("score", "vcf"), set()),
        (AttributionOptions, ("score", "vcf"), set()),
        (BuildOptions, ("build",), {"max_distance", "command", "near_lengths", "genes_per_shard"}),
    ],
)
def test_every_option_of_the_library_has_a_flag(
    options: type, names: tuple[str, ...], unset: set[str]
) -> None:
    flags = {parameter.name for parameter in command(*names).params}
    own = {entry.name for entry in fields(options)}
    assert {n for n in own - flags if NAMED_OTHERWISE.get(n) not in flags} == unset


def test_one_fault_in_both_words(cli: Cli, store: Store, world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^`max_distance` 30000: not between"):
        seal_store.score(store, [], max_distance=30_000)
    args = ("--store", store.path, "--max-distance", 30_000)
    for result in (
        cli("score", "vcf", world.variants, "--out", tmp_path / "o.tsv", *args),
        cli("score", "variant", "chr1:1:A:C", *args),
    ):
        assert result.exit_code == 1
        assert "error: --max-distance 30000: not between" in result.stderr
        assert "`" not in result.stderr


def test_without_a_target_the_command_that_lists_them_is_named(cli: Cli, world: World) -> None:
    args = ("--store", "s.zarr", "--out", "o.zarr", "--attribute", "deeplift")
    done = cli("score", "vcf", world.variants, *args)
    assert "name contexts with --target, or 'all'; `seal-store heads list STORE" in done.stderr


ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e"


@pytest.mark.slow
def test_names_from_a_store_do_not_steer_the_terminal(
    cli: Callable[..., Result], make_store: Callable[..., Store], world: World, tmp_path: Path
) -> None:
    inputs = load_heads(world.heads)[0].inputs
    write_head_set(tmp_path / "heads", "odd", (ESCAPES, "plain"), inputs, 3, 1)
    store = make_store(heads=(tmp_path / "heads",))
    out = tmp_path / "o.tsv"
    commands: list[list[object]] = [
        ["heads", "list", store.path, "--contexts"],
        ["inspect", store.path],
        ["verify", store.path, "-q"],
        ["score", "vcf", world.variants, "--store", store.path, "--out", out, "-q"],
        ["expression", store.path, "--out", out, "--contexts", ESCAPES],
        ["score", "variant", "chr1:1:A:G", "--store", store.path, "--contexts", ESCAPES],
    ]
    for command in commands:
        done = cli(*command)
        text = done.stdout + done.stderr
        assert all(c.isprintable() or c in "\n\t" for c in text), (command, text)
    assert "\\x1b[31mred\\x1b]0;title\\x07\\x9b2J\\u202e" in cli(*commands[0]).stdout
    listed = json.loads(cli(*commands[0], "--json").stdout)
    assert listed[0]["context_names"] == [ESCAPES, "plain"]


def test_a_line_break_in_a_name_makes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    tell(["one\ntwo\tthree", "four"])
    tell("five\nsix\r\x1b")
    assert capsys.readouterr().out == "one\\ntwo\tthree\nfour\nfive\nsix\\r\\x1b\n"


def test_all_text_goes_one_way() -> None:
    for path in Path(cli_package.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            allowed = path.name == "_text.py" and called == "click.echo"
            others = ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write")
            assert allowed or called not in others, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    "command",
    [
        ["score", "vcf", "in.vcf", "--store", "s.zarr", "--out", "o.tsv"],
        ["verify", "s.zarr"],
        ["build", "--out", "x.zarr", "--genome", "a", "--genes", "b", "--cnn", "c"],
        ["train", "pretrain", "--out", "x", "--expression", "a", "--store", "b", "--name", "n"],
    ],
)
def test_a_working_directory_that_is_gone_is_one_line(tmp_path: Path, command: list[str]) -> None:
    program = (
        "import os, sys\n"
        f"os.chdir({str(tmp_path)!r}); os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from seal_store.cli import run\n"
        "run(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "seal-store: error: the working directory was removed; change to another one\n"
    )


def test_a_name_that_the_shell_put_there_is_escaped(cli: Callable[..., Result]) -> None:
    for args in (["inspect", "a", ESCAPES], ["inspect", f"--{ESCAPES}"], [ESCAPES]):
        done = cli(*args)
        assert done.exit_code == 2
        assert all(c.isprintable() or c == "\n" for c in done.stderr), done.stderr
        assert "\\x1b[31mred" in done.stderr


def test_a_folder_that_is_no_demo_is_not_written_to(
    cli: Callable[..., Result], tmp_path: Path
) -> None:
    mine = tmp_path / "genome.fa"
    mine.write_text(">mine\nACGT\n")
    done = cli("demo", tmp_path, "--overwrite", "-q")
    assert done.exit_code == 1
    assert "is no folder of an earlier demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["genome.fa"]
    assert mine.read_text() == ">mine\nACGT\n"


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        (1, "planned 1 gene in 1 shard: run --shard 0, then --finalize"),
        (3, "planned 1 gene in 3 shards: run --shard 0 to --shard 2, then --finalize"),
    ],
)
def test_a_plan_in_words(pieces: int, says: str) -> None:
    assert plan_text(counted(1, "gene"), pieces, "shard") == says


def test_counts_have_the_word_that_fits() -> None:
    found = [counted(n, "gene") for n in (0, 1, 2, 1_000)]
    assert found == ["0 genes", "1 gene", "2 genes", "1,000 genes"]
    assert [counted(n, "locus", "loci") for n in (1, 2)] == ["1 locus", "2 loci"]


def test_one_gene_and_one_row_are_one(
    cli: Cli, make_store: Callable[..., Store], tmp_path: Path
) -> None:
    store = make_store(gene=("GENE02",))
    tss = int(store.column("tss")[0])
    ref = chr(store.sequence(0)[22_500])
    (tmp_path / "in.vcf").write_text(f"chr1\t{tss}\t.\t{ref}\t{'CGTA'['ACGT'.index(ref)]}\n")
    out = tmp_path / "o.zarr"
    args = ("score", "vcf", tmp_path / "in.vcf", "--store", store.path, "--out", out, "-q")
    done = cli(*args, "--device", "cpu")
    assert done.stdout.startswith(f"{out}: 1 row (scheme grid)\n")
    assert f"{tmp_path / 'o.tsv'}: 1 row\n" in cli("export", out, tmp_path / "o.tsv").stdout
