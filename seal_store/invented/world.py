"""The demo's world on disk: a genome with planted sites, its models, variants and their truth.

The genome is random sequence in which nothing comes closer to a motif than three mismatches,
apart from the planted sites. So only a variant of a planted site changes a factor's feature, and
what it does follows from where it is: :class:`Truth`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from seal_store.common.files import resource_table, write_text
from seal_store.invented.motifs import (
    FACTORS,
    LENGTH,
    NOTE,
    mismatches,
    reverse_complement,
    strength,
)
from seal_store.invented.network import FEATURES, acting, cnn_state, head_state
from seal_store.synthetic import random_bases, save_head_set, write_fasta

LENGTHS = {"chr1": 320_000, "chr2": 180_000, "chr3": 120_000}
UNKNOWN = 10_000
"""Bases of N at the start of each contig."""

PER_CONTIG = {"chr1": 6, "chr2": 3, "chr3": 2}
"""Genes; the last of chr3 lies 4 kb before its end."""

SLOTS = (-2_700, -1_900, -1_400, -600, 400, 1_400, 1_900, 2_700)
"""Where a gene's sites lie, bp from the TSS in its direction, and up to 99 bp more."""

OUTER = 4_700
"""Where the site that is moved lies: so far out that no other one is in a window with it."""

ONE_SIDED = 1_200
"""From here on every window with a site is on its side of the TSS."""

MOVED = 800
"""Bases that a moved site moves away from the TSS."""

ELSEWHERE, INDELS = 20, 4
"""Variants of each gene that touch no site, and how many of them are indels."""

MARGIN = 24
"""Bases beside a change that decide what motifs it makes or breaks."""

EVENTS = ("weaken", "break", "strengthen", "create", "insert", "move")
BEFORE = {"weaken": 0, "break": 0, "strengthen": 1, "create": 2, "move": 0}
"""Mismatches of the planted site on which each event works; an insertion brings its own."""

CHANGE = {"weaken": -1, "break": -2, "strengthen": 1, "create": 1, "insert": 2, "move": 0}
"""What each event does to the strength of its factor's sites."""


@dataclass(frozen=True)
class Truth:
    """What a planted variant does: ``gene_id`` goes up (``sign`` 1) or down (-1) in ``contexts``.

    ``pos`` is 1-based; ``contexts`` is a query. It does so through ``factor``, by what ``event``
    says of its site.
    """

    id: str
    contig: str
    pos: int
    ref: str
    alt: str
    gene_id: str
    event: str
    factor: str
    sign: int
    contexts: str


@dataclass(frozen=True)
class Planted:
    """Paths of the world, and the truth of its planted variants."""

    genome: Path
    genes: Path
    cnn: Path
    features: Path
    heads: Path
    variants: Path
    table: Path
    truth: tuple[Truth, ...]


@dataclass(frozen=True)
class Gene:
    """A gene: ``tss`` 1-based, ``strand`` 1 or -1."""

    name: str
    contig: str
    tss: int
    strand: int

    def place(self, offset: int) -> int:
        """0-based position of ``offset`` bp from the TSS, downstream positive."""
        return self.tss - 1 + self.strand * offset


@dataclass(frozen=True)
class Change:
    """``ref`` at the 0-based ``start`` becomes ``alt``; both bytes, anchored as VCF has them."""

    start: int
    ref: bytes
    alt: bytes

    def apply(self, bases: bytes | bytearray, margin: int = MARGIN) -> tuple[bytes, bytes]:
        """The bases around it, with ``margin`` to either side, before and after."""
        stop = self.start + len(self.ref)
        left, right = bytes(bases[self.start - margin : self.start]), bytes(bases[stop:][:margin])
        return left + self.ref + right, left + self.alt + right


@dataclass
class _Draft:
    """A contig in the making: sequence, planted sites (start) and variants by id."""

    bases: bytearray
    sites: list[int] = field(default_factory=list)
    variants: list[tuple[Change, str]] = field(default_factory=list)


