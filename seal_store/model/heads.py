"""MLP heads: 20,020 decay sums -> hidden layer, ReLU -> expression in contexts.

A head *set* is one trained model: its own hidden layer and its contexts. Several sets stand side
by side in a store. Seal writes a set as a model summary file, ``Key: value`` a line, that names
two PyTorch files: the pre-trained model (general contexts) and the fine-tuned one (specific
contexts), which holds the shared first layer too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seal_store.common.device import full_precision
from seal_store.errors import HeadsError
from seal_store.model.head_set import ARRAYS, CNN, HeadSet
from seal_store.model.weights import dense_tensor, load_tensors

SUMMARY_SUFFIX = "_model_summary.txt"
STAGES = {"pretrain": "general", "finetune": "specific"}
"""The two steps of training, and what a summary calls their contexts."""


@dataclass(frozen=True)
class OutputLayer:
    """Second layer of one head set, of the contexts kept.

    ``units`` and ``contexts`` are its places among all sets' hidden units and kept contexts;
    ``w2`` ``(contexts, units)`` and ``b2`` ``(contexts,)``.
    """

    units: slice
    contexts: slice
    w2: Tensor
    b2: Tensor


class Heads:
    """Several head sets evaluated together on one device.

    All sets' hidden units stand side by side, then all sets' contexts. ``select`` keeps some
    contexts: positions among all of them, ascending.
    """

    def __init__(
        self,
        sets: Sequence[HeadSet],
        device: torch.device | str = "cpu",
        select: np.ndarray | None = None,
    ) -> None:
        if not sets:
            raise HeadsError("no head set to evaluate", "add one with `seal-store heads add`")
        self.w1 = torch.cat([torch.from_numpy(s.w1) for s in sets]).to(device)
        self.b1 = torch.cat([torch.from_numpy(s.b1) for s in sets]).to(device)
        total = sum(len(s.contexts) for s in sets)
        keep = np.arange(total) if select is None else np.asarray(select)
        self.contexts = len(keep)
        self.outputs: list[OutputLayer] = []
        unit, context, kept = 0, 0, 0
        for s in sets:
            local = keep[(keep >= context) & (keep < context + len(s.contexts))] - context
            self.outputs.append(
                OutputLayer(
                    slice(unit, unit + len(s.w1)),
                    slice(kept, kept + len(local)),
                    torch.from_numpy(s.w2[local]).to(device),
                    torch.from_numpy(s.b2[local]).to(device),
                )
            )
            unit, context, kept = unit + len(s.w1), context + len(s.contexts), kept + len(local)

    @full_precision()
    def first(self, aggregated: Tensor) -> Tensor:
        """Hidden units before ReLU, with bias: ``(n, inputs)`` to ``(n, units)``."""
        return F.linear(aggregated, self.w1, self.b1)

    def first_delta(self, change: Tensor) -> Tensor:
        """What a change of the aggregated vector changes in :meth:`first` (no bias)."""
        return F.linear(change, self.w1)

    def predict(self, hidden: Tensor) -> Tensor:
        """Expression from :meth:`first`'s output: ``(n, units)`` to ``(n, contexts)``."""
        return self._second(hidden.relu(), bias=True)

    def effect(self, hidden: Tensor, change: Tensor) -> Tensor:
        """``W2 (relu(hidden + change) - relu(hidden))``, ``(n, contexts)``.

        The difference of two evaluations without their cancellation: both arguments are
        ``(n, units)``, of :meth:`first` and :meth:`first_delta`.
        """
        return self._second((hidden + change).relu_() - hidden.relu(), bias=False)

    def _second(self, active: Tensor, *, bias: bool) -> Tensor:
        parts = [F.linear(active[..., o.units], o.w2, o.b2 if bias else None) for o in self.outputs]
        return torch.cat(parts, -1)


