"""Options of scoring and attribution, checked when they are made. No PyTorch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from seal_store.common.typed import conform
from seal_store.errors import InputError
from seal_store.model.contexts import LISTED
from seal_store.model.grid import MAX_DISTANCE

SCHEMES = ("grid", "centered")
GENE_CHOICES = ("nearest", "all")
MISMATCH_POLICIES = ("flag", "swap", "skip", "error")

CLOSED = ("saliency", "integratedGradients", "deeplift")
METHODS = (*CLOSED, "kernelShap", "gradientShap", "lime")
EXACT = ("integratedGradients", "deeplift", "kernelShap")
COMPLETE = (*EXACT, "gradientShap")
"""Methods whose scores add up to the effect: exactly, and gradientShap's as it samples."""

FITTED = ("kernelShap", "lime")
"""Methods that fit a line to samples. KernelShap's is made to add up, however bad it is."""

GROUPS = {
    "assay": "feature_assay_type",
    "factor": "feature_factor",
    "cell_type": "feature_cell_type",
}
"""Summaries (``by``) and the store's array that says which group a feature is in."""

DTYPES = ("float32", "float16")
GRADIENT_SAMPLES = 50


def _one_of(choices: Collection[str], **given: str) -> None:
    for name, value in given.items():
        if value not in choices:
            raise InputError(f"`{name}` {value!r}: not one of {', '.join(choices)}")


@dataclass(frozen=True)
class ScoreOptions:
    """How to score; see ``seal-store score vcf --help``.

    ``heads`` and ``contexts`` are names (a context also as ``set:name``); empty means all.
    ``batch`` is the number of variants evaluated at once: it changes speed and memory only.
    ``calibrated`` adds ``quantile`` and ``z`` of every effect, from the store's calibration, or
    from that which ``calibration`` names; a name stands for ``calibrated`` too.
    ``ref_mismatch="swap"`` and ``normalize`` are what
    :class:`~seal_store.variants.prepare.Preparation` does.
    """

    scheme: str = "grid"
    genes: str = "nearest"
    max_distance: int = MAX_DISTANCE
    ref_mismatch: str = "flag"
    normalize: bool = False
    heads: Sequence[str] = ()
    contexts: Sequence[str] = ()
    device: str = "auto"
    tf32: bool = False
    batch: int = 128
    calibrated: bool = False
    calibration: str = ""

    def __post_init__(self) -> None:
        conform(self)
        object.__setattr__(self, "calibrated", self.calibrated or bool(self.calibration))
        _one_of(SCHEMES, scheme=self.scheme)
        _one_of(GENE_CHOICES, genes=self.genes)
        _one_of(MISMATCH_POLICIES, ref_mismatch=self.ref_mismatch)
        if not 0 <= self.max_distance <= MAX_DISTANCE:
            raise InputError(
                f"`max_distance` {self.max_distance}: not between 0 and {MAX_DISTANCE}",
                "the model sees 20 kb to either side of a TSS",
            )
        if self.batch < 1:
            raise InputError(f"`batch` {self.batch}: not positive")


DEFAULTS = ScoreOptions()


@dataclass(frozen=True)
class AttributionOptions:
    """What to attribute, and how much of it to keep; see ``seal-store attribute --help``.

    ``targets`` are contexts, each ``name`` or ``set:name``, or the one word ``all``. ``samples``
    is for the sampled methods; None chooses by the number of features. ``top_features`` keeps
    that many of the strongest features per row and target (0: none, only ``by``), None all.
    """

    method: str
    targets: Sequence[str] = ()
    samples: int | None = None
    seed: int = 0
    top_features: int | None = None
    by: Sequence[str] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        conform(self)
        object.__setattr__(self, "by", tuple(dict.fromkeys(self.by)))
        _one_of(METHODS, method=self.method)
        for by in self.by:
            _one_of(GROUPS, by=by)
        _one_of(DTYPES, dtype=self.dtype)
        if not self.targets:
            raise InputError(
                "no target to attribute", f"name contexts with `targets`, or 'all'; {LISTED}"
            )
        if self.samples is not None and (self.samples < 2 or self.method in CLOSED):
            exact = f"{self.method} is exact and draws none"
            why = exact if self.method in CLOSED else "at least 2 are needed"
            raise InputError(f"`samples` {self.samples}: {why}", "leave it out")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"`seed` {self.seed}: not between 0 and {2**32 - 1}")
        if self.top_features is not None and self.top_features < 0:
            raise InputError(f"`top_features` {self.top_features}: negative")
        if self.top_features == 0 and not self.by:
            raise InputError(
                "`top_features=0` keeps nothing", "say with `by` what to add up instead"
            )

    def sample_count(self, features: int) -> int:
        """Samples drawn: ``samples``, else ``2 * features + 2048`` (the rule of the shap package).

        A fit has ``features + 1`` unknowns, one for each feature and the intercept. On fewer
        samples it has no single solution; on ``n`` the samples' own scatter passes into it by
        ``(features + 1) / (n - features - 1)``, without bound where ``n`` is near the unknowns.
        So at least twice as many are asked for, where this is 1: else :class:`InputError`.
        GradientShap fits nothing and draws :data:`GRADIENT_SAMPLES`.
        """
        if self.samples is None:
            return GRADIENT_SAMPLES if self.method == "gradientShap" else 2 * features + 2048
        least = 2 * (features + 1)
        if self.method in FITTED and self.samples < least:
            raise InputError(
                f"`samples` {self.samples}: too few for {self.method} of {features} features",
                f"give at least {least}, twice as many as its fit has unknowns, or leave it out",
            )
        return self.samples
