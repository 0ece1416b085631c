"""Credible sets: what the effects of their variants come to, weighted by the posterior (PIP).

The weighted sum is over alleles as the table has them. It says something only where these are
oriented alike, as by the allele that raises the risk; ``size`` does without.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.common.words import counted
from seal_store.errors import InputError
from seal_store.model.contexts import select_contexts
from seal_store.results.group import Results
from seal_store.study.matching import Edits, Match, Place, effects_of, is_gene, match
from seal_store.study.tables import (
    Line,
    Table,
    nothing_left,
    number,
    plain,
    read_table,
    same_number,
)
from seal_store.study.why import Features
from seal_store.study.writing import Study, as_columns, facts_of
from seal_store.variants.alleles import short
from seal_store.variants.bases import Reference

MEANINGS = {
    "gene": ("gene", "gene_id", "gene_symbol"),
    "pip": ("pip", "prob", "posterior_prob", "variable_prob"),
    "locus": ("locus", "region", "locus_id"),
    "cs": ("cs", "cs_id", "credible_set"),
}
NO_SET = {"", "-1", "0"}
"""What SuSiE and others write in ``cs`` for a variant that is in no credible set."""
SHOWN = 5
"""Variants of a locus, gene and context that are named: those of the largest share."""
SEVERAL = 1.0 + 1e-6
_LONG = re.compile(r"(?<=:)[ACGTN]{25,}")
"""An allele that people are told the beginning of."""


@dataclass(frozen=True)
class LociOptions:
    """Which ``contexts`` (all by default), and how many variants and features are named."""

    contexts: Sequence[str] = ()
    top: int = SHOWN

    def __post_init__(self) -> None:
        conform(self)
        if self.top < 1:
            raise InputError(f"`top` {self.top}: not positive")


def loci(
    results: Results,
    credible_sets: Any,
    options: LociOptions | None = None,
    progress: Progress = silent,
    bases: Reference | None = None,
) -> Study:
    """PIP-weighted effects of each locus on each gene and context.

    ``credible_sets`` is the path of a table, or a data frame, of variants with a PIP and a locus.
    The study's table has, for each locus, gene and context, ``effect`` = sum of PIP times effect,
    in ln(expression + pseudocount), ``size`` = sum of PIP times ``|effect|``, the sums of PIP of
    variants with a row of that gene and of the locus' others, the ``variants`` that carry it and,
    where the results have attributions, the ``features`` with the largest PIP-weighted ones.
    Effects are held for all variants: 4 bytes for each of ``contexts``. ``bases`` left-align
    insertions and deletions, see :func:`~seal_store.study.matching.match`. Raises
    :class:`InputError` for a table that cannot be used and :class:`HeadsError` for a
    context that is not there.
    """
    options = options or LociOptions()
    names, sets = results.contexts()
    contexts = select_contexts(list(zip(sets, names, strict=True)), options.contexts)
    table = read_table(
        credible_sets,
        "credible_sets",
        MEANINGS,
        results.attributes.store.assembly,
        needed=[("pip",), *([] if _is_one_region(credible_sets) else [("locus", "cs")])],
    )
    if not table.columns & {"locus", "cs"}:
        _name_region(table)
    key_of = Edits(bases).key
    _keep_known(table, key_of)
    matches = match(results, table, progress, bases)
    signals = _signals(table.lines, key_of)
    known = {(_locus(m.line), key_of(m.line)) for m in matches}
    lines_of = _by_locus(table.lines)
    matches = _once(matches, table)
    if not matches:
        raise nothing_left(table, "credible_sets", results)
    by_gene: dict[tuple[str, str], list[tuple[Match, Place]]] = defaultdict(list)
    for found in matches:
        for place in found.places:
            by_gene[_locus(found.line), place.gene].append((found, place))
    parts: list[dict[str, Any]] = []
    labels = [(sets[i], names[i]) for i in contexts.tolist()]
    rows = np.unique(np.array([p.row for m in matches for p in m.places], np.int64))
    every = effects_of(results, rows, contexts, progress)
    features = Features(results)
    for done, ((locus, gene), own) in enumerate(by_gene.items(), 1):
        effects = every[np.searchsorted(rows, [place.row for _, place in own])]
        total = _total(lines_of[locus], own[0][1], key_of)
        parts += _lines(locus, gene, own, effects, labels, total, options.top, features)
        progress("loci and genes", done, len(by_gene))
    columns = as_columns(parts, COLUMNS)
    with_rows = {locus for locus, _ in by_gene}
    without = [locus for locus in lines_of if locus not in with_rows]
    pips = [(locus, own) for locus, several in signals.items() for own in several]
    facts = {
        **facts_of(results, table, len(matches)),
        "contexts_asked": list(options.contexts),
        "loci": len(lines_of),
        "loci_without_rows": len(without),
        "first_locus_without_rows": without[0] if without else None,
        "genes": len({gene for _, gene in by_gene}),
        "swapped": sum(found.swapped for found in matches),
        "loci_of_several_signals": len({at for at, own in pips if sum(own.values()) > SEVERAL}),
        "pip": sum(pip for _, own in pips for pip in own.values()),
        "pip_matched": sum(
            pip for at, own in pips for key, pip in own.items() if (at, key) in known
        ),
    }
    return Study("Effects of credible sets", columns, facts)


COLUMNS: dict[str, type] = {
    **dict.fromkeys(("locus", "gene_id", "gene_symbol", "context_set", "context"), str),
    **dict.fromkeys(("effect", "size", "pip_matched", "pip_unmatched"), float),
    **dict.fromkeys(("matched", "swapped"), int),
    **dict.fromkeys(("variants", "features"), str),
}
"""Columns of the study's table."""