def find_summaries(path: str | Path) -> list[Path]:
    """``path``, a model summary file, or all below it if it is a folder, sorted.

    Raises :class:`HeadsError` if a folder has none.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.rglob(f"*{SUMMARY_SUFFIX}"))
        if not found:
            raise HeadsError(
                f"{path}: no *{SUMMARY_SUFFIX} in this folder", "give the folder of a head set"
            )
        return found
    return [path]


def load_heads(path: str | Path) -> list[HeadSet]:
    """Every head set of a summary file or folder. Raises :class:`HeadsError`."""
    return [load_head_set(summary) for summary in find_summaries(path)]


def check_cnn(head_set: HeadSet, cnn: str) -> None:
    """Raise :class:`HeadsError` if a set says that it was trained on another CNN's features.

    ``cnn`` is a SHA-256, empty where it is not known.
    """
    trained = head_set.summary.get(CNN, "")
    if trained and cnn and trained != cnn:
        raise HeadsError(
            f"head set {head_set.name}: trained on features of the CNN {trained[:80]}, "
            f"these are of the CNN {cnn}",
            "heads and CNN must belong together",
        )


def load_head_set(summary_path: str | Path, stage: str = "") -> HeadSet:
    """The model of one ``stage`` that a summary names: a key of :data:`STAGES`.

    By default the fine-tuned model, or the pre-trained one where it names no other. Raises
    :class:`HeadsError` if the summary lacks a line, the model file is missing or damaged, or the
    counts in the summary, its names and the tensors do not agree.
    """
    summary_path = Path(summary_path)
    summary = read_summary(summary_path)
    stage = stage or ("finetune" if summary.get("Optimal finetune model") else "pretrain")
    kind = STAGES[stage]
    listed = _require(summary, f"Name of {kind} contexts", summary_path)
    names = tuple(name.strip() for name in listed.split(","))
    model_path, hint = model_file(summary_path, stage), f"named by {summary_path}"
    loaded = load_tensors(model_path, HeadsError, hint)
    state = loaded.get("model_state_dict")
    if not isinstance(state, dict):
        raise HeadsError(
            f"{model_path}: no model_state_dict in this file", "is it a model that Seal saved?"
        )
    arrays = {
        name: dense_tensor(state, key, model_path, HeadsError, hint).float().numpy()
        for name, key in ARRAYS.items()
    }
    name = summary_path.name.removesuffix(SUMMARY_SUFFIX).removesuffix("_seal")
    head_set = HeadSet(name, names, **arrays, summary=summary)
    _check(head_set, model_path)
    declared = {
        f"Number of {kind} contexts": len(names),
        "Number of latent features": len(head_set.w1),
    }
    for key, found in declared.items():
        if summary.get(key, str(found)) != str(found):
            raise HeadsError(f"{summary_path}: '{key}: {summary[key]}', but there are {found}")
    return head_set


def model_file(summary_path: Path, stage: str) -> Path:
    """The model file of a stage, named relative to Seal's root (an ancestor) or to the summary.

    Raises :class:`HeadsError` if none is named or found.
    """
    named = _require(read_summary(summary_path), f"Optimal {stage} model", summary_path)
    folders = [summary_path.resolve().parent, *list(summary_path.resolve().parents)[1:4]]
    candidates = [folder / named for folder in folders] + [folders[0] / Path(named).name]
    for candidate in candidates:
        with suppress(OSError, ValueError):  # a name that no file can have
            if candidate.is_file():
                return candidate
    raise HeadsError(
        f"{summary_path}: model file {named!r:.300} not found",
        "paths are read relative to Seal's root folder or to the summary file",
    )


def read_summary(path: Path) -> dict[str, str]:
    """``Key: value`` lines as a dict; blanks around keys and values are dropped."""
    if not path.is_file():
        raise HeadsError(
            f"model summary not found: {path}",
            "check `heads`; `seal-store fetch models --to DIR` downloads Seal's",
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise HeadsError(f"{path}: not a text file", "give a *_model_summary.txt") from error
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _require(summary: dict[str, str], key: str, path: Path) -> str:
    if not summary.get(key):
        raise HeadsError(f"{path}: no line '{key}: ...'", "is this one of Seal's summary files?")
    return summary[key]


def _check(heads: HeadSet, path: Path) -> None:
    if heads.w1.ndim != 2:
        raise HeadsError(f"{path}: {ARRAYS['w1']} has shape {heads.w1.shape}, expected a matrix")
    latent, contexts = len(heads.w1), len(heads.contexts)
    for name, shape in {"b1": (latent,), "w2": (contexts, latent), "b2": (contexts,)}.items():
        found = getattr(heads, name).shape
        if found != shape:
            raise HeadsError(
                f"{path}: {ARRAYS[name]} has shape {found}, expected {shape}",
                "the summary's context names and the model file must belong together",
            )
    if not all(np.isfinite(getattr(heads, name)).all() for name in ARRAYS):
        raise HeadsError(f"{path}: weights hold NaN or infinite values", "fetch the file again")
    if len(set(heads.contexts)) != contexts or "" in heads.contexts:
        raise HeadsError(f"{path}: context names are empty or not unique", "check the summary")