def write_planted_world(root: Path, seed: int = 1) -> Planted:
    """Write the world to ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    drafts = {
        name: _Draft(_without_sites(_contig(length, seed + i), rng))
        for i, (name, length) in enumerate(LENGTHS.items(), 1)
    }
    genes = _genes()
    truth: list[Truth] = []
    for i, gene in enumerate(genes):
        truth += _plant(drafts[gene.contig], gene, i, rng)
    for gene in genes:
        _elsewhere(drafts[gene.contig], gene, rng)
    world = Planted(
        genome=root / "genome.fa",
        genes=root / "genes.bed",
        cnn=root / "beluga.pth",
        features=root / "features.tsv",
        heads=root / "model",
        variants=root / "variants.vcf",
        table=root / "truth.tsv",
        truth=tuple(truth),
    )
    write_fasta(world.genome, {name: bytes(draft.bases) for name, draft in drafts.items()})
    _write_genes(world.genes, genes)
    _write_models(root, world)
    _write_variants(world.variants, drafts)
    _write_table(world.table, truth)
    write_text(root / "README.md", README)
    return world


def _contig(length: int, seed: int) -> bytearray:
    return bytearray(b"N" * UNKNOWN + random_bases(length - UNKNOWN, seed))


def _without_sites(bases: bytearray, rng: np.random.Generator) -> bytearray:
    """``bases``, changed wherever they come within two mismatches of a motif."""
    while len(near := np.flatnonzero((mismatches(bytes(bases)) <= 2).any(0))):
        for start in near:
            bases[start + int(rng.integers(LENGTH))] = b"ACGT"[rng.integers(4)]
    return bases


def _genes() -> list[Gene]:
    genes: list[Gene] = []
    for contig, count in PER_CONTIG.items():
        last = LENGTHS[contig] - (4_000 if contig == "chr3" else 35_000)
        for tss in np.linspace(35_000, last, count):
            genes.append(
                Gene(f"GENE{len(genes) + 1:02d}", contig, int(tss), 1 - len(genes) % 2 * 2)
            )
    return genes


def _plant(draft: _Draft, gene: Gene, number: int, rng: np.random.Generator) -> list[Truth]:
    """One site and variant of each event, at places and of factors drawn by chance."""
    outer = -OUTER if number % 4 in (1, 2) else OUTER  # with the strands: all four cases
    places = [int(place) for place in rng.permutation(SLOTS)]
    factors = [int(f) for f in rng.permutation(len(FACTORS))]
    truth = []
    for event, slot in zip(EVENTS, [*places[: len(EVENTS) - 1], outer], strict=True):
        chosen = next(f for f in factors if _sign(f, slot))
        factors.remove(chosen)
        factors.append(chosen)
        change = _event(draft, gene, event, chosen, slot, rng)
        sign = _sign(chosen, slot) * (-1 if event == "move" else int(np.sign(CHANGE[event])))
        name = f"{gene.name}_{event}"
        draft.variants.append((change, name))
        ref, alt = change.ref.decode(), change.alt.decode()
        factor = FACTORS[chosen]
        about = gene.name, event, factor.name, sign, factor.contexts
        truth.append(Truth(name, gene.contig, change.start + 1, ref, alt, *about))
    return truth


def _sign(factor: int, slot: int) -> int:
    """What a site there does to expression; 0 where that depends on the window or is nothing."""
    up, down = FACTORS[factor].upstream, FACTORS[factor].downstream
    if abs(slot) < ONE_SIDED:
        return up if up == down else 0
    return up if slot < 0 else down


def _event(
    draft: _Draft, gene: Gene, event: str, factor: int, slot: int, rng: np.random.Generator
) -> Change:
    """Plant a site and make the variant of it, again until both do what they should."""
    wanted = np.zeros(len(FACTORS), np.int64)
    wanted[factor] = CHANGE[event]
    while True:
        start = gene.place(slot + int(np.sign(slot)) * int(rng.integers(100)))
        motif = FACTORS[factor].motif
        site = bytearray(motif if rng.integers(2) else reverse_complement(motif))
        span = slice(start, start + LENGTH)
        before = draft.bases[span]
        if event in BEFORE:
            for k in rng.permutation(LENGTH)[: BEFORE[event]]:
                site[k] = _other(site[k], rng)
            draft.bases[span] = site
        change = _variant(draft.bases, start, event, factor, gene.strand * slot > 0, rng)
        near = mismatches(bytes(draft.bases[start - MARGIN : start + LENGTH + MARGIN])) <= 2
        old, new = change.apply(draft.bases)
        planted_alone = near.sum() == int(event in BEFORE)
        if planted_alone and (strength(new) - strength(old) == wanted).all() and _leftmost(change):
            draft.sites.append(start)
            return change
        draft.bases[span] = before


def _variant(
    bases: bytearray, start: int, event: str, factor: int, right: bool, rng: np.random.Generator
) -> Change:
    """A candidate; :func:`_event` decides whether it does what ``event`` says.

    ``right``: the site is at the right of the TSS.
    """
    if event == "insert":
        motif = FACTORS[factor].motif
        return _insertion(bases, start, motif if rng.integers(2) else reverse_complement(motif))
    if event == "move":
        added = bytes(_without_sites(bytearray(random_bases(MOVED, int(rng.integers(2**32)))), rng))
        return _insertion(bases, start - 5 if right else start + LENGTH + 4, added)
    if event == "break":
        first = start + int(rng.integers(1, LENGTH - 3))
        return Change(
            first - 1, bytes(bases[first - 1 : first + 3]), bytes(bases[first - 1 : first])
        )
    # of a full site its first or its last base, as an error of one base would miss that
    at = start + int(rng.integers(2)) * (LENGTH - 1) if event == "weaken" else start
    if event != "weaken":
        at += int(rng.integers(LENGTH))
    return _snv(bases, at, rng)


def _insertion(bases: bytearray, start: int, added: bytes) -> Change:
    anchor = bytes(bases[start - 1 : start])
    return Change(start - 1, anchor, anchor + added)


def _leftmost(change: Change) -> bool:
    """Whether an insertion or deletion cannot be written farther left."""
    longer = max(change.ref, change.alt, key=len)
    return len(change.ref) == len(change.alt) or longer[0] != longer[-1]


def _other(base: int, rng: np.random.Generator) -> int:
    return b"ACGT"[(b"ACGT".index(base) + int(rng.integers(1, 4))) % 4]


def _elsewhere(draft: _Draft, gene: Gene, rng: np.random.Generator) -> None:
    """Variants that touch no site: SNVs beside the gene's sites and among them, indels far out.

    An indel moves what lies behind it, so these are in no window that has a site.
    """
    near = [site for site in draft.sites if abs(site - gene.tss) < OUTER + 200]
    taken = {change.start for change, _ in draft.variants}
    spots = [spot for site in near for spot in (site - 1, site + LENGTH)]
    spots += [gene.place(int(rng.integers(-3_900, 3_900))) for _ in range(2 * ELSEWHERE)]
    free = [s for s in spots if s not in taken and not any(0 <= s - x < LENGTH for x in near)]
    made = [
        _snv(draft.bases, spot, rng) for spot in list(dict.fromkeys(free))[: ELSEWHERE - INDELS]
    ]
    while len(made) < ELSEWHERE:
        change = _indel(draft.bases, gene.place(-int(rng.integers(7_000, 9_000))), rng)
        old, new = change.apply(draft.bases)
        if not (strength(old) + strength(new)).any() and _leftmost(change):
            made.append(change)
    draft.variants += [(c, f"{gene.name}_other{i:02d}") for i, c in enumerate(made, 1)]


def _snv(bases: bytearray, at: int, rng: np.random.Generator) -> Change:
    return Change(at, bytes(bases[at : at + 1]), bytes([_other(bases[at], rng)]))


def _indel(bases: bytearray, at: int, rng: np.random.Generator) -> Change:
    """A deletion of three bases or an insertion of two."""
    if rng.integers(2):
        return Change(at, bytes(bases[at : at + 4]), bytes(bases[at : at + 1]))
    return _insertion(bases, at + 1, random_bases(2, int(rng.integers(2**32))))


def _write_genes(path: Path, genes: Iterable[Gene]) -> None:
    rows = (f"{g.contig}\t{g.tss - 1}\t{g.tss}\t{'+-'[g.strand < 0]}\t{g.name}\n" for g in genes)
    write_text(path, "".join(rows))


def _write_models(root: Path, world: Planted) -> None:
    torch.save(cnn_state(), world.cnn)
    rows = [f"{name}\tTF\t{name}" for name in FEATURES[:-1]]
    table = ["name\tassay_type\tfactor", *rows, f"{FEATURES[-1]}\tsequence\t{FEATURES[-1]}"]
    write_text(world.features, "\n".join(table) + "\n")
    contexts = [(row["head_set"], row["name"]) for row in resource_table("contexts")]
    acts = acting(contexts)
    for head_set in dict.fromkeys(name for name, _ in contexts):
        own = np.array([name == head_set for name, _ in contexts])
        names = [name for (_, name), is_own in zip(contexts, own, strict=True) if is_own]
        save_head_set(root, head_set, names, head_state(acts[:, own]), NOTE)


def _write_variants(path: Path, drafts: Mapping[str, _Draft]) -> None:
    """The VCF, sorted; with records that cannot be scored and one that is far from every gene."""
    lines = ["##fileformat=VCFv4.2", f"##source={NOTE}"]
    lines += [f"##contig=<ID={name},length={length}>" for name, length in LENGTHS.items()]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO")
    for contig, draft in drafts.items():
        rows = [(c.start + 1, i, c.ref.decode(), c.alt.decode()) for c, i in draft.variants]
        if contig == "chr2":
            for pos, name in ((UNKNOWN + 100, "far"), (LENGTHS[contig] // 2, "symbolic")):
                ref = chr(draft.bases[pos - 1])
                alt = "<DEL>" if name == "symbolic" else "C" if ref == "A" else "A"
                rows.append((pos, name, ref, alt))
        lines += [f"{contig}\t{p}\t{i}\t{r}\t{a}\t.\t.\t." for p, i, r, a in sorted(rows)]
    write_text(path, "\n".join(lines) + "\n")


def _write_table(path: Path, truth: Sequence[Truth]) -> None:
    names = [f.name for f in fields(Truth)]
    rows = ["\t".join(str(getattr(entry, name)) for name in names) for entry in truth]
    write_text(path, "\n".join(["\t".join(names), *rows]) + "\n")


README = f"""# Demo of seal-store: {NOTE}

Nothing here is biology: factors, motifs, genes and genome are invented, and the network and its
heads were written by hand. Only the names of the contexts are real.
"""
