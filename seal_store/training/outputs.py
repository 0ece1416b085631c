"""Files that training writes: tensors (synced and renamed), tables, JSON records."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from seal_store.common.files import replace_synced
from seal_store.errors import OutputError
from seal_store.store.store import software

PNG = rb"\x89PNG\r\n"
"""How such a file begins."""


def save_tensors(value: dict[str, Any], path: Path) -> None:
    """``torch.save`` aside, synced and renamed. Raises :class:`OutputError`."""
    aside = path.with_name(path.name + ".tmp")
    try:
        torch.save(value, aside)
    except RuntimeError as error:  # torch's word for a full disk
        raise OutputError(
            f"{aside}: cannot be written ({str(error).splitlines()[0][:120]})",
            "is the disk full?",
        ) from error
    replace_synced(aside, path)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a TSV; numbers with 6 significant digits, NaN as an empty cell."""
    lines = ["\t".join(header), *("\t".join(map(_cell, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def write_record(path: Path, facts: dict[str, Any]) -> None:
    """Write ``facts`` and the versions of software as JSON."""
    text = json.dumps({**facts, "software": software()}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)