def summary(study: Study) -> list[str]:
    """Lines for people: loci, and the largest effect."""
    f = study.facts
    found = [
        f"{f['loci'] - f['loci_without_rows']} of {counted(f['loci'], 'locus', 'loci')} have rows, "
        f"of {counted(f['genes'], 'gene')}; PIP {f['pip_matched']:.4g} of {f['pip']:.4g}; "
        f"alleles swapped: {f['swapped']}"
    ]
    if len(study):
        c = study.columns
        i = int(np.abs(c["effect"]).argmax())
        carried = _LONG.sub(lambda bases: short(bases[0]), c["variants"][i])
        found.append(
            f"largest: {c['effect'][i]:.4g} of {c['locus'][i]} on {c['gene_id'][i]} in "
            f"{c['context'][i]}, by {carried}"
        )
    return found


def _locus(line: Line) -> str:
    """The locus of a line, with its credible set where both are given."""
    names = (plain(line.cells.get(name, "")) for name in ("locus", "cs"))
    return " cs ".join(filter(None, names))


def _pip(line: Line) -> float:
    return number(line.cells["pip"])


Key = Callable[[Line], tuple[object, ...]]


def _keep_known(table: Table, key_of: Key) -> None:
    """Leave out lines that say nothing or say it again."""
    first: dict[tuple[object, ...], Line] = {}
    for line in table.lines:
        if problem := _problem(line):
            table.odd.skip(problem, str(line))
            continue
        locus = _locus(line)
        other = first.setdefault((locus, key_of(line), line.cells.get("gene", "")), line)
        if other is not line:
            _count_again(line, other, locus, table)
    table.lines[:] = first.values()


