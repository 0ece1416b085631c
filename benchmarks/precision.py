"""What do products of lower precision cost in effects? Operands rounded by hand, on the CPU.

Each product's operands are rounded to nearest, ties to even, to the bits that TF32 (10 of the
mantissa) or bfloat16 (7) keep, and summed in float32, as tensor cores do; everything else stays
as it is. Either all products are rounded so, or those with what an allele changes, as ``score
--products tf32`` allows it. The yardstick is the same engine with weights and activations in
float64, on the same stored ``hidden``. Errors are shares of a variant's largest effect over all
contexts.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.common import arguments, report, world
from benchmarks.mixes import LIST, Mix, write_mix
from seal_store.common.device import inference
from seal_store.model.beluga import Beluga
from seal_store.model.delta import Delta
from seal_store.scoring.evaluate import Evaluator
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.variants.alleles import Allele
from seal_store.variants.source import Alleles, read_variants

DROPPED = {"tf32": 13, "bf16": 16}
"""Bits of a float32 mantissa that are rounded away."""

OPERANDS: dict[Any, tuple[int, int]] = {
    torch.addmm: (1, 2),
    Tensor.addmm_: (1, 2),
    torch.mm: (0, 1),
    F.conv2d: (0, 1),
    F.linear: (0, 1),
    Tensor.matmul: (0, 1),
    Tensor.__matmul__: (0, 1),
}
"""Products, and which of their arguments are multiplied."""


def rounded(x: Tensor, dropped: int) -> Tensor:
    """Float32 rounded to nearest, ties to even, without its last ``dropped`` bits."""
    bits = x.contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1
    up = bits + half + ((bits >> dropped) & 1)
    return (up & -(1 << dropped)).view(torch.float32)


class RoundedProducts(TorchFunctionMode):
    """Rounds what products multiply: all of them, or those that are allowed TF32."""

    def __init__(self, dropped: int, *, everywhere: bool = True) -> None:
        super().__init__()
        self.dropped, self.everywhere = dropped, everywhere

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, of rounded operands where it is a product."""
        allowed = self.everywhere or torch.backends.cuda.matmul.allow_tf32
        if func in OPERANDS and allowed:
            places = OPERANDS[func]
            args = tuple(rounded(x, self.dropped) if i in places else x for i, x in enumerate(args))
        return func(*args, **(kwargs or {}))


def doubled(found: Evaluator) -> Evaluator:
    """The same evaluator in float64."""
    model = Beluga(found.model.config, {k: v.double() for k, v in found.model.named_buffers()})
    heads = copy.copy(found.heads)
    heads.w1, heads.b1 = heads.w1.double(), heads.b1.double()
    heads.outputs = [replace(o, w2=o.w2.double(), b2=o.b2.double()) for o in heads.outputs]
    made = Evaluator(found.store, heads, Delta(model), found.scheme)
    made.weights = torch.from_numpy(found.store.grid.decay_weights)
    return made


def one_product(found: Evaluator) -> Evaluator:
    """The same evaluator with each convolution as one product."""
    made = Evaluator(found.store, found.heads, Delta(found.model), found.scheme)
    made.trunk.before_relu = made.trunk.product  # type: ignore[method-assign]
    return made


def effects(scorer: Scorer, evaluator: Evaluator, alleles: Sequence[Allele]) -> np.ndarray:
    """Effects of alleles that all have one row, in their order; float64."""
    found: list[np.ndarray] = []
    for chunk in scorer.reader.chunks(Alleles.of(alleles, "benchmark")):
        dtype = evaluator.weights.dtype
        sums = torch.from_numpy(chunk.aggregated).to(dtype)
        with inference(tf32=True):  # on a CPU it says only which products are allowed it
            genes = replace(
                scorer.engine.evaluator.genes(chunk),
                sums=sums,
                first=evaluator.heads.first(sums.flatten(1)),
            )
        groups: dict[int, list[int]] = defaultdict(list)
        for i, stretch in enumerate(chunk.stretches):
            groups[stretch.count].append(i)
        out = np.empty((len(chunk.stretches), len(scorer.context_name)))
        for members in groups.values():
            batch = evaluator.read([chunk.stretches[i] for i in members])
            with inference(tf32=True):
                change = evaluator.change(batch, genes)
                out[members] = evaluator.heads.effect(change.first, change.first_change).sum(1)
        found.append(out)
    return np.concatenate(found)


def measure(store: Store, alleles: Sequence[Allele], scheme: str) -> list[dict[str, object]]:
    """Errors of each kind of variant with products of each precision."""
    scorer = Scorer(store, ScoreOptions(scheme=scheme, device="cpu"))
    plain = scorer.engine.evaluator
    exact = effects(scorer, doubled(plain), alleles)
    with_products = {("float32", "none"): effects(scorer, plain, alleles)}
    single = one_product(plain)
    for name, dropped in DROPPED.items():
        for which in ("all", "of changes"):
            with RoundedProducts(dropped, everywhere=which == "all"):
                with_products[name, which] = effects(scorer, single, alleles)
    is_snv = np.array([allele.kind == "snv" for allele in alleles])
    rows: list[dict[str, object]] = []
    for kind, mine in (("SNVs", is_snv), ("indels", ~is_snv)):
        for (name, which), values in with_products.items():
            largest = np.abs(exact[mine]).max(1)
            share = 100 * np.abs(values[mine] - exact[mine]).max(1) / largest
            rows.append(
                {
                    "scheme": scheme,
                    "variants": f"{mine.sum()} {kind}",
                    "products": name,
                    "rounded": which,
                    "median error, %": float(np.median(share)),
                    "worst error, %": float(share.max()),
                }
            )
    return rows


def main() -> None:
    args = arguments(
        __doc__ or "",
        ("--variants", {"type": int, "default": 96}),
        ("--store", {"type": Path, "help": "another store than the benchmarks'"}),
        ("--vcf", {"type": Path, "help": "variants for it"}),
    )
    store = Store(args.store) if args.store else world(args, 8).store
    path = args.vcf
    if path is None:
        path = args.work / "precision.vcf"
        write_mix(Mix("half indels", 0.5, LIST), store, args.variants, path)
    alleles = list(read_variants(path))
    rows = [row for scheme in ("grid", "centered") for row in measure(store, alleles, scheme)]
    report("precision", "Effects by the precision of products, against float64", rows, args)


if __name__ == "__main__":
    main()
