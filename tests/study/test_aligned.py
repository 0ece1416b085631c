"""With a store, indels of a table and of results are the same however they are aligned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from seal_store.errors import InputError
from seal_store.results.group import Results
from seal_store.store.store import Store
from seal_store.study.matching import match
from seal_store.study.tables import read_table
from seal_store.variants.bases import StoreBases

Make = Callable[..., Results]
Write = Callable[..., Path]
Cli = Callable[..., Result]


class Repeats:
    """A contig of two bases, in which most indels can be written in several ways."""

    def __init__(self, assembly: str, rng: np.random.Generator) -> None:
        self.assembly = assembly
        self.text = "".join(rng.choice(["A", "C"], 30, p=[0.8, 0.2]))

    def __call__(self, contig: str, first: int, last: int) -> str | None:
        assert contig in ("chr1", "1")
        return self.text[first - 1 : last] if first >= 1 and last <= len(self.text) else None

    def edit(self, rng: np.random.Generator) -> tuple[int, str, str]:
        """POS, REF, ALT: up to two bases for up to two others, behind the base at POS."""
        pos, length = int(rng.integers(1, 28)), int(rng.integers(0, 3))
        before, bases = self.text[pos - 1], self.text[pos : pos + length]
        return pos, before + bases, before + "".join(rng.choice(["A", "C"], rng.integers(0, 3)))

    def carried(self, pos: int, ref: str, alt: str) -> str:
        return self.text[: pos - 1] + alt + self.text[pos - 1 + len(ref) :]


def test_alleles_are_the_same_where_what_is_carried_is(
    make: Make, table: Write, scored: Results, rng: np.random.Generator
) -> None:
    """Every pair of edits of a repeat: matched if and only if they give the same sequence."""
    assembly = scored.attributes.store.assembly
    bases = Repeats(assembly, rng)
    own = sorted({e for e in (bases.edit(rng) for _ in range(400)) if e[1] != e[2]})
    own = [e for e in own if len(e[1]) != len(e[2])]
    first: dict[str, int] = {}
    for row, edit in enumerate(own):
        first.setdefault(bases.carried(*edit), row)
    assert len(first) < 0.8 * len(own)  # most can be written in several ways
    pos, ref, alt = zip(*own, strict=True)
    results = make(np.ones((len(own), 3)), pos=pos, ref=ref, alt=alt)
    path = table(pos=pos, ref=ref, alt=alt)
    lines = read_table(path, "table", {}, assembly, needed=[])
    rows = [found.places[0].row for found in match(results, lines, bases=bases)]
    assert rows == [first[bases.carried(*edit)] for edit in own]
    assert rows != [found.places[0].row for found in match(results, lines)]


def test_another_assembly_is_refused(make: Make, table: Write, rng: np.random.Generator) -> None:
    results = make(np.ones((1, 3)))
    made = results.attributes
    results.attributes = replace(made, store=replace(made.store, assembly="hg19"))
    lines = read_table(table(pos=[1_000]), "table", {}, "hg19", needed=[])
    with pytest.raises(InputError, match="`store`: of hg38 .*, the results of hg19"):
        match(results, lines, bases=Repeats("hg38", rng))


def test_the_commands_left_align(
    make: Make, table: Write, store: Store, cli: Cli, tmp_path: Path
) -> None:
    """A deletion in a run of three bases, once at each end of it."""
    contig, tss = str(store.column("contig")[0]), int(store.column("tss")[0])
    near = StoreBases(store)(contig, tss - 500, tss + 500)
    assert near is not None
    at = next(i for i in range(1, 998) if near[i - 1] != near[i] == near[i + 1] == near[i + 2])
    before, base, pos = near[at - 1], near[at], tss - 500 + at
    results = make(
        np.ones((2, 3)),
        contig=[contig] * 2,
        pos=[pos - 1, 1],
        ref=[before + base, "A"],
        alt=[before, "C"],
    )
    both = {"chrom": [contig] * 2, "pos": [pos + 1, 1], "ref": [base * 2, "A"], "alt": [base, "C"]}
    for args, columns in (
        (("loci", results.path, "--credible-sets"), {"locus": "LL", "pip": [0.5, 0.5]}),
        (("burden", results.path, "--groups"), {"group": ["case", "control"]}),
        (("evaluate", "variants", results.path, "--truth"), {"label": [1, 0]}),
    ):
        given = [*args, table(**both, **columns), "--out", tmp_path / f"{args[0]}.tsv"]
        plain = cli(*given)
        assert "insertion or deletion, as it is aligned" in plain.output
        done = cli(*given, "--store", store.path, "--overwrite")
        assert done.exit_code == 0, done.output
        assert "insertion or deletion" not in done.stdout
