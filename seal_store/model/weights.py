"""Untrusted PyTorch weight files: loaded without executing code, their tensors checked."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seal_store.errors import WeightsError


def load_tensors(path: str | Path, error: type[WeightsError] | Any, hint: str) -> dict[str, Any]:
    """``torch.load`` of a dict with ``weights_only=True``; failures are raised as ``error``.

    Refused too: a zip that unpacks to more than it takes on disk, which PyTorch never writes.
    """
    if not Path(path).is_file():
        raise error(f"weights file not found: {path}", hint)
    try:
        _check_zip(Path(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as cause:  # torch raises many types for a damaged file
        reason = str(cause).splitlines()[0][:200] if str(cause) else type(cause).__name__
        raise error(
            f"{path}: not a readable PyTorch weights file ({reason})",
            "it may be truncated or hold more than weights: fetch it again and compare its size",
        ) from cause
    if not isinstance(loaded, dict):
        raise error(f"{path}: holds a {type(loaded).__name__}, not a dict of tensors", hint)
    return loaded


def _check_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as found:
        members = found.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members):
        raise ValueError("its contents are compressed")
    if sum(m.file_size for m in members) > path.stat().st_size:
        raise ValueError("its contents are larger than the file")


def dense_tensor(
    state: Mapping[str, Any], key: str, where: object, error: type[WeightsError] | Any, hint: str
) -> Tensor:
    """Tensor ``key`` without its gradient: real numbers in memory that the file holds.

    Raises ``error`` if there is none, or one of another kind.
    """
    found = state.get(key)
    if not isinstance(found, Tensor):
        raise error(f"{where}: tensor {key} is missing", hint)
    plain = found.layout is torch.strided and found.device.type == "cpu"
    if not plain or found.is_quantized or not found.is_floating_point():
        raise error(f"{where}: tensor {key} is not of plain real numbers", hint)
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise error(f"{where}: tensor {key} is larger than what the file holds of it", hint)
    return found.detach()
