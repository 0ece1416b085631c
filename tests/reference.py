"""Seal, literally: one gene, one window, one variant at a time, everything in float64.

sequence -> one_hot -> cnn -> gene_features -> aggregate -> heads_out -> effect of a variant

The test-suite checks the fast implementation against this file, which therefore imports nothing
of it. Sizes come from the weights' shapes. `pos` and `tss` are 1-based; `start`, `end`, `lo`,
`hi`, `p`, `e` are 0-based and intervals half-open. A `genome` maps contig names to + strands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import conv1d, linear, max_pool1d, relu

Array = npt.NDArray[np.float64]
State = Mapping[str, torch.Tensor]
Genome = Mapping[str, str]
Gene = tuple[str, int, int, str]  # contig, tss (1-based), strand (+1 or -1), gene id

WINDOW = 2000
STEP = 200
N_WINDOWS = 200
FIRST = -19900  # offset of the most upstream window's centre from the TSS
RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
SHIFTS = range(-800, 801, 200)


def one_hot(sequence: str) -> torch.Tensor:
    """(4, n), rows A, G, C, T; either case; any other character is an all-zero column."""
    return torch.tensor(
        [[float(base == row) for base in sequence.upper()] for row in "AGCT"], dtype=torch.float64
    )


def fetch(genome: Genome, contig: str, start: int, end: int) -> str:
    """Bases of the 0-based half-open [start, end); N beyond either end of the contig."""
    sequence = genome[contig]
    return "".join(sequence[i] if 0 <= i < len(sequence) else "N" for i in range(start, end))


def _linear(state: State, layer: str, x: torch.Tensor) -> torch.Tensor:
    """Weight @ x + bias, over the last axis of x."""
    return linear(x, state[f"{layer}.weight"].double(), state[f"{layer}.bias"].double())


def _trunk(state: State, x: torch.Tensor) -> torch.Tensor:
    """The convolutions on one (4, 2000) window of one strand, flattened channel-major.

    Three blocks of conv, ReLU, conv, ReLU, no padding; max-pool by 4 after the first two.
    """
    for first, second, pooled in ((0, 2, True), (6, 8, True), (12, 14, False)):
        for layer in (first, second):
            weight = state[f"model.0.{layer}.weight"].double().squeeze(2)
            x = relu(conv1d(x[None], weight, state[f"model.0.{layer}.bias"].double())[0])
        if pooled:
            x = max_pool1d(x[None], 4)[0]
    return x.reshape(-1)


@torch.no_grad()
def hidden(state: State, sequences: Sequence[str]) -> Array:
    """(n, 2, hidden): first linear layer before its ReLU; forward strand, reverse complement.

    In the row order A, G, C, T the complement is a row flip and the reverse a column flip.
    """
    width = state["model.1.2.1.weight"].shape[1]
    flat = torch.zeros((len(sequences), 2, width), dtype=torch.float64)
    for i, x in enumerate(map(one_hot, sequences)):
        flat[i, 0] = _trunk(state, x)
        flat[i, 1] = _trunk(state, x.flip(0, 1))
    out: Array = _linear(state, "model.1.2.1", flat).numpy()
    return out


@torch.no_grad()
def cnn(state: State, sequences: Sequence[str]) -> Array:
    """(n, features): the mean over both strands of sigmoid(linear(ReLU(hidden)))."""
    both = _linear(state, "model.1.4.1", relu(torch.from_numpy(hidden(state, sequences))))
    out: Array = torch.sigmoid(both).mean(dim=1).numpy()
    return out


def _grid_windows(tss: int, strand: int, first_offset: int) -> list[tuple[int, int]]:
    """(lo, hi) of a gene's windows, 0-based half-open, most upstream window first.

    A window centred on 1-based position c is [c - 1000, c + 1000).
    """
    centres = [tss + strand * (first_offset + STEP * i) for i in range(N_WINDOWS)]
    return [(c - WINDOW // 2, c + WINDOW // 2) for c in centres]


def gene_features(
    state: State, genome: Genome, contig: str, tss: int, strand: int, first_offset: int = FIRST
) -> Array:
    """(200, features) of the gene at 1-based `tss`; row 0 is the most upstream window.

    The sequence is read on the genome's + strand whichever the gene's strand is.
    """
    windows = _grid_windows(tss, strand, first_offset)
    return cnn(state, [fetch(genome, contig, lo, hi) for lo, hi in windows])


def decay(offsets: npt.ArrayLike) -> Array:
    """(10, n) weights exp(-k |d| / 200): rows 0-4 where d <= 0, rows 5-9 where d >= 0."""
    d = np.asarray(offsets, dtype=np.float64)
    curves = np.array([np.exp(-k * np.abs(d) / STEP) for k in RATES])
    return np.concatenate([curves * (d <= 0), curves * (d >= 0)])


def _offsets(first_offset: int) -> Array:
    """(200,) signed distance of each window's centre from the TSS, negative upstream."""
    return first_offset + STEP * np.arange(N_WINDOWS, dtype=np.float64)


def aggregate(features: npt.ArrayLike, first_offset: int = FIRST) -> Array:
    """(10 * features,): decay weights (10, 200) @ features (200, features), flat by rows."""
    return (decay(_offsets(first_offset)) @ np.asarray(features, dtype=np.float64)).reshape(-1)


