"""Messages of the library name parameters; the command line names its flags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import Result

import seal_store
from seal_store.building.options import BuildOptions
from seal_store.cli import NAMED_OTHERWISE, as_typed, main
from seal_store.errors import InputError
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.store.store import Store
from seal_store.synthetic import World

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
