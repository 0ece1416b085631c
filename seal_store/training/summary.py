"""Seal's model summary as it is written: ``Key: value`` a line, the pre-trained model first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seal_store.model.heads import STAGES, SUMMARY_SUFFIX

LATENT = "Number of latent features"
SUMMARY = rb"Optimal (pretrain|finetune) model: "
"""How a summary begins."""


def summary_name(name: str) -> str:
    """File name of the summary of the head set ``name``."""
    return f"{name}_seal{SUMMARY_SUFFIX}"


def summary_keys(stage: str) -> tuple[str, ...]:
    """Keys of a stage, in Seal's order."""
    kind = STAGES[stage]
    return (
        f"Optimal {stage} model",
        *((LATENT,) if stage == "pretrain" else ()),
        f"Number of {kind} contexts",
        f"Name of {kind} contexts",
        f"Optimal testing MSE of {stage} model (median of all contexts)",
        f"Optimal testing Spearman r of {stage} model (median of all contexts)",
    )


def summary_lines(
    stage: str, model: str, latent: int, contexts: Sequence[str], mse: float, spearman: float
) -> dict[str, str]:
    """The lines of one stage; ``model`` is the path that the summary shall name."""
    values = (
        model,
        *((str(latent),) if stage == "pretrain" else ()),
        str(len(contexts)),
        ",".join(contexts),
        f"{mse:.6g}",
        f"{spearman:.6g}",
    )
    return dict(zip(summary_keys(stage), values, strict=True))


def summary_text(lines: Mapping[str, str]) -> str:
    """The file's content."""
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def name_below(path: Path, root: Path) -> str:
    """How a summary names a file: relative to ``root`` if it lies below it, else absolute."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
