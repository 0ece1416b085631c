"""Cases against controls: do variants of the ones change expression more, or otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seal_store.common.files import local_path
from seal_store.common.progress import Progress, silent
from seal_store.common.typed import conform
from seal_store.common.words import counted
from seal_store.errors import InputError, TrainingError
from seal_store.model.contexts import select_contexts
from seal_store.reference.gtf import without_version
from seal_store.results.group import Results
from seal_store.study.matching import Match, Place, effects_of, match, strongest_places
from seal_store.study.permute import Tested, benjamini_hochberg, difference_of_means
from seal_store.study.tables import Line, Table, may_be_signed, read_table
from seal_store.study.writing import Study, as_columns, facts_of
from seal_store.training.expression import NumberedLines
from seal_store.variants.bases import Reference

MEANINGS = {
    "gene": ("gene", "gene_id", "gene_symbol"),
    "group": ("group", "phenotype", "status"),
    "family": ("family", "family_id", "fid"),
}
GROUPS = {
    **dict.fromkeys(("case", "cases", "proband", "affected"), True),
    **dict.fromkeys(("control", "controls", "sibling", "unaffected"), False),
}
OTHER_SET = "no row of a gene of the gene set"
MOST = 10_000_000
"""Permutations that may be asked for."""


@dataclass(frozen=True)
class BurdenOptions:
    """How a burden is tested.

    ``contexts`` are names, all by default. ``permutations`` is the most that are tried, ``seed``
    theirs. ``gene_set`` names files of genes: variants count by their rows of these only.
    """

    contexts: Sequence[str] = ()
    permutations: int = 10_000
    seed: int = 0
    gene_set: Sequence[str] = ()

    def __post_init__(self) -> None:
        conform(self)
        if not 1 <= self.permutations <= MOST:
            raise InputError(f"`permutations` {self.permutations}: not from 1 to {MOST}")
        if self.seed < 0:
            raise InputError(f"`seed` {self.seed}: negative")


def burden(
    results: Results,
    groups: Any,
    options: BurdenOptions | None = None,
    progress: Progress = silent,
    bases: Reference | None = None,
) -> Study:
    """Differences between variants of cases and of controls, with permutation p-values.

    ``groups`` is the path of a table, or a data frame, of variants with ``group`` (case or
    control) and, if you like, ``family`` and ``gene``. A variant counts by its row of the largest
    ``|effect|``. The study's table has a line for each context and measure, ``effect`` and
    ``size`` = ``|effect|``, and for the mean ``size`` over each head set's contexts; ``q`` is the
    false discovery rate over the contexts of one measure, or over the head sets. Effects are held
    for all variants: 4 bytes for each of ``contexts``. ``bases`` left-align insertions and
    deletions, see :func:`~seal_store.study.matching.match`.

    Raises :class:`InputError` for a table that cannot be used, or one group only, and
    :class:`HeadsError` for a context that is not there.
    """
    options = options or BurdenOptions()
    names, sets = results.contexts()
    contexts = select_contexts(list(zip(sets, names, strict=True)), options.contexts)
    genes = read_gene_sets(options.gene_set)
    table = read_table(
        groups, "groups", MEANINGS, results.attributes.store.assembly, needed=[("group",)]
    )
    _keep_known(table)
    matches = _of_genes(match(results, table, progress, bases), genes, table)
    places = strongest_places(results, matches, contexts, progress)
    matches, places = _once(matches, places, table)
    case = np.array([GROUPS[m.line.cells["group"].lower()] for m in matches], bool)
    _check_groups(case, table)
    family = _families(matches)
    if not set(family[case].tolist()) & set(family[~case].tolist()):
        raise InputError(
            f"`groups` {table.name}: no family has variants of both groups: nothing to permute",
            "leave out the column family to compare variants across families",
        )
    rows = np.array([place.row for place in places], np.int64)
    # A1 and A2 do not say which allele is carried: then it is ALT
    is_told = may_be_signed(table)
    sign = np.array([m.sign if is_told else 1 for m in matches], np.int8)
    effects = effects_of(results, rows, contexts, progress) * sign[:, None]
    labels = [(sets[i], names[i]) for i in contexts.tolist()]
    columns, tested = _tested(effects, labels, case, family, options, progress)
    facts = {
        **facts_of(results, table, len(matches)),
        "contexts_asked": list(options.contexts),
        "gene_set": list(options.gene_set),
        "cases": int(case.sum()),
        "controls": int((~case).sum()),
        "families": len(set(family.tolist()) - {0}),
        "without_family": int((family == 0).sum()) if family.any() else 0,
        "in_both_groups": len(set(rows[case].tolist()) & set(rows[~case].tolist())),
        "turned": int((sign < 0).sum()),
        "permutations": tested.count,
        "exact": tested.exact,
        "seed": options.seed,
    }
    return Study("Cases against controls", columns, facts)


COLUMNS: dict[str, type] = {
    **dict.fromkeys(("head_set", "context", "measure"), str),
    **dict.fromkeys(("difference", "mean_case", "mean_control", "p", "q"), float),
}
"""Columns of the study's table; ``context`` is empty in lines of a whole head set."""


