"""Odd lines of a gene table are told by training too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import Result
from planted import write_planted


def test_odd_lines_of_the_gene_table_are_told(
    cli: Callable[..., Result], rng: np.random.Generator, tmp_path: Path
) -> None:
    planted = write_planted(tmp_path, rng)
    text = planted.genes.read_text()
    lines = len(text.splitlines())
    planted.genes.write_text(text + "ODD,S,chr1,?,5,5,protein_coding\n")
    said = f"(first: {planted.genes}:{lines + 1}: strand '?' is not + or -)"
    out = ["--name", "n", "--out", tmp_path / "t", "--device", "cpu", "-q"]
    made = cli("train", "pretrain", *planted.args(), *out, "--epochs", 1, "--latent", 4)
    assert made.exit_code == 0, made.output
    assert said in made.stdout
    (record,) = (tmp_path / "t").glob("*_training.json")
    (odd,) = json.loads(record.read_text())["odd_lines"].values()
    assert odd["lines"] == 1
    compared = cli(
        *("train", "evaluate", *planted.args(), "--model", f"n={tmp_path / 't'}"),
        *("--out", tmp_path / "e", "--device", "cpu", "-q", "--json"),
    )
    assert compared.exit_code == 0, compared.output
    assert list(json.loads(compared.stdout)["odd_lines"].values()) == [odd]