def _by_locus(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[_locus(line)].append(line)
    return found


def _signals(
    lines: Sequence[Line], key_of: Key
) -> dict[str, list[dict[tuple[object, ...], float]]]:
    """PIP of the variants of each locus, once for each gene that lines name.

    Lines without a gene are of all of them.
    """
    found = {}
    for locus, own in _by_locus(lines).items():
        genes = dict.fromkeys(line.cells.get("gene", "") for line in own)
        found[locus] = [
            {key_of(ln): _pip(ln) for ln in own if ln.cells.get("gene", "") in ("", gene)}
            for gene in ([gene for gene in genes if gene] or [""])
        ]
    return found


def _total(lines: Sequence[Line], place: Place, key_of: Key) -> float:
    """PIP of the variants of a locus' lines that name the gene of ``place``, or none."""
    own = [ln for ln in lines if not (gene := ln.cells.get("gene", "")) or is_gene(place, gene)]
    return sum({key_of(line): _pip(line) for line in own}.values())


def _count_again(line: Line, other: Line, locus: str, table: Table) -> None:
    if not same_number(_pip(line), _pip(other)):
        raise InputError(
            f"`credible_sets` {line}: another PIP in {locus} than on {other.where}",
            "leave one line for each variant and locus",
        )
    table.odd.skip("the same variant in the same locus again", str(line))


def _once(matches: Sequence[Match], table: Table) -> list[Match]:
    """Matches with each row once in a locus: lines may say the same with and without a gene."""
    first: dict[tuple[str, int], Line] = {}
    found = []
    for own in matches:
        locus, line = _locus(own.line), own.line
        others = [first.setdefault((locus, place.row), line) for place in own.places]
        places = [p for p, other in zip(own.places, others, strict=True) if other is line]
        if places:
            found.append(replace(own, places=tuple(places)))
        else:
            _count_again(line, others[0], locus, table)
    return found


def _is_one_region(table: object) -> bool:
    """Whether this is a file of FINEMAP's, which is of one region and does not name it."""
    return isinstance(table, str | os.PathLike) and os.fspath(table).endswith((".snp", ".snp.gz"))


def _name_region(table: Table) -> None:
    for line in table.lines:
        line.cells["locus"] = Path(table.name.removesuffix(".gz")).stem


def _problem(line: Line) -> str:
    try:
        pip = number(line.cells["pip"])
    except ValueError:
        return "PIP is not a number"
    if math.isnan(pip):
        return "no PIP"
    if not 0 <= pip <= SEVERAL:
        return "PIP is not from 0 to 1"
    if plain(line.cells.get("cs", "1")) in NO_SET:
        return "in no credible set"
    return "" if _locus(line) else "no locus"


def _lines(
    locus: str,
    gene: str,
    own: Sequence[tuple[Match, Place]],
    effects: np.ndarray,
    labels: Sequence[tuple[str, str]],
    total: float,
    top: int,
    features: Features,
) -> Iterator[dict[str, Any]]:
    """A line for each context; ``effects`` float32 ``(variants, contexts)``."""
    pip = np.array([_pip(found.line) for found, _ in own])
    sign = np.array([found.sign for found, _ in own])
    part = (pip * sign)[:, None] * effects.astype(np.float64)
    size = np.abs(part)
    sums = size.sum(0)
    share = np.divide(size, sums, out=np.zeros_like(size), where=sums > 0)
    order = np.argsort(-size, axis=0, kind="stable")[:top]
    names = [_name(found) for found, _ in own]
    places = [place.row for _, place in own]
    why = features.strongest(places, pip * sign, top) if features.exist else {}
    known = float(pip.sum())
    shared = {
        **{"locus": locus, "gene_id": gene, "gene_symbol": own[0][1].symbol},
        **{"pip_matched": known, "pip_unmatched": max(0.0, total - known)},
        **{"matched": len(own), "swapped": int((sign < 0).sum())},
    }
    for i, effect in enumerate(part.sum(0).tolist()):
        carry = [(names[j], share[j, i]) for j in order[:, i].tolist() if size[j, i] > 0]
        yield {
            **shared,
            **dict(zip(("context_set", "context"), labels[i], strict=True)),
            **{"effect": effect, "size": float(sums[i])},
            "variants": "; ".join(f"{name} {part_of:.2f}" for name, part_of in carry),
            "features": "; ".join(f"{name} {own:.3g}" for name, own in why.get(labels[i], ())),
        }


def _name(found: Match) -> str:
    line = found.line
    swapped = " (swapped)" if found.swapped else ""
    return f"{line.contig}:{line.pos}:{line.ref}:{line.alt}{swapped}"
