"""Torch devices, transfers to them, and the precision of float32 products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from seal_store.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N`` as a torch device.

    Raises :class:`InputError` for another name or a CUDA device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"unknown device {name!r}", "use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            found = f"{count} CUDA devices found"
            raise InputError(f"device {name!r} is not available: {found}", "use `device='cpu'`")
    return device


def pinned(values: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on the CPU, in pinned memory if it will go to CUDA."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to ``device``; to CUDA from pinned memory, without waiting for the copy."""
    return pinned(values, device).to(device, non_blocking=True)


OutOfMemory = torch.cuda.OutOfMemoryError
"""What PyTorch raises if the memory of a device does not suffice; the same on every device."""


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Raises :class:`InputError` where :data:`OutOfMemory` is raised within."""
    try:
        yield
    except OutOfMemory as error:
        raise InputError(
            f"device '{device}': out of memory, even with one variant at a time",
            "free its memory, or use another `device`",
        ) from error


@contextmanager
def inference(*, tf32: bool = False) -> Iterator[None]:
    """Inference mode with float32 products in full precision (TF32 only when asked).

    The caller's settings are restored on exit.
    """
    with _tf32(tf32), torch.inference_mode():
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 products in full precision, whatever is allowed around; also a decorator.

    For what a change is added to: a unit near zero that rounding puts on the other side of its
    ReLU, or near another maximum of its pool, is an error that does not shrink with the change.
    """
    with _tf32(False):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    matmul = torch.backends.cuda.matmul.allow_tf32
    conv = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = conv


def check_tf32(device: torch.device) -> None:
    """Raise :class:`InputError` for a device that computes no products in TF32."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        raise InputError(
            f"`tf32`: device '{device}' computes products in float32",
            "leave it out, or use a CUDA device of compute capability 8.0 or more",
        )
