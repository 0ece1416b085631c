"""Expression -> training data of heads: targets, gene weights, training and test genes.

The steps, each a function: a pseudocount per context; target = ln(value + pseudocount); genes that
are left out; a weight per gene and context; test genes by chromosome, validation genes by lot.
All of it is float64; :mod:`seal_store.training.fit` rounds to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seal_store.errors import TrainingError
from seal_store.reference.contigs import chromosome
from seal_store.reference.gene_table import GeneTable
from seal_store.training.expression import Matrix, NumberedLines

SEX_CHROMOSOMES = ("chrX", "chrY")
SPLIT_SEED = 0
"""``random_state`` of the validation genes: the same ones whatever ``seed`` is."""
UPPER, LOWER = 0.7, 0.1
"""Quantiles of a group's standard deviations beyond which a gene weighs more or less."""
FEWEST_TEST = 3
"""A rank correlation over fewer genes says nothing."""


@dataclass(frozen=True)
class Group:
    """Contexts that are weighted together; ``columns`` are 0-based and ascending."""

    name: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Targets:
    """What is known of the genes that can be trained on or tested.

    ``rows`` int64 ``(genes,)``: their rows in the gene table, ascending. ``values`` float64
    ``(genes, contexts)``: ln(value + pseudocount). ``pseudocounts`` ``(contexts,)``. ``left_out``
    counts the other genes of the table by reason, ``not_in_table`` the expression's other rows.
    """

    rows: np.ndarray
    values: np.ndarray
    contexts: tuple[str, ...]
    pseudocounts: np.ndarray
    left_out: dict[str, int]
    not_in_table: int


