"""What is known of variants: signed effects or labels, with weights, groups, folds and loci."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.errors import InputError
from seal_store.reference.contigs import chromosome
from seal_store.results.group import Results
from seal_store.study.matching import Match, Place, match, strongest_places
from seal_store.study.tables import (
    Line,
    Table,
    check_allele_of_effects,
    nothing_left,
    number,
    plain,
    read_table,
    same_number,
)
from seal_store.variants.bases import Reference

COLUMNS = {
    "gene": ("gene", "gene_id", "gene_symbol", "gene_name"),
    "effect": ("effect", "slope", "beta", "log2fc"),
    "label": ("label", "causal"),
    "weight": ("weight",),
    "group": ("group",),
    "fold": ("fold",),
    "locus": ("locus", "region"),
}
LABELS = {
    **dict.fromkeys(("1", "causal", "case", "true", "yes", "positive"), 1.0),
    **dict.fromkeys(("0", "control", "false", "no", "negative"), 0.0),
}
LOCUS_BP = 100_000
"""Length of the blocks that are loci where neither a locus nor a gene is given."""
FOLDS = 5
"""Folds where the table has none."""


@dataclass(frozen=True)
class Truth:
    """What is known of ``n`` variants that have a row in results; arrays are ``(n,)``.

    ``rows`` int64 in the results; ``sign`` -1 where alleles were turned; ``distance`` |pos - TSS|
    in bp, of the line's gene, else of the nearest among its rows: that of the row which the model
    chose would make a worse baseline. ``effect``, ``label`` (0 or 1) and ``weight`` are float64,
    the first two NaN where not known. ``group``, ``fold`` and ``locus`` are text. ``scores`` are
    those of other models by name, NaN where missing; ``unused`` names columns that hold no numbers.
    """

    table: Table
    rows: np.ndarray
    sign: np.ndarray
    distance: np.ndarray
    effect: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    fold: np.ndarray
    locus: np.ndarray
    scores: dict[str, np.ndarray]
    unused: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


def read_truth(
    table: object,
    results: Results,
    contexts: np.ndarray,
    progress: Progress = silent,
    bases: Reference | None = None,
) -> Truth:
    """The truth in ``table``, matched with rows of ``results``.

    Without a gene a variant's row is that of the largest ``|effect|`` on ``contexts``. A later
    line of a row that has one already is counted, and raises :class:`InputError` if it says
    otherwise. ``bases`` left-align indels, see :func:`match`. Raises :class:`InputError` too if
    no line has a row.
    """
    found = read_table(
        table,
        "truth",
        COLUMNS,
        results.attributes.store.assembly,
        needed=[("effect", "label")],
    )
    if "effect" in found.fields:
        check_allele_of_effects(found, "truth")
    _keep_known(found)
    matches = match(results, found, progress, bases)
    places = strongest_places(results, matches, contexts, progress)
    if not places:
        raise nothing_left(found, "truth", results)
    kept = _once(matches, places, found)
    lines = [matches[i].line for i in kept]
    places = [places[i] for i in kept]
    scores, unused = _scores(found.others, lines)
    fold = _cells(lines, "fold")
    if "fold" in found.fields and (fold == "").any():
        without = lines[int((fold == "").argmax())]
        raise InputError(
            f"`truth` {without}: has no fold", "give each line one, or leave out the column"
        )
    locus = _loci(lines, places)
    return Truth(
        found,
        np.array([p.row for p in places], np.int64),
        np.array([matches[i].sign for i in kept], np.int8),
        np.array([min(abs(p.distance) for p in matches[i].places) for i in kept], np.int64),
        _numbers(lines, "effect"),
        np.array([_label(line) for line in lines], float),
        np.nan_to_num(_numbers(lines, "weight"), nan=1.0),
        _cells(lines, "group"),
        fold if "fold" in found.fields else _folds(locus),
        locus,
        scores,
        unused,
    )


def _keep_known(table: Table) -> None:
    """Leave out lines that say nothing, or nothing that is understood."""
    kept = []
    for line in table.lines:
        if problem := _problem(line):
            table.odd.skip(problem, str(line))
        else:
            kept.append(line)
    table.lines[:] = kept


def _problem(line: Line) -> str:
    cells = line.cells
    label = cells.get("label", "")
    if label and _label(line) is None:
        return "label is neither 1 nor 0"
    for name in ("effect", "weight"):
        try:
            value = number(cells.get(name, ""))
        except ValueError:
            return f"{name} is not a number"
        if name == "weight" and value < 0:
            return "weight is negative"
        if name == "effect" and math.isnan(value) and not label:
            return "neither effect nor label"
    return ""


def _once(matches: Sequence[Match], places: Sequence[Place], table: Table) -> list[int]:
    """Positions of the first line of each row and group; :class:`InputError` if others differ."""
    first: dict[tuple[int, str], int] = {}
    for i, (own, place) in enumerate(zip(matches, places, strict=True)):
        other = matches[first.setdefault((place.row, own.line.cells.get("group", "")), i)]
        if other is own:
            continue
        if not _says_the_same(own, other):
            raise InputError(
                f"`truth` {own.line}: says otherwise than {other.line.where} about the same "
                "variant and gene",
                "leave one line for each variant, gene and group, or score more genes "
                "(--genes all)",
            )
        table.odd.skip("the same variant and gene again", str(own.line))
    return list(first.values())


def _says_the_same(own: Match, other: Match) -> bool:
    labels = {_label(m.line) for m in (own, other)}
    effects = [number(m.line.cells.get("effect", "")) * m.sign for m in (own, other)]
    return len(labels) == 1 and same_number(*effects)


def _label(line: Line) -> float | None:
    return LABELS.get(plain(line.cells.get("label", "").lower()))


def _numbers(lines: Sequence[Line], name: str) -> np.ndarray:
    return np.array([number(line.cells.get(name, "")) for line in lines], float)


def _cells(lines: Sequence[Line], name: str) -> np.ndarray:
    return np.array([line.cells.get(name, "") for line in lines], object)


def _loci(lines: Sequence[Line], places: Sequence[Place]) -> np.ndarray:
    """The locus of each line, else its gene, else a block of the contig.

    Genes and blocks that share a variant are one locus: what is known of it would be known in
    both, and the folds of a choice would not be apart.
    """
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    found: list[str] = []
    first: dict[tuple[object, ...], str] = {}
    for line, place in zip(lines, places, strict=True):
        own, gene = line.cells.get("locus", ""), line.cells.get("gene", "")
        contig = chromosome(line.contig) or line.contig
        block = f"{contig}:{line.pos // LOCUS_BP * LOCUS_BP}"
        found.append(f"locus {own}" if own else f"gene {place.gene}" if gene else block)
        if not own:
            variant = (contig, line.pos, *sorted((line.ref, line.alt)))
            above[top(found[-1])] = top(first.setdefault(variant, found[-1]))
    return np.array([top(name) for name in found], object)


def _folds(locus: np.ndarray) -> np.ndarray:
    """A fold for each locus, dealt in the order of a hash of their names."""
    names = sorted(set(locus.tolist()), key=lambda name: hashlib.sha256(name.encode()).digest())
    fold_of = {name: str(i % FOLDS) for i, name in enumerate(names)}
    return np.array([fold_of[name] for name in locus.tolist()], object)


def _scores(
    names: Sequence[str], lines: Sequence[Line]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Columns that hold numbers, and the names of the others."""
    found: dict[str, np.ndarray] = {}
    unused = []
    for name in names:
        try:
            values = _numbers(lines, name)
        except ValueError:
            values = np.full(len(lines), np.nan)
        if np.isnan(values).all():
            unused.append(name)
        else:
            found[name] = values
    return found, tuple(unused)
