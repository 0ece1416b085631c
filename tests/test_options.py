"""Options that many commands share: numbers out of range, and options without an effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result
from planted import Planted, write_planted

from seal_store.cli import main
from seal_store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]
CONTEXT = "childhood.DFC"
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

    quiet, scored = ["--device", "cpu", "-q"], ["--store", store.path, "--device", "cpu", "-q"]
    sampled = ["--contexts", CONTEXT, "--attribute", "lime", "--target", CONTEXT]
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
        "attribute": lambda: [results(""), "--method", "lime", "--target", CONTEXT, *quiet],
        "calibrate": lambda: [store.path, variant, *quiet],
        "expression": lambda: [store.path, "--out", tmp_path / "e.tsv", "--gene", "GENE02"],
        "export": lambda: [results(), tmp_path / "e.tsv", "-q"],
        "train pretrain": lambda: [*planted.args(), *training, "--latent", 4],
        "train finetune": lambda: [*planted.args(), *training, "--from", tmp_path / "nowhere"],
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
            assert option in result.stderr or "no planned store" in result.stderr, result.stderr
