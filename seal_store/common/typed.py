"""Options given in Python: numbers of numpy, None for a default, a wrong type in one line.

What comes out is plain Python, so that it can be written as JSON.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from seal_store.common.files import local_path
from seal_store.errors import ParameterError


def conform(options: Any) -> None:
    """Bring the fields of a dataclass to the types they are annotated with.

    None stands for a field's default, one text for a sequence of it. Types other than numbers,
    texts, sequences of texts and paths stay. Raises :class:`ParameterError` naming the field.
    """
    hints = get_type_hints(type(options))
    for entry in fields(options):
        value = conformed(
            entry.name, getattr(options, entry.name), hints[entry.name], entry.default
        )
        object.__setattr__(options, entry.name, value)


def conformed(name: str, value: Any, kind: Any, default: Any = MISSING) -> Any:
    """``value`` of the parameter ``name`` as ``kind``, see :func:`conform`."""
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind, *more = (arg for arg in get_args(kind) if arg is not type(None))
        if more:  # of several types, as a path or an address: as it is
            return value
    if value is None and default is not MISSING:
        return default
    if kind is bool:
        return truth(name, value)
    if kind is int:
        return whole(name, value)
    if kind is float:
        return number(name, value)
    if kind is str:
        return text(name, value)
    if kind is Path:
        return path(name, value)
    if get_origin(kind) in (tuple, Sequence) and get_args(kind)[0] in (str, Path):
        return (texts if get_args(kind)[0] is str else paths)(name, value)
    return value


def truth(name: str, value: Any) -> bool:
    """True or False, also of numpy."""
    if type(value).__name__ not in ("bool", "bool_"):
        raise _wrong(name, value, "True or False")
    return bool(value)


def whole(name: str, value: Any) -> int:
    """A whole number, also of numpy or written as 1e4."""
    try:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if type(value).__name__ not in ("bool", "bool_"):
            return operator.index(value)
    except TypeError:
        pass
    raise _wrong(name, value, "a whole number")


def number(name: str, value: Any) -> float:
    """A number, also of numpy."""
    if isinstance(value, str | bytes) or type(value).__name__ in ("bool", "bool_"):
        raise _wrong(name, value, "a number")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _wrong(name, value, "a number") from None


def text(name: str, value: Any) -> str:
    """A text, also of numpy."""
    if not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return str(value)


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Texts, of any collection; one text stands for itself."""
    if isinstance(value, str):
        return (str(value),)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise _wrong(name, value, "a text, or several")
    return tuple(text(name, one) for one in value)


def path(name: str, value: Any) -> Path:
    """A path on this machine. Raises :class:`InputError` for an address."""
    if not isinstance(value, str | os.PathLike):
        raise _wrong(name, value, "a path")
    return local_path(value)


def paths(name: str, value: Any) -> tuple[Path, ...]:
    """Paths, of any collection; one path stands for itself."""
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | os.PathLike)
    return tuple(path(name, one) for one in (value if several else (value,)))


def shown(value: object) -> str:
    """A value as one short line of a message."""
    found = " ".join(repr(value).split())
    return found if len(found) <= 40 else f"{found[:37]}..."


def _wrong(name: str, value: object, expected: str) -> ParameterError:
    return ParameterError(f"`{name}` {shown(value)}: not {expected}", f"give {expected}")
