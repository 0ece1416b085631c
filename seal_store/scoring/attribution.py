"""Attribution of an effect to the chromatin features: six methods.

Input is the aggregated vector with the alt allele, baseline the one with the ref allele, target
one context; the scores of the ten decay rows (and of the nine shifts of ``centered``) are added
up to one number per feature.

The heads are one hidden ReLU layer, so three methods have a closed form. With ``h`` the hidden
units on the baseline, ``d`` what the allele adds, ``W1`` and ``w2`` the weights and ``D`` the
change of the input, the slope of a unit's ReLU along the straight path from ``h`` to ``h + d`` is
``a = (relu(h + d) - relu(h)) / d``, and ``D * (W1^T (w2 * a))`` is both DeepLift's rescale rule
and the exact path integral of integrated gradients. Saliency is the size of the gradient at the
input (Captum's ``Saliency``). KernelShap, GradientShap and Lime are Captum's, run on the function
of 2,002 numbers that says how much of each feature's change (ten decay rows together) is there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_store.common.extras import require
from seal_store.errors import InputError
from seal_store.model.heads import Heads, OutputLayer
from seal_store.scoring.attribution_arrays import attribution_arrays
from seal_store.scoring.evaluate import Change
from seal_store.scoring.options import CLOSED, COMPLETE, GROUPS, AttributionOptions
from seal_store.store.layout import ArraySpec

UNLABELLED = "unlabelled"
BUFFER = 1 << 20
"""Numbers in an intermediate, reused and small enough for a cache (4 MB)."""
FEW_TARGETS = 12
MOST_NOISE = 2.0
"""Of :func:`noise`, in a fit that is used. With as many samples as asked for it is below 1."""
VALUES = 1 << 23
"""Attributions computed at once (32 MB)."""


class Attributor:
    """Attributions of batches, for all targets at once where there is a closed form.

    ``targets`` are positions among the contexts kept by ``heads``, ascending; ``labels`` has the
    feature labels of the store for the summaries asked for.
    """

    def __init__(
        self,
        heads: Heads,
        options: AttributionOptions,
        targets: np.ndarray,
        features: int,
        labels: dict[str, np.ndarray],
    ) -> None:
        self.options, self.targets, self.features = options, targets, features
        self.samples = None if options.method in CLOSED else options.sample_count(features)
        top = options.top_features
        self.kept = features if top is None else min(top, features)
        self._parts = []
        for output in heads.outputs:
            start, stop = output.contexts.start, output.contexts.stop
            rows = np.flatnonzero((targets >= start) & (targets < stop))
            if len(rows):
                self._parts.append(_Part(heads, output, rows, targets[rows] - start, features))
        self.device = heads.w1.device
        self._target_index = torch.from_numpy(targets).to(self.device)
        self.groups: dict[str, np.ndarray] = {}
        self._members: dict[str, Tensor] = {}
        for by in options.by:
            own = labels[GROUPS[by]]
            names, place = np.unique(np.where(own == "", UNLABELLED, own), return_inverse=True)
            self.groups[by] = names
            self._members[by] = torch.eye(len(names), dtype=torch.float32)[
                torch.from_numpy(place)
            ].to(self.device)
        self._fit = LeastSquares()
        if options.method not in CLOSED:
            require("attribution", f"attribution by {options.method}")

    def provenance(self) -> dict[str, Any]:
        """How attributions are made, JSON-ready."""
        options = self.options
        sampled = self.samples is not None
        return {
            "method": options.method,
            "targets": len(self.targets),
            "samples": self.samples,
            "seed": options.seed if sampled else None,
            "top_features": options.top_features,
            "by": list(options.by),
            "dtype": options.dtype,
            "device": self.device.type,
            "captum": version("captum") if sampled else None,
        }

    def specs(self) -> list[ArraySpec]:
        """The arrays that :meth:`__call__` gives, first dimension ``variant``."""
        return attribution_arrays(self.options)

    def sizes(self) -> dict[str, int]:
        """Length of every dimension of :meth:`specs` but ``variant``."""
        groups = {by: len(names) for by, names in self.groups.items()}
        return {"target": len(self.targets), "feature": self.features, "rank": self.kept, **groups}

    def empty(self, rows: int) -> dict[str, np.ndarray]:
        """The arrays of :meth:`specs` for rows that change nothing."""
        sizes, fill = self.sizes(), {"attribution_feature": -1, "attribution_scale": 1}
        found = {}
        for entry in self.specs():
            shape = (rows, *(sizes[dim] for dim in entry.dims[1:]))
            found[entry.name] = np.full(shape, fill.get(entry.name, 0), entry.dtype)
        return found

    def row_bytes(self) -> int:
        """Size of one row of all arrays of :meth:`specs`."""
        return sum(values.nbytes for values in self.empty(1).values())

    def __call__(self, change: Change, effect: Tensor) -> dict[str, Tensor]:
        """Attributions and what is derived of them, one entry a row, by name of the array.

        ``effect`` ``(n, contexts)`` is that of the ``change``.
        """
        at_once = max(1, VALUES // (len(self.targets) * self.features))
        inputs = (change.sums, change.first, change.first_change, effect)
        pieces = zip(*(x.split(at_once) for x in inputs), strict=True)
        parts = [self._reduced(self._values(s, f, c), e) for s, f, c, e in pieces]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _values(self, sums: Tensor, first: Tensor, change: Tensor) -> Tensor:
        """``(n, targets, feature)`` float32."""
        values = torch.empty(
            len(sums), len(self.targets), self.features, device=sums.device, dtype=torch.float32
        )
        for part in self._parts:
            h, d = first[..., part.units], change[..., part.units]
            if self.options.method == "saliency":
                values[:, part.rows] = part.saliency(h + d)
            elif self.options.method in CLOSED:
                values[:, part.rows] = part.rescaled(sums, slope(h, d))
            else:
                values[:, part.rows] = torch.stack(
                    [
                        self._sampled(part, *row).to(values.device)
                        for row in zip(sums, h, d, strict=True)
                    ]
                )
        return values

    def _reduced(self, values: Tensor, effect: Tensor) -> dict[str, Tensor]:
        options, found = self.options, {}
        if options.method in COMPLETE:
            found["completeness"] = values.sum(-1) - effect[:, self._target_index]
        for by, members in self._members.items():
            found[f"attribution_{by}"] = values @ members
        if self.kept == 0:
            return found
        if options.top_features is not None:
            top = values.abs().topk(self.kept, dim=-1).indices
            found["attribution_feature"] = top.to(torch.int32)
            values = values.gather(-1, top)
        if options.dtype == "float16":
            values, found["attribution_scale"] = to_half(values)
        return found | {"attribution": values}

    def _sampled(self, part: _Part, sums: Tensor, first: Tensor, change: Tensor) -> Tensor:
        """One row by Captum, ``(targets of the part, feature)``, on the CPU."""
        with torch.inference_mode(mode=False):
            # Tensors of inference mode cannot take part in autograd: work on copies.
            forward = _presence(part, sums.clone(), first.clone())
            return torch.stack([self._captum(forward, target) for target in range(len(part.rows))])

    def _captum(self, forward: Callable[[Tensor], Tensor], target: int) -> Tensor:
        from captum.attr import GradientShap, KernelShap, Lime

        options, present = self.options, torch.ones(1, self.features, dtype=torch.float32)
        common: dict[str, Any] = {
            "baselines": torch.zeros(1, self.features, dtype=torch.float32),
            "n_samples": self.samples,
            "target": target,
        }
        with seeded(options.seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if options.method == "gradientShap":
                return GradientShap(forward).attribute(present, **common)[0].detach().cpu()
            explainer = (KernelShap if options.method == "kernelShap" else Lime)(forward)
            # Captum's default for Lime, a Lasso, shrinks effects of 1e-4 to nothing.
            explainer.interpretable_model = self._fit
            return explainer.attribute(present, perturbations_per_eval=512, **common)[0].float()


class _Part:
    """One head set with at least one target; its first layer by feature for batched products.

    ``rows`` are the places of its targets among all, ``own`` those among its contexts.
    """

    def __init__(
        self, heads: Heads, output: OutputLayer, rows: np.ndarray, own: np.ndarray, features: int
    ) -> None:
        self.rows, self.units = rows, output.units
        self.w2 = output.w2[torch.from_numpy(own).to(heads.w1.device)]
        w1 = heads.w1[output.units].unflatten(1, (-1, features))
        self.w1 = w1.permute(2, 1, 0).contiguous()
        """``(feature, decay, unit)``"""

    def rescaled(self, sums: Tensor, slopes: Tensor) -> Tensor:
        """``sums`` ``(n, shifts, decay, feature)`` times the gradient: ``(n, targets, feature)``.

        ``slopes`` ``(n, shifts, units)`` are those of the ReLUs. For few targets it is cheaper to
        make their gradients, for many to make each feature's part of every unit's change.
        """
        if len(self.w2) <= FEW_TARGETS:
            by_feature = sums.transpose(2, 3)[:, :, None]
            return self._by_gradient(
                slopes, lambda gradient, part: gradient.mul_(by_feature[..., part, :])
            )
        n, shifts, units = slopes.shape
        rows = sums.permute(3, 0, 1, 2).flatten(1, 2)
        out = sums.new_empty(len(rows), n, len(self.w2))
        size = max(1, BUFFER // (n * shifts * units))
        buffer = sums.new_empty(size, n * shifts, units)
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            block = buffer[: len(rows[part])]
            torch.bmm(rows[part], self.w1[part], out=block)
            change = block.unflatten(1, (n, shifts)).mul_(slopes)
            out[part] = (change.sum(2) if shifts > 1 else change.squeeze(2)) @ self.w2.T
        return out.permute(1, 2, 0)

    def saliency(self, hidden: Tensor) -> Tensor:
        """Size of the gradient at units ``(n, shifts, units)``: ``(n, targets, feature)``."""
        return self._by_gradient((hidden > 0).float(), lambda gradient, _: gradient.abs_())

    def _by_gradient(self, slopes: Tensor, weigh: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """Gradients, weighed, added up over shifts and decay rows: ``(n, targets, feature)``.

        ``weigh`` gets them as ``(n, shifts, targets, features of the slice, decay)``.
        """
        n, shifts, _ = slopes.shape
        features, decays = self.w1.shape[:2]
        flat = (slopes[:, :, None] * self.w2).flatten(0, 2)
        out = slopes.new_empty(n, len(self.w2), features)
        size = max(1, BUFFER // (len(flat) * decays))
        for start in range(0, features, size):
            part = slice(start, min(start + size, features))
            gradient = flat @ self.w1[part].flatten(0, 1).T
            shaped = gradient.view(n, shifts, len(self.w2), -1, decays)
            out[:, :, part] = weigh(shaped, part).sum((1, 4))
        return out


class LeastSquares:
    """The linear model that KernelShap and Lime fit: Captum's interface, solved in float64.

    All fits of an attributor have the same samples, which come of its seed: they are checked once.
    """

    def __init__(self) -> None:
        self._checked = False

    def fit(self, train_data: Iterable[Sequence[Tensor]], **_: object) -> None:
        """Fit weighted samples: batches of ``(n, features)``, ``(n,)`` and weights ``(n,)``.

        Raises :class:`InputError` where the samples do not determine the coefficients.
        """
        x, y, weight = (torch.cat(parts).double() for parts in zip(*train_data, strict=True))
        root = weight.sqrt()[:, None]
        design = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1) * root
        right = y[:, None] * root
        if not self._checked and not noise(design) <= MOST_NOISE:
            raise InputError(
                f"`samples` {len(x)}: too alike to tell {x.shape[1]} features apart",
                "give more, or another `seed`",
            )
        self._checked = True
        self._coefficients = torch.linalg.lstsq(design, right, driver="gels").solution[:-1, 0]

    def representation(self) -> Tensor:
        """Coefficients ``(1, features)``."""
        return self._coefficients[None].float()


def noise(design: Tensor) -> float:
    """How much of the scatter of samples passes into a coefficient fitted to them.

    The root mean square over the coefficients of ``design`` ``(n, coefficients)``, the last one,
    the intercept, left out; infinite if it does not determine them.
    """
    upper = torch.linalg.qr(design, mode="r").R
    inverse, failed = torch.linalg.inv_ex(upper)
    return math.inf if failed else inverse[:-1].square().sum(1).mean().sqrt().item()


def slope(hidden: Tensor, change: Tensor) -> Tensor:
    """Mean slope of the ReLU between ``hidden`` and ``hidden + change``, exact at its kink."""
    end = hidden + change
    crossing = torch.maximum(hidden, end) / change.abs()
    return torch.where((hidden > 0) == (end > 0), (end > 0).float(), crossing)


def to_half(values: Tensor) -> tuple[Tensor, Tensor]:
    """float16 values and the float32 powers of two, one a row and target, to multiply them with.

    Effects of 1e-4 spread over 2,002 features are below float16's smallest numbers.
    """
    largest = values.abs().amax(-1)
    scale = torch.exp2(torch.where(largest > 0, largest.log2().floor() - 14, 0.0))
    return (values / scale[..., None]).half(), scale


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Captum draws from the global generators, in the default dtype: set here, and put back."""
    state, dtype = np.random.get_state(), torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float32)
        with torch.random.fork_rng():
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(dtype)
        np.random.set_state(state)


def _presence(part: _Part, sums: Tensor, first: Tensor) -> Callable[[Tensor], Tensor]:
    """How the targets' effects depend on how much of each feature's change is there."""
    shifts, units = first.shape
    change = torch.bmm(sums.permute(2, 0, 1).contiguous(), part.w1).flatten(1)
    base = first.relu()

    def effect(present: Tensor) -> Tensor:
        """``(n, feature)`` of 0 to 1 to ``(n, targets)``."""
        added = (present.to(change) @ change).view(-1, shifts, units)
        return (((first + added).relu() - base).sum(1) @ part.w2.T).cpu()

    return effect