@torch.no_grad()
def heads_out(heads: Sequence[State], aggregated: npt.ArrayLike) -> Array:
    """(contexts,): linear, ReLU, linear of every set, concatenated in the order given."""
    x = torch.from_numpy(np.asarray(aggregated, dtype=np.float64))
    outputs = [_linear(head, "layers.2", relu(_linear(head, "layers.0", x))) for head in heads]
    out: Array = torch.cat(outputs).numpy()
    return out


def nearest_gene(genes: Sequence[Gene], contig: str, pos: int) -> int | None:
    """Index of the row whose TSS is nearest to `pos` (both 1-based); None without rows there.

    An equidistant tie goes to the left TSS. Of rows with one and the same TSS the last wins to
    the left of the variant or at it, the first to the right of it.
    """
    ranks = {
        i: (pos - tss, 0, -i) if tss <= pos else (tss - pos, 1, i)
        for i, (gene_contig, tss, _, _) in enumerate(genes)
        if gene_contig == contig
    }
    return min(ranks, key=ranks.__getitem__, default=None)


def genes_within(genes: Sequence[Gene], contig: str, pos: int, distance: int) -> list[int]:
    """Indices, in table order, of all rows with |pos - tss| <= distance (both 1-based)."""
    return [i for i, g in enumerate(genes) if g[0] == contig and abs(pos - g[1]) <= distance]


def trim(pos: int, ref: str, alt: str) -> tuple[int, int, int, str]:
    """(p, r, a, alt): 0-based start, lengths of ref and alt, and alt itself after trimming.

    First the shared suffix while both alleles keep a base, then the shared prefix completely.
    Case does not count; the alt comes back in upper case. `pos` is 1-based.
    """
    ref, alt, p = ref.upper(), alt.upper(), pos - 1
    while len(ref) > 1 and len(alt) > 1 and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0] == alt[0]:
        ref, alt, p = ref[1:], alt[1:], p + 1
    return p, len(ref), len(alt), alt


def grid_effect(
    state: State,
    heads: Sequence[State],
    genome: Genome,
    gene: Gene,
    pos: int,
    ref: str,
    alt: str,
    first_offset: int = FIRST,
    reference_features: npt.ArrayLike | None = None,
) -> Array:
    """(contexts,) heads(A + D) - heads(A): scheme `grid`, with `pos` 1-based.

    A is the gene's aggregated vector, D the decay-weighted change of the touched windows. The
    trimmed alt replaces the genome's own bases; of the VCF's REF only trimming takes notice.
    """
    contig, tss, strand, _ = gene
    p, r, a, alt = trim(pos, ref, alt)
    m, e = max(r, a), p + r
    flank = WINDOW + m  # on either side of the variant: as far as a touched window can reach
    left = fetch(genome, contig, p - flank, p)
    haplotype = left + alt + fetch(genome, contig, e, e + flank)

    touched, refs, alts = [], [], []
    for i, (lo, hi) in enumerate(_grid_windows(tss, strand, first_offset)):
        if p > tss - 1:  # right of the TSS: coordinates hold on the left, count from there
            is_touched = lo < p + m and hi > p
            start = lo - (p - flank)
        else:  # at the TSS or left of it: coordinates hold on the right, count from there
            is_touched = hi > e - m and lo < e
            start = len(haplotype) - (e + flank - hi) - WINDOW
        if is_touched:
            touched.append(i)
            refs.append(fetch(genome, contig, lo, hi))
            alts.append(haplotype[start : start + WINDOW])

    if reference_features is None:
        reference_features = gene_features(state, genome, contig, tss, strand, first_offset)
    before = aggregate(reference_features, first_offset)
    weights = decay(_offsets(first_offset))[:, touched]
    change = weights @ (cnn(state, alts) - cnn(state, refs))
    return heads_out(heads, before + change.reshape(-1)) - heads_out(heads, before)


def centered_effect(
    state: State,
    heads: Sequence[State],
    genome: Genome,
    gene: Gene,
    pos: int,
    ref: str,
    alt: str,
    reference_features: npt.ArrayLike | None = None,
) -> Array:
    """(contexts,) sum of the effects at nine shifts: scheme `centered`, with `pos` 1-based.

    At each shift the window around the variant, with REF as the VCF says it and with ALT, takes
    the place of one row of the gene's profile, and its distance that of the row's offset.
    Raises ValueError for a net deletion over 100 bp, which leaves less than a window.
    """
    if len(ref) - len(alt) > 100:
        raise ValueError(f"net deletion of {len(ref) - len(alt)} bp; at most 100 can be computed")
    contig, tss, strand, _ = gene
    if reference_features is None:
        reference_features = gene_features(state, genome, contig, tss, strand)
    profile = np.asarray(reference_features, dtype=np.float64)

    effect = np.zeros(sum(len(head["layers.2.bias"]) for head in heads))
    for shift in SHIFTS:
        start = pos + shift - 1050
        bases = fetch(genome, contig, start, pos + shift + 1050)
        at = pos - 1 - start
        d = (pos - tss + shift) * strand
        row = min(max(int(np.ceil(d / STEP)) + 99, 0), N_WINDOWS - 1)
        offsets = _offsets(FIRST)
        offsets[row] = d
        outputs = []
        for allele in (ref, alt):
            sequence = bases[:at] + allele + bases[at + len(ref) :]
            cut = (len(sequence) - WINDOW) // 2
            features = profile.copy()
            features[row] = cnn(state, [sequence[cut : cut + WINDOW]])[0]
            outputs.append(heads_out(heads, (decay(offsets) @ features).reshape(-1)))
        effect += outputs[1] - outputs[0]
    return effect