def summary(study: Study) -> list[str]:
    """Lines for people: groups, and the smallest p of each measure."""
    f, c = study.facts, study.columns
    how = "all there are" if f["exact"] else f"drawn with seed {f['seed']}"
    found = [
        f"{f['cases']:,} case and {counted(f['controls'], 'control variant')}, "
        f"{counted(f['families'], 'family', 'families')}"
        + f" and {counted(f['without_family'], 'variant')} without"
        * bool(f["without_family"])
        + f", effects turned: {f['turned']}; "
        f"{counted(f['permutations'], 'permutation')}, {how}"
    ]
    for measure in ("effect", "size"):
        for whole in (True, False):
            own = np.flatnonzero((c["measure"] == measure) & ((c["context"] == "") == whole))
            if len(own):
                i = own[c["p"][own].argmin()]
                where = c["head_set"][i] if whole else f"{c['head_set'][i]}:{c['context'][i]}"
                found.append(
                    f"{measure}, smallest p of {len(own)}: {c['p'][i]:.3g} (q {c['q'][i]:.3g}), "
                    f"difference {c['difference'][i]:.4g} in {where}"
                )
    return found


def read_gene_sets(paths: Sequence[str]) -> frozenset[str] | None:
    """Genes of all files, ids (also without version) or symbols; None without a file.

    A file is GMT (name, description, genes, separated by tabs) or has one gene a line. Raises
    :class:`InputError` for one that is missing, no text or empty.
    """
    found: set[str] = set()
    for path in paths:
        own: set[str] = set()
        try:
            for _, line in NumberedLines(local_path(path), "gene set", "gene_set"):
                cells = [cell.strip() for cell in line.split("\t")]
                own.update(cells[2:] if len(cells) > 2 else cells[:1])
        except TrainingError as error:
            raise InputError(str(error), error.hint) from None
        own = {gene for gene in own if gene and not gene.startswith("#")}
        if not own:
            raise InputError(f"`gene_set` {path}: names nothing", "give GMT or one gene a line")
        found |= own | set(map(without_version, own))
    return frozenset(found) if paths else None


def _of_genes(matches: Sequence[Match], genes: frozenset[str] | None, table: Table) -> list[Match]:
    """Matches with only their rows of ``genes``; others are counted."""
    if genes is None:
        return list(matches)
    found = []
    for one in matches:
        own = tuple(p for p in one.places if without_version(p.gene) in genes or p.symbol in genes)
        if own:
            found.append(replace(one, places=own))
        else:
            table.unmatched.note(OTHER_SET, str(one.line))
    return found


AGAIN = "the same variant, group and family again"


def _keep_known(table: Table) -> None:
    """Leave out lines without a group."""
    kept: list[Line] = []
    for line in table.lines:
        if line.cells["group"].lower() in GROUPS:
            kept.append(line)
        else:
            table.odd.skip("group is neither case nor control", str(line))
    table.lines[:] = kept


def _once(
    matches: Sequence[Match], places: Sequence[Place], table: Table
) -> tuple[list[Match], list[Place]]:
    """Each row once in a group of a family, however its variant and gene are written."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for one, place in zip(matches, places, strict=True):
        cells = one.line.cells
        key = (place.row, GROUPS[cells["group"].lower()], cells.get("family", ""))
        if key in seen:
            table.odd.skip(AGAIN, str(one.line))
        else:
            seen.add(key)
            kept.append((one, place))
    return [one for one, _ in kept], [place for _, place in kept]


def _check_groups(case: np.ndarray, table: Table) -> None:
    for name, own in (("case", case), ("control", ~case)):
        if not own.any():
            first = next(iter((*table.unmatched, *table.odd)), "there is none")
            raise InputError(
                f"`groups` {table.name}: no variant of group {name} has a row: {first}",
                "score the variants of both groups, in the assembly of the store",
            )


def _families(matches: Sequence[Match]) -> np.ndarray:
    """A number for each variant's family, int64; variants without one are one family."""
    number_of: Counter[str] = Counter()
    names = [m.line.cells.get("family", "") for m in matches]
    for name in dict.fromkeys(names):
        number_of[name] = len(number_of) + 1 if name else 0
    return np.array([number_of[name] for name in names], np.int64)


def _tested(
    effects: np.ndarray,
    labels: Sequence[tuple[str, str]],
    case: np.ndarray,
    family: np.ndarray,
    options: BurdenOptions,
    progress: Progress,
) -> tuple[dict[str, np.ndarray], Tested]:
    """The study's columns; ``effects`` float32 ``(variants, contexts)``."""
    size = np.abs(effects)
    sets = list(dict.fromkeys(head_set for head_set, _ in labels))
    of_set = np.array([head_set for head_set, _ in labels], object)
    whole = np.stack([size[:, of_set == one].mean(1, dtype=np.float64) for one in sets], 1)
    parts: list[tuple[str, list[tuple[str, str]], np.ndarray]] = [
        ("size", [(one, "") for one in sets], whole),
        ("size", list(labels), size),
        ("effect", list(labels), effects),
    ]
    found: list[dict[str, Any]] = []
    tested: Tested | None = None
    for done, (measure, own, values) in enumerate(parts, 1):
        # the same seed: the same permutations for every measure
        tested = difference_of_means(values, case, family, options.permutations, options.seed)
        numbers = (
            tested.difference,
            values[case].mean(0, dtype=np.float64),
            values[~case].mean(0, dtype=np.float64),
            tested.p,
            benjamini_hochberg(tested.p),
        )
        for names, *row in zip(own, *(column.tolist() for column in numbers), strict=True):
            found.append(dict(zip(COLUMNS, (*names, measure, *row), strict=True)))
        progress("tests", done, len(parts))
    assert tested is not None
    return as_columns(found, COLUMNS), tested