@dataclass(frozen=True)
class Split:
    """Positions among the genes of :class:`Targets`, int64, disjoint and together all of them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def make_targets(expression: Matrix, genes: GeneTable) -> Targets:
    """Join ``expression`` to the gene table and take logarithms.

    A gene is left out if it is not in ``expression``, lacks a value in any context, is an rRNA
    gene, or lies on chrX or chrY; it is counted under the first of these that holds.
    Pseudocounts are over every gene of the table that has a value, left out or not. Raises
    :class:`TrainingError` if no gene is in common or a context has no positive value.
    """
    rows_there = expression.rows(genes.gene_id)
    known = np.unique(rows_there[rows_there >= 0])
    if not len(known):
        raise TrainingError(
            f"{expression.path}: no gene in common with the gene table "
            f"({str(expression.gene_id[0])!r} here, {str(genes.gene_id[0])!r} there)",
            "give a row for each gene, by its id as the gene table spells it",
        )
    values = expression.of(genes.gene_id)
    offsets = pseudocounts(values, expression)
    reasons = {
        "not_in_expression": rows_there < 0,
        "missing_value": np.isnan(values).any(1),
        "rRNA": genes.gene_type == "rRNA",
        "sex_chromosome": np.isin(chromosomes(genes.contig), SEX_CHROMOSOMES),
    }
    kept = np.ones(len(genes), bool)
    left_out = {}
    for reason, concerned in reasons.items():
        left_out[reason] = int((kept & concerned).sum())
        kept &= ~concerned
    rows = np.flatnonzero(kept)
    return Targets(
        rows,
        np.log(values[rows] + offsets),
        expression.contexts,
        offsets,
        left_out,
        len(expression.gene_id) - len(known),
    )


def pseudocounts(values: np.ndarray, expression: Matrix) -> np.ndarray:
    """Per column ``10 ** (floor(log10(smallest positive value)) + 1)``; NaN is no value.

    0.003 gives 0.01 and 0.01 gives 0.1. Raises :class:`TrainingError` naming the first context
    without a positive value.
    """
    smallest = np.where(values > 0, values, np.inf).min(0)
    if np.isinf(smallest).any():
        column = int(np.flatnonzero(np.isinf(smallest))[0])
        raise TrainingError(
            f"{expression.path}: no gene of the gene table has a positive value in column "
            f"{column + 2} ({expression.contexts[column]})",
            "leave this context out",
        )
    return np.array([10.0 ** (int(e) + 1) for e in np.floor(np.log10(smallest))])


def chromosomes(contigs: np.ndarray) -> np.ndarray:
    """``chr1`` ... ``chrX`` for a chromosome under any of its names; others with ``chr`` too."""
    names = [chromosome(str(c)) or str(c).removeprefix("chr") for c in contigs]
    return np.array([f"chr{name}" for name in names], np.str_)


def read_groups(path: str | Path | None, contexts: Sequence[str]) -> tuple[list[Group], str | None]:
    """Context groups, ``name<TAB>1,2,5`` a line, and the SHA-256 of the file.

    Without a file all contexts are one group.

    Columns are 1-based and count contexts: 1 is the one after ``gene_id``. A first line whose
    second field holds no digit is a header. Raises :class:`TrainingError` with file and line if
    the file is missing or malformed, a column is out of range or in two groups, or one is in
    none.
    """
    if path is None:
        return [Group("all", tuple(range(len(contexts))))], None
    path = Path(path)
    groups: list[Group] = []
    group_of: dict[int, str] = {}
    text = NumberedLines(path, "group table", "groups")
    for number, line in text:
        name, tab, listed = (part.strip(" \r") for part in line.partition("\t"))
        if number == 1 and tab and not any(map(str.isdigit, listed)):
            continue
        where = f"{path}:{number}"
        if not tab or not name or not listed.strip():
            raise TrainingError(
                f"{where}: no group name and columns", "expected name<TAB>1,2,5 on each line"
            )
        if any(group.name == name for group in groups):
            raise TrainingError(f"{where}: group {name!r} stands on an earlier line too")
        columns = [_column(text, len(contexts), where) for text in listed.split(",")]
        for column in columns:
            if column in group_of:
                raise TrainingError(
                    f"{where}: column {column + 1} ({contexts[column]}) is in group "
                    f"{group_of[column]!r} already",
                    "put every context into one group",
                )
            group_of[column] = name
        groups.append(Group(name, tuple(sorted(columns))))
    absent = [i for i in range(len(contexts)) if i not in group_of]
    if absent:
        raise TrainingError(
            f"{path}: column {absent[0] + 1} ({contexts[absent[0]]}) is in no group",
            "put every context into one group",
        )
    return groups, text.sha256


def _column(text: str, count: int, where: str) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdigit():
        raise TrainingError(
            f"{where}: {text[:40]!r} is not a column number", "expected name<TAB>1,2,5"
        )
    if not 1 <= int(text) <= count:
        raise TrainingError(
            f"{where}: column {int(text)} of {count} contexts",
            "columns are counted from 1, without gene_id",
        )
    return int(text) - 1


def gene_weights(
    targets: np.ndarray, groups: Sequence[Group], weight: float, test: np.ndarray
) -> np.ndarray:
    """Weight of every gene in every context, float64 like ``targets`` ``(genes, contexts)``.

    Within a group: the standard deviation of a gene's targets over the group's columns (with
    n - 1, as pandas has it); above the 0.7 quantile ``weight``, below the 0.1 quantile
    ``1 / weight``, else 1. Quantiles are over all genes but those at the positions ``test``, and
    interpolated linearly; at a quantile the weight is 1. A group of one column has weight 1.
    """
    weights = np.ones_like(targets)
    for group in groups:
        if len(group.columns) == 1:
            continue
        spread = targets[:, group.columns].std(1, ddof=1)
        upper, lower = np.quantile(np.delete(spread, test), (UPPER, LOWER))
        own = np.where(spread > upper, weight, np.where(spread < lower, 1 / weight, 1.0))
        weights[:, group.columns] = own[:, None]
    return weights


def split_genes(contigs: np.ndarray, test_chromosomes: Sequence[str], share: float) -> Split:
    """Test genes are those on ``test_chromosomes``; ``share`` of the others is for validation.

    Validation genes are those of scikit-learn's ``train_test_split(others, test_size=share,
    random_state=0)``, ``others`` in the order given. Raises :class:`TrainingError` if a part
    would be too small.
    """
    from sklearn.model_selection import train_test_split

    test = test_genes(contigs, test_chromosomes)
    others = np.setdiff1d(np.arange(len(contigs)), test)
    try:
        train, validation = train_test_split(others, test_size=share, random_state=SPLIT_SEED)
    except ValueError as error:
        raise TrainingError(
            f"{len(others)} genes are left for training: `validation_share` {share} of them "
            "leaves a part empty",
            "give more genes, fewer `test_chromosomes` or another `validation_share`",
        ) from error
    return Split(train.astype(np.int64), validation.astype(np.int64), test)


def test_genes(contigs: np.ndarray, test_chromosomes: Sequence[str]) -> np.ndarray:
    """Positions of the genes on ``test_chromosomes``, under any of their names, ascending.

    Raises :class:`TrainingError` if a chromosome has none or all together fewer than three.
    """
    own = chromosomes(contigs)
    wanted = chromosomes(np.array(test_chromosomes))
    for name in wanted:
        if name not in own:
            raise TrainingError(
                f"`test_chromosomes`: no gene that can be used on {name}",
                f"there are genes on {', '.join(sorted(set(own.tolist()))[:30])}",
            )
    found = np.flatnonzero(np.isin(own, wanted))
    if len(found) < FEWEST_TEST:
        raise TrainingError(
            f"`test_chromosomes` {','.join(wanted)}: {len(found)} genes to test on, "
            f"{FEWEST_TEST} are needed",
            "name more chromosomes or give more genes",
        )
    return found
